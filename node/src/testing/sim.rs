//! A cluster with services in a simulated world: whole nodes but for their ports, from one seed.
use crate::runtime::{Answered, AnyHost, CommandError, CommandOptions, Keep, Registry, Service, Services, Ticket};
use corduroy_log::{
    Config, Log,
    testing::{Sim as World, SimCluster, SimWorld, TaskError},
    topic::NodeId,
};
use corduroy_proto::runtime::StoredCommand;
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Bound on everything that is waited for, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A partition of a service.
type At = (&'static str, u32);
/// Node, end and hash of a replica.
type Standing = (NodeId, u64, u64);

/// Bytes of state that may have changed before there is a table: so few that there are tables in every run.
const CHANGES: u64 = 1 << 10;

type Registries = Arc<Mutex<BTreeMap<NodeId, Registry<SimWorld>>>>;

/// Nodes 1 to n that carry services, each on its simulated machine. Clones are the same cluster.
///
/// ```
/// # use corduroy_node::{runtime::*, testing::Sim};
/// # #[derive(Default)]
/// # struct Counter;
/// # impl Service for Counter {
/// #     const NAME: &'static str = "counter";
/// #     type State = u64;
/// #     type Partition = ();
/// #     type Event = u64;
/// #     type Command = u64;
/// #     type Reply = u64;
/// #     fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
/// #         cx.emit(input.key, *input.command);
/// #         cx.reply(head.get(input.key).unwrap_or_default() + input.command);
/// #         Ok(())
/// #     }
/// #     fn evolve(state: &mut Option<u64>, _key: &str, event: &u64, _at: At) {
/// #         *state = Some(state.unwrap_or_default() + event);
/// #     }
/// # }
/// Sim::seed(7).run(async |sim| {
///     let cluster = sim.cluster(3, |node| node.service(Counter)).await;
///     assert_eq!(cluster.command::<Counter>("a", &2).await.unwrap().value, 2);
///
///     // Whoever leads: what was answered is there.
///     cluster.kill(cluster.leader::<Counter>("a").await);
///     assert_eq!(cluster.command::<Counter>("a", &3).await.unwrap().value, 5);
/// });
/// ```
#[derive(Clone)]
pub struct SimServices {
    cluster: SimCluster,
    registries: Registries,
    ids: Arc<AtomicU64>,
}

impl fmt::Debug for SimServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimServices").field(&self.cluster).finish()
    }
}

/// A simulated world, by its seed.
#[derive(Clone, Debug)]
pub struct Sim(World);

impl Sim {
    /// The world of a seed.
    pub fn seed(seed: u64) -> Self {
        Sim(World::seed(seed))
    }

    /// Runs a test in it, in virtual time.
    pub fn run<T>(&self, test: impl AsyncFnOnce(&Sim) -> T) -> T {
        self.0.run(test(self))
    }

    /// The world: its machines, disks and network, for faults.
    pub fn world(&self) -> &World {
        &self.0
    }

    /// Starts a cluster, each node of which has the services that `services` adds to its empty registry.
    ///
    /// # Panics
    /// When it is not ready within a virtual minute.
    pub async fn cluster(
        &self,
        nodes: u64,
        services: impl Fn(Registry<SimWorld>) -> Registry<SimWorld> + Send + Sync + 'static,
    ) -> SimServices {
        self.cluster_with(nodes, services, |_| {}).await
    }

    /// As [`Sim::cluster`], with other configurations than the default one.
    pub async fn cluster_with(
        &self,
        nodes: u64,
        services: impl Fn(Registry<SimWorld>) -> Registry<SimWorld> + Send + Sync + 'static,
        adjust: impl Fn(&mut Config) + Send + Sync + 'static,
    ) -> SimServices {
        let registries = Registries::default();
        let made = registries.clone();
        let cluster = SimCluster::with_config(&self.0, nodes, move |config| {
            adjust(config);
            let keep = Keep { changes: CHANGES, ..Keep::default() };
            let registry = services(Registry::default().keep(keep));
            registry.install(config);
            lock(&made).insert(config.node, registry);
        });
        let cluster = SimServices { cluster, registries, ids: Arc::new(AtomicU64::new(1)) };
        for node in cluster.cluster.nodes() {
            cluster.restart(node).await;
        }
        cluster.ready().await;
        cluster
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

fn lock(registries: &Registries) -> MutexGuard<'_, BTreeMap<NodeId, Registry<SimWorld>>> {
    registries.lock().expect("a map")
}

impl SimServices {
    /// The logs below.
    pub fn logs(&self) -> &SimCluster {
        &self.cluster
    }

