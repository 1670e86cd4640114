//! Properties: whatever is asked and told, in whatever order.
use super::{super::account, *};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Seed(u64, i64),
    Add(usize, i64),
    Pay(usize, i64),
    Started(usize, u32, i64),
    Confirmed(usize, u32),
    Release(usize, u32),
    Ended(usize, u32),
    Wait(u64),
}

const USERS: [&str; 4] = ["0", "1", "2", "ann"];
/// An order has one customer.
const ORDERS: [(&str, &str); 5] = [("a", "0"), ("b", "1"), ("c", "ann"), ("d", "ann"), ("e", "nobody")];

fn step() -> impl Strategy<Value = Step> {
    let attempt = || (0..ORDERS.len(), 1..4_u32);
    prop_oneof![
        1 => (0..USERS.len()).prop_map(Step::Open),
        1 => (0..4_u64, -1..100_i64).prop_map(|(users, money)| Step::Seed(users, money)),
        3 => (0..USERS.len(), prop_oneof![-1..100_i64, Just(i64::MAX)]).prop_map(|(user, by)| Step::Add(user, by)),
        2 => (0..USERS.len(), -1..100_i64).prop_map(|(user, by)| Step::Pay(user, by)),
        6 => (attempt(), 1..60_i64).prop_map(|((order, attempt), total)| Step::Started(order, attempt, total)),
        3 => attempt().prop_map(|(order, attempt)| Step::Confirmed(order, attempt)),
        3 => attempt().prop_map(|(order, attempt)| Step::Release(order, attempt)),
        1 => attempt().prop_map(|(order, attempt)| Step::Ended(order, attempt)),
        1 => (0..50_u64).prop_map(Step::Wait),
    ]
}

/// What must hold, step by step.
struct Checked {
    rules: Rules<Payment>,
    /// What each user should have available, by the commands and the holds alone.
    money: BTreeMap<&'static str, i64>,
    holding: BTreeMap<(usize, u32), i64>,
    posted: BTreeSet<(usize, u32)>,
    /// When a hold was refused or voided last.
    buried: BTreeMap<(usize, u32), u64>,
}

