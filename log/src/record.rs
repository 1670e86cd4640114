//! Records: what producers append and readers get.
use crate::{topic::Offset, world::Timestamp};
use bytes::Bytes;

/// A named value beside a record's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name, UTF-8, not necessarily unique among a record's headers.
    pub name: String,
    /// Value.
    pub value: Bytes,
}

/// A record before it has an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// What the record is about; `None` and empty differ.
    pub key: Option<Bytes>,
    /// Named values, in order.
    pub headers: Vec<Header>,
    /// The payload.
    pub value: Bytes,
}

impl NewRecord {
    /// A record with a payload and nothing else.
    pub fn new(value: impl Into<Bytes>) -> Self {
        NewRecord { value: value.into(), ..Default::default() }
    }

    /// The same record with a key.
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the partition.
    pub offset: Offset,
    /// Log time of its batch: never decreases along a partition's offsets.
    pub time: Timestamp,
    /// What the record is about.
    pub key: Option<Bytes>,
    /// Named values, in order.
    pub headers: Vec<Header>,
    /// The payload.
    pub value: Bytes,
}

impl Record {
    /// Bytes of key, value and headers together.
    pub fn size(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        (self.key.as_ref().map_or(0, Bytes::len) + self.value.len() + headers) as u64
    }
}
