//! Single appends and reads: who is asked, how often, and what is said in the end.
use super::script::{Reply, client, client_within, cluster};
use crate::{Client, Error, ReadOptions, Record};
use std::time::Duration;

fn one() -> Vec<Record> {
    vec![Record::new("a")]
}

#[tokio::test]
async fn append_goes_to_the_leader_and_to_nobody_else() {
    let [follower, leader] = cluster([vec![], vec![]]);
    leader.leads(2);
    let client = client(&[&follower]).await;
    for offset in 0..3 {
        let ack = client.append("orders", Some(0), one()).await.expect("the leader takes it");
        assert_eq!((ack.partition, ack.first_offset, ack.count), (0, offset, 1));
    }
    assert_eq!((follower.requests(), leader.requests()), (0, 3));
}

#[tokio::test]
async fn busy_partition_is_asked_again() {
    let busy = || Reply::Refuse("BUSY", None);
    let [node] = cluster([vec![busy(), busy()]]);
    client(&[&node]).await.append("orders", Some(0), one()).await.expect("in the end");
    assert_eq!((node.requests(), node.log()), (3, vec!["a".to_owned()]));
}

#[tokio::test]
async fn node_that_is_not_there_is_passed_over() {
    let [mut gone, node] = cluster([vec![], vec![]]);
    let client = client(&[&gone, &node]).await;
    client.append("orders", Some(0), one()).await.expect("the leader takes it");
    gone.kill();
    node.leads(2);
    for _ in 0..4 {
        client.append("orders", Some(0), one()).await.expect("the other node takes it");
    }
    assert_eq!(node.log().len(), 5);
}

#[tokio::test]
async fn append_whose_answer_is_lost_is_repeated_and_appended_once() {
    let [node] = cluster([vec![Reply::Swallow, Reply::Swallow]]);
    let ack = client(&[&node]).await.append("orders", Some(0), one()).await.expect("in the end");
    assert_eq!((ack.first_offset, node.requests(), node.log().len()), (0, 3, 1));
}

#[tokio::test]
async fn append_that_a_dying_leader_has_taken_is_found_at_the_next_one() {
    let [mut dying, next] = cluster([vec![Reply::Ok, Reply::Hang], vec![]]);
    let client = client(&[&dying, &next]).await;
    client.append("orders", Some(0), one()).await.expect("taken");
    let second = tokio::spawn(async move { client.append("orders", Some(0), one()).await });
    while dying.requests() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dying.kill();
    next.leads(2);
    assert_eq!(second.await.expect("no panic").expect("the next one takes it").first_offset, 1);
    assert_eq!(next.log().len(), 2);
}

#[tokio::test]
async fn silent_leader_is_left_when_there_is_another_one() {
    let [silent, next] = cluster([vec![Reply::Hang; 9], vec![]]);
    let client = client_within(Duration::from_secs(60), &[&silent, &next]).await;
    let append = tokio::spawn(async move { client.append("orders", Some(0), one()).await });
    while silent.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    next.leads(2);
    append.await.expect("no panic").expect("the next one takes it");
    assert_eq!((silent.requests(), next.requests()), (1, 1));
}

