//! Leaders whose process ends, stands still, or only seems to be gone, under a whole cluster in virtual time: who leads
//! then, and how soon.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{
    CLUSTER_TOPIC, Config, Consistency, LogError, NewRecord, NewTopic,
    testing::{Sim, SimCluster, SimLink, SimTasks},
    topic::NodeId,
};
use openraft_rt::AsyncRuntime;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const TOPIC: &str = "order";
const PARTITIONS: u32 = 6;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A cluster with a client for each partition that appends one record after the other.
struct Loaded {
    cluster: SimCluster,
    /// The longest time each partition took nothing.
    gaps: Mutex<BTreeMap<u32, Duration>>,
    stop: AtomicBool,
}

impl Loaded {
    async fn start(sim: &Sim, nodes: u64) -> Arc<Self> {
        Self::start_with(sim, nodes, |_| {}).await
    }

    async fn start_with(sim: &Sim, nodes: u64, change: impl Fn(&mut Config) + Send + Sync + 'static) -> Arc<Self> {
        let cluster = SimCluster::with_config(sim, nodes, change);
        cluster.start().await;
        let new = NewTopic { replication: Some(nodes as u32), ..NewTopic::new(TOPIC, PARTITIONS) };
        cluster.create_topic(new).await.unwrap();
        let loaded = Arc::new(Loaded { cluster, gaps: Mutex::default(), stop: AtomicBool::new(false) });
        for partition in 0..PARTITIONS {
            drop(SimTasks::spawn(loaded.clone().client(partition)));
        }
        // Long enough for every lease to be that of a leader at work.
        sim.sleep(2 * SECOND).await;
        loaded
    }

    fn sim(&self) -> &Sim {
        self.cluster.sim()
    }

    async fn client(self: Arc<Self>, partition: u32) {
        while !self.stop.load(Ordering::Relaxed) {
            let began = self.sim().elapsed();
            self.append(partition).await;
            self.note_gap(partition, self.sim().elapsed() - began);
            self.sim().sleep(10 * MS).await;
        }
    }

    fn note_gap(&self, partition: u32, gap: Duration) {
        let mut gaps = self.gaps.lock().unwrap();
        let longest = gaps.entry(partition).or_default();
        *longest = gap.max(*longest);
    }

    /// The longest time any partition took nothing since this was asked last.
    fn longest_gap(&self) -> Duration {
        std::mem::take(&mut *self.gaps.lock().unwrap()).into_values().max().unwrap_or_default()
    }

    /// Appends one record, wherever it is taken, however often it takes.
    async fn append(&self, partition: u32) {
        while !self.append_once(partition).await {
            self.sim().sleep(MS).await;
        }
    }

    async fn append_once(&self, partition: u32) -> bool {
        let Some(leader) = self.cluster.leader(TOPIC, partition) else { return false };
        let appended = self
            .cluster
            .on(leader, async move |log| log.partition(TOPIC, partition)?.append(vec![NewRecord::new("x")]).await);
        // A node that stands still answers nothing.
        matches!(SimTasks::timeout(20 * MS, appended).await, Ok(Ok(Ok(_))))
    }

    /// Who leads each partition, by its own word and with the highest term: (node, term).
    fn leads(&self) -> BTreeMap<u32, (NodeId, u64)> {
        let of = |partition| {
            let leader = self.cluster.leader(TOPIC, partition)?;
            Some((partition, (leader, self.cluster.log(leader)?.partition(TOPIC, partition).ok()?.info().term)))
        };
        (0..PARTITIONS).filter_map(of).collect()
    }

