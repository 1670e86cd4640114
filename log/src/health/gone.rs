//! Which processes of other nodes are gone, by whose word. Values in, values out; [`super::failover`] acts on them.
//!
//! A process that ends leaves behind a machine that says so: its connections are reset, and new ones are refused. A node that
//! met both *suspects* the process, names it to the others by the random number of its greetings, and hears whom they
//! suspect. One node's word proves little: something on the way may reset and refuse, too. So nothing follows but from
//! the words of a majority of a partition's voters, this node among them.
//!
//! **Invariant**: a suspicion ends when the node is met again. A process that was suspected wrongly is believed to live for
//! a while that doubles, and a node is suspected once in [`PAUSE`]: links that come and go cannot keep a cluster busy.
use crate::topic::{LogId, NodeId, PartitionId};
use std::{collections::BTreeMap, time::Duration};

/// Between two suspicions of one node.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a process is believed to live that was suspected wrongly once; doubles each time.
const BELIEVED: Duration = Duration::from_secs(10);
const BELIEVED_AT_MOST: Duration = Duration::from_secs(600);

/// What is known of processes. Times are since some moment in the past.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    known: BTreeMap<NodeId, Known>,
    /// What the others say.
    words: BTreeMap<NodeId, Word>,
}

/// What this node knows of another.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The process that was met last.
    run: u64,
    /// It is suspected.
    gone: bool,
    /// When the node was suspected last.
    suspected: Option<Duration>,
    /// How often this process was suspected and came back.
    wrongly: u32,
    /// Until when it is not suspected.
    believed: Duration,
}

/// What a node says of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// The processes that are gone, by node.
    pub processes: BTreeMap<NodeId, u64>,
    /// How far the speaker's log reaches, in partitions that they led.
    pub logs: BTreeMap<PartitionId, Option<LogId>>,
}

/// Those who say that a process is gone, and how far each one's log reaches in a partition, where it said so.
pub(crate) type Witnesses = BTreeMap<NodeId, Option<LogId>>;

/// What became of a report that nobody listens where a process was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It is suspected from now on.
    New,
    /// It was already, or another process has come since.
    Known,
    /// It was suspected too often to be believed.
    TooOften,
}

impl Gone {
    /// A process was met. `true`: what was said of this node's processes changes.
    pub(crate) fn met(&mut self, node: NodeId, run: u64, now: Duration) -> bool {
        let fresh = Known { run, gone: false, suspected: None, wrongly: 0, believed: Duration::ZERO };
        let known = self.known.entry(node).or_insert(fresh);
        let was_gone = known.gone;
        if known.run != run {
            *known = Known { suspected: known.suspected, ..fresh };
            // Another process knows nothing of what the one before it said.
            self.words.remove(&node);
        } else if was_gone {
            known.gone = false;
            let believed = BELIEVED.saturating_mul(1 << known.wrongly.min(16));
            known.believed = now + believed.min(BELIEVED_AT_MOST);
            known.wrongly += 1;
        }
        was_gone
    }

    /// A process called. `true` as for [`Gone::met`]. Of the process that was met last this may be an old call: to be met, it
    /// has to answer one.
    pub(crate) fn called(&mut self, node: NodeId, run: u64, now: Duration) -> bool {
        let is_news = self.known.get(&node).is_none_or(|known| known.run != run);
        is_news && self.met(node, run, now)
    }

    /// The connection to a process was lost, and the machine refuses another.
    pub(crate) fn refused(&mut self, node: NodeId, run: u64, now: Duration) -> Suspicion {
        let Some(known) = self.known.get_mut(&node).filter(|known| known.run == run && !known.gone) else {
            return Suspicion::Known;
        };
        if now < known.believed || known.suspected.is_some_and(|last| now < last + PAUSE) {
            return Suspicion::TooOften;
        }
        known.gone = true;
        known.suspected = Some(now);
        Suspicion::New
    }

    /// The processes this node suspects.
    pub(crate) fn own(&self) -> BTreeMap<NodeId, u64> {
        self.known.iter().filter(|(_, known)| known.gone).map(|(node, known)| (*node, known.run)).collect()
    }

    /// A node said which processes are gone. It says all of them each time.
    pub(crate) fn said(&mut self, node: NodeId, word: Word) {
        self.words.insert(node, word);
    }

    /// Whether a process that was suspected answers again.
    pub(crate) fn is_back(&self, node: NodeId, run: u64) -> bool {
        self.known.get(&node).is_some_and(|known| known.run == run && !known.gone)
    }

