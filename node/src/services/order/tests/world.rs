//! A partition of orders among participants that answer as late as they like: whatever is asked and whatever is said,
//! the promises are kept at every step, and when everything has been said nothing hangs.
mod participants;
mod promises;

use super::*;
use participants::{Held, Id, Participant};
use promises::is_paid;
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

/// Ids; the first three can be seeded.
const KEYS: [&str; 5] = ["0", "1", "2", "a", "b"];

#[derive(Clone, Debug)]
enum Op {
    Ask(usize, Command),
    /// A participant reads the next event; the number is its mood.
    Reads(usize, u8),
    /// The next answer of a participant arrives.
    Answers(usize),
    Wait(u64),
    Restore,
}

struct World {
    rules: Rules<Order>,
    capacity: bool,
    log: Vec<Event>,
    participants: Vec<Participant>,
    /// Who waits, and for which attempt; nothing: for a cancel.
    waits: BTreeMap<Ticket, Option<Id>>,
    answered: BTreeSet<Ticket>,
    refused: BTreeSet<Id>,
    confirmed: BTreeMap<(String, u64), Id>,
    totals: BTreeMap<Id, i64>,
    numbers: BTreeSet<u64>,
    once: BTreeSet<(&'static str, String, u64)>,
}

impl World {
    fn new(capacity: bool) -> Self {
        let settings = Settings { delivery_capacity: capacity.then_some(3), ..Settings::default() };
        let participants = [("payment", 0), ("stock", 0), ("stock", 1), ("delivery", 0)];
        World {
            rules: Rules::new(Order::new(settings)).at(place()),
            capacity,
            log: Vec::new(),
            participants: participants.map(|(topic, partition)| Participant::new(topic, partition)).into(),
            waits: BTreeMap::new(),
            answered: BTreeSet::new(),
            refused: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            totals: BTreeMap::new(),
            numbers: BTreeSet::new(),
            once: BTreeSet::new(),
        }
    }

    fn order(&self, key: &str) -> Option<pb::Order> {
        match self.rules.state(key)?.state? {
            pb::state::State::Order(order) => Some(order),
            pb::state::State::Alias(_) => None,
        }
    }

    fn take(mut self, op: &Op) -> Self {
        match op {
            Op::Ask(key, asked) => self.ask(KEYS[*key], asked),
            Op::Reads(who, mood) => _ = self.reads(*who, *mood),
            Op::Answers(who) => _ = self.answers(*who),
            Op::Wait(seconds) => {
                let thens = self.rules.wait(Duration::from_secs(*seconds));
                thens.iter().for_each(|then| self.happened(then));
            }
            Op::Restore => {
                let hash = self.rules.hash();
                self.rules = self.rules.restored();
                assert_eq!(self.rules.hash(), hash);
            }
        }
        self.check();
        self
    }

    fn ask(&mut self, key: &str, asked: &Command) {
        let then = self.rules.when(key, &command(asked.clone()));
        match then.deferred() {
            Some(ticket) => {
                let order = self.order(key).expect("something is waited for");
                let attempt = (order.id, order.incarnation, order.attempt);
                let before = self.waits.insert(ticket, matches!(asked, Command::Checkout(_)).then_some(attempt));
                assert_eq!((before, then.reply(), then.refusal()), (None, None, None));
            }
            None => assert!(then.reply().is_some() != then.refusal().is_some(), "one answer: {then:?}"),
        }
        if let (Command::Checkout(checkout), Some(reply)) = (asked, then.reply())
            && !checkout.r#async
        {
            is_paid(&reply);
        }
        self.happened(&then);
    }

    fn reads(&mut self, who: usize, mood: u8) -> bool {
        let participant = &mut self.participants[who];
        let Some(event) = self.log.get(participant.read) else { return false };
        participant.read += 1;
        participant.reads(event, self.capacity, mood);
        true
    }

    fn answers(&mut self, who: usize) -> bool {
        let Participant { topic, partition, says, said, .. } = &mut self.participants[who];
        let (topic, partition) = (*topic, *partition);
        let Some((id, held)) = says.pop_front() else { return false };
        *said += 1;
        let at = (topic, partition, *said);
        let thens = participants::tell(&mut self.rules, at, id, held);
        thens.iter().for_each(|then| self.happened(then));
        true
    }

