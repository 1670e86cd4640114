//! The folder of checkpoints: names, how one comes into being, which one is read, which are removed.
use super::file::{self, FileError, Owner};
use crate::{
    error::OpenError,
    partition::fold::SnapshotError,
    topic::PartitionId,
    world::{Disk, DiskFile},
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use prost::Message as _;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

/// `<partition>-<index of the last entry>.ckpt`: sixteen hexadecimal digits, twenty decimal ones.
fn file_name(partition: PartitionId, index: u64) -> String {
    format!("{:016x}-{index:020}.ckpt", partition.0)
}

fn parse_name(name: &str) -> Option<(PartitionId, u64)> {
    let (partition, index) = name.strip_suffix(".ckpt")?.split_once('-')?;
    let (partition, index) = (PartitionId(u64::from_str_radix(partition, 16).ok()?), index.parse().ok()?);
    (file_name(partition, index) == name).then_some((partition, index))
}

/// What is left of a checkpoint that was being written.
fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".new").is_some_and(|name| parse_name(name).is_some())
}

/// Why a checkpoint cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// There is no room, or no file can be made: nothing has changed, and it may be tried again later.
    #[error("not written: {0}")]
    Refused(io::Error),
    /// What was written does not read back as itself.
    #[error("does not read back: {0}")]
    ReadBack(ReadError),
    /// What is on disk is unknown.
    #[error(transparent)]
    Disk(io::Error),
}

/// The checkpoints of one partition that are on disk, by index.
#[derive(Debug, Default)]
struct Copies {
    /// The one that was read and found to fit the log, or was written last.
    newest: Option<u64>,
    /// Other ones: the one before the newest, ones that were discarded, ones nobody has looked at.
    others: Vec<u64>,
}

/// The `checkpoints` folder of a data directory.
#[derive(Debug)]
pub(crate) struct Store<D: Disk> {
    disk: D,
    dir: PathBuf,
    owner: Owner,
    copies: Mutex<BTreeMap<PartitionId, Copies>>,
}

impl<D: Disk> Store<D> {
    /// Opens the folder, made where it is missing; removes what was never finished.
    pub(crate) fn open(disk: D, data_dir: &Path, owner: Owner) -> Result<Self, OpenError> {
        let dir = data_dir.join("checkpoints");
        let open = || {
            disk.create_dir_all(&dir)?;
            let mut copies: BTreeMap<PartitionId, Copies> = BTreeMap::new();
            for name in disk.list(&dir)? {
                if let Some((partition, index)) = parse_name(&name) {
                    copies.entry(partition).or_default().others.push(index);
                } else if is_unfinished(&name) {
                    disk.remove_file(&dir.join(&name))?;
                } else {
                    tracing::warn!(folder = %dir.display(), name, "not a checkpoint; left alone");
                }
            }
            Ok(copies)
        };
        match open() {
            Ok(copies) => Ok(Store { disk, dir, owner, copies: Mutex::new(copies) }),
            Err(source) => Err(OpenError::Io { what: "cannot open", path: dir, source }),
        }
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Copies>> {
        self.copies.lock().expect("bookkeeping does not panic")
    }

    pub(crate) fn path(&self, partition: PartitionId, index: u64) -> PathBuf {
        self.dir.join(file_name(partition, index))
    }

    /// What there is for a partition and has not been trusted or discarded yet, newest first.
    pub(crate) fn candidates(&self, partition: PartitionId) -> Vec<u64> {
        let mut found = self.copies().get(&partition).map(|copies| copies.others.clone()).unwrap_or_default();
        found.sort_unstable();
        found.reverse();
        found
    }

    /// The one to go by from now on.
    pub(crate) fn trust(&self, partition: PartitionId, index: u64) {
        let mut copies = self.copies();
        let copies = copies.entry(partition).or_default();
        copies.others.retain(|other| *other != index);
        copies.newest = Some(index);
    }

    /// The one that is trusted.
    pub(crate) fn newest(&self, partition: PartitionId) -> Option<u64> {
        self.copies().get(&partition)?.newest
    }

    /// The partitions that have checkpoints.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        self.copies().keys().copied().collect()
    }