    /// Starts a node on the disk it has; one that runs is killed before.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self, node: NodeId) {
        let log = match self.cluster.restart(node).await {
            Ok(log) => log,
            Err(error) => panic!("node {node} does not start: {error}"),
        };
        let registry = lock(&self.registries).get(&node).expect("it was made when the node was started").clone();
        let started = self.cluster.sim().spawn_on(node, async move { registry.start(&log) });
        drop(started.await);
    }

    /// The process ends, the machine stays.
    pub fn kill(&self, node: NodeId) {
        self.cluster.kill(node);
    }

    /// What was not synced may be gone.
    pub fn power_cut(&self, node: NodeId) {
        self.cluster.power_cut(node);
    }

    /// The process stands still until [`SimServices::resume`].
    pub fn pause(&self, node: NodeId) {
        self.cluster.pause(node);
    }

    /// See [`SimServices::pause`].
    pub fn resume(&self, node: NodeId) {
        self.cluster.resume(node);
    }

    /// Waits until every node that runs is ready, and all topics of its services are there.
    ///
    /// # Panics
    /// When that takes more than a virtual minute.
    pub async fn ready(&self) {
        let there = || {
            self.cluster.running().into_iter().all(|node| {
                let Some(log) = self.cluster.log(node) else { return true };
                let names = lock(&self.registries).get(&node).map(Registry::names).unwrap_or_default();
                let topics = log.topics();
                names.iter().all(|name| topics.iter().any(|topic| topic.name == *name))
            })
        };
        let deadline = self.cluster.sim().elapsed() + PATIENCE;
        while !there() {
            assert!(self.cluster.sim().elapsed() < deadline, "topics of services are missing");
            self.cluster.sim().sleep(LOOK).await;
        }
        self.cluster.ready().await;
    }

    /// Who leads the partition of a key.
    pub async fn leader<S: Service>(&self, key: &str) -> NodeId {
        let partitions = self.any().await.partitions(S::NAME).expect("a service of the cluster");
        self.cluster.await_leader(S::NAME, crate::runtime::partition_of(key, partitions)).await
    }

    async fn any(&self) -> Services<SimWorld> {
        let node = self.cluster.running().first().copied().expect("a node runs");
        Services::new(lock(&self.registries).get(&node).expect("it was started"))
    }

