//! The log of one node: the entry point of the crate.
use crate::{
    cluster::{CLUSTER_TOPIC, ClusterMap, Controller, DataDir, Hosted, Leads, RUNNING, topic},
    config::{Config, Limits, NodeAddress, Timing},
    error::{LogError, OpenError},
    feed::{Lines, Subscription},
    health::{self, Budget, Processes, Vitals},
    partition::{Checkpoints, Consistency, Host, Owner, Partition, Policy, Role, Scheduler},
    peer::{self, Directory, Peers, Serving},
    raft,
    topic::{ClusterId, Format, NodeId, Offset, PartitionId},
    view::{View, ViewSet, ViewStatus, states::States, topics::Topics},
    wal::{DiskSpace, Identity, SupplyOptions, Wal, WalOptions, WalStats},
    world::{Connection, Env, Net, Rng, Tasks as _, World},
};
use openraft_rt::{AsyncRuntime, Select2};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// How often it is looked whether a node is ready.
const LOOK: Duration = Duration::from_millis(5);

/// A topic of the cluster map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its number; never used again.
    pub id: u32,
    /// Replicas of each partition, in order; the first one is meant to lead at the start.
    pub partitions: Vec<Vec<NodeId>>,
    /// Replicas per partition.
    pub replication: u32,
    /// Whether each partition knows where its keys have their last records.
    pub key_index: bool,
    /// The nodes that carry this service carry the topic; `None`: all do.
    pub service: Option<String>,
}

/// What to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Up to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit.
    pub name: String,
    /// At least 1; fixed for the life of the topic.
    pub partitions: u32,
    /// `None`: 3, or the number of nodes where there are fewer.
    pub replication: Option<u32>,
    /// Keep where each key has its last record, for [`Partition::append_if_key`]. Costs memory for every key.
    pub key_index: bool,
    /// Only nodes that carry this service get replicas; `None`: any node.
    pub service: Option<String>,
}

impl NewTopic {
    /// A topic with this name and so many partitions, and everything else as usual.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        NewTopic { name: name.into(), partitions, replication: None, key_index: false, service: None }
    }
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// What is checked: `cluster`, `peer 2`, `order/3`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// The state, for a person.
    pub detail: String,
}

/// A node's log. Clones are the same log.
///
/// Dropping the last clone does not stop it: call [`Log::shutdown`].
pub struct Log<W: World> {
    inner: Arc<Inner<W>>,
}

struct Inner<W: World> {
    config: Config,
    env: Env<W>,
    boot_epoch: u64,
    wal: Wal<W>,
    peers: Arc<Peers<W>>,
    lines: Lines<W>,
    checkpoints: Scheduler<W>,
    views: ViewSet<W>,
    hosted: Arc<Hosted<W>>,
    map: Arc<ClusterMap>,
    controller: Arc<Controller<W>>,
    vitals: Arc<Vitals<W>>,
    leads: Arc<Leads<W>>,
    stopping: Arc<Stopping>,
}

/// Tells the tasks of a log that it is closed.
#[derive(Default)]
struct Stopping {
    flag: AtomicBool,
    changed: Notify,
}

impl Stopping {
    async fn wait(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !self.flag.load(Ordering::Acquire) {
            changed.await;
        }
    }
}

impl<W: World> Clone for Log<W> {
    fn clone(&self) -> Self {
        Log { inner: self.inner.clone() }
    }
}

impl<W: World> fmt::Debug for Log<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("node", &self.inner.config.node).finish_non_exhaustive()
    }
}

impl<W: World> Log<W> {
    /// Opens the data directory, recovers the WAL and begins to serve peers. Returns at once: joining, electing leaders
    /// and opening partitions go on in the background, and [`Log::readiness`] says how far they are.
    pub async fn open(config: Config, env: Env<W>) -> Result<Self, OpenError> {
        Self::open_with_views(config, env, Vec::new()).await
    }

