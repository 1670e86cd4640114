//! The one writer of a node: takes everything queued, writes what fits as one batch, each partition its share ([`super::plan`]),
//! syncs once, and only then changes what is known and tells those who wait, those of a partition in order.
//!
//! **Invariant**: a waiter hears `Ok` only from a sync that began after the last of its bytes was written.
//! **Invariant**: once nothing was written for [`MARK_AFTER`], a mark follows, alone and once. So at rest everything that is
//! durable is stated to be, and an idle node writes nothing.
//! **Invariant**: the first error of a write, a sync or a rename is the last thing the writer does: everyone who waits or
//! comes later hears of it, and the node halts. Nothing is tried again; a later sync can succeed without the lost pages.
//! The one exception: no room for the next segment, before anything is written to it, is waited for.
use super::{
    PeerIdentity, WalStats,
    at_work::AtWork,
    batch::{BATCH_HEADER_LEN, Change, Encoded, Frame, Op, Tail},
    index::{Slot, TableCache},
    manifest::Held,
    memory::{Core, HotBudget},
    payload::{Mark, Position},
    plan::Plan,
    queue::{Queue, Taken, Urgency},
    segment::Segments,
    supply::{KEPT_SHARE, Supply},
};
use crate::{
    topic::{NodeId, PartitionId},
    world::{Disk, DiskFile, Halt, Tasks, World},
};
use openraft_rt::{AsyncRuntime, Instant};
use std::{
    collections::BTreeMap,
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// How long after the last batch the log states that it is durable, where no other batch does.
const MARK_AFTER: Duration = Duration::from_millis(10);

/// What the writer shares with the handles of the WAL.
pub(crate) struct Shared<D: Disk> {
    pub queue: Queue<Op>,
    pub segments: Segments<D>,
    pub supply: Supply,
    /// Those that were recovered or asked for.
    pub partitions: Mutex<BTreeMap<PartitionId, Arc<Core>>>,
    pub tables: TableCache,
    pub hot: HotBudget,
    pub peers: Mutex<BTreeMap<NodeId, PeerIdentity>>,
    pub stats: Mutex<WalStats>,
    /// Bytes left for entries in the segment being written.
    pub room: AtomicU64,
    /// Of the data directory: given up when nobody writes there any more.
    pub lock: Mutex<Option<Arc<D::Lock>>>,
}

impl<D: Disk> Shared<D> {
    pub(crate) fn partitions(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Arc<Core>>> {
        self.partitions.lock().expect("nothing panics while it holds the partitions")
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Arc<D::Lock>>> {
        self.lock.lock().expect("it is put there and taken")
    }
}

/// Why the writer ends before it is asked to.
pub(super) enum Stop {
    /// It was asked to close, or nobody tells the time any more, while there was no room for what is left to write.
    NoRoom(io::Error),
    /// The disk failed.
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failed(error)
    }
}

/// See the module.
pub(crate) struct Writer<W: World> {
    pub shared: Arc<Shared<W::Disk>>,
    pub commit_bytes: u64,
    /// Since when the disk has been at work on a batch.
    pub at_work: Arc<AtWork<W>>,
    /// The segment being written.
    pub file: <W::Disk as Disk>::File,
    /// Its length.
    pub capacity: u64,
    pub tail: Tail,
    pub end: End,
    pub manifest: Held,
    pub plan: Plan,
    /// The batch being put together: its frames, who waits, its bytes.
    pub batch: Vec<Frame>,
    pub waiting: Vec<super::batch::Done>,
    pub idle: Idle<W>,
}

/// Whether the segment the writer stands in takes another batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    /// Recovery cut it: its footer is carried by the next one.
    Cut,
    /// Its footer is here, and there is no next segment yet.
    Sealed(Position),
}

/// When the last batch was durable that nothing says so of yet.
pub(crate) struct Idle<W: World> {
    unmarked: Option<<W::Tasks as AsyncRuntime>::Instant>,
    /// Whether an alarm is on its way. One is set at a time, so a busy writer is woken once in [`MARK_AFTER`].
    alarm: bool,
}

impl<W: World> Default for Idle<W> {
    fn default() -> Self {
        Idle { unmarked: None, alarm: false }
    }
}

impl<W: World> Writer<W> {
    /// Runs until the queue is closed and empty, or until the disk fails.
    pub(crate) async fn run(mut self, supplier: oneshot::Receiver<()>, stopped: oneshot::Sender<()>) {
        self.state_room();
        match self.serve().await {
            Ok(()) => {}
            // Nobody was told that any of it is on disk, so there is nothing to halt for.
            Err(Stop::NoRoom(error)) => self.fail(&error),
            Err(Stop::Failed(error)) => {
                self.fail(&error);
                W::Tasks::halt(Halt::DiskFailed(format!(
                    "{}: {error}",
                    self.shared.segments.path(self.tail.at.segment).display()
                )));
            }
        }
        self.shared.supply.end();
        // Both are done with the folder before it is unlocked. Nobody may be left who waits.
        let _ = supplier.await;
        drop(self.shared.lock().take());
        let _ = stopped.send(());
    }

    async fn serve(&mut self) -> Result<(), Stop> {
        let mut ops = Vec::new();
        loop {
            let queue = &self.shared.queue;
            let taken = if self.plan.is_empty() { queue.take(&mut ops).await } else { queue.take_now(&mut ops) };
            for op in ops.drain(..) {
                self.plan.add(op);
            }
            self.plan.take(self.commit_bytes, &mut self.batch, &mut self.waiting);
            if self.plan.is_empty() && (!self.batch.is_empty() || taken == Taken::Last) {
                self.batch.extend(self.plan.take_riding());
            }
            self.commit().await?;
            if self.plan.is_empty() {
                if taken == Taken::Last {
                    return Ok(self.mark().await?);
                }
                self.mark_when_idle().await?;
            }
        }
    }

    /// Writes the batch, syncs it, applies it, completes its waiters.
    async fn commit(&mut self) -> Result<(), Stop> {
        if !self.batch.is_empty() {
            let len = BATCH_HEADER_LEN + self.batch.iter().map(Frame::len).sum::<u64>();
            self.at_work.begin();
            let footer = self.footer_len();
            // A segment that is too small for its footer grows by it.
            if self.end != End::Open || self.tail.at.offset + len > self.capacity - footer.min(self.capacity / 4) {
                self.rotate(len + footer).await?;
            }
            let segment = self.tail.at.segment;
            let offsets = self.write_batch().await?;
            self.at_work.rest();
            self.state_room();
            self.apply(segment, &offsets);
            if self.shared.hot.is_exceeded() {
                self.cool();
            }
        }
        for done in self.waiting.drain(..) {
            done(Ok(()));
        }
        Ok(())
    }

    pub(super) async fn write_batch(&mut self) -> io::Result<Vec<u64>> {
        let at = self.tail.at.offset;
        let encoded = Encoded::new(&self.batch, &mut self.tail);
        self.file.write_all_at(at, &encoded.pieces())?;
        let began = <W::Tasks as AsyncRuntime>::Instant::now();
        self.file.sync_data().await?;
        let took = began.elapsed();
        self.idle.unmarked = (!self.batch.is_empty()).then(|| began + took);
        self.tail.durable = Mark { at: self.tail.at, sequence: self.tail.sequence - 1 };
        let mut stats = self.shared.stats.lock().expect("nothing panics while it holds the statistics");
        stats.batches += 1;
        stats.frames += 1 + self.batch.len() as u64;
        stats.bytes += encoded.len;
        stats.syncs += 1;
        stats.last_sync = took;
        stats.durable_sequence = self.tail.durable.sequence;
        Ok(encoded.offsets)
    }

    /// Says how much the segment takes beside its footer and what is kept for votes.
    fn state_room(&self) {
        let kept = self.footer_len() + self.capacity / KEPT_SHARE;
        let room = self.capacity.saturating_sub(self.tail.at.offset + kept);
        self.shared.room.store(if self.end == End::Open { room } else { 0 }, Ordering::Relaxed);
    }

    /// Makes what is now durable known, before anybody is told.
    fn apply(&mut self, segment: u64, offsets: &[u64]) {
        let mut frames = self.batch.drain(..).zip(offsets).peekable();
        while let Some((frame, _)) = frames.peek() {
            let Some(core) = frame.core.clone() else {
                if let Some((Frame { change: Change::Peer(peer), .. }, _)) = frames.next() {
                    self.shared.peers.lock().expect("nothing panics while it holds the peers").insert(peer.node, peer);
                }
                continue;
            };
            // One lock for a run of frames of one partition, which is what an append makes.
            let mut state = core.lock();
            while let Some((frame, offset)) =
                frames.next_if(|(frame, _)| frame.core.as_ref().is_some_and(|c| Arc::ptr_eq(c, &core)))
            {
                match frame.change {
                    Change::Entry(..) => {
                        let slot = Slot::new(*offset, frame.payload.len() as u32);
                        state.entry_written(frame.id, frame.crc, segment, slot);
                    }
                    Change::Vote(vote) => state.vote_written(vote),
                    Change::Truncate(hash) => state.truncate_written(frame.id.index, hash),
                    Change::Purge(_, upto_hash) => state.purge_written(frame.id, upto_hash),
                    Change::Committed => state.committed_written(frame.id),
                    Change::Peer(_) | Change::Footer => {}
                }
            }
        }
    }

    /// Makes the largest hot tails of the node give, so that all together are within their bound.
    fn cool(&self) {
        let partitions = self.shared.partitions();
        let level = self.shared.hot.level(partitions.values().map(|core| core.lock().hot_bytes()).collect());
        for core in partitions.values() {
            core.lock().evict(level);
        }
    }

    /// Writes the mark when it is due, else sees to it that somebody asks again.
    async fn mark_when_idle(&mut self) -> io::Result<()> {
        if mem::take(&mut self.plan.alarm) {
            self.idle.alarm = false;
        }
        let (Some(since), false) = (self.idle.unmarked, self.idle.alarm) else { return Ok(()) };
        let left = MARK_AFTER.saturating_sub(since.elapsed());
        if left.is_zero() {
            return self.mark().await;
        }
        self.idle.alarm = true;
        let shared = self.shared.clone();
        // A task of its own: the writer's thread outlives the runtime whose timers it would use.
        drop(W::Tasks::spawn(async move {
            W::Tasks::sleep(left).await;
            // A queue that takes nothing any more has a writer that ends.
            drop(shared.queue.push(Op::Alarm, Urgency::Now));
        }));
        Ok(())
    }

    /// States, as the last thing in the log, that everything before is durable: the next open need not wonder.
    async fn mark(&mut self) -> io::Result<()> {
        if self.end == End::Open && self.tail.at.offset + BATCH_HEADER_LEN <= self.capacity {
            self.at_work.begin();
            self.write_batch().await?;
            self.at_work.rest();
        }
        Ok(())
    }

    /// Tells everyone who waits, and everyone who will ask from now on.
    fn fail(&mut self, error: &io::Error) {
        for done in self.waiting.drain(..).chain(self.plan.give_up()) {
            done(Err(again(error)));
        }
        for op in self.shared.queue.poison() {
            op.fail(again(error));
        }
    }
}

/// The same error for one more waiter.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the write-ahead log failed: {error}"))
}
