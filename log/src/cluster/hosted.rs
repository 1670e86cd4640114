//! The partitions that run on this node.
use crate::{partition::Partition, topic::PartitionId, world::World};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

/// By id. Peers, clients and the controller look here.
#[derive(Debug)]
pub(crate) struct Hosted<W: World> {
    partitions: Mutex<BTreeMap<PartitionId, Partition<W>>>,
}

impl<W: World> Default for Hosted<W> {
    fn default() -> Self {
        Hosted { partitions: Mutex::default() }
    }
}

impl<W: World> Hosted<W> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Partition<W>>> {
        self.partitions.lock().expect("bookkeeping does not panic")
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Option<Partition<W>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Partition<W>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn insert(&self, partition: Partition<W>) {
        self.lock().insert(partition.id(), partition);
    }

    pub(crate) fn remove(&self, id: PartitionId) -> Option<Partition<W>> {
        self.lock().remove(&id)
    }
}
