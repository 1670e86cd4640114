use super::marks::{BATCHES_APART, BYTES_APART, MAX_MARKS};
use super::*;
use crate::{
    batch::{Conditions, CursorChange, EncodedRecords, KeyExpectation, seal, seal_cursors},
    config::Limits,
    producer::{ProducerId, ProducerStamp, digest_of},
    record::NewRecord,
};
use proptest::prelude::*;

fn batch(records: usize, value: usize, time: u64) -> Batch {
    conditional(records, value, time, None)
}

fn conditional(records: usize, value: usize, time: u64, expected_end: Option<Offset>) -> Batch {
    let records = vec![NewRecord::new(vec![7; value]); records];
    let conditions = Conditions { end: expected_end, ..Conditions::default() };
    seal([EncodedRecords::encode(&records, conditions, &Limits::default()).expect("small")], Timestamp(time))
}

/// What an entry may be.
#[derive(Clone, Debug)]
enum Step {
    Blank,
    Membership(u8),
    /// `late`: by so many offsets it expects another end than there is; `None`: it expects none.
    Batch {
        records: usize,
        value: usize,
        time: u64,
        late: Option<u64>,
    },
    /// Of a producer, from one of its first numbers on, with or without an expectation of where its key is.
    Produce {
        producer: u8,
        epoch: u32,
        sequence: u64,
        records: usize,
        time: u64,
        last: Option<Option<u64>>,
    },
    Cursor(CursorChange),
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Blank),
        1 => any::<u8>().prop_map(Step::Membership),
        8 => (1..5_usize, 0..400_usize, 0..9_u64, proptest::option::of(0..2_u64))
            .prop_map(|(records, value, time, late)| Step::Batch { records, value, time, late }),
        8 => produces(),
        2 => ("[ab]", 0..300_u64, 0..3_u64).prop_map(|(name, offset, fence)| Step::Cursor(CursorChange::Commit { name, offset, fence })),
        1 => "[ab]".prop_map(|name| Step::Cursor(CursorChange::Acquire { name })),
        1 => "[ab]".prop_map(|name| Step::Cursor(CursorChange::Delete { name })),
    ];
    proptest::collection::vec(step, 0..most)
}

fn produces() -> impl Strategy<Value = Step> {
    let last = proptest::option::of(proptest::option::of(0..40_u64));
    // Long silences end sessions now and then.
    let time = prop_oneof![30 => 0..9_u64, 1 => Just(13 * HOUR), 1 => Just(30 * HOUR)];
    (0..3_u8, 0..2_u32, 0..12_u64, 1..4_usize, time, last).prop_map(
        |(producer, epoch, sequence, records, time, last)| Step::Produce {
            producer,
            epoch,
            sequence,
            records,
            time,
            last,
        },
    )
}

fn produced(step: &Step) -> Batch {
    let Step::Produce { producer, epoch, sequence, records, time, last } = *step else { panic!("{step:?}") };
    let key = format!("key-{producer}");
    let conditions = Conditions {
        end: None,
        producer: Some(ProducerStamp { producer: ProducerId([producer; 16]), epoch, sequence }),
        key: last.map(|last| KeyExpectation { key: digest_of(key.as_bytes()), last }),
    };
    let records = vec![NewRecord::new("v").with_key(key); records];
    seal([EncodedRecords::encode(&records, conditions, &Limits::default()).expect("small")], Timestamp(time))
}

const INDEXED: FoldOptions = FoldOptions { key_index: true };

fn fold(into: &mut Fold, from: u64, steps: &[Step]) {
    for (index, step) in (from..).zip(steps) {
        let id = LogId { term: 1 + index / 50, index };
        match step {
            Step::Blank => into.pass(id, 0),
            Step::Membership(voters) => into.change_membership(id, Bytes::copy_from_slice(&[*voters])),
            Step::Batch { records, value, time, late } => {
                let expected = late.map(|late| into.end + late);
                into.evolve(id, &conditional(*records, *value, *time, expected))
            }
            Step::Produce { .. } => into.evolve(id, &produced(step)),
            Step::Cursor(change) => into.evolve(id, &seal_cursors(std::slice::from_ref(change), Timestamp(1))),
        };
    }
}