    /// Reads and verifies one.
    pub(crate) fn read(&self, partition: PartitionId, index: u64) -> Result<pb::PartitionSnapshot, ReadError> {
        let file = self.disk.open_read(&self.path(partition, index))?;
        let len = file.len()?;
        let mut header = [0; file::HEADER_LEN];
        if len >= file::HEADER_LEN as u64 {
            file.read_exact_at(0, &mut header)?;
        }
        // A name is no reason to make room for whatever length the file has.
        let expected = file::file_len(&self.owner, partition, &header)?;
        if len != expected {
            return Err(FileError::Damaged(format!("{len} bytes are there, {expected} were written")).into());
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(0, &mut bytes)?;
        let body = file::body(&self.owner, partition, &Bytes::from(bytes))?;
        let snapshot = pb::PartitionSnapshot::decode(body).map_err(SnapshotError::from)?;
        let last = snapshot.last.as_ref().map(|last| last.index);
        if last != Some(index) {
            return Err(FileError::Damaged(format!("ends with entry {last:?}, its name says {index}")).into());
        }
        Ok(snapshot)
    }

    /// Writes a checkpoint, reads it back, and only then removes all but the one before it.
    ///
    /// The order is the promise (R3): the file is complete and synced under a side name, takes its name, and the folder is
    /// synced, before anything may count on it.
    pub(crate) fn write(&self, partition: PartitionId, snapshot: &pb::PartitionSnapshot) -> Result<(), WriteError> {
        let index = snapshot.last.as_ref().map_or(0, |last| last.index);
        let body = snapshot.encode_to_vec();
        let head = file::head(&self.owner, partition, &body);
        let path = self.path(partition, index);
        let side = path.with_extension("ckpt.new");
        self.write_side(&side, &[&head, &body])?;
        self.disk.rename(&side, &path).map_err(WriteError::Disk)?;
        self.disk.sync_dir(&self.dir).map_err(WriteError::Disk)?;
        let read_back = match self.read(partition, index) {
            Ok(found) if found == *snapshot => Ok(()),
            Ok(_) => Err(FileError::Damaged("reads as another checkpoint than was written".into()).into()),
            Err(error) => Err(error),
        };
        match read_back {
            Ok(()) => self.supersede(partition, index),
            // Left where it is, like any copy that does not verify, until the next one is written.
            Err(_) => self.copies().entry(partition).or_default().others.push(index),
        }
        read_back.map_err(WriteError::ReadBack)
    }

    /// Nobody counts on a side file, so a full disk is no failure of it: there is no checkpoint, that is all.
    fn write_side(&self, side: &Path, pieces: &[&[u8]]) -> Result<(), WriteError> {
        let write = || -> Result<(), WriteError> {
            if self.disk.exists(side).map_err(WriteError::Refused)? {
                self.disk.remove_file(side).map_err(WriteError::Refused)?;
            }
            let file = self.disk.create_new(side).map_err(WriteError::Refused)?;
            file.write_all_at(0, pieces).and_then(|()| file.sync_all()).map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::Refused(error),
                _ => WriteError::Disk(error),
            })
        };
        let written = write();
        if let Err(WriteError::Refused(_)) = &written {
            // Gives the room back. What cannot be removed now is removed at the next attempt or open.
            let _ = self.disk.remove_file(side);
        }
        written
    }

    /// Makes a checkpoint that has been verified the newest, and removes all others but the one that was the newest before.
    fn supersede(&self, partition: PartitionId, index: u64) {
        let mut gone = {
            let mut copies = self.copies();
            let copies = copies.entry(partition).or_default();
            let previous = copies.newest.replace(index).filter(|previous| *previous != index);
            std::mem::replace(&mut copies.others, previous.into_iter().collect())
        };
        gone.retain(|other| *other != index);
        self.remove(partition, &gone);
    }

    /// Removes all checkpoints of a partition that is no more.
    pub(crate) fn forget(&self, partition: PartitionId) {
        let Some(copies) = self.copies().remove(&partition) else { return };
        let gone: Vec<u64> = copies.others.into_iter().chain(copies.newest).collect();
        self.remove(partition, &gone);
    }

    /// A file that stays, or comes back with a power cut, is in nobody's way: the newest that fits the log is read.
    fn remove(&self, partition: PartitionId, indexes: &[u64]) {
        for index in indexes {
            let path = self.path(partition, *index);
            if let Err(error) = self.disk.remove_file(&path) {
                tracing::warn!(file = %path.display(), %error, "a checkpoint nobody needs was not removed");
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/store.rs"]
mod tests;
