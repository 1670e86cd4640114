//! Who leads: heartbeats, elections, and leads that are given up or handed over.
//!
//! openraft's own clock is stopped for a group that hears of its leader: a task of the node looks after all groups
//! (`health::pulse`). What is decided is still decided by openraft; only when it looks is decided here.
use super::Partition;
use crate::{
    raft,
    topic::{LogId, NodeId, Vote},
    world::World,
};
use corduroy_proto::v1 as pb;
use futures::FutureExt as _;
use openraft::{ServerState, async_runtime::watch::WatchReceiver, raft::TransferLeaderRequest};
use openraft_rt::{AsyncRuntime, Instant};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// No node: to whom a lead is transferred that is only taken away.
const NOBODY: NodeId = NodeId::MAX;

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// What a replica keeps about who leads, beside openraft.
pub(super) struct Leading<W: World> {
    /// Whether openraft may start elections.
    campaigning: AtomicBool,
    /// Whether openraft's clock runs.
    ticking: AtomicBool,
    /// When the leader was heard of last.
    heard: Mutex<Option<InstantOf<W>>>,
    /// The leader that was found gone last.
    lifted: Mutex<Option<Vote>>,
    /// The last transfer the leader told of: its vote, and to whom.
    transfer: Mutex<Option<(Vote, NodeId)>>,
}

impl<W: World> Default for Leading<W> {
    fn default() -> Self {
        Leading {
            campaigning: AtomicBool::new(true),
            ticking: AtomicBool::new(false),
            heard: Mutex::default(),
            lifted: Mutex::default(),
            transfer: Mutex::default(),
        }
    }
}

/// Does what needs no waiting, or leaves it. Whoever asks many groups in a row does so in one turn of its task, and tokio ends a
/// turn after 128 messages, by calling every queue full: a node that led more groups let the others go without heartbeats.
fn at_once(ask: impl Future) {
    tokio::task::coop::unconstrained(ask).now_or_never();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a copy")
}

impl<W: World> Partition<W> {
    fn leading(&self) -> &Leading<W> {
        &self.core.leading
    }

    /// The nodes that hold it.
    pub(crate) fn replicas(&self) -> &[NodeId] {
        &self.core.replicas
    }

    /// This replica's vote: committed, it names the leader it follows, or itself.
    pub(crate) fn vote(&self) -> Vote {
        let metrics = self.core.metrics.borrow_watched();
        let durable = raft::from_vote::<W>(&metrics.vote);
        if metrics.current_term != durable.term {
            // It is being written.
            return Vote { term: metrics.current_term, node: NOBODY, committed: false };
        }
        // A leader that was restarted leads no more, and its vote on disk still says so.
        let led_once = durable.node == self.core.host.node && metrics.state != ServerState::Leader;
        Vote { committed: durable.committed && !led_once, ..durable }
    }

