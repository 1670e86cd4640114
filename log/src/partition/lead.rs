//! Who leads: a replica that is not fit to lead gives it up, or does not ask for it.
use super::Partition;
use crate::{topic::NodeId, world::World};
use openraft::async_runtime::watch::WatchReceiver;
use std::{collections::BTreeMap, sync::atomic::Ordering};

impl<W: World> Partition<W> {
    /// The nodes that hold it.
    pub(crate) fn replicas(&self) -> &[NodeId] {
        &self.core.replicas
    }

    /// Where this replica leads: how far each follower is known to have the log, by index.
    pub(crate) fn matched(&self) -> Option<BTreeMap<NodeId, u64>> {
        self.core.raft.as_leader().ok()?;
        let metrics = self.core.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        Some(replication.iter().map(|(node, id)| (*node, id.as_ref().map_or(0, |id| id.index()))).collect())
    }

    /// Asks a follower to lead. Until somebody does, appends are refused here as they are by followers.
    pub(crate) async fn hand_over(&self, to: NodeId) {
        if let Err(error) = self.core.raft.trigger().transfer_leader(to).await {
            tracing::debug!(partition = %self.name(), %error, "not handed over");
        }
    }

    /// Whether this replica asks for votes when it hears of no leader.
    pub(crate) fn set_campaigning(&self, campaigning: bool) {
        if self.core.campaigning.swap(campaigning, Ordering::Relaxed) != campaigning {
            self.core.raft.runtime_config().elect(campaigning);
        }
    }
}
