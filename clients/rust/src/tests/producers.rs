//! Pipelined appends: order kept, nothing twice.
use super::script::{Node, Reply, client};
use crate::{Delivery, Error, Producer, Record};

async fn send(producer: &Producer, values: std::ops::Range<u32>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for value in values {
        deliveries.push(producer.send(vec![Record::new(value.to_string())]).await.expect("the producer works"));
    }
    deliveries
}

fn values(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|value| value.to_string()).collect()
}

#[tokio::test]
async fn appends_are_acknowledged_in_order() {
    let node = Node::start([]).await;
    let producer = client(&[&node]).await.producer("orders", 3);
    for (offset, delivery) in (0..).zip(send(&producer, 0..200).await) {
        let ack = delivery.await.expect("taken");
        assert_eq!((ack.partition, ack.first_offset), (3, offset));
    }
    assert_eq!(node.log(), values(0..200));
}

#[tokio::test]
async fn what_a_deposed_leader_refuses_is_sent_to_the_next_one_in_order() {
    let next = Node::start([]).await;
    let refuse = |reason| Reply::Refuse(reason, Some(next.address.clone()));
    let mut script = vec![Reply::Ok; 5];
    script.push(refuse("NOT_LEADER"));
    script.extend(vec![refuse("PRECEDING_FAILED"); 100]);
    let old = Node::start(script).await;
    let client = client(&[&old]).await;
    client.routes().set_leader("orders", 0, &old.address);
    let producer = client.producer("orders", 0);
    for delivery in send(&producer, 0..40).await {
        delivery.await.expect("taken by one of them");
    }
    assert_eq!(old.log(), values(0..5));
    assert_eq!(next.log(), values(5..40));
}

#[tokio::test]
async fn stream_that_ends_early_leaves_unknown_outcomes_and_sends_nothing_again() {
    let (node, other) = (Node::start([Reply::Ok, Reply::Ok, Reply::End]).await, Node::start([]).await);
    let client = client(&[&node, &other]).await;
    client.routes().set_leader("orders", 0, &node.address);
    let producer = client.producer("orders", 0);
    let mut deliveries = send(&producer, 0..3).await.into_iter();
    for _ in 0..2 {
        deliveries.next().expect("three").await.expect("taken");
    }
    let error = deliveries.next().expect("three").await.expect_err("no answer");
    assert!(matches!(error, Error::UnknownOutcome(_)), "{error:?}");
    let refused = match producer.send(vec![Record::new("3")]).await {
        Ok(delivery) => delivery.await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(refused, Err(Error::PrecedingFailed(_))), "{refused:?}");
    assert_eq!((node.log(), other.log()), (values(0..2), Vec::new()));
}

#[tokio::test]
async fn refused_append_that_was_overtaken_is_not_sent_again() {
    // A node that does not keep the order: it refuses one append and takes the next.
    let node = Node::start([Reply::Refuse("NOT_LEADER", None), Reply::Ok]).await;
    let producer = client(&[&node]).await.producer("orders", 0);
    let mut deliveries = send(&producer, 0..2).await.into_iter();
    let (first, second) = (deliveries.next().expect("two"), deliveries.next().expect("two"));
    let (first, second) = (first.await, second.await);
    second.expect("taken");
    match first {
        // The second was held back until the refusal came, and sent after the first.
        Ok(_) => assert_eq!(node.log(), ["0", "1"]),
        // Both were on the wire.
        Err(error) => {
            assert!(matches!(error, Error::NotLeader { .. }), "{error:?}");
            assert_eq!(node.log(), ["1"]);
        }
    }
}

#[tokio::test]
async fn wrong_append_fails_alone() {
    let node = Node::start([Reply::Ok, Reply::Refuse("RECORD_TOO_LARGE", None)]).await;
    let producer = client(&[&node]).await.producer("orders", 0);
    let outcomes = futures::future::join_all(send(&producer, 0..4).await).await;
    assert!(matches!(outcomes[1], Err(Error::RecordTooLarge(_))), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    assert_eq!(node.log(), ["0", "2", "3"]);
}

#[tokio::test]
async fn silent_leader_is_given_up_at_the_deadline_with_unknown_outcomes() {
    let node = Node::start([Reply::Ok, Reply::Hang, Reply::Hang]).await;
    let producer = client(&[&node]).await.producer("orders", 0);
    let outcomes = futures::future::join_all(send(&producer, 0..3).await).await;
    assert!(outcomes[0].is_ok());
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Err(Error::UnknownOutcome(_)))), "{outcomes:?}");
}

#[tokio::test]
async fn request_above_the_limit_is_refused_before_it_is_sent() {
    let node = Node::start([]).await;
    let producer = client(&[&node]).await.producer("orders", 0);
    let error = producer.send(vec![Record::new(vec![0; 8 << 20])]).await.expect_err("too large");
    assert!(matches!(error, Error::BatchTooLarge(_)), "{error:?}");
    producer.send(vec![Record::new("small")]).await.expect("it works on").await.expect("taken");
}
