//! Errors, by what the caller does next.
use crate::{
    producer::ProducerId,
    topic::{NodeId, Offset},
    world::Halt,
};
use std::{fmt, io, path::PathBuf, time::Duration};

/// Why the log did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Ask the leader instead. Nothing was appended.
    #[error("node {asked} does not lead {partition}{}", leader.map_or(String::from(" and no leader is known"), |l| format!(", node {l} does")))]
    NotLeader {
        /// The node that was asked.
        asked: NodeId,
        /// `topic/partition`.
        partition: String,
        /// Who leads, when known.
        leader: Option<NodeId>,
    },
    /// Too much in flight. Nothing was appended; try again after the given time.
    #[error("{partition} is busy: {in_flight} bytes are in flight in {scope}, the bound is {limit}")]
    Busy {
        /// `topic/partition`.
        partition: String,
        /// Whose bytes in flight reach their bound.
        scope: Scope,
        /// Bytes accepted and not yet committed.
        in_flight: u64,
        /// The bound on them.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A disk has no room for more. Nothing was appended; reads go on. Try again after the given time: another replica may
    /// lead by then, and where none can, the node takes appends again by itself once there is space.
    #[error("no space for {partition} on the disk of node {node}{}", room.map_or(String::new(), |Room { free, needed }| format!(": {free} bytes are free, it takes appends again when {needed} are")))]
    Full {
        /// The node without space.
        node: NodeId,
        /// `topic/partition`.
        partition: String,
        /// How much room there is; `None`: the disk is another node's.
        room: Option<Room>,
        /// When to try again.
        retry_after: Duration,
    },
    /// A conditional append found another end than it expected. Nothing was appended.
    #[error("{partition} ends at offset {actual}, the append expected {expected}")]
    OffsetMismatch {
        /// `topic/partition`.
        partition: String,
        /// The end the caller expected.
        expected: Offset,
        /// The end there was.
        actual: Offset,
    },
    /// A conditional append found the key's last record elsewhere. Nothing was appended.
    #[error("the key's last record in {partition} {}, the append expected {}", at(actual), at(expected))]
    KeyMismatch {
        /// `topic/partition`.
        partition: String,
        /// Where the caller expected it.
        expected: Option<Offset>,
        /// Where it is.
        actual: Option<Offset>,
    },
    /// The records are not the producer's next: earlier ones are missing, because their append failed or because the producer
    /// was forgotten (24 h after its last append). Nothing was appended; append what is missing first.
    #[error("{partition} expects record {expected} of producer {producer} next, not record {sequence}")]
    OutOfSequence {
        /// `topic/partition`.
        partition: String,
        /// Who.
        producer: ProducerId,
        /// Number of the first record of the append.
        sequence: u64,
        /// Number of the record that comes next.
        expected: u64,
    },
    /// A later life of the producer has appended. Nothing was appended, nor will be: whoever has this epoch was replaced.
    #[error("producer {producer} appends to {partition} with epoch {current} now, epoch {epoch} is over")]
    ProducerFenced {
        /// `topic/partition`.
        partition: String,
        /// Who.
        producer: ProducerId,
        /// The epoch of the append.
        epoch: u32,
        /// The producer's epoch now.
        current: u32,
    },
    /// The partition has these records of the producer, and no longer remembers at which offset: more than 128 appends ago.
    #[error("{partition} has record {sequence} of producer {producer} already; its offset is no longer remembered")]
    AlreadyAppended {
        /// `topic/partition`.
        partition: String,
        /// Who.
        producer: ProducerId,
        /// Number of the first record of the append.
        sequence: u64,
    },
    /// Somebody else has taken the cursor over. Nothing was changed; stop consuming, or take it back.
    #[error("cursor {name:?} of {partition} belongs to fence {current} now, fence {fence} is over")]
    CursorFenced {
        /// `topic/partition`.
        partition: String,
        /// The cursor.
        name: String,
        /// The fence that was given.
        fence: u64,
        /// The fence the cursor has.
        current: u64,
    },
    /// The partition keeps as many of these as it may. Nothing was changed.
    #[error("{partition} has {limit} {what}, more are not kept")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// `topic/partition`.
        partition: String,
        /// How many.
        limit: u64,
    },
    /// The append may or may not have happened, or may still happen.
    #[error("unknown outcome: {0}")]
    UnknownOutcome(String),
    /// Not now: no majority answered a read in time, or what came before an append is not settled. Nothing happened; try again a
    /// little later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No such topic.
    #[error("no topic named {0:?}")]
    UnknownTopic(String),
    /// A topic of that name exists.
    #[error("a topic named {0:?} exists already")]
    TopicExists(String),
    /// The topic has fewer partitions.
    #[error("topic {topic:?} has partitions 0..{count}, there is no partition {partition}")]
    PartitionOutOfRange {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        count: u32,
    },
    /// The partition has no replica on this node; one of these has.
    #[error("node {asked} holds no replica of {partition}; nodes {replicas:?} do")]
    NotHosted {
        /// The node that was asked.
        asked: NodeId,
        /// `topic/partition`.
        partition: String,
        /// The nodes that hold it.
        replicas: Vec<NodeId>,
    },
    /// A record is larger than the limit (key, value and headers together).
    #[error("record {index} of the request has {size} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// Position in the request, from 0.
        index: usize,
        /// Bytes of key, value and headers.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The records of one request are larger than a batch may be.
    #[error("the request has {size} bytes, a batch may have {limit}")]
    BatchTooLarge {
        /// Bytes of the encoded batch.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The offset is beyond the end of the partition.
    #[error("offset {offset} is past the end of {partition}, which is {end}")]
    OffsetOutOfRange {
        /// `topic/partition`.
        partition: String,
        /// The offset asked for.
        offset: Offset,
        /// The first offset that does not exist yet.
        end: Offset,
    },
    /// The request itself is wrong; it says how.
    #[error("{0}")]
    Invalid(String),
    /// The node is shutting down, or the partition has stopped for the reason given.
    #[error("stopped: {0}")]
    Stopped(String),
}

/// Where a key's last record is, in words.
fn at(last: &Option<Offset>) -> String {
    last.map_or_else(|| "is nowhere".into(), |offset| format!("is at offset {offset}"))
}

/// What a bound is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The partition that was asked: another one may take more.
    Partition,
    /// All partitions of the node together.
    Node,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Partition => "it",
            Scope::Node => "all partitions of its leader's node",
        })
    }
}

/// Room in the file system of a data directory. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free now.
    pub free: u64,
    /// Must be free before appends are taken again.
    pub needed: u64,
}

/// Why a node's log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the data directory.
    #[error("the data directory {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The node must not run with this data: see [`Halt`].
    #[error("{0}")]
    Halt(Halt),
    /// The configuration does not hold together.
    #[error("{0}")]
    Config(String),
    /// The address for peers cannot be listened on.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Anything the file system said.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}