    /// The last entry of its log, on disk or not.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.core.log.wal().last()
    }

    /// Where this replica leads: how far each follower that answers is known to have the log, by index. One that has not answered
    /// a heartbeat for a while is missing: a process that stands still keeps its connections.
    pub(crate) fn matched(&self) -> Option<BTreeMap<NodeId, u64>> {
        self.core.raft.as_leader().ok()?;
        let metrics = self.core.metrics.borrow_watched();
        let (replication, answered) = (metrics.replication.as_ref()?, metrics.heartbeat.as_ref()?);
        let lately = self.core.host.timing.election_min;
        let answers = |node: &NodeId| matches!(answered.get(node), Some(Some(at)) if at.elapsed() < lately);
        let matched = replication.iter().filter(|(node, _)| answers(node));
        Some(matched.map(|(node, id)| (*node, id.as_ref().map_or(0, |id| id.index()))).collect())
    }

    /// Asks a follower to lead. Until somebody does, appends are refused here as they are by followers.
    pub(crate) async fn hand_over(&self, to: NodeId) {
        self.note_transfer(self.vote(), to);
        if let Err(error) = self.core.raft.trigger().transfer_leader(to).await {
            tracing::debug!(partition = %self.name(), %error, "not handed over");
        }
    }

    /// The leader said that it wants another node to lead.
    pub(crate) fn note_transfer(&self, from: Vote, to: NodeId) {
        *lock(&self.leading().transfer) = Some((from, to));
    }

    /// Whether a request for votes is what a transfer asks for that this replica knows of: only then the lease of the leader
    /// does not stand in its way (R26).
    pub(crate) fn saw_transfer(&self, request: Option<&pb::Vote>) -> bool {
        let transfer = *lock(&self.leading().transfer);
        let (Some((from, to)), Some(vote)) = (transfer, request) else { return false };
        from.committed && from == self.vote() && vote.node == to && vote.term == from.term + 1
    }

    /// Whether this replica asks for votes when it hears of no leader.
    pub(crate) fn set_campaigning(&self, campaigning: bool) {
        if self.leading().campaigning.swap(campaigning, Ordering::Relaxed) != campaigning {
            self.core.raft.runtime_config().elect(campaigning);
        }
    }

    /// Whether openraft's clock runs, and with it the timeout after which this replica asks for votes.
    pub(crate) fn set_ticking(&self, ticking: bool) {
        if self.leading().ticking.swap(ticking, Ordering::Relaxed) != ticking {
            self.core.raft.runtime_config().tick(ticking);
        }
    }

    /// Whether it does.
    pub(crate) fn is_ticking(&self) -> bool {
        self.leading().ticking.load(Ordering::Relaxed)
    }

    /// Lets the group beat, where this replica leads it.
    pub(crate) fn beat(&self) {
        // A group whose queue is full has other troubles, and must not hold up the heartbeats of the others.
        at_once(self.core.raft.trigger().heartbeat());
    }

    /// Goes on replicating to a node at once, where this replica leads. Otherwise it would wait until its next attempt.
    pub(crate) fn replicate_now(&self, to: NodeId) {
        at_once(self.core.raft.trigger().reset_backoff([to]));
    }

    /// Takes note that the leader was heard of, and that its word was accepted.
    pub(crate) fn hear(&self) {
        *lock(&self.leading().heard) = Some(<InstantOf<W> as Instant>::now());
    }

    /// How long ago the leader was heard of.
    pub(crate) fn since_heard(&self) -> Option<Duration> {
        lock(&self.leading().heard).map(|heard| heard.elapsed())
    }

    /// Whether the lease of this leader was taken away already.
    pub(crate) fn is_lifted(&self, dead: Vote) -> bool {
        *lock(&self.leading().lifted) == Some(dead)
    }

    /// The process of the leader is gone: the lease it has on this replica's vote must not keep others from leading. Does
    /// nothing once the vote is another.
    pub(crate) async fn lift_lease(&self, dead: Vote) {
        *lock(&self.leading().lifted) = Some(dead);
        let to_nobody = TransferLeaderRequest::new(raft::to_vote::<W>(dead), NOBODY, None);
        if let Err(error) = self.core.raft.handle_transfer_leader(to_nobody).await {
            tracing::debug!(partition = %self.name(), %error, "the group has stopped");
        }
    }

    /// Asks the others whether they would vote for this replica, and if a majority would, for their votes. Not where it must
    /// not lead.
    pub(crate) async fn ask_for_votes(&self) {
        if !self.leading().campaigning.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.core.raft.trigger().elect(true).await {
            tracing::debug!(partition = %self.name(), %error, "the group has stopped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_groups_are_asked_in_a_row_than_tokio_allows_in_a_turn() {
        let (sender, receiver) = tokio::sync::mpsc::channel(10_000);
        (0..1000).for_each(|group| at_once(sender.send(group)));
        assert_eq!(receiver.len(), 1000);
    }
}
