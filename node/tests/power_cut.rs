//! Power cuts of real nodes on real file systems: three processes, each with its data on a file system of its own, under
//! load. The file system is shut down without a flush, the process killed, what reached the device mounted again.
//! Afterwards every acknowledged record is at its offset on all of them.
//!
//! Needs root, loop devices, e2fsprogs and xfsprogs; says so and does nothing where they are missing.
mod harness;

use corduroy_tests::checker::{Progress, Replica};
use harness::{Cluster, FileSystem, LoopDisk, PATIENCE, Run, can_cut_power, dump, machine, wait_until};
use rustix::fs::{FallocateFlags, fallocate};
use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

const PARTITIONS: u32 = 4;

/// A run on disks whose power can be cut, and what its nodes held when it came back.
struct Cuts {
    run: Run,
    held: Vec<Replica>,
    /// Dropped last: a disk is unmounted when the process that used it has ended.
    disks: Vec<LoopDisk>,
}

impl Cuts {
    async fn start(kinds: [FileSystem; 3]) -> Self {
        let disks: Vec<LoopDisk> =
            kinds.map(|kind| LoopDisk::new(kind).expect("it worked a moment ago")).into_iter().collect();
        let mut cluster = Cluster::configured();
        for (node, disk) in cluster.nodes.iter_mut().zip(&disks) {
            node.data = disk.path().join("data");
        }
        Cuts { run: Run::start(cluster, PARTITIONS).await, held: Vec::new(), disks }
    }

    /// Cuts the power of some nodes, as close together as it goes.
    ///
    /// The processes stop first. One that lives on for a moment after its disk has died can be told that a sync succeeded
    /// which was for nothing, and tell others: `what_was_synced_before_a_cut_is_there_and_only_the_sync_during_it_may_be_for_nothing`.
    /// A machine without power tells nobody anything.
    fn cut(&mut self, ids: &[u64]) {
        for &id in ids {
            self.run.cluster.node(id).pause();
        }
        let disks: Vec<&LoopDisk> = ids.iter().map(|id| &self.disks[*id as usize - 1]).collect();
        std::thread::scope(|scope| {
            for disk in &disks {
                scope.spawn(|| disk.cut_power().expect("it worked a moment ago"));
            }
        });
        for &id in ids {
            self.run.cluster.node(id).kill();
        }
        self.run.faults.fired();
    }

    /// Gives the power back: mounts, keeps what the nodes hold, starts them, waits until they are ready.
    fn power_on(&mut self, ids: &[u64]) {
        for &id in ids {
            self.disks[id as usize - 1].power_on().expect("the process has ended");
            let node = self.run.cluster.node(id);
            let held = |node: &_| -> Vec<Replica> { (0..PARTITIONS).map(|partition| dump(node, partition)).collect() };
            let first = held(node);
            assert_eq!(first, held(node), "a dump changes nothing");
            self.held.extend(first);
        }
        self.run.cluster.start_all();
    }

    /// One node loses its power, the others go on, it comes back.
    async fn cut_one(&mut self, id: u64) {
        self.run.fault_begins(&format!("power cut of node {id}"), Progress::Throughout);
        self.cut(&[id]);
        self.run.progress().await;
        self.power_on(&[id]);
        self.run.fault_ends();
        self.run.progress().await;
    }

    /// All nodes lose their power at once and come back.
    async fn cut_all(&mut self) {
        self.run.fault_begins("power cut of all nodes", Progress::BeforeAndAfter);
        self.cut(&[1, 2, 3]);
        self.power_on(&[1, 2, 3]);
        self.run.fault_ends();
        self.run.progress().await;
    }

    async fn judge(self) {
        let Cuts { run, held, disks } = self;
        let nodes: Vec<_> = run.cluster.nodes.iter().map(|node| (node.id, node.data.clone())).collect();
        run.judged().await;
        assert!(!held.is_empty() && held.iter().any(|replica| !replica.records.is_empty()), "nothing was held");
        for replica in held {
            let (_, data) = nodes.iter().find(|(id, _)| *id == replica.node).expect("a node of this cluster");
            let now = harness::dump_of(data, replica.node, replica.partition);
            assert!(
                now.records.starts_with(&replica.records),
                "node {} partition {}: what was committed when its power came back is not how its log begins now",
                replica.node,
                replica.partition
            );
        }
        drop(disks);
    }
}

/// Rounds of each test: more of them at night.
fn rounds() -> u32 {
    std::env::var("CORDUROY_POWER_CUTS").map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}