    /// How long it takes from now until every partition has taken an append from a node that is not `gone`.
    async fn succeeded(&self, gone: NodeId) -> Duration {
        let began = self.sim().elapsed();
        for partition in 0..PARTITIONS {
            while self.cluster.leader(TOPIC, partition).is_none_or(|leader| leader == gone)
                || !self.append_once(partition).await
            {
                assert!(self.sim().elapsed() < began + 30 * SECOND, "{:?}", self.leads());
                self.sim().sleep(MS).await;
            }
        }
        self.sim().elapsed() - began
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn when_a_leaders_process_ends_another_one_leads_within_tens_of_milliseconds() {
    for (seed, nodes) in (0..8).flat_map(|seed| [(seed, 3), (seed, 5)]) {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, nodes).await;
            sim.sleep(seed as u32 * 13 * MS).await;
            let leader = loaded.leads()[&0].0;
            loaded.cluster.kill(leader);
            let gap = loaded.succeeded(leader).await;
            assert!(gap < 60 * MS, "seed {seed}, {nodes} nodes: {gap:?}");
            loaded.stop();
        });
    }
}

/// Any replica answers with a majority's word, and who asks while there is no leader need not ask again.
#[test]
fn a_linearizable_read_waits_while_the_lead_moves() {
    for seed in 0..4 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, 3).await;
            let leader = loaded.leads()[&0].0;
            loaded.cluster.kill(leader);
            for node in (1..=3).filter(|node| *node != leader) {
                let read = loaded.cluster.on(node, async |log| {
                    log.partition(TOPIC, 0)?.read(0, 1 << 20, 10, Consistency::Linearizable).await
                });
                let read = read.await.unwrap().unwrap_or_else(|refused| panic!("seed {seed}, node {node}: {refused}"));
                assert_eq!(read.records.len(), 10);
            }
            loaded.stop();
        });
    }
}

/// A follower's end costs nobody anything.
#[test]
fn when_a_followers_process_ends_nothing_moves() {
    let sim = Sim::seed(3);
    sim.run(async {
        let loaded = Loaded::start(&sim, 3).await;
        let before = loaded.leads();
        let follower = (1..=3).find(|node| before[&0].0 != *node).unwrap();
        loaded.cluster.kill(follower);
        sim.sleep(3 * SECOND).await;
        let after = loaded.leads();
        for (partition, (leader, term)) in before {
            assert!(leader == follower || after[&partition] == (leader, term), "{partition}: {leader}, {after:?}");
        }
        loaded.stop();
    });
}

#[test]
fn on_one_nodes_word_nothing_moves() {
    for (seed, nodes, deceived) in [(1, 3, 1), (2, 3, 1), (3, 5, 1), (4, 5, 2)] {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, nodes).await;
            let before = loaded.leads();
            let leader = before[&0].0;
            let others: Vec<NodeId> = (1..=nodes).filter(|node| *node != leader).take(deceived).collect();
            for other in &others {
                sim.refuse(*other, leader);
            }
            for _ in 0..100 {
                sim.sleep(50 * MS).await;
                assert_eq!(loaded.leads()[&0], before[&0], "seed {seed}: {others:?} lost sight of {leader}");
            }
            assert!(others.iter().all(|other| sim.link_stats(*other, leader).refused > 5), "the fault fired");
            loaded.append(0).await;
            sim.heal_all();
            sim.sleep(SECOND).await;
            assert_eq!(loaded.leads()[&0], before[&0], "nor when they see it again");
            loaded.stop();
        });
    }
}

/// Its machine accepts connections for it, so it may go on at any time.
#[test]
fn a_leader_that_stands_still_is_succeeded_after_a_timeout_and_not_before() {
    for seed in 0..4 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, 3).await;
            let leader = loaded.leads()[&0].0;
            loaded.cluster.pause(leader);
            let began = sim.elapsed();
            let others: Vec<NodeId> = (1..=3).filter(|node| *node != leader).collect();
            let led = || {
                let leads = |node: &NodeId| {
                    let info = loaded.cluster.log(*node).unwrap().partition(TOPIC, 0).unwrap().info();
                    info.leader == Some(*node)
                };
                others.iter().any(leads)
            };
            while !led() {
                sim.sleep(5 * MS).await;
            }
            let gap = sim.elapsed() - began;
            assert!((250 * MS..SECOND).contains(&gap), "seed {seed}: {gap:?}");
            loaded.cluster.resume(leader);
            loaded.stop();
        });
    }
}

