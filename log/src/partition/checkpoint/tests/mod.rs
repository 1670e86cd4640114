//! One replica without its Raft group: a WAL, what it has evolved, its checkpoints.
use super::{store::Store, *};
use crate::{
    batch::Batch,
    cluster::ClusterMap,
    config::Limits,
    partition::fold::{Fold, FoldOptions, Mark},
    raft::{LogStore, StateMachine},
    record::NewRecord,
    testing::{Sim, SimDisk, SimWorld},
    topic::{ClusterId, LogId},
    wal::{EntryKind, Wal, WalEntry, WalOptions},
    world::{Disk as _, DiskFile as _, Timestamp},
};
use bytes::Bytes;
use corduroy_proto::v1::{ClusterEvent, TopicCreated, cluster_event::Event};
use openraft::storage::RaftStateMachine as _;
use prost::Message as _;
use std::{future::Future, ops::Range, path::PathBuf, time::Duration};

mod install;
mod node;
mod purged;
mod restart;
mod rot;

const CLUSTER: ClusterId = ClusterId(*b"a test's cluster");
const OWNER: Owner = Owner { cluster: CLUSTER, node: 1, incarnation: [4; 16] };
const DIR: &str = "/data";

struct Replica {
    wal: Wal<SimWorld>,
    log: PartitionLog<SimWorld>,
    map: Arc<ClusterMap>,
    evolved: Arc<Evolved>,
    checkpoints: Checkpoints<SimWorld>,
    machine: StateMachine<SimWorld>,
    /// What it came back with.
    restored: Option<LogId>,
    /// What its state machine gives away as the present checkpoint for as long as it is here.
    kept: Option<Arc<pb::PartitionSnapshot>>,
    replayed: u64,
}

impl Replica {
    /// Opens what there is on the disk of node 1.
    async fn open(disk: SimDisk) -> Result<Replica, RestoreError> {
        let options = WalOptions {
            dir: DIR.into(),
            cluster: CLUSTER,
            node: 1,
            segment_bytes: 32 << 10,
            commit_bytes: 8 << 10,
            hot_tail_bytes: 4 << 10,
            supply: None,
            hot_tail_total_bytes: 64 << 10,
            index_cache_bytes: 1 << 10,
        };
        let opening = |error: OpenError| RestoreError::Io(io::Error::other(format!("{error}")));
        let wal = Wal::<SimWorld>::open(&disk, options).map_err(opening)?;
        let checkpoints = Checkpoints::open(disk, Path::new(DIR), OWNER).map_err(opening)?;
        // The cluster map, so that there is a machine, too.
        let log = wal.partition(PartitionId::CLUSTER);
        let map = Arc::new(ClusterMap::default());
        let evolved = Arc::new(Evolved::new(FoldOptions::default(), Some(map.machine::<SimWorld>())));
        let kept = checkpoints.restore(&log, &evolved)?.map(Arc::new);
        let restored = kept.as_ref().and_then(|kept| kept.last.as_ref()).map(log_id_from_wire);
        let given = kept.as_ref().map(Arc::downgrade).unwrap_or_default();
        let machine = StateMachine::new(evolved.clone(), LogStore::new(log.clone()), checkpoints.clone(), given);
        let replayed = machine.catch_up().await.map_err(RestoreError::Io)?;
        Ok(Replica { wal, log, map, evolved, checkpoints, machine, restored, kept, replayed })
    }

    /// Appends entries, waits until they are durable, and evolves them as committed.
    async fn feed(&mut self, entries: Vec<WalEntry>) -> io::Result<()> {
        let last = entries.last().map(|entry| entry.id);
        let (done, answer) = oneshot::channel();
        self.log.append(entries, Box::new(move |result| drop(done.send(result))));
        answer.await.unwrap_or_else(|_| Err(io::Error::other("cut short")))?;
        self.log.save_committed(last);
        self.machine.catch_up().await.map(drop)
    }

