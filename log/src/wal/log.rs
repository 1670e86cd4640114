//! The log of one partition, as its Raft group sees it.
use super::{
    Wal, WalEntry,
    batch::{Done, Op},
    frame::LogHash,
    memory::{Core, State},
    queue::Urgency,
    read::Reader,
};
use crate::{
    topic::{LogId, PartitionId, Vote},
    world::World,
};
use std::{fmt, future::Future, io, ops::Range, sync::Arc};
use tokio::sync::oneshot;

/// One partition's part of the WAL. Clone it freely; all clones are the same log.
///
/// Calls take effect, and reach the disk, in the order they are made. Appends and truncations are visible to
/// [`PartitionLog::last`] and [`PartitionLog::entries`] at once, before they are durable.
///
/// **Invariant**: what is asked for in one order is on disk in that order; a crash keeps a prefix of it.
pub struct PartitionLog<W: World> {
    wal: Wal<W>,
    core: Arc<Core>,
}

impl<W: World> Clone for PartitionLog<W> {
    fn clone(&self) -> Self {
        PartitionLog { wal: self.wal.clone(), core: self.core.clone() }
    }
}

impl<W: World> fmt::Debug for PartitionLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionLog").field("id", &self.core.id()).finish_non_exhaustive()
    }
}

impl<W: World> PartitionLog<W> {
    pub(super) fn new(wal: Wal<W>, core: Arc<Core>) -> Self {
        PartitionLog { wal, core }
    }

    /// The partition.
    pub fn id(&self) -> PartitionId {
        self.core.id()
    }

    /// The last vote that is durable.
    pub fn vote(&self) -> Option<Vote> {
        self.core.lock().vote()
    }

    /// The last position given to [`PartitionLog::save_committed`]; after a restart, one that was given at some time.
    pub fn committed(&self) -> Option<LogId> {
        self.core.lock().committed()
    }

    /// The last entry that was purged.
    pub fn purged(&self) -> Option<LogId> {
        self.core.lock().log().purged
    }

    /// The last entry, durable or not; where the log is empty, the last purged one.
    pub fn last(&self) -> Option<LogId> {
        self.core.lock().log().last
    }

    /// The last entry that is durable; where the durable log is empty, the last purged one.
    pub(crate) fn last_durable(&self) -> Option<LogId> {
        self.core.lock().durable().log.last
    }

