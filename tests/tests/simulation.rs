//! A whole cluster in virtual time: real openraft, real WAL and partition code, simulated disk, network and clock.
//!
//! Three nodes, one seed, sixty virtual seconds of appends; a leader is killed and restarted, later a leader's machine loses
//! its power. Afterwards every acknowledged record is at its offset on every replica, and the same seed gives the same run,
//! event for event.
use corduroy_log::{
    Ack, Config, Consistency, LogError, NewRecord, NewTopic, OpenError,
    config::{Limits, NodeAddress, Timing},
    log::Log,
    testing::{Sim, SimTasks, SimWorld},
    topic::{ClusterId, NodeId},
};
use openraft_rt::AsyncRuntime;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

const NODES: [NodeId; 3] = [1, 2, 3];
const TOPIC: &str = "order";
const PARTITIONS: u32 = 4;
const RUN: Duration = Duration::from_secs(60);

fn config(node: NodeId) -> Config {
    let address = |id: NodeId| NodeAddress {
        id,
        peer: format!("node-{id}"),
        grpc: String::new(),
        http: String::new(),
        admin: String::new(),
    };
    // Small segments, so that rotation is part of every run.
    let limits = Limits {
        record_bytes: 4 << 10,
        batch_bytes: 32 << 10,
        segment_bytes: 256 << 10,
        hot_tail_bytes: 16 << 10,
        ..Limits::default()
    };
    Config {
        dir: "/data".into(),
        cluster: ClusterId([9; 16]),
        node,
        nodes: NODES.map(address).to_vec(),
        limits,
        timing: Timing { append_timeout: Duration::from_secs(2), ..Timing::default() },
    }
}

/// What a run saw.
#[derive(Default)]
struct History {
    /// (partition, offset) -> (value, virtual second of the ack).
    acked: BTreeMap<(u32, u64), (String, u64)>,
    unknown: BTreeSet<String>,
    refused: BTreeSet<String>,
    leaders: BTreeSet<(u32, NodeId, u64)>,
}

struct Cluster {
    sim: Sim,
    logs: Mutex<BTreeMap<NodeId, Log<SimWorld>>>,
    history: Mutex<History>,
}

impl Cluster {
    fn log(&self, node: NodeId) -> Option<Log<SimWorld>> {
        self.logs.lock().expect("nobody panicked with it").get(&node).cloned()
    }

    async fn start(&self, node: NodeId) {
        let env = if self.sim.is_alive(node) { self.sim.env(node) } else { self.sim.restart(node) };
        let opened: Result<Result<_, OpenError>, _> = self.sim.spawn_on(node, Log::open(config(node), env)).await;
        let log = opened.expect("opening was not cut short").expect("the log opens");
        self.logs.lock().expect("nobody panicked with it").insert(node, log);
    }

    fn stop(&self, node: NodeId, power_cut: bool) {
        self.logs.lock().expect("nobody panicked with it").remove(&node);
        if power_cut { self.sim.power_cut(node) } else { self.sim.kill(node) }
    }

    fn leader(&self, partition: u32) -> Option<NodeId> {
        NODES.into_iter().find(|node| {
            let partition = self.log(*node).and_then(|log| log.partition(TOPIC, partition).ok());
            partition.is_some_and(|partition| partition.info().leader == Some(*node))
        })
    }

    async fn wait(&self, what: &str, ready: impl Fn() -> bool) {
        let deadline = self.sim.elapsed() + Duration::from_secs(20);
        while !ready() {
            assert!(self.sim.elapsed() < deadline, "seed {}: {what} did not happen in time", self.sim.seed());
            self.sim.sleep(Duration::from_millis(10)).await;
        }
    }

    /// One client: appends to one partition, one record after the other, through whichever node leads.
    async fn client(self: Arc<Self>, name: u32, partition: u32) {
        let mut target = NODES[name as usize % NODES.len()];
        let mut number = 0;
        while self.sim.elapsed() < RUN {
            number += 1;
            let value = format!("{name}-{number}-{}", "x".repeat((number % 700) as usize));
            let outcome = self.append(target, partition, value.clone()).await;
            let pause = self.record(&mut target, partition, value, outcome);
            self.sim.sleep(pause).await;
        }
    }

