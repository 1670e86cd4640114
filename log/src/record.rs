//! Records: what producers append and readers get.
use crate::{topic::Offset, world::Timestamp};
use bytes::Bytes;

pub use corduroy_proto::batch::{Header, Record as NewRecord};

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
