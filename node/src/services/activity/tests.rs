//! The rules of the activity service.
mod properties;

use super::*;
use crate::runtime::rules::Rules;
use corduroy_log::world::Timestamp;
use std::collections::BTreeMap;

/// 2024-07-01 begins.
const MIDNIGHT: u64 = 1_719_792_000_000_000;

fn rules() -> Rules<Activity> {
    Rules::new(Activity::new(Settings::default()))
}

fn placed() -> OrderEvent {
    OrderEvent::Placed(order::OrderPlaced { order: "o".into(), ..Default::default() })
}

fn completed() -> OrderEvent {
    OrderEvent::Completed(order::OrderCompleted { order: "o".into(), ..Default::default() })
}

fn cancelled() -> OrderEvent {
    OrderEvent::Cancelled(order::OrderCancelled { order: "o".into(), ..Default::default() })
}

fn seeded(orders: u64, partition: u32, partitions: u32) -> OrderEvent {
    OrderEvent::Seeded(order::OrdersSeeded { orders, partition, partitions, ..Default::default() })
}

/// Tells of an event that was decided then; what it came to.
fn tell(rules: &mut Rules<Activity>, time: u64, event: OrderEvent) -> Vec<Event> {
    rules.set_now(Timestamp(time));
    let thens = rules.tell("order", 0, 0, "o", &order::Event { event: Some(event) }).expect("an event of order");
    assert!(thens.iter().all(|then| then.fault().is_none()), "{thens:?}");
    thens.iter().flat_map(|then| then.events()).filter_map(|event| event.event).collect()
}

/// The counters of all days.
fn counts(rules: &Rules<Activity>) -> BTreeMap<(String, u32), u64> {
    let of_day = |(day, state): (String, pb::Day)| {
        state.counters.into_iter().map(move |counter| ((day.clone(), counter.r#type), counter.quantity))
    };
    rules.states().into_iter().flat_map(of_day).collect()
}

#[test]
fn what_happens_to_orders_is_counted_by_its_type() {
    let mut rules = rules();
    let counted =
        |kind: u32, n| vec![Event::Counted(pb::ActivityCounted { day: "2024-07-01".into(), r#type: kind, n })];
    assert_eq!(tell(&mut rules, MIDNIGHT, placed()), counted(1, 1));
    assert_eq!(tell(&mut rules, MIDNIGHT, completed()), counted(2, 1));
    assert_eq!(tell(&mut rules, MIDNIGHT, cancelled()), counted(3, 1));
    assert_eq!(tell(&mut rules, MIDNIGHT, cancelled()), counted(3, 1));
    let day = rules.state("2024-07-01").expect("a day");
    let counters: Vec<_> = day.counters.iter().map(|counter| (counter.r#type, counter.quantity)).collect();
    assert_eq!(counters, [(1, 1), (2, 1), (3, 2)]);
    assert_eq!(TYPES.map(|known| with_code(known.code)), TYPES.map(|known| with_number(known.number)));
}

/// A32.
#[test]
fn a_day_is_that_of_the_source_and_ends_at_midnight() {
    let mut rules = rules();
    tell(&mut rules, MIDNIGHT - 1, placed());
    tell(&mut rules, MIDNIGHT - 1, completed());
    tell(&mut rules, MIDNIGHT, placed());
    tell(&mut rules, MIDNIGHT, placed());
    tell(&mut rules, MIDNIGHT + 1, cancelled());
    // One of the day before that is read late.
    tell(&mut rules, MIDNIGHT - 2, placed());
    let of = |day: &str, kind| ((day.to_owned(), kind), 1);
    let mut expected: BTreeMap<_, u64> = [of("2024-06-30", 2), of("2024-07-01", 3)].into();
    expected.extend([(("2024-06-30".to_owned(), 1), 2), (("2024-07-01".to_owned(), 1), 2)]);
    assert_eq!(counts(&rules), expected);
    assert_eq!(rules.state("2024-07-02"), None, "nothing happened then");
}

#[test]
fn seeded_orders_are_counted_at_once_and_each_once() {
    for (orders, partitions) in [(100_000, 4), (7, 4), (3, 4), (0, 4), (5, 1), (11, 3)] {
        let mut rules = rules();
        let events = (0..partitions).map(|partition| tell(&mut rules, MIDNIGHT, seeded(orders, partition, partitions)));
        assert!(events.map(|events| events.len()).all(|events| events < 2));
        let counted = counts(&rules).remove(&("2024-07-01".into(), 1));
        assert_eq!(counted.unwrap_or_default(), orders, "{orders} of {partitions}");
    }
    let mut rules = rules();
    assert_eq!(tell(&mut rules, MIDNIGHT, seeded(9, 0, 0)).len(), 1, "no partitions are no panic");
}

#[test]
fn what_is_no_activity_is_not_counted() {
    let mut rules = rules();
    for event in [
        OrderEvent::Confirmed(order::OrderConfirmed::default()),
        OrderEvent::Delivered(order::OrderDelivered::default()),
        OrderEvent::LineAdded(order::LineChanged::default()),
    ] {
        assert_eq!(tell(&mut rules, MIDNIGHT, event), []);
    }
    assert_eq!(rules.states(), []);
}

/// INV-28.
#[test]
fn a_type_that_is_not_counted_is_a_dead_letter_and_no_count() {
    let settings = Settings { activity_types: vec!["ORDER_CREATED".into()], ..Settings::default() };
    let mut rules = Rules::new(Activity::new(settings));
    rules.set_now(Timestamp(MIDNIGHT));
    let thens = rules.tell("order", 0, 0, "o", &order::Event { event: Some(cancelled()) }).expect("it can be read");
    let faults: Vec<_> = thens.iter().filter_map(|then| then.fault()).collect();
    assert_eq!(faults, ["activity type ORDER_CANCELLED is none of those that are counted"]);
    let unknown = pb::Command { command: Some(Command::Count(pb::Count { r#type: 99, n: 1 })) };
    assert!(rules.when("2024-07-01", &unknown).fault().is_some_and(|fault| fault.contains("99")));
    assert_eq!(rules.states(), []);
    tell(&mut rules, MIDNIGHT, placed());
    assert_eq!(counts(&rules), [(("2024-07-01".to_owned(), 1), 1)].into(), "others are");
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_no_panic() {
    let mut rules = rules();
    assert!(rules.when("2024-07-01", &pb::Command::default()).fault().is_some());
    assert!(rules.tell("order", 0, 0, "o", &order::Event::default()).is_err());
    let mut state = None;
    Activity::evolve(&mut state, "2024-07-01", &pb::Event::default(), At { offset: 0, time: rules.now() });
    assert_eq!(state, None);
    assert!(!Activity::knows(&pb::Event::default()));
}