proptest! {
    #[test]
    fn a_fold_restored_in_the_middle_goes_on_as_one_that_was_not(steps in steps(400), cut in any::<prop::sample::Index>()) {
        let cut = if steps.is_empty() { 0 } else { cut.index(steps.len()) };
        let mut whole = Fold::new(INDEXED);
        fold(&mut whole, 0, &steps);
        let mut first = Fold::new(INDEXED);
        fold(&mut first, 0, &steps[..cut]);
        let snapshot = first.frozen().map(FrozenFold::encode);
        let mut second = snapshot.map_or_else(|| Fold::new(INDEXED), |snapshot| Fold::restore(&snapshot, INDEXED).unwrap());
        prop_assert_eq!(&second, &first);
        fold(&mut second, cut as u64, &steps[cut..]);
        prop_assert_eq!(second, whole);
    }
}

proptest! {
    #[test]
    fn of_each_life_of_a_producer_the_records_are_there_once_and_in_order(steps in proptest::collection::vec(produces(), 0..300)) {
        let mut whole = Fold::new(INDEXED);
        let mut next = std::collections::BTreeMap::<(u8, u32), u64>::new();
        for (index, step) in (0..).zip(&steps) {
            let Step::Produce { producer, epoch, sequence, records, .. } = *step else { continue };
            let applied = whole.evolve(LogId { term: 1, index }, &produced(step));
            if applied.verdict == Verdict::Counts {
                // A life begins at 0, also when it was forgotten; and goes on where it was.
                let expected = next.entry((producer, epoch)).or_default();
                prop_assert!(sequence == *expected || sequence == 0, "{producer} {epoch}: {sequence} after {expected}");
                *expected = sequence + records as u64;
                prop_assert_eq!(applied.end - applied.base, records as u64);
            } else {
                prop_assert_eq!(applied.end, applied.base);
            }
        }
    }
}

#[test]
fn a_batch_begins_where_the_last_one_ended_and_other_entries_cost_no_offset() {
    let mut fold = Fold::default();
    assert_eq!(fold.pass(LogId { term: 1, index: 0 }, 0).base, 0);
    assert_eq!(fold.evolve(LogId { term: 1, index: 1 }, &batch(3, 1, 50)).base, 0);
    assert_eq!(fold.change_membership(LogId { term: 1, index: 2 }, Bytes::from_static(b"voters")).base, 3);
    let applied = fold.evolve(LogId { term: 2, index: 3 }, &batch(1, 1, 40));
    assert_eq!((applied.base, applied.time), (3, Timestamp(40)));
    assert_eq!((fold.end, fold.time), (4, Timestamp(50)), "log time does not go back");
    assert_eq!(fold.membership, Some((LogId { term: 1, index: 2 }, Bytes::from_static(b"voters"))));
}

#[test]
fn a_void_batch_costs_no_offset_and_marks_on_both_sides_of_it_lead_to_the_same_record() {
    let mut fold = Fold::default();
    for index in 0..10 * BATCHES_APART {
        fold.evolve(LogId { term: 1, index }, &conditional(1, 1, 1, Some(7)));
    }
    assert_eq!(fold.end, 0, "all of them expected another end");
    let applied = fold.evolve(LogId { term: 1, index: 640 }, &batch(2, 1, 1));
    assert_eq!((applied.base, applied.end), (0, 2));
    assert!(fold.marks.seek(0).unwrap().index <= 640);
    let restored = Fold::restore(&fold.frozen().unwrap().encode(), FoldOptions::default()).unwrap();
    assert_eq!(restored, fold);
}

#[test]
fn marks_stay_bounded_and_never_further_apart_than_they_say() {
    let mut marks = Marks::default();
    let batches = MAX_MARKS as u64 * BATCHES_APART * 3;
    for index in 0..batches {
        marks.note(Mark { offset: index * 2, index }, 10);
    }
    assert_eq!(marks.thinned, 2, "twice too many");
    assert!(marks.marks.len() <= MAX_MARKS && marks.marks.len() > MAX_MARKS / 2, "{}", marks.marks.len());
    let apart = BATCHES_APART << marks.thinned;
    for offset in (0..batches * 2).step_by(1013) {
        let mark = marks.seek(offset).unwrap();
        assert!(mark.offset <= offset && offset - mark.offset < 2 * apart, "{offset} from {mark:?}");
        assert_eq!(mark.offset, mark.index * 2);
    }
}

