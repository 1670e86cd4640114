//! The rules of trying again, case by case.
use super::script::status;
use crate::{
    Error, partition_for_key,
    retry::{Backoff, Kind, Step, between_rounds, next},
};
use std::time::Duration;
use tonic::{Code, Status};

fn not_leader(leader: Option<&str>) -> Error {
    Error::NotLeader { message: "no".into(), leader: leader.map(|_| 2), leader_grpc: leader.map(str::to_owned) }
}

#[test]
fn what_may_have_happened_is_repeated_only_where_that_is_harmless() {
    let (lost, slow) = (Error::Lost("reset".into()), Error::Timeout("slow".into()));
    let unknown = Error::UnknownOutcome("?".into());
    for doubtful in [&lost, &slow, &unknown] {
        assert_eq!(next(doubtful, Kind::Read, "a"), Step::Elsewhere);
        assert_eq!(next(doubtful, Kind::Idempotent, "a"), Step::Elsewhere);
        assert_eq!(next(doubtful, Kind::Once, "a"), Step::GiveUp);
    }
    assert_eq!(next(&Error::Unreachable("refused".into()), Kind::Once, "a"), Step::Elsewhere);
}

#[test]
fn after_a_doubt_the_outcome_is_unknown_unless_a_node_says_more() {
    let unavailable = || Error::Unavailable("no majority".into());
    assert_eq!(Kind::Idempotent.conclude(unavailable(), false), unavailable());
    assert!(matches!(Kind::Idempotent.conclude(unavailable(), true), Error::UnknownOutcome(_)));
    assert!(matches!(Kind::Once.conclude(Error::Lost("reset".into()), false), Error::UnknownOutcome(_)));
    assert_eq!(Kind::Read.conclude(unavailable(), true), unavailable());
    // A repetition would have been told: this one was not appended.
    let mismatch = Error::OffsetMismatch { message: "it ends at 7".into(), actual: 7 };
    assert_eq!(Kind::Idempotent.conclude(mismatch.clone(), true), mismatch);
}

#[test]
fn hints_are_followed_unless_they_lead_back() {
    assert_eq!(next(&not_leader(Some("b")), Kind::Once, "a"), Step::Follow("b".into()));
    assert_eq!(next(&not_leader(Some("a")), Kind::Once, "a"), Step::Elsewhere);
    assert_eq!(next(&not_leader(None), Kind::Once, "a"), Step::Elsewhere);
    let replicas_grpc = vec!["a".to_owned(), "c".to_owned()];
    let elsewhere = Error::NotHosted { message: "no".into(), replicas_grpc };
    assert_eq!(next(&elsewhere, Kind::Read, "a"), Step::Follow("c".into()));
}

#[test]
fn statuses_are_understood_by_their_details() {
    let error = Error::from_status(&status("NOT_LEADER", Some("b:1")), "a:1");
    let Error::NotLeader { leader, leader_grpc, .. } = error else { panic!("{error:?}") };
    assert_eq!((leader, leader_grpc.as_deref()), (Some(2), Some("b:1")));
    let error = Error::from_status(&status("BUSY", None), "a:1");
    assert!(matches!(error, Error::Busy { retry_after, .. } if retry_after == Duration::from_millis(1)), "{error:?}");
    let error = Error::from_status(&status("NEW_REASON", None), "a:1");
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[test]
fn statuses_without_details_may_mean_anything_was_done() {
    for code in [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal, Code::DeadlineExceeded] {
        let error = Error::from_status(&Status::new(code, "the proxy says no"), "a:1");
        assert!(matches!(error, Error::Lost(_)), "{error:?}");
    }
    let error = Error::from_status(&Status::unimplemented("no such service"), "a:1");
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[test]
fn pauses_grow_to_a_bound() {
    let mut backoff = Backoff::new();
    let pauses: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
    assert!(pauses[0] <= Duration::from_millis(2));
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(50)));
    assert!(pauses[19] >= Duration::from_millis(25));
}

#[test]
fn rounds_of_asking_for_a_leader_are_a_small_part_of_the_time_that_has_passed() {
    for passed in [0, 10, 100, 300, 1_000, 60_000].map(Duration::from_millis) {
        let pause = between_rounds(passed);
        assert!(pause <= Duration::from_millis(50), "{passed:?}: {pause:?}");
        assert!(pause <= (passed / 16).max(Duration::from_millis(2)), "{passed:?}: {pause:?}");
    }
}

#[test]
fn keys_keep_their_partition() {
    // Golden: a change here would send old keys to other partitions.
    let keys = ["", "a", "customer-7", "customer-8"];
    let partitions = keys.map(|key| partition_for_key(key.as_bytes(), 12));
    assert_eq!(partitions, [10, 7, 8, 8]);
    assert_eq!(partition_for_key(b"anything", 1), 0);
}
