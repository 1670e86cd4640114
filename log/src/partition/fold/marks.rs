//! From offsets to the Raft log: where to start looking.
use super::SnapshotError;
use crate::topic::Offset;
use corduroy_proto::v1 as pb;

/// A position in the Raft log from which to look for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub offset: Offset,
    /// Of an entry before which the partition ends there. Void batches have such entries, too: several marks may have one offset.
    pub index: u64,
}

/// Marks kept at most: one MiB of them. A log of four million batches has its marks 64 batches apart; from then on the
/// distance doubles whenever the log does.
pub(super) const MAX_MARKS: usize = 64 << 10;
/// Batches and bytes of batches between two marks, whichever comes first, before any thinning: what a reader that seeks
/// reads in vain.
pub(super) const BATCHES_APART: u64 = 64;
pub(super) const BYTES_APART: u64 = 1 << 20;

/// A sparse index from offsets to the Raft log, of bounded size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(super) marks: Vec<Mark>,
    pub(super) thinned: u32,
    /// Since the last mark, its own batch included.
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

impl Marks {
    /// Takes the place of a batch of `bytes` bytes.
    pub(super) fn note(&mut self, place: Mark, bytes: u64) {
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

    /// As a checkpoint keeps them.
    pub(super) fn encode(&self) -> impl Iterator<Item = pb::OffsetMark> {
        self.marks.iter().map(|mark| pb::OffsetMark { offset: mark.offset, index: mark.index })
    }

    pub(super) fn restore(fold: &pb::PartitionFold) -> Result<Self, SnapshotError> {
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
