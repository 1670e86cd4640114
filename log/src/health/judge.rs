//! The decisions, as functions of what is known.
use crate::{topic::NodeId, wal::Space};
use std::time::Duration;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    pub space: Space,
    /// A write or sync is overdue, or was a short while ago.
    pub slow: bool,
    /// The node is about to stop.
    pub leaving: bool,
    /// Its clock is far from the others'.
    pub clock_wrong: bool,
}

impl Condition {
    /// Nothing speaks against leading.
    pub(crate) fn is_well(self) -> bool {
        self == Condition::default()
    }
}

/// A replica elsewhere, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    pub node: NodeId,
    /// There is a connection to it.
    pub connected: bool,
    /// What it said last.
    pub condition: Condition,
    /// Index of the last entry it is known to have; only leaders know.
    pub matched: u64,
}

impl Replica {
    fn is_fast(&self) -> bool {
        self.connected && !self.condition.slow
    }

    fn is_well(&self) -> bool {
        self.connected && self.condition.is_well()
    }
}

/// Whether the others could go on without this node: a majority of the `others` and this node must have disks that answer,
/// because each of them has to write its vote.
fn others_suffice(others: &[Replica]) -> bool {
    let fast = others.iter().filter(|other| other.is_fast()).count();
    2 * fast > others.len() + 1
}

/// Whether a node that has waited so long for its disk must not look alive (R25). Not where the others are as slow: then
/// an election moves nothing, and its votes would have to be written by the same disks.
pub(crate) fn must_be_silent(waited: Option<Duration>, overdue: Duration, others: &[Replica]) -> bool {
    waited.is_some_and(|waited| waited > overdue) && others_suffice(others)
}

/// What is wrong with the node that leads, or would like to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// Its disk takes no writes of clients.
    pub space: Space,
    /// Its disk has been at work for too long.
    pub stuck: bool,
    /// Its clock is far from the others'.
    pub clock_wrong: bool,
}

/// To whom a leader should hand over (R66): the best replica that is well; nobody, where the leader is fit or no other is
/// fitter.
pub(crate) fn successor(me: Unfit, others: &[Replica]) -> Option<NodeId> {
    let reason = me.space != Space::Plenty || me.clock_wrong || me.stuck && others_suffice(others);
    let well = others.iter().filter(|other| reason && other.is_well());
    // Of equals the lowest id: every call gives the same.
    well.max_by_key(|other| (other.matched, std::cmp::Reverse(other.node))).map(|other| other.node)
}

/// Whether a node may ask for votes: not while it is unwell and another replica is well. Where there has been no leader for long,
/// it may: the others' logs may be behind, so that nobody else can be elected. It hands over when they are not.
pub(crate) fn may_campaign(me: Condition, others: &[Replica], long_without: bool) -> bool {
    let better = others.iter().any(Replica::is_well);
    let blocked = me.space != Space::Plenty || me.clock_wrong || me.slow && others_suffice(others);
    long_without || !(better && blocked)
}

