//! What can be ordered to go wrong with a disk: calls that fail, space that runs out, a file system that turns read-only,
//! and bugs that are planted to see whether anyone notices.
use super::{DiskImage, Rot, Rotten};
use crate::{
    testing::{Sim, lock},
    topic::NodeId,
    wal::frame,
};
use rustix::io::Errno;
use std::{io, path::Path};

/// A call of [`Disk`](crate::world::Disk) or [`DiskFile`](crate::world::DiskFile).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskCall {
    /// `create_dir_all`.
    CreateDir,
    /// `list`.
    List,
    /// `create_new`.
    Create,
    /// `open` and `open_read`.
    Open,
    /// `rename`.
    Rename,
    /// `remove_file`.
    Remove,
    /// `sync_dir`.
    SyncDir,
    /// `lock`.
    Lock,
    /// `write_all_at`.
    Write,
    /// `read_exact_at`.
    Read,
    /// `allocate`.
    Allocate,
    /// `truncate`.
    Truncate,
    /// `sync_data`.
    SyncData,
    /// `sync_all`.
    SyncAll,
}

impl DiskCall {
    /// Every call.
    pub const ALL: [DiskCall; 14] = [
        DiskCall::CreateDir,
        DiskCall::List,
        DiskCall::Create,
        DiskCall::Open,
        DiskCall::Rename,
        DiskCall::Remove,
        DiskCall::SyncDir,
        DiskCall::Lock,
        DiskCall::Write,
        DiskCall::Read,
        DiskCall::Allocate,
        DiskCall::Truncate,
        DiskCall::SyncData,
        DiskCall::SyncAll,
    ];
}

/// What a call fails with. The number of the operating system is in the error, as with real ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskError {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// EROFS.
    ReadOnly,
    /// EMFILE.
    TooManyFiles,
    /// An error without a number.
    Kind(io::ErrorKind),
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Io => Errno::IO.into(),
            DiskError::Full => Errno::NOSPC.into(),
            DiskError::ReadOnly => Errno::ROFS.into(),
            DiskError::TooManyFiles => Errno::MFILE.into(),
            DiskError::Kind(kind) => kind.into(),
        }
    }
}

/// A call that will fail.
#[derive(Clone, Debug)]
struct Order {
    calls: Vec<DiskCall>,
    /// How many such calls still succeed.
    after: u64,
    error: DiskError,
}

/// A bug of the world, planted to see whether anyone notices.
#[derive(Clone, Copy, Debug)]
pub enum PlantedBug {
    /// `sync_data` says `Ok` and syncs nothing, where the predicate holds for one of the writes since the last sync. (`|_| true`:
    /// always.)
    SyncDataLies(fn(&[u8]) -> bool),
    /// `sync_dir` says `Ok` and syncs nothing.
    SyncDirLies,
}

impl PlantedBug {
    /// A vote is answered before it is on disk: the sync of every batch that holds one is a lie.
    pub const VOTE_SYNC_LIES: PlantedBug = PlantedBug::SyncDataLies(holds_a_vote);
}

fn holds_a_vote(bytes: &[u8]) -> bool {
    let headers = (0..bytes.len()).step_by(frame::ALIGN as usize).filter_map(|at| bytes.get(at..)?.first_chunk());
    headers.filter_map(|bytes| frame::Header::decode(bytes).ok()).any(|header| header.kind == frame::Kind::Vote)
}

/// The orders for one disk.
#[derive(Debug, Default)]
pub(in crate::testing) struct Faults {
    orders: Vec<Order>,
    pub(in crate::testing) fired: Vec<(DiskCall, DiskError)>,
    pub(super) capacity: Option<u64>,
    read_only: bool,
    planted: Option<PlantedBug>,
    /// Whether the predicate of [`PlantedBug::SyncDataLies`] held for a write since the last sync.
    lie: bool,
    pub(super) stale_reads: u64,
    pub(in crate::testing) rotten: Vec<Rotten>,
}

impl Faults {
    /// The error this call is to fail with.
    pub(super) fn check(&mut self, call: DiskCall) -> io::Result<()> {
        match self.draw(call) {
            Some(error) => Err(self.fire(call, error)),
            None => Ok(()),
        }
    }

    fn draw(&mut self, call: DiskCall) -> Option<DiskError> {
        let mut due = None;
        for (at, order) in self.orders.iter_mut().enumerate().filter(|(_, order)| order.calls.contains(&call)) {
            match order.after.checked_sub(1) {
                Some(after) => order.after = after,
                None => due = due.or(Some(at)),
            }
        }
        if let Some(at) = due {
            return Some(self.orders.remove(at).error);
        }
        let changes = !matches!(call, DiskCall::List | DiskCall::Open | DiskCall::Read);
        (self.read_only && changes).then_some(DiskError::ReadOnly)
    }

    /// The error of a call that asks for the right to change something.
    pub(super) fn check_writable(&mut self, call: DiskCall) -> io::Result<()> {
        if self.read_only { Err(self.fire(call, DiskError::ReadOnly)) } else { Ok(()) }
    }

    /// Notes that a fault happened, and gives its error.
    pub(super) fn fire(&mut self, call: DiskCall, error: DiskError) -> io::Error {
        self.fired.push((call, error));
        error.into()
    }

