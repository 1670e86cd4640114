//! What may be sent again, and what must not.
use super::*;
use crate::producer::Delivery;
use std::{sync::Arc, time::SystemTime};
use tokio::sync::{Semaphore, oneshot};

/// A flight with `count` appends on the stream, and their answers to come.
fn sent(count: u64) -> (Flight, Vec<Delivery>) {
    let room = Arc::new(Semaphore::new(100));
    let mut flight = Flight::default();
    let mut deliveries = Vec::new();
    for _ in 0..count {
        let (reply, answer) = oneshot::channel();
        let room = Arc::clone(&room).try_acquire_owned().expect("there is room");
        flight.push(Job { request: v1::AppendRequest::default(), reply, room }, Instant::now());
        deliveries.push(Delivery(answer));
    }
    for id in 1..=count {
        assert_eq!(flight.send_next().map(|request| request.correlation_id), Some(id));
    }
    (flight, deliveries)
}

fn appended() -> Appended {
    Appended { partition: 0, first_offset: 0, count: 1, term: 1, time: SystemTime::UNIX_EPOCH }
}

fn refusal() -> Error {
    Error::Unavailable("no majority".into())
}

async fn outcomes(deliveries: Vec<Delivery>) -> Vec<Result<(), Error>> {
    futures::future::join_all(deliveries).await.into_iter().map(|outcome| outcome.map(drop)).collect()
}

#[tokio::test]
async fn refused_end_is_sent_again_in_order() {
    let (mut flight, deliveries) = sent(3);
    flight.acknowledged(1, appended());
    flight.refused(2, refusal());
    assert!(flight.broken() && flight.owes());
    flight.refused(3, Error::PrecedingFailed("not tried".into()));
    assert!(!flight.is_lost() && !flight.owes());
    assert_eq!(flight.rewind(), Some(refusal()), "the first refusal is the cause");
    assert_eq!(flight.send_next().map(|request| request.correlation_id), Some(2));
    assert_eq!(flight.send_next().map(|request| request.correlation_id), Some(3));
    flight.acknowledged(2, appended());
    flight.acknowledged(3, appended());
    assert!(flight.is_empty());
    assert_eq!(outcomes(deliveries).await, [Ok(()), Ok(()), Ok(())]);
}

#[tokio::test]
async fn refused_append_that_a_later_one_overtook_is_lost() {
    let (mut flight, deliveries) = sent(2);
    flight.refused(1, refusal());
    flight.acknowledged(2, appended());
    assert!(flight.is_lost(), "sent again it would come after the second");
    flight.fail(&Error::PrecedingFailed("stopped".into()));
    assert_eq!(outcomes(deliveries).await, [Err(refusal()), Ok(())]);
}

#[tokio::test]
async fn unknown_outcome_stops_everything_behind_it() {
    let (mut flight, deliveries) = sent(3);
    flight.refused(1, Error::UnknownOutcome("the leader is gone".into()));
    flight.refused(2, Error::PrecedingFailed("not tried".into()));
    flight.lose("the connection broke");
    assert!(flight.is_lost());
    flight.fail(&Error::PrecedingFailed("stopped".into()));
    let expected = [
        Err(Error::UnknownOutcome("the leader is gone".into())),
        Err(Error::PrecedingFailed("not tried".into())),
        Err(Error::UnknownOutcome("the connection broke".into())),
    ];
    assert_eq!(outcomes(deliveries).await, expected);
}

#[tokio::test]
async fn idle_stream_that_ends_loses_nothing() {
    let (mut flight, _) = sent(0);
    flight.lose("the node went away");
    assert!(!flight.is_lost() && !flight.broken());
}

#[tokio::test]
async fn answers_to_nobody_change_nothing() {
    let (mut flight, deliveries) = sent(1);
    flight.acknowledged(7, appended());
    flight.refused(7, refusal());
    assert!(!flight.broken() && flight.owes());
    flight.acknowledged(1, appended());
    flight.acknowledged(1, appended());
    assert_eq!(outcomes(deliveries).await, [Ok(())]);
}