/// Whether too few replicas, the leader among them, have room for what a client would append.
pub(crate) fn lacks_room(others: &[Replica]) -> Option<NodeId> {
    let full = |other: &&Replica| other.connected && other.condition.space == Space::Full;
    let count = others.iter().filter(full).count();
    let first = others.iter().find(full).map(|other| other.node);
    first.filter(|_| 2 * count > others.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERDUE: Duration = Duration::from_millis(200);
    const LONG: Option<Duration> = Some(Duration::from_millis(201));

    fn replica(node: NodeId, space: Space, slow: bool) -> Replica {
        Replica { node, connected: true, condition: Condition { space, slow, ..Condition::default() }, matched: 10 }
    }

    fn well(node: NodeId) -> Replica {
        replica(node, Space::Plenty, false)
    }

    fn slow(node: NodeId) -> Replica {
        replica(node, Space::Plenty, true)
    }

    fn full(node: NodeId) -> Replica {
        replica(node, Space::Full, false)
    }

    fn clock_wrong(node: NodeId) -> Replica {
        Replica { condition: Condition { clock_wrong: true, ..Condition::default() }, ..well(node) }
    }

    fn gone(node: NodeId) -> Replica {
        Replica { connected: false, ..well(node) }
    }

    const FULL: Unfit = Unfit { space: Space::Full, stuck: false, clock_wrong: false };
    const STUCK: Unfit = Unfit { space: Space::Plenty, stuck: true, clock_wrong: false };
    const FIT: Unfit = Unfit { space: Space::Plenty, stuck: false, clock_wrong: false };

    #[test]
    fn a_node_with_an_overdue_disk_is_silent_only_where_the_others_are_a_majority_of_faster_ones() {
        assert!(must_be_silent(LONG, OVERDUE, &[well(2), well(3)]));
        assert!(!must_be_silent(Some(OVERDUE), OVERDUE, &[well(2), well(3)]), "not overdue yet");
        assert!(!must_be_silent(None, OVERDUE, &[well(2), well(3)]), "nothing to do");
        for others in [[well(2), slow(3)], [slow(2), slow(3)], [well(2), gone(3)]] {
            assert!(!must_be_silent(LONG, OVERDUE, &others), "{others:?}");
        }
        assert!(!must_be_silent(LONG, OVERDUE, &[]), "there is nobody else");
        assert!(must_be_silent(LONG, OVERDUE, &[well(2), well(3), well(4), slow(5)]), "three of five");
        assert!(!must_be_silent(LONG, OVERDUE, &[well(2), well(3), slow(4), slow(5)]), "two of five");
    }

    #[test]
    fn a_lead_goes_to_the_replica_that_has_most_and_never_to_one_as_unfit() {
        let ahead = Replica { matched: 11, ..well(3) };
        assert_eq!(successor(FULL, &[well(2), ahead]), Some(3));
        assert_eq!(successor(FULL, &[well(2), well(3)]), Some(2));
        assert_eq!(successor(FULL, &[full(2), well(3)]), Some(3));
        assert_eq!(successor(FULL, &[full(2), full(3)]), None, "all are full: the leader stays");
        assert_eq!(successor(FULL, &[slow(2), gone(3)]), None);
        assert_eq!(successor(FIT, &[well(2), ahead]), None);
        assert_eq!(successor(STUCK, &[well(2), well(3)]), Some(2));
        assert_eq!(successor(STUCK, &[well(2), slow(3)]), None, "its election would need a vote of a slow disk");
    }

    #[test]
    fn leads_never_go_back_and_forth_between_full_nodes() {
        // Whoever hands over names a node that is well, and a node that is well does not hand over.
        for spaces in [[Space::Low, Space::Plenty], [Space::Full, Space::Plenty], [Space::Low, Space::Low]] {
            let a = Unfit { space: spaces[0], stuck: false, clock_wrong: false };
            let b = Unfit { space: spaces[1], stuck: false, clock_wrong: false };
            let from_a = successor(a, &[replica(2, spaces[1], false)]);
            let from_b = successor(b, &[replica(1, spaces[0], false)]);
            assert!(from_a.is_none() || from_b.is_none(), "{spaces:?}");
        }
    }

    #[test]
    fn a_node_that_is_unwell_campaigns_only_where_nobody_better_is_there() {
        let low = Condition { space: Space::Low, ..Condition::default() };
        assert!(!may_campaign(low, &[well(2), gone(3)], false));
        assert!(may_campaign(low, &[full(2), gone(3)], false));
        assert!(may_campaign(low, &[gone(2), gone(3)], false));
        assert!(may_campaign(Condition::default(), &[well(2), well(3)], false));
        let late = Condition { slow: true, ..Condition::default() };
        assert!(!may_campaign(late, &[well(2), well(3)], false));
        assert!(may_campaign(late, &[well(2), slow(3)], false), "the others alone cannot elect quickly");
        let wrong = Condition { clock_wrong: true, ..Condition::default() };
        assert!(!may_campaign(wrong, &[well(2), well(3)], false));
        assert!(may_campaign(wrong, &[clock_wrong(2), gone(3)], false), "nobody better is there");
        for unwell in [low, late, wrong] {
            assert!(may_campaign(unwell, &[well(2), well(3)], true), "its log may be the only one that can be elected");
        }
    }

    #[test]
    fn a_node_whose_clock_is_wrong_hands_over_to_one_whose_clock_is_right() {
        let wrong = Unfit { clock_wrong: true, ..FIT };
        assert_eq!(successor(wrong, &[clock_wrong(2), well(3)]), Some(3));
        assert_eq!(successor(wrong, &[clock_wrong(2), gone(3)]), None, "somebody has to lead");
        assert_eq!(successor(FULL, &[clock_wrong(2), gone(3)]), None, "nor does one with another trouble");
    }

    #[test]
    fn appends_are_refused_where_a_majority_has_no_room() {
        assert_eq!(lacks_room(&[full(2), full(3)]), Some(2));
        assert_eq!(lacks_room(&[full(2), well(3)]), None);
        assert_eq!(lacks_room(&[replica(2, Space::Low, false), full(3)]), None);
        assert_eq!(lacks_room(&[]), None);
    }
}
