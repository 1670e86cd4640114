//! The records of a node that is not running, read from its data directory and nothing else.
//!
//! What is read is verified like a recovery and nothing is written. The log of a stopped replica may end in entries of
//! which it never learned whether they were committed; they are left out unless asked for.
use crate::{
    batch::Batch,
    cluster::{CLUSTER_TOPIC, Map, facts},
    error::{LogError, OpenError},
    partition::fold::{Fold, FoldOptions},
    raft::Applied,
    record::Record,
    topic::PartitionId,
    wal::{EntryKind, OfflinePartition, OfflineWal, read_offline},
    world::Disk,
};
use std::{collections::VecDeque, fmt, path::Path};

/// Bytes of entries read at once.
const CHUNK: u64 = 1 << 20;

/// Which records a [`Dump`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Up to the last entry this replica knew to be committed.
    Committed,
    /// Up to the last entry it has on disk. The end may never have been committed.
    Written,
}

/// The records of one partition, in offset order. Ends after the first error.
pub struct Dump<D: Disk> {
    wal: OfflineWal<D>,
    partition: PartitionId,
    name: String,
    index: u64,
    end_index: u64,
    written: u64,
    /// What has been read, folded.
    fold: Fold,
    ready: VecDeque<Record>,
    failed: bool,
}

impl<D: Disk> fmt::Debug for Dump<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").field("partition", &self.name).field("next", &self.fold.end).finish_non_exhaustive()
    }
}

/// Why there is nothing to dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It can, and has no such partition.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Opens a data directory and finds a partition in it.
///
/// # Errors
/// [`OpenError::Locked`] while the node runs, and whatever else keeps the directory from being recovered.
/// [`LogError::UnknownTopic`], [`LogError::PartitionOutOfRange`] and [`LogError::NotHosted`] by the cluster map the
/// directory holds. [`LogError::Unavailable`] where the log of the partition, or of the map, does not begin at its
/// beginning: offsets are counted from there.
pub fn dump<D: Disk>(disk: &D, dir: &Path, topic: &str, partition: u32, upto: Upto) -> Result<Dump<D>, DumpError> {
    let wal = read_offline(disk, dir)?;
    let (partition, options) = locate(&wal, topic, partition)?;
    let name = format!("{topic}/{}", partition.partition());
    let found = whole(&wal, partition, &name)?;
    let next_index = |last: Option<crate::topic::LogId>| last.map_or(0, |id| id.index + 1);
    let written = next_index(found.and_then(|found| found.last));
    let committed = next_index(found.and_then(|found| found.committed)).min(written);
    let end_index = if upto == Upto::Committed { committed } else { written };
    let fold = Fold::new(options);
    Ok(Dump { wal, partition, name, index: 0, end_index, written, fold, ready: VecDeque::new(), failed: false })
}

/// What there is of a partition, nothing of which may have been purged.
fn whole<D: Disk>(
    wal: &OfflineWal<D>,
    partition: PartitionId,
    name: &str,
) -> Result<Option<OfflinePartition>, LogError> {
    let found = wal.partitions().into_iter().find(|found| found.id == partition);
    match found.and_then(|found| found.purged) {
        Some(purged) => Err(unreadable(name)(format!("what came up to entry {purged} is not kept here"))),
        None => Ok(found),
    }
}

/// The partition's id, and how it folds, by the cluster map of the same directory.
fn locate<D: Disk>(wal: &OfflineWal<D>, topic: &str, partition: u32) -> Result<(PartitionId, FoldOptions), DumpError> {
    if topic == CLUSTER_TOPIC {
        let out_of_range = LogError::PartitionOutOfRange { topic: topic.into(), partition, count: 1 };
        return if partition == 0 {
            Ok((PartitionId::CLUSTER, FoldOptions::default()))
        } else {
            Err(out_of_range.into())
        };
    }
    let map = cluster_map(wal)?;
    let plan = map.topics.get(topic).ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
    let count = plan.partitions.len() as u32;
    let out_of_range = || LogError::PartitionOutOfRange { topic: topic.into(), partition, count };
    let replicas = plan.partitions.get(partition as usize).ok_or_else(out_of_range)?;
    let asked = wal.identity().node;
    if !replicas.contains(&asked) {
        let partition = format!("{topic}/{partition}");
        return Err(LogError::NotHosted { asked, partition, replicas: replicas.clone() }.into());
    }
    Ok((PartitionId::new(plan.id, partition), plan.options()))
}

/// The map by everything the directory has of `_cluster/0`, committed or not: it only serves to find names.
fn cluster_map<D: Disk>(wal: &OfflineWal<D>) -> Result<Map, LogError> {
    whole(wal, PartitionId::CLUSTER, "_cluster/0")?;
    let (mut map, mut fold, mut index) = (Map::default(), Fold::default(), 0);
    loop {
        let entries = wal.entries(PartitionId::CLUSTER, index..u64::MAX, CHUNK).map_err(unreadable("_cluster/0"))?;
        if entries.is_empty() {
            return Ok(map);
        }
        for entry in entries {
            index = entry.id.index + 1;
            if entry.kind == EntryKind::Batch {
                let batch = Batch::from_verified(entry.payload, entry.crc).map_err(unreadable("_cluster/0"))?;
                let Applied { base, end, .. } = fold.evolve(entry.id, &batch);
                if end > base {
                    let facts = facts(base, &batch).map_err(unreadable("_cluster/0"))?;
                    facts.into_iter().for_each(|(offset, event)| map.evolve(offset, event));
                }
            }
        }
    }
}

fn unreadable<E: fmt::Display>(partition: &str) -> impl FnOnce(E) -> LogError {
    move |error| LogError::Unavailable(format!("{partition}: {error}"))
}

impl<D: Disk> Dump<D> {
    /// Entries on disk behind the last one known to be committed.
    pub fn uncommitted_entries(&self) -> u64 {
        self.written - self.end_index
    }

    fn read(&mut self) -> Result<(), LogError> {
        let entries = self.wal.entries(self.partition, self.index..self.end_index, CHUNK);
        let entries = entries.map_err(unreadable(&self.name))?;
        if entries.is_empty() {
            return Err(unreadable(&self.name)(format!("entries {}..{} are missing", self.index, self.end_index)));
        }
        for entry in entries {
            self.index = entry.id.index + 1;
            if entry.kind == EntryKind::Batch {
                let batch = Batch::from_verified(entry.payload, entry.crc).map_err(unreadable(&self.name))?;
                let Applied { base, end, .. } = self.fold.evolve(entry.id, &batch);
                if end > base {
                    self.ready.extend(batch.decode(base).map_err(unreadable(&self.name))?);
                }
            }
        }
        Ok(())
    }
}

impl<D: Disk> Iterator for Dump<D> {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(Ok(record));
            }
            if self.failed || self.index >= self.end_index {
                return None;
            }
            if let Err(error) = self.read() {
                self.failed = true;
                return Some(Err(error));
            }
        }
    }
}
