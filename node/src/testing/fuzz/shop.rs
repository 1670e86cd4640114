//! The services of the shop, one partition of each, reading each other whenever the input says.
use super::number;
use crate::{
    runtime::{Place, Service},
    services::{Settings, delivery::Delivery, order::Order, payment::Payment, stock::Stock},
    testing::{Rules, Then},
};
use arbitrary::Unstructured;
use corduroy_proto::{order, payment, stock};
use std::{collections::BTreeMap, time::Duration};

const ORDERS: [&str; 4] = ["o1", "o2", "o3", "o4"];
const USERS: [&str; 3] = ["ann", "bob", "nobody"];
const ITEMS: [&str; 3] = ["apple", "pear", "nothing"];
/// Long after every deadline, and after every mark was forgotten.
const LONG: Duration = Duration::from_secs(60 * 60);
const DAYS: u32 = 50;

/// A service, and what has happened there.
struct Shelf<S: Service> {
    rules: Rules<S>,
    log: Vec<(String, S::Event)>,
}

impl<S: Service> Shelf<S> {
    fn new(service: S) -> Self {
        let peers = [Order::NAME, Payment::NAME, Stock::NAME, Delivery::NAME].map(|name| (name.to_owned(), 1));
        Shelf {
            rules: Rules::new(service).at(Place {
                partition: 0,
                partitions: 1,
                peers: peers.into(),
                ..Place::default()
            }),
            log: Vec::new(),
        }
    }

    fn ask(&mut self, key: &str, command: &S::Command) {
        let then = self.rules.when(key, command);
        self.happened(&[then]);
    }

    fn wait(&mut self, duration: Duration) -> bool {
        let thens = self.rules.wait(duration);
        self.happened(&thens);
        !thens.is_empty()
    }

