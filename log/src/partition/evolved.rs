//! What a replica has evolved, and the bound readers see below.
use super::fold::{Fold, Mark, SnapshotError};
use crate::{
    batch::Batch,
    raft::Applied,
    topic::{LogId, Offset, Term},
    world::Timestamp,
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// What evolves beside the fold, in log order, on every replica. Total: it cannot refuse a batch.
pub(crate) trait Machine: Send {
    /// Takes the batch whose first record has offset `base`. Void batches do not come here.
    fn evolve(&mut self, base: Offset, batch: &Batch);
    /// Its state.
    fn encode(&self) -> Bytes;
    /// Whether this is a state it could have.
    fn check(&self, state: &[u8]) -> Result<(), prost::DecodeError>;
    /// Replaces its state. Nothing has changed after an error.
    fn install(&mut self, state: &[u8]) -> Result<(), prost::DecodeError>;
}

/// Shared by the state machine, which evolves, and by readers, who wait and look.
///
/// **Invariant**: `end` is published only after everything below it is evolved; it never decreases.
/// **Invariant**: fold and machine change together, so whoever looks at both sees them at the same entry.
pub(crate) struct Evolved {
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
    pub(crate) fn new(machine: Option<Box<dyn Machine>>) -> Self {
        Evolved {
            state: Mutex::new(State { fold: Fold::default(), machine, installed: None }),
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

    /// An entry with records.
    pub(crate) fn evolve(&self, id: LogId, batch: &Batch) -> Applied {
        let mut state = self.state();
        let applied = state.fold.evolve(id, batch);
        if applied.end > applied.base
            && let Some(machine) = state.machine.as_mut()
        {
            machine.evolve(applied.base, batch);
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

    /// Where in the Raft log to start looking for an offset below the end.
    pub(crate) fn seek(&self, offset: Offset) -> Option<Mark> {
        let state = self.state();
        let installed = state.installed.filter(|mark| mark.offset <= offset);
        state.fold.marks.seek(offset).into_iter().chain(installed).max_by_key(|mark| mark.index)
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

    /// The state as it is now; `None` while there is none. Evolving waits while it is copied: a MiB of marks at most, and
    /// the machine's state.
    pub(crate) fn snapshot(&self) -> Option<pb::PartitionSnapshot> {
        let state = self.state();
        let machine = state.machine.as_ref().map(|machine| machine.encode());
        Some(pb::PartitionSnapshot { machine: machine.unwrap_or_default(), ..state.fold.snapshot()? })
    }

    /// Whether [`Evolved::install`] would take the snapshot.
    pub(crate) fn check(&self, snapshot: &pb::PartitionSnapshot) -> Result<(), SnapshotError> {
        Fold::restore(snapshot)?;
        self.state().machine.as_ref().map_or(Ok(()), |machine| machine.check(&snapshot.machine))?;
        Ok(())
    }

    /// Replaces the state by a snapshot's. Nothing has changed after an error.
    pub(crate) fn install(&self, snapshot: &pb::PartitionSnapshot) -> Result<(), SnapshotError> {
        let fold = Fold::restore(snapshot)?;
        let mut state = self.state();
        if let Some(machine) = state.machine.as_mut() {
            machine.install(&snapshot.machine)?;
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
