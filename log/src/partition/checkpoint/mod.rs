//! Checkpoints: what a partition's log folds to up to some entry, in a file, so that a restart evolves only what follows.
//!
//! ```text
//!   schedule ── due? ─▶ Evolved::image ────▶ wait until the WAL has it all ─▶ writer ─▶ store ─▶ DIR/checkpoints/*.ckpt
//!    segment sealed,      a copy, under                 durable               one at a     side file, sync,
//!    bytes, time, stop    the lock                                            time, on     rename, sync, read back;
//!                                                                             a thread     *.rows first, if they are new
//!   restart ──▶ newest copy that verifies *and* fits the WAL ─▶ Evolved::install ─▶ evolve what follows ─▶ Raft
//! ```
//!
//! **Invariant** (R36): the records are not in it: a checkpoint is a few KiB, or a MiB for a very long log, and what its machine
//! keeps in memory. The rest of that is in a [`Table`], which several checkpoints may name.
//! **Invariant**: no checkpoint is ahead of what this node's WAL has on disk. What is evolved may be committed by others
//! and not yet durable here; a power cut would leave a state without the log it came from. So the writer waits first.
//! **Invariant** (R3): a file with a checkpoint's name is complete and was read back; the one before it stays until then.
//! **Invariant** (R38): a checkpoint is never evidence about the log. One that does not verify, or whose log hash is not
//! the log's, is passed over for the one before it, and in the end for the log itself. It is not a reason to delete
//! anything. One that belongs to somebody else, or to a later version, halts the node.
//!
//! Left out: retention, and with it sending checkpoints to other nodes; scrubbing. Until a log is purged, any of its
//! checkpoints can be lost without loss.
pub(crate) mod file;
mod names;
mod schedule;
mod store;
mod table;
mod writer;

pub(crate) use file::Owner;
pub(crate) use schedule::{Policy, Scheduler};
pub use table::Table;
#[cfg(any(test, feature = "testing"))]
pub(crate) use table::table_of;

use self::{
    file::FileError,
    store::{ReadError, Store},
    writer::{Job, What},
};
use super::{Evolved, Image, unreadable};
use crate::{
    error::OpenError,
    raft::log_id_from_wire,
    topic::PartitionId,
    wal::PartitionLog,
    world::{Halt, Tasks, World},
};
use corduroy_proto::v1 as pb;
use std::{fmt, io, path::Path, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// Checkpoints that wait to be written; whoever comes then waits, too.
const QUEUED: usize = 16;

/// The checkpoints of a node. Clones are the same ones.
pub(crate) struct Checkpoints<W: World> {
    store: Arc<Store<W::Disk>>,
    jobs: mpsc::Sender<Job>,
}

impl<W: World> Clone for Checkpoints<W> {
    fn clone(&self) -> Self {
        Checkpoints { store: self.store.clone(), jobs: self.jobs.clone() }
    }
}

impl<W: World> fmt::Debug for Checkpoints<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Why a partition cannot be restored.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// By its checkpoints.
    Halt(Halt),
    /// Its log cannot be read where a checkpoint ends.
    Io(io::Error),
}

impl RestoreError {
    /// What the node halts with.
    pub(crate) fn into_halt(self, partition: &str) -> Halt {
        match self {
            RestoreError::Halt(halt) => halt,
            RestoreError::Io(error) => unreadable(partition, &error),
        }
    }
}

