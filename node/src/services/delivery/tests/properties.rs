//! Properties: whatever is told, in whatever order.
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Requested(usize, u32),
    Confirmed(usize, u32),
    Release(usize, u32),
    Ended(usize, u32),
    Delivered(usize, u32),
    Wait(u64),
}

const ORDERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn step() -> impl Strategy<Value = Step> {
    let attempt = || (0..ORDERS.len(), 1..5_u32);
    prop_oneof![
        6 => attempt().prop_map(|(order, attempt)| Step::Requested(order, attempt)),
        3 => attempt().prop_map(|(order, attempt)| Step::Confirmed(order, attempt)),
        3 => attempt().prop_map(|(order, attempt)| Step::Release(order, attempt)),
        1 => attempt().prop_map(|(order, attempt)| Step::Ended(order, attempt)),
        3 => attempt().prop_map(|(order, attempt)| Step::Delivered(order, attempt)),
        1 => (1..60_u64).prop_map(Step::Wait),
    ]
}

/// What must hold, step by step.
struct Checked {
    rules: Rules<Delivery>,
    capacity: Option<i64>,
    /// The day of each attempt that is held, scheduled or delivered.
    days: BTreeMap<(String, u32), i64>,
    held: BTreeSet<(String, u32)>,
    /// Attempts that may be held no more: voided, refused, or of a later one's time.
    ended: BTreeSet<(String, u32)>,
    confirmed: BTreeSet<(String, u32)>,
}

impl Checked {
    fn new(capacity: Option<i64>) -> Self {
        let (days, held, ended, confirmed) = Default::default();
        Checked { rules: rules(capacity), capacity, days, held, ended, confirmed }
    }

    fn take(&mut self, step: &Step) {
        let (number, attempt, event): (usize, u32, fn(Option<order::Attempt>) -> OrderEvent) = match *step {
            Step::Requested(order, attempt) => (order, attempt, requested),
            Step::Confirmed(order, attempt) => (order, attempt, confirmed),
            Step::Release(order, attempt) => (order, attempt, release),
            Step::Ended(order, attempt) => (order, attempt, ended),
            Step::Delivered(order, attempt) => (order, attempt, delivered),
            Step::Wait(hours) => {
                self.rules.wait(Duration::from_secs(hours * 60 * 60));
                return;
            }
        };
        let hold = (ORDERS[number].to_owned(), attempt);
        if let Step::Confirmed(..) = step {
            self.confirmed.insert(hold.clone());
        }
        let events = tell(&mut self.rules, event(self::attempt(ORDERS[number], attempt)));
        let of_this = |id: &Option<pb::HoldId>| *id == self::id(ORDERS[number], attempt);
        match step {
            Step::Release(..) | Step::Ended(..) => {
                let answers = events.iter().filter(|event| matches!(event, Event::Voided(slot) if of_this(&slot.hold)));
                assert_eq!(answers.count(), 1, "a void is always answered");
            }
            Step::Requested(..) => {
                let answer = |event: &Event| match event {
                    Event::Held(slot) => of_this(&slot.hold),
                    Event::Refused(refused) => of_this(&refused.hold),
                    _ => false,
                };
                assert!(self.days.contains_key(&hold) || events.iter().any(answer), "a hold is answered");
            }
            _ => {}
        }
        events.into_iter().for_each(|event| self.see(event));
        self.check();
    }

    fn see(&mut self, event: Event) {
        let hold_of = |id: Option<pb::HoldId>| id.map(|id| (id.order, id.attempt)).expect("an id");
        match event {
            Event::Held(slot) => {
                let hold = hold_of(slot.hold);
                assert!(!self.ended.contains(&hold), "{hold:?} was voided or refused");
                assert_eq!(self.days.insert(hold.clone(), slot.day), None, "{hold:?} was held already");
                self.held.insert(hold);
            }
            Event::Refused(refused) => _ = self.ended.insert(hold_of(refused.hold)),
            Event::Scheduled(slot) => {
                let hold = hold_of(slot.hold);
                assert!(!self.ended.contains(&hold), "{hold:?} was voided or refused");
                assert!(self.confirmed.contains(&hold), "INV-19: {hold:?}");
                let before = self.days.insert(hold.clone(), slot.day);
                assert_eq!(before.is_some(), self.held.remove(&hold), "{hold:?} was scheduled already");
                assert!(before.is_none_or(|day| day == slot.day), "{hold:?} keeps its day");
            }
            Event::Voided(slot) => {
                let hold = hold_of(slot.hold);
                if self.held.remove(&hold) {
                    self.days.remove(&hold);
                }
                if !self.days.contains_key(&hold) {
                    self.ended.insert(hold);
                }
            }
            Event::Delivered(slot) => {
                let hold = hold_of(slot.hold);
                assert_eq!(self.days.get(&hold), Some(&slot.day));
                assert!(!self.held.contains(&hold), "INV-19: {hold:?} is not scheduled");
            }
        }
    }

    fn check(&self) {
        let mut recount: BTreeMap<i64, i64> = BTreeMap::new();
        self.days.values().for_each(|day| *recount.entry(*day).or_default() += 1);
        // INV-18.
        let capacity = self.capacity.unwrap_or(i64::MAX);
        assert!(recount.values().all(|taken| *taken <= capacity), "{recount:?}");
        // Long past days are dropped with the next event.
        let recent = |day: &i64| *day > self.rules.now().0 as i64 / DAY.as_micros() as i64 - 30;
        let recount: Vec<_> = recount.into_iter().filter(|(day, _)| recent(day)).collect();
        let counted: Vec<_> = taken(&self.rules).into_iter().filter(|(day, _)| recent(day)).collect();
        assert_eq!(counted, recount);
        for order in ORDERS {
            let Some(state) = self.rules.state(order) else { continue };
            let hold = (order.to_owned(), state.hold.as_ref().expect("an id").attempt);
            let taken = matches!(state.status(), Status::Held | Status::Scheduled | Status::Delivered);
            assert_eq!(self.days.get(&hold).copied(), taken.then_some(state.day), "{state:?}");
            assert_eq!(state.status() == Status::Held, self.held.contains(&hold), "{state:?}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_no_day_has_more_than_its_capacity(
        capacity in proptest::option::of(1..3_i64),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut checked = Checked::new(capacity);
        steps.iter().for_each(|step| checked.take(step));
        // At rest nothing is held.
        for (order, attempt) in checked.held.clone() {
            let order = ORDERS.iter().position(|other| *other == order).expect("an order");
            checked.take(&Step::Release(order, attempt));
        }
        prop_assert!(ORDERS.iter().all(|order| status(&checked.rules, order) != Some(Status::Held)));
    }

    #[test]
    fn a_restored_state_goes_on_like_the_one_that_was_stored(
        capacity in proptest::option::of(1..3_i64),
        steps in proptest::collection::vec(step(), 1..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut straight, mut stored) = (Checked::new(capacity), Checked::new(capacity));
        for (number, step) in steps.iter().enumerate() {
            if number == at.index(steps.len()) {
                stored.rules = stored.rules.restored();
            }
            straight.take(step);
            stored.take(step);
            prop_assert_eq!(straight.rules.hash(), stored.rules.hash());
        }
    }
}
