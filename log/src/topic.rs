//! Names of things: nodes, clusters, topics, partitions, offsets, log positions.
use crate::error::LogError;
use std::{fmt, str::FromStr};

/// A node's number in its cluster, from 1. Never used again after its disk is lost.
pub type NodeId = u64;

/// Position of a record in its partition: dense, from 0.
pub type Offset = u64;

/// A Raft term.
pub type Term = u64;

/// A format of the events of services. A kind of events that not every build knows belongs to a format, and is emitted only when
/// [`Log::format`](crate::Log::format) has come to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format(pub u32);

impl Format {
    /// What every build knows.
    pub const FIRST: Format = Format(1);
}

impl Default for Format {
    fn default() -> Self {
        Format::FIRST
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a cluster; frames, handshakes and snapshots carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClusterId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(ClusterId(*uuid::Uuid::parse_str(text)?.as_bytes()))
    }
}

/// Longest name of a topic, in bytes.
const NAME_BYTES: usize = 63;

/// Checks that a topic can have this name. Names are short, so that they may be kept, logged and put into paths.
///
/// # Errors
/// [`LogError::Invalid`], with the rule. It quotes a name only as far as a valid one could be long.
pub fn check_name(name: &str) -> Result<(), LogError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = name.bytes().next().is_some_and(plain);
    if first && name.len() <= NAME_BYTES && name.bytes().all(|byte| plain(byte) || b"._-".contains(&byte)) {
        return Ok(());
    }
    let quoted = &name[..name.floor_char_boundary(NAME_BYTES)];
    let more = if quoted.len() < name.len() { "…" } else { "" };
    Err(LogError::Invalid(format!(
        "{quoted:?}{more} is not a topic name: up to {NAME_BYTES} of a-z, 0-9, '.', '_' and '-', \
         beginning with a letter or a digit"
    )))
}

/// One ordered log: the number of its topic in the high 32 bits, of the partition in the low 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionId(pub u64);

impl PartitionId {
    /// `_cluster/0`, which keeps the cluster map.
    pub const CLUSTER: PartitionId = PartitionId(0);

    /// Partition `partition` of the topic with number `topic`.
    pub const fn new(topic: u32, partition: u32) -> Self {
        PartitionId((topic as u64) << 32 | partition as u64)
    }

    /// The topic's number.
    pub const fn topic(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The partition's number in its topic.
    pub const fn partition(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic(), self.partition())
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A position in a partition's Raft log. Not an offset: blanks and membership entries have log ids and no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId {
    /// Term of the leader that made the entry.
    pub term: Term,
    /// Index in the Raft log, from 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// A Raft vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vote {
    /// Term voted in.
    pub term: Term,
    /// Candidate voted for.
    pub node: NodeId,
    /// A majority is known to have granted it: the node is the leader of the term.
    pub committed: bool,
}
