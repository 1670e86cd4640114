//! The fold over a partition's log: what gives every batch its offset, or finds it void.
//!
//! ```text
//!   batch ──▶ judge: its conditions against what the log folds to ──▶ void: nothing changes, no offset is spent
//!                                                               └──▶ counts: end, marks, producers, keys
//! ```
//!
//! **Invariant**: pure. The same log gives the same fold on every replica, and a fold that was stored and restored in the
//! middle goes on as one that was not.
mod marks;

mod producers;

mod keys;

mod cursors;

mod decisions;

mod shards;

pub use cursors::Cursor;

pub(crate) use cursors::CursorVerdict;
pub(crate) use decisions::Decisions;
pub(crate) use keys::Keys;
pub(crate) use marks::{Mark, Marks};
pub(crate) use producers::{Age, Producers, RUNS, SESSIONS};

use self::{producers::Session, shards::Shards};
use crate::{
    batch::{Batch, Conditions},
    producer::ProducerId,
    raft::{Applied, log_id_from_wire, log_id_to_wire},
    topic::{LogId, Offset, PartitionId, Term},
    wal::{LogHash, log_hash},
    world::Timestamp,
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use std::{ops::Range, sync::Arc};

/// Why a snapshot is not one, although its checksums match.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the snapshot does not decode: {0}")]
    Encoding(#[from] prost::DecodeError),
    #[error("the snapshot's state: {0}")]
    Machine(String),
    #[error("the snapshot does not say {0}")]
    Missing(&'static str),
    #[error("the snapshot's marks are not in order at offset {0}")]
    Marks(Offset),
}

/// What a partition's log folds to beside offsets; the same for all partitions of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoldOptions {
    /// Where each key has its last record.
    pub key_index: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts; so does every entry that is no batch.
    #[default]
    Counts,
    /// It does not.
    Void(Void),
    /// What became of each of the changes in it.
    Cursors(Vec<CursorVerdict>),
}

/// Why a batch is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Void {
    /// The partition ends elsewhere.
    End { actual: Offset },
    /// The key has its last record elsewhere.
    Key { actual: Option<Offset> },
    /// The partition has these records of the producer, from this offset on; `None`: where is not remembered.
    Duplicate { first: Option<Offset> },
    /// The producer's records before these are missing, or it was forgotten.
    Sequence { expected: u64 },
    /// A later life of the producer has appended.
    Epoch { current: u32 },
    /// The partition remembers no more producers.
    Producers,
    /// It was decided in another term, or is not the next one of this.
    Fence { term: Term, next: u64 },
    /// It read a source from elsewhere than where it was to be read on.
    Source { partition: PartitionId, at: Offset },
}

/// Everything that follows from the log of a partition without running any rule of a service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fold {
    /// First offset not folded yet.
    pub end: Offset,
    /// Log time of the last batch.
    pub time: Timestamp,
    /// The same, as sessions of producers count it.
    age: Age,
    /// Bytes of all batches.
    pub bytes: u64,
    /// The last entry folded.
    pub last: Option<LogId>,
    /// Log hash after it.
    pub hash: LogHash,
    /// The last membership, encoded, and its entry.
    pub membership: Option<(LogId, Bytes)>,
    pub marks: Marks,
    pub producers: Producers,
    /// Where the topic has a key index.
    pub keys: Option<Keys>,
    cursors: Shards<String, Cursor>,
    pub decisions: Decisions,
    /// Raft indexes of the batches that are void by more than their own header says, ascending.
    voids: Arc<Vec<u64>>,
}

impl Fold {
    pub(crate) fn new(options: FoldOptions) -> Self {
        Fold { keys: options.key_index.then(Keys::default), ..Fold::default() }
    }

    /// An entry without records, whose payload has this CRC32C.
    pub(crate) fn pass(&mut self, id: LogId, crc: u32) -> Applied {
        self.hash = log_hash(&self.hash, id.index, id.term, crc);
        self.last = Some(id);
        Applied { base: self.end, end: self.end, time: self.time, verdict: Verdict::Counts }
    }

    /// An entry that changes the voters.
    pub(crate) fn change_membership(&mut self, id: LogId, encoded: Bytes) -> Applied {
        let crc = crc32c::crc32c(&encoded);
        self.membership = Some((id, encoded));
        self.pass(id, crc)
    }

    /// An entry with a batch.
    pub(crate) fn evolve(&mut self, id: LogId, batch: &Batch) -> Applied {
        let base = self.pass(id, batch.crc()).base;
        let bytes = batch.bytes().len() as u64;
        self.marks.note(Mark { offset: self.end, index: id.index }, bytes);
        self.age = self.age_at(batch.time());
        self.time = self.time.max(batch.time());
        self.bytes += bytes;
        let verdict = match self.judge(id.term, batch) {
            Ok(()) => self.take(batch),
            Err(void) => {
                if !matches!(void, Void::End { .. }) {
                    Arc::make_mut(&mut self.voids).push(id.index);
                }
                Verdict::Void(void)
            }
        };
        Applied { base, end: self.end, time: batch.time(), verdict }
    }

    /// What a batch of this log time would make of the age.
    pub(crate) fn age_at(&self, time: Timestamp) -> Age {
        self.age.after(self.time, time)
    }

    /// Whether a batch counts here, in an entry of this term. A repetition is told first: what its first attempt did may be why
    /// it would not count.
    pub(crate) fn judge(&self, term: Term, batch: &Batch) -> Result<(), Void> {
        self.decisions.judge(term, batch)?;
        let Conditions { end, key, producer } = batch.conditions();
        if let Some(stamp) = producer {
            self.producers.judge(stamp, batch.records().into(), self.age_at(batch.time()))?;
        }
        if end.is_some_and(|end| end != self.end) {
            return Err(Void::End { actual: self.end });
        }
        match (key, &self.keys) {
            (None, _) => Ok(()),
            (Some(expected), Some(keys)) => keys.judge(expected),
            (Some(_), None) => Err(Void::Key { actual: None }),
        }
    }

