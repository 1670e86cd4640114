//! Makes this node what the cluster map says it is.
//!
//! Joins (once in a node's life), opens `_cluster/0`, registers the node's addresses, then opens and closes partitions as
//! topics come and go. Runs until the log is closed; each step says what it waits for, for `/readyz`.
use super::{CLUSTER_TOPIC, ClusterMap, Hosted, Map};
use crate::{
    config::NodeAddress,
    partition::{FoldOptions, Host, Partition},
    topic::{Format, NodeId, PartitionId},
    wal::Identity,
    world::{Disk, Halt, World},
};
use corduroy_proto::v1::{ClusterEvent, FormatRaised, NodeRegistered, cluster_event::Event};
use openraft_rt::AsyncRuntime;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// Pause before a registration that failed is tried again.
const RETRY: Duration = Duration::from_millis(300);

/// The node's data directory: whose it is, and that nobody else uses it.
pub(crate) struct DataDir<W: World> {
    pub dir: PathBuf,
    pub identity: Identity,
    pub lock: Option<Arc<<W::Disk as Disk>::Lock>>,
}

impl<W: World> DataDir<W> {
    fn set_joined(&mut self, disk: &W::Disk) -> io::Result<()> {
        self.identity.set_joined(disk, &self.dir)
    }
}

/// What it needs, and how far it is.
pub(crate) struct Controller<W: World> {
    pub host: Arc<Host<W>>,
    pub hosted: Arc<Hosted<W>>,
    pub map: Arc<ClusterMap>,
    pub nodes: Vec<NodeAddress>,
    /// What this node carries; empty: everything.
    services: Vec<String>,
    /// The latest format of events that this build knows.
    format: Format,
    data: Mutex<DataDir<W>>,
    step: Mutex<&'static str>,
}

/// `Controller::step` once the node is part of the cluster.
pub(crate) const RUNNING: &str = "running";

type Wanted = BTreeMap<PartitionId, Plan>;

/// A partition that is to run here.
struct Plan {
    topic: String,
    replicas: Vec<NodeId>,
    options: FoldOptions,
}

impl<W: World> Controller<W> {
    pub(crate) fn new(
        host: Arc<Host<W>>,
        hosted: Arc<Hosted<W>>,
        map: Arc<ClusterMap>,
        nodes: Vec<NodeAddress>,
        (services, format): (Vec<String>, Format),
        data: DataDir<W>,
    ) -> Arc<Self> {
        Arc::new(Controller {
            host,
            hosted,
            map,
            nodes,
            services,
            format,
            data: Mutex::new(data),
            step: Mutex::new("starting"),
        })
    }

