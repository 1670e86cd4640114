//! Whatever is frozen and settled when, they are the map they would be without.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Option<u8>),
    /// With this limit.
    Freeze(u64),
    /// What was frozen last becomes a table, or does not.
    Settle(bool),
    /// Somebody keeps a copy and looks at it again in the end.
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24_u8, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Set(key, value)),
        2 => prop_oneof![Just(0), 0..200_u64].prop_map(Step::Freeze),
        3 => proptest::bool::weighted(0.7).prop_map(Step::Settle),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_is_frozen_and_settled_they_are_a_map(steps in proptest::collection::vec(step(), 0..120)) {
        let (mut aggregates, mut model) = (Aggregates::default(), Model::new());
        let mut frozen: Option<Vec<(Bytes, Bytes)>> = None;
        let mut kept = Vec::new();
        let mut settled = 0;
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    let key = format!("k{key:02}");
                    let value = value.map(|value| vec![value; 20]);
                    let before = aggregates.get(&key);
                    aggregates.replace(&key, before.as_ref(), value.clone());
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
                Step::Freeze(limit) => {
                    let before = aggregates.table().cloned();
                    match aggregates.freeze(limit) {
                        FrozenTable::New(rows) => {
                            // All of them, and nothing besides.
                            let rows: Vec<_> = rows.collect();
                            let found: Model = rows.iter().map(|(key, value)| {
                                (String::from_utf8(key.to_vec()).unwrap(), value.to_vec())
                            }).collect();
                            prop_assert_eq!(&found, &model);
                            prop_assert!(aggregates.recent().next().is_none());
                            frozen = Some(rows);
                        }
                        FrozenTable::Same(table) => prop_assert_eq!(Some(table), before),
                        FrozenTable::None => prop_assert!(before.is_none()),
                    }
                }
                Step::Settle(well) => if let Some(rows) = frozen.take() && well {
                    drop(aggregates.settle(corduroy_log::testing::table(rows)));
                    settled += 1;
                },
                Step::Keep => kept.push((aggregates.clone(), model.clone())),
            }
            check(&aggregates, &model);
            // What a checkpoint would have of it, and what a start would make of that.
            if frozen.is_none() && aggregates.frozen.rows.is_empty() {
                let mut restored = Aggregates::restore(aggregates.table().cloned(), aggregates.sum());
                for (key, value) in aggregates.recent() {
                    prop_assert!(restored.restore_row(key, value.map(|value| &value[..])));
                }
                check(&restored, &model);
                prop_assert_eq!(restored.recent.bytes, aggregates.recent.bytes);
            }
        }
        for (kept, model) in kept {
            check(&kept, &model);
        }
        prop_assert!(settled <= 120);
    }
}
