//! A disk in memory with the durability of POSIX and nothing stronger.
//!
//! ```text
//!   SimDisk, SimFile ── one incarnation's handles; they fail when it is dead
//!        ▼
//!   Platter ── tree of Directory (names, each with its unsynced history)
//!      │              └── Content (sectors, each with its durable content while that differs)
//!      └── Faults: calls that are to fail, space, planted bugs, a record of what rotted
//! ```
//!
//! **Invariant**: a sync makes durable what was written before it *began*, and nothing of it before it *ends*.
//!
//! **Invariant**: a power cut decides for each unsynced sector, length and name by itself what is left of it.
//!
//! Left out: interrupted and short writes (the contract of the seam says that implementations go on behind them, so they
//! are below it: `world/real` is tested for them), space that an open file holds after it was removed, and a sector torn
//! within itself (garbling one is [`Rot`]).
use super::{
    lock,
    universe::{Life, Universe},
};
use crate::world::{Disk, DiskFile};
use content::Content;
use directory::Entry;
use openraft_rt::AsyncRuntime as _;
use openraft_rt_sim::SimRuntime;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

mod content;
mod directory;
mod faults;
mod platter;
mod rot;

pub(super) use platter::Platter;

pub use faults::{DiskCall, DiskError, PlantedBug};
pub use rot::{DiskImage, Rot, Rotten};

/// A node's disk, as one incarnation of the node has it.
#[derive(Clone)]
pub struct SimDisk {
    universe: Arc<Universe>,
    life: Arc<Life>,
    platter: Arc<Mutex<Platter>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimDisk").field(&self.life).finish()
    }
}

impl SimDisk {
    pub(super) fn new(universe: Arc<Universe>, life: Arc<Life>, platter: Arc<Mutex<Platter>>) -> Self {
        SimDisk { universe, life, platter }
    }

