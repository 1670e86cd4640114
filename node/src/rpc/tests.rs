//! What clients see of errors, and what they make of it.
use super::failure::Failure;
use corduroy_log::{
    ProducerId,
    error::{LogError, Room, Scope},
};
use std::{collections::BTreeSet, time::Duration};
use tonic::Code;
use tonic_types::StatusExt as _;

fn every_error() -> Vec<(LogError, Code, &'static str)> {
    let partition = || "orders/0".to_owned();
    let producer = ProducerId([7; 16]);
    let errors = vec![
        (
            LogError::NotLeader { asked: 1, partition: partition(), leader: None },
            Code::FailedPrecondition,
            "NOT_LEADER",
        ),
        (
            LogError::NotHosted { asked: 1, partition: partition(), replicas: vec![2, 3] },
            Code::FailedPrecondition,
            "NOT_HOSTED",
        ),
        (
            LogError::Busy {
                partition: partition(),
                scope: Scope::Node,
                in_flight: 2,
                limit: 1,
                retry_after: Duration::from_millis(7),
            },
            Code::ResourceExhausted,
            "BUSY",
        ),
        (
            LogError::Full {
                node: 1,
                partition: partition(),
                room: Some(Room { free: 5, needed: 9 }),
                retry_after: Duration::from_millis(8),
            },
            Code::ResourceExhausted,
            "FULL",
        ),
        (
            LogError::OffsetMismatch { partition: partition(), expected: 3, actual: 4 },
            Code::FailedPrecondition,
            "OFFSET_MISMATCH",
        ),
        (
            LogError::KeyMismatch { partition: partition(), expected: None, actual: Some(4) },
            Code::FailedPrecondition,
            "KEY_MISMATCH",
        ),
        (
            LogError::OutOfSequence { partition: partition(), producer, sequence: 9, expected: 7 },
            Code::FailedPrecondition,
            "OUT_OF_SEQUENCE",
        ),
        (
            LogError::ProducerFenced { partition: partition(), producer, epoch: 1, current: 2 },
            Code::FailedPrecondition,
            "PRODUCER_FENCED",
        ),
        (
            LogError::AlreadyAppended { partition: partition(), producer, sequence: 9 },
            Code::AlreadyExists,
            "ALREADY_APPENDED",
        ),
        (
            LogError::CursorFenced { partition: partition(), name: "mail".into(), fence: 1, current: 2 },
            Code::FailedPrecondition,
            "CURSOR_FENCED",
        ),
        (LogError::TooMany { what: "cursors", partition: partition(), limit: 5 }, Code::ResourceExhausted, "TOO_MANY"),
        (LogError::UnknownOutcome("?".into()), Code::Unknown, "UNKNOWN_OUTCOME"),
        (LogError::Unavailable("no majority".into()), Code::Unavailable, "UNAVAILABLE"),
        (LogError::Stopped("shutting down".into()), Code::Unavailable, "HALTED"),
        (LogError::UnknownTopic("orders".into()), Code::NotFound, "UNKNOWN_TOPIC"),
        (LogError::TopicExists("orders".into()), Code::AlreadyExists, "TOPIC_EXISTS"),
        (
            LogError::PartitionOutOfRange { topic: "orders".into(), partition: 9, count: 4 },
            Code::InvalidArgument,
            "PARTITION_OUT_OF_RANGE",
        ),
        (LogError::RecordTooLarge { index: 0, size: 2, limit: 1 }, Code::InvalidArgument, "RECORD_TOO_LARGE"),
        (LogError::BatchTooLarge { size: 2, limit: 1 }, Code::InvalidArgument, "BATCH_TOO_LARGE"),
        (
            LogError::OffsetOutOfRange { partition: partition(), offset: 9, end: 5 },
            Code::OutOfRange,
            "OFFSET_OUT_OF_RANGE",
        ),
        (LogError::Invalid("no".into()), Code::InvalidArgument, "INVALID_ARGUMENT"),
    ];
    let kinds: BTreeSet<_> = errors.iter().map(|(error, ..)| kind(error)).collect();
    assert_eq!(kinds, (0..KINDS).collect(), "there is one of each");
    errors
}

