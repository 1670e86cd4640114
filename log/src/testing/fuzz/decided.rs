//! Decided batches, as leaders that come and go propose them: in any order, twice, late, and with sources that do not fit.
use super::{array, number};
use crate::{
    batch::{Batch, DecidedBatch},
    config::Limits,
    partition::fold::{Fold, FoldOptions, Verdict},
    record::NewRecord,
    topic::{LogId, Offset, PartitionId, Term},
    world::Timestamp,
};
use arbitrary::Unstructured;
use std::{collections::BTreeMap, ops::Range};

/// What counts, by the rules alone.
#[derive(Default)]
struct Model {
    term: Term,
    count: u64,
    sources: BTreeMap<PartitionId, Offset>,
    end: Offset,
}

impl Model {
    fn next(&self, term: Term) -> u64 {
        if self.term == term { self.count } else { 0 }
    }

    /// Whether a batch counts in an entry of this term; and what follows.
    fn take(&mut self, term: Term, batch: &DecidedBatch) -> bool {
        let at = |partition: &PartitionId| self.sources.get(partition).copied().unwrap_or_default();
        let fits =
            |(partition, read): (&PartitionId, &Range<Offset>)| read.start == at(partition) && read.end >= read.start;
        let counts = batch.term == term && batch.sequence == self.next(term) && batch.sources.iter().all(fits);
        if counts {
            (self.term, self.count) = (term, batch.sequence + 1);
            self.sources.extend(batch.sources.iter().map(|(partition, read)| (*partition, read.end)));
            self.end += batch.events.len() as u64;
        }
        counts
    }
}

/// What counts is one chain, by a model of a few lines; what is void changes nothing, wherever the fold was stored and restored.
pub fn decided(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let (mut fold, mut model, mut term) = (Fold::new(FoldOptions::default()), Model::default(), 1);
    for index in 1..=1 + number(&mut input, 40) as u64 {
        if number(&mut input, 4) == 0 {
            term += 1 + number(&mut input, 2) as u64;
        }
        let proposed = batch(&mut input, &model, term);
        let sealed = proposed.seal(&Limits::default()).expect("it is small");
        let verified = Batch::verify(sealed.bytes().clone(), sealed.crc()).expect("what was sealed");
        let read: BTreeMap<_, _> = verified.sources().collect();
        assert_eq!((read, verified.effects()), (proposed.sources.clone(), proposed.effects.clone()));
        let header = verified.decided().expect("it was decided");
        assert_eq!((header.term, header.sequence, verified.time()), (proposed.term, proposed.sequence, proposed.time));

        let before = (fold.end, fold.decisions.clone());
        let applied = fold.evolve(LogId { term, index }, &verified);
        let counts = model.take(term, &proposed);
        assert_eq!(matches!(applied.verdict, Verdict::Counts), counts, "{proposed:?}: {:?}", applied.verdict);
        if !counts {
            assert_eq!((fold.end, &fold.decisions), (before.0, &before.1), "a void batch changed something");
        }
        assert_eq!((fold.end, fold.decisions.next(term)), (model.end, model.next(term)));
        assert_eq!(fold.decisions.sources().collect::<BTreeMap<_, _>>(), model.sources);
        if number(&mut input, 8) == 0 {
            let stored = fold.frozen().expect("something is folded").encode();
            fold = Fold::restore(&stored, FoldOptions::default()).expect("it was stored");
        }
    }
}

/// One that fits, with a mistake or two.
fn batch(input: &mut Unstructured<'_>, model: &Model, term: Term) -> DecidedBatch {
    let mut sources = BTreeMap::new();
    for _ in 0..number(input, 4) {
        let partition = PartitionId::new(1, number(input, 3) as u32);
        let at = model.sources.get(&partition).copied().unwrap_or_default();
        let start = if number(input, 8) == 0 { number(input, 10) as u64 } else { at };
        let end = match number(input, 16) {
            0 => u64::from_le_bytes(array(input)),
            more => start.saturating_add(more as u64 - 1),
        };
        sources.insert(partition, start..end);
    }
    let (other_term, other_place) = (number(input, 8) == 0, number(input, 8) == 0);
    let term = if other_term { number(input, 8) as u64 } else { term };
    let sequence = if other_place { number(input, 8) as u64 } else { model.next(term) };
    let effects: [u8; 8] = array(input);
    DecidedBatch {
        term,
        sequence,
        time: Timestamp(u64::from_le_bytes(array(input))),
        sources,
        effects: effects[..number(input, 9)].to_vec().into(),
        events: (0..number(input, 4)).map(|_| NewRecord::new("event")).collect(),
    }
}