    /// As [`Log::open`], and keeps these views beside its own of the topics. [`Partition::read_view`] reads them.
    pub async fn open_with_views(config: Config, env: Env<W>, views: Vec<Arc<dyn View>>) -> Result<Self, OpenError> {
        config.check().map_err(OpenError::Config)?;
        let raft_config = raft::config(config.cluster.to_string(), &config.timing).map_err(OpenError::Config)?;
        let me = config.nodes.iter().find(|node| node.id == config.node).expect("just checked").clone();
        let incoming =
            env.net.listen(&me.peer).await.map_err(|source| OpenError::Listen { address: me.peer.clone(), source })?;
        let (identity, lock) = Identity::open(&env.disk, &config.dir, config.cluster, config.node, env.rng.next_id())?;
        let wal = Wal::<W>::open(&env.disk, wal_options(&config))?;
        let lock = Arc::new(lock);
        wal.hold(lock.clone());
        let owner = Owner { cluster: config.cluster, node: config.node, incarnation: identity.incarnation };
        let checkpoints = match Checkpoints::<W>::open(env.disk.clone(), &config.dir, owner) {
            Ok(checkpoints) => checkpoints,
            Err(error) => {
                // Whoever tries again finds the directory unlocked.
                drop(lock);
                wal.close().await;
                return Err(error);
            }
        };
        let policy = Policy { bytes: config.limits.checkpoint_bytes, interval: config.timing.checkpoint_interval };
        let checkpoints = Scheduler::start(checkpoints, wal.clone(), policy);
        let own: Arc<dyn View> = Arc::new(Topics);
        let cache = config.limits.view_cache_bytes;
        let of_states: Option<Arc<dyn View>> = config.machines.are_made().then(|| Arc::new(States) as _);
        let kept = if cache == 0 { Vec::new() } else { std::iter::once(own).chain(of_states).chain(views).collect() };
        let views = ViewSet::start(kept, &env.views, &config.dir, cache, &wal, identity.boot_epoch == 1);
        let members = config.nodes.iter().map(|node| node.id).collect();
        let directory = Directory::new(&identity, env.rng.next_u64(), members, wal.clone());
        let others = config.nodes.iter().map(|node| node.id).filter(|node| *node != config.node);
        let vitals = Arc::new(Vitals::new(wal.clone(), env.clock.clone(), config.timing.disk, others));
        let lines = Lines::new(env.net.clone(), directory.clone(), &config.nodes);
        let processes = Arc::new(Processes::new(config.node));
        let hosted = Arc::new(Hosted::default());
        let peers =
            Peers::start(&env.net, &directory, &vitals, &processes, &hosted, &config.nodes, config.calls.are_taken());
        let stopping = Arc::new(Stopping::default());
        let received = Budget::new(config.limits.node_in_flight_bytes);
        let serving = Serving {
            directory,
            hosted: hosted.clone(),
            vitals: vitals.clone(),
            processes: processes.clone(),
            peers: peers.clone(),
            received,
            calls: config.calls.clone(),
        };
        drop(<W::Tasks as AsyncRuntime>::spawn(accept(incoming, Arc::new(serving), stopping.clone())));
        let watching = health::watch(vitals.clone(), peers.clone(), hosted.clone());
        drop(<W::Tasks as AsyncRuntime>::spawn(until_stopped::<W, _>(stopping.clone(), watching)));
        let failing_over = health::fail_over(config.node, processes, peers.clone(), hosted.clone());
        drop(<W::Tasks as AsyncRuntime>::spawn(until_stopped::<W, _>(stopping.clone(), failing_over)));
        let beating = health::pulse(config.node, config.timing.clone(), peers.clone(), hosted.clone());
        drop(<W::Tasks as AsyncRuntime>::spawn(until_stopped::<W, _>(stopping.clone(), beating)));
        let leads = Arc::new(Leads::new(config.node, vitals.clone(), hosted.clone()));
        let balancing = leads.clone().balance();
        drop(<W::Tasks as AsyncRuntime>::spawn(until_stopped::<W, _>(stopping.clone(), balancing)));
        let host = Host {
            node: config.node,
            env: env.clone(),
            wal: wal.clone(),
            peers: peers.clone(),
            checkpoints: checkpoints.clone(),
            views: views.clone(),
            raft_config,
            limits: config.limits.clone(),
            timing: config.timing.clone(),
            in_flight: Budget::new(config.limits.node_in_flight_bytes),
            vitals: vitals.clone(),
            machines: config.machines.clone(),
        };
        let map = Arc::new(ClusterMap::default());
        let data = DataDir { dir: config.dir.clone(), identity, lock: Some(lock) };
        let nodes = config.nodes.clone();
        let carries = (config.services.clone(), config.format);
        let controller = Controller::new(Arc::new(host), hosted.clone(), map.clone(), nodes, carries, data);
        let running = run_controller(controller.clone(), stopping.clone());
        drop(<W::Tasks as AsyncRuntime>::spawn(running));
        let boot_epoch = identity.boot_epoch;
        let inner = Inner {
            config,
            env,
            boot_epoch,
            wal,
            peers,
            lines,
            checkpoints,
            views,
            hosted,
            map,
            controller,
            vitals,
            leads,
            stopping,
        };
        Ok(Log { inner: Arc::new(inner) })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.config.node
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.inner.config.cluster
    }

