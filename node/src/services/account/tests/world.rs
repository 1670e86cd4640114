//! Orders, payment, stock and delivery by their own rules, and an account service that reads of them.
use super::*;
use crate::{
    runtime::{Place, Service},
    services::{Settings, delivery::Delivery, order::Order, payment::Payment, stock::Stock},
};
use corduroy_proto::stock;
use std::time::Duration;

/// A service, and what has happened there.
pub(super) struct Shelf<S: Service> {
    pub rules: Rules<S>,
    pub log: Vec<(String, S::Event)>,
}

impl<S: Service> Shelf<S> {
    fn new(service: S) -> Self {
        let peers = ["order", "payment", "stock", "delivery"].map(|name| (name.to_owned(), 1));
        let place = Place { partition: 0, partitions: 1, peers: peers.into(), ..Place::default() };
        Shelf { rules: Rules::new(service).at(place), log: Vec::new() }
    }

    fn happened(&mut self, thens: &[Then<S>]) {
        for then in thens {
            assert_eq!((then.fault(), then.retry()), (None, None), "a rule of {} failed", S::NAME);
            self.log.extend(then.keyed_events());
        }
    }

    fn ask(&mut self, key: &str, command: &S::Command) {
        let then = self.rules.when(key, command);
        self.happened(&[then]);
    }

    /// Reads the next event of another service. `false`: there is none.
    fn read<P: Service>(&mut self, peer: &Shelf<P>, cursor: &mut usize) -> bool {
        let Some((key, event)) = peer.log.get(*cursor) else { return false };
        let thens = self.rules.tell(P::NAME, 0, *cursor as u64, key, event).expect("what a service says can be read");
        *cursor += 1;
        self.happened(&thens);
        true
    }
}

pub(super) const WAYS: usize = 8;

pub(super) struct World {
    pub order: Shelf<Order>,
    pub payment: Shelf<Payment>,
    stock: Shelf<Stock>,
    delivery: Shelf<Delivery>,
    pub account: Shelf<Account>,
    cursors: [usize; WAYS],
}

impl World {
    /// Ann has 40, bob 15; of item "apple" there are 9 at 5, of "pear" 3. With a capacity a slot of delivery is a step, too.
    pub fn open(capacity: Option<i64>) -> Self {
        let settings = Settings { delivery_capacity: capacity, ..Settings::default() };
        let mut world = World {
            order: Shelf::new(Order::new(settings.clone())),
            payment: Shelf::new(Payment),
            stock: Shelf::new(Stock),
            delivery: Shelf::new(Delivery::new(settings)),
            account: Shelf::new(Account),
            cursors: [0; WAYS],
        };
        for (user, amount) in [("ann", 40), ("bob", 15)] {
            world.pay(user, payment::command::Command::Open(payment::Open {}));
            world.pay(user, payment::command::Command::AddFunds(payment::Amount { amount }));
        }
        for (item, pieces) in [("apple", 9), ("pear", 3)] {
            for command in
                [stock::command::Command::Create(stock::Create { price: 5 }), stock::command::Command::Add(pieces)]
            {
                world.stock.ask(item, &stock::Command { command: Some(command) });
            }
        }
        world
    }

    pub fn pay(&mut self, user: &str, command: payment::command::Command) {
        self.payment.ask(user, &payment::Command { command: Some(command) });
    }

    pub fn order(&mut self, id: &str, command: order::command::Command) {
        self.order.ask(id, &order::Command { command: Some(command) });
    }

    /// Places an order for so many of an item, to be delivered.
    pub fn place(&mut self, id: &str, customer: &str, item: &str, quantity: i64) {
        let line = order::Line { item: item.into(), quantity, price: Some(5), quoted: false };
        let (customer, lines, needs_delivery) = (customer.into(), vec![line], true);
        let place = order::Place { customer, lines, needs_delivery, ..order::Place::default() };
        self.order(id, order::command::Command::Place(place));
    }

    pub fn checkout(&mut self, id: &str) {
        self.order(id, order::command::Command::Checkout(order::Checkout::default()));
    }

    /// One of the ways an event goes; the last two lead to the accounts.
    pub fn read(&mut self, way: usize) -> bool {
        let World { order, payment, stock, delivery, account, cursors } = self;
        let cursor = &mut cursors[way];
        match way {
            0 => payment.read(order, cursor),
            1 => stock.read(order, cursor),
            2 => delivery.read(order, cursor),
            3 => order.read(payment, cursor),
            4 => order.read(stock, cursor),
            5 => order.read(delivery, cursor),
            6 => account.read(order, cursor),
            _ => account.read(payment, cursor),
        }
    }

    /// Everything is read.
    pub fn rest(&mut self) {
        while (0..WAYS).any(|way| self.read(way)) {}
    }

    pub fn wait(&mut self, duration: Duration) {
        let thens = self.order.rules.wait(duration);
        self.order.happened(&thens);
    }

    /// A customer's events, as they are in the log.
    pub fn events(&self, customer: &str) -> Vec<pb::CustomerEvent> {
        let of_this = |(_, event): &(String, pb::Event)| match &event.event {
            Some(Event::Customer(event)) if event.customer == customer => Some(event.clone()),
            _ => None,
        };
        self.account.log.iter().filter_map(of_this).collect()
    }

    /// What notifications of an order are called, one after the other.
    pub fn subjects(&self, customer: &str) -> Vec<String> {
        self.events(customer).into_iter().flat_map(|event| event.subjects).collect()
    }
}