#[test]
fn large_batches_have_marks_closer_together() {
    let mut marks = Marks::default();
    for index in 0..100 {
        marks.note(Mark { offset: index, index }, BYTES_APART / 4);
    }
    assert_eq!(marks.marks.len(), 25);
}

#[test]
fn a_snapshot_that_cannot_be_one_is_refused() {
    let mut fold = Fold::default();
    for index in 0..200 {
        fold.evolve(LogId { term: 1, index }, &batch(1, 1, 1));
    }
    let snapshot = fold.frozen().unwrap().encode();
    type Spoil = fn(&mut pb::PartitionSnapshot);
    let spoiled: [Spoil; 5] = [
        |snapshot| snapshot.last = None,
        |snapshot| snapshot.fold = None,
        |snapshot| snapshot.log_hash = Bytes::from_static(b"short"),
        |snapshot| snapshot.fold.as_mut().unwrap().marks.swap(0, 1),
        |snapshot| snapshot.fold.as_mut().unwrap().thinned = 64,
    ];
    for (nth, spoil) in spoiled.into_iter().enumerate() {
        let mut spoiled = snapshot.clone();
        spoil(&mut spoiled);
        assert!(Fold::restore(&spoiled, FoldOptions::default()).is_err(), "{nth} was taken");
    }
    assert_eq!(Fold::restore(&snapshot, FoldOptions::default()).unwrap(), fold);
}

/// A partition of a topic with a key index, to which batches are appended one after the other.
struct Log {
    fold: Fold,
    index: u64,
}

const HOUR: u64 = 3600 * 1_000_000;

impl Log {
    fn new() -> Self {
        Log { fold: Fold::new(INDEXED), index: 0 }
    }

    fn evolve(&mut self, batch: &Batch) -> Applied {
        self.index += 1;
        self.fold.evolve(LogId { term: 1, index: self.index - 1 }, batch)
    }

    /// Appends records with this key under conditions, at a time; says at which offset, or why not.
    fn append(&mut self, records: usize, key: &'static str, conditions: Conditions, time: u64) -> Result<Offset, Void> {
        let records = vec![NewRecord::new("v").with_key(key); records];
        let encoded = EncodedRecords::encode(&records, conditions, &Limits::default()).unwrap();
        let Applied { base, end, verdict, .. } = self.evolve(&seal([encoded], Timestamp(time)));
        match verdict {
            Verdict::Counts => Ok(base),
            Verdict::Void(void) => {
                assert_eq!(end, base, "what is void costs no offset");
                Err(void)
            }
            Verdict::Cursors(_) => panic!("no cursors were changed"),
        }
    }

    fn produce(&mut self, producer: u8, epoch: u32, sequence: u64, records: usize, time: u64) -> Result<Offset, Void> {
        let stamp = ProducerStamp { producer: ProducerId([producer; 16]), epoch, sequence };
        self.append(records, "k", Conditions { producer: Some(stamp), ..Conditions::default() }, time)
    }

    fn change(&mut self, change: CursorChange) -> CursorVerdict {
        match self.evolve(&seal_cursors(&[change], Timestamp(5))).verdict {
            Verdict::Cursors(verdicts) if verdicts.len() == 1 => verdicts[0],
            other => panic!("{other:?}"),
        }
    }

    fn restarted(&self) -> Self {
        let snapshot = self.fold.frozen().unwrap().encode();
        Log { fold: Fold::restore(&snapshot, INDEXED).unwrap(), index: self.index }
    }
}

