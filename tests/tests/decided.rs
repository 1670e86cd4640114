//! Deciders under leaders that come and go: what counts was decided by someone who had seen everything before it, and every event
//! of the source has its effect once.
//!
//! The service is as small as one can be: it adds up what the orders of another topic are worth. Each of its events says what its
//! decider took the sum for, and every replica compares: a decider that went by a state it did not have is caught at once, even
//! where the sums come out right.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use bytes::Bytes;
use corduroy_log::{
    DecidedBatch, Decision, Evolving, Frozen, Log, LogError, Machine, Machines, NewRecord, NewTopic, Table,
    testing::{Sim, SimCluster, SimTasks, SimWorld},
    topic::{NodeId, PartitionId, Term},
};
use openraft_rt::AsyncRuntime;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

const ORDERS: &str = "order";
const LEDGER: &str = "ledger";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Batches a decider has on their way.
const DEPTH: usize = 6;

/// What the ledger folds to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ledger {
    orders: u64,
    worth: u64,
    /// How often a decider added nothing, of its own accord: decisions that no source keeps from being made twice.
    audits: u64,
    /// A decider that took the sum for something else.
    stale: Option<String>,
}

impl Ledger {
    fn encode(&self) -> Vec<u8> {
        [self.orders, self.worth, self.audits].map(u64::to_le_bytes).concat()
    }

    fn decode(state: &[u8]) -> Result<Self, String> {
        let state: &[u8; 24] = state.try_into().map_err(|_| format!("{} bytes", state.len()))?;
        let number = |at: usize| u64::from_le_bytes(state[at..at + 8].try_into().unwrap());
        Ok(Ledger { orders: number(0), worth: number(8), audits: number(16), stale: None })
    }

    fn is(&self, other: &Ledger) -> bool {
        (self.orders, self.worth, self.audits) == (other.orders, other.worth, other.audits)
    }
}

/// A replica's.
#[derive(Clone, Default)]
struct Replica(Arc<Mutex<Ledger>>);

impl Replica {
    fn get(&self) -> Ledger {
        self.0.lock().unwrap().clone()
    }
}

impl Machine for Replica {
    fn evolve(&mut self, Evolving { id, batch, .. }: Evolving<'_>) {
        let mut ledger = self.0.lock().unwrap();
        let believed = Ledger::decode(&batch.effects()).unwrap();
        if !believed.is(&ledger) && ledger.stale.is_none() {
            ledger.stale = Some(format!("{id}: decided on {believed:?}, it is {ledger:?}"));
        }
        ledger.audits += u64::from(batch.records() == 0);
        for event in batch.decode(0).unwrap() {
            ledger.orders += 1;
            ledger.worth += u64::from_le_bytes(event.value[..].try_into().unwrap());
        }
    }

    fn freeze(&mut self) -> Frozen {
        let ledger = self.get();
        Frozen::in_memory(move || ledger.encode().into())
    }

    fn check(&self, state: &[u8], _: Option<&Table>) -> Result<(), String> {
        Ledger::decode(state).map(drop)
    }

    fn install(&mut self, state: &[u8], _: Option<Table>) -> Result<(), String> {
        *self.0.lock().unwrap() = Ledger::decode(state)?;
        Ok(())
    }
}

/// The ledgers of all nodes that run, each as its partition was last opened.
#[derive(Clone, Default)]
struct Replicas(Arc<Mutex<BTreeMap<NodeId, Replica>>>);

impl Replicas {
    fn machines(&self, node: NodeId) -> Machines {
        let replicas = self.0.clone();
        Machines::new(move |topic, _| {
            let replica = Replica::default();
            replicas.lock().unwrap().insert(node, replica.clone());
            (topic == LEDGER).then(|| Box::new(replica) as Box<dyn Machine>)
        })
    }

    fn of(&self, node: NodeId) -> Option<Replica> {
        self.0.lock().unwrap().get(&node).cloned()
    }
}

#[derive(Default)]
struct Seen {
    counted: AtomicU64,
    void: AtomicU64,
    lost: AtomicU64,
    terms: Mutex<Vec<Term>>,
}