/// It needs no disk to send heartbeats, and could be believed in for ever: here it neither offers its leads nor halts.
#[test]
fn a_leader_whose_disk_hangs_is_succeeded_because_it_falls_silent() {
    for seed in 0..4 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let patient = |config: &mut Config| {
                config.timing.disk.stuck = 500 * SECOND;
                config.timing.disk.failed = 1000 * SECOND;
            };
            let loaded = Loaded::start_with(&sim, 3, patient).await;
            let leader = loaded.leads()[&0].0;
            sim.set_sync_delay(leader, 2000 * SECOND..=2000 * SECOND);
            let gap = loaded.succeeded(leader).await;
            assert!(sim.is_alive(leader) && gap > 200 * MS, "seed {seed}: {gap:?}");
            assert!(gap < 2 * SECOND, "seed {seed}: {gap:?}");
            loaded.stop();
        });
    }
}

/// What is between a leader and all others makes it look gone again and again. It cannot lead then, and may lose the lead once
/// for each time; but the others do not believe it for ever, and nothing stops.
#[test]
fn a_leader_that_seems_to_be_gone_again_and_again_is_not_believed_gone_each_time() {
    const TIMES: u64 = 12;
    let sim = Sim::seed(5);
    sim.run(async {
        let loaded = Loaded::start(&sim, 3).await;
        let (_, first) = loaded.leads()[&0];
        for _ in 0..TIMES {
            let leader = loaded.cluster.await_leader(TOPIC, 0).await;
            let others = (1..=3).filter(|node| *node != leader);
            others.clone().for_each(|other| sim.refuse(other, leader));
            sim.sleep(30 * MS).await;
            sim.heal_all();
            sim.sleep(300 * MS).await;
        }
        let (_, last) = loaded.leads()[&0];
        assert!(last > first, "the fault fired");
        // Each of the three nodes can be suspected once in these four seconds, and a split vote may cost a term.
        assert!(last - first < TIMES / 2 + 2, "{first} to {last}");
        loaded.append(0).await;
        loaded.stop();
    });
}

#[test]
fn a_process_that_ends_and_is_there_again_at_once_is_succeeded_or_elected_anew() {
    for seed in 0..6 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, 3).await;
            let leader = loaded.leads()[&0].0;
            loaded.cluster.kill(leader);
            sim.sleep(seed as u32 * 2 * MS).await;
            loaded.cluster.restart(leader).await.unwrap();
            let began = sim.elapsed();
            for partition in 0..PARTITIONS {
                loaded.append(partition).await;
            }
            let gap = sim.elapsed() - began;
            assert!(gap < SECOND, "seed {seed}: {gap:?}");
            loaded.cluster.ready().await;
            loaded.stop();
        });
    }
}

/// Who is told to stop hands over first, so nobody waits for a timeout.
#[test]
fn a_rolling_restart_is_no_gap_worth_mentioning() {
    for seed in 0..4 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, 3).await;
            loaded.longest_gap();
            for node in 1..=3 {
                let led = loaded.leads().values().filter(|(leader, _)| *leader == node).count();
                loaded.cluster.on(node, async |log| log.shutdown().await).await.unwrap();
                assert!(loaded.leads().values().all(|(leader, _)| *leader != node), "{led} were led by node {node}");
                loaded.cluster.kill(node);
                sim.sleep(200 * MS).await;
                loaded.cluster.restart(node).await.unwrap();
                loaded.cluster.ready().await;
            }
            let gap = loaded.longest_gap();
            assert!(gap < 100 * MS, "seed {seed}: {gap:?}");
            loaded.stop();
        });
    }
}