    fn take(&mut self, batch: &Batch) -> Verdict {
        let (base, records) = (self.end, u64::from(batch.records()));
        self.end += records;
        if let Some(stamp) = &batch.conditions().producer {
            self.producers.append(stamp, records, base, self.age);
        }
        if let Some(keys) = &mut self.keys {
            keys.note(batch, base);
        }
        self.decisions.take(batch);
        if records > 0 || batch.decided().is_some() {
            return Verdict::Counts;
        }
        // Leaders check what they seal: changes that do not decode are none, on every replica alike.
        let changes = batch.cursor_changes().unwrap_or_default().into_iter();
        Verdict::Cursors(
            changes.map(|change| cursors::change(&mut self.cursors, change, self.end, self.time)).collect(),
        )
    }

    /// Of the batches in this range of the Raft log, those that are void by more than their own header says.
    pub(crate) fn voids(&self, range: Range<u64>) -> &[u64] {
        let at = |index| self.voids.partition_point(|void| *void < index);
        &self.voids[at(range.start)..at(range.end).max(at(range.start))]
    }

    pub(crate) fn cursor(&self, name: &str) -> Option<Cursor> {
        self.cursors.get(name).copied()
    }

    /// All named cursors.
    pub(crate) fn cursors(&self) -> impl Iterator<Item = (&String, &Cursor)> {
        self.cursors.iter()
    }

    /// A copy for a checkpoint, made at once; `None` while nothing is folded.
    pub(crate) fn frozen(&self) -> Option<FrozenFold> {
        let last = self.last?;
        Some(FrozenFold {
            last,
            end: self.end,
            time: self.time,
            age: self.age,
            bytes: self.bytes,
            hash: self.hash,
            membership: self.membership.clone(),
            marks: self.marks.clone(),
            producers: self.producers.frozen(),
            keys: self.keys.clone(),
            cursors: self.cursors.clone(),
            decisions: self.decisions.clone(),
            voids: self.voids.clone(),
        })
    }

    pub(crate) fn restore(snapshot: &pb::PartitionSnapshot, options: FoldOptions) -> Result<Self, SnapshotError> {
        let fold = snapshot.fold.as_ref().ok_or(SnapshotError::Missing("what the log folds to"))?;
        let last = snapshot.last.as_ref().ok_or(SnapshotError::Missing("its last entry"))?;
        let hash = LogHash::try_from(&snapshot.log_hash[..]).map_err(|_| SnapshotError::Missing("its log hash"))?;
        let membership = snapshot.membership_id.as_ref().map(|id| (log_id_from_wire(id), snapshot.membership.clone()));
        if !snapshot.voids.is_sorted() {
            return Err(SnapshotError::Missing("void batches in order"));
        }
        Ok(Fold {
            end: fold.end_offset,
            time: Timestamp(fold.time),
            age: Age(fold.age),
            bytes: fold.bytes,
            last: Some(log_id_from_wire(last)),
            hash,
            membership,
            marks: Marks::restore(fold)?,
            producers: Producers::restore(&snapshot.producers)?,
            keys: options.key_index.then(|| Keys::restore(&snapshot.keys)).transpose()?,
            cursors: cursors::restore(&snapshot.cursors),
            decisions: Decisions::restore(snapshot.decisions.as_ref())?,
            voids: Arc::new(snapshot.voids.clone()),
        })
    }
}

/// A fold as it was at one entry: shares what does not change.
pub(crate) struct FrozenFold {
    last: LogId,
    end: Offset,
    time: Timestamp,
    age: Age,
    bytes: u64,
    hash: LogHash,
    membership: Option<(LogId, Bytes)>,
    marks: Marks,
    producers: Shards<ProducerId, Session>,
    keys: Option<Keys>,
    cursors: Shards<String, Cursor>,
    decisions: Decisions,
    voids: Arc<Vec<u64>>,
}

impl FrozenFold {
    /// The last entry, and the bytes of all batches up to it.
    pub(crate) fn reached(&self) -> (u64, u64) {
        (self.last.index, self.bytes)
    }

    /// Everything but the state of the machine.
    pub(crate) fn encode(self) -> pb::PartitionSnapshot {
        let (membership_id, membership) = self.membership.unzip();
        let fold = pb::PartitionFold {
            end_offset: self.end,
            time: self.time.0,
            age: self.age.0,
            bytes: self.bytes,
            marks: self.marks.encode().collect(),
            thinned: self.marks.thinned,
            batches_since_mark: self.marks.batches,
            bytes_since_mark: self.marks.bytes,
        };
        pb::PartitionSnapshot {
            last: Some(log_id_to_wire(self.last)),
            log_hash: Bytes::copy_from_slice(&self.hash),
            membership_id: membership_id.map(log_id_to_wire),
            membership: membership.unwrap_or_default(),
            fold: Some(fold),
            machine: Bytes::new(),
            producers: self.producers.iter().map(producers::encode).collect(),
            cursors: self.cursors.iter().map(cursors::encode).collect(),
            keys: self.keys.map(|keys| keys.encode()).unwrap_or_default(),
            voids: self.voids.to_vec(),
            decisions: (self.decisions != Decisions::default()).then(|| self.decisions.encode()),
            table: None,
        }
    }
}

#[cfg(test)]
mod tests;
