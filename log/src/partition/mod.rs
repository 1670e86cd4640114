//! One partition of one node: append, read, subscribe.
//!
//! ```text
//!   submit ──▶ queue ──▶ appender ──▶ Raft ──▶ WAL, followers ──▶ commit ──▶ Evolved ──▶ Ack
//!    checks,    waits      joins what waits into one batch,             │
//!    encodes               gives it a time, pipelines                   └──▶ readers, subscribers, the other replicas
//! ```
//!
//! A restart begins with the newest `checkpoint` of what has evolved and evolves what follows it, then joins its group.
//!
//! Offsets are not assigned by the leader: they are the fold over the batches of the log (`Evolved`), the same on every
//! replica. Readers see below the *evolved offset* and nothing else, so nothing uncommitted is ever visible.
//!
//! **Invariant**: an [`Ack`] is given after the entry is on disk at a majority and evolved here. Appends of one partition
//! are acknowledged in the order they were submitted, and get ascending offsets in that order.
mod append;
pub(crate) mod checkpoint;
mod cursors;
mod decide;
mod evolved;
pub(crate) mod fold;
mod lead;
mod lookup;
mod machine;
mod read;
mod subscribe;
mod types;

pub use append::{AppendOptions, Expect};
pub use checkpoint::Table;
#[cfg(any(test, feature = "testing"))]
pub(crate) use checkpoint::table_of;
pub use cursors::CURSOR_NAME_BYTES;
pub use decide::Decision;
pub use fold::Cursor;
pub use lookup::{KeyPage, TimeOffset};
pub use machine::{Evolving, Frozen, FrozenTable, Machine, Machines};
pub use types::{Ack, Consistency, PartitionInfo, PlacedBatch, ReadResult, Role};

pub(crate) use append::Appends;
pub(crate) use checkpoint::{Checkpoints, Owner, Policy, Scheduler};
pub(crate) use evolved::{Evolved, Image};
pub(crate) use fold::FoldOptions;

use crate::{
    config::{Limits, Timing},
    error::LogError,
    health::{Budget, Vitals},
    peer::Peers,
    raft::{self, LogStore, Network, Raft, RaftConfig, StateMachine},
    topic::{LogId, NodeId, Offset, PartitionId},
    view::{Source, ViewSet},
    wal::Wal,
    world::{Env, Halt, World},
};
use openraft::{ServerState, async_runtime::watch::WatchReceiver, impls::EmptyNode};
use openraft_rt::AsyncRuntime;
use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

/// What every partition of a node is opened with.
pub(crate) struct Host<W: World> {
    pub node: NodeId,
    pub env: Env<W>,
    pub wal: Wal<W>,
    pub peers: Arc<Peers<W>>,
    pub checkpoints: Scheduler<W>,
    pub views: ViewSet<W>,
    pub raft_config: Arc<RaftConfig>,
    pub limits: Limits,
    pub timing: Timing,
    /// Bytes accepted from clients and not yet committed, over all partitions.
    pub in_flight: Arc<Budget>,
    pub vitals: Arc<Vitals<W>>,
    pub machines: Machines,
}

/// A partition hosted by this node. Clones are the same partition.
pub struct Partition<W: World> {
    core: Arc<Core<W>>,
}

pub(crate) struct Core<W: World> {
    id: PartitionId,
    topic: String,
    replicas: Vec<NodeId>,
    host: Arc<Host<W>>,
    raft: Raft<W>,
    /// What openraft says of the group.
    metrics: raft::Metrics<W>,
    log: LogStore<W>,
    evolved: Arc<Evolved>,
    appends: Appends,
    leading: lead::Leading<W>,
    /// Entries that were evolved to open it: those behind its checkpoint that were known to be committed.
    replayed: u64,
    /// The entry its checkpoint ended with, where it was restored from one.
    restored: Option<LogId>,
}

impl<W: World> Clone for Partition<W> {
    fn clone(&self) -> Self {
        Partition { core: self.core.clone() }
    }
}

impl<W: World> fmt::Debug for Partition<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("id", &self.core.id).field("topic", &self.core.topic).finish_non_exhaustive()
    }
}

