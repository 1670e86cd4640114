//! A cluster in a simulated world, for tests of what is built on the log.
use super::{Sim, SimTasks, SimWorld, TaskError, TaskHandle, lock};
use crate::{
    config::{Config, NodeAddress},
    error::{LogError, OpenError},
    log::{Log, NewTopic, Topic},
    partition::Ack,
    record::NewRecord,
    topic::{ClusterId, NodeId},
};
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Bound on everything a [`SimCluster`] waits for, in virtual time. What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks whether what it waits for has come.
const LOOK: Duration = Duration::from_millis(10);

/// Nodes 1 to n, each with a log on its simulated machine. Clones are the same cluster.
///
/// Methods that start, stop or wait are called inside [`Sim::run`], from the test: a node does not restart itself.
///
/// # Example
/// A service that appends to the log survives the crash of the leader it used:
/// ```
/// use corduroy_log::{Consistency, NewRecord, NewTopic, testing::{SimCluster, Sim}};
///
/// let sim = Sim::seed(7);
/// sim.run(async {
///     let cluster = SimCluster::new(&sim, 3);
///     cluster.start().await;
///     cluster.create_topic(NewTopic::new("order", 1)).await.unwrap();
///
///     let first = cluster.append("order", 0, vec![NewRecord::new("before")]).await.unwrap();
///     let leader = cluster.await_leader("order", 0).await;
///     cluster.power_cut(leader);
///     let second = cluster.append("order", 0, vec![NewRecord::new("after")]).await.unwrap();
///     assert_eq!((first.first_offset, second.first_offset), (0, 1));
///
///     cluster.restart(leader).await.unwrap();
///     cluster.ready().await;
///     let read = cluster.on(leader, async |log| {
///         log.partition("order", 0)?.read(0, 1 << 20, 100, Consistency::Linearizable).await
///     });
///     assert_eq!(read.await.expect("the node lives").unwrap().records.len(), 2);
/// });
/// ```
#[derive(Clone)]
pub struct SimCluster {
    inner: Arc<Inner>,
}

type Adjust = Box<dyn Fn(&mut Config) + Send + Sync>;

struct Inner {
    sim: Sim,
    addresses: Vec<NodeAddress>,
    adjust: Adjust,
    logs: Mutex<BTreeMap<NodeId, Log<SimWorld>>>,
}

impl fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCluster").field("nodes", &self.nodes()).finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its log does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It died while it opened its log.
    #[error("the node died while it opened its log")]
    Died,
}

impl SimCluster {
    /// A cluster with default limits and times. No node runs yet.
    pub fn new(sim: &Sim, nodes: u64) -> Self {
        Self::with_config(sim, nodes, |_| {})
    }

    /// A cluster with settings of the caller's choice. `adjust` is given the default configuration of a node whenever that is
    /// started; it should leave `node` and `nodes` alone.
    pub fn with_config(sim: &Sim, nodes: u64, adjust: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        let addresses = (1..=nodes).map(|id| NodeAddress::new(id, format!("node-{id}"))).collect();
        let inner = Inner { sim: sim.clone(), addresses, adjust: Box::new(adjust), logs: Mutex::default() };
        SimCluster { inner: Arc::new(inner) }
    }

    /// The world it is in.
    pub fn sim(&self) -> &Sim {
        &self.inner.sim
    }

