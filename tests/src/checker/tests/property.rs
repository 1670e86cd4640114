//! The fast checker agrees with the slow one, on small histories with random damage.
use super::{
    reference,
    sample::{entry, id, value},
};
use crate::checker::*;
use proptest::{collection::vec, prelude::*, sample::Index};

/// One step of a small run: somebody appends or reads; the log does what a correct log does.
#[derive(Clone, Debug)]
enum Step {
    Append { partition: u32, session: u32, took: u64, outcome: u8 },
    Read { partition: u32, session: u32, took: u64, consistency: Consistency, back: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let consistency =
        prop_oneof![Just(Consistency::Linearizable), Just(Consistency::Session), Just(Consistency::Stale)];
    prop_oneof![
        3 => (0..2u32, 0..3u32, 1..30u64, 0..10u8)
            .prop_map(|(partition, session, took, outcome)| Step::Append { partition, session, took, outcome }),
        1 => (0..2u32, 0..3u32, 1..30u64, consistency, 0..3u64).prop_map(
            |(partition, session, took, consistency, back)| Step::Read { partition, session, took, consistency, back }
        ),
    ]
}

/// Plays the steps on a correct log. Each append takes effect at its start, each read sees everything up to its start
/// (a stale one `back` records less), so operations overlap freely without breaking a rule.
fn play(steps: &[Step]) -> History {
    let mut history = History::default();
    let mut logs: [Vec<Entry>; 2] = Default::default();
    for (step, number) in steps.iter().zip(1..) {
        let start = number * 10;
        match *step {
            Step::Append { partition, session, took, outcome } => {
                let log = &mut logs[partition as usize];
                let offset = log.len() as u64;
                let (enters, outcome) = match outcome {
                    0 => (false, Outcome::Refused),
                    1 => (false, Outcome::Unknown),
                    2 => (true, Outcome::Unknown),
                    _ => (true, Outcome::Acked { partition, offset }),
                };
                if enters {
                    log.push(entry(offset, number));
                }
                let (start, end, session) = (Moment(start), Moment(start + took), SessionId(session));
                history.appends.push(Append { session, id: id(number), value: value(number), start, end, outcome });
            }
            Step::Read { partition, session, took, consistency, back } => {
                let back = if consistency == Consistency::Stale { back as usize } else { 0 };
                let log = &logs[partition as usize];
                let records = log[..log.len().saturating_sub(back)].to_vec();
                let (start, end, end_offset) = (Moment(start), Moment(start + took), records.len() as u64);
                let session = SessionId(session);
                history.reads.push(Read { session, start, end, partition, consistency, records, end_offset });
            }
        }
    }
    for node in 1..=3 {
        for (partition, records) in (0..).zip(&logs) {
            let records = records.clone();
            history.replicas.push(Replica { node, partition, healthy: true, start_offset: 0, records });
        }
    }
    history
}

/// One way to damage a history. Indexes choose the victim among whatever there is.
#[derive(Clone, Debug)]
enum Damage {
    DropEntry { replica: Index, at: Index },
    RepeatEntry { replica: Index, at: Index },
    ReplaceEntry { replica: Index, at: Index, number: u64 },
    LoseId { replica: Index, at: Index },
    ShiftTime { replica: Index, at: Index },
    CutEverywhere { partition: u32 },
    ExtendEverywhere { partition: u32, number: u64 },
    ChangeOutcome { append: Index, outcome: Outcome },
    MoveAppend { append: Index, start: u64 },
    ShortenRead { read: Index },
    ChangeRead { read: Index, at: Index, number: u64 },
    ExtendRead { read: Index, number: u64 },
}

fn damage() -> impl Strategy<Value = Damage> {
    let any = any::<Index>;
    let outcome = prop_oneof![
        Just(Outcome::Refused),
        Just(Outcome::Unknown),
        (0..2u32, 0..6u64).prop_map(|(partition, offset)| Outcome::Acked { partition, offset }),
    ];
    prop_oneof![
        (any(), any()).prop_map(|(replica, at)| Damage::DropEntry { replica, at }),
        (any(), any()).prop_map(|(replica, at)| Damage::RepeatEntry { replica, at }),
        (any(), any(), 1..40u64).prop_map(|(replica, at, number)| Damage::ReplaceEntry { replica, at, number }),
        (any(), any()).prop_map(|(replica, at)| Damage::LoseId { replica, at }),
        (any(), any()).prop_map(|(replica, at)| Damage::ShiftTime { replica, at }),
        (0..2u32).prop_map(|partition| Damage::CutEverywhere { partition }),
        (0..2u32, 1..40u64).prop_map(|(partition, number)| Damage::ExtendEverywhere { partition, number }),
        (any(), outcome).prop_map(|(append, outcome)| Damage::ChangeOutcome { append, outcome }),
        (any(), 0..300u64).prop_map(|(append, start)| Damage::MoveAppend { append, start }),
        any().prop_map(|read| Damage::ShortenRead { read }),
        (any(), any(), 1..40u64).prop_map(|(read, at, number)| Damage::ChangeRead { read, at, number }),
        (any(), 1..40u64).prop_map(|(read, number)| Damage::ExtendRead { read, number }),
    ]
}

fn pick<'a, T>(index: &Index, from: &'a mut [T]) -> Option<&'a mut T> {
    if from.is_empty() { None } else { Some(index.get_mut(from)) }
}