    /// Writes down what happened; returns how long the client rests before it goes on with `target`.
    fn record(&self, target: &mut NodeId, partition: u32, value: String, outcome: Result<Ack, LogError>) -> Duration {
        let mut history = self.history.lock().expect("nobody panicked with it");
        match outcome {
            Ok(ack) => {
                let second = self.sim.elapsed().as_secs();
                let before = history.acked.insert((partition, ack.first_offset), (value, second));
                let offset = ack.first_offset;
                assert_eq!(
                    before,
                    None,
                    "seed {}: {TOPIC}/{partition} acknowledged offset {offset} twice",
                    self.sim.seed()
                );
                history.leaders.insert((partition, *target, ack.term));
                Duration::from_millis(10)
            }
            Err(LogError::UnknownOutcome(_)) => {
                history.unknown.insert(value);
                Duration::from_millis(10)
            }
            Err(error) => {
                history.refused.insert(value);
                *target = match error {
                    LogError::NotLeader { leader: Some(leader), .. } => leader,
                    _ => NODES[*target as usize % NODES.len()],
                };
                Duration::from_millis(20)
            }
        }
    }

    async fn append(&self, target: NodeId, partition: u32, value: String) -> Result<Ack, LogError> {
        let missing = || LogError::Unavailable(format!("node {target} is down"));
        let log = self.log(target).ok_or_else(missing)?;
        let appending = async move { log.partition(TOPIC, partition)?.append(vec![NewRecord::new(value)]).await };
        let cut_short = |_| Err(LogError::UnknownOutcome("the node died".into()));
        self.sim.spawn_on(target, appending).await.unwrap_or_else(cut_short)
    }

    /// Everything a replica has, by its own word.
    async fn dump(&self, node: NodeId, partition: u32) -> Vec<String> {
        let log = self.log(node).expect("running");
        let reading = async move {
            let partition = log.partition(TOPIC, partition)?;
            let mut values: Vec<String> = Vec::new();
            loop {
                let read = partition.read(values.len() as u64, 64 << 10, u32::MAX, Consistency::Stale).await?;
                if read.records.is_empty() {
                    return Ok::<_, LogError>(values);
                }
                for record in read.records {
                    assert_eq!(record.offset, values.len() as u64, "a hole");
                    values.push(String::from_utf8(record.value.to_vec()).expect("values are text"));
                }
            }
        };
        self.sim.spawn_on(node, reading).await.expect("not cut short").expect("reads")
    }
}

async fn scenario(sim: Sim) -> Arc<Cluster> {
    let cluster = Arc::new(Cluster { sim: sim.clone(), logs: Mutex::default(), history: Mutex::default() });
    for node in NODES {
        cluster.start(node).await;
    }
    let log = cluster.log(1).expect("started");
    let new = NewTopic { name: TOPIC.into(), partitions: PARTITIONS, replication: None };
    cluster.wait("node 1 is ready", || log.readiness().iter().all(|check| check.ok)).await;
    sim.spawn_on(1, async move { log.create_topic(new).await })
        .await
        .expect("not cut short")
        .expect("the topic is created");
    cluster.wait("all partitions lead", || (0..PARTITIONS).all(|partition| cluster.leader(partition).is_some())).await;

    let clients: Vec<_> = (0..8).map(|name| SimTasks::spawn(cluster.clone().client(name, name % PARTITIONS))).collect();
    for (second, power_cut) in [(15, false), (35, true)] {
        sim.sleep(Duration::from_secs(second).saturating_sub(sim.elapsed())).await;
        let leader = cluster.leader(0).expect("a leader before the fault");
        sim.trace(format_args!("fault: node {leader}, power cut: {power_cut}"));
        cluster.stop(leader, power_cut);
        assert!(!sim.is_alive(leader), "the fault fired");
        cluster.wait("another node leads", || cluster.leader(0).is_some_and(|new| new != leader)).await;
        sim.sleep(Duration::from_secs(5)).await;
        cluster.start(leader).await;
    }
    for client in clients {
        client.await.expect("clients do not panic");
    }
    let ends = |partition| {
        let end =
            |node| cluster.log(node)?.partition(TOPIC, partition).ok().map(|partition| partition.evolved_offset());
        NODES.map(end)
    };
    let settled = || {
        (0..PARTITIONS).all(|partition| ends(partition).iter().all(|end| end.is_some() && *end == ends(partition)[0]))
    };
    cluster.wait("replicas agree", settled).await;
    cluster
}

