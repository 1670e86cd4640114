//! The judgement of runs, on tallies made by hand.
use super::{
    kind::Kind,
    tally::{Event, Expected, Fate, MANY, Tally},
    violation::Invariant,
};

const NOTHING: Expected = Expected { checkpoints: false };

/// A run in which something was committed and looked at.
fn sound() -> Tally {
    let mut tally = Tally { runs: 1, ..Tally::default() };
    tally.note(Event::Committed, 1);
    tally.note(Event::DisksRead, 1);
    tally.note(Event::LookedUp, 1);
    tally
}

#[track_caller]
fn is_vacuous(tally: &Tally, expected: Expected, why: &str) {
    let violation = tally.judge(expected).expect_err("worth nothing");
    assert_eq!(violation.invariant, Invariant::Vacuous);
    assert!(violation.detail.contains(why), "{violation}");
}

#[test]
fn a_run_in_which_something_happened_is_worth_something() {
    let mut tally = sound();
    *tally.fate_mut(Kind::Cut) = Fate { planned: 3, skipped: 1, fired: 2, met: 1, encounters: 7, vain: 0 };
    assert_eq!(tally.judge(NOTHING), Ok(()));
    is_vacuous(&Tally::default(), NOTHING, "nothing was committed");
}

#[test]
fn a_fault_that_neither_fired_nor_was_skipped_makes_a_run_vacuous() {
    let mut tally = sound();
    *tally.fate_mut(Kind::Kill) = Fate { planned: 2, fired: 1, met: 1, encounters: 1, ..Fate::default() };
    is_vacuous(&tally, NOTHING, "Kill: of 2 planned 1 fired");
}

#[test]
fn a_fault_that_had_to_meet_something_and_did_not_makes_a_run_vacuous() {
    let mut tally = sound();
    *tally.fate_mut(Kind::Isolate) = Fate { planned: 2, fired: 2, met: 1, encounters: 9, vain: 1, ..Fate::default() };
    is_vacuous(&tally, NOTHING, "Isolate: 1 of 2 met nothing");
}

#[test]
fn operations_that_fail_without_a_fault_make_a_run_vacuous() {
    let mut tally = sound();
    tally.note(Event::Quiet, 20);
    tally.note(Event::QuietDone, 18);
    assert_eq!(tally.judge(NOTHING), Ok(()));
    tally.note(Event::Quiet, 1);
    is_vacuous(&tally, NOTHING, "only 18 of 21");
}

#[test]
fn what_the_settings_call_for_must_have_happened() {
    for (cause, effect) in
        [(Event::Deposed, Event::Moved), (Event::Outgrown, Event::Rotation), (Event::Checkpoint, Event::Restored)]
    {
        let mut tally = sound();
        tally.note(cause, 1);
        is_vacuous(&tally, NOTHING, "");
        tally.note(effect, 1);
        assert_eq!(tally.judge(NOTHING), Ok(()), "{cause:?}");
    }
    is_vacuous(&sound(), Expected { checkpoints: true }, "time for a checkpoint");
}

#[test]
fn many_seeds_must_have_met_something_of_each_kind() {
    let mut tally = Tally { runs: MANY, ..Tally::default() };
    Event::ALL.into_iter().for_each(|event| tally.note(event, 1));
    for kind in Kind::ALL {
        *tally.fate_mut(kind) = Fate { planned: 1, fired: 1, met: 1, encounters: 1, ..Fate::default() };
    }
    assert_eq!(tally.missing(), Vec::<String>::new());
    tally.fate_mut(Kind::LateRequests).met = 0;
    assert_eq!(tally.missing(), ["LateRequests"]);
    tally.runs = MANY - 1;
    assert!(tally.missing().is_empty(), "few seeds prove nothing either way");

    let twice = {
        let mut sum = tally.clone();
        sum.add(&tally);
        sum
    };
    assert_eq!((twice.runs, twice.fate(Kind::Kill).encounters, twice.of(Event::Read)), (2 * (MANY - 1), 2, 2));
}