impl<W: World> Checkpoints<W> {
    /// Opens the folder of a data directory, which the caller has locked, and starts the writer.
    pub(crate) fn open(disk: W::Disk, data_dir: &Path, owner: Owner) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open(disk, data_dir, owner, W::Tasks::halt)?);
        let (jobs, queue) = mpsc::channel(QUEUED);
        W::Tasks::spawn_dedicated("checkpoints", writer::run::<W>(store.clone(), queue));
        Ok(Checkpoints { store, jobs })
    }

    /// Brings `evolved`, which is new, to the newest checkpoint that verifies and fits the log, and returns it.
    pub(crate) fn restore(
        &self,
        log: &PartitionLog<W>,
        evolved: &Evolved,
    ) -> Result<Option<pb::PartitionSnapshot>, RestoreError> {
        let partition = log.id();
        for index in self.store.candidates(partition) {
            let path = self.store.path(partition, index);
            let halt = |error: &FileError| format!("{}: {error}", path.display());
            let discarded = match self.try_restore(log, index, evolved).map_err(RestoreError::Io)? {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(ReadError::File(error @ FileError::Foreign(_))) => {
                    return Err(RestoreError::Halt(Halt::WrongIdentity(halt(&error))));
                }
                Err(ReadError::File(error @ FileError::Newer(_))) => {
                    return Err(RestoreError::Halt(Halt::UnknownEntry(halt(&error))));
                }
                Err(error) => error.to_string(),
            };
            tracing::error!(file = %path.display(), why = discarded, "checkpoint passed over; the log is kept and evolved");
        }
        match log.purged() {
            None => Ok(None),
            Some(purged) => Err(RestoreError::Halt(Halt::Corrupt(format!(
                "partition {partition}: its log begins behind entry {purged}, and no checkpoint that verifies reaches there"
            )))),
        }
    }

    /// `Ok(Err(_))`: it is passed over, or a reason to halt.
    fn try_restore(
        &self,
        log: &PartitionLog<W>,
        index: u64,
        evolved: &Evolved,
    ) -> io::Result<Result<pb::PartitionSnapshot, ReadError>> {
        let partition = log.id();
        let snapshot = match self.store.read(partition, index) {
            Ok(snapshot) => snapshot,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(why) = fits(log, &snapshot)? {
            return Ok(Err(FileError::Damaged(why).into()));
        }
        let table = snapshot.table.as_ref().map(|named| self.store.open_table(partition, named)).transpose();
        let installed = table.and_then(|table| Ok(evolved.install(&snapshot, table)?));
        Ok(installed.map(|()| {
            self.store.trust(partition, index, &snapshot);
            snapshot
        }))
    }

    /// The checkpoint the partition goes by; `None` where it has none.
    pub(crate) fn newest(&self, partition: PartitionId) -> io::Result<Option<pb::PartitionSnapshot>> {
        let Some(index) = self.store.newest(partition) else { return Ok(None) };
        match self.store.read(partition, index) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(ReadError::Io(error)) => Err(error),
            Err(error) => {
                let path = self.store.path(partition, index);
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
            }
        }
    }

    /// Writes a checkpoint of what a partition had evolved when `image` was made. What is evolved is committed, maybe by the
    /// others alone: here it must be on disk, too, before a checkpoint may say so (R36).
    pub(crate) async fn take(&self, log: &PartitionLog<W>, evolved: &Arc<Evolved>, image: Image) -> io::Result<()> {
        log.flushed().await?;
        self.write(log.id(), What::Image(evolved.clone(), image)).await
    }

    /// Writes a checkpoint another node has sent.
    pub(crate) async fn save(&self, partition: PartitionId, snapshot: pb::PartitionSnapshot) -> io::Result<()> {
        self.write(partition, What::Snapshot(snapshot)).await
    }

    /// Durable and read back when it returns. Nothing is done for one that is not newer than what there is. An error that is
    /// not the end of the node has left what was there.
    async fn write(&self, partition: PartitionId, what: What) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let job = Job::Save { partition, what: Box::new(what), done };
        let closed = || io::Error::other("checkpoints are closed");
        self.jobs.send(job).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Removes the checkpoints of partitions that are no more. They will not come back: ids are not used again.
    pub(crate) async fn forget(&self, is_gone: impl Fn(PartitionId) -> bool) {
        for partition in self.store.partitions().into_iter().filter(|partition| is_gone(*partition)) {
            tracing::info!(%partition, "removing the checkpoints of a deleted partition");
            // After `close` the next start removes them.
            let _ = self.jobs.send(Job::Forget { partition }).await;
        }
    }

    /// Ends the writer; what was asked for before is done when this returns, and nothing will be written afterwards.
    pub(crate) async fn close(&self) {
        let (done, answer) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// Whether the log goes on where the checkpoint ends; `Ok(Err(_))` says why not.
fn fits<W: World>(log: &PartitionLog<W>, snapshot: &pb::PartitionSnapshot) -> io::Result<Result<(), String>> {
    let last = snapshot.last.as_ref().map(log_id_from_wire).unwrap_or_default();
    let found = log.log_id(last.index);
    if found != Some(last) {
        let (purged, end) = (log.purged(), log.last());
        return Ok(Err(format!(
            "it ends with entry {last}, the log has {found:?} there, ({purged:?}, {end:?}] in all"
        )));
    }
    let hash = log.log_hash_at(last.index)?;
    Ok(match hash {
        Some(hash) if hash[..] == snapshot.log_hash[..] => Ok(()),
        _ => Err(format!("the log hash after entry {last} is {hash:x?}, the checkpoint says {:x?}", snapshot.log_hash)),
    })
}

#[cfg(test)]
mod tests;