/// Does the damage; `None` where there is nothing of the kind.
fn apply(damage: &Damage, history: &mut History) -> Option<()> {
    let History { appends, reads, replicas } = history;
    match damage {
        Damage::DropEntry { replica, at } => {
            let records = &mut pick(replica, replicas)?.records;
            pick(at, records)?;
            records.remove(at.index(records.len()));
        }
        Damage::RepeatEntry { replica, at } => {
            let replica = pick(replica, replicas)?;
            let copy = *pick(at, &mut replica.records)?;
            replica.records.push(Entry { offset: replica.records.last()?.offset + 1, ..copy });
        }
        Damage::ReplaceEntry { replica, at, number } => {
            let slot = pick(at, &mut pick(replica, replicas)?.records)?;
            *slot = entry(slot.offset, *number);
        }
        Damage::LoseId { replica, at } => pick(at, &mut pick(replica, replicas)?.records)?.id = None,
        Damage::ShiftTime { replica, at } => pick(at, &mut pick(replica, replicas)?.records)?.time += 7,
        Damage::CutEverywhere { partition } => {
            for replica in replicas.iter_mut().filter(|replica| replica.partition == *partition) {
                replica.records.pop();
            }
        }
        Damage::ExtendEverywhere { partition, number } => {
            for replica in replicas.iter_mut().filter(|replica| replica.partition == *partition) {
                let next = replica.records.last().map_or(0, |last| last.offset + 1);
                replica.records.push(entry(next, *number));
            }
        }
        Damage::ChangeOutcome { append, outcome } => pick(append, appends)?.outcome = *outcome,
        Damage::MoveAppend { append, start } => {
            let append = pick(append, appends)?;
            (append.start, append.end) = (Moment(*start), Moment(start + 5));
        }
        Damage::ShortenRead { read } => {
            let read = pick(read, reads)?;
            read.records.pop()?;
            read.end_offset -= 1;
        }
        Damage::ChangeRead { read, at, number } => {
            let slot = pick(at, &mut pick(read, reads)?.records)?;
            *slot = entry(slot.offset, *number);
        }
        Damage::ExtendRead { read, number } => {
            let read = pick(read, reads)?;
            read.records.push(entry(read.end_offset, *number));
            read.end_offset += 1;
        }
    }
    Some(())
}

fn fast(history: &History) -> Report {
    let expected = Expectation { partitions: 2, replicas: 3, ..Expectation::default() };
    check(history, expected).expect("the damage keeps the history sound")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_correct_log_is_never_accused(steps in vec(step(), 0..30)) {
        let report = fast(&play(&steps));
        prop_assert!(report.is_clean(), "{report}");
    }

    #[test]
    fn both_checkers_find_the_same_damage(steps in vec(step(), 0..20), damages in vec(damage(), 1..4)) {
        let mut history = play(&steps);
        for damage in &damages {
            // Nothing to damage of that kind: the history stays as it is.
            let _ = apply(damage, &mut history);
        }
        let report = fast(&history);
        prop_assert_eq!(reference::findings(&report), reference::judge(&history), "{}", report);
    }
}

/// Small histories are cheap: run thousands, or what `PROPTEST_CASES` says if that is more.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_000)
}
