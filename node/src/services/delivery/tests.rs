mod properties;

use super::{Command, Delivery, Event, OrderEvent, Settings, Status, order, pb};
use crate::runtime::{
    At, Service,
    rules::{Rules, Then},
};
use corduroy_log::world::Timestamp;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The day the rules begin at.
const TODAY: i64 = 20_000;

/// From tomorrow, for three days, with so much room on each.
fn rules(capacity: Option<i64>) -> Rules<Delivery> {
    let settings = Settings {
        delivery_capacity: capacity,
        delivery_lead_days: 1,
        delivery_horizon_days: 3,
        ..Settings::default()
    };
    let mut rules = Rules::new(Delivery::new(settings));
    rules.set_now(Timestamp(TODAY as u64 * DAY.as_micros() as u64 + 5));
    rules
}

fn attempt(order: &str, attempt: u32) -> Option<order::Attempt> {
    Some(order::Attempt { order: order.into(), incarnation: 7, attempt, customer: "ann".into() })
}

fn id(order: &str, attempt: u32) -> Option<pb::HoldId> {
    Some(pb::HoldId { order: order.into(), incarnation: 7, attempt })
}

fn requested(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::DeliveryRequested(order::DeliveryRequested { attempt })
}

fn confirmed(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::Confirmed(order::OrderConfirmed { attempt, delivery: true, ..Default::default() })
}

fn release(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::DeliveryReleaseRequested(order::ReleaseRequested { attempt, ..Default::default() })
}

fn ended(attempt: Option<order::Attempt>) -> OrderEvent {
    let of = |delivery| order::EndedAttempt { attempt: attempt.clone(), delivery, ..Default::default() };
    // The first one never asked for a delivery.
    OrderEvent::Seeded(order::OrdersSeeded { ended: vec![of(false), of(true)], ..Default::default() })
}

fn delivered(attempt: Option<order::Attempt>) -> OrderEvent {
    let order::Attempt { order, incarnation, attempt, customer } = attempt.unwrap_or_default();
    let needs_delivery = true;
    OrderEvent::Delivered(order::OrderDelivered {
        order,
        incarnation,
        attempt,
        customer,
        needs_delivery,
        ..Default::default()
    })
}

fn tell(rules: &mut Rules<Delivery>, event: OrderEvent) -> Vec<Event> {
    let thens = rules.tell("order", 0, 0, "o", &order::Event { event: Some(event) }).expect("an event of order");
    assert!(thens.iter().all(|then| then.fault().is_none()), "{thens:?}");
    thens.iter().flat_map(Then::events).filter_map(|event| event.event).collect()
}

/// What one event of an order came to, which is at most one event.
fn told(rules: &mut Rules<Delivery>, event: OrderEvent) -> Option<Event> {
    let mut events = tell(rules, event);
    assert!(events.len() < 2, "{events:?}");
    events.pop()
}

fn slot(number: u32, day: i64, counted: bool) -> pb::Slot {
    pb::Slot { hold: id("o", number), customer: "ann".into(), day, counted }
}

fn refused(number: u32, reason: &str) -> Option<Event> {
    let (hold, customer, reason) = (id("o", number), "ann".into(), reason.into());
    Some(Event::Refused(pb::SlotRefused { hold, customer, from: TODAY + 1, to: TODAY + 3, reason }))
}

fn status(rules: &Rules<Delivery>, order: &str) -> Option<Status> {
    rules.state(order).map(|state| state.status())
}

fn taken(rules: &Rules<Delivery>) -> Vec<(i64, i64)> {
    rules.partition().days.iter().map(|day| (day.day, day.taken)).collect()
}

#[test]
fn a_slot_is_held_scheduled_and_delivered_on_one_day() {
    let mut rules = rules(Some(1));
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), Some(Event::Held(slot(1, TODAY + 1, true))));
    assert_eq!(status(&rules, "o"), Some(Status::Held));
    rules.wait(DAY);
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1))), Some(Event::Scheduled(slot(1, TODAY + 1, false))));
    assert_eq!(status(&rules, "o"), Some(Status::Scheduled));
    assert_eq!(told(&mut rules, delivered(attempt("o", 1))), Some(Event::Delivered(slot(1, TODAY + 1, false))));
    assert_eq!(status(&rules, "o"), Some(Status::Delivered));
    assert_eq!(taken(&rules), [(TODAY + 1, 1)]);
    let state = rules.state("o").expect("a delivery");
    assert_eq!((state.day, state.customer.as_str(), state.at), (TODAY + 1, "ann", rules.now().0));
}

