//! The write-ahead log: one ordered stream of frames per node, shared by all its partitions, one sync per group commit.
//!
//! With a log file for each partition, a node of N partitions and one disk pays N syncs where one would do. So entries,
//! votes, truncations, purges, committed positions and what is known of peers are all frames of one stream:
//!
//! ```text
//!   PartitionLog  PartitionLog  Wal::save_peer         producers, on any thread
//!        │ append · vote · truncate · purge · committed
//!        ▼
//!   memory: logical state of the partition ─────────── what `last` and `entries` see, at once
//!        │
//!   queue ── everything there is ─▶ writer             one task, on its own thread
//!                                     │ batch: headers, sequence numbers, links; payloads as they came
//!                                     │ write · sync
//!                                     │ memory: places of entries, votes
//!                                     └─▶ waiters, in order
//!
//!   DIR/wal/00000000000000000001.seg  ┐
//!   DIR/wal/00000000000000000002.seg  ┘ ◀─ read: verified again, every time
//!                  │
//!   footers, and scan: batches that verify ─▶ replay ─▶ recover: torn or rot? ─▶ memory      at open, and for tools
//! ```
//!
//! What it promises, with the ids under which `docs/faults.md` keeps the rules:
//!
//! **Invariant** (R1, R5): a waiter hears `Ok` only after a sync that began when the last of its bytes was written. Waiters
//! hear in the order of their calls.
//! **Invariant** (R4): what is asked of a partition in one order is on disk in that order. A vote is on disk before any
//! entry that is appended after it was asked for.
//! **Invariant** (R6, R13): bytes that were synced are never changed. A conflict in a Raft log is resolved by a frame that
//! says so; a file is cut only in recovery, only behind the last batch that counts, and is never appended to afterwards.
//! **Invariant** (R9): only what nobody was told of can be cut. Damage in anything that was durable refuses to open and
//! leaves every byte as it is.
//! **Invariant** (R15): the first error of a write, a sync or a rename ends the writer and halts the node.
//! **Invariant** (R18): whatever is read from disk is verified, each time.
//!
//! **Invariant** (R8): a sealed segment has a footer, so that a start reads the newest segment and not the others.
//!
//! Left out, deliberately: retention (segments are never deleted yet), scrub and repair from peers. The bytes leave room
//! for all of them; `docs/disk-format.md` has the tables.

mod identity;

pub(crate) mod copies;

pub(crate) mod manifest;

pub(crate) mod frame;

pub(crate) mod payload;

mod log;

pub(crate) mod outline;

pub(crate) mod index;

pub(crate) mod durable;

pub(crate) mod memory;

pub(crate) mod queue;

pub(crate) mod batch;

mod plan;

pub(crate) mod footer;

mod at_work;

pub(crate) mod writer;

pub(crate) mod rotation;

pub(crate) mod segment;

mod space;

pub(crate) mod supply;

pub(crate) mod scan;

pub(crate) mod replay;

pub(crate) mod recover;

pub(crate) mod repair;

pub(crate) mod read;

mod offline;

pub use frame::LogHash;
pub(crate) use frame::log_hash;
pub use identity::Identity;
pub use log::PartitionLog;
pub use offline::{OfflinePartition, OfflineWal, read_offline};
pub use space::Space;
pub use supply::{DiskSpace, SupplyOptions};

use self::{
    at_work::AtWork,
    batch::Op,
    durable::Durable,
    index::TableCache,
    memory::{Core, HotBudget, State},
    queue::{Queue, Urgency},
    read::Reader,
    recover::Depth,
    replay::Files,
    segment::Segments,
    supply::Supply,
    writer::{Idle, Shared, Writer},
};
use crate::{
    error::OpenError,
    topic::{ClusterId, LogId, NodeId, PartitionId},
    world::{Disk, Tasks, World},
};
use bytes::Bytes;
use futures::{FutureExt, future};
use std::{
    fmt,
    future::Future,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Where a WAL is and how large its parts are. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The node's data directory; the segments are in its folder `wal`.
    pub dir: PathBuf,
    /// Frames carry it; frames of another cluster are refused.
    pub cluster: ClusterId,
    /// Likewise.
    pub node: NodeId,
    /// Length of a segment file. A batch that does not fit gets a longer one.
    pub segment_bytes: u64,
    /// Largest write; a single larger entry is still one write.
    pub commit_bytes: u64,
    /// Recent entries kept in memory, per partition. Entries that are not durable yet are kept beside it.
    pub hot_tail_bytes: u64,
    /// The same, of all partitions together: above it, the largest tails give first.
    pub hot_tail_total_bytes: u64,
    /// Places of entries in sealed segments kept in memory, of all partitions together.
    pub index_cache_bytes: u64,
    /// Makes the next segment ahead and watches the space; `None`: every segment is made when it is needed.
    pub supply: Option<SupplyOptions>,
}

