//! What a replica has evolved, and the bound readers see below.
use super::{
    Table,
    fold::{Cursor, Fold, FoldOptions, FrozenFold, Mark, SnapshotError, Verdict, Void},
    machine::{Evolving, Frozen, FrozenTable, Machine},
};
use crate::{
    batch::Batch,
    producer::{KeyDigest, ProducerId, ProducerStamp},
    raft::Applied,
    topic::{LogId, Offset, PartitionId, Term},
    view::Shown,
    world::Timestamp,
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use std::ops::Range;
use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// Shared by the state machine, which evolves, and by readers, who wait and look.
///
/// **Invariant**: `end` is published only after everything below it is evolved; it never decreases.
/// **Invariant**: fold and machine change together, so whoever looks at both sees them at the same entry.
pub(crate) struct Evolved {
    options: FoldOptions,
    state: Mutex<State>,
    /// First offset that cannot be read yet.
    end: AtomicU64,
    /// Index of the last evolved entry plus one.
    next_index: AtomicU64,
    /// Nothing more will be evolved.
    closed: AtomicBool,
    changed: Notify,
}

struct State {
    fold: Fold,
    machine: Option<Box<dyn Machine>>,
    /// Where the state was installed. What came before may be purged; what comes after is found from here on, although the
    /// fold, which is the same on every replica, may have no mark of its own so near.
    installed: Option<Mark>,
}

impl Evolved {
    pub(crate) fn new(options: FoldOptions, machine: Option<Box<dyn Machine>>) -> Self {
        Evolved {
            options,
            state: Mutex::new(State { fold: Fold::new(options), machine, installed: None }),
            end: AtomicU64::new(0),
            next_index: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("evolving does not panic")
    }

    /// An entry without records, whose payload has this CRC32C.
    pub(crate) fn pass(&self, id: LogId, crc: u32) -> Applied {
        let applied = self.state().fold.pass(id, crc);
        self.next_index.store(id.index + 1, Ordering::Release);
        applied
    }

    /// An entry that changes the voters.
    pub(crate) fn change_membership(&self, id: LogId, encoded: Bytes) -> Applied {
        let applied = self.state().fold.change_membership(id, encoded);
        self.next_index.store(id.index + 1, Ordering::Release);
        applied
    }

    /// An entry with a batch.
    pub(crate) fn evolve(&self, id: LogId, batch: &Batch) -> Applied {
        let mut state = self.state();
        let applied = state.fold.evolve(id, batch);
        let counts = !matches!(applied.verdict, Verdict::Void(_));
        if counts
            && (applied.end > applied.base || batch.decided().is_some())
            && let Some(machine) = state.machine.as_mut()
        {
            machine.evolve(Evolving { id, base: applied.base, batch });
        }
        drop(state);
        self.next_index.store(id.index + 1, Ordering::Release);
        self.end.store(applied.end, Ordering::Release);
        applied
    }

    /// Nothing more will be evolved: the partition stops.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether the partition has stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Wakes everyone who waits for something to be evolved.
    pub(crate) fn publish(&self) {
        self.changed.notify_waiters();
    }

    /// The evolved offset.
    pub(crate) fn end(&self) -> Offset {
        self.end.load(Ordering::Acquire)
    }

    /// Log time of the last evolved batch.
    pub(crate) fn time(&self) -> Timestamp {
        self.state().fold.time
    }

    /// The last evolved entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.state().fold.last
    }

    /// The last evolved entry, and the evolved offset behind it.
    pub(crate) fn standing(&self) -> (Option<LogId>, Offset) {
        let state = self.state();
        (state.fold.last, state.fold.end)
    }

    /// The state beside the log, for the view of it.
    pub(crate) fn shown(&self) -> Option<Arc<dyn Shown>> {
        self.state().machine.as_ref()?.shown()
    }

    /// Term of the last evolved entry.
    pub(crate) fn term(&self) -> Term {
        self.last().map_or(0, |id| id.term)
    }

    /// The last entry and the bytes of all batches evolved.
    pub(crate) fn progress(&self) -> (Option<LogId>, u64) {
        let state = self.state();
        (state.fold.last, state.fold.bytes)
    }

    /// The last membership, encoded, and its entry.
    pub(crate) fn membership(&self) -> Option<(LogId, Bytes)> {
        self.state().fold.membership.clone()
    }

    /// Whether records of a producer come next at log time `now`.
    pub(crate) fn judge_producer(&self, stamp: &ProducerStamp, records: u64, now: Timestamp) -> Result<(), Void> {
        let state = self.state();
        state.fold.producers.judge(stamp, records, state.fold.age_at(now))
    }

    /// The offset that the first of these records of a producer got, where that is remembered.
    pub(crate) fn appended_at(&self, stamp: &ProducerStamp, records: u64) -> Option<Offset> {
        let state = self.state();
        let session = state.fold.producers.session(&stamp.producer)?;
        (session.epoch == stamp.epoch).then(|| session.offset(stamp.sequence, records)).flatten()
    }

    /// Number of the record that a life of a producer has to append next.
    pub(crate) fn next_sequence(&self, producer: &ProducerId, epoch: u32) -> u64 {
        let state = self.state();
        state
            .fold
            .producers
            .session(producer)
            .filter(|session| session.epoch == epoch)
            .map_or(0, |session| session.next)
    }

    /// What the partition folds beside offsets.
    pub(crate) fn options(&self) -> FoldOptions {
        self.options
    }

    /// The number of the next decided batch of a term.
    pub(crate) fn next_decided(&self, term: Term) -> u64 {
        self.state().fold.decisions.next(term)
    }

    /// Where a source is to be read on.
    pub(crate) fn source(&self, partition: PartitionId) -> Offset {
        self.state().fold.decisions.source(partition)
    }

    /// All sources that were read.
    pub(crate) fn sources(&self) -> Vec<(PartitionId, Offset)> {
        self.state().fold.decisions.sources().collect()
    }

    /// The offset of a key's last record; `None` also where the topic has no key index.
    pub(crate) fn last_of_key(&self, key: &KeyDigest) -> Option<Offset> {
        self.state().fold.keys.as_ref()?.last(key)
    }

    /// How many keys the index has.
    pub(crate) fn keys(&self) -> usize {
        self.state().fold.keys.as_ref().map_or(0, |keys| keys.len())
    }

    /// A named cursor.
    pub(crate) fn cursor(&self, name: &str) -> Option<Cursor> {
        self.state().fold.cursor(name)
    }

    /// All named cursors, by name.
    pub(crate) fn cursors(&self) -> Vec<(String, Cursor)> {
        let mut cursors: Vec<_> = self.state().fold.cursors().map(|(name, cursor)| (name.clone(), *cursor)).collect();
        cursors.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        cursors
    }

    /// Of the batches in this range of the Raft log, those that are void by more than their own header says.
    pub(crate) fn voids(&self, range: Range<u64>) -> Vec<u64> {
        self.state().fold.voids(range).to_vec()
    }

    /// Where in the Raft log to start looking for an offset below the end.
    pub(crate) fn seek(&self, offset: Offset) -> Option<Mark> {
        let state = self.state();
        let installed = state.installed.filter(|mark| mark.offset <= offset);
        state.fold.marks.seek(offset).into_iter().chain(installed).max_by_key(|mark| mark.index)
    }

    /// Where the state was installed, where it was: what came before may be purged.
    pub(crate) fn installed(&self) -> Option<Mark> {
        self.state().installed
    }

    /// Whether it is kept where keys have their records.
    pub(crate) fn has_key_index(&self) -> bool {
        self.options.key_index
    }

    /// One past the Raft index of the last evolved entry: where readers stop.
    pub(crate) fn next_index(&self) -> u64 {
        self.next_index.load(Ordering::Acquire)
    }

    /// Resolves when `ready` holds; looks at every change.
    pub(crate) async fn wait(&self, ready: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if ready(self) {
                return;
            }
            changed.await;
        }
    }

    /// The state as it is now; `None` while there is none. Evolving waits while what cannot be shared is copied: a MiB of
    /// marks at most, and what the machine copies to be frozen.
    pub(crate) fn image(&self) -> Option<Image> {
        let mut state = self.state();
        Some(Image { fold: state.fold.frozen()?, machine: state.machine.as_mut().map(|machine| machine.freeze()) })
    }

    /// The state as a checkpoint without a table would have it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn snapshot(&self) -> Option<pb::PartitionSnapshot> {
        Some(self.image()?.encode(None))
    }

    /// The rows that were frozen with this number are in this table.
    pub(crate) fn settle(&self, freeze: u64, table: Table) {
        let garbage = self.state().machine.as_mut().map(|machine| machine.settle(freeze, table));
        drop(garbage);
    }

    /// Whether [`Evolved::install`] would take the snapshot.
    pub(crate) fn check(&self, snapshot: &pb::PartitionSnapshot, table: Option<&Table>) -> Result<(), SnapshotError> {
        Fold::restore(snapshot, self.options)?;
        let state = self.state();
        let checked = state.machine.as_ref().map_or(Ok(()), |machine| machine.check(&snapshot.machine, table));
        checked.map_err(SnapshotError::Machine)
    }

    /// Replaces the state by a snapshot's. Nothing has changed after an error.
    pub(crate) fn install(&self, snapshot: &pb::PartitionSnapshot, table: Option<Table>) -> Result<(), SnapshotError> {
        let fold = Fold::restore(snapshot, self.options)?;
        let mut state = self.state();
        if let Some(machine) = state.machine.as_mut() {
            machine.install(&snapshot.machine, table).map_err(SnapshotError::Machine)?;
        }
        let next_index = fold.last.map_or(0, |id| id.index + 1);
        self.next_index.store(next_index, Ordering::Release);
        self.end.store(fold.end, Ordering::Release);
        state.installed = Some(Mark { offset: fold.end, index: next_index });
        state.fold = fold;
        drop(state);
        self.publish();
        Ok(())
    }
}

/// A partition's state as it was at one entry.
pub(crate) struct Image {
    fold: FrozenFold,
    machine: Option<Frozen>,
}

impl Image {
    /// The last entry, and the bytes of all batches up to it.
    pub(crate) fn reached(&self) -> (u64, u64) {
        self.fold.reached()
    }

    /// The rows of the machine. What is left is encoded when they are on disk, with what they are named by.
    pub(crate) fn take_table(&mut self) -> FrozenTable {
        let table = self.machine.as_mut().map(|machine| std::mem::replace(&mut machine.table, FrozenTable::None));
        table.unwrap_or(FrozenTable::None)
    }

    /// Everything but the rows.
    pub(crate) fn encode(self, table: Option<pb::TableRef>) -> pb::PartitionSnapshot {
        let machine = self.machine.map(|machine| (machine.rest)()).unwrap_or_default();
        pb::PartitionSnapshot { machine, table, ..self.fold.encode() }
    }
}