impl<W: World> Partition<W> {
    /// Recovers this node's replica, from its checkpoint and what follows it, and starts its Raft group.
    ///
    /// # Errors
    /// What the node must halt with: a start reads little of the log, and damage elsewhere is found here.
    pub(crate) async fn open(
        host: Arc<Host<W>>,
        id: PartitionId,
        topic: String,
        replicas: Vec<NodeId>,
        options: FoldOptions,
        machine: Option<Box<dyn Machine>>,
    ) -> Result<Self, Halt> {
        let evolved = Arc::new(Evolved::new(options, machine));
        let wal = host.wal.partition(id);
        let checkpoints = host.checkpoints.checkpoints();
        let name = format!("{topic}/{}", id.partition());
        let snapshot = checkpoints.restore(&wal, &evolved).map_err(|error| error.into_halt(&name))?.map(Arc::new);
        let restored = snapshot.as_ref().and_then(|snapshot| snapshot.last.as_ref()).map(raft::log_id_from_wire);
        host.checkpoints.watch(evolved.clone(), wal.clone());
        let log = LogStore::<W>::new(wal);
        let network = Network::<W>::new(id, &replicas, host.peers.clone(), host.vitals.clone());
        let kept = snapshot.as_ref().map(Arc::downgrade).unwrap_or_default();
        let machine = StateMachine::<W>::new(evolved.clone(), log.clone(), checkpoints.clone(), kept);
        let replayed = machine.catch_up().await.map_err(|error| unreadable(&name, &error))?;
        machine.check_tail().await.map_err(|error| unreadable(&name, &error))?;
        let raft = Raft::<W>::new(host.node, host.raft_config.clone(), network, log.clone(), machine).await;
        // Everything it reads could be read a moment ago, so what it says is that this does not hold together.
        let raft = raft.map_err(|fatal| Halt::Corrupt(format!("{name} cannot start: {fatal}")))?;
        drop(snapshot);
        let (appends, queues) = Appends::new(host.limits.in_flight_bytes, host.in_flight.clone());
        let leading = lead::Leading::default();
        let metrics = raft.metrics();
        let core =
            Core { id, topic, replicas, host, raft, metrics, log, evolved, appends, leading, replayed, restored };
        let core = Arc::new(core);
        append::start(&core, queues);
        core.host.views.attach(&core.source());
        Ok(Partition { core })
    }

    /// Makes sure the group has its first membership. Every replica calls it, the first one at once and the others after
    /// it had its chance: a group must start even if the first replica is down, and rarely with more than one candidate.
    pub(crate) async fn initialize(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let rank = self.core.replicas.iter().position(|node| *node == self.core.host.node).unwrap_or(0);
        <W::Tasks as AsyncRuntime>::sleep(PATIENCE * rank as u32).await;
        if self.core.raft.is_initialized().await.unwrap_or(true) {
            return;
        }
        let members: BTreeMap<NodeId, EmptyNode> =
            self.core.replicas.iter().map(|node| (*node, EmptyNode::default())).collect();
        if let Err(error) = self.core.raft.initialize(members).await {
            tracing::debug!(partition = %self.name(), %error, "not initialized");
        }
    }

    pub(crate) fn raft(&self) -> &Raft<W> {
        &self.core.raft
    }

    /// The replica's part of the WAL, for checks.
    #[cfg(feature = "testing")]
    pub(crate) fn wal(&self) -> &crate::wal::PartitionLog<W> {
        self.core.log.wal()
    }

    /// The entry its checkpoint ended with, where it was restored from one.
    pub(crate) fn restored(&self) -> Option<LogId> {
        self.core.restored
    }

    /// Entries that were evolved to open it.
    pub(crate) fn replayed(&self) -> u64 {
        self.core.replayed
    }

    pub(crate) async fn stop(&self) {
        self.core.evolved.close();
        self.core.host.views.detach(self.core.id);
        if let Err(error) = self.core.raft.shutdown().await {
            tracing::warn!(partition = %self.name(), %error, "did not stop cleanly");
        }
    }

    /// Raw id: topic number and partition number.
    pub fn id(&self) -> PartitionId {
        self.core.id
    }

    /// `topic/partition`.
    pub fn name(&self) -> String {
        self.core.name()
    }

    /// First offset that cannot be read yet on this replica.
    pub fn evolved_offset(&self) -> Offset {
        self.core.evolved.end()
    }

    /// State of this replica, as it is now and without asking anyone.
    pub fn info(&self) -> PartitionInfo {
        let core = &self.core;
        let metrics = core.metrics.borrow_watched();
        let role = match (&metrics.running_state, metrics.state) {
            (Err(_), _) | (_, ServerState::Shutdown) => Role::Halted,
            (_, ServerState::Leader) => Role::Leader,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Candidate) => Role::Candidate,
            (_, ServerState::Learner) => Role::Learner,
        };
        PartitionInfo {
            topic: core.topic.clone(),
            partition: core.id.partition(),
            id: core.id,
            leader: metrics.current_leader,
            term: metrics.current_term,
            replicas: core.replicas.clone(),
            start: 0,
            end: core.evolved.end(),
            role,
        }
    }
}

/// What a node halts with that cannot read what it needs of a partition.
fn unreadable(partition: &str, error: &io::Error) -> Halt {
    let what = format!("{partition} cannot be opened: {error}");
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Halt::Corrupt(what),
        _ => Halt::DiskFailed(what),
    }
}

impl<W: World> Core<W> {
    fn name(&self) -> String {
        format!("{}/{}", self.topic, self.id.partition())
    }

    /// The partition as views look at it.
    fn source(&self) -> Source<W> {
        Source {
            id: self.id,
            name: self.name(),
            topic: self.topic.clone(),
            key_index: self.evolved.has_key_index(),
            evolved: self.evolved.clone(),
            log: self.log.wal().clone(),
            state: self.evolved.shown(),
        }
    }

    fn not_leader(&self, leader: Option<NodeId>) -> LogError {
        // A node never points at itself: it has just said that it does not lead.
        let leader = leader.filter(|leader| *leader != self.host.node);
        LogError::NotLeader { asked: self.host.node, partition: self.name(), leader }
    }
}
