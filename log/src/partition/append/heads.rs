//! What producers have in flight at this leader, ahead of what has evolved. Pure.
//!
//! The fold decides what is a repetition; it would void one that is appended again. This is what keeps a leader from
//! appending it at all, and lets a producer have many appends in flight.
//!
//! **Invariant**: an append is taken only as the next one of its producer, counted from what has evolved and what is in
//! flight. After one of them failed the producer's next is refused until all are settled: whatever followed is void.
use crate::{
    partition::fold::{RUNS, Void},
    producer::{ProducerId, ProducerStamp},
    topic::Term,
};
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The term all of it was proposed in.
    term: Term,
    producers: HashMap<ProducerId, Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    epoch: u32,
    next: u64,
    in_flight: usize,
    /// One of them failed.
    broken: bool,
}

/// What an append of a producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its next.
    Next,
    /// One that has evolved or is in flight.
    Repeated,
    /// Neither.
    Void(Void),
    /// Its next, while it has as much unanswered as it may, or while what failed is being settled.
    NotNow,
}

impl Heads {
    /// Forgets what was proposed in other terms: where it ended has evolved.
    pub(super) fn enter(&mut self, term: Term) {
        if self.term != term {
            *self = Heads { term, producers: HashMap::new() };
        }
    }

    /// What an append is; `evolved` says what it is to what has evolved.
    pub(super) fn place(
        &self,
        stamp: &ProducerStamp,
        records: u64,
        evolved: impl FnOnce() -> Result<(), Void>,
    ) -> Place {
        let ProducerStamp { producer, epoch, sequence } = *stamp;
        let Some(head) = self.producers.get(&producer) else {
            return match evolved() {
                Ok(()) => Place::Next,
                Err(Void::Duplicate { .. }) => Place::Repeated,
                Err(void) => Place::Void(void),
            };
        };
        if epoch < head.epoch {
            return Place::Void(Void::Epoch { current: head.epoch });
        }
        let next = if epoch == head.epoch { head.next } else { 0 };
        let Some(end) = sequence.checked_add(records) else { return Place::Void(Void::Sequence { expected: next }) };
        match sequence {
            _ if head.broken => Place::NotNow,
            sequence if sequence == next && head.in_flight >= RUNS => Place::NotNow,
            sequence if sequence == next => Place::Next,
            _ if end <= next => Place::Repeated,
            _ => Place::Void(Void::Sequence { expected: next }),
        }
    }

    /// The producer's next is about to be proposed.
    pub(super) fn proposed(&mut self, stamp: &ProducerStamp, records: u64) {
        let ProducerStamp { producer, epoch, sequence } = *stamp;
        let idle = Head { epoch, next: sequence, in_flight: 0, broken: false };
        let head = self.producers.entry(producer).or_insert(idle);
        (head.epoch, head.next) = (epoch, sequence + records);
        head.in_flight += 1;
    }

    /// One that was proposed in `term` is settled.
    pub(super) fn settled(&mut self, term: Term, producer: &ProducerId, counted: bool) {
        if term != self.term {
            return;
        }
        let Some(head) = self.producers.get_mut(producer) else { return };
        head.broken |= !counted;
        head.in_flight -= 1;
        if head.in_flight == 0 {
            self.producers.remove(producer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: ProducerId = ProducerId([7; 16]);

    fn stamp(epoch: u32, sequence: u64) -> ProducerStamp {
        ProducerStamp { producer: PRODUCER, epoch, sequence }
    }

    fn heads() -> Heads {
        let mut heads = Heads::default();
        heads.enter(3);
        heads
    }

    fn never() -> Result<(), Void> {
        panic!("what is in flight decides")
    }

    #[test]
    fn a_producer_goes_on_from_what_is_in_flight_and_is_told_of_repetitions() {
        let mut heads = heads();
        assert_eq!(heads.place(&stamp(0, 0), 5, || Ok(())), Place::Next);
        heads.proposed(&stamp(0, 0), 5);
        assert_eq!(heads.place(&stamp(0, 5), 2, never), Place::Next);
        heads.proposed(&stamp(0, 5), 2);
        assert_eq!(heads.place(&stamp(0, 0), 5, never), Place::Repeated);
        assert_eq!(heads.place(&stamp(0, 5), 2, never), Place::Repeated);
        assert_eq!(heads.place(&stamp(0, 6), 2, never), Place::Void(Void::Sequence { expected: 7 }));
        assert_eq!(heads.place(&stamp(0, 8), 2, never), Place::Void(Void::Sequence { expected: 7 }));
    }

    #[test]
    fn after_a_failure_nothing_is_taken_until_all_is_settled() {
        let mut heads = heads();
        heads.proposed(&stamp(0, 0), 5);
        heads.proposed(&stamp(0, 5), 5);
        heads.settled(3, &PRODUCER, false);
        assert_eq!(heads.place(&stamp(0, 0), 5, never), Place::NotNow);
        assert_eq!(heads.place(&stamp(0, 10), 5, never), Place::NotNow);
        heads.settled(3, &PRODUCER, false);
        assert_eq!(heads.place(&stamp(0, 0), 5, || Ok(())), Place::Next, "what has evolved decides again");
    }

    #[test]
    fn a_later_life_begins_anew_and_fences_the_earlier_one_off() {
        let mut heads = heads();
        heads.proposed(&stamp(0, 0), 5);
        assert_eq!(heads.place(&stamp(1, 5), 5, never), Place::Void(Void::Sequence { expected: 0 }));
        assert_eq!(heads.place(&stamp(1, 0), 5, never), Place::Next);
        heads.proposed(&stamp(1, 0), 5);
        assert_eq!(heads.place(&stamp(0, 5), 5, never), Place::Void(Void::Epoch { current: 1 }));
    }

    #[test]
    fn what_a_producer_has_unanswered_is_bounded() {
        let mut heads = heads();
        (0..RUNS as u64).for_each(|n| heads.proposed(&stamp(0, n), 1));
        assert_eq!(heads.place(&stamp(0, RUNS as u64), 1, never), Place::NotNow);
        heads.settled(3, &PRODUCER, true);
        assert_eq!(heads.place(&stamp(0, RUNS as u64), 1, never), Place::Next);
    }

    #[test]
    fn a_new_term_begins_with_what_has_evolved() {
        let mut heads = heads();
        heads.proposed(&stamp(0, 0), 5);
        heads.enter(4);
        assert_eq!(heads.place(&stamp(0, 0), 5, || Ok(())), Place::Next);
        heads.proposed(&stamp(0, 0), 5);
        heads.settled(3, &PRODUCER, false);
        assert_eq!(heads.place(&stamp(0, 5), 5, never), Place::Next, "the old term's answer says nothing");
    }
}
