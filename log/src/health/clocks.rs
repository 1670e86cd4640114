//! What the wall clocks of the nodes say of each other (R55). Pure.
//!
//! Every node tells the others what its clock shows, once a second. What is heard is late by the time it was on its way, and never
//! early: of a peer's last words, the one that came to most is nearest to the truth. They are kept as distances from this node's
//! monotonic clock, so that a jump of its own wall clock shows at once.
use crate::{topic::NodeId, world::Timestamp};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// So far from the others' a clock may be, in microseconds.
const APART: u64 = 2_000_000;
/// Words of each peer that are kept.
const WORDS: usize = 3;
/// A peer that has said nothing for so long is not counted.
const FRESH: Duration = Duration::from_secs(10);

/// What was heard, and what was judged by it.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    heard: BTreeMap<NodeId, VecDeque<Word>>,
    /// The clock of this node was found to be wrong, and not to be right since.
    wrong: bool,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    /// By the monotonic clock of this node.
    at: Duration,
    /// The peer's wall clock, less `at`.
    distance: i64,
}

fn distance(wall: Timestamp, at: Duration) -> i64 {
    i64::try_from(i128::from(wall.0) - at.as_micros() as i128).unwrap_or(i64::MAX)
}

impl Clocks {
    /// A peer's clock showed `wall` when this node's monotonic clock showed `at`, or before.
    pub(crate) fn heard(&mut self, peer: NodeId, wall: Timestamp, at: Duration) {
        let words = self.heard.entry(peer).or_default();
        words.push_back(Word { at, distance: distance(wall, at) });
        if words.len() > WORDS {
            words.pop_front();
        }
    }

    /// How far this node's wall clock is ahead of the median of its peers', in microseconds. `None`: fewer than two are heard,
    /// and of one that differs from this one nobody knows which is wrong. Between two medians, of an even number, it is not ahead:
    /// of three nodes with one wrong clock the other two are right.
    pub(crate) fn ahead(&self, wall: Timestamp, now: Duration) -> Option<i64> {
        let mut peers: Vec<i64> = self.distances(now).collect();
        if peers.len() < 2 {
            return None;
        }
        peers.sort_unstable();
        let (low, high) = (peers[(peers.len() - 1) / 2], peers[peers.len() / 2]);
        let own = distance(wall, now);
        Some(own.saturating_sub(own.clamp(low, high)))
    }

    /// Whether this node's wall clock is too far from its peers'. One that was found wrong stays so while there is no median, until
    /// it agrees with a peer: that a peer is gone mends no clock.
    pub(crate) fn is_wrong(&mut self, wall: Timestamp, now: Duration) -> bool {
        let own = distance(wall, now);
        self.wrong = match self.ahead(wall, now) {
            Some(ahead) => ahead.unsigned_abs() > APART,
            None => self.wrong && self.distances(now).all(|peer| own.abs_diff(peer) > APART),
        };
        self.wrong
    }