#[test]
fn leads_return_to_where_they_belong_once_a_node_has_been_back_for_a_while() {
    let sim = Sim::seed(6);
    sim.run(async {
        let loaded = Loaded::start(&sim, 3).await;
        let topic = loaded.cluster.log(1).unwrap().topics().remove(0);
        let belongs: Vec<NodeId> = topic.partitions.iter().map(|replicas| replicas[0]).collect();
        let as_meant = || (0..PARTITIONS).filter(|p| loaded.leads()[p].0 == belongs[*p as usize]).count() as u32;
        sim.sleep(15 * SECOND).await;
        assert_eq!(as_meant(), PARTITIONS, "{belongs:?}, {:?}", loaded.leads());

        loaded.cluster.kill(2);
        loaded.succeeded(2).await;
        sim.sleep(15 * SECOND).await;
        for (partition, (leader, _)) in loaded.leads() {
            let replicas = &topic.partitions[partition as usize];
            let first = replicas.iter().find(|node| **node != 2).unwrap();
            assert_eq!(leader, *first, "of {replicas:?} without 2, the first leads");
        }
        loaded.cluster.restart(2).await.unwrap();
        loaded.cluster.ready().await;
        loaded.longest_gap();
        sim.sleep(3 * SECOND).await;
        assert!(as_meant() < PARTITIONS, "it has to be there for a while first");
        sim.sleep(12 * SECOND).await;
        assert_eq!(as_meant(), PARTITIONS);
        let gap = loaded.longest_gap();
        assert!(gap < 100 * MS, "moving leads back took {gap:?}");
        let terms = loaded.leads();
        sim.sleep(30 * SECOND).await;
        assert_eq!(loaded.leads(), terms, "and then nothing moves");
        loaded.stop();
    });
}

/// Each time it comes back it is left without leads for longer.
#[test]
fn a_node_that_comes_and_goes_does_not_get_its_leads_back_each_time() {
    let sim = Sim::seed(7);
    sim.run(async {
        let loaded = Loaded::start(&sim, 3).await;
        sim.sleep(10 * SECOND).await;
        let before = loaded.leads()[&0].1;
        for _ in 0..6 {
            loaded.cluster.kill(2);
            sim.sleep(2 * SECOND).await;
            loaded.cluster.restart(2).await.unwrap();
            loaded.cluster.ready().await;
            sim.sleep(9 * SECOND).await;
        }
        for (partition, (_, term)) in loaded.leads() {
            assert!(term - before <= 6, "partition {partition} had {} leaders", term - before);
        }
        loaded.stop();
    });
}

#[test]
fn topics_of_services_live_on_the_nodes_that_carry_them_and_on_no_others() {
    let sim = Sim::seed(8);
    sim.run(async {
        let cluster = SimCluster::with_config(&sim, 6, |config| {
            let service = if config.node <= 3 { "order" } else { "payment" };
            config.services = vec![service.into()];
        });
        cluster.start().await;
        let of = |name: &str, service: Option<&str>| NewTopic {
            service: service.map(str::to_owned),
            ..NewTopic::new(name, 6)
        };
        let order = cluster.create_topic(of("orders", Some("order"))).await.unwrap();
        let payment = cluster.create_topic(of("payments", Some("payment"))).await.unwrap();
        let any = cluster.create_topic(of("anything", None)).await.unwrap();
        assert!(order.partitions.iter().flatten().all(|node| *node <= 3), "{order:?}");
        assert!(payment.partitions.iter().flatten().all(|node| *node > 3), "{payment:?}");
        let spread: std::collections::BTreeSet<_> = any.partitions.iter().flatten().collect();
        assert!(spread.len() > 3, "a topic without service goes anywhere: {any:?}");
        for topic in [&order, &payment, &any] {
            let leaders = topic.partitions.iter().map(|replicas| replicas[0]);
            let led = |node| leaders.clone().filter(|leader| *leader == node).count();
            let counts: Vec<_> = topic.partitions.iter().flatten().map(|node| led(*node)).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{topic:?}");
            for partition in 0..6 {
                cluster.append(&topic.name, partition, vec![NewRecord::new("x")]).await.unwrap();
            }
        }
        let elsewhere = cluster.on(6, async |log| log.partition("orders", 0).map(drop)).await.unwrap();
        assert!(matches!(elsewhere, Err(LogError::NotHosted { .. })), "{elsewhere:?}");
        // One group of nodes goes on without the other.
        for node in 4..=6 {
            cluster.kill(node);
        }
        cluster.append("orders", 0, vec![NewRecord::new("y")]).await.unwrap();
        let few = NewTopic { replication: Some(4), ..of("more", Some("order")) };
        let refused = cluster.on(1, async |log| log.create_topic(few).await).await.unwrap();
        assert!(matches!(&refused, Err(LogError::Invalid(why)) if why.contains("carried by 3 nodes")), "{refused:?}");
    });
}

