//! Disks that are slow, stuck, full or read-only, under a whole cluster in virtual time: who leads then, what is refused,
//! and that nothing acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{
    Config, Consistency, LogError, NewRecord, NewTopic,
    config::Limits,
    testing::{Sim, SimCluster, SimTasks},
    topic::NodeId,
    wal::Space,
    world::Halt,
};
use openraft_rt::AsyncRuntime;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const NODES: [NodeId; 3] = [1, 2, 3];
const TOPIC: &str = "order";
const PARTITIONS: u32 = 4;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn small(config: &mut Config) {
    config.limits = Limits {
        record_bytes: 4 << 10,
        batch_bytes: 16 << 10,
        segment_bytes: 64 << 10,
        hot_tail_bytes: 16 << 10,
        ..Limits::default()
    };
    config.timing.append_timeout = 4 * SECOND;
}

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// By partition and offset.
    acked: BTreeMap<(u32, u64), String>,
    refused_as_full: u64,
    refused: BTreeSet<String>,
    /// The last error of each partition, and when, for messages.
    trouble: BTreeMap<u32, (Duration, String)>,
}

/// A cluster with a client for each partition, which appends until it is told to stop.
struct Loaded {
    cluster: SimCluster,
    told: Mutex<Told>,
    stop: AtomicBool,
}

impl Loaded {
    async fn start(sim: &Sim) -> Arc<Self> {
        Self::with(sim, small).await
    }

    async fn with(sim: &Sim, adjust: impl Fn(&mut Config) + Send + Sync + 'static) -> Arc<Self> {
        let cluster = SimCluster::with_config(sim, NODES.len() as u64, adjust);
        cluster.start().await;
        let new = NewTopic::new(TOPIC, PARTITIONS);
        cluster.create_topic(new).await.unwrap();
        let loaded = Arc::new(Loaded { cluster, told: Mutex::default(), stop: AtomicBool::new(false) });
        for partition in 0..PARTITIONS {
            drop(SimTasks::spawn(loaded.clone().client(partition)));
        }
        loaded.progress().await;
        loaded
    }

    fn sim(&self) -> &Sim {
        self.cluster.sim()
    }

    async fn start_node(&self, node: NodeId) {
        self.cluster.restart(node).await.unwrap();
    }

    fn is_ready(&self, node: NodeId) -> bool {
        self.cluster.log(node).is_some_and(|log| log.readiness().iter().all(|check| check.ok))
    }

    fn space(&self, node: NodeId) -> Space {
        self.cluster.log(node).unwrap().disk_space().space
    }

    /// Who leads each partition, by its own word and with the highest term: (node, term).
    fn leads(&self) -> BTreeMap<u32, (NodeId, u64)> {
        let of = |partition| {
            let leader = self.cluster.leader(TOPIC, partition)?;
            let info = self.cluster.log(leader)?.partition(TOPIC, partition).ok()?.info();
            Some((partition, (leader, info.term)))
        };
        (0..PARTITIONS).filter_map(of).collect()
    }

    fn leader(&self) -> NodeId {
        self.leads()[&0].0
    }

    fn led_by(&self, node: NodeId) -> usize {
        self.leads().values().filter(|(leader, _)| *leader == node).count()
    }

    fn terms(&self) -> u64 {
        self.leads().values().map(|(_, term)| term).sum()
    }

    async fn wait(&self, what: &str, ready: impl Fn() -> bool) {
        let deadline = self.sim().elapsed() + 30 * SECOND;
        while !ready() {
            assert!(
                self.sim().elapsed() < deadline,
                "seed {}: {what} did not happen in time: {:?}, {:?}, {:#?}",
                self.sim().drawn_from(),
                self.leads(),
                self.acked(),
                self.told.lock().unwrap().trouble
            );
            self.sim().sleep(10 * MS).await;
        }
    }

    fn acked(&self) -> Vec<u64> {
        let told = self.told.lock().unwrap();
        (0..PARTITIONS).map(|p| told.acked.keys().filter(|(partition, _)| *partition == p).count() as u64).collect()
    }

    /// Every partition acknowledges more.
    async fn progress(&self) {
        let before = self.acked();
        self.wait("progress", || self.acked().iter().zip(&before).all(|(now, before)| *now >= before + 5)).await;
    }