/// What this node has learned of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The peer.
    pub node: NodeId,
    /// Drawn when its data directory was made: another one under the same node id is another disk.
    pub incarnation: [u8; 16],
    /// How often it had opened its data directory.
    pub boot_epoch: u64,
    /// Sequence number of the last frame of its WAL that it said was durable.
    pub confirmed: u64,
}

/// What an entry is to Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The empty entry a leader begins its term with.
    Blank,
    /// A change of the voters.
    Membership,
    /// Records.
    Batch,
}

/// A Raft log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalEntry {
    /// Its position.
    pub id: LogId,
    /// What it is.
    pub kind: EntryKind,
    /// What it carries; the WAL does not look inside.
    pub payload: Bytes,
    /// CRC32C of `payload`, computed once where the entry was made.
    pub crc: u32,
}

/// What the writer has done since the WAL was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Batches written, marks included.
    pub batches: u64,
    /// Frames written, batch headers included.
    pub frames: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Number of the segment being written, from 1.
    pub segment: u64,
    /// Sequence number of the last frame that is durable. Dense over the node's life, so it never decreases, across
    /// restarts either: a directory with less than a peer was told of is an older copy of itself.
    pub durable_sequence: u64,
    /// How long the last sync took.
    pub last_sync: Duration,
}

/// The write-ahead log of one node. Clone it freely; all clones are the same.
///
/// When the last clone is dropped without [`Wal::close`], the writer finishes what is queued and ends on its own. Only
/// [`Wal::close`] tells when; until then the directory must stay locked, which [`Wal::hold`] sees to.
pub struct Wal<W: World> {
    inner: Arc<Inner<W>>,
}

struct Inner<W: World> {
    options: WalOptions,
    shared: Arc<Shared<W::Disk>>,
    at_work: Arc<AtWork<W>>,
    stopped: future::Shared<oneshot::Receiver<()>>,
}

impl<W: World> Drop for Inner<W> {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl<W: World> Clone for Wal<W> {
    fn clone(&self) -> Self {
        Wal { inner: self.inner.clone() }
    }
}

impl<W: World> fmt::Debug for Wal<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.inner.options.dir).finish_non_exhaustive()
    }
}