    async fn checkpoint(&mut self) -> io::Result<()> {
        let image = self.evolved.image().expect("something has evolved");
        self.checkpoints.take(&self.log, &self.evolved, image).await
    }

    /// Everything that follows from the log.
    fn state(&self) -> (Option<pb::PartitionSnapshot>, String) {
        (self.evolved.snapshot(), format!("{:?}", *self.map.get()))
    }
}

/// A topic that is created: a record the cluster map understands.
fn created(name: u64, padding: usize) -> NewRecord {
    let topic = TopicCreated { name: format!("t{name}-{}", "x".repeat(padding)), ..TopicCreated::default() };
    NewRecord::new(ClusterEvent { event: Some(Event::TopicCreated(topic)) }.encode_to_vec())
}

fn membership(voters: &[u64]) -> Bytes {
    let configs = vec![pb::VoterSet { voters: voters.to_vec() }];
    pb::Membership { configs, nodes: voters.to_vec() }.encode_to_vec().into()
}

/// Entries of all kinds; batches of one to three records.
fn entries(indexes: Range<u64>) -> Vec<WalEntry> {
    let entry = |index: u64| {
        let (kind, payload) = match index % 7 {
            0 => (EntryKind::Blank, Bytes::new()),
            1 => (EntryKind::Membership, membership(&[1, 2, 3 + index])),
            _ => {
                let records: Vec<_> = (0..1 + index % 3).map(|nth| created(index * 3 + nth, 20)).collect();
                let batch = Batch::encode(&records, &Limits::default(), Timestamp(1000 + index)).expect("small");
                (EntryKind::Batch, batch.bytes().clone())
            }
        };
        let crc = if kind == EntryKind::Blank { 0 } else { crc32c::crc32c(&payload) };
        WalEntry { id: LogId { term: 1 + index / 20, index }, kind, payload, crc }
    };
    indexes.map(entry).collect()
}

/// Runs a script as a task of node 1, to its end.
async fn on_node<T: Send + 'static>(sim: &Sim, script: impl Future<Output = T> + Send + 'static) -> T {
    sim.spawn_on(1, script).await.expect("nobody ends the node")
}

/// Where the checkpoint of an index is.
fn path(index: u64) -> PathBuf {
    Path::new("/data/checkpoints").join(format!("{:016x}-{index:020}.ckpt", 0))
}

/// What a checkpoint on the disk says.
fn read(disk: &SimDisk, index: u64) -> pb::PartitionSnapshot {
    let store = Store::open(disk.clone(), Path::new(DIR), OWNER, drop).expect("opens");
    store.read(PartitionId::CLUSTER, index).expect("is intact")
}

/// Puts an intact checkpoint on the disk as if `owner` had written it.
fn put(disk: &SimDisk, owner: &Owner, index: u64, snapshot: &pb::PartitionSnapshot) {
    let body = snapshot.encode_to_vec();
    let file = [file::head(owner, PartitionId::CLUSTER, &body), body].concat();
    put_bytes(disk, index, &file);
}

fn put_bytes(disk: &SimDisk, index: u64, bytes: &[u8]) {
    if disk.exists(&path(index)).expect("the disk works") {
        disk.remove_file(&path(index)).expect("is removed");
    }
    let file = disk.create_new(&path(index)).expect("is new");
    file.write_all_at(0, &[bytes]).expect("is written");
    file.sync_all().expect("is synced");
    disk.sync_dir(Path::new("/data/checkpoints")).expect("is synced");
}

/// The names in the folder of checkpoints.
fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new("/data/checkpoints")).expect("is there")
}

/// Changes one byte of a file, durably.
async fn flip(disk: &SimDisk, path: &Path, at: u64) {
    let file = disk.open(path).expect("is there");
    let mut byte = [0];
    file.read_exact_at(at, &mut byte).expect("is long enough");
    file.write_all_at(at, &[&[byte[0] ^ 0x10]]).expect("is written");
    file.sync_data().await.expect("is synced");
}
