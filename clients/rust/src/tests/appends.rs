//! Single appends and reads: who is asked, how often, and what is said in the end.
use super::script::{Node, Reply, client};
use crate::{Client, Error, ReadOptions, Record};
use std::time::Duration;

fn one() -> Vec<Record> {
    vec![Record::new("a")]
}

#[tokio::test]
async fn append_follows_the_leader_and_remembers_it() {
    let leader = Node::start([]).await;
    let follower = Node::start([Reply::Refuse("NOT_LEADER", Some(leader.address.clone()))]).await;
    let client = client(&[&follower]).await;
    for offset in 0..3 {
        let ack = client.append("orders", Some(0), one()).await.expect("the leader takes it");
        assert_eq!((ack.partition, ack.first_offset, ack.count), (0, offset, 1));
    }
    assert_eq!((follower.requests(), leader.requests()), (1, 3));
}

#[tokio::test]
async fn busy_partition_is_asked_again() {
    let busy = || Reply::Refuse("BUSY", None);
    let node = Node::start([busy(), busy()]).await;
    client(&[&node]).await.append("orders", Some(0), one()).await.expect("in the end");
    assert_eq!((node.requests(), node.log()), (3, vec!["a".to_owned()]));
}

#[tokio::test]
async fn node_that_is_not_there_is_passed_over() {
    let (gone, node) = (Node::start([]).await, Node::start([]).await);
    let client = client(&[&gone, &node]).await;
    gone.kill();
    for _ in 0..4 {
        client.append("orders", Some(0), one()).await.expect("the other node takes it");
    }
    assert_eq!(node.log().len(), 4);
}

#[tokio::test]
async fn append_without_an_answer_is_an_unknown_outcome_and_not_repeated() {
    let (silent, other) = (Node::start([Reply::Hang]).await, Node::start([]).await);
    let client = client(&[&silent, &other]).await;
    client.routes().set_leader("orders", 0, &silent.address);
    let error = client.append("orders", Some(0), one()).await.expect_err("no answer");
    assert!(matches!(error, Error::UnknownOutcome(_)), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!((silent.requests(), other.requests()), (1, 0));
}

#[tokio::test]
async fn append_that_the_node_calls_unknown_is_not_repeated() {
    let node = Node::start([Reply::Refuse("UNKNOWN_OUTCOME", None)]).await;
    let error = client(&[&node]).await.append("orders", Some(0), one()).await.expect_err("unknown");
    assert!(matches!(error, Error::UnknownOutcome(_)), "{error:?}");
    assert_eq!(node.requests(), 1);
}

#[tokio::test]
async fn wrong_request_is_not_repeated() {
    let node = Node::start([Reply::Refuse("RECORD_TOO_LARGE", None)]).await;
    let error = client(&[&node]).await.append("orders", Some(0), one()).await.expect_err("too large");
    assert!(matches!(error, Error::RecordTooLarge(_)), "{error:?}");
    assert_eq!(node.requests(), 1);
}

#[tokio::test]
async fn topic_is_unknown_when_every_node_says_so() {
    let unknown = || Reply::Refuse("UNKNOWN_TOPIC", None);
    let (one_node, other) = (Node::start([unknown()]).await, Node::start([unknown()]).await);
    let client_of_both = client(&[&one_node, &other]).await;
    let error = client_of_both.append("orders", Some(0), one()).await.expect_err("nobody knows it");
    assert!(matches!(error, Error::UnknownTopic(_)), "{error:?}");
    assert_eq!((one_node.requests(), other.requests()), (1, 1));
    // A node that has not heard of a new topic yet is not believed alone.
    one_node.then([unknown()]);
    client_of_both.routes().set_leader("orders", 0, &one_node.address);
    client_of_both.append("orders", Some(0), one()).await.expect("the other node knows it");
}

#[tokio::test]
async fn read_is_repeated_elsewhere_when_a_node_falls_silent() {
    let (silent, other) = (Node::start([Reply::Hang]).await, Node::start([]).await);
    let endpoints = [silent.address.clone(), other.address.clone()];
    let client =
        Client::builder().endpoints(endpoints).timeout(Duration::from_secs(8)).connect().await.expect("answers");
    client.routes().set_leader("orders", 0, &silent.address);
    client.read("orders", 0, 0, &ReadOptions::default()).await.expect("another node answers");
    assert_eq!(silent.requests(), 1);
}

#[tokio::test]
async fn read_at_one_node_goes_to_no_other() {
    let leader = Node::start([]).await;
    let follower = Node::start([Reply::Refuse("NOT_LEADER", Some(leader.address.clone()))]).await;
    let client = client(&[&leader, &follower]).await;
    let options = ReadOptions { node: Some(follower.address.clone()), ..ReadOptions::default() };
    let error = client.read("orders", 0, 0, &options).await.expect_err("it does not lead");
    assert!(matches!(error, Error::NotLeader { .. }), "{error:?}");
    assert_eq!(leader.requests(), 0);
}

#[tokio::test]
async fn nobody_there_is_unreachable_in_time() {
    let node = Node::start([]).await;
    node.kill();
    let builder = Client::builder().endpoints([&node.address]).timeout(Duration::from_millis(200));
    let error = builder.connect().await.expect_err("nobody listens");
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(matches!(Client::builder().connect().await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn leader_that_is_gone_is_said_to_be_by_who_is_there() {
    let gone = Node::start([]).await;
    gone.kill();
    let refuse = Reply::Refuse("NOT_LEADER", Some(gone.address.clone()));
    let node = Node::start(vec![refuse; 10_000]).await;
    let error = client(&[&node]).await.append("orders", Some(0), one()).await.expect_err("no leader");
    // Whichever was asked last: the cluster was reached, nothing was appended.
    assert!(matches!(error, Error::Unavailable(_) | Error::NotLeader { .. }), "{error:?}");
    assert!(error.is_retryable());
}
