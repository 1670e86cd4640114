//! Properties: whatever is asked and told, in whatever order.
use super::{super::fold, *};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Seed(u64, i64),
    Add(usize, i64),
    Subtract(usize, i64),
    Requested(usize, u32, Vec<(usize, i64)>),
    Confirmed(usize, u32),
    Release(usize, u32),
    Ended(usize, u32),
    Wait(u64),
}

const ITEMS: [&str; 5] = ["0", "1", "2", "apple", "pear"];
const ORDERS: [&str; 4] = ["a", "b", "c", "d"];

fn step() -> impl Strategy<Value = Step> {
    let attempt = || (0..ORDERS.len(), 1..4_u32);
    let lines = proptest::collection::vec((0..ITEMS.len(), 1..9_i64), 1..4);
    prop_oneof![
        1 => (0..ITEMS.len()).prop_map(Step::Create),
        1 => (0..4_u64, -1..50_i64).prop_map(|(items, stock)| Step::Seed(items, stock)),
        3 => (0..ITEMS.len(), prop_oneof![-1..50_i64, Just(i64::MAX)]).prop_map(|(item, by)| Step::Add(item, by)),
        2 => (0..ITEMS.len(), -1..20_i64).prop_map(|(item, by)| Step::Subtract(item, by)),
        6 => (attempt(), lines).prop_map(|((order, attempt), lines)| Step::Requested(order, attempt, lines)),
        3 => attempt().prop_map(|(order, attempt)| Step::Confirmed(order, attempt)),
        3 => attempt().prop_map(|(order, attempt)| Step::Release(order, attempt)),
        1 => attempt().prop_map(|(order, attempt)| Step::Ended(order, attempt)),
        1 => (0..50_u64).prop_map(Step::Wait),
    ]
}

/// How much of each item.
type Basket = BTreeMap<&'static str, i64>;

/// What must hold, step by step.
struct Checked {
    rules: Rules<Stock>,
    /// What of each item should be free, by the commands and the holds alone.
    free: Basket,
    holding: BTreeMap<(usize, u32), Basket>,
    posted: BTreeSet<(usize, u32)>,
    /// When a hold was refused or voided first.
    buried: BTreeMap<(usize, u32), u64>,
}

impl Checked {
    fn new() -> Self {
        let (holding, posted, buried) = Default::default();
        Checked { rules: shop(20, 20), free: [("apple", 20), ("pear", 20)].into(), holding, posted, buried }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(item) => {
                self.rules.when(ITEMS[*item], &create(5));
                self.free.entry(ITEMS[*item]).or_default();
            }
            Step::Seed(items, stock) => {
                if self.rules.when("", &seed(*items, *stock, 5)).refusal().is_none() {
                    for item in ITEMS.iter().filter(|item| item.parse::<u64>().is_ok_and(|item| item < *items)) {
                        self.free.insert(item, *stock);
                        self.holding.values_mut().for_each(|basket| _ = basket.remove(item));
                    }
                }
            }
            Step::Add(item, by) => self.change(*item, *by, Command::Add(*by)),
            Step::Subtract(item, by) => self.change(*item, -by, Command::Subtract(*by)),
            // An order that is confirmed does not ask again.
            Step::Requested(order, attempt, _) if self.posted.contains(&(*order, *attempt)) => {}
            Step::Requested(order, attempt, lines) => self.request((*order, *attempt), lines),
            Step::Confirmed(order, attempt) => {
                let event = told(&mut self.rules, confirmed(self::attempt(ORDERS[*order], *attempt)));
                assert!(matches!(event, None | Some(Event::Posted(_))));
                // INV-11: only what is held, and therefore once.
                let lines = event.map(|event| basket(Some(event)));
                assert_eq!(lines, self.holding.remove(&(*order, *attempt)));
                self.posted.extend(lines.map(|_| (*order, *attempt)));
            }
            Step::Release(order, attempt) => self.void((*order, *attempt), release),
            Step::Ended(order, attempt) => self.void((*order, *attempt), ended),
            Step::Wait(hours) => {
                self.rules.wait(Duration::from_secs(hours * 60 * 60));
                let now = self.rules.now().0;
                self.buried.retain(|_, at| now - *at < DAY.as_micros() as u64);
            }
        }
        self.check();
    }

    fn change(&mut self, item: usize, by: i64, command: Command) {
        let then = self.rules.when(ITEMS[item], &ask(command));
        if then.refusal().is_none() {
            *self.free.get_mut(ITEMS[item]).expect("what is unknown is refused") += by;
        } else {
            assert!(then.events().is_empty());
        }
    }

    fn request(&mut self, hold: (usize, u32), lines: &[(usize, i64)]) {
        let mut wanted = Basket::new();
        lines.iter().for_each(|(item, quantity)| *wanted.entry(ITEMS[*item]).or_default() += quantity);
        let lines = lines.iter().map(|(item, quantity)| line(ITEMS[*item], *quantity)).collect();
        let now = self.rules.now().0;
        match told(&mut self.rules, requested(attempt(ORDERS[hold.0], hold.1), lines)) {
            None => assert!(self.holding.contains_key(&hold), "a hold is answered"),
            Some(Event::Refused(refused)) => {
                let fits =
                    wanted.iter().all(|(item, quantity)| self.free.get(item).is_some_and(|free| free >= quantity));
                assert!(!fits || self.buried.contains_key(&hold), "{refused:?}");
                self.buried.entry(hold).or_insert(now);
            }
            Some(event) => {
                assert!(matches!(event, Event::Held(_)));
                // INV-12, INV-15.
                assert!(!self.buried.contains_key(&hold), "it was refused");
                assert_eq!(basket(Some(event)), wanted);
                wanted.iter().for_each(|(item, quantity)| *self.free.get_mut(item).expect("an item") -= quantity);
                assert!(self.holding.insert(hold, wanted).is_none(), "INV-11: it was held already");
            }
        }
    }

    /// It cannot be refused, and gives back exactly what is held.
    fn void(&mut self, hold: (usize, u32), event: fn(Option<order::Attempt>) -> OrderEvent) {
        let now = self.rules.now().0;
        let event = told(&mut self.rules, event(attempt(ORDERS[hold.0], hold.1)));
        assert!(matches!(event, Some(Event::Voided(_))), "a void is always answered");
        let given_back = basket(event);
        assert_eq!(given_back, self.holding.remove(&hold).unwrap_or_default());
        given_back.iter().for_each(|(item, quantity)| *self.free.get_mut(item).expect("an item") += quantity);
        self.buried.entry(hold).or_insert(now);
    }

    /// INV-14, and the items are what the commands and holds make of them.
    fn check(&self) {
        for key in ITEMS {
            let item = item(&self.rules, key);
            assert_eq!(item.as_ref().map(|item| item.free), self.free.get(key).copied(), "{key}");
            let Some(item) = item else { continue };
            let parts = [item.free, item.held, item.sold];
            assert!(parts.iter().all(|part| *part >= 0), "{item:?}");
            assert_eq!(parts.iter().sum::<i64>(), item.added, "{item:?}");
            let holding: i64 = self.holding.values().filter_map(|basket| basket.get(key)).sum();
            assert_eq!(item.held, holding, "{key}: {item:?}");
        }
        for (number, order) in ORDERS.iter().enumerate() {
            for attempt in 1..4 {
                let hold = hold(&self.rules, order, attempt).map(|hold| hold.voided);
                let place = (number, attempt);
                let expected = self.holding.contains_key(&place).then_some(false);
                assert_eq!(hold, expected.or(self.buried.contains_key(&place).then_some(true)), "{place:?}");
            }
        }
        assert_eq!(self.rules.timers(), self.buried.len(), "one for each tombstone");
    }
}

