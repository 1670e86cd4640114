//! Batches: what one Raft entry carries, and what travels to subscribers, byte for byte.
//!
//! The leader encodes a batch when it accepts it. From then on the same bytes travel to disks, to followers and to
//! subscribers, and so does their checksum: computed once, verified wherever the bytes come in. This is the layout and
//! nothing else: what it means is the log's. It is documented byte by byte in `docs/disk-format.md` and held by golden
//! tests.
//!
//! ```text
//! header       version u8 = 1 │ kind u8 │ flags u16 │ count u32 │ log time u64 (µs since 1970)
//!   flag 1     expected end u64
//!   flag 2     producer 16 bytes │ epoch u32 │ 0 u32 │ sequence u64
//!   flag 4     digest of a key 16 bytes │ offset of its last record u64 (all ones: it has none)
//! kind 1: each record
//!              value length u32 │ key length u32 (FFFF_FFFF: no key) │ headers u16 │ 0 u16
//!              then the key, then each header: name length u16, value length u32, name, value; then the value
//! kind 2: changes of cursors, which only nodes look at (`corduroy_log::batch`)
//! kind 3: what a service decided: term u64 │ sequence u64 │ sources u16 │ 0 u16 │ effects u32
//!              then each source: partition u64 │ from u64 │ to u64; then the effects; then its events, as records of kind 1
//! ```
//!
//! **Invariant**: a [`Batch`] has at least one record or change, or was decided, and a header this build understands. What its records hold
//! is checked when they are read.
mod decided;

mod header;

mod producer;

mod records;

pub use decided::SourceAdvance;
pub use header::{BatchHeader, Conditions, DecidedHeader, KeyExpectation, Kind};
pub use producer::{KeyDigest, ProducerId, ProducerStamp};
pub use records::{Header, Record, Records, keys, put_record, record_len};

use bytes::{Bytes, BytesMut};

/// An encoded batch. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    crc: u32,
    header: BatchHeader,
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
    /// Takes bytes that came from a disk, a peer or a node, after verifying the checksum and the header.
    ///
    /// # Errors
    /// [`BatchError::Checksum`], and what is wrong with the header.
    pub fn verify(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        let actual = crc32c::crc32c(&bytes);
        if actual != crc {
            return Err(BatchError::Checksum { actual, expected: crc });
        }
        Self::from_verified(bytes, crc)
    }

    /// Takes bytes whose checksum has been verified already.
    ///
    /// # Errors
    /// What is wrong with the header.
    pub fn from_verified(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(&bytes)?;
        let batch = Batch { bytes, crc, header };
        if batch.records_begin() > batch.bytes.len() {
            return Err(BatchError::Short(batch.bytes.len(), "what was decided"));
        }
        Ok(batch)
    }

    /// Seals encoded content in front of which there is room for the header.
    ///
    /// # Panics
    /// When there is no such room.
    pub fn seal(header: BatchHeader, mut buffer: BytesMut) -> Self {
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

    /// What it begins with.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Number of records; 0 where it holds none but changes of cursors.
    pub fn count(&self) -> u32 {
        match self.header.kind {
            Kind::Records | Kind::Decided => self.header.count,
            Kind::Cursors => 0,
        }
    }

    /// Its records, in order; none where it holds changes of cursors. They share the batch's memory.
    pub fn records(&self) -> Records {
        Records::new(self.bytes.clone(), self.records_begin(), self.count(), self.header.kind)
    }

    fn records_begin(&self) -> usize {
        self.header.len() + self.header.decided.map_or(0, |decided| decided.prelude())
    }

    /// The bytes of its records; those of its changes where it holds changes of cursors.
    pub fn record_bytes(&self) -> &[u8] {
        &self.bytes[self.records_begin()..]
    }

    /// What follows the header.
    pub fn content(&self) -> &[u8] {
        &self.bytes[self.header.len()..]
    }
}

#[cfg(test)]
mod tests;
