//! Who asks for votes when the process of a leader is gone, and when. Pure.
//!
//! All witnesses could ask at once, but two that do so in the same term may split the votes, and the next attempt is an
//! election timeout away. So they take turns: the one whose log reaches furthest first, because nobody else may be elected
//! by it; of equals the one whom the placement prefers, so that what one node led is spread over the others. Whoever asks,
//! asks again soon: a vote that was refused because a lease was not lifted yet is granted a moment later.
use super::gone::Witnesses;
use crate::topic::{LogId, NodeId, Vote};
use std::{cmp::Reverse, time::Duration};

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(15);
/// What each witness leaves to the one before it: two attempts.
const TURN: Duration = Duration::from_millis(35);
/// How long an election that is under way is left alone at first; doubles. Its votes have to be written.
const UNDER_WAY: Duration = Duration::from_millis(60);
/// Then it is left to the timeouts of elections.
const GIVE_UP: Duration = Duration::from_secs(1);

/// How many come before this node in succeeding `dead`. `mine` is how far its log reaches; the placement prefers nodes in the order
/// of `replicas`. Whose word has not come yet is taken for a witness whose log reaches as far: words come within a moment of each
/// other, and not to everyone in the same order.
pub(crate) fn turn(me: NodeId, mine: Option<LogId>, dead: NodeId, witnesses: &Witnesses, replicas: &[NodeId]) -> u32 {
    let rank = |node: NodeId| replicas.iter().position(|replica| *replica == node).unwrap_or(replicas.len());
    let claim = |node: NodeId| (witnesses.get(&node).copied().unwrap_or(mine), Reverse(rank(node)));
    let others = replicas.iter().filter(|node| **node != me && **node != dead);
    others.filter(|node| claim(**node) > (mine, Reverse(rank(me)))).count() as u32
}

/// What a witness does about one group, from the moment a majority said that its leader is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Campaign {
    /// That of the leader that is gone.
    pub dead: Vote,
    /// Its process.
    pub run: u64,
    began: Duration,
    turn: u32,
    /// The group's vote when it was looked at last.
    vote: Vote,
    /// When to ask next.
    next: Duration,
    under_way: Duration,
}

impl Campaign {
    pub(crate) fn new(dead: Vote, run: u64, turn: u32, now: Duration) -> Self {
        Campaign { dead, run, began: now, turn, vote: dead, next: now + TURN * turn, under_way: UNDER_WAY }
    }

    /// Whether the group has another leader, or it took too long.
    pub(crate) fn is_over(&self, vote: Vote, now: Duration) -> bool {
        vote.committed && vote != self.dead || now > self.began + GIVE_UP
    }