    async fn client(self: Arc<Self>, partition: u32) {
        let mut target = NODES[partition as usize % 3];
        let mut number = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let value = format!("{partition}-{number}-{}", "x".repeat(number as usize % 900));
            let outcome = self.append(target, partition, value.clone()).await;
            target = self.hear(target, partition, value, outcome);
            self.sim().sleep(20 * MS).await;
        }
    }

    /// Notes how an append ended; gives the node to ask next.
    fn hear(&self, target: NodeId, partition: u32, value: String, outcome: Result<u64, LogError>) -> NodeId {
        let next = NODES[target as usize % 3];
        let mut told = self.told.lock().unwrap();
        if let Err(error) = &outcome {
            told.trouble.insert(partition, (self.sim().elapsed(), format!("{target}: {error}")));
        }
        match outcome {
            Ok(offset) => {
                assert_eq!(told.acked.insert((partition, offset), value), None, "an offset was given twice");
                target
            }
            Err(LogError::UnknownOutcome(_)) => next,
            Err(error) => {
                told.refused_as_full += u64::from(matches!(error, LogError::Full { .. }));
                told.refused.insert(value);
                match error {
                    LogError::NotLeader { leader: Some(leader), .. } => leader,
                    LogError::Full { .. } | LogError::Busy { .. } => target,
                    _ => next,
                }
            }
        }
    }

    async fn append(&self, node: NodeId, partition: u32, value: String) -> Result<u64, LogError> {
        if self.cluster.log(node).is_none() {
            return Err(LogError::Unavailable("down".into()));
        }
        let appending = self
            .cluster
            .on(node, async move |log| log.partition(TOPIC, partition)?.append(vec![NewRecord::new(value)]).await);
        let cut_short = |_| Err(LogError::UnknownOutcome("the node died".into()));
        appending.await.unwrap_or_else(cut_short).map(|ack| ack.first_offset)
    }

    async fn read(&self, node: NodeId, partition: u32, consistency: Consistency) -> Result<Vec<String>, LogError> {
        let reading = self.cluster.on(node, async move |log| {
            let partition = log.partition(TOPIC, partition)?;
            let mut values = Vec::new();
            loop {
                let page = partition.read(values.len() as u64, 64 << 10, u32::MAX, consistency).await?;
                if page.records.is_empty() {
                    return Ok(values);
                }
                values.extend(page.records.into_iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()));
            }
        });
        reading.await.unwrap()
    }

    /// Stops the clients and compares every replica with what they were told.
    async fn check(&self) {
        self.progress().await;
        self.stop.store(true, Ordering::Relaxed);
        self.sim().sleep(5 * SECOND).await;
        for partition in 0..PARTITIONS {
            let first = self.read(1, partition, Consistency::Linearizable).await.unwrap();
            for node in [2, 3] {
                let other = self.read(node, partition, Consistency::Linearizable).await.unwrap();
                assert_eq!(other, first, "replica {node} of partition {partition}");
            }
            let told = self.told.lock().unwrap();
            for ((_, offset), value) in told.acked.iter().filter(|((p, _), _)| *p == partition) {
                assert_eq!(first.get(*offset as usize), Some(value), "{TOPIC}/{partition}@{offset}");
            }
            assert!(first.iter().all(|value| !told.refused.contains(value)), "what was refused is there");
        }
    }
}

fn run<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(Sim) -> F) {
    let sim = Sim::seed(seed);
    sim.run(scenario(sim.clone()));
}

#[test]
fn a_leader_whose_disk_became_slow_leads_no_more_and_leads_move_once() {
    for seed in 0..3 {
        run(seed, |sim| async move {
            let cluster = Loaded::start(&sim).await;
            let slow = cluster.leader();
            let (led, terms) = (cluster.led_by(slow) as u64, cluster.terms());
            sim.set_sync_delay(slow, 3 * SECOND..=3 * SECOND);
            cluster.wait("others lead", || cluster.led_by(slow) == 0 && cluster.leads().len() == 4).await;
            cluster.progress().await;
            sim.sleep(20 * SECOND).await;
            assert_eq!(cluster.led_by(slow), 0, "seed {seed}: it does not come back while it is slow");
            let moved = cluster.terms() - terms;
            assert!(moved <= 3 * led, "seed {seed}: {led} leads moved, {moved} terms passed");
            assert!(sim.is_alive(slow), "slow is not stuck");
            sim.set_sync_delay(slow, MS / 10..=MS / 2);
            cluster.check().await;
        });
    }
}

