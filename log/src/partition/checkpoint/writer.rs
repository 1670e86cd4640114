//! The one task that writes and removes checkpoints: on its own thread, where it may block, and one file at a time, so
//! that a thousand partitions at one moment do not keep the disk from the WAL.
use super::store::{Store, WriteError};
use crate::{
    topic::PartitionId,
    world::{Halt, Tasks, World},
};
use corduroy_proto::v1 as pb;
use std::{collections::BTreeSet, io, sync::Arc};
use tokio::sync::{mpsc, oneshot};

pub(super) enum Job {
    Save { partition: PartitionId, snapshot: Box<pb::PartitionSnapshot>, done: oneshot::Sender<io::Result<()>> },
    Forget { partition: PartitionId },
    Close { done: oneshot::Sender<()> },
}

/// Serves until it is closed or nobody is left to ask.
pub(super) async fn run<W: World>(store: Arc<Store<W::Disk>>, mut jobs: mpsc::Receiver<Job>) {
    // A save may have been on its way when its partition was deleted.
    let mut forgotten = BTreeSet::new();
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Save { partition, done, .. } if forgotten.contains(&partition) => {
                let _ = done.send(Err(io::Error::other(format!("partition {partition} was deleted"))));
            }
            Job::Save { partition, snapshot, done } => {
                // Whoever asked may have lost interest.
                let _ = done.send(save::<W>(&store, partition, &snapshot));
            }
            Job::Forget { partition } => {
                forgotten.insert(partition);
                store.forget(partition);
            }
            Job::Close { done } => {
                let _ = done.send(());
                return;
            }
        }
    }
}

fn save<W: World>(store: &Store<W::Disk>, partition: PartitionId, snapshot: &pb::PartitionSnapshot) -> io::Result<()> {
    let index = snapshot.last.as_ref().map(|last| last.index);
    if index <= store.newest(partition) {
        return Ok(());
    }
    match store.write(partition, snapshot) {
        Ok(()) => Ok(()),
        Err(WriteError::Disk(error)) => {
            let what = format!("writing a checkpoint of partition {partition}: {error}");
            W::Tasks::halt(Halt::DiskFailed(what.clone()));
            Err(io::Error::new(error.kind(), what))
        }
        Err(error) => {
            tracing::error!(%partition, %error, "no checkpoint was taken; the one before stays");
            Err(io::Error::other(error))
        }
    }
}
