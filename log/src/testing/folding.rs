//! The fold of one partition by itself, without a log below it: what a bench can measure of evolving.
use crate::{
    batch::{Batch, Conditions, CursorChange, DecidedBatch, EncodedRecords, seal, seal_cursors},
    config::Limits,
    partition::{Evolved, FoldOptions},
    producer::ProducerStamp,
    record::NewRecord,
    topic::{LogId, Offset},
    world::Timestamp,
};
use prost::Message as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A replica's evolved state, and batches for it. One thread evolves; others may look at the same time.
pub struct Folding {
    evolved: Evolved,
    next: AtomicU64,
}

impl Folding {
    /// An empty one.
    pub fn new(key_index: bool) -> Self {
        Folding { evolved: Evolved::new(FoldOptions { key_index }, None), next: AtomicU64::new(0) }
    }

    /// A batch as a leader seals it.
    ///
    /// # Panics
    /// Beyond the usual limits.
    pub fn batch(records: &[NewRecord], producer: Option<ProducerStamp>) -> Batch {
        let conditions = Conditions { producer, ..Conditions::default() };
        let records = EncodedRecords::encode(records, conditions, &Limits::default()).expect("within the limits");
        seal([records], Timestamp(1_700_000_000_000_000))
    }

    /// What was decided, as a leader seals it.
    ///
    /// # Panics
    /// Beyond the usual limits.
    pub fn decided(decided: &DecidedBatch) -> Batch {
        decided.seal(&Limits::default()).expect("within the limits")
    }

    /// A batch of commits of cursors: name and offset.
    pub fn commits(commits: &[(String, Offset)]) -> Batch {
        let commit =
            |(name, offset): &(String, Offset)| CursorChange::Commit { name: name.clone(), offset: *offset, fence: 0 };
        seal_cursors(&commits.iter().map(commit).collect::<Vec<_>>(), Timestamp(1_700_000_000_000_000))
    }

    /// Takes the next batch; returns the evolved offset.
    pub fn evolve(&self, batch: &Batch) -> Offset {
        let id = LogId { term: 1, index: self.next.fetch_add(1, Ordering::Relaxed) };
        self.evolved.evolve(id, batch).end
    }

    /// Makes a checkpoint's content, as the node's own task does while others evolve; returns its bytes.
    pub fn checkpoint(&self) -> usize {
        self.evolved.snapshot().map_or(0, |snapshot| snapshot.encoded_len())
    }
}