/// How many kinds of errors there are, and which one this is. A new one does not compile before it is here.
const KINDS: usize = 21;

fn kind(error: &LogError) -> usize {
    match error {
        LogError::NotLeader { .. } => 0,
        LogError::NotHosted { .. } => 1,
        LogError::Busy { .. } => 2,
        LogError::Full { .. } => 3,
        LogError::OffsetMismatch { .. } => 4,
        LogError::UnknownOutcome(_) => 5,
        LogError::Unavailable(_) => 6,
        LogError::Stopped(_) => 7,
        LogError::UnknownTopic(_) => 8,
        LogError::TopicExists(_) => 9,
        LogError::PartitionOutOfRange { .. } => 10,
        LogError::RecordTooLarge { .. } => 11,
        LogError::BatchTooLarge { .. } => 12,
        LogError::OffsetOutOfRange { .. } => 13,
        LogError::Invalid(_) => 14,
        LogError::KeyMismatch { .. } => 15,
        LogError::OutOfSequence { .. } => 16,
        LogError::ProducerFenced { .. } => 17,
        LogError::AlreadyAppended { .. } => 18,
        LogError::CursorFenced { .. } => 19,
        LogError::TooMany { .. } => 20,
    }
}

#[test]
fn every_error_has_its_code_reason_and_text() {
    for (error, code, reason) in every_error() {
        let status = Failure::new(&error, None).into_status();
        let info = status.get_details_error_info().expect("every error carries its reason");
        assert_eq!(
            (status.code(), info.reason.as_str(), info.domain.as_str()),
            (code, reason, "corduroy"),
            "{error:?}"
        );
        assert_eq!(status.message(), error.to_string());
    }
}

#[test]
fn waiting_is_advised_where_it_helps() {
    let advice = |error: &LogError| {
        Failure::new(error, None).into_status().get_details_retry_info().and_then(|info| info.retry_delay)
    };
    for (error, ..) in every_error() {
        let helps = matches!(
            error,
            LogError::NotLeader { .. } | LogError::Busy { .. } | LogError::Full { .. } | LogError::Unavailable(_)
        );
        assert_eq!(advice(&error).is_some(), helps, "{error:?}");
    }
    let busy = every_error().remove(2).0;
    assert_eq!(advice(&busy), Some(Duration::from_millis(7)));
}

#[test]
fn leader_and_replicas_are_named_in_the_details() {
    let error = LogError::NotLeader { asked: 1, partition: "orders/0".into(), leader: Some(2) };
    let info = Failure::new(&error, None).into_status().get_details_error_info().expect("a reason");
    assert_eq!(info.metadata.get("leader").map(String::as_str), Some("2"));
    let error = LogError::NotHosted { asked: 1, partition: "orders/0".into(), replicas: vec![2, 3] };
    let info = Failure::new(&error, None).into_status().get_details_error_info().expect("a reason");
    assert_eq!(info.metadata.get("replicas").map(String::as_str), Some("2,3"));
}

#[test]
fn stream_goes_on_after_a_wrong_request_and_not_after_a_refused_one() {
    let breaks = |error: &LogError| Failure::new(error, None).breaks_order();
    // What would be answered alike the next time need not be waited for.
    let of_its_own = ["OFFSET_MISMATCH", "KEY_MISMATCH", "ALREADY_APPENDED", "TOO_MANY"];
    for (error, code, reason) in every_error() {
        let goes_on = code == Code::InvalidArgument || of_its_own.contains(&reason);
        assert_eq!(breaks(&error), !goes_on, "{error:?}");
    }
    assert!(Failure::preceding().breaks_order());
}

#[test]
fn append_failures_say_the_same_as_statuses() {
    for (error, code, reason) in every_error() {
        let failure = Failure::new(&error, None).into_append_failure();
        assert_eq!((failure.code, failure.reason.as_str()), (i32::from(code), reason));
        assert_eq!(failure.message, error.to_string());
    }
}
