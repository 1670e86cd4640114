//! Subscriptions: every offset once, whatever happens to the nodes.
use super::script::{Reply, client, cluster};
use crate::{Error, Subscription};
use std::time::Duration;

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
    let [one, other] = cluster([
        [ok(3), vec![Reply::End], ok(2), vec![Reply::Hang]].concat(),
        [ok(4), vec![Reply::Refuse("HALTED", None), Reply::End, Reply::End]].concat(),
    ]);
    let mut subscription = client(&[&one, &other]).await.subscribe("orders", 0, 10);
    assert_eq!(offsets(&mut subscription, 9).await, (10..19).collect::<Vec<u64>>());
    assert_eq!(subscription.next_offset(), 19);
}

#[tokio::test]
async fn replica_that_is_behind_is_waited_for() {
    let behind = || Reply::Refuse("OFFSET_OUT_OF_RANGE", None);
    let [node] = cluster([vec![Reply::Ok, Reply::End, behind(), behind(), Reply::Ok]]);
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 0);
    assert_eq!(offsets(&mut subscription, 2).await, [0, 1]);
}

#[tokio::test]
async fn batch_that_begins_before_the_offset_gives_what_is_behind_it() {
    let [node] = cluster([vec![Reply::Batch(5, 10), Reply::Ok]]);
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 12);
    assert_eq!(offsets(&mut subscription, 4).await, [12, 13, 14, 15]);
}

#[tokio::test]
async fn gap_is_a_protocol_error_and_the_subscription_can_go_on() {
    let [node] = cluster([vec![Reply::Ok, Reply::Batch(5, 1), Reply::Hang, Reply::Ok]]);
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 0);
    assert_eq!(offsets(&mut subscription, 1).await, [0]);
    let error = subscription.next().await.expect_err("offset 1 is next");
    assert!(matches!(&error, Error::Protocol(text) if text.contains("offset 5 where 1 was next")), "{error:?}");
    assert_eq!(offsets(&mut subscription, 1).await, [1]);
}

#[tokio::test]
async fn batch_that_does_not_verify_is_not_taken() {
    let [node] = cluster([vec![Reply::Ok, Reply::Damaged, Reply::Hang, Reply::Ok]]);
    let mut subscription = client(&[&node]).await.subscribe("orders", 0, 0);
    assert_eq!(offsets(&mut subscription, 1).await, [0]);
    let error = subscription.next().await.expect_err("it is damaged");
    assert!(matches!(&error, Error::Protocol(text) if text.contains("checksum")), "{error:?}");
    assert_eq!(offsets(&mut subscription, 1).await, [1]);
}

#[tokio::test]
async fn bound_to_one_node_it_fails_with_it() {
    let [one, other] = cluster([vec![Reply::Ok, Reply::End], vec![Reply::Ok; 9]]);
    let subscription = client(&[&one, &other]).await.subscribe("orders", 0, 0);
    let mut subscription = subscription.at_node(&one.address);
    assert_eq!(offsets(&mut subscription, 1).await, [0]);
    assert!(subscription.next().await.is_err());
}

/// The caller looks away again and again: that is no reason to believe the node.
#[tokio::test]
async fn node_that_says_nothing_is_left_for_one_that_has_more() {
    let [cut_off, fresh] = cluster([vec![Reply::Ok, Reply::Hang], vec![Reply::Ok; 9]]);
    fresh.has(7);
    let client = client(&[&cut_off, &fresh]).await;
    client.topology("orders").await.expect("they answer");
    let mut subscription = client.subscribe("orders", 0, 0);
    assert_eq!(offsets(&mut subscription, 1).await, [0]);
    let mut looked = 0;
    let records = loop {
        looked += 1;
        assert!(looked < 600, "it stays where nothing comes");
        if let Ok(records) = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await {
            break records.expect("records");
        }
    };
    assert_eq!(records[0].offset, 1);
    assert!(looked > 5, "it was given time");
}
