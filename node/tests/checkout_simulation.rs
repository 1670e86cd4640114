//! The checkout under leaders that come and go: money and stock are conserved, paid means charged and taken, every saga ends, and
//! whoever was told something was told the truth.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
#[path = "checkout_simulation/lists.rs"]
mod lists;

use corduroy_log::{
    Consistency,
    testing::{SimTasks, SimWorld},
};
use corduroy_node::{
    runtime::{CommandError, CommandOptions, Registry, Services},
    services::{Settings, delivery::Delivery, order::Order, payment::Payment, stock::Stock},
    testing::{Sim, SimServices},
};
use corduroy_proto::{order, payment, runtime::query_call, stock};
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const USERS: u64 = 12;
const ITEMS: u64 = 6;
const MONEY: i64 = 60;
const PIECES: i64 = 25;
const PRICE: i64 = 4;

/// With a capacity the slot of a delivery is a step of the saga, too.
fn settings(capacity: Option<i64>) -> Settings {
    Settings { saga_timeout: 4 * SECOND, saga_release_wait: SECOND, delivery_capacity: capacity, ..Settings::default() }
}

fn services(settings: Settings) -> impl Fn(Registry<SimWorld>) -> Registry<SimWorld> + Send + Sync + 'static {
    move |node| {
        node.service_with(Order::new(settings.clone()), 2)
            .service_with(Payment, 2)
            .service_with(Stock, 2)
            .service_with(Delivery::new(settings.clone()), 1)
    }
}

/// What callers were told of each order.
#[derive(Default)]
struct Told {
    /// By customer.
    placed: BTreeMap<String, BTreeSet<String>>,
    confirmed: Vec<String>,
    refused: BTreeMap<String, u64>,
    unknown: u64,
    cancelled: u64,
}

fn order_command(command: order::command::Command) -> order::Command {
    order::Command { command: Some(command) }
}

fn line(item: u64, quantity: i64) -> order::Line {
    order::Line { item: item.to_string(), quantity, price: Some(PRICE), quoted: false }
}

async fn seed(shop: &SimServices) {
    let (users, items) = (shop.id(), shop.id());
    let seeded = shop.on(1, async move |services: Services<SimWorld>| {
        for partition in 0..2 {
            // One id for each partition.
            let of = |id: corduroy_node::runtime::Ticket| {
                let mut id = id;
                id.0[0] = partition as u8 + 1;
                CommandOptions::new(id)
            };
            let accounts = payment::Seed { users: USERS, money: MONEY };
            let accounts = payment::Command { command: Some(payment::command::Command::Seed(accounts)) };
            services.command_to::<Payment>(partition, "seed", &accounts, &of(users)).await.unwrap();
            let shelves = stock::Seed { items: ITEMS, stock: PIECES, price: PRICE };
            let shelves = stock::Command { command: Some(stock::command::Command::Seed(shelves)) };
            services.command_to::<Stock>(partition, "seed", &shelves, &of(items)).await.unwrap();
        }
    });
    seeded.await.unwrap();
}

/// A customer who orders all the time.
async fn customer(shop: SimServices, number: u64, stop: Arc<AtomicBool>, next: Arc<AtomicU64>, told: Arc<Mutex<Told>>) {
    let sim = shop.logs().sim().clone();
    while !stop.load(Ordering::Relaxed) {
        let count = next.fetch_add(1, Ordering::Relaxed);
        let id = format!("order-{count}");
        let lines = vec![line(count % ITEMS, 1 + (count % 3) as i64), line((count / 2 + number) % ITEMS, 1)];
        let customer = ((count * 7 + number) % USERS).to_string();
        let place = order::Place {
            customer: customer.clone(),
            lines,
            needs_delivery: count.is_multiple_of(2),
            ..order::Place::default()
        };
        if shop.command::<Order>(&id, &order_command(order::command::Command::Place(place))).await.is_err() {
            told.lock().unwrap().unknown += 1;
            continue;
        }
        told.lock().unwrap().placed.entry(customer).or_default().insert(id.clone());
        let checkout = order_command(order::command::Command::Checkout(order::Checkout::default()));
        let cancelling = if count % 5 == 4 {
            let (shop, id) = (shop.clone(), id.clone());
            Some(SimTasks::spawn(async move {
                let cancel = order_command(order::command::Command::Cancel(order::Cancel {}));
                shop.command::<Order>(&id, &cancel).await
            }))
        } else {
            None
        };
        match shop.command::<Order>(&id, &checkout).await {
            Ok(_) => told.lock().unwrap().confirmed.push(id),
            Err(CommandError::Refused(refusal)) => {
                *told.lock().unwrap().refused.entry(refusal.value.name().to_owned()).or_default() += 1;
            }
            Err(_) => told.lock().unwrap().unknown += 1,
        }
        if let Some(cancelling) = cancelling
            && cancelling.await.unwrap().is_ok()
        {
            told.lock().unwrap().cancelled += 1;
        }
        sim.sleep(Duration::from_millis(10 + number)).await;
    }
}