    /// Those of the peers that are heard.
    fn distances(&self, now: Duration) -> impl Iterator<Item = i64> {
        let fresh = move |words: &&VecDeque<Word>| words.back().is_some_and(|last| now.saturating_sub(last.at) < FRESH);
        let heard = self.heard.values().filter(fresh);
        heard.filter_map(|words| words.iter().map(|word| word.distance).max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400_000_000;
    /// Where the clocks that are right stand when the monotonic one shows nothing.
    const BEGAN: i64 = 1_767_225_600_000_000;

    fn wall(now: Duration, off: i64) -> Timestamp {
        Timestamp((BEGAN + now.as_micros() as i64 + off) as u64)
    }

    /// Each peer has told of a clock that is off by so much.
    fn told(offs: &[i64]) -> Clocks {
        let mut clocks = Clocks::default();
        for (peer, off) in (2..).zip(offs) {
            clocks.heard(peer, wall(Duration::from_secs(1), *off), Duration::from_secs(1));
        }
        clocks
    }

    fn wrong(own: i64, peers: &[i64]) -> bool {
        let now = Duration::from_secs(2);
        told(peers).is_wrong(wall(now, own), now)
    }

    #[test]
    fn of_three_clocks_the_one_that_is_off_is_wrong_and_the_others_are_not() {
        for off in [30 * DAY, -30 * DAY, APART as i64 + 1, -(APART as i64) - 1] {
            assert!(wrong(off, &[0, 0]), "{off}");
            assert!(!wrong(0, &[0, off]) && !wrong(0, &[off, 0]), "{off}");
        }
        assert!(!wrong(APART as i64, &[0, 0]), "so far it may be");
    }

    #[test]
    fn with_fewer_than_two_peers_nobody_is_judged() {
        let now = Duration::from_secs(2);
        assert_eq!(told(&[]).ahead(wall(now, 30 * DAY), now), None);
        assert_eq!(told(&[0]).ahead(wall(now, 30 * DAY), now), None);
        let later = Duration::from_secs(11);
        assert_eq!(told(&[0, 0]).ahead(wall(later, 30 * DAY), later), None, "they were heard too long ago");
    }

    #[test]
    fn a_clock_that_was_wrong_is_not_right_because_a_peer_is_gone() {
        let mut clocks = told(&[0, 0]);
        let mut wrong = |second: u64, own: i64, peer: Option<i64>| {
            let at = Duration::from_secs(second);
            if let Some(off) = peer {
                clocks.heard(2, wall(at, off), at);
            }
            clocks.is_wrong(wall(at, own), at)
        };
        assert!(wrong(2, 30 * DAY, Some(0)));
        assert!(wrong(12, 30 * DAY, Some(0)) && wrong(40, 30 * DAY, None), "one is gone, then the other");
        assert!(!wrong(41, 0, Some(0)), "it was mended");
        assert!(!wrong(42, 30 * DAY, Some(0)), "who is wrong is not known");
    }

    #[test]
    fn a_jump_of_a_peer_back_shows_with_its_third_word_and_one_forward_at_once() {
        let mut clocks = told(&[0, 0]);
        let mut ahead = |second: u64, offs: [i64; 2]| {
            let at = Duration::from_secs(second);
            clocks.heard(2, wall(at, offs[0]), at);
            clocks.heard(3, wall(at, offs[1]), at);
            clocks.ahead(wall(at, 0), at)
        };
        assert_eq!(ahead(2, [DAY, DAY]), Some(-DAY));
        assert_eq!([ahead(3, [0, 0]), ahead(4, [0, 0]), ahead(5, [0, 0])], [Some(-DAY), Some(-DAY), Some(0)]);
    }

    #[test]
    fn where_all_clocks_differ_the_one_in_the_middle_is_right() {
        assert_eq!(
            [wrong(0, &[DAY, 2 * DAY]), wrong(DAY, &[0, 2 * DAY]), wrong(2 * DAY, &[0, DAY])],
            [true, false, true]
        );
    }

    proptest! {
        /// As long as most clocks are right, whoever is right is judged so, however late words come, and whoever is far off is not.
        #[test]
        fn a_minority_of_wrong_clocks_deposes_nobody_who_is_right(
            nodes in 3..8usize,
            off in prop_oneof![3_100_000..30 * DAY, -30 * DAY..-3_100_000],
            delays in proptest::collection::vec(0..1_000_000i64, 7 * 5),
        ) {
            let bad = (nodes - 1) / 2;
            let of = |node: usize| if node < bad { off } else { 0 };
            let now = Duration::from_secs(5);
            for me in 0..nodes {
                let mut clocks = Clocks::default();
                for second in 0..5u64 {
                    for peer in (0..nodes).filter(|peer| *peer != me) {
                        let sent = Duration::from_secs(second);
                        let delay = Duration::from_micros(delays[peer * 5 + second as usize] as u64);
                        clocks.heard(peer as u64, wall(sent, of(peer)), sent + delay);
                    }
                }
                let wall = wall(now, of(me));
                prop_assert_eq!(clocks.is_wrong(wall, now), me < bad, "{} of {}: {:?}", me, nodes, clocks.ahead(wall, now));
            }
        }
    }
}