async fn leader_then_all(kind: FileSystem) {
    if !can_cut_power() {
        return;
    }
    for _ in 0..rounds() {
        let mut cuts = Cuts::start([kind; 3]).await;
        let leader = cuts.run.leader().await;
        cuts.cut_one(leader).await;
        cuts.cut_all().await;
        cuts.judge().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_of_a_leader_and_of_all_nodes_lose_nothing_on_ext4() {
    leader_then_all(FileSystem::Ext4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_of_a_leader_and_of_all_nodes_lose_nothing_on_xfs() {
    leader_then_all(FileSystem::Xfs).await;
}

/// The newest segment and its name have just come to be.
#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_right_after_a_rotation_lose_nothing() {
    if !can_cut_power() {
        return;
    }
    for _ in 0..rounds() {
        let mut cuts = Cuts::start([FileSystem::Ext4, FileSystem::Xfs, FileSystem::Ext4]).await;
        for id in [1, 2] {
            cuts.run.fault_begins(&format!("power cut of node {id}, rotating"), Progress::Throughout);
            let wal = cuts.run.cluster.node(id).data.join("wal");
            let (before, deadline) = (segments(&wal), Instant::now() + PATIENCE);
            while segments(&wal).is_subset(&before) {
                assert!(Instant::now() < deadline, "no segment after {before:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            cuts.cut(&[id]);
            cuts.run.progress().await;
            cuts.power_on(&[id]);
            cuts.run.fault_ends();
            cuts.run.progress().await;
        }
        cuts.judge().await;
    }
}

/// The names of the segments, those in the making included.
fn segments(wal: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(wal).expect("the node has a log");
    names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Bytes that one sync is for.
const BATCH: usize = 3072;

/// One process, alone with its file system. A sync that is under way while the file system is shut down may report success
/// although what it wrote is not there: reserved space is marked as written by the journal, and that is not written any more.
#[test]
fn what_was_synced_before_a_cut_is_there_and_only_the_sync_during_it_may_be_for_nothing() {
    if !can_cut_power() {
        return;
    }
    let _machine = machine();
    let cuts = 20 * rounds();
    for kind in [FileSystem::Ext4, FileSystem::Xfs] {
        let mut disk = LoopDisk::new(kind).expect("it worked a moment ago");
        let mut for_nothing = 0;
        for cut in 0..cuts {
            let path = disk.path().join(format!("file-{cut}"));
            let synced = AtomicU64::new(0);
            let before = std::thread::scope(|scope| {
                scope.spawn(|| append_until_it_fails(&path, &synced).expect_err("the power is cut"));
                wait_until("the first sync", || Some(synced.load(Relaxed)).filter(|n| *n > 0).ok_or("none".into()));
                // Another moment each time.
                std::thread::sleep(Duration::from_micros(u64::from(cut) * 7919 % 40_000));
                let before = synced.load(Relaxed);
                disk.cut_power().expect("it worked a moment ago");
                before
            });
            disk.power_on().expect("nobody has a file open");
            let (found, synced) = (batches(&path), synced.into_inner());
            assert!(found >= before, "{kind:?}: {before} were synced before the cut, {found} are there");
            assert!(found + 1 >= synced, "{kind:?}: {synced} were synced one after the other, {found} are there");
            for_nothing += u64::from(found < synced);
            std::fs::remove_file(path).expect("the file was found");
        }
        println!("{kind:?}: the last of the syncs that succeeded was for nothing in {for_nothing} of {cuts} cuts");
    }
}

/// Writes numbered batches into reserved space, as a segment is written, and counts those that were synced.
fn append_until_it_fails(path: &Path, synced: &AtomicU64) -> std::io::Result<()> {
    let file = File::create_new(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, 48 << 20)?;
    file.sync_all()?;
    File::open(path.parent().expect("it is in a directory"))?.sync_all()?;
    for number in 1_u64.. {
        file.write_all_at(&number.to_le_bytes().repeat(BATCH / 8), (number - 1) * BATCH as u64)?;
        file.sync_data()?;
        synced.store(number, Relaxed);
    }
    Ok(())
}

/// How many batches there are, from the first on.
fn batches(path: &Path) -> u64 {
    let bytes = std::fs::read(path).expect("the name was synced");
    let batches = (1..).zip(bytes.chunks_exact(BATCH));
    batches.take_while(|(number, batch)| *batch == u64::to_le_bytes(*number).repeat(BATCH / 8)).count() as u64
}
