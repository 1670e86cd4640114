//! A look inside one replica, for checks that no client could make.
use super::SimWorld;
use crate::{
    partition::Partition,
    raft::from_log_id,
    topic::{LogId, Offset, PartitionId, Term, Vote},
};
use openraft::{ServerState, async_runtime::watch::WatchReceiver as _};
use std::fmt;

/// One replica's consensus state. Looking changes nothing and waits for nothing.
pub struct Probe {
    partition: Partition<SimWorld>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.partition).finish()
    }
}

/// What a [`Probe`] saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// The term this replica leads in, if it does.
    pub leads: Option<Term>,
    /// Its term.
    pub term: Term,
    /// The last entry it knows to be committed, among those it has.
    pub committed: Option<LogId>,
    /// Whether its group has stopped.
    pub stopped: bool,
}

impl Probe {
    /// A probe of a hosted partition.
    pub fn new(partition: Partition<SimWorld>) -> Self {
        Probe { partition }
    }

    /// Which partition.
    pub fn id(&self) -> PartitionId {
        self.partition.id()
    }

    /// `topic/partition`.
    pub fn name(&self) -> String {
        self.partition.name()
    }

    /// The state by openraft's word.
    pub fn look(&self) -> Glimpse {
        let metrics = self.partition.raft().metrics();
        let metrics = metrics.borrow_watched();
        Glimpse {
            leads: (metrics.state == ServerState::Leader).then_some(metrics.current_term),
            term: metrics.current_term,
            committed: metrics.local_committed.as_ref().map(from_log_id::<SimWorld>),
            stopped: metrics.running_state.is_err(),
        }
    }

    /// The entry the replica's checkpoint ended with, where it was restored from one when the node started.
    pub fn restored(&self) -> Option<LogId> {
        self.partition.restored()
    }

    /// The last vote that is durable, by the WAL's word.
    pub fn vote(&self) -> Option<Vote> {
        self.partition.wal().vote()
    }

    /// The last entry, durable or not.
    pub fn last(&self) -> Option<LogId> {
        self.partition.wal().last()
    }

    /// The last entry that is durable, by the WAL's word.
    pub fn last_durable(&self) -> Option<LogId> {
        self.partition.wal().last_durable()
    }

    /// The entry at an index, or `None` where the log does not have it.
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        self.partition.wal().log_id(index)
    }

    /// First offset that cannot be read yet.
    pub fn end(&self) -> Offset {
        self.partition.evolved_offset()
    }
}