    /// What the node is doing on its way to [`RUNNING`].
    pub(crate) fn step(&self) -> &'static str {
        *self.step.lock().expect("a copy")
    }

    fn enter(&self, step: &'static str) {
        tracing::debug!(step, "controller");
        *self.step.lock().expect("a copy") = step;
    }

    fn data(&self) -> MutexGuard<'_, DataDir<W>> {
        self.data.lock().expect("the identity is written by one task")
    }

    /// Gives the data directory free.
    pub(crate) fn release(&self) {
        self.data().lock.take();
    }

    /// Runs until it is dropped.
    ///
    /// # Errors
    /// What the node must halt with.
    pub(crate) async fn run(self: Arc<Self>) -> Result<Infallible, Halt> {
        if !self.data().identity.joined {
            self.enter("asking every other node whether this node's id is free");
            self.host.peers.all_greeted().await;
            let joined = self.data().set_joined(&self.host.env.disk);
            joined.map_err(|error| Halt::DiskFailed(error.to_string()))?;
        }
        self.enter("recovering the cluster map");
        let mut everyone: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        everyone.sort_unstable();
        let plan = Plan { topic: CLUSTER_TOPIC.into(), replicas: everyone, options: FoldOptions::default() };
        self.open(PartitionId::CLUSTER, plan).await?;
        drop(<W::Tasks as AsyncRuntime>::spawn(self.clone().register()));
        drop(<W::Tasks as AsyncRuntime>::spawn(self.clone().raise_format()));
        let mut seen = None;
        loop {
            let (next, format, wanted) =
                self.map.wait(|map| (seen != Some(map.next)).then(|| (map.next, map.format, self.wanted(map)))).await;
            seen = Some(next);
            if format > self.format {
                return Err(Halt::UnknownEntry(format!(
                    "the events of this cluster have format {format}, and this build knows none later than {}",
                    self.format
                )));
            }
            if self.knows_less() {
                // Until it is said that this build came back, and no raise came before that: what others emit may be new to it.
                continue;
            }
            self.reconcile(wanted).await?;
            self.forget_deleted().await;
            if self.registered(&self.map.get()) {
                self.enter(RUNNING);
            }
        }
    }

    /// The partitions this node should run, `_cluster/0` aside.
    fn wanted(&self, map: &Map) -> Wanted {
        let mut wanted = BTreeMap::new();
        for (name, topic) in &map.topics {
            for (number, replicas) in topic.partitions.iter().enumerate() {
                if replicas.contains(&self.host.node) {
                    let plan = Plan { topic: name.clone(), replicas: replicas.clone(), options: topic.options() };
                    wanted.insert(PartitionId::new(topic.id, number as u32), plan);
                }
            }
        }
        wanted
    }

    async fn reconcile(&self, wanted: Wanted) -> Result<(), Halt> {
        for partition in self.hosted.all() {
            if partition.id() != PartitionId::CLUSTER && !wanted.contains_key(&partition.id()) {
                tracing::info!(partition = %partition.name(), "closing a deleted topic's partition");
                self.hosted.remove(partition.id());
                partition.stop().await;
            }
        }
        let mut opened = false;
        for (id, plan) in wanted {
            if self.hosted.partition(id).is_none() {
                self.open(id, plan).await?;
                opened = true;
            }
        }
        if opened {
            // Leaders that found them not running yet would wait before they try again.
            self.host.peers.announce(self.host.vitals.own());
        }
        Ok(())
    }

    /// Removes what partitions of deleted topics have left, in this life or an earlier one. A number the map has not come
    /// to yet is no deleted topic: a map that is still catching up deletes nothing.
    async fn forget_deleted(&self) {
        let (next, live) = {
            let map = self.map.get();
            (map.next, map.topics.values().map(|topic| topic.id).collect::<BTreeSet<u32>>())
        };
        let is_deleted =
            move |id: PartitionId| id.topic() != 0 && u64::from(id.topic()) <= next && !live.contains(&id.topic());
        self.host.views.forget(is_deleted.clone());
        self.host.checkpoints.forget(is_deleted).await;
    }

    async fn open(&self, id: PartitionId, Plan { topic, replicas, options }: Plan) -> Result<(), Halt> {
        let machine = match id {
            PartitionId::CLUSTER => Some(self.map.machine::<W>()),
            _ => self.host.machines.make(&topic, id),
        };
        let partition = Partition::open(self.host.clone(), id, topic, replicas, options, machine).await?;
        tracing::info!(partition = %partition.name(), restored = ?partition.restored(), evolved = partition.evolved_offset(), replayed = partition.replayed(), "opened");
        self.hosted.insert(partition.clone());
        drop(<W::Tasks as AsyncRuntime>::spawn(async move { partition.initialize().await }));
        Ok(())
    }

    /// This node as the map should know it.
    fn registration(&self) -> NodeRegistered {
        let me = self.nodes.iter().find(|node| node.id == self.host.node).expect("the configuration was checked");
        NodeRegistered {
            id: me.id,
            incarnation: self.data().identity.incarnation.to_vec().into(),
            peer: me.peer.clone(),
            grpc: me.grpc.clone(),
            http: me.http.clone(),
            admin: me.admin.clone(),
            services: self.services.clone(),
            format: self.format.0,
        }
    }

    /// Whether the map still says that this node knows formats that its build does not know.
    fn knows_less(&self) -> bool {
        self.map.get().nodes.get(&self.host.node).is_some_and(|node| Format(node.format) > self.format)
    }

    fn registered(&self, map: &Map) -> bool {
        map.nodes.get(&self.host.node) == Some(&self.registration())
    }

    /// Announces this node's addresses, whenever the map does not have them: what an earlier life of it has proposed may still
    /// come.
    async fn register(self: Arc<Self>) -> Infallible {
        // A map that is still catching up may already say so.
        let mut pause = Duration::ZERO;
        loop {
            let found = self.map.wait(|map| self.registered(map).then_some(()));
            if <W::Tasks as AsyncRuntime>::timeout(pause, found).await.is_ok() {
                self.map.wait(|map| (!self.registered(map)).then_some(())).await;
            }
            self.enter("registering with the cluster");
            let fact = ClusterEvent { event: Some(Event::NodeRegistered(self.registration())) };
            if let Err(error) = self.propose(fact).await {
                tracing::debug!(%error, "not registered yet");
            }
            pause = RETRY;
        }
    }

    /// Raises the format of events whenever all nodes know a later one, where `_cluster/0` is led.
    async fn raise_format(self: Arc<Self>) -> Infallible {
        let everyone = || self.nodes.iter().map(|node| node.id);
        loop {
            let later = |map: &Map| Some(map.known_to_all(everyone())).filter(|known| *known > map.format);
            let format = self.map.wait(later).await;
            let leader = self.hosted.partition(PartitionId::CLUSTER).and_then(|cluster| cluster.info().leader);
            if leader == Some(self.host.node) {
                let fact = ClusterEvent { event: Some(Event::FormatRaised(FormatRaised { format: format.0 })) };
                match self.propose(fact).await {
                    Ok(_) => tracing::info!(%format, "every node knows it: services may emit events of this format"),
                    Err(error) => tracing::debug!(%error, "the format is not raised yet"),
                }
            }
            <W::Tasks as AsyncRuntime>::sleep(RETRY).await;
        }
    }
}
