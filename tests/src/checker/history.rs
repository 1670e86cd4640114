//! What a run looked like from outside.
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU64};
use xxhash_rust::xxh3::Xxh3;

/// Identity of a record, given by the client that sends it and carried in the record. Never sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub NonZeroU64);

impl RecordId {
    /// The id with this number; `None` for 0, which is no id.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(RecordId)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Fingerprint of everything a client sent as one record: key, headers, payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueHash(pub u64);

impl ValueHash {
    /// Fingerprint of a record. An absent key and an empty one differ.
    pub fn of<'a>(key: Option<&[u8]>, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>, value: &[u8]) -> Self {
        let mut hash = Xxh3::new();
        // Lengths go in as well, so that no byte can move from one field to the next unseen.
        let mut field = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(&[u8::from(key.is_some())]);
        field(key.unwrap_or_default());
        for (name, content) in headers {
            field(name.as_bytes());
            field(content);
        }
        field(value);
        ValueHash(hash.digest())
    }
}

/// A moment of the run, in nanoseconds since it began, on one clock shared by all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

/// A client whose operations follow each other. Session reads promise it never to see less than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u32);

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The log said: it is there.
    Acked {
        /// In this partition.
        partition: u32,
        /// At this offset.
        offset: u64,
    },
    /// The log said: it is not there and never will be.
    Refused,
    /// Nobody said anything definite.
    Unknown,
}

/// One record a client tried to append. The records of one request share their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Who sent it.
    pub session: SessionId,
    /// Its id.
    pub id: RecordId,
    /// Fingerprint of what was sent.
    pub value: ValueHash,
    /// Before the first byte was sent.
    pub start: Moment,
    /// After the answer was there, or the client gave up.
    pub end: Moment,
    /// The answer.
    pub outcome: Outcome,
}

/// A record as a log holds it or a reader got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its offset.
    pub offset: u64,
    /// The id found in it; `None` when there is none to be found.
    pub id: Option<RecordId>,
    /// Fingerprint of key, headers and payload.
    pub value: ValueHash,
    /// Log time in microseconds since 1970: the same on every replica.
    pub time: u64,
}

/// What a read promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// To see everything acknowledged before it began.
    Linearizable,
    /// To see everything its session has seen or appended before.
    Session,
    /// Nothing but records that stay.
    Stale,
}

/// One answered read. Reads that failed promise nothing and are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Who read.
    pub session: SessionId,
    /// Before the request was sent.
    pub start: Moment,
    /// After the answer was there.
    pub end: Moment,
    /// The partition.
    pub partition: u32,
    /// What was promised.
    pub consistency: Consistency,
    /// What came back, in the order in which it came.
    pub records: Vec<Entry>,
    /// The readable bound that came with it: the first offset that could not be read yet.
    pub end_offset: u64,
}

/// What one replica of one partition holds in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The node.
    pub node: u64,
    /// The partition.
    pub partition: u32,
    /// False for a replica that was meant to lose data: it may lack records, but not hold wrong ones.
    pub healthy: bool,
    /// The first offset it still keeps.
    pub start_offset: u64,
    /// Its records, in the order of its log.
    pub records: Vec<Entry>,
}

/// A whole run in memory, as [`check`](super::check()) takes it and as failing tests leave it behind as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Every append, in any order.
    pub appends: Vec<Append>,
    /// Every read, in any order.
    pub reads: Vec<Read>,
    /// Every replica of every partition.
    pub replicas: Vec<Replica>,
}
