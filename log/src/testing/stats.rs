//! What faults came upon, counted where it happens: a test can tell one that did something from one that did nothing.
use super::{Sim, lock};
use crate::topic::NodeId;

/// What a node has been through since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Times its process ended, for whatever reason.
    pub deaths: u64,
    /// Of these, in the middle of the disk operation it was ordered for: [`Sim::power_cut_at`], [`Sim::kill_at`].
    pub deaths_at_operations: u64,
    /// Of these, by its own decision.
    pub halts: u64,
    /// Sectors that were not synced when the power went.
    pub unsynced_sectors: u64,
    /// Times a task of it was to run and could not, because it was paused.
    pub held_back: u64,
    /// Times its wall clock was read while it was set off.
    pub wrong_times: u64,
    /// Times its monotonic clock was read while it ran at another speed.
    pub drifted_times: u64,
    /// Syncs that took longer than the [`SimConfig`](super::SimConfig) of the run lets them take.
    pub slow_syncs: u64,
    /// Disk calls that failed because it was ordered, or for want of space.
    pub failed_calls: u64,
    /// Damage done to its files: [`Sim::rot`].
    pub damages: u64,
}

/// What one direction of a link has done to what was sent over it since the run began. Packets, and news of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Came to a cut, and waited.
    pub held: u64,
    /// Attempts to connect that got no answer because of a cut.
    pub unanswered: u64,
    /// Came late because of [`SimLink::latency`](super::SimLink::latency).
    pub slowed: u64,
    /// Had to be sent again.
    pub resent: u64,
    /// Took the line for some time because of [`SimLink::bytes_per_second`](super::SimLink::bytes_per_second).
    pub narrowed: u64,
    /// Requests that were delivered once more.
    pub late: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Attempts to connect that were refused on the way.
    pub refused: u64,
    /// Connections that took a packet and did not deliver it.
    pub swallowed: u64,
}

/// What faults came upon.
impl Sim {
    /// What a node has been through.
    pub fn node_stats(&self, node: NodeId) -> NodeStats {
        let universe = self.universe();
        let (wrong_times, drifted_times) = universe.clock(node).misreadings();
        let platter = universe.platter(node);
        let disk = lock(&platter);
        let life = universe.ends(node);
        NodeStats {
            deaths: life.deaths,
            deaths_at_operations: disk.deaths,
            halts: life.halts,
            unsynced_sectors: disk.unsynced,
            held_back: life.held_back,
            wrong_times,
            drifted_times,
            slow_syncs: disk.slow_syncs,
            failed_calls: disk.faults.fired.len() as u64,
            damages: disk.faults.rotten.len() as u64,
        }
    }

    /// What the direction of a link from one node to another has done.
    pub fn link_stats(&self, from: NodeId, to: NodeId) -> LinkStats {
        self.universe().link_stats(from, to)
    }
}