/// INV-18.
#[test]
fn the_earliest_day_with_room_is_taken_and_none_beyond_the_horizon() {
    let mut rules = rules(Some(2));
    for number in 0..6 {
        let order = format!("o{number}");
        let held = told(&mut rules, requested(attempt(&order, 1)));
        assert!(matches!(held, Some(Event::Held(slot)) if slot.day == TODAY + 1 + number / 2), "{order}");
    }
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), refused(1, "no-delivery-slot"));
    assert_eq!(status(&rules, "o"), Some(Status::Refused));
    rules.wait(DAY);
    let held = told(&mut rules, requested(attempt("o", 2)));
    assert!(matches!(held, Some(Event::Held(slot)) if slot.day == TODAY + 4), "tomorrow there is another day");
}

#[test]
fn a_capacity_of_nothing_refuses_all_and_still_schedules_what_is_confirmed() {
    let mut rules = rules(Some(0));
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), refused(1, "no-delivery-slot"));
    let scheduled = told(&mut rules, confirmed(attempt("p", 1)));
    assert!(matches!(scheduled, Some(Event::Scheduled(slot)) if slot.day == TODAY + 1));
}

#[test]
fn without_a_capacity_each_order_is_scheduled_for_the_first_day() {
    let mut rules = rules(None);
    for order in ["a", "b", "c"] {
        let scheduled = told(&mut rules, confirmed(attempt(order, 1)));
        assert!(matches!(scheduled, Some(Event::Scheduled(slot)) if slot.day == TODAY + 1 && slot.counted));
    }
    assert_eq!(taken(&rules), [(TODAY + 1, 3)]);
}

/// INV-18: the setting may be newer than the checkout.
#[test]
fn what_is_confirmed_without_a_slot_goes_where_there_is_room() {
    let mut rules = rules(Some(1));
    for number in 0..5 {
        let scheduled = told(&mut rules, confirmed(attempt(&format!("o{number}"), 1)));
        assert!(matches!(scheduled, Some(Event::Scheduled(slot)) if slot.day == TODAY + 1 + number));
    }
}

#[test]
fn a_voided_slot_gives_its_place_back_once() {
    let mut rules = rules(Some(1));
    told(&mut rules, requested(attempt("o", 1)));
    assert_eq!(told(&mut rules, release(attempt("o", 1))), Some(Event::Voided(slot(1, TODAY + 1, true))));
    assert_eq!((status(&rules, "o"), taken(&rules)), (Some(Status::Voided), vec![]));
    told(&mut rules, requested(attempt("p", 1)));
    assert_eq!(told(&mut rules, release(attempt("o", 1))), Some(Event::Voided(slot(1, TODAY + 1, false))));
    assert_eq!(taken(&rules), [(TODAY + 1, 1)], "it is the other order's");
}

#[test]
fn what_is_repeated_has_no_second_effect() {
    let mut rules = rules(Some(9));
    told(&mut rules, requested(attempt("o", 1)));
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), None);
    told(&mut rules, confirmed(attempt("o", 1)));
    for event in [requested(attempt("o", 1)), confirmed(attempt("o", 1))] {
        assert_eq!(told(&mut rules, event), None);
    }
    told(&mut rules, delivered(attempt("o", 1)));
    for event in [requested(attempt("o", 1)), confirmed(attempt("o", 1)), delivered(attempt("o", 1))] {
        assert_eq!(told(&mut rules, event), None);
    }
    assert_eq!(taken(&rules), [(TODAY + 1, 1)]);
}

#[test]
fn a_void_after_the_pivot_is_answered_and_gives_nothing_back() {
    let mut rules = rules(Some(9));
    told(&mut rules, requested(attempt("o", 1)));
    told(&mut rules, confirmed(attempt("o", 1)));
    assert_eq!(told(&mut rules, release(attempt("o", 1))), Some(Event::Voided(slot(1, TODAY + 1, false))));
    assert_eq!((status(&rules, "o"), taken(&rules)), (Some(Status::Scheduled), vec![(TODAY + 1, 1)]));
}

#[test]
fn a_void_before_its_hold_has_the_hold_refused_and_not_the_next_attempt() {
    let mut rules = rules(Some(9));
    assert!(matches!(told(&mut rules, release(attempt("o", 2))), Some(Event::Voided(slot)) if !slot.counted));
    assert_eq!(told(&mut rules, requested(attempt("o", 2))), refused(2, "voided"));
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), refused(1, "voided"), "it is older still");
    assert_eq!(told(&mut rules, confirmed(attempt("o", 2))), None);
    assert_eq!(status(&rules, "o"), Some(Status::Voided));
    assert_eq!(told(&mut rules, requested(attempt("o", 3))), Some(Event::Held(slot(3, TODAY + 1, true))));
}

#[test]
fn a_hold_that_was_refused_stays_refused() {
    let mut rules = rules(Some(1));
    for order in ["a", "b", "c"] {
        told(&mut rules, requested(attempt(order, 1)));
    }
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), refused(1, "no-delivery-slot"));
    told(&mut rules, release(attempt("a", 1)));
    assert_eq!(told(&mut rules, requested(attempt("o", 1))), refused(1, "voided"));
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1))), None);
    assert!(matches!(told(&mut rules, release(attempt("o", 1))), Some(Event::Voided(slot)) if !slot.counted));
    assert_eq!(told(&mut rules, requested(attempt("o", 2))), Some(Event::Held(slot(2, TODAY + 1, true))));
}

