//! Subscriptions: every offset once, whatever happens to the nodes.
use super::script::{Node, Reply, client};
use crate::{Error, Subscription};

async fn offsets(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let records = subscription.next().await.expect("records");
        offsets.extend(records.iter().map(|record| record.offset));
    }
    offsets
}

#[tokio::test]
async fn it_goes_on_at_another_node_at_the_next_offset() {
    let ok = |count| vec![Reply::Ok; count];
    let one = Node::start([ok(3), vec![Reply::End], ok(2), vec![Reply::Hang]].concat()).await;
    let other = Node::start([ok(4), vec![Reply::Refuse("HALTED", None), Reply::End, Reply::End]].concat()).await;
    let mut subscription = client(&[&one, &other]).await.subscribe("orders", 0, 10);
    assert_eq!(offsets(&mut subscription, 9).await, (10..19).collect::<Vec<u64>>());
    assert_eq!(subscription.next_offset(), 19);
}

#[tokio::test]
async fn replica_that_is_behind_is_waited_for() {
    let behind = || Reply::Refuse("OFFSET_OUT_OF_RANGE", None);
    let node = Node::start([Reply::Ok, Reply::End, behind(), behind(), Reply::Ok]).await;
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 0);
    assert_eq!(offsets(&mut subscription, 2).await, [0, 1]);
}

#[tokio::test]
async fn first_offset_beyond_the_end_is_an_error() {
    let node = Node::start([Reply::Refuse("OFFSET_OUT_OF_RANGE", None)]).await;
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 99);
    assert!(matches!(subscription.next().await, Err(Error::OffsetOutOfRange(_))));
}

#[tokio::test]
async fn gap_is_a_protocol_error_and_the_subscription_can_go_on() {
    let node = Node::start([Reply::Ok, Reply::Skip(5), Reply::Hang, Reply::Ok]).await;
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 0);
    assert_eq!(offsets(&mut subscription, 1).await, [0]);
    let error = subscription.next().await.expect_err("offset 1 is next");
    assert!(matches!(&error, Error::Protocol(text) if text.contains("offset 5 where 1 was next")), "{error:?}");
    assert_eq!(offsets(&mut subscription, 1).await, [1]);
}

#[tokio::test]
async fn bound_to_one_node_it_fails_with_it() {
    let (one, other) = (Node::start([Reply::Ok, Reply::End]).await, Node::start(vec![Reply::Ok; 9]).await);
    let subscription = client(&[&one, &other]).await.subscribe("orders", 0, 0);
    let mut subscription = subscription.at_node(&one.address);
    assert_eq!(offsets(&mut subscription, 1).await, [0]);
    assert!(subscription.next().await.is_err());
}
