//! Pipelined appends: order kept, nothing twice, nothing lost.
use super::script::{Reply, client, client_within, cluster};
use crate::{Delivery, Error, Producer, Record};
use futures::future::join_all;
use std::{collections::BTreeSet, time::Duration};

async fn send(producer: &Producer, values: std::ops::Range<u32>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for value in values {
        deliveries.push(producer.send(Record::new(value.to_string())).await.expect("the producer works"));
    }
    deliveries
}

fn values(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|value| value.to_string()).collect()
}

#[tokio::test]
async fn appends_are_acknowledged_in_order() {
    let [node] = cluster([vec![]]);
    let producer = client(&[&node]).await.producer("orders").partition(3).build();
    for (offset, delivery) in (0..).zip(send(&producer, 0..200).await) {
        let ack = delivery.await.expect("taken");
        assert_eq!((ack.partition, ack.first_offset, ack.count), (3, offset, 1));
    }
    assert_eq!(node.log(), values(0..200));
    assert!(node.requests() < 200, "what waited was gathered");
}

#[tokio::test]
async fn what_a_deposed_leader_refuses_is_sent_to_the_next_one_in_order() {
    let [old, next] = cluster([vec![Reply::Ok; 5], vec![]]);
    let client = client(&[&old]).await;
    let producer = client.producer("orders").partition(0).records_per_request(1).build();
    let first = send(&producer, 0..1).await;
    join_all(first).await;
    next.leads(2);
    for delivery in send(&producer, 1..40).await {
        delivery.await.expect("taken by one of them");
    }
    assert_eq!(next.log(), values(0..40));
    assert!(next.requests() >= 35, "the old one took five");
}

#[tokio::test]
async fn streams_that_end_and_answers_that_are_lost_leave_no_trace() {
    use Reply::*;
    let script = vec![Ok, Swallow, Ok, End, Ok, Refuse("UNKNOWN_OUTCOME", None), Swallow, Refuse("UNAVAILABLE", None)];
    let [node] = cluster([script]);
    let producer = client(&[&node]).await.producer("orders").partition(0).records_per_request(2).build();
    for (offset, delivery) in (0..).zip(send(&producer, 0..60).await) {
        assert_eq!(delivery.await.expect("in the end").first_offset, offset);
    }
    assert_eq!(node.log(), values(0..60));
}

#[tokio::test]
async fn leader_that_dies_with_requests_in_flight_loses_and_doubles_nothing() {
    let [mut dying, next] = cluster([[vec![Reply::Ok; 3], vec![Reply::Hang; 99]].concat(), vec![]]);
    let producer = client(&[&dying, &next]).await.producer("orders").partition(0).records_per_request(1).build();
    let deliveries = send(&producer, 0..50).await;
    while dying.requests() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dying.kill();
    next.leads(2);
    for (offset, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.expect("the next one takes it").first_offset, offset);
    }
    assert_eq!(next.log(), values(0..50));
}

#[tokio::test]
async fn wrong_record_fails_alone() {
    let [node] = cluster([vec![Reply::Ok, Reply::Refuse("RECORD_TOO_LARGE", None)]]);
    let producer = client(&[&node]).await.producer("orders").partition(0).records_per_request(1).build();
    let outcomes = join_all(send(&producer, 0..4).await).await;
    assert!(matches!(outcomes[1], Err(Error::RecordTooLarge(_))), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    assert_eq!(node.log(), ["0", "2", "3"]);
}

#[tokio::test]
async fn silent_leader_is_given_up_at_the_deadline_and_what_comes_later_goes_on() {
    let [node] = cluster([vec![Reply::Ok, Reply::Hang, Reply::Hang]]);
    let client = client_within(Duration::from_millis(500), &[&node]).await;
    let producer = client.producer("orders").partition(0).records_per_request(1).build();
    let outcomes = join_all(send(&producer, 0..3).await).await;
    assert!(outcomes[0].is_ok());
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Err(Error::UnknownOutcome(_)))), "{outcomes:?}");
    join_all(send(&producer, 3..5).await).await.into_iter().for_each(|outcome| assert!(outcome.is_ok()));
    assert_eq!(node.log(), ["0", "3", "4"]);
}