#[test]
fn what_a_producer_repeats_is_void_and_known_by_its_first_offset() {
    let mut log = Log::new();
    assert_eq!(log.produce(1, 0, 0, 3, 1), Ok(0));
    assert_eq!(log.produce(2, 0, 0, 2, 2), Ok(3));
    assert_eq!(log.produce(1, 0, 3, 2, 3), Ok(5));
    for mut log in [log.restarted(), log] {
        assert_eq!(log.produce(1, 0, 0, 3, 4), Err(Void::Duplicate { first: Some(0) }));
        assert_eq!(log.produce(1, 0, 1, 2, 4), Err(Void::Duplicate { first: Some(1) }), "a part of it");
        assert_eq!(log.produce(1, 0, 3, 2, 4), Err(Void::Duplicate { first: Some(5) }));
        assert_eq!(log.produce(1, 0, 2, 2, 4), Err(Void::Duplicate { first: None }), "it was never one append");
        assert_eq!(log.produce(1, 0, 4, 2, 4), Err(Void::Sequence { expected: 5 }), "half of it is new");
        assert_eq!(log.produce(1, 0, 6, 1, 4), Err(Void::Sequence { expected: 5 }));
        assert_eq!(log.produce(3, 0, 1, 1, 4), Err(Void::Sequence { expected: 0 }), "of nobody known");
        assert_eq!(log.produce(1, 0, u64::MAX, 1, 4), Err(Void::Sequence { expected: 5 }));
        assert_eq!(log.fold.voids(0..u64::MAX).len(), 8);
        assert_eq!(log.produce(1, 0, 5, 1, 4), Ok(7));
    }
}

#[test]
fn a_later_epoch_begins_anew_and_fences_the_earlier_one_off() {
    let mut log = Log::new();
    assert_eq!(log.produce(1, 4, 0, 3, 1), Ok(0));
    assert_eq!(log.produce(1, 5, 3, 1, 1), Err(Void::Sequence { expected: 0 }));
    assert_eq!(log.produce(1, 5, 0, 1, 1), Ok(3));
    assert_eq!(log.produce(1, 4, 3, 1, 1), Err(Void::Epoch { current: 5 }));
    assert_eq!(log.produce(1, 5, 1, 1, 1), Ok(4));
    assert_eq!(log.restarted().produce(1, 5, 0, 1, 1), Err(Void::Duplicate { first: Some(3) }));
}

#[test]
fn a_producer_is_forgotten_after_a_day_of_appends_of_others_and_not_by_a_clock_that_jumps() {
    let mut log = Log::new();
    assert_eq!(log.produce(1, 0, 0, 1, 0), Ok(0));
    assert_eq!(log.produce(2, 0, 0, 1, 30 * 24 * HOUR), Ok(1));
    assert_eq!(log.produce(1, 0, 0, 1, 60 * 24 * HOUR), Err(Void::Duplicate { first: Some(0) }));
    let (began, minute) = (90 * 24 * HOUR, HOUR / 60);
    // 24 hours, but for the three pauses so far and the one that comes.
    let last = 24 * 60 - 4;
    for n in 0..=last {
        log.append(1, "k", Conditions::default(), began + n * minute).unwrap();
    }
    let now = began + last * minute;
    for mut log in [log.restarted(), log] {
        assert_eq!(log.produce(1, 0, 0, 1, now + minute), Err(Void::Duplicate { first: Some(0) }), "not yet");
        assert_eq!(log.produce(1, 0, 1, 1, now + minute + 1), Err(Void::Sequence { expected: 0 }));
        assert!(matches!(log.produce(2, 0, 0, 1, now + minute + 1), Err(Void::Duplicate { .. })), "that was later");
        assert!(log.produce(1, 0, 0, 1, now + minute + 1).is_ok());
    }
}

#[test]
fn producers_are_bounded_and_the_one_longest_silent_gives_way() {
    let mut log = Log::new();
    let produce = |log: &mut Log, n: u64, time: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        let stamp = ProducerStamp { producer: ProducerId(id), epoch: 0, sequence: 0 };
        log.append(1, "k", Conditions { producer: Some(stamp), ..Conditions::default() }, time).err()
    };
    let minute = HOUR / 60;
    // The first batch of all counts as a minute.
    assert_eq!(log.append(1, "k", Conditions::default(), minute), Ok(0));
    for n in 0..SESSIONS as u64 {
        assert_eq!(produce(&mut log, n, minute + n), None);
    }
    for n in 2..=60 {
        log.append(1, "k", Conditions::default(), n * minute).unwrap();
    }
    assert_eq!(produce(&mut log, u64::MAX, HOUR + minute - 1), Some(Void::Producers));
    assert_eq!(produce(&mut log, u64::MAX, HOUR + minute), None);
    assert_eq!(
        produce(&mut log, 0, HOUR + minute),
        Some(Void::Producers),
        "it was forgotten, and nobody else gives way"
    );
    assert!(matches!(produce(&mut log, 1, HOUR + minute), Some(Void::Duplicate { .. })));
}