/// Leaders that found a group not running on a node wait before they try again, but not longer than the node needs to open it.
#[test]
fn a_node_that_opens_a_partition_has_its_entries_at_once() {
    let mut watched = 0;
    for seed in 0..6 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let cluster = SimCluster::new(&sim, 3);
            cluster.start().await;
            // It hears of the topic long after those that lead its partitions do.
            let map = cluster.leader(CLUSTER_TOPIC, 0).unwrap();
            let victim = map % 3 + 1;
            let slow = SimLink { latency: Some(40 * MS..=40 * MS), ..SimLink::default() };
            sim.set_link(map, victim, slow);
            cluster.create_topic(NewTopic { replication: Some(3), ..NewTopic::new(TOPIC, PARTITIONS) }).await.unwrap();
            let led_by = |partition| cluster.leader(TOPIC, partition);
            let partitions: Vec<u32> =
                (0..PARTITIONS).filter(|p| !matches!(led_by(*p), Some(n) if n == map || n == victim)).collect();
            for partition in &partitions {
                cluster.append(TOPIC, *partition, vec![NewRecord::new("x")]).await.unwrap();
            }
            let replica = |partition| cluster.log(victim).and_then(|log| log.partition(TOPIC, partition).ok());
            let began = sim.elapsed();
            while partitions.iter().any(|partition| replica(*partition).is_none()) {
                sim.sleep(MS).await;
                assert!(sim.elapsed() - began < SECOND);
            }
            watched += partitions.len();
            let opened = sim.elapsed();
            while partitions.iter().any(|partition| replica(*partition).unwrap().evolved_offset() == 0) {
                sim.sleep(MS).await;
                assert!(sim.elapsed() - opened < 10 * SECOND);
            }
            let took = sim.elapsed() - opened;
            assert!(took < 30 * MS, "seed {seed}, {partitions:?}: {took:?}");
        });
    }
    assert!(watched > 0, "no partition was led by a third node");
}

/// A process that stands still keeps its connections, and seems to be well.
#[test]
fn no_lead_is_handed_to_a_node_that_stands_still() {
    for (seed, paused) in [(0, 1), (1, 3)] {
        let sim = Sim::seed(seed);
        sim.run(async {
            let loaded = Loaded::start(&sim, 3).await;
            // At rest nothing else tells it from one that has caught up.
            loaded.stop();
            sim.sleep(SECOND / 2).await;
            loaded.cluster.pause(paused);
            sim.sleep(400 * MS).await;
            let mut led = loaded.leads();
            led.retain(|_, (leader, _)| *leader == 2);
            let topic = loaded.cluster.log(2).unwrap().topics().remove(0);
            let meant = |partition: &u32| topic.partitions[*partition as usize][1] == paused;
            assert!(led.keys().any(meant), "it would be handed nothing anyway: {led:?} of {topic:?}");
            let began = sim.elapsed();
            loaded.cluster.on(2, async |log| log.leave().await).await.unwrap();
            for partition in led.keys() {
                loaded.cluster.append(TOPIC, *partition, vec![NewRecord::new("x")]).await.unwrap();
            }
            let took = sim.elapsed() - began;
            assert!(took < 200 * MS, "seed {seed}: {led:?} were led elsewhere after {took:?}");
            loaded.cluster.resume(paused);
        });
    }
}