    /// Whether to ask for votes now. To be asked every few milliseconds. `turn` is this witness's by what is known now: a majority's
    /// words began the campaign, but not for everyone the same ones, so two may have taken the same turn. Once is no harm.
    pub(crate) fn asks(&mut self, vote: Vote, now: Duration, turn: impl FnOnce() -> Option<u32>) -> bool {
        if vote != self.vote {
            self.vote = vote;
            self.turn = turn().unwrap_or(self.turn);
            self.next = now + self.under_way + TURN * self.turn;
        }
        if now < self.next {
            return false;
        }
        if vote == self.dead {
            self.next = now + AGAIN;
        } else {
            self.under_way *= 2;
            self.next = now + self.under_way + TURN * self.turn;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const DEAD: Vote = Vote { term: 4, node: 3, committed: true };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn log(term: u64, index: u64) -> Option<LogId> {
        Some(LogId { term, index })
    }

    /// When a witness asks within two seconds, if the vote is what `vote` says.
    fn asked(turn: u32, vote: impl Fn(u64) -> Vote) -> Vec<u64> {
        let mut campaign = Campaign::new(DEAD, 70, turn, at(0));
        let looks = (0..400).map(|look| look * 5);
        let alive =
            looks.take_while(|millis| !Campaign::new(DEAD, 70, turn, at(0)).is_over(vote(*millis), at(*millis)));
        alive.filter(|millis| campaign.asks(vote(*millis), at(*millis), || None)).collect()
    }

    #[test]
    fn whoevers_log_reaches_furthest_is_first_and_of_equals_the_preferred_one() {
        let witnesses = BTreeMap::from([(1, None), (2, log(4, 9)), (5, log(4, 7))]);
        let turn = |mine, order: &[NodeId]| turn(1, mine, 3, &witnesses, order);
        assert_eq!(turn(log(4, 10), &[3, 2, 5, 1]), 0);
        assert_eq!(turn(log(5, 1), &[3, 2, 5, 1]), 0, "a later term is more than a longer log");
        assert_eq!(turn(log(4, 9), &[3, 2, 5, 1]), 1);
        assert_eq!(turn(log(4, 9), &[3, 1, 2, 5]), 0);
        assert_eq!(turn(log(4, 8), &[3, 1, 2, 5]), 1);
        assert_eq!(turn(None, &[3, 1, 2, 5]), 2);
    }

    #[test]
    fn turns_of_witnesses_with_equal_knowledge_differ() {
        let logs = BTreeMap::from([(1, log(4, 9)), (2, log(4, 9)), (5, log(4, 8))]);
        let turns = [1, 2, 5].map(|me| turn(me, logs[&me], 3, &logs, &[3, 5, 2, 1]));
        assert_eq!(turns, [1, 0, 2]);
    }

    /// Of five replicas three are a majority, and not for everyone the same three.
    #[test]
    fn turns_of_witnesses_with_different_majorities_words_differ() {
        let order = [3, 5, 4, 1, 2];
        let of = |me: NodeId, heard: [NodeId; 2]| {
            let witnesses = heard.into_iter().map(|node| (node, log(4, 9))).chain([(me, None)]).collect();
            turn(me, log(4, 9), 3, &witnesses, &order)
        };
        assert_eq!([of(5, [1, 2]), of(4, [1, 2]), of(1, [4, 2]), of(2, [1, 5])], [0, 1, 2, 3]);
    }

    #[test]
    fn the_first_asks_at_once_and_every_15_ms_and_the_others_later() {
        assert_eq!(asked(0, |_| DEAD)[..4], [0, 15, 30, 45]);
        assert_eq!(asked(1, |_| DEAD)[..2], [35, 50]);
        assert_eq!(asked(2, |_| DEAD)[0], 70);
    }

    #[test]
    fn it_ends_with_another_leader_and_when_it_has_taken_too_long() {
        let led = Vote { term: 5, node: 2, committed: true };
        assert_eq!(asked(0, |millis| if millis < 20 { DEAD } else { led }), [0, 15]);
        let last = asked(0, |_| DEAD).pop().expect("it asked");
        assert!((980..=1000).contains(&last), "{last}");
    }

    /// One whose log reaches further than was known, so that both took the first turn.
    #[test]
    fn two_who_took_the_same_turn_take_different_ones_after_they_split_the_votes() {
        let second_attempt = |known: u32| {
            let mut campaign = Campaign::new(DEAD, 70, 0, at(0));
            let mut asks = |vote, millis| campaign.asks(vote, at(millis), || Some(known));
            assert!(asks(DEAD, 0));
            let split = Vote { term: 5, node: 1, committed: false };
            (5..).step_by(5).find(|millis| asks(split, *millis)).expect("it asks again")
        };
        assert_eq!((second_attempt(0), second_attempt(1)), (65, 100));
    }

    #[test]
    fn an_election_that_is_under_way_is_given_more_time_each_time() {
        let candidate = |term| Vote { term, node: 1, committed: false };
        assert_eq!(asked(0, |millis| if millis < 10 { DEAD } else { candidate(5) }), [0, 70, 190, 430, 910]);
        let later = asked(1, |millis| if millis < 10 { DEAD } else { candidate(5) });
        assert_eq!(later[0], 105, "who comes later leaves it alone for longer");
    }
}