/// Decides on a node for as long as it runs, in every term it leads.
async fn decider(sim: Sim, log: Log<SimWorld>, replicas: Replicas, seen: Arc<Seen>, seed: u64) {
    loop {
        sim.sleep(5 * MS).await;
        let (Ok(ledger), Some(replica)) = (log.partition(LEDGER, 0), replicas.of(log.node())) else { continue };
        let Some(term) = ledger.leads() else { continue };
        // The number first: whatever evolves after it was read makes what is decided now void.
        let mut sequence = ledger.next_decided(term);
        let orders = log.topics().into_iter().find(|topic| topic.name == ORDERS).unwrap().id;
        let source = PartitionId::new(orders, 0);
        let mut from = ledger.source(source);
        let mut head = replica.get();
        let (sender, mut events) = mpsc::channel(2);
        let mut subscription = log.subscribe(ORDERS, 0, from).unwrap();
        drop(SimTasks::spawn(async move {
            while let Ok(batches) = subscription.next().await {
                if sender.send(batches).await.is_err() {
                    return;
                }
            }
        }));
        let mut answers = VecDeque::new();
        let mut whole = true;
        while whole && ledger.leads() == Some(term) {
            let batches = match SimTasks::timeout(50 * MS, events.recv()).await {
                Ok(Some(batches)) => batches,
                Ok(None) => break,
                Err(_) => {
                    while let Some(answer) = answers.pop_front() {
                        whole &= note(&seen, term, answer.await);
                    }
                    continue;
                }
            };
            for placed in batches {
                let amounts: Vec<Bytes> = placed.records(from).unwrap().into_iter().map(|order| order.value).collect();
                let batch = DecidedBatch {
                    term,
                    sequence,
                    time: ledger.log_time(),
                    sources: [(source, from..placed.end())].into(),
                    effects: head.encode().into(),
                    events: amounts.iter().map(|amount| NewRecord::new(amount.clone())).collect(),
                };
                if (sequence + seed) % 40 == 39 {
                    // Between deciding and proposing a lead may be lost, and won again.
                    sim.sleep(300 * MS).await;
                }
                let Ok(answer) = ledger.decide(&batch).await else {
                    whole = false;
                    break;
                };
                answers.push_back(answer);
                (sequence, from) = (sequence + 1, placed.end());
                head.orders += amounts.len() as u64;
                head.worth += amounts.iter().map(|a| u64::from_le_bytes(a[..].try_into().unwrap())).sum::<u64>();
            }
            let audit = DecidedBatch {
                term,
                sequence,
                time: ledger.log_time(),
                effects: head.encode().into(),
                ..DecidedBatch::default()
            };
            match ledger.decide(&audit).await {
                Ok(answer) => answers.push_back(answer),
                Err(_) => break,
            }
            (sequence, head.audits) = (sequence + 1, head.audits + 1);
            while answers.len() > DEPTH && whole {
                whole = note(&seen, term, answers.pop_front().unwrap().await);
            }
        }
        for answer in answers {
            note(&seen, term, answer.await);
        }
    }
}