fn basket(event: Option<Event>) -> Basket {
    let known = |key: &str| *ITEMS.iter().find(|item| **item == key).expect("an item");
    moved(event).iter().map(|(item, quantity)| (known(item), *quantity)).collect()
}

proptest! {
    #[test]
    fn whatever_happens_the_stock_is_all_there(steps in proptest::collection::vec(step(), 1..80)) {
        let mut checked = Checked::new();
        steps.iter().for_each(|step| checked.take(step));
        // INV-13 for stock: at rest nothing is held.
        for (order, attempt) in checked.holding.clone().into_keys() {
            checked.take(&Step::Release(order, attempt));
        }
        prop_assert!(ITEMS.iter().filter_map(|key| item(&checked.rules, key)).all(|item| item.held == 0));
    }

    #[test]
    fn a_restored_state_goes_on_like_the_one_that_was_stored(
        steps in proptest::collection::vec(step(), 1..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut straight, mut stored) = (Checked::new(), Checked::new());
        for (number, step) in steps.iter().enumerate() {
            if number == at.index(steps.len()) {
                stored.rules = stored.rules.restored();
            }
            straight.take(step);
            stored.take(step);
            prop_assert_eq!(straight.rules.hash(), stored.rules.hash());
        }
    }

    /// INV-17, for one partition: the supply is sold, and no more.
    #[test]
    fn demand_above_supply_sells_exactly_the_supply(supply in 0..20_i64, more in 0..20_i64) {
        let mut rules = shop(supply, 0);
        for number in 0..supply + more {
            let order = format!("o{number}");
            let held = told(&mut rules, requested(attempt(&order, 1), vec![line("apple", 1)]));
            prop_assert_eq!(matches!(held, Some(Event::Held(_))), number < supply);
            told(&mut rules, confirmed(attempt(&order, 1)));
        }
        let apple = item(&rules, "apple").expect("an item");
        prop_assert_eq!((apple.free, apple.held, apple.sold), (0, 0, supply));
    }

    #[test]
    fn seeded_keys_are_exactly_the_numbers_below(key in "[0-9+ -]{0,4}|[a-z0-9]{1,3}", items in 0..200_u64) {
        let partition = pb::Partition { seeds: vec![pb::Range { offset: 0, items, stock: 1, price: 1 }] };
        let expected = (0..items).any(|item| item.to_string() == key);
        prop_assert_eq!(fold::seeded(&partition, &key, None).is_some(), expected);
    }
}