    /// How often this data directory has been opened, this time included.
    pub fn boot_epoch(&self) -> u64 {
        self.inner.boot_epoch
    }

    /// All nodes of the cluster, with addresses.
    pub fn nodes(&self) -> Vec<NodeAddress> {
        self.inner.config.nodes.clone()
    }

    /// The bounds it was opened with.
    pub fn limits(&self) -> &Limits {
        &self.inner.config.limits
    }

    /// What it was told this node carries; empty: everything.
    pub fn services(&self) -> &[String] {
        &self.inner.config.services
    }

    /// The format that events of services may have: every node knows it, and none that does not will start again. It is
    /// [`Config::format`] once all nodes were started with that.
    pub fn format(&self) -> Format {
        self.inner.map.get().format
    }

    /// The share of the world it was opened with.
    pub fn env(&self) -> &Env<W> {
        &self.inner.env
    }

    /// Topics as this node knows them, by name; `_cluster` is not among them.
    pub fn topics(&self) -> Vec<Topic> {
        self.inner.map.get().topics.iter().map(|(name, plan)| topic(name, plan)).collect()
    }

    /// Creates a topic. Any node may be asked; returns when this node knows the topic. Its partitions elect their leaders
    /// at the same time, so an append right afterwards may be told that there is no leader yet.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Topic, LogError> {
        self.inner.controller.create_topic(new).await
    }

    /// Deletes a topic. Any node may be asked; returns when this node knows that it is gone.
    pub async fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.inner.controller.delete_topic(name).await
    }

    /// A partition with a replica on this node.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`]; [`LogError::PartitionOutOfRange`]; [`LogError::NotHosted`] when other nodes have it;
    /// [`LogError::Unavailable`] while it is being opened.
    pub fn partition(&self, topic: &str, partition: u32) -> Result<Partition<W>, LogError> {
        let (id, replicas) = self.find(topic, partition)?;
        if !replicas.contains(&self.node()) {
            return Err(LogError::NotHosted {
                asked: self.node(),
                partition: format!("{topic}/{partition}"),
                replicas,
            });
        }
        let opening = || LogError::Unavailable(format!("{topic}/{partition} is being opened on node {}", self.node()));
        self.inner.hosted.partition(id).ok_or_else(opening)
    }

    /// Who leads a partition, as far as this node knows, and the nodes that hold it. Of one that others hold it knows the latter
    /// alone.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`]; [`LogError::PartitionOutOfRange`].
    pub fn holders(&self, topic: &str, partition: u32) -> Result<(Option<NodeId>, Vec<NodeId>), LogError> {
        let (id, replicas) = self.find(topic, partition)?;
        let leader = self.inner.hosted.partition(id).and_then(|here| here.info().leader);
        Ok((leader, replicas))
    }

    /// The batches of a partition from `offset` on, as they become readable, whether this node holds a replica or not. An
    /// offset past the end waits until the partition has grown there.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`]; [`LogError::PartitionOutOfRange`]. What happens later is the [`Subscription`]'s to say.
    ///
    /// # Example
    /// ```
    /// use corduroy_log::{NewRecord, NewTopic, testing::{SimCluster, Sim}};
    ///
    /// let sim = Sim::seed(7);
    /// sim.run(async {
    ///     let cluster = SimCluster::new(&sim, 4);
    ///     cluster.start().await;
    ///     let topic = cluster.create_topic(NewTopic::new("order", 1)).await.unwrap();
    ///     cluster.append("order", 0, vec![NewRecord::new("placed")]).await.unwrap();
    ///
    ///     // Three of the four nodes hold a replica. This one does not.
    ///     let node = cluster.nodes().into_iter().find(|node| !topic.partitions[0].contains(node)).unwrap();
    ///     let placed = cluster.on(node, async |log| log.subscribe("order", 0, 0)?.next().await).await.unwrap().unwrap();
    ///     assert_eq!(placed[0].records(0).unwrap()[0].value, "placed");
    /// });
    /// ```
    pub fn subscribe(&self, topic: &str, partition: u32, offset: Offset) -> Result<Subscription<W>, LogError> {
        self.find(topic, partition)?;
        Ok(Subscription::new(self.clone(), topic.to_owned(), partition, offset))
    }

    /// The first offset kept of a partition and the first that cannot be read yet, whether this node holds a replica or not.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`]; [`LogError::PartitionOutOfRange`]; [`LogError::Unavailable`] when no replica could say.
    pub async fn offsets(
        &self,
        topic: &str,
        partition: u32,
        consistency: Consistency,
    ) -> Result<(Offset, Offset), LogError> {
        let (id, replicas) = self.find(topic, partition)?;
        if replicas.contains(&self.node()) {
            return self.partition(topic, partition)?.offsets(consistency).await;
        }
        self.offsets_elsewhere(&format!("{topic}/{partition}"), id, &replicas, consistency).await
    }

    /// Which partition that is, and who holds it.
    pub(crate) fn find(&self, topic: &str, partition: u32) -> Result<(PartitionId, Vec<NodeId>), LogError> {
        let of = |id: u32, placed: &[Vec<NodeId>]| {
            let count = placed.len() as u32;
            let out_of_range = || LogError::PartitionOutOfRange { topic: topic.into(), partition, count };
            let replicas = placed.get(partition as usize).ok_or_else(out_of_range)?;
            Ok((PartitionId::new(id, partition), replicas.clone()))
        };
        if topic == CLUSTER_TOPIC {
            return of(0, &[self.inner.config.nodes.iter().map(|node| node.id).collect()]);
        }
        let map = self.inner.map.get();
        let plan = map.topics.get(topic).ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
        of(plan.id, &plan.partitions)
    }

    /// Whether [`Log::shutdown`] was called.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.flag.load(Ordering::Acquire)
    }

    pub(crate) fn peers(&self) -> &Peers<W> {
        &self.inner.peers
    }

    pub(crate) fn lines(&self) -> &Lines<W> {
        &self.inner.lines
    }

    pub(crate) fn timing(&self) -> &Timing {
        &self.inner.config.timing
    }

    /// All partitions hosted here, `_cluster/0` first.
    pub fn partitions(&self) -> Vec<Partition<W>> {
        self.inner.hosted.all()
    }

    /// Resolves when this node should get traffic: when all of [`Log::readiness`] holds. That takes as long as it takes, for
    /// example until another node is started: put a bound on it, and then say what [`Log::readiness`] says.
    pub async fn ready(&self) {
        while !self.readiness().iter().all(|check| check.ok) {
            <W::Tasks as AsyncRuntime>::sleep(LOOK).await;
        }
    }

    /// Everything that must hold before this node should get traffic: it is part of the cluster, and every partition it
    /// hosts has a leader and runs. Lost peers and a full disk are reported and do not count against it.
    pub fn readiness(&self) -> Vec<Readiness> {
        let step = self.inner.controller.step();
        let mut checks = vec![Readiness { name: "cluster".into(), ok: step == RUNNING, detail: step.into() }];
        let mut connected = vec![self.node()];
        for (node, trouble) in self.inner.peers.health() {
            if trouble.is_none() {
                connected.push(node);
            }
            let detail = match (trouble, self.inner.peers.bulk_trouble(node)) {
                (Some(trouble), _) => format!("not connected: {trouble}"),
                (None, Some(trouble)) => format!("connected, and not for entries: {trouble}"),
                (None, None) => "connected".into(),
            };
            checks.push(Readiness { name: format!("peer {node}"), ok: true, detail });
        }
        let DiskSpace { space, free, total, low, .. } = self.disk_space();
        // Reads go on, whatever the disk: the node keeps its traffic.
        let detail = format!("space {space}: {free} of {total} bytes free, appends are refused below {low}");
        checks.push(Readiness { name: "disk".into(), ok: true, detail });
        // Whatever a view does: the log goes on, and so does everything that needs no view.
        let view =
            |view: ViewStatus| Readiness { name: format!("view {}", view.name), ok: true, detail: view.to_string() };
        checks.extend(self.views().into_iter().map(view));
        for partition in self.partitions() {
            let info = partition.info();
            let reached = info.replicas.iter().filter(|replica| connected.contains(replica)).count();
            let (ok, detail) = match (info.role, info.leader) {
                (Role::Halted, _) => (false, "halted".into()),
                (_, None) => (false, format!("no leader in term {}", info.term)),
                // Raft remembers the last leader of a term; that nobody hears of it any more is seen here.
                (_, Some(leader)) if !connected.contains(&leader) => {
                    (false, format!("led by node {leader} in term {}, which is not connected", info.term))
                }
                (Role::Leader, _) if reached <= info.replicas.len() / 2 => {
                    (false, format!("led by this node, which reaches {reached} of {} replicas", info.replicas.len()))
                }
                (_, Some(leader)) => {
                    (true, format!("led by node {leader} in term {}, evolved to {}", info.term, info.end))
                }
            };
            checks.push(Readiness { name: partition.name(), ok, detail });
        }
        checks
    }

    /// How each view of this node is.
    pub fn views(&self) -> Vec<ViewStatus> {
        self.inner.views.status()
    }

    /// What the WAL has done since the log was opened.
    pub fn wal_stats(&self) -> WalStats {
        self.inner.wal.stats()
    }

    /// How much room the disk has, and what follows for clients.
    pub fn disk_space(&self) -> DiskSpace {
        self.inner.wal.disk_space()
    }

    /// How far this node's wall clock is ahead of the median of the other nodes', in microseconds. `None`: fewer than two of them
    /// are heard.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.inner.vitals.clock_ahead()
    }

    /// Whether this node's wall clock may be gone by: it is not known to be more than two seconds from the others'. Where it is, the
    /// node does not lead, unless there is nobody better.
    pub fn trusts_clock(&self) -> bool {
        self.inner.vitals.trusts_clock()
    }

    /// Hands over what this node leads to replicas elsewhere that have caught up, a few at a time, and takes no lead any
    /// more. Appends then go elsewhere; reads and everything else go on. Returns when that is done, or after three seconds.
    /// For a node that is about to stop: it is not undone.
    pub async fn leave(&self) {
        if self.inner.vitals.leave() {
            self.inner.peers.announce(self.inner.vitals.own());
            self.inner.leads.give_away().await;
        }
    }

    /// Whether [`Log::leave`] was called: whoever waits here for what comes should look elsewhere.
    pub fn is_leaving(&self) -> bool {
        self.inner.vitals.is_leaving()
    }

    /// Hands over what this node leads ([`Log::leave`]), stops taking part, takes checkpoints, finishes what is queued for
    /// the disk, and releases the data directory. The log is of no use afterwards.
    pub async fn shutdown(&self) {
        self.leave().await;
        self.inner.stopping.flag.store(true, Ordering::Release);
        self.inner.stopping.changed.notify_waiters();
        for partition in self.inner.hosted.all() {
            partition.stop().await;
        }
        self.inner.lines.stop();
        self.inner.peers.stop();
        self.inner.views.close().await;
        self.inner.checkpoints.close().await;
        self.inner.wal.close().await;
        self.inner.controller.release();
    }
}