async fn trouble(shop: &SimServices, kind: u64, node: u64) {
    let sim = shop.logs().sim().clone();
    let others = (1..=3).filter(|other| *other != node);
    match kind % 4 {
        0 => {
            shop.kill(node);
            sim.sleep(SECOND).await;
            shop.restart(node).await;
        }
        1 => {
            shop.power_cut(node);
            sim.sleep(SECOND).await;
            shop.restart(node).await;
        }
        2 => {
            others.clone().for_each(|other| sim.cut(node, other));
            sim.sleep(2 * SECOND).await;
            others.for_each(|other| sim.heal(node, other));
        }
        _ => {
            shop.pause(node);
            sim.sleep(2 * SECOND).await;
            shop.resume(node);
        }
    }
}

#[test]
fn money_and_stock_are_conserved_and_every_checkout_ends_whoever_leads() {
    let (mut confirmed, mut refused, mut lists_read) = (0, BTreeMap::<String, u64>::new(), 0);
    for seed_number in 0..8 {
        let sim = Sim::seed(seed_number);
        let told = sim.run(async |sim| {
            let capacity = (seed_number % 2 == 1).then_some(20);
            let checkpoints = |config: &mut corduroy_log::Config| config.timing.checkpoint_interval = 2 * SECOND;
            let shop = sim.cluster_with(3, services(settings(capacity)), checkpoints).await;
            seed(&shop).await;
            let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Told>>::default());
            let next = Arc::new(AtomicU64::new(0));
            let customer =
                |number| SimTasks::spawn(customer(shop.clone(), number, stop.clone(), next.clone(), told.clone()));
            let customers: Vec<_> = (0..4).map(customer).collect();
            let reader = SimTasks::spawn(lists::reader(shop.clone(), stop.clone(), told.clone()));
            sim.sleep(300 * MS).await;
            for round in 0..4 {
                let node = match round % 3 {
                    0 => shop.leader::<Order>(&format!("order-{round}")).await,
                    1 => shop.leader::<Payment>("1").await,
                    _ => shop.leader::<Stock>("1").await,
                };
                trouble(&shop, seed_number + round, node).await;
                sim.sleep(300 * MS).await;
            }
            stop.store(true, Ordering::Relaxed);
            for customer in customers {
                customer.await.unwrap();
            }
            lists_read += reader.await.unwrap();
            shop.ready().await;
            // Deadlines of sagas that lost their callers.
            sim.sleep(15 * SECOND).await;
            shop.rest().await;
            let told = std::mem::take(&mut *told.lock().unwrap());
            for node in 1..=3 {
                audit(seed_number, node, &shop, &told).await;
            }
            told
        });
        confirmed += told.confirmed.len();
        for (name, count) in told.refused {
            *refused.entry(name).or_default() += count;
        }
        assert!(told.unknown < 30, "seed {seed_number}: {} outcomes stayed unknown", told.unknown);
    }
    assert!(lists_read > 300, "only {lists_read} lists were read");
    assert!(confirmed > 100, "only {confirmed} orders were confirmed");
    for name in ["out-of-credit", "out-of-stock"] {
        assert!(refused.contains_key(name), "nothing was refused for {name}: {refused:?}");
    }
}

async fn audit(seed: u64, node: u64, shop: &SimServices, told: &Told) {
    let orders = lists::orders(shop.aggregates::<Order>(node).await);
    lists::audit(seed, node, shop, &orders).await;
    let (mut spent, mut sold) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    for (id, order) in &orders {
        let status = order.status();
        assert!(
            !matches!(status, order::Status::Reserving | order::Status::Releasing),
            "seed {seed}: order {id} is still {status:?}"
        );
        if matches!(status, order::Status::Confirmed | order::Status::Delivered) {
            for line in &order.lines {
                *spent.entry(order.customer.clone()).or_default() += line.quantity * PRICE;
                *sold.entry(line.item.clone()).or_default() += line.quantity;
            }
        }
    }
    for id in &told.confirmed {
        let status = orders[id].status();
        assert_eq!(status, order::Status::Confirmed, "seed {seed}: {id} was said to be paid (INV-4)");
    }
    for (user, account) in shop.aggregates::<Payment>(node).await {
        let payment::Account { available, held, spent: charged, deposited, .. } = account;
        assert!(available >= 0 && charged >= 0, "seed {seed}: user {user}: {account:?}");
        assert_eq!(held, 0, "seed {seed}: user {user} has money held at rest (INV-13)");
        assert_eq!((available + charged, deposited), (MONEY, MONEY), "seed {seed}: user {user} (INV-10)");
        assert_eq!(charged, spent.remove(&user).unwrap_or_default(), "seed {seed}: user {user} paid for other orders");
    }
    assert!(spent.values().all(|spent| *spent == 0), "seed {seed}: orders nobody paid for: {spent:?}");
    for (key, state) in shop.aggregates::<Stock>(node).await {
        let Some(stock::state::State::Item(item)) = state.state else { continue };
        let stock::Item { free, held, sold: taken, added, .. } = item;
        assert!(free >= 0, "seed {seed}: item {key}: {item:?}");
        assert_eq!(held, 0, "seed {seed}: item {key} is held at rest");
        assert_eq!((free + taken, added), (PIECES, PIECES), "seed {seed}: item {key} (INV-14)");
        assert_eq!(taken, sold.remove(&key).unwrap_or_default(), "seed {seed}: item {key} went elsewhere");
    }
    assert!(sold.values().all(|sold| *sold == 0), "seed {seed}: pieces that came from nowhere: {sold:?}");
}