#[test]
fn where_all_disks_are_slow_nobody_is_deposed() {
    // A hundred times slower than at the start.
    for seed in 0..3 {
        run(seed, |sim| async move {
            let cluster = Loaded::start(&sim).await;
            let before = cluster.leads();
            assert_eq!(before.len(), PARTITIONS as usize);
            NODES.iter().for_each(|node| sim.set_sync_delay(*node, 5 * MS..=50 * MS));
            for _ in 0..60 {
                sim.sleep(SECOND / 2).await;
                assert_eq!(cluster.leads(), before, "seed {seed}: the leads move");
            }
            cluster.progress().await;
            NODES.iter().for_each(|node| sim.set_sync_delay(*node, MS / 10..=MS / 2));
            cluster.check().await;
        });
    }
}

/// Votes have to be written, too: with such disks no election can end in time. Nothing else may be lost by that.
#[test]
fn where_all_disks_are_slower_than_an_election_nobody_halts_and_all_goes_on_when_they_are_fast_again() {
    for (seed, delay) in [(1, 400 * MS..=600 * MS), (2, 2 * SECOND..=3 * SECOND)] {
        run(seed, |sim| async move {
            let cluster = Loaded::start(&sim).await;
            let terms = cluster.terms();
            NODES.iter().for_each(|node| sim.set_sync_delay(*node, delay.clone()));
            sim.sleep(30 * SECOND).await;
            assert!(NODES.iter().all(|node| sim.is_alive(*node)), "seed {seed}");
            NODES.iter().for_each(|node| sim.set_sync_delay(*node, MS / 10..=MS / 2));
            cluster.wait("every partition is led", || cluster.leads().len() == PARTITIONS as usize).await;
            let passed = cluster.terms() - terms;
            assert!(passed < 400, "seed {seed}: {passed} terms passed in 30 seconds");
            cluster.check().await;
        });
    }
}

