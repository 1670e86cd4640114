//! A machine's disk: its tree, its locks, its speed and the faults ordered for it.
use super::directory::{Directory, Entry};
use crate::testing::{lock, rng::Stream};
use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What outlives every incarnation of a node.
#[derive(Debug)]
pub(in crate::testing) struct Platter {
    root: Arc<Mutex<Directory>>,
    locks: BTreeMap<PathBuf, u64>,
    next_lock: u64,
    rng: Stream,
    sync_delay: RangeInclusive<Duration>,
    operations: u64,
    lose_power_at: Option<u64>,
    failing_sync: Option<io::ErrorKind>,
    failing_write: Option<io::ErrorKind>,
}

impl Platter {
    pub(in crate::testing) fn new(rng: Stream, sync_delay: RangeInclusive<Duration>) -> Self {
        Platter {
            root: Arc::default(),
            locks: BTreeMap::new(),
            next_lock: 0,
            rng,
            sync_delay,
            operations: 0,
            lose_power_at: None,
            failing_sync: None,
            failing_write: None,
        }
    }

    /// A disk with what is durable on this one.
    pub(in crate::testing) fn durable(&self, rng: Stream) -> Self {
        let mut copy = Platter::new(rng, Duration::ZERO..=Duration::ZERO);
        copy.root = Arc::new(Mutex::new(lock(&self.root).durable()));
        copy
    }

    pub(in crate::testing) fn lose_power(&mut self) {
        self.lose_power_at = None;
        lock(&self.root).lose_power(&mut self.rng);
    }

    pub(in crate::testing) fn lose_power_at(&mut self, operations: u64) {
        self.lose_power_at = Some(self.operations + operations);
    }

    pub(in crate::testing) fn operations(&self) -> u64 {
        self.operations
    }

    pub(in crate::testing) fn release_locks(&mut self) {
        self.locks.clear();
    }

    pub(in crate::testing) fn fail_next_sync(&mut self, error: io::ErrorKind) {
        self.failing_sync = Some(error);
    }

    pub(in crate::testing) fn fail_next_write(&mut self, error: io::ErrorKind) {
        self.failing_write = Some(error);
    }

    pub(in crate::testing) fn set_sync_delay(&mut self, delay: RangeInclusive<Duration>) {
        self.sync_delay = delay;
    }

    /// Counts an operation; `true` when the power fails before it.
    pub(super) fn count_operation(&mut self) -> bool {
        self.operations += 1;
        self.lose_power_at == Some(self.operations)
    }

    pub(super) fn take_failing_sync(&mut self) -> io::Result<()> {
        self.failing_sync.take().map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// The error of a write that fails, and how many of its `len` bytes are written nevertheless.
    pub(super) fn take_failing_write(&mut self, len: usize) -> Option<(usize, io::Error)> {
        let kind = self.failing_write.take()?;
        Some((self.rng.below(len as u64 + 1) as usize, kind.into()))
    }

    pub(super) fn draw_sync_delay(&mut self) -> Duration {
        self.rng.duration(&self.sync_delay)
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
