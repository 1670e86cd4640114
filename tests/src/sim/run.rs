//! What the parts of a run share: the cluster, what was seen so far, and the first thing that was wrong.
use super::{
    damage::Damaged,
    plan::SAFETY,
    settings::Settings,
    tally::Tally,
    violation::{Invariant, Violation},
};
use crate::checker::{Append, Moment, Read, RecordId};
use corduroy_log::{
    Log,
    testing::{Sim, SimCluster, SimTasks, SimWorld, TaskError},
    topic::NodeId,
};
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// The topic under load.
pub(super) const TOPIC: &str = "order";
/// How long a client waits for any answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// A run. Shared by everything that acts in it.
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) cluster: SimCluster,
    /// When the cluster was ready: the plan's times count from here.
    pub(super) began: Duration,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) appends: Vec<Append>,
    pub(super) reads: Vec<Read>,
    /// Records that were appended only where their key had its last record at that offset.
    pub(super) keyed: BTreeMap<RecordId, (Vec<u8>, Option<u64>)>,
    /// Operations by their start and whether they did what was asked.
    pub(super) operations: Vec<(Duration, bool)>,
    /// Topics created beside the one under load, with their numbers and partitions.
    pub(super) topics: BTreeMap<String, (u64, u32)>,
    /// Times around a fault, within which an operation may fail.
    pub(super) windows: Vec<(Duration, Duration)>,
    pub(super) tally: Tally,
    /// Appends that the disk of a node had no space for.
    pub(super) full: BTreeMap<NodeId, u64>,
    /// The node whose disk rots.
    pub(super) damaged: Option<Damaged>,
    /// Nodes some fault has in its hands.
    pub(super) busy: BTreeSet<NodeId>,
    /// Links in the hands of faults, once for each.
    pub(super) links: Vec<(NodeId, NodeId)>,
    /// Nodes whose disk was told to fail, and which may halt therefore.
    pub(super) may_halt: BTreeSet<NodeId>,
    /// How often each direction of a link is cut.
    pub(super) cuts: BTreeMap<(NodeId, NodeId), u32>,
    /// Calls that were made and not answered yet, by node.
    pub(super) open_calls: BTreeMap<NodeId, u64>,
    next_id: u64,
    failure: Option<Violation>,
}

impl Seen {
    /// A fault lets go of its links.
    pub(super) fn give_back(&mut self, links: &[(NodeId, NodeId)]) {
        for link in links {
            let at = self.links.iter().position(|taken| taken == link).expect("it was taken");
            self.links.swap_remove(at);
        }
    }

    /// Appends that the disk of a node had no space for.
    pub(super) fn full(&self, node: NodeId) -> u64 {
        self.full.get(&node).copied().unwrap_or_default()
    }

    /// Whether what was durable on a node was damaged.
    pub(super) fn is_damaged(&self, node: NodeId) -> bool {
        self.damaged.as_ref().is_some_and(|damaged| damaged.node == node)
    }

    /// Whether a node refused its damaged log, and stays down.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        self.damaged.as_ref().is_some_and(|damaged| damaged.node == node && damaged.refused)
    }
}

/// What became of a call.
pub(super) enum Called<T> {
    /// The answer.
    Answered(T),
    /// The node did not run: nothing happened.
    NotRunning,
    /// The node died, or did not answer in time.
    Lost,
}

impl Run {
    pub(super) fn new(settings: Settings, cluster: SimCluster) -> Arc<Self> {
        let began = cluster.sim().elapsed();
        Arc::new(Run { settings, cluster, began, seen: Mutex::default() })
    }

    pub(super) fn sim(&self) -> &Sim {
        self.cluster.sim()
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("bookkeeping does not panic")
    }

    /// Time since the cluster was ready.
    pub(super) fn now(&self) -> Duration {
        self.sim().elapsed().saturating_sub(self.began)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.sim().elapsed().as_nanos() as u64)
    }

    pub(super) async fn sleep_until(&self, at: Duration) {
        self.sim().sleep(at.saturating_sub(self.now())).await;
    }

    /// True once clients should begin nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.now() >= SAFETY
    }

    /// Something that must not be. The first one fails the run.
    pub(super) fn fail(&self, invariant: Invariant, what: impl fmt::Display) {
        let violation = Violation::new(invariant, what);
        self.sim().trace(format_args!("violation: {violation}"));
        self.seen().failure.get_or_insert(violation);
    }

    pub(super) fn failure(&self) -> Option<Violation> {
        self.seen().failure.clone()
    }

    /// An id no record had before.
    pub(super) fn next_id(&self) -> RecordId {
        let mut seen = self.seen();
        seen.next_id += 1;
        RecordId::new(seen.next_id).expect("counted from 1")
    }

    /// Calls a node as a client on the same machine does: the call ends with the node, and the client waits no longer than
    /// it has patience.
    pub(super) async fn call<T, F>(self: &Arc<Self>, node: NodeId, work: impl FnOnce(Log<SimWorld>) -> F) -> Called<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if self.cluster.log(node).is_none() {
            return Called::NotRunning;
        }
        let open = OpenCall::new(self, node);
        let answer = self.cluster.on(node, |log| {
            let working = work(log);
            async move {
                let _open = open;
                working.await
            }
        });
        match SimTasks::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Called::Answered(answer),
            Ok(Err(TaskError::Cancelled)) | Err(_) => Called::Lost,
            Ok(Err(TaskError::Panicked(message))) => {
                self.fail(Invariant::NoPanic, format_args!("a call to node {node} panicked: {message}"));
                Called::Lost
            }
        }
    }
}

/// Counts a call for as long as its future exists.
struct OpenCall {
    run: Arc<Run>,
    node: NodeId,
}

impl OpenCall {
    fn new(run: &Arc<Run>, node: NodeId) -> Self {
        *run.seen().open_calls.entry(node).or_default() += 1;
        OpenCall { run: run.clone(), node }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Some(calls) = self.run.seen().open_calls.get_mut(&self.node) {
            *calls -= 1;
        }
    }
}