/// Whether there is a checkpoint on a node's disk.
fn has_checkpoints(shop: &SimServices, node: u64) -> bool {
    let disk = shop.logs().sim().copy_disk(node);
    disk.files().any(|(path, _)| path.extension().is_some_and(|extension| extension == "ckpt"))
}

/// Dead letters, what waits behind them, and timers.
async fn waiting(shop: &SimServices, node: u64) -> (usize, usize, usize) {
    let ask = async |services: Services<SimWorld>| {
        let (mut letters, mut parked, mut timers) = (0, 0, 0);
        for (service, partitions) in [("order", 2), ("payment", 2), ("stock", 2), ("delivery", 1)] {
            for partition in 0..partitions {
                for what in [query_call::What::Letters(true), query_call::What::Timers(true)] {
                    let found = services.query(service, partition, what, Consistency::Stale).await.unwrap().value;
                    letters += found.letters.len();
                    parked += found.parked.iter().map(|parked| parked.inputs.len()).sum::<usize>();
                    timers += found.timers.len();
                }
            }
        }
        (letters, parked, timers)
    };
    shop.on(node, ask).await.unwrap()
}

/// A50: nodes 1 and 2 take checkpoints all the time and are killed and restarted from them, at any moment; node 3 takes none, and
/// its last start evolves the whole log of every service. Of events that waited too long dead letters are made, so that others wait
/// behind them.
#[test]
fn a_checkpoint_of_any_moment_and_the_log_behind_it_are_the_whole_log() {
    let (mut letters, mut parked, mut timers) = (0, 0, 0);
    for seed_number in 20..26 {
        Sim::seed(seed_number).run(async |sim| {
            let checkpoints = |config: &mut corduroy_log::Config| {
                config.timing.checkpoint_interval = if config.node == 3 { 3_600 * SECOND } else { 300 * MS };
            };
            let make = services(settings((seed_number % 2 == 1).then_some(50)));
            let aged = move |node: Registry<SimWorld>| {
                let services = ["order", "payment", "stock", "delivery"];
                make(services.iter().fold(node, |node, service| node.max_age(service, SECOND)))
            };
            let shop = sim.cluster_with(3, aged, checkpoints).await;
            seed(&shop).await;
            let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Told>>::default());
            let next = Arc::new(AtomicU64::new(0));
            let customer =
                |number| SimTasks::spawn(customer(shop.clone(), number, stop.clone(), next.clone(), told.clone()));
            let customers: Vec<_> = (0..4).map(customer).collect();
            let mut from_checkpoints = 0;
            for round in 0..8 {
                sim.sleep(Duration::from_millis(500 + (seed_number * 7 + round) * 37 % 400)).await;
                let node = 1 + round % 2;
                shop.kill(node);
                if round % 4 == 3 {
                    // Without a majority events wait, for too long.
                    shop.pause(3);
                    sim.sleep(1_500 * MS).await;
                    shop.resume(3);
                }
                from_checkpoints += u32::from(has_checkpoints(&shop, node));
                shop.restart(node).await;
            }
            stop.store(true, Ordering::Relaxed);
            for customer in customers {
                customer.await.unwrap();
            }
            assert!(from_checkpoints >= 6, "seed {seed_number}: {from_checkpoints} starts from a checkpoint");
            assert!(!told.lock().unwrap().confirmed.is_empty(), "seed {seed_number}: nothing was bought");
            shop.ready().await;
            shop.kill(3);
            assert!(!has_checkpoints(&shop, 3));
            shop.restart(3).await;
            shop.restart(1).await;
            shop.ready().await;
            // Equal on all nodes: aggregates, timers, dead letters, and what is parked.
            shop.rest().await;
            let commands = shop.remembered(3);
            assert!(commands.values().map(Vec::len).sum::<usize>() > 50, "seed {seed_number}: few commands");
            assert!(commands.values().flatten().any(|command| command.answered > 0));
            for node in 1..=2 {
                assert_eq!(shop.remembered(node), commands, "seed {seed_number}: node {node} remembers other commands");
            }
            let found = waiting(&shop, 3).await;
            (letters, parked, timers) = (letters + found.0, parked + found.1, timers + found.2);
        });
    }
    assert!(letters > 0 && parked > 0 && timers > 0, "{letters} dead letters, {parked} parked, {timers} timers");
}
