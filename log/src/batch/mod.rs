//! Batches: what one Raft entry carries, encoded once.
//!
//! The leader encodes a batch when it accepts it. From then on the same bytes travel to the WAL, to the followers and to
//! subscribers, and so does their checksum: computed once here, verified wherever the bytes come in. The layout is
//! [`corduroy_proto::batch`], which clients read, too, but for one kind:
//!
//! ```text
//! kind 2: each change of a cursor
//!              kind u8 │ 0 u8 │ name length u16 │ 0 u32 │ offset u64 │ fence u64 │ name
//! ```
//!
//! What its flags state are `Conditions`: where one of them does not hold the batch is *void*. It stays in the log and
//! costs no offset. The fold over the headers (`partition::fold`) decides that, on every replica alike.
//!
//! **Invariant**: a [`Batch`] has at least one record or change, or was decided, and a header this build understands. What its
//! records hold is checked when they are read: a batch is never rewritten, so nothing else needs to look inside.
mod records;

mod cursors;

mod decided;

pub use corduroy_proto::batch::BatchError;

pub(crate) use corduroy_proto::batch::{Conditions, KeyExpectation};
pub(crate) use cursors::{CursorChange, seal_cursors};
pub use decided::DecidedBatch;
pub(crate) use records::{EncodedRecords, seal};

use crate::{config::Limits, error::LogError, record::NewRecord, record::Record, topic::Offset, world::Timestamp};
use bytes::{Bytes, BytesMut};
use corduroy_proto::batch::{self as layout, BatchHeader, Kind};
use std::fmt;

/// An encoded batch of records. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch(layout::Batch);

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
        layout::Batch::verify(bytes, crc).map(Batch)
    }

    /// Takes bytes whose checksum has been verified already.
    pub(crate) fn from_verified(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        layout::Batch::from_verified(bytes, crc).map(Batch)
    }

    /// Seals encoded content in front of which there is room for the header.
    fn seal(header: BatchHeader, buffer: BytesMut) -> Self {
        Batch(layout::Batch::seal(header, buffer))
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &Bytes {
        self.0.bytes()
    }

    /// CRC32C of the bytes.
    pub fn crc(&self) -> u32 {
        self.0.crc()
    }

    /// Number of records; 0 where it holds none but changes of cursors.
    pub fn records(&self) -> u32 {
        self.0.count()
    }

    /// What must hold for it to count.
    pub(crate) fn conditions(&self) -> &Conditions {
        &self.0.header().conditions
    }

    /// Records it adds to a partition that ends at `end`, unless the fold found it void: all of them, or none where it
    /// expected another end.
    pub(crate) fn added(&self, end: Offset) -> u64 {
        if self.conditions().end.is_none_or(|expected| expected == end) { self.records().into() } else { 0 }
    }

    /// Log time of all its records.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.0.header().time)
    }

    /// Decodes the records; the first one has offset `base`. Keys, values and header values share the batch's memory.
    pub fn decode(&self, base: Offset) -> Result<Vec<Record>, BatchError> {
        let time = self.time();
        let place = |(offset, record): (Offset, Result<NewRecord, _>)| {
            record.map(|NewRecord { key, headers, value }| Record { offset, time, key, headers, value })
        };
        (base..).zip(self.0.records()).map(place).collect()
    }

    /// The keys of its records, in order, with the place of each record in the batch. Ends where the records are no
    /// records: reading them will say so.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let records = if self.0.header().kind == Kind::Cursors { &[] } else { self.0.record_bytes() };
        layout::keys(records)
    }

    /// The changes of cursors it holds; none where it holds records.
    pub(crate) fn cursor_changes(&self) -> Result<Vec<CursorChange>, BatchError> {
        match self.0.header().kind {
            Kind::Records | Kind::Decided => Ok(Vec::new()),
            Kind::Cursors => cursors::decode(&self.0),
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.0.header().kind {
            Kind::Records => "records",
            Kind::Cursors => "changes of cursors",
            Kind::Decided => "decided events",
        };
        write!(f, "{} {what} in {} bytes", self.0.header().count, self.bytes().len())
    }
}

#[cfg(test)]
mod tests;
