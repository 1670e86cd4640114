//! Who should lead what, where several could. Pure; [`super::balance`] acts on it.
//!
//! The placement puts the replicas of a partition into an order: the first is meant to lead, the next to succeed it. Leads
//! only ever move towards the front of that order, to a replica that lives, has caught up, and has been well for a while.
//! So they cannot go back and forth, whatever each node believes of the others; and as the placement spreads every place
//! of the order over the nodes, leads are spread over those that are there.
use crate::topic::NodeId;
use std::time::Duration;

/// How far a replica may be behind to be handed a lead: what is in flight at the time.
const CLOSE: u64 = 64;
/// How long a node must have been well before it is given leads back; doubles with each time it was not for long.
const CALM: Duration = Duration::from_secs(5);
const CALM_AT_MOST: Duration = Duration::from_secs(600);
/// A node that was well for so many times as long as it had to be is as good as one that always was.
const FORGIVEN: u32 = 8;

/// A replica that could lead, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub node: NodeId,
    /// There is a connection to it, and nothing is wrong with its disk.
    pub well: bool,
    /// It has been well for long enough.
    pub settled: bool,
    /// Entries it is known to have, by the index of the last one.
    pub matched: u64,
}

/// To whom the leader should hand over for the sake of balance. `order` is the placement's, `last` the index of the
/// leader's last entry.
pub(super) fn better(me: NodeId, order: &[NodeId], candidates: &[Candidate], last: u64) -> Option<NodeId> {
    let preferred = order.iter().take_while(|node| **node != me);
    let could = |node: &&NodeId| {
        let candidate = candidates.iter().find(|candidate| candidate.node == **node);
        candidate.is_some_and(|candidate| candidate.settled && candidate.well && candidate.matched + CLOSE >= last)
    };
    preferred.filter(could).copied().next()
}

/// To whom a leader should hand over that stops: of those that are well the first in order that has caught up, or the one
/// that is nearest to it.
pub(super) fn heir(order: &[NodeId], candidates: &[Candidate], last: u64) -> Option<NodeId> {
    let place = |node: NodeId| order.iter().position(|other| *other == node).unwrap_or(order.len());
    let well = candidates.iter().filter(|candidate| candidate.well);
    let close = |candidate: &Candidate| candidate.matched + CLOSE >= last;
    let first = well.clone().filter(|candidate| close(candidate)).min_by_key(|candidate| place(candidate.node));
    first.or_else(|| well.max_by_key(|candidate| (candidate.matched, candidate.node))).map(|heir| heir.node)
}

/// How long a node has been well, and must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calm {
    since: Option<Duration>,
    needed: Duration,
}

impl Default for Calm {
    fn default() -> Self {
        Calm { since: None, needed: CALM }
    }
}

impl Calm {
    /// Takes note of how the node is now.
    pub(super) fn look(&mut self, well: bool, now: Duration) {
        match (self.since, well) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                let forgiven = now - since >= self.needed * FORGIVEN;
                self.needed = if forgiven { CALM } else { (self.needed * 2).min(CALM_AT_MOST) };
                self.since = None;
            }
            _ => {}
        }
    }

    pub(super) fn is_settled(&self, now: Duration) -> bool {
        self.since.is_some_and(|since| now - since >= self.needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: [NodeId; 3] = [2, 3, 1];

    fn fine(node: NodeId) -> Candidate {
        Candidate { node, well: true, settled: true, matched: 1000 }
    }

    fn ill(node: NodeId) -> Candidate {
        Candidate { well: false, ..fine(node) }
    }

    fn fresh(node: NodeId) -> Candidate {
        Candidate { settled: false, ..fine(node) }
    }

    fn behind(node: NodeId) -> Candidate {
        Candidate { matched: 900, ..fine(node) }
    }

    #[test]
    fn a_lead_goes_to_the_first_in_order_that_is_settled_and_has_caught_up() {
        let better = |candidates: &[Candidate]| better(1, &ORDER, candidates, 1010);
        assert_eq!(better(&[fine(2), fine(3)]), Some(2));
        assert_eq!(better(&[ill(2), fine(3)]), Some(3));
        assert_eq!(better(&[fresh(2), fine(3)]), Some(3));
        assert_eq!(better(&[behind(2), fine(3)]), Some(3));
        assert_eq!(better(&[behind(2), fresh(3)]), None);
        assert_eq!(better(&[]), None);
    }

    #[test]
    fn a_lead_never_goes_to_a_node_behind_the_leader_in_order() {
        assert_eq!(better(2, &ORDER, &[fine(3), fine(1)], 1000), None);
        assert_eq!(better(3, &ORDER, &[ill(2), fine(1)], 1000), None);
        // So two nodes that believe different things of each other cannot pass a lead back and forth.
        for (a, b) in [(1, 2), (2, 3), (1, 3)] {
            let to_b = better(a, &ORDER, &[fine(b)], 1000) == Some(b);
            let to_a = better(b, &ORDER, &[fine(a)], 1000) == Some(a);
            assert!(to_a != to_b, "{a} and {b}");
        }
    }

    #[test]
    fn who_stops_hands_over_to_the_next_in_order_that_has_caught_up_or_to_the_nearest() {
        let heir = |candidates: &[Candidate]| heir(&ORDER, candidates, 1010);
        assert_eq!(heir(&[fine(1), fine(3)]), Some(3));
        assert_eq!(heir(&[fine(1), behind(3)]), Some(1));
        assert_eq!(heir(&[fresh(1), ill(3)]), Some(1), "it is there, and that must do");
        let far = |node, matched| Candidate { matched, ..fine(node) };
        assert_eq!(heir(&[far(1, 700), far(3, 600)]), Some(1));
        assert_eq!(heir(&[ill(1), ill(3)]), None);
    }

    #[test]
    fn a_node_is_given_leads_back_when_it_has_been_well_for_a_while() {
        let mut calm = Calm::default();
        assert!(!calm.is_settled(CALM));
        calm.look(true, CALM);
        calm.look(true, CALM * 3 / 2);
        assert!(!calm.is_settled(CALM * 2 - Duration::from_nanos(1)) && calm.is_settled(CALM * 2));
        calm.look(false, CALM * 3);
        assert!(!calm.is_settled(CALM * 4));
    }

    #[test]
    fn a_node_that_comes_and_goes_is_left_without_leads_for_longer_each_time() {
        let (mut calm, mut now) = (Calm::default(), Duration::ZERO);
        let mut needed = Vec::new();
        for _ in 0..9 {
            calm.look(true, now);
            needed.push(calm.needed.as_secs());
            now += calm.needed + CALM;
            assert!(calm.is_settled(now));
            calm.look(false, now);
        }
        assert_eq!(needed, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        calm.look(true, now);
        calm.look(false, now + CALM_AT_MOST * FORGIVEN);
        assert_eq!(calm.needed, CALM);
    }
}
