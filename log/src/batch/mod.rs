//! Batches: what one Raft entry carries, encoded once.
//!
//! The leader encodes a batch when it accepts it. From then on the same bytes travel to the WAL, to the followers and to
//! readers, and so does their checksum: computed once here, verified wherever the bytes come in. The layout is documented
//! byte by byte in `docs/disk-format.md` and held by golden tests.
//!
//! ```text
//! header       version u8 = 1 │ kind u8 │ flags u16 │ count u32 │ log time u64 (µs since 1970)
//!   flag 1     expected end u64
//!   flag 2     producer 16 bytes │ epoch u32 │ 0 u32 │ sequence u64
//!   flag 4     digest of a key 16 bytes │ offset of its last record u64 (all ones: it has none)
//! kind 1: each record
//!              value length u32 │ key length u32 (FFFF_FFFF: no key) │ headers u16 │ 0 u16
//!              then the key, then each header: name length u16, value length u32, name, value; then the value
//! kind 2: each change of a cursor
//!              kind u8 │ 0 u8 │ name length u16 │ 0 u32 │ offset u64 │ fence u64 │ name
//! ```
//!
//! What the flags state are `Conditions`: where one of them does not hold the batch is *void*. It stays in the log and
//! costs no offset. The fold over the headers (`partition::fold`) decides that, on every replica alike.
//!
//! **Invariant**: a [`Batch`] has at least one record or change and a header this build understands. What its records hold
//! is checked when they are read: a batch is never rewritten, so nothing else needs to look inside.
mod header;

mod records;

mod cursors;

pub(crate) use cursors::{CursorChange, seal_cursors};
pub(crate) use header::{Conditions, KeyExpectation};
pub(crate) use records::{EncodedRecords, seal};

use self::header::{Header, Kind};
use crate::{config::Limits, error::LogError, record::NewRecord, record::Record, topic::Offset, world::Timestamp};
use bytes::Bytes;
use std::fmt;

/// An encoded batch of records. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    crc: u32,
    header: Header,
}

/// Why bytes are not a batch, or a batch not what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or a length says.
    #[error("batch ends after {0} bytes in the middle of a {1}")]
    Short(usize, &'static str),
    /// Written by a later version: it must not be skipped.
    #[error("unknown batch version {version}, kind {kind} or flags {flags:#06x}")]
    Unknown {
        /// Version byte.
        version: u8,
        /// Kind byte.
        kind: u8,
        /// Flags.
        flags: u16,
    },
    /// The checksum does not fit the bytes.
    #[error("batch checksum is {actual:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Of the bytes.
        actual: u32,
        /// As carried beside them.
        expected: u32,
    },
    /// A batch of nothing.
    #[error("batch is empty")]
    Empty,
    /// A header name that is not UTF-8.
    #[error("record {0} has a header name that is not UTF-8")]
    HeaderName(u32),
    /// Bits of a record that mean nothing yet: a later version gave them a meaning, which must not be passed over.
    #[error("record {0} has reserved bits set")]
    Reserved(u32),
    /// Bits of the header that mean nothing yet.
    #[error("the batch header has reserved bits set")]
    ReservedHeader,
    /// A change of a cursor that is none.
    #[error("cursor change {0}: {1}")]
    Cursor(u32, &'static str),
    /// Bytes after the last record.
    #[error("{0} bytes follow the last one of the batch")]
    Trailing(usize),
}

impl Batch {
    /// Checks records against the limits and encodes them, as a leader does for a request that is alone in its batch.
    ///
    /// # Errors
    /// [`LogError::Invalid`] without records; [`LogError::RecordTooLarge`]; [`LogError::BatchTooLarge`].
    pub fn encode(records: &[NewRecord], limits: &Limits, time: Timestamp) -> Result<Self, LogError> {
        Ok(seal([EncodedRecords::encode(records, Conditions::default(), limits)?], time))
    }

    /// Takes bytes that came from a disk or a peer, after verifying the checksum and the header.
    pub fn verify(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        let actual = crc32c::crc32c(&bytes);
        if actual != crc {
            return Err(BatchError::Checksum { actual, expected: crc });
        }
        Self::from_verified(bytes, crc)
    }

    /// Takes bytes whose checksum has been verified already.
    pub(crate) fn from_verified(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        let header = Header::decode(&bytes)?;
        Ok(Batch { bytes, crc, header })
    }

    /// Seals encoded content that leaves room for the header.
    fn seal(header: Header, mut buffer: bytes::BytesMut) -> Self {
        header.encode(&mut buffer[..header.len()]);
        let bytes = buffer.freeze();
        let crc = crc32c::crc32c(&bytes);
        Batch { bytes, crc, header }
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// CRC32C of the bytes.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Number of records; 0 where it holds none but changes of cursors.
    pub fn records(&self) -> u32 {
        match self.header.kind {
            Kind::Records => self.header.count,
            Kind::Cursors => 0,
        }
    }

    /// What must hold for it to count.
    pub(crate) fn conditions(&self) -> &Conditions {
        &self.header.conditions
    }

    /// Records it adds to a partition that ends at `end`, unless the fold found it void: all of them, or none where it
    /// expected another end.
    pub(crate) fn added(&self, end: Offset) -> u64 {
        if self.header.conditions.end.is_none_or(|expected| expected == end) { self.records().into() } else { 0 }
    }

    /// Log time of all its records.
    pub fn time(&self) -> Timestamp {
        self.header.time
    }

    /// Decodes the records; the first one has offset `base`. Keys, values and header values share the batch's memory.
    pub fn decode(&self, base: Offset) -> Result<Vec<Record>, BatchError> {
        match self.header.kind {
            Kind::Records => records::decode(self, base),
            Kind::Cursors => Ok(Vec::new()),
        }
    }

    /// The keys of its records, in order, with the place of each record in the batch. Ends where the records are no
    /// records: reading them will say so.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let content = if self.header.kind == Kind::Records { self.content_ref() } else { &[] };
        records::keys(content)
    }

    /// The changes of cursors it holds; none where it holds records.
    pub(crate) fn cursor_changes(&self) -> Result<Vec<CursorChange>, BatchError> {
        match self.header.kind {
            Kind::Records => Ok(Vec::new()),
            Kind::Cursors => cursors::decode(self),
        }
    }

    fn content(&self) -> Bytes {
        self.bytes.slice(self.header.len()..)
    }

    fn content_ref(&self) -> &[u8] {
        &self.bytes[self.header.len()..]
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.header.kind {
            Kind::Records => "records",
            Kind::Cursors => "changes of cursors",
        };
        write!(f, "{} {what} in {} bytes", self.header.count, self.bytes.len())
    }
}

#[cfg(test)]
mod tests;
