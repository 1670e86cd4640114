//! When a partition gets a checkpoint.
//!
//! A restart evolves what follows the last one, so there is one after so many bytes of the partition's log, after so much
//! time, when the WAL has begun a new segment, and when the node stops; never where nothing has changed. They are taken
//! one after the other, and the disk is left alone for much longer than each one took.
use super::Checkpoints;
use crate::{
    partition::Evolved,
    topic::PartitionId,
    wal::{PartitionLog, Wal},
    world::World,
};
use openraft_rt::{AsyncRuntime, Instant};
use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often it is looked whether a checkpoint is due.
const TICK: Duration = Duration::from_secs(1);
/// Least time between two checkpoints, or attempts, of one partition.
const APART: Duration = Duration::from_secs(5);
/// Least time between any two checkpoints, and how many times longer than the last one took.
const PAUSE: Duration = Duration::from_millis(5);
const IDLE_SHARE: u32 = 9;
/// What a clean stop may spend on checkpoints. Partitions that get none are evolved a little longer by the next start.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bounds on what a restart has to evolve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Of the partition's batches since its last checkpoint.
    pub bytes: u64,
    pub interval: Duration,
}

/// What has happened in a partition since its last checkpoint.
#[derive(Clone, Copy, Debug)]
struct Since {
    changed: bool,
    bytes: u64,
    elapsed: Duration,
    /// The WAL has begun a new segment.
    sealed: bool,
}

impl Policy {
    fn is_due(&self, since: &Since) -> bool {
        let enough = since.sealed || since.bytes >= self.bytes || since.elapsed >= self.interval;
        since.changed && since.elapsed >= APART && enough
    }
}

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// A partition that is watched, and where its last checkpoint was.
struct Watched<W: World> {
    evolved: Arc<Evolved>,
    log: PartitionLog<W>,
    index: Option<u64>,
    bytes: u64,
    segment: u64,
    at: InstantOf<W>,
}

impl<W: World> Watched<W> {
    fn since(&self, segment: u64) -> Since {
        let (last, bytes) = self.evolved.progress();
        Since {
            changed: last.map(|id| id.index) > self.index,
            bytes: bytes.saturating_sub(self.bytes),
            elapsed: self.at.elapsed(),
            sealed: segment > self.segment,
        }
    }
}

/// Decides when; one per node. Clones are the same one.
pub(crate) struct Scheduler<W: World> {
    inner: Arc<Inner<W>>,
}

struct Inner<W: World> {
    checkpoints: Checkpoints<W>,
    wal: Wal<W>,
    policy: Policy,
    watched: Mutex<BTreeMap<PartitionId, Watched<W>>>,
    closed: AtomicBool,
}

impl<W: World> Clone for Scheduler<W> {
    fn clone(&self) -> Self {
        Scheduler { inner: self.inner.clone() }
    }
}

impl<W: World> Scheduler<W> {
    /// Starts to look after the partitions it will be given.
    pub(crate) fn start(checkpoints: Checkpoints<W>, wal: Wal<W>, policy: Policy) -> Self {
        let (watched, closed) = (Mutex::default(), AtomicBool::new(false));
        let scheduler = Scheduler { inner: Arc::new(Inner { checkpoints, wal, policy, watched, closed }) };
        drop(<W::Tasks as AsyncRuntime>::spawn(scheduler.clone().run()));
        scheduler
    }

    pub(crate) fn checkpoints(&self) -> &Checkpoints<W> {
        &self.inner.checkpoints
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Watched<W>>> {
        self.inner.watched.lock().expect("bookkeeping does not panic")
    }

    /// Looks after a partition that is as its last checkpoint says.
    pub(crate) fn watch(&self, evolved: Arc<Evolved>, log: PartitionLog<W>) {
        let (last, bytes) = evolved.progress();
        let segment = self.inner.wal.stats().segment;
        let at = <W::Tasks as AsyncRuntime>::Instant::now();
        let watched = Watched { index: last.map(|id| id.index), bytes, segment, at, evolved, log };
        self.watched().insert(watched.log.id(), watched);
    }

    /// Forgets the partitions that are no more, with their checkpoints.
    pub(crate) async fn forget(&self, is_gone: impl Fn(PartitionId) -> bool) {
        self.watched().retain(|partition, _| !is_gone(*partition));
        self.inner.checkpoints.forget(is_gone).await;
    }

    /// Takes a last checkpoint of everything that has changed, as far as time allows. The partitions have stopped.
    pub(crate) async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        let changed: Vec<PartitionId> = {
            let segment = self.inner.wal.stats().segment;
            self.watched().iter().filter(|(_, watched)| watched.since(segment).changed).map(|(id, _)| *id).collect()
        };
        let all = async {
            for partition in changed {
                self.checkpoint(partition).await;
            }
        };
        if <W::Tasks as AsyncRuntime>::timeout(FAREWELL, all).await.is_err() {
            tracing::info!("no time for more checkpoints");
        }
        self.inner.checkpoints.close().await;
        self.watched().clear();
    }

    async fn run(self) {
        let mut last = None;
        let mut pause = TICK;
        loop {
            <W::Tasks as AsyncRuntime>::sleep(pause).await;
            if self.inner.closed.load(Ordering::Acquire) {
                return;
            }
            pause = match self.next_due(last) {
                Some(partition) => {
                    let began = <W::Tasks as AsyncRuntime>::Instant::now();
                    let taken = self.checkpoint(partition).await;
                    last = Some(partition);
                    // What keeps one from being taken, a full disk, keeps the others, too.
                    if taken { PAUSE.max(began.elapsed() * IDLE_SHARE) } else { TICK }
                }
                None => TICK,
            };
        }
    }

    /// The first partition that is due, in a circle that begins behind `last`.
    fn next_due(&self, last: Option<PartitionId>) -> Option<PartitionId> {
        let segment = self.inner.wal.stats().segment;
        let watched = self.watched();
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = last.map_or(Bound::Excluded(PartitionId(0)), Bound::Included);
        let mut circle = watched.range((behind, Bound::Unbounded)).chain(watched.range((Bound::Unbounded, upto)));
        circle.find(|(_, watched)| self.inner.policy.is_due(&watched.since(segment))).map(|(id, _)| *id)
    }

    /// Says whether one was taken.
    async fn checkpoint(&self, partition: PartitionId) -> bool {
        let Some((evolved, log)) =
            self.watched().get(&partition).map(|watched| (watched.evolved.clone(), watched.log.clone()))
        else {
            return false;
        };
        let segment = self.inner.wal.stats().segment;
        let taken = self.take(&evolved, &log).await;
        if let Err(error) = &taken {
            tracing::debug!(%partition, %error, "no checkpoint");
        }
        if let Some(watched) = self.watched().get_mut(&partition) {
            watched.at = <W::Tasks as AsyncRuntime>::Instant::now();
            if let Ok((index, bytes)) = taken {
                (watched.index, watched.bytes, watched.segment) = (Some(index), bytes, segment);
            }
        }
        taken.is_ok()
    }

    /// The index and the bytes the checkpoint reaches.
    async fn take(&self, evolved: &Arc<Evolved>, log: &PartitionLog<W>) -> io::Result<(u64, u64)> {
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "nothing has evolved");
        let image = evolved.image().ok_or_else(nothing)?;
        let reached = image.reached();
        self.inner.checkpoints.take(log, evolved, image).await?;
        Ok(reached)
    }
}

#[cfg(test)]
#[path = "tests/schedule.rs"]
mod tests;
