//! What a replica has evolved: the fold that gives every batch its offset, and the bound readers see below.
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

/// A mark every so many batches: the index from offsets to the Raft log is sparse.
const MARK_EVERY: u64 = 64;

/// What evolves beside the fold, in log order, on every replica. Total: it cannot refuse a batch.
pub(crate) trait Machine: Send {
    /// Takes the batch whose first record has offset `base`. Void batches do not come here.
    fn evolve(&mut self, base: Offset, batch: &Batch);
    /// Its state.
    fn encode(&self) -> Bytes;
    /// Replaces its state.
    fn install(&mut self, state: &[u8]) -> Result<(), prost::DecodeError>;
}

/// A position in the Raft log from which to look for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    offset: Offset,
    index: u64,
}

/// The fold over batch headers. Pure: the same log gives the same fold on every replica.
#[derive(Debug, Default)]
struct Fold {
    end: Offset,
    time: Timestamp,
    applied: Option<LogId>,
    marks: Vec<Mark>,
    since_mark: u64,
}

impl Fold {
    fn pass(&mut self, id: LogId) -> Applied {
        self.applied = Some(id);
        Applied { base: self.end, end: self.end, time: self.time }
    }

    fn evolve(&mut self, id: LogId, batch: &Batch) -> Applied {
        let base = self.end;
        if self.marks.is_empty() || self.since_mark >= MARK_EVERY {
            self.marks.push(Mark { offset: base, index: id.index });
            self.since_mark = 0;
        }
        self.since_mark += 1;
        self.end += batch.added(base);
        self.time = self.time.max(batch.time());
        self.applied = Some(id);
        Applied { base, end: self.end, time: batch.time() }
    }
}

/// Shared by the state machine, which evolves, and by readers, who wait and look.
///
/// **Invariant**: `end` is published only after everything below it is evolved; it never decreases.
pub(crate) struct Evolved {
    fold: Mutex<Fold>,
    machine: Mutex<Option<Box<dyn Machine>>>,
    /// First offset that cannot be read yet.
    end: AtomicU64,
    /// Index of the last evolved entry plus one.
    next_index: AtomicU64,
    /// Nothing more will be evolved.
    closed: AtomicBool,
    changed: Notify,
}

impl Evolved {
    pub(crate) fn new(machine: Option<Box<dyn Machine>>) -> Self {
        Evolved {
            fold: Mutex::default(),
            machine: Mutex::new(machine),
            end: AtomicU64::new(0),
            next_index: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    fn fold(&self) -> MutexGuard<'_, Fold> {
        self.fold.lock().expect("folding does not panic")
    }

    /// An entry without records.
    pub(crate) fn pass(&self, id: LogId) -> Applied {
        let applied = self.fold().pass(id);
        self.next_index.store(id.index + 1, Ordering::Release);
        applied
    }

    /// An entry with records.
    pub(crate) fn evolve(&self, id: LogId, batch: &Batch) -> Applied {
        let applied = self.fold().evolve(id, batch);
        if applied.end > applied.base
            && let Some(machine) = self.machine.lock().expect("evolving does not panic").as_mut()
        {
            machine.evolve(applied.base, batch);
        }
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
        self.fold().time
    }

    /// Term of the last evolved entry.
    pub(crate) fn term(&self) -> Term {
        self.fold().applied.map_or(0, |id| id.term)
    }

    /// Where in the Raft log to start looking for an offset below the end: (index, the offset its batch starts at).
    pub(crate) fn seek(&self, offset: Offset) -> Option<(u64, Offset)> {
        let fold = self.fold();
        let after = fold.marks.partition_point(|mark| mark.offset <= offset);
        let mark = fold.marks.get(after.checked_sub(1)?)?;
        Some((mark.index, mark.offset))
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

    /// The state a snapshot carries.
    pub(crate) fn encode(&self) -> pb::PartitionFold {
        let machine = self.machine.lock().expect("evolving does not panic").as_ref().map(|machine| machine.encode());
        let fold = self.fold();
        let marks = fold.marks.iter().map(|mark| pb::OffsetMark { offset: mark.offset, index: mark.index });
        pb::PartitionFold {
            end_offset: fold.end,
            time: fold.time.0,
            marks: marks.collect(),
            machine: machine.unwrap_or_default(),
        }
    }

    /// Replaces the state by a snapshot's.
    pub(crate) fn install(&self, applied: Option<LogId>, state: &pb::PartitionFold) -> Result<(), prost::DecodeError> {
        if let Some(machine) = self.machine.lock().expect("evolving does not panic").as_mut() {
            machine.install(&state.machine)?;
        }
        let marks = state.marks.iter().map(|mark| Mark { offset: mark.offset, index: mark.index });
        self.next_index.store(applied.map_or(0, |id| id.index + 1), Ordering::Release);
        self.end.store(state.end_offset, Ordering::Release);
        *self.fold() = Fold {
            end: state.end_offset,
            time: Timestamp(state.time),
            applied,
            marks: marks.collect(),
            since_mark: MARK_EVERY,
        };
        self.publish();
        Ok(())
    }
}
