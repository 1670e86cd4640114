//! The one map from the log's errors to what gRPC clients see.
//!
//! | error | code | reason | a client may |
//! |---|---|---|---|
//! | `NotLeader` | FAILED_PRECONDITION | NOT_LEADER | ask `leader_grpc`, or another node a little later |
//! | `NotHosted` | FAILED_PRECONDITION | NOT_HOSTED | ask one of `replicas_grpc` |
//! | `Busy` | RESOURCE_EXHAUSTED | BUSY | repeat after the retry delay |
//! | `Full` | RESOURCE_EXHAUSTED | FULL | repeat after the retry delay: another node may lead, or there is space again |
//! | `OffsetMismatch` | FAILED_PRECONDITION | OFFSET_MISMATCH | read what came in between, decide again |
//! | `KeyMismatch` | FAILED_PRECONDITION | KEY_MISMATCH | read what came in between, decide again |
//! | `OutOfSequence` | FAILED_PRECONDITION | OUT_OF_SEQUENCE | append record `expected` first |
//! | `ProducerFenced` | FAILED_PRECONDITION | PRODUCER_FENCED | stop: it was replaced |
//! | `AlreadyAppended` | ALREADY_EXISTS | ALREADY_APPENDED | go on: the records are there |
//! | `CursorFenced` | FAILED_PRECONDITION | CURSOR_FENCED | stop: it was replaced |
//! | `TooMany` | RESOURCE_EXHAUSTED | TOO_MANY | delete some, or do without |
//! | `UnknownOutcome` | UNKNOWN | UNKNOWN_OUTCOME | look before repeating |
//! | (stream) | ABORTED | PRECEDING_FAILED | repeat on another stream, in order |
//! | `Unavailable` | UNAVAILABLE | UNAVAILABLE | repeat after the retry delay |
//! | `Stopped` | UNAVAILABLE | HALTED | ask another node |
//! | `UnknownTopic` | NOT_FOUND | UNKNOWN_TOPIC | create it |
//! | `TopicExists` | ALREADY_EXISTS | TOPIC_EXISTS | use it |
//! | `PartitionOutOfRange` | INVALID_ARGUMENT | PARTITION_OUT_OF_RANGE | correct the request |
//! | `RecordTooLarge` | INVALID_ARGUMENT | RECORD_TOO_LARGE | correct the request |
//! | `BatchTooLarge` | INVALID_ARGUMENT | BATCH_TOO_LARGE | send less at once |
//! | `OffsetOutOfRange` | OUT_OF_RANGE | OFFSET_OUT_OF_RANGE | correct the request, or wait |
//! | `Invalid` | INVALID_ARGUMENT | INVALID_ARGUMENT | correct the request |
//!
//! Nothing was appended after any of these, except UNKNOWN_OUTCOME.
use crate::{routing, world::Log};
use corduroy_log::{error::LogError, topic::NodeId};
use corduroy_proto::v1;
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of the reasons.
const DOMAIN: &str = "corduroy";
/// When to come back to a node that has no majority, no leader or no log yet.
const SOON: Duration = Duration::from_millis(100);

