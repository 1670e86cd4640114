//! Properties: whatever is told, in whatever order.
use super::*;
use proptest::prelude::*;

/// When, and what.
type Told = (u64, u8, u64);

fn told() -> impl Strategy<Value = Told> {
    // A few days, and often close to midnight.
    let time =
        prop_oneof![Just(MIDNIGHT - 1), Just(MIDNIGHT), (MIDNIGHT - 200_000_000_000)..(MIDNIGHT + 200_000_000_000)];
    (time, 0..5_u8, 0..1_000_u64)
}

fn event((_, kind, n): &Told) -> OrderEvent {
    match kind {
        0 => placed(),
        1 => completed(),
        2 => cancelled(),
        3 => seeded(*n, 0, 1),
        _ => OrderEvent::Confirmed(order::OrderConfirmed::default()),
    }
}

/// INV-26: what a recount comes to.
fn recount(all: &[Told]) -> BTreeMap<(String, u32), u64> {
    let mut counts = BTreeMap::new();
    for (time, kind, n) in all {
        let (kind, n) = match kind {
            0 => (1, 1),
            1 => (2, 1),
            2 => (3, 1),
            3 => (1, *n),
            _ => (0, 0),
        };
        if n > 0 {
            *counts.entry((days::of(*time), kind)).or_default() += n;
        }
    }
    counts
}

proptest! {
    #[test]
    fn counters_are_what_a_recount_comes_to(all in proptest::collection::vec(told(), 0..60)) {
        let mut rules = rules();
        let mut facts = Vec::new();
        for (number, one) in all.iter().enumerate() {
            facts.extend(tell(&mut rules, one.0, event(one)));
            prop_assert_eq!(counts(&rules), recount(&all[..=number]));
        }
        // INV-27: the facts by themselves, and those that another leader decides in another order.
        let replayed = facts.into_iter().fold(self::rules(), |rules, fact| {
            let Event::Counted(counted) = &fact;
            let day = counted.day.clone();
            rules.given(&day, &[pb::Event { event: Some(fact) }])
        });
        prop_assert_eq!(counts(&replayed), counts(&rules));
        let mut backwards = self::rules();
        all.iter().rev().for_each(|one| drop(tell(&mut backwards, one.0, event(one))));
        prop_assert_eq!(counts(&backwards), counts(&rules));
    }

    #[test]
    fn a_restored_state_goes_on_like_the_one_that_was_stored(
        all in proptest::collection::vec(told(), 1..40),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut straight, mut stored) = (rules(), rules());
        for (number, one) in all.iter().enumerate() {
            if number == at.index(all.len()) {
                stored = stored.restored();
            }
            tell(&mut straight, one.0, event(one));
            tell(&mut stored, one.0, event(one));
            prop_assert_eq!(straight.hash(), stored.hash());
        }
    }
}
