//! The WAL of a node that is not running, for tools: verified like a recovery, without a single write.
use super::{
    WalEntry,
    frame::LogHash,
    identity::{self, Identity},
    index::TableCache,
    memory::{HotBudget, State},
    read::Reader,
    recover::{self, Depth},
    replay::Files,
    segment::Segments,
};
use crate::{
    error::OpenError,
    topic::{LogId, PartitionId, Vote},
    world::Disk,
};
use std::{collections::BTreeMap, io, ops::Range, path::Path};

/// What a recovery of a data directory would find. Holds the directory's lock.
#[derive(Debug)]
pub struct OfflineWal<D: Disk> {
    identity: Identity,
    segments: Segments<D>,
    tables: TableCache,
    partitions: BTreeMap<PartitionId, State>,
    peers: Vec<super::PeerIdentity>,
    _lock: D::Lock,
}

/// One partition of an [`OfflineWal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfflinePartition {
    /// The partition.
    pub id: PartitionId,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last position noted as committed.
    pub committed: Option<LogId>,
    /// The last entry purged.
    pub purged: Option<LogId>,
    /// The last entry; where there is none, the last purged one.
    pub last: Option<LogId>,
    /// The log hash after `last`.
    pub log_hash: LogHash,
}

/// Reads and verifies the WAL of a data directory whose node is not running.
///
/// # Errors
/// [`OpenError::Locked`] where it is running, and those of [`Identity::read`] and [`Wal::open`](super::Wal::open).
pub fn read_offline<D: Disk>(disk: &D, dir: &Path) -> Result<OfflineWal<D>, OpenError> {
    // First, so that no lock file is made in a directory that is not ours.
    Identity::read(disk, dir)?;
    let lock = identity::lock(disk, dir)?;
    let identity = Identity::read(disk, dir)?;
    let segments = Segments::new(disk.clone(), dir);
    let tables = TableCache::new(0);
    let files = Files { segments: &segments, tables: &tables, cluster: identity.cluster, node: identity.node };
    let replay = recover::recover(files, Depth::Frames)?.replay;
    let peers = replay.peers.into_values().collect();
    let hot = HotBudget::new(0, 0);
    let state = |(id, durable)| (id, State::new(durable, hot.clone()));
    let partitions = replay.partitions.into_iter().map(state).collect();
    Ok(OfflineWal { identity, segments, tables, partitions, peers, _lock: lock })
}

impl<D: Disk> OfflineWal<D> {
    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the node knows of its peers, by node.
    pub fn peers(&self) -> &[super::PeerIdentity] {
        &self.peers
    }

    /// Its partitions, in order.
    pub fn partitions(&self) -> Vec<OfflinePartition> {
        let view = |(&id, state): (&PartitionId, &State)| OfflinePartition {
            id,
            vote: state.vote(),
            committed: state.committed(),
            purged: state.log().purged,
            last: state.log().last,
            log_hash: state.log().hash,
        };
        self.partitions.iter().map(view).collect()
    }

    /// As [`PartitionLog::entries`](super::PartitionLog::entries). Nothing for a partition that is not there.
    pub fn entries(&self, partition: PartitionId, range: Range<u64>, max_bytes: u64) -> io::Result<Vec<WalEntry>> {
        let Some(state) = self.partitions.get(&partition) else { return Ok(Vec::new()) };
        let OfflineWal { identity: Identity { cluster, node, .. }, segments, tables, .. } = self;
        let reader = Reader { files: Files { segments, tables, cluster: *cluster, node: *node }, partition };
        reader.entries(state.locate(range, max_bytes), max_bytes)
    }
}
