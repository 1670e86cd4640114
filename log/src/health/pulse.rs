//! Heartbeats and the watch for leaders that are not heard of: one task for all groups of a node.
//!
//! Left to itself every group has a clock that ticks fifty times a second, and sends a message of its own to each follower
//! at every heartbeat. With some dozen quiet groups that is nearly all a cluster does. So the clocks stand still, and one
//! task does what they are for:
//!
//! ```text
//!   every heartbeat:   each group led here beats ─▶ one message per peer (R27) ─▶ its groups ─▶ one answer
//!   every look:        a follower that has not heard of its leader lately ─▶ its clock runs ─▶ openraft's timeouts decide
//! ```
//!
//! **Invariant**: the clock of a follower runs before its lease or its timeout could expire, so elections are what they would
//! be if it always ran. What counts as heard is what the *group* accepted from its leader: that the leader's node lives
//! says nothing of its groups.
//! **Invariant**: leaders beat as often as before, so leases are as fresh as before, and a leader that lost its majority
//! still probes (openraft decides that inside a heartbeat).
use crate::{
    cluster::Hosted,
    config::Timing,
    partition::Partition,
    peer::Peers,
    topic::{NodeId, Vote},
    world::World,
};
use openraft_rt::AsyncRuntime;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Looks in a heartbeat.
const LOOKS: u32 = 2;
/// The heartbeats of a node are sent together after this time at the latest. Groups need some of it to say what they have
/// to say.
const GATHERING: Duration = Duration::from_millis(2);

/// Whether the clock of a group must run: where this node follows nobody, or has not heard of its leader for half of the
/// time after which a lease expires.
pub(super) fn must_tick(me: NodeId, vote: Vote, heard: Option<Duration>, lease: Duration) -> bool {
    let leads = vote.committed && vote.node == me;
    let hears = vote.committed && heard.is_some_and(|ago| ago < lease / 2);
    !leads && !hears
}

/// Looks after all groups until the node stops.
pub(crate) async fn pulse<W: World>(me: NodeId, timing: Timing, peers: Arc<Peers<W>>, hosted: Arc<Hosted<W>>) {
    let mut looks = 0;
    loop {
        <W::Tasks as AsyncRuntime>::sleep(timing.heartbeat / LOOKS).await;
        let partitions = hosted.all();
        for partition in &partitions {
            let ticking = must_tick(me, partition.vote(), partition.since_heard(), timing.election_max);
            partition.set_ticking(ticking);
        }
        looks = (looks + 1) % LOOKS;
        if looks == 0 {
            beat(me, &partitions, &peers).await;
        }
    }
}

/// Lets all groups beat that this node leads.
async fn beat<W: World>(me: NodeId, partitions: &[Partition<W>], peers: &Peers<W>) {
    let leads = |partition: &&Partition<W>| {
        let vote = partition.vote();
        vote.committed && vote.node == me
    };
    let led: Vec<_> = partitions.iter().filter(leads).collect();
    if led.is_empty() {
        return;
    }
    let mut counts = BTreeMap::new();
    for follower in led.iter().flat_map(|partition| partition.replicas()).filter(|replica| **replica != me) {
        *counts.entry(*follower).or_default() += 1;
    }
    peers.hold_beats(&counts);
    for partition in led {
        partition.beat();
    }
    <W::Tasks as AsyncRuntime>::sleep(GATHERING).await;
    peers.let_beats_go();
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(350);

    fn vote(node: NodeId, committed: bool) -> Vote {
        Vote { term: 3, node, committed }
    }

    fn ticks(vote: Vote, heard_millis: Option<u64>) -> bool {
        must_tick(1, vote, heard_millis.map(Duration::from_millis), LEASE)
    }

    #[test]
    fn the_clock_of_a_follower_runs_in_good_time_before_its_lease_expires() {
        assert!(!ticks(vote(2, true), Some(0)) && !ticks(vote(2, true), Some(174)));
        assert!(ticks(vote(2, true), Some(175)) && ticks(vote(2, true), Some(u64::MAX / 2)));
        assert!(ticks(vote(2, true), None), "nothing was ever heard");
    }

    #[test]
    fn the_clock_runs_while_nobody_leads_and_not_where_this_node_does() {
        assert!(ticks(vote(2, false), Some(0)), "a candidate of another node was heard of as the leader it was");
        assert!(ticks(vote(1, false), Some(0)), "this node was leader before it was started, or is a candidate");
        assert!(!ticks(vote(1, true), None));
    }
}