    /// Does something with the services as a client of this node. `None`: the node ended before, or does not run.
    ///
    /// # Panics
    /// When the work does.
    pub async fn on<T, F>(&self, node: NodeId, work: impl FnOnce(Services<SimWorld>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let registry = lock(&self.registries).get(&node)?.clone();
        match self.cluster.on(node, move |_: Log<SimWorld>| work(Services::new(&registry))).await {
            Ok(done) => Some(done),
            Err(TaskError::Cancelled) => None,
            Err(TaskError::Panicked(message)) => panic!("{message}"),
        }
    }

    /// An id nobody else has.
    pub fn id(&self) -> Ticket {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.ids.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Ticket(id)
    }

    /// A command of a client that asks one node after the other until it knows, always under the same id.
    ///
    /// # Errors
    /// A refusal, and what is still unknown after a virtual minute.
    pub async fn command<S: Service>(
        &self,
        key: &str,
        command: &S::Command,
    ) -> Result<Answered<S::Reply>, CommandError> {
        self.command_as::<S>(self.id(), key, command).await
    }

    /// The same, under an id of the caller's choice.
    ///
    /// # Errors
    /// As [`SimServices::command`].
    pub async fn command_as<S: Service>(
        &self,
        id: Ticket,
        key: &str,
        command: &S::Command,
    ) -> Result<Answered<S::Reply>, CommandError> {
        let sim = self.cluster.sim();
        let deadline = sim.elapsed() + PATIENCE;
        let options = CommandOptions { by_client: true, patience: Duration::from_secs(20), ..CommandOptions::new(id) };
        for turn in 0.. {
            let running = self.cluster.running();
            let answer = match running.get((turn + id.0[15] as usize) % running.len().max(1)) {
                Some(node) => {
                    let (key, command, options) = (key.to_owned(), command.clone(), options.clone());
                    let ask =
                        async move |services: Services<SimWorld>| services.command::<S>(&key, &command, &options).await;
                    self.on(*node, ask).await
                }
                None => None,
            };
            match answer {
                Some(answer @ (Ok(_) | Err(CommandError::Refused(_) | CommandError::Mismatch))) => return answer,
                Some(Err(error)) if sim.elapsed() >= deadline => return Err(error),
                None if sim.elapsed() >= deadline => return Err(CommandError::Unknown("no node runs".into())),
                Some(Err(_)) | None => sim.sleep(LOOK).await,
            }
        }
        unreachable!("there is no end of numbers")
    }

    /// Waits until nothing happens any more: every partition of every service has read its sources to their ends, and all replicas
    /// are where the others are. Returns the hash of each partition's state, equal on all nodes.
    ///
    /// # Panics
    /// When it does not come to rest within a virtual minute, and when replicas differ.
    pub async fn rest(&self) -> BTreeMap<At, u64> {
        let sim = self.cluster.sim();
        let deadline = sim.elapsed() + PATIENCE;
        let (mut before, mut same) = (None, 0);
        loop {
            sim.sleep(Duration::from_millis(250)).await;
            let now = self.states();
            let at_ends = now.values().all(|replicas| replicas.windows(2).all(|pair| pair[0].1 == pair[1].1));
            same = if at_ends && before.as_ref() == Some(&now) { same + 1 } else { 0 };
            if same >= 4 && self.all_read() {
                let of = |(at, replicas): (&At, &Vec<Standing>)| {
                    let hash = replicas.first().map_or(0, |replica| replica.2);
                    let equal = replicas.iter().all(|replica| replica.2 == hash);
                    assert!(equal, "seed {}: the replicas of {at:?} differ: {replicas:x?}", sim.drawn_from());
                    (*at, hash)
                };
                return now.iter().map(of).collect();
            }
            assert!(sim.elapsed() < deadline, "seed {}: it does not come to rest: {now:x?}", sim.drawn_from());
            before = Some(now);
        }
    }

    /// The commands every partition remembers on one node, with where their answers are.
    pub fn remembered(&self, node: NodeId) -> BTreeMap<At, Vec<StoredCommand>> {
        let Some(registry) = lock(&self.registries).get(&node).cloned() else { return BTreeMap::new() };
        let of = |host: &Arc<dyn AnyHost<SimWorld>>| {
            let name = host.name();
            host.remembered().into_iter().map(move |(partition, commands)| ((name, partition), commands))
        };
        registry.hosts().flat_map(of).collect()
    }

    /// Node, end and hash of every replica of every partition.
    fn states(&self) -> BTreeMap<At, Vec<Standing>> {
        let mut states: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for node in self.cluster.running() {
            let Some(registry) = lock(&self.registries).get(&node).cloned() else { continue };
            for host in registry.hosts() {
                for (partition, end, hash) in host.hashes() {
                    states.entry((host.name(), partition)).or_default().push((node, end, hash));
                }
            }
        }
        states
    }

    /// Whether every source was read to its end, by all that read it.
    fn all_read(&self) -> bool {
        let ends: BTreeMap<_, u64> = self
            .cluster
            .running()
            .into_iter()
            .filter_map(|node| self.cluster.log(node))
            .flat_map(|log| log.partitions())
            .map(|partition| (partition.id(), partition.evolved_offset()))
            .collect();
        let logs = self.cluster.running().into_iter().filter_map(|node| self.cluster.log(node));
        let cursors = logs.flat_map(|log| log.partitions()).flat_map(|partition| partition.sources());
        let mut cursors = cursors;
        cursors.all(|(source, at)| ends.get(&source).is_none_or(|end| at >= *end))
    }

    /// The state of a partition's aggregates on one node, by key, without asking anybody else.
    pub async fn aggregates<S: Service>(&self, node: NodeId) -> BTreeMap<String, S::State> {
        let found = self.on(node, async |services: Services<SimWorld>| {
            let mut all = BTreeMap::new();
            for partition in 0..services.partitions(S::NAME).unwrap_or_default() {
                let mut after = String::new();
                loop {
                    let stale = corduroy_log::Consistency::Stale;
                    let Ok(page) = services.scan::<S>(partition, "", &after, 1000, stale).await else { break };
                    let (aggregates, more) = page.value;
                    after = aggregates.last().map_or(after, |(key, _)| key.clone());
                    all.extend(aggregates);
                    if !more {
                        break;
                    }
                }
            }
            all
        });
        found.await.unwrap_or_default()
    }
}