#[test]
fn a_key_has_its_last_record_where_the_conditions_of_an_append_expect_it_or_the_append_is_void() {
    let mut log = Log::new();
    let last = |last| Conditions { key: Some(KeyExpectation { key: digest_of(b"a"), last }), ..Conditions::default() };
    assert_eq!(log.append(1, "a", last(Some(0)), 1), Err(Void::Key { actual: None }));
    assert_eq!(log.append(2, "a", last(None), 1), Ok(0));
    assert_eq!(log.append(1, "b", Conditions::default(), 1), Ok(2));
    for mut log in [log.restarted(), log] {
        assert_eq!(log.append(1, "a", last(None), 1), Err(Void::Key { actual: Some(1) }));
        assert_eq!(log.append(1, "a", last(Some(0)), 1), Err(Void::Key { actual: Some(1) }));
        assert_eq!(log.append(1, "a", last(Some(1)), 1), Ok(3));
        assert_eq!(log.append(1, "a", last(Some(1)), 1), Err(Void::Key { actual: Some(3) }));
    }
    let mut without = Log { fold: Fold::default(), index: 0 };
    assert_eq!(without.append(1, "a", last(None), 1), Err(Void::Key { actual: None }), "a topic without index");
}

#[test]
fn a_repetition_is_told_although_its_own_first_attempt_broke_what_it_expects() {
    let mut log = Log::new();
    let stamp = ProducerStamp { producer: ProducerId([1; 16]), epoch: 0, sequence: 0 };
    let conditions = Conditions { end: Some(0), producer: Some(stamp), ..Conditions::default() };
    assert_eq!(log.append(1, "a", conditions, 1), Ok(0));
    assert_eq!(log.append(1, "a", conditions, 1), Err(Void::Duplicate { first: Some(0) }));
    let next = Conditions { end: Some(7), producer: Some(ProducerStamp { sequence: 1, ..stamp }), ..conditions };
    assert_eq!(log.append(1, "a", next, 1), Err(Void::End { actual: 1 }));
    assert_eq!(log.append(1, "a", Conditions { end: Some(1), ..next }, 1), Ok(1), "what was void was not used up");
}

#[test]
fn a_cursor_goes_where_it_is_told_by_whoever_has_its_fence() {
    let mut log = Log::new();
    log.append(9, "k", Conditions::default(), 5).unwrap();
    let commit = |offset, fence| CursorChange::Commit { name: "mail".into(), offset, fence };
    let cursor = |offset, fence| CursorVerdict::Changed(Cursor { offset, fence, time: Timestamp(5) });
    assert_eq!(log.change(commit(3, 0)), cursor(3, 0));
    assert_eq!(log.change(CursorChange::Acquire { name: "mail".into() }), cursor(3, 1));
    assert_eq!(log.change(commit(4, 0)), CursorVerdict::Fenced { fence: 1 });
    assert_eq!(log.change(commit(4, 1)), cursor(4, 1));
    for mut log in [log.restarted(), log] {
        assert_eq!(log.change(commit(2, 1)), cursor(2, 1), "back, to do it again");
        assert_eq!(log.change(commit(10, 1)), CursorVerdict::Beyond { end: 9 });
        assert_eq!(log.change(commit(9, 7)), cursor(9, 7), "a higher fence takes over");
        assert_eq!(log.fold.cursor("mail").map(|cursor| cursor.offset), Some(9));
        assert_eq!(log.change(CursorChange::Delete { name: "mail".into() }), CursorVerdict::Deleted);
        assert_eq!(log.fold.cursor("mail"), None);
        assert_eq!(log.change(CursorChange::Delete { name: "mail".into() }), CursorVerdict::Deleted);
        assert_eq!(log.fold.end, 9, "changes cost no offset");
    }
}