    /// The log id at `index`, which is in the log or the last purged one.
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        self.core.lock().log().log_id(index)
    }

    /// A hash over all entries up to [`PartitionLog::last`]: equal on every replica with the same log up to there.
    pub fn log_hash(&self) -> LogHash {
        self.core.lock().log().hash
    }

    /// Appends entries, the first of which must follow [`PartitionLog::last`] (an empty log may begin anywhere). `done` is called
    /// once, from the writer, when all of them are durable, after those of every earlier append of this WAL; or with the
    /// error that stopped the writer. It must not block.
    ///
    /// # Panics
    /// When the entries do not follow: the caller's log and this one have parted, and nothing good can come after.
    pub fn append(&self, entries: Vec<WalEntry>, done: Box<dyn FnOnce(io::Result<()>) + Send>) {
        let mut state = self.core.lock();
        let entries = state.append(self.core.id(), entries);
        let refused = self.push(Op::Append { core: self.core.clone(), entries, done }, Urgency::Now);
        drop(state);
        self.refuse(refused);
    }

    /// Records a vote. Durable when resolved, and [`PartitionLog::vote`] gives it from then on.
    pub fn save_vote(&self, vote: Vote) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (done, answer) = answer();
        let state = self.core.lock();
        let refused = self.push(Op::Vote { core: self.core.clone(), vote, done }, Urgency::Now);
        drop(state);
        self.refuse(refused);
        answer
    }

    /// Notes that entries up to `committed` are committed. Returns at once: the note rides with the next write, so a
    /// restart may find an older one. `None` says nothing.
    pub fn save_committed(&self, committed: Option<LogId>) {
        let Some(id) = committed else { return };
        let mut state = self.core.lock();
        state.set_committed(id);
        let refused = self.push(Op::Committed { core: self.core.clone(), id }, Urgency::Rides);
        drop(state);
        self.refuse(refused);
    }

    /// Removes all entries after `last_kept`; all entries where it is `None`. Visible at once, durable when resolved, and so is
    /// everything asked for before, also where there is nothing to remove.
    ///
    /// # Panics
    /// When entries that were purged would have to be removed.
    pub fn truncate_after(&self, last_kept: Option<u64>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (done, answer) = answer();
        let first_removed = last_kept.map_or(0, |index| index + 1);
        let mut state = self.core.lock();
        let (purged, next) = (state.log().purged, state.log().next());
        let keeps_purged = purged.is_none_or(|purged| first_removed > purged.index);
        assert!(
            keeps_purged,
            "partition {}: cannot truncate from {first_removed} on, purged up to {purged:?}",
            self.id()
        );
        let first_removed = first_removed.max(state.log().first());
        if first_removed >= next {
            let refused = self.push_nothing(done);
            drop(state);
            self.refuse(refused);
            return answer;
        }
        let kept_hash = first_removed.checked_sub(1).map_or(Ok([0; 16]), |kept| self.hash_at(&state, kept));
        let refused = match kept_hash {
            Ok(hash) => {
                state.truncate(first_removed, hash);
                self.push(Op::Truncate { core: self.core.clone(), first_removed, hash, done }, Urgency::Now)
            }
            Err(error) => {
                drop(state);
                done(Err(error));
                return answer;
            }
        };
        drop(state);
        self.refuse(refused);
        answer
    }

    /// Forgets all entries up to `upto`. Visible at once, durable when resolved. Nothing happens where `upto` was purged
    /// before. Where `upto` is beyond [`PartitionLog::last`] this is [`PartitionLog::install`] with a log hash of zeros.
    pub fn purge(&self, upto: LogId) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.install(upto, [0; 16])
    }

    /// [`PartitionLog::purge`] after a snapshot was installed: where `upto` is beyond [`PartitionLog::last`] the log is
    /// empty afterwards and goes on behind `upto` with the log hash `hash`, which the snapshot knows.
    pub fn install(&self, upto: LogId, hash: LogHash) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (done, answer) = answer();
        let mut state = self.core.lock();
        if upto.index + 1 < state.log().first() || state.log().purged.is_some_and(|purged| upto.index <= purged.index) {
            let refused = self.push_nothing(done);
            drop(state);
            self.refuse(refused);
            return answer;
        }
        let refused = match if upto.index < state.log().next() { self.hash_at(&state, upto.index) } else { Ok(hash) } {
            Ok(upto_hash) => {
                state.purge(upto, upto_hash);
                let hash = state.log().hash;
                self.push(Op::Purge { core: self.core.clone(), upto, upto_hash, hash, done }, Urgency::Now)
            }
            Err(error) => {
                drop(state);
                done(Err(error));
                return answer;
            }
        };
        drop(state);
        self.refuse(refused);
        answer
    }

    /// The entries of the part of `range` that is in the log, from its start on: at least one where there is one, beyond
    /// that at most about `max_bytes` of payload. From memory where they are recent, else read and verified.
    pub fn entries(&self, range: Range<u64>, max_bytes: u64) -> io::Result<Vec<WalEntry>> {
        let located = self.core.lock().locate(range, max_bytes);
        self.reader().entries(located, max_bytes)
    }

    /// Whether the entry at `index` is, at this moment, read without a disk.
    pub(crate) fn is_in_memory(&self, index: u64) -> bool {
        index >= self.core.lock().hot_start()
    }

    /// The log hash after the entry at `index`: `None` where that is neither in the log nor the last purged one.
    pub(crate) fn log_hash_at(&self, index: u64) -> io::Result<Option<LogHash>> {
        let at = {
            let state = self.core.lock();
            state.log().log_id(index).map(|_| state.hash_at(index))
        };
        at.map(|at| self.reader().hash(at, index)).transpose()
    }

    /// Resolves when everything appended to the log so far is durable here.
    pub(crate) fn flushed(&self) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (done, answer) = answer();
        self.append(Vec::new(), done);
        answer
    }

    fn hash_at(&self, state: &State, index: u64) -> io::Result<LogHash> {
        self.reader().hash(state.hash_at(index), index)
    }

    fn reader(&self) -> Reader<'_, W::Disk> {
        self.wal.reader(self.core.id())
    }

    /// Called under the partition's lock, so that the queue has a partition's ops in the order its state went through.
    fn push(&self, op: Op, urgency: Urgency) -> Result<(), Op> {
        self.wal.push(op, urgency)
    }

    /// Nothing has to be written, but what was asked for before does: the answer comes in its turn.
    fn push_nothing(&self, done: Done) -> Result<(), Op> {
        self.push(Op::Append { core: self.core.clone(), entries: Vec::new(), done }, Urgency::Now)
    }

    /// Called without the lock: waiters may do what they like.
    fn refuse(&self, refused: Result<(), Op>) {
        if let Err(op) = refused {
            op.fail(self.wal.stopped_error());
        }
    }
}

/// A waiter, and the future of what it is told.
pub(super) fn answer() -> (Done, impl Future<Output = io::Result<()>> + Send + 'static) {
    let (sender, receiver) = oneshot::channel();
    let done: Done = Box::new(move |result| {
        // Whoever asked may have lost interest.
        let _ = sender.send(result);
    });
    let answer = async move { receiver.await.unwrap_or_else(|_| Err(io::Error::other("the write-ahead log is gone"))) };
    (done, answer)
}