    /// The nodes, running or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.inner.addresses.iter().map(|node| node.id).collect()
    }

    /// Starts every node that does not run, and waits until all are ready for traffic.
    ///
    /// # Panics
    /// When a node does not start, or is not ready within a virtual minute.
    pub async fn start(&self) {
        for node in self.nodes() {
            if self.log(node).is_none()
                && let Err(error) = self.restart(node).await
            {
                panic!("seed {}: node {node} does not start: {error}", self.sim().drawn_from());
            }
        }
        self.ready().await;
    }

    /// Starts a node on the disk it has; one that runs is killed before. Returns when its log is open, which is before it
    /// is ready: see [`SimCluster::ready`].
    pub async fn restart(&self, node: NodeId) -> Result<Log<SimWorld>, StartError> {
        let sim = self.sim();
        let started = lock(&self.inner.logs).remove(&node).is_some();
        let env = if started || !sim.is_alive(node) { sim.restart(node) } else { sim.env(node) };
        let mut config = Config::new("/data", ClusterId([9; 16]), node, self.inner.addresses.clone());
        (self.inner.adjust)(&mut config);
        let opened = sim.spawn_on(node, Log::open(config, env)).await;
        let log = opened.map_err(|_| StartError::Died)??;
        lock(&self.inner.logs).insert(node, log.clone());
        Ok(log)
    }

    /// [`Sim::kill`]: the process ends, the machine stays.
    pub fn kill(&self, node: NodeId) {
        self.forget(node);
        self.sim().kill(node);
    }

    /// [`Sim::power_cut`]: what was not synced may be gone.
    pub fn power_cut(&self, node: NodeId) {
        self.forget(node);
        self.sim().power_cut(node);
    }

    /// [`Sim::pause`]: the process stands still until [`SimCluster::resume`].
    pub fn pause(&self, node: NodeId) {
        self.sim().pause(node);
    }

    /// [`Sim::resume`].
    pub fn resume(&self, node: NodeId) {
        self.sim().resume(node);
    }

    /// The handle is dropped outside of the lock, like everything that may run a destructor.
    fn forget(&self, node: NodeId) {
        let log = lock(&self.inner.logs).remove(&node);
        drop(log);
    }

    /// The log of a node that runs. `None`: it was not started, was killed, or has halted ([`Sim::halted`] says why).
    pub fn log(&self, node: NodeId) -> Option<Log<SimWorld>> {
        if !self.sim().is_alive(node) {
            return None;
        }
        lock(&self.inner.logs).get(&node).cloned()
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<NodeId> {
        self.nodes().into_iter().filter(|node| self.log(*node).is_some()).collect()
    }

    /// Who leads a partition by its own word. After a crash or a cut that may be nobody, or, for as long as a lease lasts,
    /// one that others no longer follow; of two, the one with the higher term is named.
    pub fn leader(&self, topic: &str, partition: u32) -> Option<NodeId> {
        let leads = |node: NodeId| {
            let info = self.log(node)?.partition(topic, partition).ok()?.info();
            (info.leader == Some(node)).then_some((info.term, node))
        };
        self.nodes().into_iter().filter_map(leads).max().map(|(_, node)| node)
    }

    /// Waits until somebody leads.
    ///
    /// # Panics
    /// When nobody does within a virtual minute.
    pub async fn await_leader(&self, topic: &str, partition: u32) -> NodeId {
        self.wait(&format!("a leader of {topic}/{partition}"), || self.leader(topic, partition)).await
    }

    /// Waits until every node that runs is ready for traffic.
    ///
    /// # Panics
    /// When that takes more than a virtual minute, with what is not ready.
    pub async fn ready(&self) {
        let unready = || {
            let of = |node| self.log(node).map(|log| log.readiness()).unwrap_or_default().into_iter();
            let checks = self.running().into_iter().flat_map(|node| of(node).map(move |check| (node, check)));
            checks.filter(|(_, check)| !check.ok).map(|(node, check)| format!("{check:?} on node {node}")).next()
        };
        let deadline = self.sim().elapsed() + PATIENCE;
        while let Some(unready) = unready() {
            assert!(self.sim().elapsed() < deadline, "seed {}: not ready: {unready}", self.sim().drawn_from());
            self.sim().sleep(LOOK).await;
        }
    }

    async fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = self.sim().elapsed() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(self.sim().elapsed() < deadline, "seed {}: {what} did not come", self.sim().drawn_from());
            self.sim().sleep(LOOK).await;
        }
    }

    /// Runs something with a node's log, as that node: it ends when the node does. [`TaskError::Cancelled`] says so, also
    /// where the node does not run.
    pub fn on<T, F>(&self, node: NodeId, work: impl FnOnce(Log<SimWorld>) -> F) -> TaskHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        match self.log(node) {
            Some(log) => self.sim().spawn_on(node, work(log)),
            None => TaskHandle::cancelled(),
        }
    }

    /// Creates a topic at any running node and waits until each of its partitions has a leader.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Topic, LogError> {
        let nobody = || LogError::Unavailable("no node runs".into());
        let node = self.running().first().copied().ok_or_else(nobody)?;
        let created = self.on(node, async |log: Log<SimWorld>| log.create_topic(new).await).await;
        let topic = created.unwrap_or_else(|_| Err(died(node)))?;
        for partition in 0..topic.partitions.len() as u32 {
            self.await_leader(&topic.name, partition).await;
        }
        Ok(topic)
    }

    /// Appends at whoever leads. Refusals that mean "ask the leader" or "later" are tried again for up to a virtual minute;
    /// an unknown outcome is not, because it may have happened.
    pub async fn append(&self, topic: &str, partition: u32, records: Vec<NewRecord>) -> Result<Ack, LogError> {
        let deadline = self.sim().elapsed() + PATIENCE;
        loop {
            let leader = self.await_leader(topic, partition).await;
            let (name, records) = (topic.to_owned(), records.clone());
            let appended =
                self.on(leader, async move |log: Log<SimWorld>| log.partition(&name, partition)?.append(records).await);
            match appended.await {
                Ok(Err(LogError::NotLeader { .. } | LogError::Busy { .. } | LogError::Unavailable(_)))
                    if self.sim().elapsed() < deadline =>
                {
                    SimTasks::sleep(LOOK).await;
                }
                Ok(outcome) => return outcome,
                Err(TaskError::Cancelled) => return Err(died(leader)),
                Err(TaskError::Panicked(message)) => panic!("seed {}: {message}", self.sim().drawn_from()),
            }
        }
    }
}

fn died(node: NodeId) -> LogError {
    LogError::UnknownOutcome(format!("node {node} died before it answered"))
}
