//! What went wrong, by what the caller does next.
use std::time::Duration;
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt;

/// The domain of error details that come from a Corduroy node.
const DOMAIN: &str = "corduroy";

/// Why a call did not do what was asked. Texts are the node's, written for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The append (or change of topics) may or may not have happened, or may still happen. Look before repeating it.
    #[error("unknown outcome: {0}")]
    UnknownOutcome(String),
    /// No connection to any of the nodes; nothing was sent.
    #[error("no node could be reached: {0}")]
    Unreachable(String),
    /// A read got no answer in time; nothing happened.
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// The asked node does not lead the partition. Nothing was appended.
    #[error("{message}")]
    NotLeader {
        /// What the node said.
        message: String,
        /// Who leads, if the node knew.
        leader: Option<u64>,
        /// The leader's gRPC address, if the node knew.
        leader_grpc: Option<String>,
    },
    /// The asked node holds no replica of the partition. Nothing was appended.
    #[error("{message}")]
    NotHosted {
        /// What the node said.
        message: String,
        /// gRPC addresses of nodes that hold one, as far as known.
        replicas_grpc: Vec<String>,
    },
    /// Too much in flight. Nothing was appended; try again later.
    #[error("{message}")]
    Busy {
        /// What the node said.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A disk of the cluster has no room. Nothing was appended; reads go on. Try again later: another node may lead by
    /// then, or there is space again.
    #[error("{message}")]
    Full {
        /// What the node said: which node, and how much space is needed.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// No majority answered, or the node is not ready yet. Nothing was appended.
    #[error("{0}")]
    Unavailable(String),
    /// The node is shutting down, or the partition has stopped there. Nothing was appended.
    #[error("{0}")]
    Halted(String),
    /// An earlier append of the same stream failed; nothing of this one was appended, so that order is kept.
    #[error("{0}")]
    PrecedingFailed(String),
    /// No such topic.
    #[error("{0}")]
    UnknownTopic(String),
    /// A topic of that name exists.
    #[error("{0}")]
    TopicExists(String),
    /// The topic has fewer partitions.
    #[error("{0}")]
    PartitionOutOfRange(String),
    /// A record is larger than the cluster's limit.
    #[error("{0}")]
    RecordTooLarge(String),
    /// The records of one request are larger than a batch may be.
    #[error("{0}")]
    BatchTooLarge(String),
    /// The offset is beyond the end of the partition.
    #[error("{0}")]
    OffsetOutOfRange(String),
    /// The request is wrong; the text says how.
    #[error("{0}")]
    Invalid(String),
    /// The other side does not speak this protocol, or broke it.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The connection failed after the request was sent. Never returned by appends, which say `UnknownOutcome`.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl Error {
    /// Whether nothing happened and the same call may well succeed a little later, or at another node.
    ///
    /// ```
    /// # use corduroy_client::Error;
    /// assert!(Error::Unavailable("no majority".into()).is_retryable());
    /// assert!(!Error::UnknownOutcome("the connection broke".into()).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::Unreachable(_)
                | Error::Timeout(_)
                | Error::NotLeader { .. }
                | Error::NotHosted { .. }
                | Error::Busy { .. }
                | Error::Full { .. }
                | Error::Unavailable(_)
                | Error::Halted(_)
                | Error::PrecedingFailed(_)
        )
    }

    /// What a node's status means. `address` is the node that was asked.
    pub(crate) fn from_status(status: &Status, address: &str) -> Self {
        let details = status.get_error_details();
        let message = status.message().to_owned();
        let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else {
            return Self::without_details(status, address);
        };
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let data = |name: &str| info.metadata.get(name).filter(|value| !value.is_empty());
        let leader = data("leader").and_then(|id| id.parse().ok());
        let addresses = data("replicas_grpc").map(|list| list.split(',').map(str::to_owned).collect());
        let hint =
            Hint { leader, leader_grpc: data("leader_grpc").cloned(), replicas_grpc: addresses.unwrap_or_default() };
        Self::from_reason(&info.reason, message, hint, retry_after)
    }

    /// What a reason named in `log.proto` means.
    pub(crate) fn from_reason(reason: &str, message: String, hint: Hint, retry_after: Option<Duration>) -> Self {
        match reason {
            "NOT_LEADER" => Error::NotLeader { message, leader: hint.leader, leader_grpc: hint.leader_grpc },
            "NOT_HOSTED" => Error::NotHosted { message, replicas_grpc: hint.replicas_grpc },
            "BUSY" => Error::Busy { message, retry_after: retry_after.unwrap_or(Duration::from_millis(10)) },
            "FULL" => Error::Full { message, retry_after: retry_after.unwrap_or(Duration::from_millis(250)) },
            "UNKNOWN_OUTCOME" => Error::UnknownOutcome(message.trim_start_matches("unknown outcome: ").to_owned()),
            "PRECEDING_FAILED" => Error::PrecedingFailed(message),
            "UNKNOWN_TOPIC" => Error::UnknownTopic(message),
            "TOPIC_EXISTS" => Error::TopicExists(message),
            "PARTITION_OUT_OF_RANGE" => Error::PartitionOutOfRange(message),
            "RECORD_TOO_LARGE" => Error::RecordTooLarge(message),
            "BATCH_TOO_LARGE" => Error::BatchTooLarge(message),
            "OFFSET_OUT_OF_RANGE" => Error::OffsetOutOfRange(message),
            "INVALID_ARGUMENT" => Error::Invalid(message),
            "UNAVAILABLE" => Error::Unavailable(message),
            "HALTED" => Error::Halted(message),
            other => Error::Protocol(format!("a node answered with the unknown reason {other}: {message}")),
        }
    }

    /// Statuses that were not made by a Corduroy node's handlers: transport, limits, other servers.
    fn without_details(status: &Status, address: &str) -> Self {
        if is_connect_error(status) {
            return Error::Unreachable(format!("{address}: {}", innermost(status)));
        }
        let message = status.message();
        match status.code() {
            Code::OutOfRange | Code::ResourceExhausted if message.contains("message length too large") => {
                Error::BatchTooLarge(message.to_owned())
            }
            Code::Unimplemented | Code::NotFound | Code::InvalidArgument => {
                Error::Protocol(format!("{address} answered {:?}: {message}", status.code()))
            }
            code => Error::Lost(format!("{address}: {code:?}: {message}")),
        }
    }

    /// The same error as an append reports it: whatever may have been sent is an unknown outcome.
    pub(crate) fn for_write(self) -> Self {
        match self {
            Error::Lost(text) | Error::Timeout(text) => Error::UnknownOutcome(text),
            other => other,
        }
    }
}

/// Where to go instead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hint {
    pub(crate) leader: Option<u64>,
    pub(crate) leader_grpc: Option<String>,
    pub(crate) replicas_grpc: Vec<String>,
}

/// True when the request never left: the connection could not be made.
fn is_connect_error(status: &Status) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The text of the last error of the chain, which is the one that says something ("Connection refused").
fn innermost(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}