    fn happened(&mut self, then: &Then<Order>) {
        assert_eq!(then.fault(), None);
        let tickets: Vec<_> = self.waits.keys().copied().chain(self.answered.iter().copied()).collect();
        for ticket in tickets {
            let Some(answer) = then.answer_to(ticket) else { continue };
            let waits = self.waits.remove(&ticket).unwrap_or_else(|| panic!("answered twice: {then:?}"));
            self.answered.insert(ticket);
            match (waits, answer) {
                (Some(_), Ok(reply)) => is_paid(&reply),
                (Some(attempt), Err(_)) => _ = self.refused.insert(attempt),
                (None, Ok(reply)) => {
                    assert_eq!(reply.order.map(|order| order.status()), Some(Status::Cancelled));
                }
                (None, Err(refusal)) => assert_eq!(refusal.name(), "unknown-order", "it was seeded anew"),
            }
        }
        for (key, event) in then.keyed_events() {
            let event = event.event.expect("it says something");
            self.judge(&key, &event);
            self.log.push(event);
        }
    }

    /// Everything is said that is to be said.
    fn rest(mut self) {
        loop {
            let mut again = false;
            for who in 0..self.participants.len() {
                while self.reads(who, 1) || self.answers(who) {
                    again = true;
                }
            }
            let thens = self.rules.wait(Duration::from_secs(1200));
            thens.iter().for_each(|then| self.happened(then));
            self.check();
            if !again && thens.is_empty() {
                break;
            }
        }
        assert_eq!((self.waits.len(), self.rules.timers()), (0, 0));
        for key in KEYS {
            let status = self.order(key).map(|order| order.status());
            assert!(!matches!(status, Some(Status::Reserving | Status::Releasing)), "{key} hangs");
        }
        for participant in &self.participants {
            for (id, held) in &participant.holds {
                assert_ne!(*held, Held::Aside, "INV-2: {} {id:?}", participant.topic);
                let confirmed = self.confirmed.get(&(id.0.clone(), id.1)) == Some(id);
                assert_eq!(*held == Held::Posted, confirmed, "INV-1: {} {id:?}", participant.topic);
            }
        }
        let hash = self.rules.hash();
        assert_eq!(self.rules.restored().hash(), hash);
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let line = || {
        let price = prop::option::weighted(0.8, 0..50_i64);
        (0..2_u32, 1..4_i64, price, any::<bool>()).prop_map(|(item, quantity, price, quoted)| {
            let item = item_in(item);
            Line { item, quantity, price, quoted }
        })
    };
    let prices = || vec![super::line(item_in(0), 0, 5), super::line(item_in(1), 0, 6)];
    let lines = prop::collection::vec(line(), 0..4);
    let place = (lines, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        move |(lines, needs_delivery, checkout, value)| {
            let kind = if value { Kind::Value } else { Kind::Items };
            let lines = if value { Vec::new() } else { lines };
            let (kind, prices) = (kind.into(), prices());
            Command::Place(pb::Place {
                kind,
                lines,
                needs_delivery,
                checkout,
                prices,
                net: 100,
                ..pb::Place::default()
            })
        },
    );
    let checkout = any::<bool>().prop_map(move |r#async| Command::Checkout(pb::Checkout { prices: prices(), r#async }));
    let seed = (0..4_u64, 0..9_u64)
        .prop_map(|(orders, seed)| Command::Seed(pb::Seed { orders, items: 4, users: 3, price: 7, seed }));
    prop_oneof![
        5 => place,
        6 => checkout,
        2 => line().prop_map(Command::AddLine),
        1 => (0..2_u32).prop_map(|item| Command::RemoveLine(item_in(item))),
        2 => Just(Command::MarkDelivered(pb::MarkDelivered {})),
        2 => Just(Command::Cancel(pb::Cancel {})),
        1 => seed,
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..KEYS.len(), any_command()).prop_map(|(key, command)| Op::Ask(key, command)),
        10 => (0..4_usize, any::<u8>()).prop_map(|(who, mood)| Op::Reads(who, mood)),
        8 => (0..4_usize).prop_map(Op::Answers),
        1 => prop_oneof![0..3_u64, Just(6), Just(11), Just(1000)].prop_map(Op::Wait),
        1 => Just(Op::Restore),
    ]
}

proptest! {
    #[test]
    fn promises_are_kept(capacity: bool, ops in prop::collection::vec(any_op(), 0..200)) {
        let world = ops.iter().fold(World::new(capacity), World::take);
        world.rest();
    }
}