fn wal_options(config: &Config) -> WalOptions {
    WalOptions {
        dir: PathBuf::from(&config.dir),
        cluster: config.cluster,
        node: config.node,
        segment_bytes: config.limits.segment_bytes,
        commit_bytes: config.limits.commit_bytes,
        hot_tail_bytes: config.limits.hot_tail_bytes,
        hot_tail_total_bytes: config.limits.hot_tail_total_bytes,
        index_cache_bytes: config.limits.index_cache_bytes,
        supply: Some(SupplyOptions {
            // Not larger than what it stands in for.
            reserve_bytes: config.limits.reserve_bytes.min(config.limits.segment_bytes),
            min_free_percent: config.limits.min_free_percent,
        }),
    }
}

/// Serves peers until the log is closed.
async fn accept<W: World>(mut incoming: mpsc::Receiver<Connection>, serving: Arc<Serving<W>>, stopping: Arc<Stopping>) {
    let mut stopped = std::pin::pin!(stopping.wait());
    while let Select2::Second(Some(connection)) =
        <W::Tasks as AsyncRuntime>::select2(&mut stopped, std::pin::pin!(incoming.recv())).await
    {
        let serving = peer::serve(connection, serving.clone());
        drop(<W::Tasks as AsyncRuntime>::spawn(until_stopped::<W, _>(stopping.clone(), serving)));
    }
}

/// A task that ends when the log is closed.
async fn until_stopped<W: World, F: Future<Output = ()> + Send>(stopping: Arc<Stopping>, task: F) {
    <W::Tasks as AsyncRuntime>::select2(std::pin::pin!(stopping.wait()), std::pin::pin!(task)).await;
}

/// A node that cannot have its part of the cluster halts: one that stayed up would look like one that is still starting.
async fn run_controller<W: World>(controller: Arc<Controller<W>>, stopping: Arc<Stopping>) {
    let running = std::pin::pin!(controller.run());
    let ended = <W::Tasks as AsyncRuntime>::select2(std::pin::pin!(stopping.wait()), running).await;
    // A log that is being closed may take from a partition what it needs to open.
    if let Select2::Second(Err(halt)) = ended
        && !stopping.flag.load(Ordering::Acquire)
    {
        W::Tasks::halt(halt);
    }
}
