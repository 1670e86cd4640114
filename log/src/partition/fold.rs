//! The fold over a partition's log: what gives every batch its offset.
//!
//! **Invariant**: pure. The same log gives the same fold on every replica, and a fold that was stored and restored in the
//! middle goes on as one that was not.
use crate::{
    batch::Batch,
    raft::{Applied, log_id_from_wire, log_id_to_wire},
    topic::{LogId, Offset},
    wal::{LogHash, log_hash},
    world::Timestamp,
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;

/// Why a snapshot is not one, although its checksums match.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the snapshot does not decode: {0}")]
    Encoding(#[from] prost::DecodeError),
    #[error("the snapshot does not say {0}")]
    Missing(&'static str),
    #[error("the snapshot's marks are not in order at offset {0}")]
    Marks(Offset),
}

/// Everything that follows from the log of a partition without looking into its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fold {
    /// First offset not folded yet.
    pub end: Offset,
    /// Log time of the last batch.
    pub time: Timestamp,
    /// Bytes of all batches.
    pub bytes: u64,
    /// The last entry folded.
    pub last: Option<LogId>,
    /// Log hash after it.
    pub hash: LogHash,
    /// The last membership, encoded, and its entry.
    pub membership: Option<(LogId, Bytes)>,
    pub marks: Marks,
}

impl Fold {
    /// An entry without records, whose payload has this CRC32C.
    pub(crate) fn pass(&mut self, id: LogId, crc: u32) -> Applied {
        self.hash = log_hash(&self.hash, id.index, id.term, crc);
        self.last = Some(id);
        Applied { base: self.end, end: self.end, time: self.time }
    }

    /// An entry that changes the voters.
    pub(crate) fn change_membership(&mut self, id: LogId, encoded: Bytes) -> Applied {
        let crc = crc32c::crc32c(&encoded);
        self.membership = Some((id, encoded));
        self.pass(id, crc)
    }

    /// An entry with records.
    pub(crate) fn evolve(&mut self, id: LogId, batch: &Batch) -> Applied {
        let base = self.pass(id, batch.crc()).base;
        let bytes = batch.bytes().len() as u64;
        self.marks.note(Mark { offset: self.end, index: id.index }, bytes);
        self.end += batch.added(base);
        self.time = self.time.max(batch.time());
        self.bytes += bytes;
        Applied { base, end: self.end, time: batch.time() }
    }

    /// Everything but the state of the machine; `None` while nothing is folded.
    pub(crate) fn snapshot(&self) -> Option<pb::PartitionSnapshot> {
        let last = self.last?;
        let (membership_id, membership) = self.membership.clone().unzip();
        let marks = &self.marks;
        let encoded_marks = marks.marks.iter().map(|mark| pb::OffsetMark { offset: mark.offset, index: mark.index });
        let fold = pb::PartitionFold {
            end_offset: self.end,
            time: self.time.0,
            bytes: self.bytes,
            marks: encoded_marks.collect(),
            thinned: marks.thinned,
            batches_since_mark: marks.batches,
            bytes_since_mark: marks.bytes,
        };
        Some(pb::PartitionSnapshot {
            last: Some(log_id_to_wire(last)),
            log_hash: Bytes::copy_from_slice(&self.hash),
            membership_id: membership_id.map(log_id_to_wire),
            membership: membership.unwrap_or_default(),
            fold: Some(fold),
            machine: Bytes::new(),
        })
    }

    pub(crate) fn restore(snapshot: &pb::PartitionSnapshot) -> Result<Self, SnapshotError> {
        let fold = snapshot.fold.as_ref().ok_or(SnapshotError::Missing("what the log folds to"))?;
        let last = snapshot.last.as_ref().ok_or(SnapshotError::Missing("its last entry"))?;
        let hash = LogHash::try_from(&snapshot.log_hash[..]).map_err(|_| SnapshotError::Missing("its log hash"))?;
        let membership = snapshot.membership_id.as_ref().map(|id| (log_id_from_wire(id), snapshot.membership.clone()));
        Ok(Fold {
            end: fold.end_offset,
            time: Timestamp(fold.time),
            bytes: fold.bytes,
            last: Some(log_id_from_wire(last)),
            hash,
            membership,
            marks: Marks::restore(fold)?,
        })
    }
}

/// A position in the Raft log from which to look for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub offset: Offset,
    /// Of an entry before which the partition ends there. Void batches have such entries, too: several marks may have one offset.
    pub index: u64,
}

/// Marks kept at most: one MiB of them. A log of four million batches has its marks 64 batches apart; from then on the
/// distance doubles whenever the log does.
const MAX_MARKS: usize = 64 << 10;
/// Batches and bytes of batches between two marks, whichever comes first, before any thinning: what a reader that seeks
/// reads in vain.
const BATCHES_APART: u64 = 64;
const BYTES_APART: u64 = 1 << 20;

/// A sparse index from offsets to the Raft log, of bounded size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    marks: Vec<Mark>,
    thinned: u32,
    /// Since the last mark, its own batch included.
    batches: u64,
    bytes: u64,
}

impl Marks {
    /// Takes the place of a batch of `bytes` bytes.
    fn note(&mut self, place: Mark, bytes: u64) {
        let far = self.batches >= BATCHES_APART << self.thinned || self.bytes >= BYTES_APART << self.thinned;
        if far || self.marks.is_empty() {
            self.marks.push(place);
            (self.batches, self.bytes) = (0, 0);
        }
        self.batches += 1;
        self.bytes += bytes;
        if self.marks.len() > MAX_MARKS {
            self.thin();
        }
    }

    /// Drops every second mark. The first one stays, so that every offset still has one at or before it; so does the last,
    /// since their number is odd, and what is counted since it stays right.
    fn thin(&mut self) {
        let mut nth = 0;
        self.marks.retain(|_| {
            nth += 1;
            nth % 2 == 1
        });
        self.marks.shrink_to_fit();
        self.thinned += 1;
    }

    /// The last mark at or before an offset.
    pub(crate) fn seek(&self, offset: Offset) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.offset <= offset);
        self.marks.get(after.checked_sub(1)?).copied()
    }

    fn restore(fold: &pb::PartitionFold) -> Result<Self, SnapshotError> {
        let marks: Vec<Mark> = fold.marks.iter().map(|mark| Mark { offset: mark.offset, index: mark.index }).collect();
        let disorder = marks.windows(2).find(|pair| pair[0].offset > pair[1].offset || pair[0].index >= pair[1].index);
        if let Some(pair) = disorder {
            return Err(SnapshotError::Marks(pair[1].offset));
        }
        if fold.thinned > 40 {
            return Err(SnapshotError::Missing("a plausible distance of its marks"));
        }
        Ok(Marks { marks, thinned: fold.thinned, batches: fold.batches_since_mark, bytes: fold.bytes_since_mark })
    }
}

#[cfg(test)]
mod tests;