fn note(seen: &Seen, term: Term, answer: Result<Decision, LogError>) -> bool {
    let counter = match &answer {
        Ok(Decision::Counts { .. }) => &seen.counted,
        Ok(Decision::Void(_)) => &seen.void,
        Err(_) => &seen.lost,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    seen.terms.lock().unwrap().push(term);
    matches!(answer, Ok(Decision::Counts { .. }))
}

struct Shop {
    sim: Sim,
    cluster: SimCluster,
    replicas: Replicas,
    seen: Arc<Seen>,
    seed: u64,
}

impl Shop {
    async fn open(sim: &Sim, seed: u64) -> Self {
        let replicas = Replicas::default();
        let all = replicas.clone();
        let cluster = SimCluster::with_config(sim, 3, move |config| {
            config.machines = all.machines(config.node);
            config.timing.checkpoint_interval = 2 * SECOND;
        });
        cluster.start().await;
        for topic in [ORDERS, LEDGER] {
            cluster.create_topic(NewTopic::new(topic, 1)).await.unwrap();
        }
        let shop = Shop { sim: sim.clone(), cluster, replicas, seen: Arc::default(), seed };
        (1..=3).for_each(|node| shop.decide_on(node));
        shop
    }

    /// Starts the decider of a node. Node 2 has two, that know nothing of each other.
    fn decide_on(&self, node: NodeId) {
        for _ in 0..if node == 2 { 2 } else { 1 } {
            let (sim, replicas, seen, seed) = (self.sim.clone(), self.replicas.clone(), self.seen.clone(), self.seed);
            drop(self.cluster.on(node, async move |log| decider(sim, log, replicas, seen, seed).await));
        }
    }

    async fn restart(&self, node: NodeId) {
        self.cluster.restart(node).await.unwrap();
        self.decide_on(node);
    }

    /// Every replica's ledger, once all orders are in it.
    async fn settled(&self, orders: u64) -> Vec<Ledger> {
        let began = self.sim.elapsed();
        loop {
            let ledgers: Vec<_> = (1..=3).map(|node| self.replicas.of(node).unwrap().get()).collect();
            if let Some(stale) = ledgers.iter().find_map(|ledger| ledger.stale.clone()) {
                panic!("seed {}: {stale}", self.seed);
            }
            if ledgers.iter().all(|ledger| ledger.orders >= orders) {
                return ledgers;
            }
            let waited = self.sim.elapsed() - began;
            assert!(waited < 60 * SECOND, "seed {}: {orders} orders, {ledgers:?}", self.seed);
            self.sim.sleep(20 * MS).await;
        }
    }
}

/// Orders come all the time; what they are worth is told apart by its bits.
async fn place_orders(cluster: SimCluster, stop: Arc<AtomicBool>, placed: Arc<Mutex<Vec<u64>>>) {
    while !stop.load(Ordering::Relaxed) {
        let worth = 1 + placed.lock().unwrap().len() as u64 * 3;
        let expected = cluster.append(ORDERS, 0, vec![NewRecord::new(worth.to_le_bytes().to_vec())]).await;
        // One whose outcome is unknown may be there or not: the log says in the end.
        if expected.is_ok() {
            placed.lock().unwrap().push(worth);
        }
        cluster.sim().sleep(8 * MS).await;
    }
}

#[test]
fn every_order_is_counted_once_whoever_decides() {
    let (mut void, mut lost, mut terms) = (0, 0, 0);
    for seed in 0..8 {
        let sim = Sim::seed(seed);
        let seen = sim.run(async {
            let shop = Shop::open(&sim, seed).await;
            let (stop, placed) = (Arc::new(AtomicBool::new(false)), Arc::default());
            let customers = SimTasks::spawn(place_orders(shop.cluster.clone(), stop.clone(), placed));
            sim.sleep(SECOND).await;
            for round in 0..6 {
                let leader = shop.cluster.await_leader(LEDGER, 0).await;
                match (round + seed) % 4 {
                    0 => {
                        shop.cluster.kill(leader);
                        sim.sleep(SECOND).await;
                        shop.restart(leader).await;
                    }
                    1 => {
                        shop.cluster.power_cut(leader);
                        sim.sleep(SECOND).await;
                        shop.restart(leader).await;
                    }
                    2 => {
                        // It goes on deciding, and comes back as one that was deposed.
                        let others = (1..=3).filter(|node| *node != leader);
                        others.clone().for_each(|other| sim.cut(leader, other));
                        sim.sleep(2 * SECOND).await;
                        others.for_each(|other| sim.heal(leader, other));
                    }
                    _ => {
                        shop.cluster.pause(leader);
                        sim.sleep(2 * SECOND).await;
                        shop.cluster.resume(leader);
                    }
                }
                sim.sleep(SECOND).await;
            }
            stop.store(true, Ordering::Relaxed);
            let mut customers = std::pin::pin!(customers);
            SimTasks::timeout(60 * SECOND, &mut customers).await.unwrap().unwrap();
            shop.cluster.ready().await;
            let leader = shop.cluster.await_leader(ORDERS, 0).await;
            let orders = shop.cluster.on(leader, async |log| {
                let partition = log.partition(ORDERS, 0)?;
                let mut worth = Vec::new();
                loop {
                    let at = worth.len() as u64;
                    let read = partition.read(at, 1 << 20, 10_000, corduroy_log::Consistency::Linearizable).await?;
                    if read.records.is_empty() {
                        return Ok::<_, LogError>(worth);
                    }
                    worth.extend(
                        read.records.iter().map(|order| u64::from_le_bytes(order.value[..].try_into().unwrap())),
                    );
                }
            });
            let orders = orders.await.unwrap().unwrap();
            assert!(orders.len() > 300, "seed {seed}: only {} orders were placed", orders.len());
            let (count, worth) = (orders.len() as u64, orders.iter().sum::<u64>());
            for ledger in shop.settled(count).await {
                assert_eq!((ledger.orders, ledger.worth), (count, worth), "seed {seed}");
            }
            shop.seen.clone()
        });
        assert!(seen.counted.load(Ordering::Relaxed) > 100, "seed {seed}: little was decided");
        void += seen.void.load(Ordering::Relaxed);
        lost += seen.lost.load(Ordering::Relaxed);
        let mut led = seen.terms.lock().unwrap().clone();
        led.dedup();
        terms += led.len();
    }
    assert!(void > 0 && lost > 0 && terms > 16, "{void} void, {lost} lost, {terms} terms: nothing was put to the test");
}