#[tokio::test]
async fn append_without_an_answer_is_an_unknown_outcome_when_time_is_up() {
    let [silent] = cluster([vec![Reply::Hang; 9]]);
    let client = client_within(Duration::from_millis(400), &[&silent]).await;
    let error = client.append("orders", Some(0), one()).await.expect_err("no answer");
    assert!(matches!(error, Error::UnknownOutcome(_)), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn append_that_the_node_calls_unknown_is_repeated_as_it_is_numbered() {
    let [node] = cluster([vec![Reply::Refuse("UNKNOWN_OUTCOME", None)]]);
    client(&[&node]).await.append("orders", Some(0), one()).await.expect("in the end");
    assert_eq!((node.requests(), node.log().len()), (2, 1));
}

#[tokio::test]
async fn wrong_request_is_not_repeated() {
    let [node] = cluster([vec![Reply::Refuse("RECORD_TOO_LARGE", None)]]);
    let error = client(&[&node]).await.append("orders", Some(0), one()).await.expect_err("too large");
    assert!(matches!(error, Error::RecordTooLarge(_)), "{error:?}");
    assert_eq!(node.requests(), 1);
}

#[tokio::test]
async fn topic_is_unknown_when_every_node_says_so() {
    let [first, second] = cluster([vec![], vec![]]);
    first.knows(false);
    second.knows(false);
    let client = client(&[&first, &second]).await;
    let error = client.append("orders", Some(0), one()).await.expect_err("nobody knows it");
    assert!(matches!(error, Error::UnknownTopic(_)), "{error:?}");
    assert_eq!((first.requests(), second.requests()), (0, 0), "nobody was sent anything");
    // A node that has not heard of a new topic yet is not believed alone.
    second.knows(true);
    second.leads(2);
    client.append("orders", Some(0), one()).await.expect("the other node knows it");
}

#[tokio::test]
async fn partition_that_is_not_there_is_refused_without_asking_for_long() {
    let [node] = cluster([vec![]]);
    let error = client(&[&node]).await.append("orders", Some(4), one()).await.expect_err("there are four");
    assert!(matches!(&error, Error::PartitionOutOfRange(text) if text.contains("0..4")), "{error:?}");
}

#[tokio::test]
async fn conditional_append_whose_answer_is_lost_is_not_refused_because_of_itself() {
    let [node] = cluster([vec![Reply::Swallow]]);
    let client = client(&[&node]).await;
    let ack = client.append_if("orders", 0, 0, one()).await.expect("it was the one that did it");
    assert_eq!((ack.first_offset, node.requests(), node.log().len()), (0, 2, 1));
    let error = client.append_if("orders", 0, 0, one()).await.expect_err("it ends elsewhere");
    assert!(matches!(error, Error::OffsetMismatch { actual: 1, .. }), "{error:?}");
    client.append_if("orders", 0, 1, one()).await.expect("it ends there");
}

#[tokio::test]
async fn read_is_repeated_elsewhere_when_a_node_falls_silent() {
    let [silent, other] = cluster([vec![Reply::Hang], vec![]]);
    let client = client_within(Duration::from_secs(60), &[&silent, &other]).await;
    let read = tokio::spawn(async move { client.read("orders", 0, 0, &ReadOptions::default()).await });
    while silent.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    other.leads(2);
    read.await.expect("no panic").expect("another node answers");
    assert_eq!((silent.requests(), other.requests()), (1, 1));
}

#[tokio::test]
async fn read_at_one_node_goes_to_no_other() {
    let [leader, follower] = cluster([vec![], vec![Reply::Refuse("NOT_LEADER", None)]]);
    let client = client(&[&leader, &follower]).await;
    let options = ReadOptions { node: Some(follower.address.clone()), ..ReadOptions::default() };
    let error = client.read("orders", 0, 0, &options).await.expect_err("it does not lead");
    assert!(matches!(error, Error::NotLeader { .. }), "{error:?}");
    assert_eq!(leader.requests(), 0);
}

#[tokio::test]
async fn nobody_there_is_unreachable_in_time() {
    let [mut node] = cluster([vec![]]);
    node.kill();
    let builder = Client::builder().endpoints([&node.address]).timeout(Duration::from_millis(200));
    let error = builder.connect().await.expect_err("nobody listens");
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(matches!(Client::builder().connect().await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn leader_that_is_gone_is_said_to_be_by_who_is_there() {
    let [mut gone, node] = cluster([vec![], vec![]]);
    gone.kill();
    let client = client_within(Duration::from_millis(600), &[&node]).await;
    let error = client.append("orders", Some(0), one()).await.expect_err("no leader");
    assert!(matches!(error, Error::Unavailable(_)), "the cluster was reached, nothing was appended: {error:?}");
    assert!(error.is_retryable());
}
