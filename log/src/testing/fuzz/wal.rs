//! Damaged logs: what a node finds when it opens a data directory of which some bytes are not what it wrote.
//!
//! A script is played once and leaves the files of its end, every state on the way there, and for every byte the step
//! that wrote it. Each input then damages the files. What recovery finds must be one of those states, and nothing that
//! was complete before the first damaged byte may be missing; or it must refuse. Files made ahead hold nothing: damage to
//! them costs nothing.
use super::{damage, number};
use crate::{
    error::OpenError,
    testing::{Sim, SimDisk, SimWorld},
    topic::{ClusterId, LogId, PartitionId, Vote},
    wal::{
        EntryKind, Identity, LogHash, OfflineWal, PartitionLog, PeerIdentity, SupplyOptions, Wal, WalEntry, WalOptions,
        frame, read_offline,
    },
    world::{Disk as _, DiskFile as _},
};
use arbitrary::Unstructured;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};
use tokio::sync::oneshot;

const DIR: &str = "/data";
const CLUSTER: ClusterId = ClusterId(*b"a fuzzer's nodes");
const INCARNATION: [u8; 16] = [7; 16];
/// Bytes behind the last byte of a step that is not zero which may be its, too.
const SLACK: usize = 64;

const P: PartitionId = PartitionId::new(1, 0);
const Q: PartitionId = PartitionId::new(1, 1);

/// Files by path, relative to the data directory.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    hash: LogHash,
    entries: Vec<WalEntry>,
}

/// What is in a WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    partitions: BTreeMap<PartitionId, View>,
    peers: Vec<PeerIdentity>,
}

/// A script that was played.
#[derive(Debug, Default)]
struct Original {
    files: Files,
    /// After each step, from none on.
    states: Vec<State>,
    /// Which step wrote a byte last.
    written_by: BTreeMap<String, Vec<Option<usize>>>,
}

/// Damages a log that was closed in order, or one that was not, with or without files made ahead, and opens it.
pub fn wal(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let kind = number(&mut input, 4);
    let (closed, supplied) = (kind % 2 == 1, kind >= 2);
    let original = original(closed, supplied);
    let mut files = original.files.clone();
    let mut forged = false;
    for _ in 0..1 + number(&mut input, 4) {
        forged |= spoil(&mut input, &mut files);
    }
    let found = open(&files, supplied);
    if forged {
        // Someone who can compute checksums can write any history: it must not crash us, and that is all.
        return;
    }
    let damaged = original.damaged_steps(&files);
    let whole = |(path, bytes): (&String, &Vec<u8>)| !path.starts_with("identity") || files.get(path) == Some(bytes);
    match found {
        None => assert!(!damaged.is_empty() || !original.files.iter().all(whole), "refused, and nothing was damaged"),
        Some(state) => original.judge(&state, &damaged),
    }
}

/// One damage. True: what was damaged got a checksum that fits.
fn spoil(input: &mut Unstructured<'_>, files: &mut Files) -> bool {
    let paths: Vec<String> = files.keys().cloned().collect();
    if paths.is_empty() {
        return false;
    }
    let path = &paths[number(input, paths.len())];
    match number(input, 16) {
        0 => drop(files.remove(path)),
        1 => {
            let other = &paths[number(input, paths.len())];
            let (here, there) = (files[path].clone(), files[other].clone());
            files.insert(path.clone(), there);
            files.insert(other.clone(), here);
        }
        2 => {
            let other = files[&paths[number(input, paths.len())]].clone();
            files.insert(path.clone(), other);
        }
        3 => return forge(input, files.get_mut(path).expect("it was listed")),
        _ => damage(input, files.get_mut(path).expect("it was listed")),
    }
    false
}