#[test]
fn a_disk_that_hangs_halts_its_node_after_ten_seconds_and_the_others_have_gone_on_long_before() {
    run(4, |sim| async move {
        let cluster = Loaded::start(&sim).await;
        let stuck = cluster.leader();
        sim.set_sync_delay(stuck, 1000 * SECOND..=1000 * SECOND);
        cluster.wait("others lead", || cluster.led_by(stuck) == 0 && cluster.leads().len() == 4).await;
        cluster.progress().await;
        assert!(sim.is_alive(stuck), "not yet");
        sim.sleep(11 * SECOND).await;
        let halt = sim.halted(stuck);
        assert!(matches!(&halt, Some(Halt::DiskFailed(why)) if why.contains("at work")), "{halt:?}");
        cluster.progress().await;
        sim.set_sync_delay(stuck, MS / 10..=MS / 2);
        cluster.start_node(stuck).await;
        cluster.wait("it is back", || cluster.is_ready(stuck)).await;
        cluster.check().await;
    });
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_and_restarts_and_resumes_alone() {
    for seed in 0..3 {
        run(seed, |sim| async move {
            let cluster = Loaded::start(&sim).await;
            let full = cluster.leader();
            sim.set_disk_capacity(full, Some(sim.disk_used(full)));
            cluster.wait("others lead", || cluster.led_by(full) == 0 && cluster.leads().len() == 4).await;
            assert_ne!(cluster.space(full), Space::Plenty);
            cluster.progress().await;
            // Longer than what is left takes to be written: the reserve is not for what others can do without.
            sim.sleep(30 * SECOND).await;
            for _ in 0..3 {
                sim.kill(full);
                sim.set_disk_capacity(full, Some(sim.disk_used(full)));
                cluster.start_node(full).await;
                cluster.wait("it is ready without a byte", || cluster.is_ready(full)).await;
                cluster.progress().await;
                assert_eq!(cluster.led_by(full), 0, "seed {seed}");
            }
            assert!(sim.halted(full).is_none());
            sim.set_disk_capacity(full, None);
            cluster.wait("it takes writes again", || cluster.space(full) == Space::Plenty).await;
            cluster.check().await;
        });
    }
}

#[test]
fn where_all_disks_are_full_leads_stay_appends_are_refused_and_reads_go_on() {
    for seed in 0..3 {
        run(seed, |sim| async move {
            let cluster = Loaded::start(&sim).await;
            NODES.iter().for_each(|node| sim.set_disk_capacity(*node, Some(sim.disk_used(*node))));
            cluster.wait("all refuse", || NODES.iter().all(|node| cluster.space(*node) != Space::Plenty)).await;
            sim.sleep(8 * SECOND).await;
            let (leads, acked) = (cluster.leads(), cluster.acked());
            let refused = cluster.told.lock().unwrap().refused_as_full;
            assert_eq!(leads.len(), 4);
            sim.sleep(30 * SECOND).await;
            assert_eq!(cluster.leads(), leads, "seed {seed}: nothing moves between full nodes");
            assert_eq!(cluster.acked(), acked, "seed {seed}");
            assert!(cluster.told.lock().unwrap().refused_as_full > refused + 100, "seed {seed}: refused by name");
            for partition in 0..PARTITIONS {
                for node in NODES {
                    let read = cluster.read(node, partition, Consistency::Linearizable).await.unwrap();
                    assert!(read.len() as u64 >= acked[partition as usize]);
                }
            }
            // A node that dies meanwhile is missed, and comes back.
            let dead = leads[&0].0;
            sim.kill(dead);
            cluster.wait("others lead", || cluster.leads().len() == 4).await;
            cluster.start_node(dead).await;
            cluster.wait("it is back", || cluster.is_ready(dead)).await;
            NODES.iter().for_each(|node| sim.set_disk_capacity(*node, None));
            cluster.wait("all take writes", || NODES.iter().all(|node| cluster.space(*node) == Space::Plenty)).await;
            cluster.check().await;
        });
    }
}

/// The leader dies with entries that one follower has and the other has not yet, and all disks are full by then. The new
/// leader begins its term behind them: a disk that is full takes what is under way as long as its last segment does.
#[test]
fn where_all_disks_are_full_what_is_under_way_is_finished_and_reads_go_on_after_an_election() {
    let mut full = 0;
    for seed in 0..12 {
        let sim = Sim::seed(seed);
        let inside = sim.clone();
        full += sim.run(async move {
            // Node 3 comes to the end of its segment long before the others.
            let cluster = Loaded::with(&inside, |config| {
                small(config);
                config.limits.segment_bytes *= if config.node == 3 { 1 } else { 8 };
            });
            let cluster = cluster.await;
            let partition = (0..PARTITIONS).find(|partition| cluster.leads()[partition].0 != 3).unwrap();
            let leader = cluster.leads()[&partition].0;
            inside.cut(leader, 3);
            let burst: Vec<_> =
                (0..12).map(|n| cluster.append(leader, partition, format!("{n}{}", "x".repeat(4000)))).collect();
            let acked = futures::future::join_all(burst).await.into_iter().filter(Result::is_ok).count();
            NODES.iter().for_each(|node| inside.set_disk_capacity(*node, Some(inside.disk_used(*node))));
            inside.kill(leader);
            inside.heal_all();
            cluster.stop.store(true, Ordering::Relaxed);
            cluster
                .wait("another leads", || cluster.leads().get(&partition).is_some_and(|(now, _)| *now != leader))
                .await;
            let read = cluster.read(cluster.leads()[&partition].0, partition, Consistency::Linearizable).await;
            assert!(read.unwrap().len() >= acked, "seed {seed}");
            u32::from(cluster.space(3) == Space::Full)
        });
    }
    assert!(full >= 3, "node 3 was full in {full} runs of 12");
}

#[test]
fn a_leader_whose_file_system_turns_read_only_halts_and_the_others_go_on() {
    run(5, |sim| async move {
        let cluster = Loaded::start(&sim).await;
        let leader = cluster.leader();
        sim.set_disk_read_only(leader, true);
        cluster.wait("it halts", || !sim.is_alive(leader)).await;
        assert!(matches!(sim.halted(leader), Some(Halt::DiskFailed(_))));
        cluster.wait("others lead", || cluster.leads().len() == 4).await;
        cluster.progress().await;
        sim.set_disk_read_only(leader, false);
        cluster.start_node(leader).await;
        cluster.wait("it is back", || cluster.is_ready(leader)).await;
        cluster.check().await;
    });
}
