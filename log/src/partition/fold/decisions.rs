//! What was decided in a partition: whose turn it is, and how far the sources were read.
//!
//! A leader decides ahead of what has evolved, and may lose its lead without knowing. What makes that harmless is this: a decided
//! batch names the term it was decided in and its number among those of that term. In the log of another term, or behind one that
//! is missing, it is void on every replica, and so is one that read a source from elsewhere than where the last one ended.
use super::{SnapshotError, Void};
use crate::{
    batch::Batch,
    topic::{Offset, PartitionId, Term},
};
use corduroy_proto::v1 as pb;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decisions {
    /// That of the last decided batch that counts.
    term: Term,
    /// How many of that term count.
    count: u64,
    /// The first offset of each source that was not looked at yet.
    sources: BTreeMap<PartitionId, Offset>,
}

impl Decisions {
    /// The number of the next decided batch of a term.
    pub(crate) fn next(&self, term: Term) -> u64 {
        if self.term == term { self.count } else { 0 }
    }

    /// Where a source is to be read on.
    pub(crate) fn source(&self, partition: PartitionId) -> Offset {
        self.sources.get(&partition).copied().unwrap_or_default()
    }

    /// All sources that were read.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.sources.iter().map(|(partition, offset)| (*partition, *offset))
    }

    /// Whether a batch may stand in an entry of this term, here.
    pub(super) fn judge(&self, term: Term, batch: &Batch) -> Result<(), Void> {
        let Some(decided) = batch.decided() else { return Ok(()) };
        let next = self.next(term);
        if decided.term != term || decided.sequence != next {
            return Err(Void::Fence { term, next });
        }
        let mut before: Option<PartitionId> = None;
        for (partition, read) in batch.sources() {
            let at = self.source(partition);
            // In order, so that none is there twice.
            let twice = before.replace(partition).is_some_and(|before| before >= partition);
            if read.start != at || read.end < at || twice {
                return Err(Void::Source { partition, at });
            }
        }
        Ok(())
    }

    /// Takes a batch that [`Decisions::judge`] let pass.
    pub(super) fn take(&mut self, batch: &Batch) {
        let Some(decided) = batch.decided() else { return };
        (self.term, self.count) = (decided.term, decided.sequence + 1);
        self.sources.extend(batch.sources().map(|(partition, read)| (partition, read.end)));
    }

    pub(super) fn encode(&self) -> pb::Decisions {
        let source = |(partition, offset): (PartitionId, Offset)| pb::SourceCursor { partition: partition.0, offset };
        pb::Decisions { term: self.term, count: self.count, sources: self.sources().map(source).collect() }
    }

    /// Of a partition in which nothing was decided a checkpoint says nothing.
    pub(super) fn restore(encoded: Option<&pb::Decisions>) -> Result<Self, SnapshotError> {
        let Some(encoded) = encoded else { return Ok(Decisions::default()) };
        let sources: BTreeMap<_, _> =
            encoded.sources.iter().map(|source| (PartitionId(source.partition), source.offset)).collect();
        if sources.len() != encoded.sources.len() {
            return Err(SnapshotError::Missing("each of its sources once"));
        }
        Ok(Decisions { term: encoded.term, count: encoded.count, sources })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        batch::{Batch, DecidedBatch},
        config::Limits,
        partition::fold::{Fold, FoldOptions, Verdict, Void},
        record::NewRecord,
        topic::{LogId, Offset, PartitionId, Term},
        world::Timestamp,
    };
    use proptest::prelude::*;

    const ORDERS: PartitionId = PartitionId::new(1, 0);
    const STOCK: PartitionId = PartitionId::new(2, 3);

    fn batch(term: Term, sequence: u64, events: usize, sources: &[(PartitionId, Offset, Offset)]) -> DecidedBatch {
        DecidedBatch {
            term,
            sequence,
            time: Timestamp(1),
            sources: sources.iter().map(|(partition, from, to)| (*partition, *from..*to)).collect(),
            effects: "effects".into(),
            events: vec![NewRecord::new("event"); events],
        }
    }

    /// A log, and what came of it.
    struct Folding(Fold, u64);

    impl Folding {
        fn new() -> Self {
            Folding(Fold::new(FoldOptions::default()), 0)
        }

        fn add(&mut self, term: Term, batch: &DecidedBatch) -> Verdict {
            self.1 += 1;
            let sealed = batch.seal(&Limits::default()).expect("it is small");
            self.0.evolve(LogId { term, index: self.1 }, &sealed).verdict
        }
    }

    fn fence(term: Term, next: u64) -> Verdict {
        Verdict::Void(Void::Fence { term, next })
    }

    #[test]
    fn a_batch_counts_in_the_term_it_was_decided_in_and_as_the_next_one_of_it() {
        let mut log = Folding::new();
        assert_eq!(log.add(3, &batch(3, 0, 2, &[])), Verdict::Counts);
        assert_eq!(log.add(3, &batch(3, 2, 2, &[])), fence(3, 1), "one is missing before it");
        assert_eq!(log.add(3, &batch(3, 0, 2, &[])), fence(3, 1), "it is there already");
        assert_eq!(log.add(3, &batch(3, 1, 0, &[])), Verdict::Counts, "without events, too");
        assert_eq!(log.add(4, &batch(3, 2, 2, &[])), fence(4, 0), "its decider was deposed");
        assert_eq!(log.add(4, &batch(4, 1, 1, &[])), fence(4, 0));
        assert_eq!(log.add(4, &batch(4, 0, 1, &[])), Verdict::Counts);
        assert_eq!(log.0.end, 3, "void batches cost no offset");
    }

    #[test]
    fn sources_are_read_without_gap_and_without_repetition() {
        let mut log = Folding::new();
        let source = |partition, at| Verdict::Void(Void::Source { partition, at });
        assert_eq!(log.add(1, &batch(1, 0, 1, &[(ORDERS, 0, 5), (STOCK, 0, 1)])), Verdict::Counts);
        assert_eq!(log.add(1, &batch(1, 1, 1, &[(ORDERS, 4, 6)])), source(ORDERS, 5), "4 was read already");
        assert_eq!(log.add(1, &batch(1, 1, 1, &[(ORDERS, 6, 7)])), source(ORDERS, 5), "5 was not");
        assert_eq!(
            log.add(1, &batch(1, 1, 1, &[(ORDERS, 5, 6), (STOCK, 0, 2)])),
            source(STOCK, 1),
            "as a whole or not"
        );
        assert_eq!(log.add(1, &batch(1, 1, 1, &[(ORDERS, 5, 4)])), source(ORDERS, 5));
        assert_eq!(log.add(1, &batch(1, 1, 0, &[(ORDERS, 5, 9), (STOCK, 1, 1)])), Verdict::Counts);
        assert_eq!(log.0.decisions.sources().collect::<Vec<_>>(), [(ORDERS, 9), (STOCK, 1)]);
        assert_eq!(log.add(2, &batch(2, 0, 1, &[(ORDERS, 9, 10)])), Verdict::Counts, "in every term");
    }

    /// No leader of ours writes such bytes; replicas must judge them alike all the same.
    #[test]
    fn a_source_that_is_stated_twice_is_void() {
        let mut log = Folding::new();
        let sealed = batch(1, 0, 0, &[(ORDERS, 0, 5), (STOCK, 0, 0)]).seal(&Limits::default()).expect("it is small");
        let mut bytes = sealed.bytes().to_vec();
        let stock = STOCK.0.to_le_bytes();
        let at = bytes.windows(8).position(|window| window == stock).expect("it is stated");
        bytes[at..at + 8].copy_from_slice(&ORDERS.0.to_le_bytes());
        let twice = Batch::from_verified(bytes.into(), 0).expect("the header is whole");
        assert!(matches!(
            log.0.evolve(LogId { term: 1, index: 1 }, &twice).verdict,
            Verdict::Void(Void::Source { .. })
        ));
        assert_eq!(log.0.decisions.source(ORDERS), 0);
    }

    proptest! {
        /// Whatever is proposed, what counts is one chain: in each term 0, 1, 2, ... and each source from where it ended. And a
        /// fold that was stored and restored anywhere comes to the same.
        #[test]
        fn what_counts_is_one_chain(
            steps in proptest::collection::vec((0..3_u64, 0..2_u64, 0..4_u64, 0..3_usize, 0..6_u64, 0..4_u64), 0..80),
            restored in 0..80_usize,
        ) {
            let mut log = Folding::new();
            let (mut term, mut chain, mut read, mut events) = (1, (0, 0), 0, 0);
            for (number, (later, lag, sequence, count, from, len)) in steps.into_iter().enumerate() {
                term += later / 2;
                let decided = batch(term.saturating_sub(lag), sequence, count, &[(ORDERS, from, from + len)]);
                let expected = decided.term == term
                    && sequence == (if chain.0 == term { chain.1 } else { 0 })
                    && from == read;
                let counts = log.add(term, &decided) == Verdict::Counts;
                prop_assert_eq!(counts, expected);
                if counts {
                    (chain, read, events) = ((term, sequence + 1), from + len, events + count as u64);
                }
                prop_assert_eq!(log.0.end, events);
                if number == restored {
                    let stored = log.0.frozen().expect("there are entries").encode();
                    log.0 = Fold::restore(&stored, FoldOptions::default()).expect("it was stored");
                }
            }
        }
    }
}