impl Checked {
    fn new() -> Self {
        let (money, holding, posted, buried) = Default::default();
        let mut rules = Rules::new(Payment);
        rules.when("ann", &ask(Command::Open(pb::Open {})));
        let mut checked = Checked { rules, money, holding, posted, buried };
        checked.money.insert("ann", 0);
        checked
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Open(user) => {
                self.rules.when(USERS[user], &ask(Command::Open(pb::Open {})));
                self.money.entry(USERS[user]).or_default();
            }
            Step::Seed(users, money) => {
                if self.rules.when("", &seed(users, money)).refusal().is_none() {
                    let seeded = |user: &str| user.parse::<u64>().is_ok_and(|user| user < users);
                    USERS.iter().filter(|user| seeded(user)).for_each(|user| {
                        self.money.insert(user, money);
                    });
                    self.holding.retain(|(order, _), _| !seeded(ORDERS[*order].1));
                    self.buried.retain(|(order, _), _| !seeded(ORDERS[*order].1));
                }
            }
            Step::Add(user, by) => self.move_money(user, by, Command::AddFunds(amount(by))),
            Step::Pay(user, by) => self.move_money(user, -by, Command::Pay(amount(by))),
            // An order that is confirmed does not ask again.
            Step::Started(order, attempt, _) if self.posted.contains(&(order, attempt)) => {}
            Step::Started(order, attempt, total) => self.start(order, attempt, total),
            Step::Confirmed(order, attempt) => {
                let event = told(&mut self.rules, confirmed(self::attempt(ORDERS[order].0, attempt, ORDERS[order].1)));
                let amount = event.map(|event| match event {
                    Event::Posted(posted) => posted.amount,
                    other => panic!("a post came to {other:?}"),
                });
                // INV-11: only what is held, and therefore once.
                assert_eq!(amount, self.holding.remove(&(order, attempt)));
                self.posted.extend(amount.map(|_| (order, attempt)));
            }
            Step::Release(order, attempt) => self.void(order, attempt, release),
            Step::Ended(order, attempt) => self.void(order, attempt, ended),
            Step::Wait(hours) => {
                self.rules.wait(Duration::from_secs(hours * 60 * 60));
            }
        }
        self.check();
    }

    fn move_money(&mut self, user: usize, by: i64, command: Command) {
        let then = self.rules.when(USERS[user], &ask(command));
        if then.refusal().is_none() {
            let money = self.money.get_mut(USERS[user]).expect("who is unknown is refused");
            *money += by;
            assert_eq!(then.reply().expect("a reply").available, *money);
        } else {
            assert!(then.events().is_empty());
        }
    }

    fn start(&mut self, order: usize, attempt: u32, total: i64) {
        let (name, user) = ORDERS[order];
        let now = self.rules.now().0;
        let event = told(&mut self.rules, started(self::attempt(name, attempt, user), total));
        match event {
            None => assert!(self.holding.contains_key(&(order, attempt)), "a hold is answered"),
            Some(Event::Held(held)) => {
                assert_eq!(held.amount, total);
                let money = self.money.get_mut(user).expect("there is an account");
                *money -= total;
                assert!(self.holding.insert((order, attempt), total).is_none(), "INV-11: it was held already");
                // INV-12.
                let buried = self.buried.remove(&(order, attempt));
                assert!(buried.is_none_or(|at| now - at > DAY.as_micros() as u64), "it was refused at {buried:?}");
            }
            Some(Event::Refused(refused)) if refused.reason == "account-missing" => {
                assert!(!self.money.contains_key(user));
            }
            Some(Event::Refused(_)) => _ = self.buried.entry((order, attempt)).or_insert(now),
            Some(other) => panic!("a hold came to {other:?}"),
        }
    }

    /// It cannot be refused, and gives back exactly what is held.
    fn void(&mut self, order: usize, attempt: u32, event: fn(Option<order::Attempt>) -> OrderEvent) {
        let (name, user) = ORDERS[order];
        let now = self.rules.now().0;
        let Some(Event::Voided(voided)) = told(&mut self.rules, event(self::attempt(name, attempt, user))) else {
            panic!("a void is always answered")
        };
        assert_eq!(voided.amount, self.holding.remove(&(order, attempt)).unwrap_or(0));
        if let Some(money) = self.money.get_mut(user) {
            *money += voided.amount;
            self.buried.entry((order, attempt)).or_insert(now);
        }
    }

    /// INV-10, and the account is what the commands and holds make of it.
    fn check(&self) {
        for user in USERS {
            let account = self.rules.state(user);
            assert_eq!(account.as_ref().map(|account| account.available), self.money.get(user).copied(), "{user}");
            let Some(account) = account else { continue };
            let parts = [account.available, account.held, account.spent];
            assert!(parts.iter().all(|part| *part >= 0), "{account:?}");
            assert_eq!(parts.iter().sum::<i64>(), account.deposited, "{account:?}");
            let of = |(order, _): &(usize, u32)| ORDERS[*order].1 == user;
            let holding: i64 = self.holding.iter().filter(|(hold, _)| of(hold)).map(|(_, amount)| amount).sum();
            assert_eq!(account.held, holding, "{account:?}");
        }
        assert_eq!(self.rules.state("nobody"), None);
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_money_is_all_there(steps in proptest::collection::vec(step(), 1..80)) {
        let mut checked = Checked::new();
        steps.iter().for_each(|step| checked.take(step));
        // INV-13: at rest nothing is held.
        for (order, attempt) in checked.holding.clone().into_keys() {
            checked.take(&Step::Release(order, attempt));
        }
        prop_assert!(USERS.iter().filter_map(|user| checked.rules.state(user)).all(|account| account.held == 0));
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

    #[test]
    fn seeded_keys_are_exactly_the_numbers_below(key in "[0-9+ -]{0,4}|[a-z0-9]{1,3}", users in 0..200_u64) {
        let partition = pb::Partition { seeds: vec![pb::Range { offset: 0, users, money: 1 }] };
        let expected = (0..users).any(|user| user.to_string() == key);
        prop_assert_eq!(account::seeded(&partition, &key, None).is_some(), expected);
    }
}