/// Changes the header of a frame and makes its checksum fit.
fn forge(input: &mut Unstructured<'_>, bytes: &mut [u8]) -> bool {
    let headers: Vec<usize> = (0..bytes.len().saturating_sub(frame::HEADER_LEN))
        .step_by(8)
        .filter(|&at| bytes[at..].starts_with(&frame::MAGIC))
        .collect();
    if headers.is_empty() {
        return false;
    }
    let at = headers[number(input, headers.len())];
    let header = &mut bytes[at..at + frame::HEADER_LEN];
    for _ in 0..1 + number(input, 8) {
        header[4 + number(input, frame::HEADER_LEN - 8)] = number(input, 256) as u8;
    }
    let crc = crc32c::crc32c(&header[..frame::HEADER_LEN - 4]);
    header[frame::HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    true
}

impl Original {
    /// The steps of which a byte is not what it was.
    fn damaged_steps(&self, files: &Files) -> BTreeSet<usize> {
        let damaged = self.files.iter().flat_map(|(path, bytes)| {
            let now = files.get(path).map_or(&[][..], Vec::as_slice);
            let changed = move |at: &usize| now.get(*at) != Some(&bytes[*at]);
            let written_by = &self.written_by[path];
            (0..bytes.len()).filter(changed).filter_map(|at| written_by[at])
        });
        damaged.collect()
    }

    /// Whether what was found may be what is left.
    fn judge(&self, found: &State, damaged: &BTreeSet<usize>) {
        let last = self.states.len() - 1;
        let step = self.states.iter().rposition(|state| state == found);
        let step =
            step.unwrap_or_else(|| panic!("damage of steps {damaged:?} made a state that never was: {found:#?}"));
        let oldest = damaged.first().map_or(last, |first| first.saturating_sub(1));
        assert!(step >= oldest, "damage began in step {damaged:?}, and the log ends after step {step} of {last}");
        // A step begins by saying that the one before it is durable: cutting that off would lose what others count on.
        let proof = (step + 2..=last).find(|later| !damaged.contains(later));
        assert!(proof.is_none(), "cut after step {step}, although step {proof:?} says that the next one was durable");
    }

    /// Takes note of a step: the state after it, and what it wrote.
    fn step(&mut self, state: State, files: Files) {
        let step = self.states.len();
        for (path, bytes) in &files {
            let before = self.files.get(path).map_or(&[][..], Vec::as_slice);
            let owners = self.written_by.entry(path.clone()).or_default();
            owners.resize(bytes.len(), None);
            let changed = |at: &usize| bytes[*at] != before.get(*at).copied().unwrap_or(0);
            let (Some(first), Some(last)) = ((0..bytes.len()).find(changed), (0..bytes.len()).rfind(changed)) else {
                continue;
            };
            owners[first..=last].fill(Some(step));
            let slack = (last + 1 + SLACK).min(bytes.len());
            owners[last + 1..slack].iter_mut().for_each(|owner| *owner = owner.or(Some(step)));
        }
        self.states.push(state);
        self.files = files;
    }
}

fn original(closed: bool, supplied: bool) -> &'static Original {
    static ORIGINALS: [OnceLock<Original>; 4] = [const { OnceLock::new() }; 4];
    ORIGINALS[usize::from(closed) + 2 * usize::from(supplied)].get_or_init(|| play(closed, supplied))
}