/// A refusal in gRPC's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) reason: &'static str,
    message: String,
    leader: Option<(NodeId, Option<String>)>,
    replicas: Vec<(NodeId, Option<String>)>,
    /// What there was instead of what was expected: name and value.
    found: Option<(&'static str, u64)>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// What to tell a client about an error; `log` knows the addresses of the nodes it names.
    pub(super) fn new(error: &LogError, log: Option<&Log>) -> Self {
        let address = |node: NodeId| (node, log.and_then(|log| routing::grpc_address(log, node)));
        let (code, reason) = classify(error);
        let mut failure = Failure::plain(code, reason, error.to_string());
        match error {
            LogError::NotLeader { leader, .. } => {
                failure.leader = leader.map(address);
                failure.retry_after = leader.is_none().then_some(SOON);
            }
            LogError::NotHosted { replicas, .. } => failure.replicas = replicas.iter().copied().map(address).collect(),
            LogError::Busy { retry_after, .. } | LogError::Full { retry_after, .. } => {
                failure.retry_after = Some(*retry_after)
            }
            LogError::Unavailable(_) => failure.retry_after = Some(SOON),
            LogError::OffsetMismatch { actual, .. } => failure.found = Some(("actual", *actual)),
            LogError::KeyMismatch { actual, .. } => failure.found = actual.map(|actual| ("actual", actual)),
            LogError::OutOfSequence { expected, .. } => failure.found = Some(("expected", *expected)),
            LogError::ProducerFenced { current, .. } => failure.found = Some(("current", (*current).into())),
            LogError::CursorFenced { current, .. } => failure.found = Some(("current", *current)),
            _ => {}
        }
        failure
    }

    /// An append that was not tried because an earlier one of its stream failed.
    pub(super) fn preceding() -> Self {
        let message = "not tried: an earlier append of this stream failed; open another stream to go on".to_owned();
        Failure::plain(Code::Aborted, "PRECEDING_FAILED", message)
    }

    /// Whether later requests of the same stream must not overtake this one. Those that were answered for good need not be
    /// waited for.
    pub(super) fn breaks_order(&self) -> bool {
        !matches!(self.code, Code::InvalidArgument)
            && !matches!(self.reason, "OFFSET_MISMATCH" | "KEY_MISMATCH" | "ALREADY_APPENDED" | "TOO_MANY")
    }

    fn plain(code: Code, reason: &'static str, message: String) -> Self {
        Failure { code, reason, message, leader: None, replicas: Vec::new(), found: None, retry_after: None }
    }

    /// As the status of a call.
    pub(super) fn into_status(self) -> Status {
        let mut metadata = HashMap::new();
        if let Some((leader, address)) = self.leader {
            metadata.insert("leader".to_owned(), leader.to_string());
            metadata.extend(address.map(|address| ("leader_grpc".to_owned(), address)));
        }
        if !self.replicas.is_empty() {
            let ids: Vec<String> = self.replicas.iter().map(|(id, _)| id.to_string()).collect();
            let addresses: Vec<String> = self.replicas.into_iter().filter_map(|(_, address)| address).collect();
            metadata.insert("replicas".to_owned(), ids.join(","));
            metadata.insert("replicas_grpc".to_owned(), addresses.join(","));
        }
        metadata.extend(self.found.map(|(name, value)| (name.to_owned(), value.to_string())));
        let mut details = ErrorDetails::with_error_info(self.reason, DOMAIN, metadata);
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        Status::with_error_details(self.code, self.message, details)
    }

    /// As an answer on an append stream.
    pub(super) fn into_append_failure(self) -> v1::AppendFailure {
        let (leader, address) = self.leader.map_or((None, None), |(id, address)| (Some(id), address));
        v1::AppendFailure {
            code: self.code.into(),
            message: self.message,
            reason: self.reason.to_owned(),
            leader,
            leader_grpc: address.unwrap_or_default(),
            found: self.found.map(|(_, value)| value),
            retry_after_ms: self.retry_after.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

fn classify(error: &LogError) -> (Code, &'static str) {
    match error {
        LogError::NotLeader { .. } => (Code::FailedPrecondition, "NOT_LEADER"),
        LogError::NotHosted { .. } => (Code::FailedPrecondition, "NOT_HOSTED"),
        LogError::Busy { .. } => (Code::ResourceExhausted, "BUSY"),
        LogError::Full { .. } => (Code::ResourceExhausted, "FULL"),
        LogError::OffsetMismatch { .. } => (Code::FailedPrecondition, "OFFSET_MISMATCH"),
        LogError::KeyMismatch { .. } => (Code::FailedPrecondition, "KEY_MISMATCH"),
        LogError::OutOfSequence { .. } => (Code::FailedPrecondition, "OUT_OF_SEQUENCE"),
        LogError::ProducerFenced { .. } => (Code::FailedPrecondition, "PRODUCER_FENCED"),
        LogError::AlreadyAppended { .. } => (Code::AlreadyExists, "ALREADY_APPENDED"),
        LogError::CursorFenced { .. } => (Code::FailedPrecondition, "CURSOR_FENCED"),
        LogError::TooMany { .. } => (Code::ResourceExhausted, "TOO_MANY"),
        LogError::UnknownOutcome(_) => (Code::Unknown, "UNKNOWN_OUTCOME"),
        LogError::Unavailable(_) => (Code::Unavailable, "UNAVAILABLE"),
        LogError::Stopped(_) => (Code::Unavailable, "HALTED"),
        LogError::UnknownTopic(_) => (Code::NotFound, "UNKNOWN_TOPIC"),
        LogError::TopicExists(_) => (Code::AlreadyExists, "TOPIC_EXISTS"),
        LogError::PartitionOutOfRange { .. } => (Code::InvalidArgument, "PARTITION_OUT_OF_RANGE"),
        LogError::RecordTooLarge { .. } => (Code::InvalidArgument, "RECORD_TOO_LARGE"),
        LogError::BatchTooLarge { .. } => (Code::InvalidArgument, "BATCH_TOO_LARGE"),
        LogError::OffsetOutOfRange { .. } => (Code::OutOfRange, "OFFSET_OUT_OF_RANGE"),
        LogError::Invalid(_) => (Code::InvalidArgument, "INVALID_ARGUMENT"),
    }
}
