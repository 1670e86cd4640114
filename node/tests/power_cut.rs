//! Power cuts of real nodes on real file systems: three processes, each with its data on a file system of its own, under
//! load. The file system is shut down without a flush, the process killed, what reached the device mounted again.
//! Afterwards every acknowledged record is at its offset on all of them.
//!
//! Needs root, loop devices, e2fsprogs and xfsprogs; says so and does nothing where they are missing.
mod harness;

use corduroy_tests::checker::{Progress, Replica};
use harness::{Cluster, FaultLog, FileSystem, Load, LoopDisk, PATIENCE, Verdict, can_cut_power, dump};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

const PARTITIONS: u32 = 4;
/// Acknowledged records per partition, before, during and after a fault.
const SOME: u64 = 100;

/// A cluster on disks of its own under load, and what its nodes held when their power came back.
struct Run {
    cluster: Cluster,
    load: Load,
    faults: FaultLog,
    held: Vec<Replica>,
    /// Dropped last: a disk is unmounted when the process that used it has ended.
    disks: Vec<LoopDisk>,
}

impl Run {
    async fn start(kinds: [FileSystem; 3]) -> Self {
        let disks: Vec<LoopDisk> =
            kinds.map(|kind| LoopDisk::new(kind).expect("it worked a moment ago")).into_iter().collect();
        let mut cluster = Cluster::configured();
        for (node, disk) in cluster.nodes.iter_mut().zip(&disks) {
            node.data = disk.path().join("data");
        }
        cluster.start_all();
        cluster.create_topic(PARTITIONS).await;
        let load = Load::start(&cluster, PARTITIONS).await;
        let run = Run { cluster, load, faults: FaultLog::default(), held: Vec::new(), disks };
        run.progress().await;
        run
    }

    async fn progress(&self) {
        self.load.acknowledged(SOME, &self.cluster).await;
    }

    /// Cuts the power of some nodes, as close together as it goes.
    ///
    /// The processes stop first. One that lives on for a moment after its disk has died can hear of a sync that succeeded
    /// although nothing was written, and tell others. That it is the file system that says so is likely and not shown; a
    /// machine without power, in any case, tells nobody anything.
    fn cut(&mut self, ids: &[u64]) {
        for &id in ids {
            self.cluster.node(id).pause();
        }
        let disks: Vec<&LoopDisk> = ids.iter().map(|id| &self.disks[*id as usize - 1]).collect();
        std::thread::scope(|scope| {
            for disk in &disks {
                scope.spawn(|| disk.cut_power().expect("it worked a moment ago"));
            }
        });
        for &id in ids {
            self.cluster.node(id).kill();
        }
        self.faults.fired();
    }

    /// Gives the power back: mounts, keeps what the nodes hold, starts them, waits until they are ready.
    fn power_on(&mut self, ids: &[u64]) {
        for &id in ids {
            self.disks[id as usize - 1].power_on().expect("the process has ended");
            let node = self.cluster.node(id);
            let held = |node: &_| -> Vec<Replica> { (0..PARTITIONS).map(|partition| dump(node, partition)).collect() };
            let first = held(node);
            assert_eq!(first, held(node), "a dump changes nothing");
            self.held.extend(first);
        }
        self.cluster.start_all();
    }

    /// One node loses its power, the others go on, it comes back.
    async fn cut_one(&mut self, id: u64) {
        self.faults.begins(&format!("power cut of node {id}"), Progress::Throughout, &self.load.recorder);
        self.cut(&[id]);
        self.progress().await;
        self.power_on(&[id]);
        self.faults.ends(&self.load.recorder);
        self.progress().await;
    }

    /// All nodes lose their power at once and come back.
    async fn cut_all(&mut self) {
        self.faults.begins("power cut of all nodes", Progress::BeforeAndAfter, &self.load.recorder);
        self.cut(&[1, 2, 3]);
        self.power_on(&[1, 2, 3]);
        self.faults.ends(&self.load.recorder);
        self.progress().await;
    }

    async fn judge(self) {
        let Run { cluster, load, faults, held, disks } = self;
        let nodes: Vec<_> = cluster.nodes.iter().map(|node| (node.id, node.data.clone())).collect();
        let acked = u64::from(PARTITIONS) * SOME * 2;
        Verdict { partitions: PARTITIONS, acked, faults }.judge(load, cluster).await;
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
        let mut run = Run::start([kind; 3]).await;
        let leader = run.cluster.leaders(PARTITIONS).await[0];
        run.cut_one(leader).await;
        run.cut_all().await;
        run.judge().await;
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
        let mut run = Run::start([FileSystem::Ext4, FileSystem::Xfs, FileSystem::Ext4]).await;
        for id in [1, 2] {
            run.faults.begins(&format!("power cut of node {id}, rotating"), Progress::Throughout, &run.load.recorder);
            let wal = run.cluster.node(id).data.join("wal");
            let (before, deadline) = (segments(&wal), Instant::now() + PATIENCE);
            while segments(&wal).is_subset(&before) {
                assert!(Instant::now() < deadline, "no segment after {before:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            run.cut(&[id]);
            run.progress().await;
            run.power_on(&[id]);
            run.faults.ends(&run.load.recorder);
            run.progress().await;
        }
        run.judge().await;
    }
}

/// The names of the segments, those in the making included.
fn segments(wal: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(wal).expect("the node has a log");
    names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}