/// Plays the script: two partitions over several segments, with everything a log can be asked for.
fn play(closed: bool, supplied: bool) -> Original {
    on_node(move |sim| async move {
        let disk = sim.env(1).disk;
        let (mut identity, lock) =
            Identity::open(&disk, Path::new(DIR), CLUSTER, 1, INCARNATION).expect("the disk is empty");
        let wal = open_wal(&disk, supplied).expect("the disk is empty");
        identity.set_joined(&disk, Path::new(DIR)).expect("the disk works");
        let (p, q) = (wal.partition(P), wal.partition(Q));
        let mut original = Original::default();
        original.step(State::of(&wal), read_files(&disk));
        let steps: Vec<Box<dyn Fn() -> Waiting>> = vec![
            Box::new(|| Box::pin(p.save_vote(Vote { term: 1, node: 1, committed: false }))),
            Box::new(|| append(&p, 1, 0..4, 40)),
            Box::new(|| append(&q, 1, 0..2, 300)),
            Box::new(|| Box::pin(wal.save_peer(peer(2)))),
            Box::new(|| {
                p.save_committed(Some(LogId { term: 1, index: 2 }));
                append(&q, 1, 2..5, 700)
            }),
            Box::new(|| append(&p, 1, 4..9, 600)),
            Box::new(|| Box::pin(q.save_vote(Vote { term: 3, node: 2, committed: true }))),
            Box::new(|| Box::pin(p.truncate_after(Some(6)))),
            Box::new(|| append(&p, 3, 7..12, 400)),
            Box::new(|| Box::pin(q.purge(LogId { term: 1, index: 2 }))),
            Box::new(|| append(&q, 3, 5..6, 5000)),
            Box::new(|| Box::pin(wal.save_peer(peer(3)))),
            Box::new(|| append(&p, 3, 12..13, 0)),
            Box::new(|| append(&p, 3, 13..20, 200)),
            Box::new(|| Box::pin(p.truncate_after(Some(18)))),
            Box::new(|| append(&q, 3, 6..9, 64)),
        ];
        for (number, step) in steps.iter().enumerate() {
            step().await.expect("the disk works");
            if number % 3 == 2 {
                // Long enough for whatever a log does when it is left alone.
                sim.sleep(Duration::from_millis(50)).await;
            }
            original.step(State::of(&wal), read_files(&disk));
        }
        if closed {
            let state = State::of(&wal);
            wal.close().await;
            original.step(state, read_files(&disk));
        }
        assert!(original.files.keys().filter(|path| path.ends_with(".seg")).count() > 2, "several segments");
        for ahead in ["wal/spare", "wal/reserve"] {
            assert_eq!(original.files.contains_key(ahead), supplied, "{ahead}");
        }
        drop(lock);
        original
    })
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Entries that say who they are, each with a payload of some length.
fn append(log: &PartitionLog<SimWorld>, term: u64, indexes: std::ops::Range<u64>, len: usize) -> Waiting {
    let entry = |index| {
        let mut payload = format!("entry {index} of term {term}, ").into_bytes();
        payload.resize(payload.len().max(len), b'x');
        let kind = if len == 0 { EntryKind::Blank } else { EntryKind::Batch };
        let payload = if len == 0 { Bytes::new() } else { Bytes::from(payload) };
        WalEntry { id: LogId { term, index }, kind, crc: crc32c::crc32c(&payload), payload }
    };
    let (sender, receiver) = oneshot::channel();
    // The receiver is awaited at once.
    log.append(indexes.map(entry).collect(), Box::new(move |result| drop(sender.send(result))));
    Box::pin(async { receiver.await.expect("every append is answered") })
}

fn peer(node: u64) -> PeerIdentity {
    PeerIdentity { node, incarnation: [node as u8; 16], boot_epoch: node, confirmed: 10 * node }
}

fn open_wal(disk: &SimDisk, supplied: bool) -> Result<Wal<SimWorld>, OpenError> {
    Wal::open(
        disk,
        WalOptions {
            dir: PathBuf::from(DIR),
            cluster: CLUSTER,
            node: 1,
            segment_bytes: 8 << 10,
            commit_bytes: 2 << 10,
            hot_tail_bytes: 1 << 10,
            hot_tail_total_bytes: 4 << 10,
            index_cache_bytes: 256,
            supply: supplied.then_some(SupplyOptions { reserve_bytes: 4 << 10, min_free_percent: 5 }),
        },
    )
}

/// What a node finds that has these files; `None` where it refuses, or refuses to read some of it. Checks on the way that
/// a tool that only looks finds the same, that a refusal changes nothing, and that the log can be used.
fn open(files: &Files, supplied: bool) -> Option<State> {
    let files = files.clone();
    on_node(|sim| async move {
        let disk = sim.env(1).disk;
        write_files(&disk, &files);
        let looked = look(&disk);
        let unchanged = |when: &str| {
            let mut now = read_files(&disk);
            now.remove("LOCK");
            let mut before = files.clone();
            before.remove("LOCK");
            assert!(now == before, "{when} changed files");
        };
        unchanged("looking");
        let Ok(wal) = open_wal(&disk, supplied) else {
            unchanged("a refusal");
            assert!(looked.is_none(), "a tool reads what the node refuses");
            return None;
        };
        // The identity is not this call's business.
        let opened = State::readable(&wal);
        if let (Some(looked), Some(opened)) = (&looked, &opened) {
            assert_eq!(looked, opened, "looking and opening find different logs");
        }
        let p = wal.partition(P);
        let next = p.last().map_or(0, |last| last.index.saturating_add(1));
        let goes_on = next < u64::MAX;
        if goes_on {
            append(&p, 9, next..next + 1, 10).await.expect("the disk works");
        }
        let after = State::readable(&wal);
        wal.close().await;
        drop((p, wal));
        if looked.is_some() {
            assert_eq!(look(&disk), after, "what was appended after the damage is not found again");
        }
        opened
    })
}

/// What a tool sees.
fn look(disk: &SimDisk) -> Option<State> {
    State::of_offline(&read_offline(disk, Path::new(DIR)).ok()?).ok()
}

impl State {
    fn of(wal: &Wal<SimWorld>) -> Self {
        Self::readable(wal).expect("what was written can be read")
    }

    /// `None` where something cannot be read.
    fn readable(wal: &Wal<SimWorld>) -> Option<Self> {
        let view = |id| {
            let log = wal.partition(id);
            let entries = log.entries(0..u64::MAX, u64::MAX).ok()?;
            let (vote, purged, last, hash) = (log.vote(), log.purged(), log.last(), log.log_hash());
            Some((id, View { vote, purged, last, hash, entries }))
        };
        let partitions = wal.partitions().into_iter().map(view).collect::<Option<Vec<_>>>()?;
        Some(State { partitions: partitions.into_iter().filter(has_something).collect(), peers: wal.peers() })
    }

    fn of_offline(wal: &OfflineWal<SimDisk>) -> io::Result<Self> {
        let mut partitions = BTreeMap::new();
        for found in wal.partitions() {
            let entries = wal.entries(found.id, 0..u64::MAX, u64::MAX)?;
            let view = View { vote: found.vote, purged: found.purged, last: found.last, hash: found.log_hash, entries };
            partitions.extend(Some((found.id, view)).filter(has_something));
        }
        Ok(State { partitions, peers: wal.peers().to_vec() })
    }
}

/// Asking for a partition makes an empty one.
fn has_something((_, view): &(PartitionId, View)) -> bool {
    view.vote.is_some() || view.last.is_some()
}

/// Runs a script as a task of node 1 of a fresh simulation.
pub(super) fn on_node<T, F>(script: impl FnOnce(Sim) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let sim = Sim::seed(0);
    let script = script(sim.clone());
    sim.run(script)
}

/// All files of the data directory, wherever they are in it.
pub(super) fn read_files(disk: &SimDisk) -> Files {
    let mut files = Files::new();
    let mut folders = vec![PathBuf::from(DIR)];
    while let Some(folder) = folders.pop() {
        for name in disk.list(&folder).expect("it is a folder") {
            let path = folder.join(name);
            let Ok(file) = disk.open_read(&path) else {
                folders.push(path);
                continue;
            };
            let mut bytes = vec![0; file.len().expect("it has a length") as usize];
            file.read_exact_at(0, &mut bytes).expect("it is as long as it says");
            let relative = path.strip_prefix(DIR).expect("found below it");
            files.insert(relative.display().to_string(), bytes);
        }
    }
    files
}

/// Puts the files there, durably.
pub(super) fn write_files(disk: &SimDisk, files: &Files) {
    disk.create_dir_all(&Path::new(DIR).join("wal")).expect("the disk works");
    for (path, bytes) in files {
        let path = Path::new(DIR).join(path);
        let folder = path.parent().expect("below the data directory");
        disk.create_dir_all(folder).expect("the disk works");
        let file = disk.create_new(&path).expect("the disk was empty");
        file.write_all_at(0, &[bytes]).expect("the disk works");
        file.sync_all().expect("the disk works");
        disk.sync_dir(folder).expect("the disk works");
    }
}
