//! Customers who order and check out all the time.
use corduroy_log::testing::{SimTasks, SimWorld};
use corduroy_node::{
    runtime::{CommandOptions, Registry, Services, Ticket},
    services::{
        Settings, account::Account, activity::Activity, delivery::Delivery, order::Order, payment::Payment,
        stock::Stock,
    },
    testing::SimServices,
};
use corduroy_proto::{order, payment, stock};
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub const USERS: u64 = 12;
const ITEMS: u64 = 6;
const SECOND: Duration = Duration::from_secs(1);

/// With a capacity the slot of a delivery is a step of the saga, too.
pub fn settings(capacity: Option<i64>) -> Settings {
    Settings { saga_timeout: 4 * SECOND, saga_release_wait: SECOND, delivery_capacity: capacity, ..Settings::default() }
}

pub fn services(settings: Settings) -> impl Fn(Registry<SimWorld>) -> Registry<SimWorld> + Send + Sync + 'static {
    move |node| {
        node.service_with(Order::new(settings.clone()), 2)
            .service_with(Payment, 2)
            .service_with(Stock, 2)
            .service_with(Delivery::new(settings.clone()), 1)
            .service_with(Activity::new(settings.clone()), 1)
            .service_with(Account, 2)
    }
}

/// Users with money, and items with pieces.
pub async fn seed(shop: &SimServices) {
    let (users, items) = (shop.id(), shop.id());
    let seeded = shop.on(1, async move |services: Services<SimWorld>| {
        for partition in 0..2 {
            // One id for each partition.
            let of = |mut id: Ticket| {
                id.0[0] = partition as u8 + 1;
                CommandOptions::new(id)
            };
            let accounts = payment::command::Command::Seed(payment::Seed { users: USERS, money: 60 });
            let accounts = payment::Command { command: Some(accounts) };
            services.command_to::<Payment>(partition, "seed", &accounts, &of(users)).await.unwrap();
            let shelves = stock::command::Command::Seed(stock::Seed { items: ITEMS, stock: 25, price: 4 });
            let shelves = stock::Command { command: Some(shelves) };
            services.command_to::<Stock>(partition, "seed", &shelves, &of(items)).await.unwrap();
        }
    });
    seeded.await.unwrap();
}

/// Where they are, and what they were told. Clones are the same one.
#[derive(Clone, Default)]
pub struct Market {
    over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    confirmed: Arc<AtomicU64>,
    /// By customer.
    placed: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

type Task = <SimTasks as openraft_rt::AsyncRuntime>::JoinHandle<()>;

impl Market {
    /// Four customers come.
    pub fn open(&self, shop: &SimServices) -> Vec<Task> {
        (0..4).map(|number| SimTasks::spawn(self.clone().customer(shop.clone(), number))).collect()
    }

    /// They go.
    pub async fn close(&self, customers: Vec<Task>) {
        self.over.store(true, Ordering::Relaxed);
        for customer in customers {
            customer.await.unwrap();
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// How many orders they were told are paid.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// The orders that a customer was told of.
    pub fn placed(&self, customer: &str) -> BTreeSet<String> {
        self.placed.lock().unwrap().get(customer).cloned().unwrap_or_default()
    }

    async fn customer(self, shop: SimServices, number: u64) {
        let sim = shop.logs().sim().clone();
        let command = |command| order::Command { command: Some(command) };
        let line =
            |item: u64, quantity| order::Line { item: item.to_string(), quantity, price: Some(4), quoted: false };
        while !self.is_over() {
            let count = self.next.fetch_add(1, Ordering::Relaxed);
            let (id, customer) = (format!("order-{count}"), ((count * 7 + number) % USERS).to_string());
            let place = order::command::Command::Place(order::Place {
                customer: customer.clone(),
                lines: vec![line(count % ITEMS, 1 + (count % 3) as i64), line((count / 2 + number) % ITEMS, 1)],
                needs_delivery: count.is_multiple_of(2),
                ..order::Place::default()
            });
            if shop.command::<Order>(&id, &command(place)).await.is_err() {
                continue;
            }
            self.placed.lock().unwrap().entry(customer).or_default().insert(id.clone());
            let checkout = order::command::Command::Checkout(order::Checkout::default());
            if shop.command::<Order>(&id, &command(checkout)).await.is_ok() {
                self.confirmed.fetch_add(1, Ordering::Relaxed);
            }
            sim.sleep(Duration::from_millis(10 + number)).await;
        }
    }
}
