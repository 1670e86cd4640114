//! The one task that writes and removes checkpoints: on its own thread, where it may block, and one file at a time, so
//! that a thousand partitions at one moment do not keep the disk from the WAL.
use super::{
    store::{Store, WriteError},
    table::Table,
};
use crate::{
    partition::{Evolved, FrozenTable, Image},
    topic::PartitionId,
    world::{Disk, Halt, Tasks, World},
};
use corduroy_proto::v1 as pb;
use std::{collections::BTreeSet, io, sync::Arc};
use tokio::sync::{mpsc, oneshot};

pub(super) enum Job {
    Save { partition: PartitionId, what: Box<What>, done: oneshot::Sender<io::Result<()>> },
    Forget { partition: PartitionId },
    Close { done: oneshot::Sender<()> },
}

pub(super) enum What {
    /// What a partition has evolved. It is told when its rows are in a table.
    Image(Arc<Evolved>, Image),
    /// What another node has sent.
    Snapshot(pb::PartitionSnapshot),
}

impl What {
    fn index(&self) -> Option<u64> {
        match self {
            What::Image(_, image) => Some(image.reached().0),
            What::Snapshot(snapshot) => snapshot.last.as_ref().map(|last| last.index),
        }
    }
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
            Job::Save { partition, what, done } => {
                // Whoever asked may have lost interest.
                let _ = done.send(save::<W>(&store, partition, *what));
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

fn save<W: World>(store: &Store<W::Disk>, partition: PartitionId, what: What) -> io::Result<()> {
    if what.index() <= store.newest(partition) {
        return Ok(());
    }
    let saved = match what {
        What::Image(evolved, image) => save_image(store, partition, image).map(|table| {
            table.into_iter().for_each(|(freeze, table)| evolved.settle(freeze, table));
        }),
        What::Snapshot(snapshot) => store.write(partition, &snapshot),
    };
    match saved {
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

/// The rows first: a checkpoint names its table. Returns the table if it is a new one, with the number of its freeze.
fn save_image<D: Disk>(
    store: &Store<D>,
    partition: PartitionId,
    mut image: Image,
) -> Result<Option<(u64, Table)>, WriteError> {
    let (table, freeze) = match image.take_table() {
        FrozenTable::None => (None, None),
        FrozenTable::Same(table) => (Some(table), None),
        FrozenTable::New(freeze, rows) => (Some(store.write_table(partition, image.reached().0, rows)?), Some(freeze)),
    };
    let written = store.write(partition, &image.encode(table.as_ref().map(|table| table.reference().clone())));
    if let (Err(WriteError::Refused(_) | WriteError::ReadBack(_)), Some(table), Some(_)) = (&written, &table, freeze) {
        store.drop_table(partition, table.reference().index);
    }
    written.map(|()| freeze.zip(table))
}