impl<W: World> Wal<W> {
    /// Opens the WAL of a data directory, which the caller has locked: recovers, makes the files agree with what was
    /// recovered, and starts the writer.
    ///
    /// # Errors
    /// [`Halt`](crate::world::Halt) `Corrupt` where bytes that were durable do not verify (nothing is changed),
    /// `WrongIdentity` where they are another node's, `UnknownEntry` where they are newer than this build, `DiskFailed`
    /// where a write or sync failed; `Io` where something could not be read.
    pub fn open(disk: &W::Disk, options: WalOptions) -> Result<Self, OpenError> {
        let segments = Segments::new(disk.clone(), &options.dir);
        let tables = TableCache::new(options.index_cache_bytes);
        let files = Files { segments: &segments, tables: &tables, cluster: options.cluster, node: options.node };
        let mut recovered = recover::recover(files, Depth::Footers)?;
        let supply = Supply::new(options.supply, options.segment_bytes);
        let ready = recovered.repair(files, &supply)?;
        let hot = HotBudget::new(options.hot_tail_bytes, options.hot_tail_total_bytes);
        let core = |(id, durable)| (id, Core::new(id, State::new(durable, hot.clone())));
        let stats = WalStats {
            segment: ready.tail.at.segment,
            durable_sequence: ready.tail.durable.sequence,
            ..WalStats::default()
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            segments,
            supply,
            partitions: Mutex::new(recovered.replay.partitions.into_iter().map(core).collect()),
            tables,
            hot,
            peers: Mutex::new(recovered.replay.peers),
            stats: Mutex::new(stats),
            room: AtomicU64::new(0),
            lock: Mutex::default(),
        });
        let at_work = Arc::new(AtWork::default());
        let writer = Writer::<W> {
            shared: shared.clone(),
            commit_bytes: options.commit_bytes,
            at_work: at_work.clone(),
            file: ready.file,
            capacity: ready.capacity,
            tail: ready.tail,
            end: ready.end,
            manifest: ready.manifest,
            plan: plan::Plan::default(),
            batch: Vec::new(),
            waiting: Vec::new(),
            idle: Idle::default(),
        };
        let (stopping, stopped) = oneshot::channel();
        let (ended, supplier) = oneshot::channel();
        match options.supply {
            Some(_) => W::Tasks::spawn_dedicated("wal-supply", supply::run::<W>(shared.clone(), ended)),
            None => drop(ended),
        }
        W::Tasks::spawn_dedicated("wal", writer.run(supplier, stopping));
        Ok(Wal { inner: Arc::new(Inner { options, shared, at_work, stopped: stopped.shared() }) })
    }

    /// The log of a partition; an empty one where there was none.
    ///
    /// # Panics
    /// For the three highest ids, which mark frames that belong to no partition.
    pub fn partition(&self, id: PartitionId) -> PartitionLog<W> {
        assert!(id.0 < frame::FOOTERS, "{id} is reserved for frames of the node");
        let shared = &self.inner.shared;
        let mut partitions = shared.partitions();
        let empty = || Core::new(id, State::new(Durable::default(), shared.hot.clone()));
        let core = partitions.entry(id).or_insert_with(empty);
        PartitionLog::new(self.clone(), core.clone())
    }

    /// The partitions that were recovered or asked for, in order.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.inner.shared.partitions().keys().copied().collect()
    }

    /// What is durably known of peers, by node.
    pub fn peers(&self) -> Vec<PeerIdentity> {
        self.inner.shared.peers.lock().expect("nothing panics while it holds the peers").values().copied().collect()
    }

    /// Records what was learned of a peer. Durable when resolved, and [`Wal::peers`] gives it from then on.
    pub fn save_peer(&self, peer: PeerIdentity) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (done, answer) = log::answer();
        if let Err(op) = self.push(Op::Peer { peer, done }, Urgency::Now) {
            op.fail(self.stopped_error());
        }
        answer
    }

    /// Keeps the lock of the data directory until nothing writes there any more, after [`Wal::close`] or the end of the last
    /// clone. Another process that opened it sooner would write where this one still does.
    pub fn hold(&self, lock: Arc<<W::Disk as Disk>::Lock>) {
        *self.inner.shared.lock() = Some(lock);
    }

    /// Writes everything queued, states that it is durable, and ends the writer. What is asked for afterwards fails.
    pub fn close(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.shared.queue.close();
        self.inner.stopped.clone().map(drop)
    }

    /// What the writer has done so far.
    pub fn stats(&self) -> WalStats {
        *self.inner.shared.stats.lock().expect("nothing panics while it holds the statistics")
    }

    /// Writes down that this node's data is lost or older than what it once confirmed, so that the directory is never
    /// opened again. Durable when it returns.
    ///
    /// # Errors
    /// What the disk said. The node halts either way.
    pub fn mark_lost(&self, why: &str) -> io::Result<()> {
        identity::mark_lost(self.inner.shared.segments.disk(), &self.inner.options.dir, why)
    }

    /// How much room the disk has, as of the last look.
    pub fn disk_space(&self) -> DiskSpace {
        self.inner.shared.supply.report()
    }

    /// What follows from that for clients, alone.
    pub fn space(&self) -> Space {
        self.inner.shared.supply.space()
    }

    /// Bytes of entries that a full disk still takes: they fit the segment being written, or one made of the reserve.
    pub(crate) fn room(&self) -> u64 {
        let Shared { room, supply, .. } = &*self.inner.shared;
        room.load(Ordering::Relaxed).max(supply.reserve_room())
    }

    /// How long the disk has been at work on the batch the writer gave it; `None`: it has none. Waiting for room is not
    /// work of the disk.
    pub fn at_work(&self) -> Option<Duration> {
        self.inner.at_work.elapsed()
    }

    fn push(&self, op: Op, urgency: Urgency) -> Result<(), Op> {
        self.inner.shared.queue.push(op, urgency)
    }

    fn stopped_error(&self) -> io::Error {
        io::Error::other(if self.inner.shared.queue.is_poisoned() {
            "the write-ahead log failed"
        } else {
            "the write-ahead log is closed"
        })
    }

    fn reader(&self, partition: PartitionId) -> Reader<'_, W::Disk> {
        let options = &self.inner.options;
        let Shared { segments, tables, .. } = &*self.inner.shared;
        Reader { files: Files { segments, tables, cluster: options.cluster, node: options.node }, partition }
    }
}

#[cfg(test)]
mod tests;