/// No lost, doubled or invented record, the same on every replica; and the run was worth checking.
async fn check(cluster: &Cluster) {
    let seed = cluster.sim.seed();
    let mut present = BTreeSet::new();
    let mut total = 0;
    for partition in 0..PARTITIONS {
        let dump = cluster.dump(1, partition).await;
        for node in [2, 3] {
            assert_eq!(
                cluster.dump(node, partition).await,
                dump,
                "seed {seed}: node {node} differs from node 1 in {TOPIC}/{partition}"
            );
        }
        total += dump.len();
        let history = cluster.history.lock().expect("nobody panicked with it");
        for (offset, value) in dump.iter().enumerate() {
            assert!(present.insert(value.clone()), "seed {seed}: {value} is there twice");
            assert!(!history.refused.contains(value), "seed {seed}: {value} was refused and is there");
            let acked = history.acked.get(&(partition, offset as u64));
            assert!(
                acked.is_none_or(|(acked, _)| acked == value),
                "seed {seed}: {TOPIC}/{partition}@{offset} is {value}, acknowledged was {acked:?}"
            );
            assert!(acked.is_some() || history.unknown.contains(value), "seed {seed}: nobody sent {value}");
        }
        let lost = history.acked.keys().find(|(number, offset)| *number == partition && *offset >= dump.len() as u64);
        assert_eq!(lost, None, "seed {seed}: lost");
    }
    let history = cluster.history.lock().expect("nobody panicked with it");
    assert!(total >= history.acked.len());
    for (from, to) in [(0, 15), (15, 20), (20, 35), (35, 40), (40, 60)] {
        let acks = history.acked.values().filter(|(_, second)| (from..to).contains(second)).count();
        assert!(acks > 100, "seed {seed}: only {acks} acks in seconds {from}..{to}");
    }
    let leaders_of_0: BTreeSet<_> =
        history.leaders.iter().filter(|(partition, ..)| *partition == 0).map(|(_, node, _)| node).collect();
    assert!(leaders_of_0.len() >= 2, "seed {seed}: partition 0 never moved");
    let stats = cluster.log(1).expect("running").wal_stats();
    assert!(stats.segment >= 3, "seed {seed}: no rotation, {stats:?}");
}

fn run(seed: u64) -> (u64, usize) {
    let sim = Sim::new(seed);
    let acked = sim.run(async {
        let cluster = scenario(sim.clone()).await;
        check(&cluster).await;
        cluster.history.lock().expect("nobody panicked with it").acked.len()
    });
    (sim.trace_hash(), acked)
}

#[test]
fn acknowledged_records_survive_a_killed_leader_and_one_seed_is_one_run() {
    let first = run(1);
    let second = run(1);
    println!("seed 1: {} acknowledged, trace {:016x}", first.1, first.0);
    assert_eq!(first, second, "the same seed gave two different runs");
    assert_ne!(first.0, run(2).0, "another seed gave the same run");
}

/// As many more seeds as `CORDUROY_SIM_SEEDS` says, from `CORDUROY_SIM_FROM` (100) on; none where it is not set.
#[test]
fn acknowledged_records_survive_under_further_seeds() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of seeds"));
    let (from, seeds) = (number("CORDUROY_SIM_FROM").unwrap_or(100), number("CORDUROY_SIM_SEEDS").unwrap_or(0));
    for seed in from..from + seeds {
        let (trace, acked) = run(seed);
        println!("seed {seed}: {acked} acknowledged, trace {trace:016x}");
    }
}
