//! What the tests stand on: a node in a simulation, files as bytes, entries that say who they are.
use crate::{
    error::OpenError,
    testing::{Sim, SimDisk, SimWorld},
    topic::{ClusterId, LogId, PartitionId, Vote},
    wal::{
        EntryKind, LogHash, PartitionLog, PeerIdentity, SupplyOptions, Wal, WalEntry, WalOptions,
        durable::Durable,
        index::TableCache,
        manifest::Held,
        read::Reader,
        recover::{Depth, Recovered, recover},
        replay::Files,
        segment::{Segments, parse_name},
    },
    world::{Disk as _, DiskFile as _, Halt},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    ops::Range,
    path::{Path, PathBuf},
};
use tokio::sync::oneshot;

pub(super) type TestWal = Wal<SimWorld>;
pub(super) type Log = PartitionLog<SimWorld>;

pub(super) const CLUSTER: ClusterId = ClusterId(*b"a test's cluster");
pub(super) const DIR: &str = "/data";
pub(super) const P: PartitionId = PartitionId::new(1, 0);
pub(super) const Q: PartitionId = PartitionId::new(1, 1);

pub(super) fn options() -> WalOptions {
    WalOptions {
        dir: PathBuf::from(DIR),
        cluster: CLUSTER,
        node: 1,
        segment_bytes: 16 << 10,
        commit_bytes: 4 << 10,
        hot_tail_bytes: 4 << 10,
        hot_tail_total_bytes: 10 << 10,
        index_cache_bytes: 1 << 10,
        supply: None,
    }
}

/// Runs a script as a task of node 1 of a fresh simulation.
pub(super) fn on_node<T, F>(seed: u64, script: impl FnOnce(Sim) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let sim = Sim::seed(seed);
    let script = script(sim.clone());
    sim.run(async { sim.spawn_on(1, script).await.expect("nobody kills the node") })
}

/// With a supplier beside the writer.
pub(super) fn supplied() -> WalOptions {
    WalOptions { supply: Some(SupplyOptions { reserve_bytes: 16 << 10, min_free_percent: 5 }), ..options() }
}

pub(super) fn open(sim: &Sim) -> Result<TestWal, OpenError> {
    open_with(sim, options())
}

/// Opens, and checks on the way that a start by footers finds what a scan of every frame finds.
pub(super) fn open_with(sim: &Sim, options: WalOptions) -> Result<TestWal, OpenError> {
    let disk = sim.env(1).disk;
    if let Ok(frames) = found(&disk, Depth::Frames) {
        assert_eq!(found(&disk, Depth::Footers)?, frames, "seed {}", sim.drawn_from());
    }
    Wal::open(&disk, options)
}

/// Everything a recovery finds, places of entries in sealed segments among it.
fn found(disk: &SimDisk, depth: Depth) -> Result<String, OpenError> {
    let segments = Segments::new(disk.clone(), Path::new(DIR));
    let tables = TableCache::new(0);
    let files = Files { segments: &segments, tables: &tables, cluster: CLUSTER, node: 1 };
    let Recovered { replay, newest, .. } = recover(files, depth)?;
    let mut text = format!("{newest:?} {} {:?} {:?}", replay.sequence, replay.links(), replay.peers);
    for (id, durable) in &replay.partitions {
        let Durable { vote, committed, log, .. } = durable;
        let (first, next) = (log.first(), log.next());
        text += &format!("\n{id} {first}..{next} {vote:?} {committed:?} {:?} {:?}", log.purged, log.last);
        text += &format!(" {:?} {:?}", log.hash, replay.chains[&id.0]);
        let reader = Reader { files, partition: *id };
        for index in first..next {
            let found = durable.index.get(index).expect("every entry of the log has a place");
            let place = reader.locate(found, index).expect("tables of footers verify");
            text += &format!("\n  {:?} {place:?}", log.log_id(index));
        }
    }
    Ok(text)
}

/// An opening that must be refused.
pub(super) fn halted<T>(result: Result<T, OpenError>) -> Halt {
    match result {
        Err(OpenError::Halt(halt)) => halt,
        Err(error) => panic!("expected a halt, got {error:?}"),
        Ok(_) => panic!("expected a halt, it opened"),
    }
}