#[tokio::test]
async fn with_stop_at_failure_nothing_is_appended_behind_a_failure() {
    let [node] = cluster([vec![Reply::Ok, Reply::Refuse("RECORD_TOO_LARGE", None)]]);
    let client = client(&[&node]).await;
    let producer = client.producer("orders").partition(0).records_per_request(1).stop_at_failure().build();
    let outcomes = join_all(send(&producer, 0..4).await).await;
    assert!(outcomes[0].is_ok() && matches!(outcomes[1], Err(Error::RecordTooLarge(_))), "{outcomes:?}");
    assert!(outcomes[2..].iter().all(|outcome| matches!(outcome, Err(Error::PrecedingFailed(_)))), "{outcomes:?}");
    assert_eq!(node.log(), ["0"]);
}

#[tokio::test]
async fn without_numbers_a_lost_answer_is_an_unknown_outcome_at_once_and_nothing_is_repeated() {
    let [node] = cluster([vec![Reply::Swallow]]);
    let producer = client(&[&node]).await.producer("orders").partition(0).idempotent(false).build();
    let outcomes = join_all(send(&producer, 0..1).await).await;
    assert!(matches!(outcomes[0], Err(Error::UnknownOutcome(_))), "{outcomes:?}");
    assert!(join_all(send(&producer, 1..2).await).await[0].is_ok());
    assert_eq!(node.log(), ["0", "1"]);
}

#[tokio::test]
async fn request_above_the_limit_is_refused_before_it_is_sent() {
    let [node] = cluster([vec![]]);
    let producer = client(&[&node]).await.producer("orders").partition(0).build();
    let error = producer.send(Record::new(vec![0; 8 << 20])).await.expect_err("too large");
    assert!(matches!(error, Error::RecordTooLarge(_)), "{error:?}");
    let error = producer.send_batch(vec![Record::new(vec![0; 3 << 20]); 2]).await.expect_err("too large");
    assert!(matches!(error, Error::BatchTooLarge(_)), "{error:?}");
    producer.send(Record::new("small")).await.expect("it works on").await.expect("taken");
    assert_eq!(node.requests(), 1);
}

#[tokio::test]
async fn a_producer_that_holds_as_much_as_it_may_takes_more_when_something_is_answered() {
    let [silent, next] = cluster([vec![Reply::Hang; 9], vec![]]);
    let client = client(&[&silent, &next]).await;
    let producer = client.producer("orders").partition(0).in_flight_bytes(3_000).build();
    let record = || Record::new(vec![b'x'; 1_000]);
    let first = [producer.send(record()).await.expect("room"), producer.send(record()).await.expect("room")];
    let third = producer.send(record());
    tokio::pin!(third);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut third).await.is_err(), "there is no room for it");
    next.leads(2);
    for delivery in first {
        delivery.await.expect("taken by the next one");
    }
    third.await.expect("there is room").await.expect("taken");
    assert_eq!(next.log().len(), 3);
}

#[tokio::test]
async fn records_with_a_key_stay_together_and_those_without_go_everywhere() {
    let [node] = cluster([vec![]]);
    let client = client(&[&node]).await;
    let by_turns = client.producer("orders").keyless(crate::Keyless::ByTurns).build();
    let mut partitions = BTreeSet::new();
    for _ in 0..8 {
        partitions.insert(by_turns.send(Record::new("a")).await.expect("sent").await.expect("taken").partition);
    }
    assert_eq!(partitions, BTreeSet::from([0, 1, 2, 3]));
    for _ in 0..3 {
        let keyed = by_turns.send(Record::new("a").with_key("customer-7")).await.expect("sent");
        assert_eq!(keyed.await.expect("taken").partition, crate::partition_for_key(b"customer-7", 4));
    }
    let mixed = vec![Record::new("a").with_key("customer-7"), Record::new("b").with_key("customer-9")];
    let error = by_turns.send_batch(mixed).await.expect_err("they belong to two partitions");
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
}

#[tokio::test]
async fn a_closed_producer_has_answered_everything_and_takes_nothing() {
    let [node] = cluster([vec![]]);
    let producer = client(&[&node]).await.producer("orders").partition(0).build();
    let deliveries = send(&producer, 0..20).await;
    producer.close().await;
    for delivery in deliveries {
        delivery.await.expect("taken");
    }
    assert!(matches!(producer.send(Record::new("late")).await, Err(Error::PrecedingFailed(_))));
    assert_eq!(node.log(), values(0..20));
}
