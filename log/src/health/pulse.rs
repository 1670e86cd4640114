//! Heartbeats and the watch for leaders that are not heard of: one task for all groups of a node.
//!
//! Left to itself every group has a clock that ticks fifty times a second, and sends a message of its own to each follower
//! at every heartbeat. With some dozen quiet groups that is nearly all a cluster does. So the clocks stand still, and one
//! task does what they are for:
//!
//! ```text
//!   every heartbeat:   each group led here beats ─▶ one message per peer (R27) ─▶ its groups ─▶ one answer
//!                      a follower that has not heard of its leader lately ─▶ its clock runs ─▶ openraft's timeouts decide
//! ```
//!
//! Elections cost processor time and syncs. Where many groups are about to hold one at the same time, their heartbeats would be
//! late for it, more groups would miss their leaders, and so on for ever: a thousand groups on two cores did nothing else. So
//! only so many clocks start at a time ([`Starts`]).
//!
//! **Invariant**: the clock of a follower runs before its lease or its timeout could expire, unless very many do, so elections
//! are what they would be if it always ran. What counts as heard is what the *group* accepted from its leader: that the
//! leader's node lives says nothing of its groups.
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
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

/// The heartbeats of a node are sent together after this time at the latest. Groups need some of it to say what they have
/// to say.
const GATHERING: Duration = Duration::from_millis(2);

/// What to do about a group at a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It is led here, and beats.
    Beats,
    /// It follows a leader that it hears of.
    Hears,
    /// It follows nobody, or has not heard of its leader for half of the time after which a lease expires.
    Misses,
}

impl Pulse {
    fn of(me: NodeId, vote: Vote, heard: Option<Duration>, lease: Duration) -> Pulse {
        match (vote.committed, heard) {
            (true, _) if vote.node == me => Pulse::Beats,
            (true, Some(ago)) if ago < lease / 2 => Pulse::Hears,
            _ => Pulse::Misses,
        }
    }
}

/// How many clocks may start: [`Starts::AT_ONCE`], and [`Starts::MORE`] with every heartbeat. A clock that runs goes on.
#[derive(Debug)]
struct Starts(u32);

impl Starts {
    /// What the groups that one of three nodes leads are, in a cluster of some four hundred.
    const AT_ONCE: u32 = 128;
    /// A hundred and sixty a second: half a core of elections, in a cluster of three nodes on two cores.
    const MORE: u32 = 16;

    fn refill(&mut self) {
        self.0 = (self.0 + Self::MORE).min(Self::AT_ONCE);
    }

    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

/// Looks after all groups until the node stops.
pub(crate) async fn pulse<W: World>(me: NodeId, timing: Timing, peers: Arc<Peers<W>>, hosted: Arc<Hosted<W>>) {
    let mut starts = Starts(Starts::AT_ONCE);
    loop {
        <W::Tasks as AsyncRuntime>::sleep(timing.heartbeat).await;
        starts.refill();
        let (mut led, mut missing) = (Vec::new(), Vec::new());
        for partition in hosted.all() {
            let heard = partition.since_heard();
            match Pulse::of(me, partition.vote(), heard, timing.election_max) {
                Pulse::Misses if partition.is_ticking() => {}
                Pulse::Misses => missing.push((Reverse(heard.unwrap_or(Duration::MAX)), partition)),
                Pulse::Hears => partition.set_ticking(false),
                Pulse::Beats => {
                    partition.set_ticking(false);
                    led.push(partition);
                }
            }
        }
        missing.sort_by_key(|(longest, _)| *longest);
        for (_, partition) in missing.into_iter().take_while(|_| starts.take()) {
            partition.set_ticking(true);
        }
        if !led.is_empty() {
            beat(me, &led, &peers).await;
        }
    }
}

/// Lets the groups beat that this node leads.
async fn beat<W: World>(me: NodeId, led: &[Partition<W>], peers: &Peers<W>) {
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

    fn of(vote: Vote, heard_millis: Option<u64>) -> Pulse {
        Pulse::of(1, vote, heard_millis.map(Duration::from_millis), LEASE)
    }

    #[test]
    fn the_clock_of_a_follower_runs_in_good_time_before_its_lease_expires() {
        assert_eq!((of(vote(2, true), Some(0)), of(vote(2, true), Some(174))), (Pulse::Hears, Pulse::Hears));
        assert_eq!(
            (of(vote(2, true), Some(175)), of(vote(2, true), Some(u64::MAX / 2))),
            (Pulse::Misses, Pulse::Misses)
        );
        assert_eq!(of(vote(2, true), None), Pulse::Misses, "nothing was ever heard");
        let timing = Timing::default();
        assert!(timing.election_max / 2 + timing.heartbeat < timing.election_max, "the next look is before the end");
    }

    #[test]
    fn the_clock_runs_while_nobody_leads_and_not_where_this_node_does() {
        assert_eq!(of(vote(2, false), Some(0)), Pulse::Misses, "a candidate was heard of as the leader it was");
        assert_eq!(
            of(vote(1, false), Some(0)),
            Pulse::Misses,
            "it was leader before it was started, or is a candidate"
        );
        assert_eq!(of(vote(1, true), None), Pulse::Beats);
    }

    #[test]
    fn many_clocks_start_a_few_at_a_time() {
        let mut starts = Starts(Starts::AT_ONCE);
        let mut granted = |heartbeats: u32| {
            (0..heartbeats).for_each(|_| starts.refill());
            (0..10_000).filter(|_| starts.take()).count() as u32
        };
        assert_eq!(granted(0), Starts::AT_ONCE);
        assert_eq!(granted(0), 0);
        assert_eq!(granted(1), Starts::MORE);
        assert_eq!(granted(3), 3 * Starts::MORE);
        assert_eq!(granted(1000), Starts::AT_ONCE);
    }
}