#[test]
fn what_an_earlier_attempt_still_holds_is_given_back_by_a_later_one() {
    for later in [requested, confirmed, release] {
        let mut rules = rules(Some(1));
        told(&mut rules, requested(attempt("o", 1)));
        let events = tell(&mut rules, later(attempt("o", 2)));
        assert_eq!((events.first(), events.len()), (Some(&Event::Voided(slot(1, TODAY + 1, true))), 2));
        let holds = i64::from(status(&rules, "o") != Some(Status::Voided));
        assert_eq!(taken(&rules).iter().map(|(_, taken)| taken).sum::<i64>(), holds);
        // What comes late of the earlier one changes nothing.
        let before = rules.state("o");
        assert!(matches!(told(&mut rules, release(attempt("o", 1))), Some(Event::Voided(slot)) if !slot.counted));
        assert_eq!(told(&mut rules, confirmed(attempt("o", 1))), None);
        assert_eq!(told(&mut rules, delivered(attempt("o", 1))), None);
        assert_eq!(rules.state("o"), before);
    }
}

/// INV-19.
#[test]
fn only_what_is_scheduled_is_delivered() {
    let mut rules = rules(Some(9));
    assert_eq!(told(&mut rules, delivered(attempt("o", 1))), None);
    told(&mut rules, requested(attempt("o", 1)));
    assert_eq!(told(&mut rules, delivered(attempt("o", 1))), None);
    told(&mut rules, confirmed(attempt("o", 1)));
    assert!(told(&mut rules, delivered(attempt("o", 1))).is_some());
}

#[test]
fn orders_that_need_no_delivery_have_none() {
    let mut rules = rules(None);
    let none = order::OrderConfirmed { attempt: attempt("o", 1), delivery: false, ..Default::default() };
    assert_eq!(told(&mut rules, OrderEvent::Confirmed(none)), None);
    let none = order::OrderDelivered { order: "o".into(), ..Default::default() };
    assert_eq!(told(&mut rules, OrderEvent::Delivered(none)), None);
    assert_eq!(rules.states(), []);
}

#[test]
fn orders_that_are_seeded_anew_give_back_what_the_old_ones_held() {
    let mut rules = rules(Some(1));
    told(&mut rules, requested(attempt("o", 1)));
    assert_eq!(told(&mut rules, ended(attempt("o", 1))), Some(Event::Voided(slot(1, TODAY + 1, true))));
    assert_eq!(taken(&rules), []);
}

#[test]
fn days_that_are_long_past_are_dropped() {
    let mut rules = rules(Some(1));
    told(&mut rules, requested(attempt("o", 1)));
    rules.wait(DAY * 61);
    told(&mut rules, requested(attempt("p", 1)));
    assert_eq!(taken(&rules), [(TODAY + 1, 1), (TODAY + 62, 1)], "60 days are not too long");
    rules.wait(DAY);
    told(&mut rules, requested(attempt("q", 1)));
    assert_eq!(taken(&rules), [(TODAY + 62, 1), (TODAY + 63, 1)]);
    assert_eq!(told(&mut rules, release(attempt("o", 1))), Some(Event::Voided(slot(1, TODAY + 1, true))));
    assert_eq!(taken(&rules), [(TODAY + 62, 1), (TODAY + 63, 1)], "there is nothing left to give back to");
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_no_panic() {
    let mut rules = rules(Some(1));
    for command in [None, Some(Command::Hold(pb::Request::default())), Some(Command::Schedule(pb::Request::default()))]
    {
        assert!(rules.when("o", &pb::Command { command }).fault().is_some());
    }
    assert!(rules.tell("order", 0, 0, "o", &order::Event::default()).is_err());
    assert!(rules.tell("order", 0, 0, "o", &order::Event { event: Some(release(None)) }).is_err());
    assert_eq!((rules.states(), taken(&rules)), (vec![], vec![]));
    let mut state = None;
    Delivery::evolve(&mut state, "o", &pb::Event::default(), At { offset: 0, time: rules.now() });
    assert_eq!(state, None);
}

#[test]
fn settings_beyond_all_measure_are_no_panic() {
    for (lead, horizon, capacity) in [(i64::MAX, i64::MAX, 1), (i64::MIN, i64::MIN, 1), (0, 0, i64::MIN)] {
        let settings = Settings {
            delivery_capacity: Some(capacity),
            delivery_lead_days: lead,
            delivery_horizon_days: horizon,
            ..Settings::default()
        };
        let mut rules = Rules::new(Delivery::new(settings));
        for order in ["a", "b"] {
            told(&mut rules, requested(attempt(order, 1)));
            told(&mut rules, confirmed(attempt(order, 1)));
        }
    }
}
