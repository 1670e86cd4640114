//! The folder of checkpoints: how one comes into being, which one is read, which are removed.
use super::{
    file::{self, FileError, Owner},
    names::{Kind, Name},
    table::{self, Table},
};
use crate::{
    error::OpenError,
    partition::fold::SnapshotError,
    topic::PartitionId,
    world::{Disk, DiskFile, Halt},
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

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

impl From<table::OpenError> for ReadError {
    fn from(error: table::OpenError) -> Self {
        match error {
            table::OpenError::Io(error) => ReadError::Io(error),
            table::OpenError::File(error) => ReadError::File(error),
        }
    }
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
    /// The one that was read and found to fit the log, or was written last, and the table it names.
    newest: Option<(u64, Option<u64>)>,
    /// Other ones: the one before the newest, ones that were discarded, ones nobody has looked at.
    others: Vec<u64>,
    /// Tables, whoever names them.
    tables: BTreeSet<u64>,
}

/// The `checkpoints` folder of a data directory.
#[derive(Debug)]
pub(crate) struct Store<D: Disk> {
    disk: D,
    dir: PathBuf,
    owner: Owner,
    /// Ends the node: a table that is being read cannot be read any more.
    halt: fn(Halt),
    copies: Mutex<BTreeMap<PartitionId, Copies>>,
}

impl<D: Disk> Store<D> {
    /// Opens the folder, made where it is missing; removes what was never finished.
    pub(crate) fn open(disk: D, data_dir: &Path, owner: Owner, halt: fn(Halt)) -> Result<Self, OpenError> {
        let dir = data_dir.join("checkpoints");
        let open = || {
            disk.create_dir_all(&dir)?;
            let mut copies: BTreeMap<PartitionId, Copies> = BTreeMap::new();
            for name in disk.list(&dir)? {
                match Name::parse(&name) {
                    Some(Name { kind: Kind::Checkpoint, partition, index }) => {
                        copies.entry(partition).or_default().others.push(index);
                    }
                    Some(Name { kind: Kind::Table, partition, index }) => {
                        copies.entry(partition).or_default().tables.insert(index);
                    }
                    None if Name::is_unfinished(&name) => disk.remove_file(&dir.join(&name))?,
                    None if Name::is_set_aside(&name) => {}
                    None => tracing::warn!(folder = %dir.display(), name, "not a checkpoint; left alone"),
                }
            }
            Ok(copies)
        };
        match open() {
            Ok(copies) => Ok(Store { disk, dir, owner, halt, copies: Mutex::new(copies) }),
            Err(source) => Err(OpenError::Io { what: "cannot open", path: dir, source }),
        }
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Copies>> {
        self.copies.lock().expect("bookkeeping does not panic")
    }

    pub(crate) fn path(&self, partition: PartitionId, index: u64) -> PathBuf {
        self.dir.join(Name { kind: Kind::Checkpoint, partition, index }.to_string())
    }

    fn table_path(&self, partition: PartitionId, index: u64) -> PathBuf {
        self.dir.join(Name { kind: Kind::Table, partition, index }.to_string())
    }

    /// What there is for a partition and has not been trusted or discarded yet, newest first.
    pub(crate) fn candidates(&self, partition: PartitionId) -> Vec<u64> {
        let mut found = self.copies().get(&partition).map(|copies| copies.others.clone()).unwrap_or_default();
        found.sort_unstable();
        found.reverse();
        found
    }

    /// The one to go by from now on.
    pub(crate) fn trust(&self, partition: PartitionId, index: u64, snapshot: &pb::PartitionSnapshot) {
        let mut copies = self.copies();
        let copies = copies.entry(partition).or_default();
        copies.others.retain(|other| *other != index);
        copies.newest = Some((index, table_of(snapshot)));
    }

    /// The one that is trusted.
    pub(crate) fn newest(&self, partition: PartitionId) -> Option<u64> {
        self.copies().get(&partition)?.newest.map(|(index, _)| index)
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

    /// Opens the table a checkpoint names.
    pub(crate) fn open_table(&self, partition: PartitionId, named: &pb::TableRef) -> Result<Table, ReadError> {
        let table = self.table(partition, named.index)?;
        match table.reference() == named {
            true => Ok(table),
            false => {
                let found = table.reference();
                Err(FileError::Damaged(format!("the table {found:?} is there, {named:?} was written")).into())
            }
        }
    }

    fn table(&self, partition: PartitionId, index: u64) -> Result<Table, table::OpenError> {
        let path = self.table_path(partition, index);
        let file = self.disk.open_read(&path)?;
        let (disk, dir, halt) = (self.disk.clone(), self.dir.clone(), self.halt);
        // A second reader that fails finds it set aside already.
        let failed = Box::new(move |reason| {
            let aside = Name::set_aside(&path);
            if disk.rename(&path, &aside).and_then(|()| disk.sync_dir(&dir)).is_ok() {
                tracing::error!(file = %aside.display(), "set aside: it cannot be read");
            }
            halt(reason);
        });
        Table::open(file, &self.owner, partition, index, failed)
    }

    /// Writes the table of a checkpoint that will be, and reads all of it back. In the order of [`Store::write`].
    pub(crate) fn write_table(
        &self,
        partition: PartitionId,
        index: u64,
        rows: impl Iterator<Item = (Bytes, Bytes)>,
    ) -> Result<Table, WriteError> {
        let write = |file: &D::File| table::write(file, &self.owner, partition, index, rows);
        self.write_file(&self.table_path(partition, index), write)?;
        self.copies().entry(partition).or_default().tables.insert(index);
        let read_back = self.table(partition, index).and_then(|table| table::verify(&table).map(|()| table));
        read_back.map_err(|error| {
            self.drop_table(partition, index);
            WriteError::ReadBack(error.into())
        })
    }

    /// Gives the room back of a table that no checkpoint will name.
    pub(crate) fn drop_table(&self, partition: PartitionId, index: u64) {
        self.copies().entry(partition).or_default().tables.remove(&index);
        self.remove(std::iter::once(self.table_path(partition, index)));
    }

    /// Writes a checkpoint, reads it back, and only then removes all but the one before it.
    ///
    /// The order is the promise (R3): the file is complete and synced under a side name, takes its name, and the folder is
    /// synced, before anything may count on it.
    pub(crate) fn write(&self, partition: PartitionId, snapshot: &pb::PartitionSnapshot) -> Result<(), WriteError> {
        let index = snapshot.last.as_ref().map_or(0, |last| last.index);
        let body = snapshot.encode_to_vec();
        if body.len() as u64 > file::MAX_BODY {
            let what = format!("a checkpoint of {} bytes is larger than any that is read", body.len());
            return Err(WriteError::Refused(io::Error::new(io::ErrorKind::FileTooLarge, what)));
        }
        let head = file::head(&self.owner, partition, &body);
        self.write_file(&self.path(partition, index), |file| file.write_all_at(0, &[&head, &body]))?;
        let read_back = match self.read(partition, index) {
            Ok(found) if found == *snapshot => Ok(()),
            Ok(_) => Err(FileError::Damaged("reads as another checkpoint than was written".into()).into()),
            Err(error) => Err(error),
        };
        match read_back {
            Ok(()) => self.supersede(partition, index, table_of(snapshot)),
            // It is evidence of nothing: nobody has counted on it.
            Err(_) => self.remove(std::iter::once(self.path(partition, index))),
        }
        read_back.map_err(WriteError::ReadBack)
    }

    /// Writes a file that is complete and durable once it has its name.
    fn write_file(&self, path: &Path, write: impl FnOnce(&D::File) -> io::Result<()>) -> Result<(), WriteError> {
        let side = Name::unfinished(path);
        self.write_side(&side, write)?;
        self.disk.rename(&side, path).map_err(WriteError::Disk)?;
        self.disk.sync_dir(&self.dir).map_err(WriteError::Disk)
    }

    /// Nobody counts on a side file, so a full disk is no failure of it: there is no checkpoint, that is all.
    fn write_side(&self, side: &Path, write: impl FnOnce(&D::File) -> io::Result<()>) -> Result<(), WriteError> {
        let write = || -> Result<(), WriteError> {
            if self.disk.exists(side).map_err(WriteError::Refused)? {
                self.disk.remove_file(side).map_err(WriteError::Refused)?;
            }
            let file = self.disk.create_new(side).map_err(WriteError::Refused)?;
            write(&file).and_then(|()| file.sync_all()).map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::InvalidInput => WriteError::Refused(error),
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

    /// Makes a checkpoint that has been verified the newest, and removes all others but the one that was the newest before,
    /// and all tables but those of the two.
    fn supersede(&self, partition: PartitionId, index: u64, table: Option<u64>) {
        let (mut gone, tables) = {
            let mut copies = self.copies();
            let copies = copies.entry(partition).or_default();
            let previous = copies.newest.replace((index, table)).filter(|(previous, _)| *previous != index);
            let kept = [table, previous.and_then(|(_, table)| table)];
            let tables: Vec<u64> =
                copies.tables.iter().copied().filter(|found| !kept.contains(&Some(*found))).collect();
            copies.tables.retain(|found| kept.contains(&Some(*found)));
            (std::mem::replace(&mut copies.others, previous.into_iter().map(|(index, _)| index).collect()), tables)
        };
        gone.retain(|other| *other != index);
        self.remove(gone.into_iter().map(|index| self.path(partition, index)));
        self.remove(tables.into_iter().map(|index| self.table_path(partition, index)));
    }

    /// Removes all checkpoints of a partition that is no more.
    pub(crate) fn forget(&self, partition: PartitionId) {
        let Some(copies) = self.copies().remove(&partition) else { return };
        let newest = copies.newest.map(|(index, _)| index);
        self.remove(copies.others.into_iter().chain(newest).map(|index| self.path(partition, index)));
        self.remove(copies.tables.into_iter().map(|index| self.table_path(partition, index)));
    }

    /// A file that stays, or comes back with a power cut, is in nobody's way: the newest that fits the log is read.
    fn remove(&self, paths: impl Iterator<Item = PathBuf>) {
        for path in paths {
            if let Err(error) = self.disk.remove_file(&path) {
                tracing::warn!(file = %path.display(), %error, "a checkpoint nobody needs was not removed");
            }
        }
    }
}

fn table_of(snapshot: &pb::PartitionSnapshot) -> Option<u64> {
    snapshot.table.as_ref().map(|table| table.index)
}

#[cfg(test)]
#[path = "tests/store.rs"]
mod tests;