    /// Who of `voters`, among them this node, says that the process of `node` is gone which this node met last; with how
    /// far its log reaches in a partition, and which process. `None`: not a majority of them, or this node does not say so.
    pub(crate) fn witnesses(
        &self,
        node: NodeId,
        me: NodeId,
        voters: &[NodeId],
        partition: PartitionId,
    ) -> Option<(u64, Witnesses)> {
        let run = self.known.get(&node).filter(|known| known.gone)?.run;
        let says = |(_, word): &(&NodeId, &Word)| word.processes.get(&node) == Some(&run);
        let others = self.words.iter().filter(says).filter(|(speaker, _)| voters.contains(speaker));
        let mut witnesses: Witnesses =
            others.map(|(speaker, word)| (*speaker, word.logs.get(&partition).copied().flatten())).collect();
        witnesses.remove(&node);
        witnesses.insert(me, None);
        (2 * witnesses.len() > voters.len() && voters.contains(&me)).then_some((run, witnesses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId(7);
    const OLD: u64 = 70;
    const NEW: u64 = 71;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Node 1, which has met process [`OLD`] of node 3.
    fn met() -> Gone {
        let mut gone = Gone::default();
        assert!(!gone.met(3, OLD, at(0)));
        gone
    }

    fn word(node: NodeId, run: u64) -> Word {
        Word { processes: BTreeMap::from([(node, run)]), logs: BTreeMap::new() }
    }

    fn is_gone(gone: &Gone, voters: &[NodeId]) -> bool {
        gone.witnesses(3, 1, voters, PARTITION).is_some()
    }

    #[test]
    fn one_nodes_word_is_not_enough_whoevers_it_is() {
        let mut own = met();
        assert_eq!(own.refused(3, OLD, at(5)), Suspicion::New);
        assert!(!is_gone(&own, &[1, 2, 3]) && !is_gone(&own, &[1, 2, 3, 4, 5]));
        let mut others = met();
        others.said(2, word(3, OLD));
        others.said(4, word(3, OLD));
        assert!(!is_gone(&others, &[1, 2, 3, 4, 5]), "this node met it and was not refused");
    }

    #[test]
    fn a_majority_of_the_voters_is_enough_and_only_of_the_voters() {
        let mut gone = met();
        gone.refused(3, OLD, at(5));
        gone.said(2, word(3, OLD));
        assert!(is_gone(&gone, &[1, 2, 3]));
        assert!(!is_gone(&gone, &[1, 2, 3, 4, 5]), "two of five");
        assert!(!is_gone(&gone, &[1, 3, 4]), "node 2 has no vote there");
        assert!(!is_gone(&gone, &[2, 3, 4]), "nor has this node");
        assert!(!is_gone(&gone, &[1, 3]), "of two, one is no majority");
        gone.said(3, word(3, OLD));
        assert!(!is_gone(&gone, &[1, 3, 4]), "nobody is a witness of his own end");
    }

    #[test]
    fn the_words_must_be_about_the_same_process() {
        let mut gone = met();
        gone.refused(3, OLD, at(5));
        gone.said(2, word(3, NEW));
        assert!(!is_gone(&gone, &[1, 2, 3]), "another process, or an earlier one");
        gone.said(2, word(2, OLD));
        assert!(!is_gone(&gone, &[1, 2, 3]), "another node's");
        gone.said(2, word(3, OLD));
        assert!(is_gone(&gone, &[1, 2, 3]));
        assert!(gone.met(3, NEW, at(10)), "it is back");
        assert!(!is_gone(&gone, &[1, 2, 3]), "the old one is gone, and leads nothing any more");
        assert_eq!(gone.refused(3, OLD, at(20)), Suspicion::Known, "an attempt that was under way");
    }

    #[test]
    fn a_word_is_taken_back_and_ends_with_its_speaker() {
        let mut gone = met();
        gone.refused(3, OLD, at(5));
        gone.said(2, word(3, OLD));
        gone.said(2, Word::default());
        assert!(!is_gone(&gone, &[1, 2, 3]));
        gone.met(2, 20, at(6));
        gone.said(2, word(3, OLD));
        gone.met(2, 20, at(7));
        assert!(is_gone(&gone, &[1, 2, 3]), "another connection of the same process");
        gone.met(2, 21, at(8));
        assert!(!is_gone(&gone, &[1, 2, 3]));
    }

    #[test]
    fn an_old_call_is_no_sign_of_life_and_that_of_another_process_is() {
        let mut gone = met();
        gone.refused(3, OLD, at(5));
        assert!(!gone.called(3, OLD, at(6)));
        assert_eq!(gone.own(), BTreeMap::from([(3, OLD)]));
        assert!(gone.called(3, NEW, at(7)) && gone.own().is_empty());
    }

    #[test]
    fn a_suspicion_ends_when_the_process_is_met_again_and_is_not_had_again_soon() {
        let mut gone = met();
        let mut now = at(2000);
        for wrongly in 0..10_u32 {
            assert_eq!(gone.refused(3, OLD, now), Suspicion::New);
            assert_eq!(gone.own(), BTreeMap::from([(3, OLD)]));
            assert!(gone.met(3, OLD, now));
            assert!(gone.own().is_empty());
            let believed = (BELIEVED * 2_u32.pow(wrongly)).min(BELIEVED_AT_MOST);
            assert_eq!(gone.refused(3, OLD, now + believed - at(1)), Suspicion::TooOften);
            now += believed;
        }
    }

    #[test]
    fn a_process_that_dies_again_and_again_is_suspected_once_in_a_while() {
        let mut gone = met();
        assert_eq!(gone.refused(3, OLD, at(0)), Suspicion::New);
        gone.met(3, NEW, at(300));
        assert_eq!(gone.refused(3, NEW, at(500)), Suspicion::TooOften);
        assert_eq!(gone.refused(3, NEW, PAUSE), Suspicion::New, "it is still refused");
    }

    #[test]
    fn who_was_never_met_is_not_suspected() {
        assert_eq!(Gone::default().refused(3, OLD, at(0)), Suspicion::Known);
    }

    #[test]
    fn witnesses_say_how_far_their_logs_reach() {
        let mut gone = met();
        gone.refused(3, OLD, at(5));
        let last = Some(LogId { term: 2, index: 9 });
        gone.said(2, Word { logs: BTreeMap::from([(PARTITION, last)]), ..word(3, OLD) });
        let witnesses = gone.witnesses(3, 1, &[1, 2, 3], PARTITION);
        assert_eq!(witnesses, Some((OLD, BTreeMap::from([(1, None), (2, last)]))));
        assert!(!gone.is_back(3, OLD) && !gone.is_back(3, NEW));
        gone.met(3, OLD, at(6));
        assert!(gone.is_back(3, OLD));
    }
}
