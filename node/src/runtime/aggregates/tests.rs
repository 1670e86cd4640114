//! Whatever is frozen and settled when, they are the map they would be without.
use super::*;
use proptest::{prelude::*, test_runner::TestRunner};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Option<u8>),
    /// With this limit.
    Freeze(u64),
    /// One of those that were frozen becomes a table, or never will.
    Settle(u8, bool),
    /// Somebody keeps a copy and looks at it again in the end.
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24_u8, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Set(key, value)),
        2 => prop_oneof![Just(0), 0..200_u64].prop_map(Step::Freeze),
        3 => (any::<u8>(), proptest::bool::weighted(0.7)).prop_map(|(which, well)| Step::Settle(which, well)),
        1 => Just(Step::Keep),
    ]
}

type Model = BTreeMap<String, Vec<u8>>;

fn check(aggregates: &Aggregates, model: &Model) {
    let text = |row: &Row| row.to_vec();
    for key in (0..24).map(|key| format!("k{key:02}")) {
        assert_eq!(aggregates.get(&key).as_ref().map(text), model.get(&key).cloned(), "{key}");
    }
    for from in ["", "k", "k05", "k11x", "l"] {
        let walked: Vec<_> = aggregates.walk(from).map(|(key, row)| (key.to_string(), text(&row))).collect();
        let expected: Vec<_> = model.range(from.to_owned()..).map(|(key, row)| (key.clone(), row.clone())).collect();
        assert_eq!(walked, expected, "from {from:?}");
    }
    let sum = model.iter().fold(0_u64, |sum, (key, row)| sum.wrapping_add(hash_of(key, row)));
    assert_eq!(aggregates.sum(), sum);
}

/// What a checkpoint has of them beside a table, and what a start makes of the two.
fn restored(table: Option<Table>, aggregates: &Aggregates) -> Aggregates {
    let mut restored = Aggregates::restore(table, aggregates.sum());
    for (key, value) in aggregates.recent() {
        assert!(restored.restore_row(key, value.map(|value| &value[..])));
    }
    assert_eq!(restored.recent.bytes, aggregates.recent.bytes);
    restored
}

#[test]
fn whatever_is_frozen_and_settled_they_are_a_map() {
    let (mut runner, tables) = (TestRunner::new(ProptestConfig::with_cases(200)), std::cell::Cell::new(0));
    let steps = proptest::collection::vec(step(), 0..120);
    let run = |steps: Vec<Step>| {
        let (mut aggregates, mut model) = (Aggregates::default(), Model::new());
        let mut frozen: Vec<(u64, Vec<(Bytes, Bytes)>)> = Vec::new();
        let mut kept = Vec::new();
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    let key = format!("k{key:02}");
                    let value = value.map(|value| vec![value; 20 + usize::from(value % 3)]);
                    let before = aggregates.get(&key);
                    aggregates.replace(&key, before.as_ref(), value.clone());
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
                Step::Freeze(limit) => {
                    let written = match aggregates.freeze(limit) {
                        FrozenTable::New(number, rows) => {
                            let rows: Vec<_> = rows.collect();
                            frozen.push((number, rows.clone()));
                            Some(corduroy_log::testing::table(rows))
                        }
                        FrozenTable::Same(table) => Some(table),
                        FrozenTable::None => None,
                    };
                    // A checkpoint of this moment has everything, whatever becomes of what is frozen.
                    check(&restored(written, &aggregates), &model);
                }
                Step::Settle(which, well) if !frozen.is_empty() => {
                    let (number, rows) = frozen.remove(usize::from(which) % frozen.len());
                    if well {
                        drop(aggregates.settle(number, corduroy_log::testing::table(rows)));
                        tables.set(tables.get() + 1);
                    }
                }
                Step::Settle(..) => {}
                Step::Keep => kept.push((aggregates.clone(), model.clone())),
            }
            check(&aggregates, &model);
        }
        for (kept, model) in kept {
            check(&kept, &model);
        }
        Ok(())
    };
    runner.run(&steps, run).unwrap_or_else(|error| panic!("{error}"));
    assert!(tables.get() > 500, "{} tables", tables.get());
}