    /// For what changes nothing.
    fn look(&self) -> io::Result<MutexGuard<'_, Platter>> {
        if self.life.is_alive() { Ok(lock(&self.platter)) } else { Err(self.dead()) }
    }

    /// For operations that change something, each of which is a point where the node may die.
    fn operate(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.look()?;
        if let Some(death) = platter.count_operation() {
            drop(platter);
            self.universe.end(&self.life, death);
            return Err(self.dead());
        }
        Ok(platter)
    }

    /// [`SimDisk::operate`], where the call fails whole or not at all.
    fn call(&self, call: DiskCall) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.operate()?;
        platter.faults.check(call)?;
        Ok(platter)
    }

    fn dead(&self) -> io::Error {
        io::Error::other(format!("{:?} is dead", self.life))
    }

    fn trace(&self, event: fmt::Arguments<'_>) {
        self.universe.trace().detail(format_args!("{} {event}", self.life));
    }

    fn file(&self, path: &Path, content: Arc<Mutex<Content>>, writable: bool) -> SimFile {
        SimFile { disk: self.clone(), path: path.to_owned(), content, writable }
    }

    fn open_as(&self, path: &Path, writable: bool) -> io::Result<SimFile> {
        let mut platter = self.look()?;
        platter.faults.check(DiskCall::Open)?;
        if writable {
            platter.faults.check_writable(DiskCall::Open)?;
        }
        match platter.entry(path)? {
            Entry::File(content) => Ok(self.file(path, content, writable)),
            Entry::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(DiskCall::CreateDir)?.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut platter = self.look()?;
        platter.faults.check(DiskCall::List)?;
        let directory = platter.directory(dir)?;
        let names = lock(&directory).list();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let platter = self.look()?;
        match platter.directory(path).map(drop).or_else(|_| platter.entry(path).map(drop)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        let (parent, name) = self.call(DiskCall::Create)?.parent(path)?;
        let content = lock(&parent).create_file(name)?;
        Ok(self.file(path, content, true))
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.open_as(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let platter = self.call(DiskCall::Rename)?;
        let entry = platter.entry(from)?;
        let (old, old_name) = platter.parent(from)?;
        let (new, new_name) = platter.parent(to)?;
        if matches!(lock(&new).get(new_name), Some(Entry::Directory(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        lock(&new).set(new_name, Some(entry));
        if !(Arc::ptr_eq(&old, &new) && old_name == new_name) {
            lock(&old).set(old_name, None);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let platter = self.call(DiskCall::Remove)?;
        if let Entry::Directory(_) = platter.entry(path)? {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (parent, name) = platter.parent(path)?;
        lock(&parent).set(name, None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let platter = self.call(DiskCall::SyncDir)?;
        let directory = platter.directory(dir)?;
        let lies = platter.faults.sync_dir_lies();
        drop(platter);
        if !lies {
            lock(&directory).sync();
        }
        self.trace(format_args!("synced directory {}", dir.display()));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let mut platter = self.call(DiskCall::Lock)?;
        let (parent, name) = platter.parent(path)?;
        let exists = lock(&parent).get(name).is_some();
        if !exists {
            lock(&parent).create_file(name)?;
        }
        let number = platter.lock(path)?;
        Ok(SimLock { platter: self.platter.clone(), path: path.to_owned(), number })
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let platter = self.look()?;
        platter.directory(path).map(drop).or_else(|_| platter.entry(path).map(drop))?;
        Ok(platter.free())
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        let platter = self.look()?;
        platter.directory(path).map(drop).or_else(|_| platter.entry(path).map(drop))?;
        Ok(platter.total())
    }
}

/// An open file of one incarnation.
pub struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
    writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("life", &self.disk.life).field("path", &self.path).finish_non_exhaustive()
    }
}

impl SimFile {
    fn writing(&self) -> io::Result<MutexGuard<'_, Platter>> {
        if !self.writable {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only"));
        }
        self.disk.operate()
    }

    fn finish(&self, call: DiskCall, sync: content::Sync) -> io::Result<()> {
        let mut platter = self.disk.operate()?;
        let mut content = lock(&self.content);
        if let Err(error) = platter.faults.check(call) {
            content.fail_sync(sync);
            self.disk.trace(format_args!("failed to sync {}", self.path.display()));
            return Err(error);
        }
        let (sectors, hash) = sync.summary();
        content.finish_sync(sync);
        self.disk.trace(format_args!("synced {}, {sectors} sectors, {hash:016x}", self.path.display()));
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, offset: u64, buffers: &[&[u8]]) -> io::Result<()> {
        let mut platter = self.writing()?;
        let bytes = buffers.concat();
        let mut content = lock(&self.content);
        if let Err(error) = platter.faults.check(DiskCall::Write) {
            let whole = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
            let part = if whole { 0 } else { platter.draw_part(bytes.len() as u64) };
            content.write(offset, &bytes[..part as usize]);
            return Err(error);
        }
        let (len, end) = (content.len(), offset + bytes.len() as u64);
        drop(content);
        let room = platter.room(len, end);
        let mut content = lock(&self.content);
        if room < end {
            content.write(offset, &bytes[..room.saturating_sub(offset) as usize]);
            return Err(platter.faults.fire(DiskCall::Write, DiskError::Full));
        }
        platter.faults.wrote(&bytes);
        content.write(offset, &bytes);
        Ok(())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut platter = self.disk.look()?;
        platter.faults.check(DiskCall::Read)?;
        let content = lock(&self.content);
        match platter.faults.stale_reads.checked_sub(1) {
            Some(left) => {
                platter.faults.stale_reads = left;
                content.read_older(offset, buffer)
            }
            None => content.read(offset, buffer),
        }
    }

    fn len(&self) -> io::Result<u64> {
        let _alive = self.disk.look()?;
        Ok(lock(&self.content).len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut platter = self.writing()?;
        platter.faults.check(DiskCall::Allocate)?;
        let present = lock(&self.content).len();
        if platter.room(present, len) < len {
            return Err(platter.faults.fire(DiskCall::Allocate, DiskError::Full));
        }
        lock(&self.content).extend(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut platter = self.writing()?;
        platter.faults.check(DiskCall::Truncate)?;
        lock(&self.content).truncate(len);
        Ok(())
    }

    async fn sync_data(&self) -> io::Result<()> {
        let (sync, delay) = {
            let mut platter = self.disk.operate()?;
            if platter.faults.sync_data_lies() {
                return Ok(());
            }
            let sync = lock(&self.content).begin_sync();
            let delay = platter.draw_sync_delay(Content::bytes_of(&sync));
            (sync, delay)
        };
        SimRuntime::sleep(delay).await;
        self.finish(DiskCall::SyncData, sync)
    }

    fn sync_all(&self) -> io::Result<()> {
        let sync = {
            let _alive = self.disk.look()?;
            lock(&self.content).begin_sync()
        };
        self.finish(DiskCall::SyncAll, sync)
    }
}

/// A lock on a file. Released when dropped, or when its node ends.
#[derive(Debug)]
pub struct SimLock {
    platter: Arc<Mutex<Platter>>,
    path: PathBuf,
    number: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.platter).unlock(&self.path, self.number);
    }
}