    fn happened(&mut self, thens: &[Then<S>]) {
        for then in thens {
            assert_eq!((then.fault(), then.retry()), (None, None), "a rule of {} failed", S::NAME);
            self.log.extend(then.keyed_events());
        }
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

struct Shop {
    order: Shelf<Order>,
    payment: Shelf<Payment>,
    stock: Shelf<Stock>,
    delivery: Shelf<Delivery>,
    cursors: [usize; 6],
}

/// See the module of targets.
pub fn shop(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let settings = Settings { delivery_capacity: (number(&mut input, 2) == 1).then_some(2), ..Settings::default() };
    let mut shop = Shop {
        order: Shelf::new(Order::new(settings.clone())),
        payment: Shelf::new(Payment),
        stock: Shelf::new(Stock),
        delivery: Shelf::new(Delivery::new(settings)),
        cursors: [0; 6],
    };
    shop.open();
    while !input.is_empty() {
        shop.step(&mut input);
        shop.check();
    }
    shop.rest();
}

impl Shop {
    fn open(&mut self) {
        for (user, money) in USERS.into_iter().zip([40, 15]) {
            self.pay(user, payment::command::Command::Open(payment::Open {}));
            self.pay(user, payment::command::Command::AddFunds(payment::Amount { amount: money }));
        }
        for (item, pieces) in ITEMS.into_iter().zip([9, 3]) {
            self.store(item, stock::command::Command::Create(stock::Create { price: 5 }));
            self.store(item, stock::command::Command::Add(pieces));
        }
    }

    fn pay(&mut self, user: &str, command: payment::command::Command) {
        self.payment.ask(user, &payment::Command { command: Some(command) });
    }

    fn store(&mut self, item: &str, command: stock::command::Command) {
        self.stock.ask(item, &stock::Command { command: Some(command) });
    }

    fn order(&mut self, order: &str, command: order::command::Command) {
        self.order.ask(order, &order::Command { command: Some(command) });
    }

    fn step(&mut self, input: &mut Unstructured<'_>) {
        use order::command::Command;
        let id = ORDERS[number(input, ORDERS.len())];
        match number(input, 16) {
            0 => {
                let lines = (0..number(input, 4)).map(|_| line(input)).collect();
                let (customer, needs_delivery) = (USERS[number(input, USERS.len())].into(), number(input, 2) == 1);
                let checkout = number(input, 4) == 0;
                let place = order::Place { customer, lines, needs_delivery, checkout, ..order::Place::default() };
                self.order(id, Command::Place(place));
            }
            1 | 2 => {
                let checkout = order::Checkout { r#async: number(input, 4) == 0, ..order::Checkout::default() };
                self.order(id, Command::Checkout(checkout));
            }
            3 => {
                let line = line(input);
                self.order(id, Command::AddLine(line));
            }
            4 => self.order(id, Command::RemoveLine(ITEMS[number(input, ITEMS.len())].into())),
            5 => self.order(id, Command::MarkDelivered(order::MarkDelivered {})),
            6 => self.order(id, Command::Cancel(order::Cancel {})),
            7 => {
                let (user, amount) = (USERS[number(input, USERS.len())], payment::Amount { amount: any(input) });
                let command = match number(input, 2) {
                    0 => payment::command::Command::AddFunds(amount),
                    _ => payment::command::Command::Pay(amount),
                };
                self.pay(user, command);
            }
            8 => {
                let (item, pieces) = (ITEMS[number(input, ITEMS.len())], any(input));
                let command = match number(input, 2) {
                    0 => stock::command::Command::Add(pieces),
                    _ => stock::command::Command::Subtract(pieces),
                };
                self.store(item, command);
            }
            9 => drop(self.wait(Duration::from_secs([0, 1, 4, 6, 11, 1_000, 90_000][number(input, 7)]))),
            reader => drop(self.read(reader - 10)),
        }
    }

    /// One of the six ways an event goes.
    fn read(&mut self, way: usize) -> bool {
        let Shop { order, payment, stock, delivery, cursors } = self;
        let cursor = &mut cursors[way];
        match way {
            0 => payment.read(order, cursor),
            1 => stock.read(order, cursor),
            2 => delivery.read(order, cursor),
            3 => order.read(payment, cursor),
            4 => order.read(stock, cursor),
            _ => order.read(delivery, cursor),
        }
    }

    fn wait(&mut self, duration: Duration) -> bool {
        // All of them: what one of them did not notice is no reason to stop.
        let fired = [self.order.wait(duration), self.payment.wait(duration), self.stock.wait(duration)];
        self.delivery.wait(duration) | fired.contains(&true)
    }

    /// INV-10 and INV-14.
    fn check(&self) {
        for (user, account) in self.payment.rules.states() {
            let payment::Account { available, held, spent, deposited, .. } = account;
            assert!(available >= 0 && held >= 0 && spent >= 0, "{user}: {account:?}");
            assert_eq!(available + held + spent, deposited, "{user}: {account:?}");
        }
        for (key, state) in self.stock.rules.states() {
            let Some(stock::state::State::Item(item)) = state.state else { continue };
            assert!(item.free >= 0 && item.held >= 0 && item.sold >= 0, "{key}: {item:?}");
            assert_eq!(item.free + item.held + item.sold, item.added, "{key}: {item:?}");
        }
    }

    /// When everything was said: INV-1, INV-2, INV-13, and a restored state is the one that was stored.
    fn rest(mut self) {
        for _ in 0..DAYS {
            while (0..6).any(|way| self.read(way)) {}
            self.wait(LONG);
        }
        while (0..6).any(|way| self.read(way)) {}
        self.check();
        let mut confirmed = BTreeMap::<String, i64>::new();
        for (id, state) in self.order.rules.states() {
            let Some(order::state::State::Order(order)) = state.state else { continue };
            let status = order.status();
            assert!(!matches!(status, order::Status::Reserving | order::Status::Releasing), "{id} hangs: {order:?}");
            if matches!(status, order::Status::Confirmed | order::Status::Delivered) {
                *confirmed.entry(order.customer.clone()).or_default() += order.gross;
            }
        }
        let direct = |user: &str| -> i64 {
            let paid = self.payment.log.iter().filter_map(|(_, event)| match event.event.as_ref() {
                Some(payment::event::Event::PaidDirect(paid)) if paid.user == user => Some(paid.amount),
                _ => None,
            });
            paid.sum()
        };
        for (user, account) in self.payment.rules.states() {
            let charged = account.spent - direct(&user);
            assert_eq!(
                (account.held, charged),
                (0, confirmed.remove(&user).unwrap_or_default()),
                "{user}: {account:?}"
            );
        }
        assert!(confirmed.values().all(|sum| *sum == 0), "nobody paid for {confirmed:?}");
        for (key, state) in self.stock.rules.states() {
            let Some(stock::state::State::Item(item)) = state.state else { continue };
            assert_eq!(item.held, 0, "{key} is held at rest: {item:?}");
        }
        let hashes = [self.order.rules.hash(), self.payment.rules.hash(), self.stock.rules.hash()];
        let Shop { order, payment, stock, .. } = self;
        assert_eq!(
            [order.rules.restored().hash(), payment.rules.restored().hash(), stock.rules.restored().hash()],
            hashes
        );
    }
}

fn line(input: &mut Unstructured<'_>) -> order::Line {
    let price = [None, Some(5), Some(4)][number(input, 3)];
    let quantity = if number(input, 16) == 0 { any(input) } else { 1 + number(input, 4) as i64 };
    order::Line { item: ITEMS[number(input, ITEMS.len())].into(), quantity, price, quoted: number(input, 4) == 0 }
}

/// A number, small in most cases.
fn any(input: &mut Unstructured<'_>) -> i64 {
    match number(input, 4) {
        0 => input.arbitrary().unwrap_or_default(),
        _ => number(input, 30) as i64 - 3,
    }
}
