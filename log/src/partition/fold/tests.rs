use super::*;
use crate::{
    batch::{EncodedRecords, seal},
    config::Limits,
    record::NewRecord,
};
use proptest::prelude::*;

fn batch(records: usize, value: usize, time: u64) -> Batch {
    conditional(records, value, time, None)
}

fn conditional(records: usize, value: usize, time: u64, expected_end: Option<Offset>) -> Batch {
    let records = vec![NewRecord::new(vec![7; value]); records];
    seal([EncodedRecords::encode(&records, &Limits::default()).expect("small")], Timestamp(time), expected_end)
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
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Blank),
        1 => any::<u8>().prop_map(Step::Membership),
        8 => (1..5_usize, 0..400_usize, 0..9_u64, proptest::option::of(0..2_u64))
            .prop_map(|(records, value, time, late)| Step::Batch { records, value, time, late }),
    ];
    proptest::collection::vec(step, 0..most)
}

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
        };
    }
}

proptest! {
    #[test]
    fn a_fold_restored_in_the_middle_goes_on_as_one_that_was_not(steps in steps(400), cut in any::<prop::sample::Index>()) {
        let cut = if steps.is_empty() { 0 } else { cut.index(steps.len()) };
        let mut whole = Fold::default();
        fold(&mut whole, 0, &steps);
        let mut first = Fold::default();
        fold(&mut first, 0, &steps[..cut]);
        let mut second = first.snapshot().map_or_else(Fold::default, |snapshot| Fold::restore(&snapshot).unwrap());
        prop_assert_eq!(&second, &first);
        fold(&mut second, cut as u64, &steps[cut..]);
        prop_assert_eq!(second, whole);
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
    let restored = Fold::restore(&fold.snapshot().unwrap()).unwrap();
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
    let snapshot = fold.snapshot().unwrap();
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
        assert!(Fold::restore(&spoiled).is_err(), "{nth} was taken");
    }
    assert_eq!(Fold::restore(&snapshot).unwrap(), fold);
}
