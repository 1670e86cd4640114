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
    /// No answer in time. Nothing was appended.
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
    /// An earlier append to the same partition failed; nothing of this one was appended, so that order is kept.
    #[error("{0}")]
    PrecedingFailed(String),
    /// A conditional append found another end than it expected. Nothing was appended: read what came in between and decide
    /// again.
    #[error("{message}")]
    OffsetMismatch {
        /// What the node said.
        message: String,
        /// Where the partition ended.
        actual: u64,
    },
    /// A conditional append found the key's last record elsewhere. Nothing was appended: read what came in between and
    /// decide again.
    #[error("{message}")]
    KeyMismatch {
        /// What the node said.
        message: String,
        /// Where the key's last record is; `None`: it has none.
        actual: Option<u64>,
    },
    /// Records of the producer before these are missing in the partition: it was forgotten (24 h after its last append), or
    /// the partition lost them. Nothing was appended.
    #[error("{message}")]
    OutOfSequence {
        /// What the node said.
        message: String,
        /// Number of the record that the partition expects next.
        expected: u64,
    },
    /// A later life of the producer has appended. Nothing was appended, nor will be: this one was replaced.
    #[error("{message}")]
    ProducerFenced {
        /// What the node said.
        message: String,
        /// The epoch that appends now.
        current: u32,
    },
    /// The records are in the partition, and it no longer remembers at which offset.
    #[error("{0}")]
    AlreadyAppended(String),
    /// Somebody has taken the cursor over. Nothing was changed: stop consuming, or take it back.
    #[error("{message}")]
    CursorFenced {
        /// What the node said.
        message: String,
        /// The fence that the cursor has now.
        current: u64,
    },
    /// The partition keeps as many producers, cursors or keys as it may. Nothing was changed.
    #[error("{0}")]
    TooMany(String),
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
    /// // Read what came in between first: the same append would be refused again.
    /// assert!(!Error::OffsetMismatch { message: "it ends at 7".into(), actual: 7 }.is_retryable());
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
        let found = ["actual", "expected", "current"].into_iter().find_map(data).and_then(|value| value.parse().ok());
        let hint = Hint {
            leader,
            leader_grpc: data("leader_grpc").cloned(),
            replicas_grpc: addresses.unwrap_or_default(),
            found,
        };
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
            "OFFSET_MISMATCH" => Error::OffsetMismatch { message, actual: hint.found.unwrap_or_default() },
            "KEY_MISMATCH" => Error::KeyMismatch { message, actual: hint.found },
            "OUT_OF_SEQUENCE" => Error::OutOfSequence { message, expected: hint.found.unwrap_or_default() },
            "PRODUCER_FENCED" => {
                let current = u32::try_from(hint.found.unwrap_or_default()).unwrap_or(u32::MAX);
                Error::ProducerFenced { message, current }
            }
            "ALREADY_APPENDED" => Error::AlreadyAppended(message),
            "CURSOR_FENCED" => Error::CursorFenced { message, current: hint.found.unwrap_or_default() },
            "TOO_MANY" => Error::TooMany(message),
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
}

/// Where to go instead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hint {
    pub(crate) leader: Option<u64>,
    pub(crate) leader_grpc: Option<String>,
    pub(crate) replicas_grpc: Vec<String>,
    /// What there was instead of what was expected.
    pub(crate) found: Option<u64>,
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
