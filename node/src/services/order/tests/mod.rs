//! The rules of the order service, with participants that say what a test wants.
mod ends;
mod failing;
mod orders;
mod seeds;
mod subjects;
mod world;

use super::*;
use crate::{
    runtime::{Place, Ticket, partition_of},
    testing::{Rules, Then},
};
use corduroy_proto::{delivery, payment, stock};
use pb::{HoldStatus, Kind, Line, Status};
use std::collections::BTreeMap;

/// Orders, with one partition of payment, two of stock and one of delivery.
struct Shop {
    rules: Rules<Order>,
    /// Of the next event of a participant.
    offset: u64,
}

fn place() -> Place {
    let peers = [("payment", 1), ("stock", 2), ("delivery", 1)].map(|(name, partitions)| (name.to_owned(), partitions));
    Place { partition: 0, partitions: 1, peers: peers.into(), ..Place::default() }
}

/// An item in a partition of stock.
fn item_in(partition: u32) -> String {
    (0..).map(|n| format!("item-{n}")).find(|item| partition_of(item, 2) == partition).expect("there is one")
}

fn line(item: impl Into<String>, quantity: i64, price: i64) -> Line {
    Line { item: item.into(), quantity, price: Some(price), quoted: false }
}

fn items(lines: &[Line]) -> pb::Place {
    pb::Place { customer: "user".into(), lines: lines.to_vec(), needs_delivery: true, ..pb::Place::default() }
}

fn value(net: i64) -> pb::Place {
    pb::Place { customer: "user".into(), kind: Kind::Value.into(), net, ..pb::Place::default() }
}

fn command(command: Command) -> pb::Command {
    pb::Command { command: Some(command) }
}

fn checkout() -> Command {
    Command::Checkout(pb::Checkout::default())
}

fn checkout_async() -> Command {
    Command::Checkout(pb::Checkout { r#async: true, ..pb::Checkout::default() })
}

/// What happened, by the names of the facts.
fn kinds(then: &Then<Order>) -> Vec<String> {
    let kind = |event: pb::Event| {
        let text = format!("{:?}", event.event);
        text.trim_start_matches("Some(").split('(').next().unwrap_or_default().to_owned()
    };
    then.events().into_iter().map(kind).collect()
}

fn name(then: &Then<Order>) -> String {
    then.refusal().expect("it is refused").name().to_owned()
}

fn refused(then: &Then<Order>, ticket: Ticket) -> Refusal {
    then.answer_to(ticket).expect("it is answered").expect_err("it is refused")
}

fn extras(refusal: &Refusal) -> BTreeMap<String, String> {
    use corduroy_proto::runtime::extra::Value;
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    };
    refusal.extras().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

impl Shop {
    fn new(settings: Settings) -> Self {
        Shop { rules: Rules::new(Order::new(settings)).at(place()), offset: 0 }
    }

    /// Where slots of delivery are scarce.
    fn with_capacity() -> Self {
        Shop::new(Settings { delivery_capacity: Some(1), ..Settings::default() })
    }

    fn ask(&mut self, key: &str, what: Command) -> Then<Order> {
        self.rules.when(key, &command(what))
    }

    /// An order "a" with an item in each partition of stock; how much it costs is 70.
    fn split(mut self) -> Self {
        let lines = [line(item_in(0), 3, 20), line(item_in(1), 1, 10)];
        assert!(self.ask("a", Command::Place(items(&lines))).reply().is_some());
        self
    }

    /// The same, and somebody waits for its checkout.
    fn checking_out(self) -> (Self, Ticket) {
        let mut shop = self.split();
        let ticket = shop.ask("a", checkout()).deferred().expect("it waits");
        (shop, ticket)
    }

    fn order(&self, key: &str) -> pb::Order {
        match self.rules.state(key).and_then(|state| state.state) {
            Some(pb::state::State::Order(order)) => order,
            other => panic!("{key} is {other:?}"),
        }
    }

    fn alias(&self, key: &str) -> Option<String> {
        match self.rules.state(key)?.state? {
            pb::state::State::Alias(order) => Some(order),
            pb::state::State::Order(order) => panic!("{key} is {order:?}"),
        }
    }

    fn tell(&mut self, topic: &str, partition: u32, event: &impl prost::Message) -> Then<Order> {
        self.offset += 1;
        let mut thens = self.rules.tell(topic, partition, self.offset, "", event).expect("it can be read");
        assert_eq!(thens.len(), 1, "it is routed to its order");
        thens.pop().expect("there is one")
    }

    /// What payment says of order "a".
    fn payment(&mut self, status: HoldStatus) -> Then<Order> {
        use payment::event::Event;
        let order = self.order("a");
        let hold = payment::HoldId { order: order.id, incarnation: order.incarnation, attempt: order.attempt };
        let (user, hold) = ("user".to_owned(), Some(hold));
        let event = match status {
            HoldStatus::Asked => unreachable!("nobody says so"),
            HoldStatus::Held => Event::Held(payment::PaymentHeld { user, hold, amount: 70, available: 30 }),
            HoldStatus::Refused => {
                let reason = "out-of-credit".to_owned();
                Event::Refused(payment::PaymentHoldRefused { user, hold, amount: 70, available: 60, reason })
            }
            HoldStatus::Voided => Event::Voided(payment::PaymentSettled { user, hold, amount: 70 }),
        };
        self.tell("payment", 0, &payment::Event { event: Some(event) })
    }

    /// What a partition of stock says of order "a".
    fn stock(&mut self, partition: u32, status: HoldStatus) -> Then<Order> {
        use stock::event::Event;
        let order = self.order("a");
        let hold = stock::HoldId { order: order.id, incarnation: order.incarnation, attempt: order.attempt };
        let (hold, lines) = (Some(hold), Vec::new());
        let event = match status {
            HoldStatus::Asked => unreachable!("nobody says so"),
            HoldStatus::Held => Event::Held(stock::StockHeld { hold, lines, partition }),
            HoldStatus::Refused => Event::Refused(stock::StockHoldRefused {
                hold,
                partition,
                item: item_in(partition),
                requested: 3,
                available: 2,
                reason: "out-of-stock".into(),
                price: 0,
            }),
            HoldStatus::Voided => Event::Voided(stock::StockSettled { hold, lines, partition }),
        };
        self.tell("stock", partition, &stock::Event { event: Some(event) })
    }

    /// What delivery says of order "a".
    fn delivery(&mut self, status: HoldStatus) -> Then<Order> {
        use delivery::event::Event;
        let order = self.order("a");
        let hold = delivery::HoldId { order: order.id, incarnation: order.incarnation, attempt: order.attempt };
        let (customer, hold) = ("user".to_owned(), Some(hold));
        let event = match status {
            HoldStatus::Asked => unreachable!("nobody says so"),
            HoldStatus::Held => {
                Event::Held(delivery::Slot { hold, customer, day: 20_000, ..delivery::Slot::default() })
            }
            HoldStatus::Refused => {
                let reason = "no-delivery-slot".to_owned();
                Event::Refused(delivery::SlotRefused { hold, customer, from: 20_000, to: 20_013, reason })
            }
            HoldStatus::Voided => {
                Event::Voided(delivery::Slot { hold, customer, day: 20_000, ..delivery::Slot::default() })
            }
        };
        self.tell("delivery", 0, &delivery::Event { event: Some(event) })
    }

    /// Everything is held.
    fn held(&mut self) -> Then<Order> {
        self.payment(HoldStatus::Held);
        self.stock(0, HoldStatus::Held);
        self.stock(1, HoldStatus::Held)
    }
}