    pub(super) fn order(&mut self, calls: &[DiskCall], after: u64, error: DiskError) {
        self.orders.push(Order { calls: calls.to_vec(), after, error });
    }

    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        if let Some(PlantedBug::SyncDataLies(when)) = self.planted {
            self.lie |= when(bytes);
        }
    }

    /// Whether this sync of data only says that it happened.
    pub(super) fn sync_data_lies(&mut self) -> bool {
        std::mem::take(&mut self.lie)
    }

    pub(super) fn sync_dir_lies(&self) -> bool {
        matches!(self.planted, Some(PlantedBug::SyncDirLies))
    }
}

/// Faults of disks.
impl Sim {
    /// Lets the node's `nth` call of this kind from now on (1: the next one) fail, once. A write that fails has written a
    /// part, seeded; a sync that fails loses what it covered, as in a kernel: it can be read until the power is cut, and no
    /// later sync writes it.
    ///
    /// # Panics
    /// When `nth` is 0.
    pub fn fail_disk(&self, node: NodeId, call: DiskCall, nth: u64, error: DiskError) {
        let after = nth.checked_sub(1).expect("the first call has number 1");
        lock(&self.universe().platter(node)).faults.order(&[call], after, error);
    }

    /// The calls that failed so far because it was ordered or because there was no space, in order.
    pub fn disk_failures(&self, node: NodeId) -> Vec<(DiskCall, DiskError)> {
        lock(&self.universe().platter(node)).faults.fired.clone()
    }

    /// Takes back all orders of [`Sim::fail_disk`] and its kin that did not fire yet.
    pub fn mend_disk(&self, node: NodeId) {
        let platter = self.universe().platter(node);
        let mut platter = lock(&platter);
        platter.faults.orders.clear();
        platter.faults.read_only = false;
        platter.faults.stale_reads = 0;
    }

    /// Takes back the orders for one kind of call.
    pub fn spare_disk(&self, node: NodeId, call: DiskCall) {
        lock(&self.universe().platter(node)).faults.orders.retain(|order| !order.calls.contains(&call));
    }

    /// Makes the node's file system so large, `None` for one that never fills. Writes and allocations that would need
    /// more fail with ENOSPC (`StorageFull`); a write then has written what fitted. A file takes its length, in blocks of
    /// 4096 bytes; what was removed takes nothing, open or not. Names take no space.
    pub fn set_disk_capacity(&self, node: NodeId, bytes: Option<u64>) {
        lock(&self.universe().platter(node)).faults.capacity = bytes;
    }

    /// The bytes the node's files take.
    pub fn disk_used(&self, node: NodeId) -> u64 {
        lock(&self.universe().platter(node)).used()
    }

    /// Turns the node's file system read-only, as kernels do after an error: every call that changes something, syncs and locks
    /// among them, fails with EROFS. Outlives restarts, until it is set back.
    pub fn set_disk_read_only(&self, node: NodeId, read_only: bool) {
        lock(&self.universe().platter(node)).faults.read_only = read_only;
    }

    /// Sets what the node's disk writes whole or not at all: 512 (which it is from the start) or 4096 bytes.
    ///
    /// # Panics
    /// For any other number.
    pub fn set_sector_size(&self, node: NodeId, bytes: u64) {
        assert!(bytes == 512 || bytes == 4096, "sectors have 512 or 4096 bytes, not {bytes}");
        lock(&self.universe().platter(node)).sector = bytes;
    }

    /// Plants a bug in the node's disk, or takes it out.
    pub fn plant_disk_bug(&self, node: NodeId, bug: Option<PlantedBug>) {
        lock(&self.universe().platter(node)).faults.planted = bug;
    }

    /// Damages what is durable in a file, and what is read from it: the file's cached pages count as evicted. What was not
    /// synced yet keeps its chance. Recorded in [`Sim::rotten`].
    ///
    /// # Errors
    /// Where there is no such file, or where the damage would be outside of it or change nothing.
    pub fn rot(&self, node: NodeId, path: &Path, rot: Rot) -> io::Result<()> {
        let platter = self.universe().platter(node);
        let mut platter = lock(&platter);
        platter.rot(path, rot)?;
        self.trace(format_args!("disk of node {node}: {rot:?} in {}", path.display()));
        Ok(())
    }

    /// Lets the node's next `reads` reads give what was on the disk before the last synced change of each sector.
    pub fn read_stale(&self, node: NodeId, reads: u64) {
        lock(&self.universe().platter(node)).faults.stale_reads = reads;
    }

    /// All damage done by [`Sim::rot`] so far, in order.
    pub fn rotten(&self, node: NodeId) -> Vec<Rotten> {
        lock(&self.universe().platter(node)).faults.rotten.clone()
    }

    /// Copies everything the node's processes can see on its disk.
    pub fn copy_disk(&self, node: NodeId) -> DiskImage {
        lock(&self.universe().platter(node)).copy()
    }

    /// Copies what is durable on the node's disk: what a power cut now leaves when it takes all it may.
    pub fn durable_image(&self, node: NodeId) -> DiskImage {
        let universe = self.universe();
        let durable = lock(&universe.platter(node)).durable(universe.stream("durable"));
        durable.copy()
    }

    /// Puts a copy in place of everything on the disk of a node that is dead, durably.
    ///
    /// # Panics
    /// When the node is alive.
    pub fn restore_disk(&self, node: NodeId, image: &DiskImage) {
        assert!(!self.is_alive(node), "node {node} is alive; kill it first");
        lock(&self.universe().platter(node)).restore(image);
        self.trace(format_args!("disk of node {node} restored from a copy"));
    }
}
