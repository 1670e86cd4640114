//! A machine's disk: its tree, its locks, its speed and the faults ordered for it.
use super::{
    content::SECTOR,
    directory::{Directory, Entry},
    faults::{DiskCall, DiskError, Faults},
};
use crate::testing::{lock, rng::Stream, universe::Death};
use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

/// The unit of space.
const BLOCK: u64 = 4096;
/// Space that is reported where the disk never fills.
const ENDLESS: u64 = 1 << 40;

/// What outlives every incarnation of a node.
#[derive(Debug)]
pub(in crate::testing) struct Platter {
    pub(super) root: Arc<Mutex<Directory>>,
    locks: BTreeMap<PathBuf, u64>,
    next_lock: u64,
    pub(super) rng: Stream,
    sync_delay: RangeInclusive<Duration>,
    /// How fast a sync writes, on top of that; `None`: at once.
    bytes_per_second: Option<u64>,
    operations: u64,
    crash_at: Option<(u64, Death)>,
    /// Deaths that came at the operation they were ordered for.
    pub(in crate::testing) deaths: u64,
    /// Sectors that were not synced when the power went.
    pub(in crate::testing) unsynced: u64,
    /// What a sync takes at most, unless it was made slower; and how many took longer.
    usual_sync: Duration,
    pub(in crate::testing) slow_syncs: u64,
    /// Bytes that are written whole or not at all.
    pub(super) sector: u64,
    pub(in crate::testing) faults: Faults,
}

impl Platter {
    pub(in crate::testing) fn new(rng: Stream, sync_delay: RangeInclusive<Duration>) -> Self {
        Platter {
            root: Arc::default(),
            locks: BTreeMap::new(),
            next_lock: 0,
            rng,
            usual_sync: *sync_delay.end(),
            sync_delay,
            bytes_per_second: None,
            operations: 0,
            crash_at: None,
            deaths: 0,
            unsynced: 0,
            slow_syncs: 0,
            sector: SECTOR,
            faults: Faults::default(),
        }
    }

    /// A disk with what is durable on this one.
    pub(in crate::testing) fn durable(&self, rng: Stream) -> Self {
        let mut copy = Platter::new(rng, Duration::ZERO..=Duration::ZERO);
        copy.root = Arc::new(Mutex::new(lock(&self.root).durable()));
        copy
    }

    pub(in crate::testing) fn lose_power(&mut self) {
        self.crash_at = None;
        self.unsynced += lock(&self.root).lose_power(&mut self.rng, self.sector);
    }

    pub(in crate::testing) fn crash_at(&mut self, operations: u64, death: Death) {
        self.crash_at = Some((self.operations + operations, death));
    }

    pub(in crate::testing) fn operations(&self) -> u64 {
        self.operations
    }

    pub(in crate::testing) fn release_locks(&mut self) {
        self.locks.clear();
    }

    pub(in crate::testing) fn fail_next_sync(&mut self, error: io::ErrorKind) {
        let calls = [DiskCall::SyncData, DiskCall::SyncAll, DiskCall::SyncDir];
        self.faults.order(&calls, 0, DiskError::Kind(error));
    }

    pub(in crate::testing) fn fail_next_write(&mut self, error: io::ErrorKind) {
        self.faults.order(&[DiskCall::Write], 0, DiskError::Kind(error));
    }

    pub(in crate::testing) fn set_sync_delay(&mut self, delay: RangeInclusive<Duration>) {
        self.sync_delay = delay;
    }

    pub(in crate::testing) fn set_speed(&mut self, bytes_per_second: Option<u64>) {
        self.bytes_per_second = bytes_per_second;
    }

    /// Counts an operation; says how the node dies before it, if it does.
    pub(super) fn count_operation(&mut self) -> Option<Death> {
        self.operations += 1;
        let (at, death) = self.crash_at?;
        (at == self.operations).then(|| {
            self.crash_at = None;
            self.deaths += 1;
            death
        })
    }

    /// How many of `len` bytes a write that fails has written nevertheless.
    pub(super) fn draw_part(&mut self, len: u64) -> u64 {
        self.rng.below(len + 1)
    }

    /// The bytes its files take.
    pub(super) fn used(&self) -> u64 {
        lock(&self.root).used(BLOCK)
    }

    pub(super) fn free(&self) -> u64 {
        self.faults.capacity.map_or(ENDLESS, |capacity| capacity.saturating_sub(self.used()))
    }

    pub(super) fn total(&self) -> u64 {
        self.faults.capacity.unwrap_or(ENDLESS)
    }

    /// The length a file of `len` bytes can grow to, at most `wanted`.
    pub(super) fn room(&self, len: u64, wanted: u64) -> u64 {
        if wanted <= len || self.faults.capacity.is_none() {
            return wanted;
        }
        let blocks = (self.free() / BLOCK).saturating_mul(BLOCK);
        wanted.min(len.next_multiple_of(BLOCK).saturating_add(blocks))
    }

    /// How long a sync of so many bytes takes.
    pub(super) fn draw_sync_delay(&mut self, bytes: u64) -> Duration {
        let delay = self.rng.duration(&self.sync_delay);
        self.slow_syncs += u64::from(delay > self.usual_sync);
        let written = |speed: u64| Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / speed.max(1));
        delay + self.bytes_per_second.map_or(Duration::ZERO, written)
    }

    /// Takes a lock unless it is taken; its number releases it.
    pub(super) fn lock(&mut self, path: &Path) -> io::Result<u64> {
        let number = self.next_lock;
        match self.locks.entry(path.to_owned()) {
            std::collections::btree_map::Entry::Occupied(_) => Err(io::ErrorKind::WouldBlock.into()),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(number);
                self.next_lock += 1;
                Ok(number)
            }
        }
    }

    pub(super) fn unlock(&mut self, path: &Path, number: u64) {
        if self.locks.get(path) == Some(&number) {
            self.locks.remove(path);
        }
    }

    pub(super) fn directory(&self, path: &Path) -> io::Result<Arc<Mutex<Directory>>> {
        let mut directory = self.root.clone();
        for name in components(path)? {
            let next = match lock(&directory).get(name) {
                Some(Entry::Directory(next)) => next.clone(),
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
            directory = next;
        }
        Ok(directory)
    }

    /// The directory a path is in, and its name there.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(Arc<Mutex<Directory>>, &'a str)> {
        let name = components(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.directory(parent)?, name))
    }

    pub(super) fn entry(&self, path: &Path) -> io::Result<Entry> {
        let (parent, name) = self.parent(path)?;
        lock(&parent).get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut directory = self.root.clone();
        for name in components(path)? {
            let next = {
                let mut directory = lock(&directory);
                match directory.get(name).cloned() {
                    Some(Entry::Directory(next)) => {
                        directory.sync();
                        next
                    }
                    Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                    None => {
                        let next = Arc::new(Mutex::new(Directory::default()));
                        directory.set(name, Some(Entry::Directory(next.clone())));
                        directory.sync();
                        next
                    }
                }
            };
            directory = next;
        }
        Ok(())
    }
}

/// The names along a path. Every path starts at the root.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    path.components()
        .filter_map(|component| match component {
            Component::RootDir | Component::CurDir => None,
            Component::Normal(name) => Some(name.to_str().ok_or_else(|| io::ErrorKind::InvalidInput.into())),
            Component::ParentDir | Component::Prefix(_) => Some(Err(io::ErrorKind::InvalidInput.into())),
        })
        .collect()
}