pub(super) fn payload_entry(term: u64, index: u64, payload: impl Into<Vec<u8>>) -> WalEntry {
    let payload = Bytes::from(payload.into());
    WalEntry { id: LogId { term, index }, kind: EntryKind::Batch, crc: crc32c::crc32c(&payload), payload }
}

/// Entries whose payloads say who they are.
pub(super) fn entries(term: u64, indexes: Range<u64>) -> Vec<WalEntry> {
    indexes.map(|index| payload_entry(term, index, format!("entry {index} of term {term}"))).collect()
}

pub(super) fn append(log: &Log, entries: Vec<WalEntry>) -> impl Future<Output = io::Result<()>> + Send + use<> {
    let (sender, receiver) = oneshot::channel();
    // A test that was killed does not wait any more.
    log.append(entries, Box::new(move |result| drop(sender.send(result))));
    async { receiver.await.expect("every append is answered") }
}

/// Everything one can learn of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub hash: LogHash,
    pub entries: Vec<WalEntry>,
}

pub(super) fn view(log: &Log) -> View {
    let entries = log.entries(0..u64::MAX, u64::MAX).expect("what was written can be read");
    for entry in &entries {
        assert_eq!(log.log_id(entry.id.index), Some(entry.id));
    }
    View {
        vote: log.vote(),
        committed: log.committed(),
        purged: log.purged(),
        last: log.last(),
        hash: log.log_hash(),
        entries,
    }
}

/// Everything one can learn of a WAL.
pub(super) type Views = (BTreeMap<PartitionId, View>, Vec<PeerIdentity>);

pub(super) fn views(wal: &TestWal) -> Views {
    (wal.partitions().into_iter().map(|id| (id, view(&wal.partition(id)))).collect(), wal.peers())
}

/// Closes a WAL and opens it again: it must be as it was.
pub(super) async fn reopens_as_it_was(sim: &Sim, wal: TestWal) -> TestWal {
    let before = views(&wal);
    wal.close().await;
    drop(wal);
    let wal = open(sim).expect("what was closed opens");
    assert_eq!(views(&wal), before);
    wal
}

/// The segment files of a WAL, by name.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

pub(super) fn image(disk: &SimDisk) -> Image {
    let dir = Path::new(DIR).join("wal");
    let names = disk.list(&dir).expect("there is a WAL");
    names.into_iter().map(|name| (name.clone(), read_file(disk, &dir.join(name)))).collect()
}

pub(super) fn read_file(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open_read(path).expect("the file is there");
    let mut bytes = vec![0; file.len().expect("it has a length") as usize];
    file.read_exact_at(0, &mut bytes).expect("it is as long as it says");
    bytes
}

pub(super) fn write_file(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let file = disk.create_new(path).or_else(|_| disk.open(path)).expect("the folder is there");
    file.truncate(0).expect("the disk works");
    file.write_all_at(0, &[bytes]).expect("the disk works");
    file.sync_all().expect("the disk works");
    disk.sync_dir(path.parent().expect("a file has a folder")).expect("the disk works");
}

pub(super) fn restore(disk: &SimDisk, image: &Image) {
    let dir = Path::new(DIR).join("wal");
    disk.create_dir_all(&dir).expect("the disk works");
    for (name, bytes) in image {
        write_file(disk, &dir.join(name), bytes);
    }
    // As many as there are, be they what they may.
    let newest = image.keys().filter_map(|name| parse_name(name)).max();
    let mut manifest = Held::new(CLUSTER, 1);
    manifest.advance(disk, Path::new(DIR), newest.unwrap_or(0), &mut || ()).expect("the disk works");
}

/// What a node finds that has these files. Checks on the way that a second opening finds the same.
pub(super) fn recovered(image: &Image) -> Result<Views, OpenError> {
    let image = image.clone();
    on_node(0, |sim| async move {
        restore(&sim.env(1).disk, &image);
        let wal = open(&sim)?;
        let found = views(&wal);
        wal.close().await;
        drop(wal);
        let again = open(&sim).expect("what opened once opens again");
        assert_eq!(views(&again), found);
        Ok(found)
    })
}

/// The segment with the highest number.
pub(super) fn newest(image: &mut Image) -> &mut Vec<u8> {
    image.values_mut().next_back().expect("there is a segment")
}
