//! Customers who order all the time, and what the books must say in the end: INV-3, 4, 10, 13, 14 and 16 of `docs/services.md`.
use super::{run::Run, tally::Event, trouble::NODES};
use corduroy_log::testing::{SimTasks, SimWorld};
use corduroy_node::{
    runtime::{CommandError, CommandOptions, Registry, Services, Ticket},
    services::{Settings, delivery::Delivery, order::Order, payment::Payment, stock::Stock},
};
use corduroy_proto::{order, payment, stock};
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
const USERS: u64 = 12;
const ITEMS: u64 = 6;
const MONEY: i64 = 90;
const PIECES: i64 = 45;
const PRICE: i64 = 4;
/// Checkouts that are asked for once more in the end.
const AGAIN: usize = 20;

/// With a capacity the slot of a delivery is a step of the saga, too.
pub(super) fn services(node: Registry<SimWorld>, capacity: Option<i64>) -> Registry<SimWorld> {
    let settings = Settings {
        saga_timeout: 4 * SECOND,
        saga_release_wait: SECOND,
        delivery_capacity: capacity,
        ..Settings::default()
    };
    node.service_with(Order::new(settings.clone()), 2)
        .service_with(Payment, 2)
        .service_with(Stock, 2)
        .service_with(Delivery::new(settings), 1)
}

/// How long the deadlines of sagas may take that lost their callers, and what they give back.
pub(super) const DEADLINES: Duration = Duration::from_secs(15);

/// What callers were told of each order.
#[derive(Default)]
pub(super) struct Checkouts(Mutex<Told>);

#[derive(Default)]
struct Told {
    next: u64,
    checkouts: Vec<Checkout>,
    unknown: u64,
}

#[derive(Clone)]
struct Checkout {
    id: Ticket,
    order: String,
    /// `Err`: the name of the refusal.
    outcome: Result<(), String>,
}

fn order_command(command: order::command::Command) -> order::Command {
    order::Command { command: Some(command) }
}

fn checkout_command() -> order::Command {
    order_command(order::command::Command::Checkout(order::Checkout::default()))
}

fn line(item: u64, quantity: i64) -> order::Line {
    order::Line { item: item.to_string(), quantity, price: Some(PRICE), quoted: false }
}

/// Gives users money and shelves pieces.
pub(super) async fn seed(run: &Run) -> Result<(), String> {
    let (users, items) = (run.shop.id(), run.shop.id());
    let seeded = run.shop.on(1, async move |services: Services<SimWorld>| {
        for partition in 0..2 {
            // One id for each partition.
            let of = |mut id: Ticket| {
                id.0[0] = partition as u8 + 1;
                CommandOptions::new(id)
            };
            let accounts = payment::Seed { users: USERS, money: MONEY };
            let accounts = payment::Command { command: Some(payment::command::Command::Seed(accounts)) };
            services.command_to::<Payment>(partition, "seed", &accounts, &of(users)).await?;
            let shelves = stock::Seed { items: ITEMS, stock: PIECES, price: PRICE };
            let shelves = stock::Command { command: Some(stock::command::Command::Seed(shelves)) };
            services.command_to::<Stock>(partition, "seed", &shelves, &of(items)).await?;
        }
        Ok::<_, CommandError>(())
    });
    let seeded = seeded.await.ok_or("node 1 does not run")?;
    seeded.map_err(|error| format!("users and items are not seeded: {error}"))
}

impl Checkouts {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("bookkeeping does not panic")
    }

    /// A customer who orders all the time.
    pub(super) async fn customer(self: Arc<Self>, run: Arc<Run>, number: u64) {
        while !run.is_over() {
            let count = {
                let mut told = self.told();
                told.next += 1;
                told.next
            };
            self.order(&run, number, count).await;
            run.sim().sleep(Duration::from_millis(40 + 5 * number)).await;
        }
    }

    async fn order(&self, run: &Arc<Run>, number: u64, count: u64) {
        let id = format!("order-{count}");
        let place = order::Place {
            customer: ((count * 7 + number) % USERS).to_string(),
            lines: vec![line(count % ITEMS, 1 + (count % 3) as i64), line((count / 2 + number) % ITEMS, 1)],
            needs_delivery: count.is_multiple_of(2),
            ..order::Place::default()
        };
        let place = order_command(order::command::Command::Place(place));
        if run.open(run.shop.command::<Order>(&id, &place)).await.is_err() {
            self.unknown(run);
            return;
        }
        run.answered();
        let cancelling = (count % 5 == 4).then(|| {
            let (run, id) = (run.clone(), id.clone());
            SimTasks::spawn(async move {
                let cancel = order_command(order::command::Command::Cancel(order::Cancel {}));
                if run.shop.command::<Order>(&id, &cancel).await.is_ok() {
                    run.note(Event::Cancelled);
                }
            })
        });
        let ticket = run.shop.id();
        let outcome = match run.open(run.shop.command_as::<Order>(ticket, &id, &checkout_command())).await {
            Ok(_) => {
                run.note(Event::Confirmed);
                Some(Ok(()))
            }
            Err(CommandError::Refused(refusal)) => {
                let name = refusal.value.name().to_owned();
                match name.as_str() {
                    "out-of-credit" => run.note(Event::OutOfCredit),
                    "out-of-stock" => run.note(Event::OutOfStock),
                    "checkout-timeout" => run.note(Event::TimedOut),
                    _ => {}
                }
                Some(Err(name))
            }
            Err(_) => None,
        };
        match outcome {
            Some(outcome) => {
                run.answered();
                self.told().checkouts.push(Checkout { id: ticket, order: id, outcome });
            }
            None => self.unknown(run),
        }
        if let Some(cancelling) = cancelling {
            cancelling.await.ok();
        }
    }

    fn unknown(&self, run: &Run) {
        run.note(Event::Unknown);
        let mut told = self.told();
        told.unknown += 1;
        let unknown = told.unknown;
        drop(told);
        run.hold(unknown < 30, || format!("the outcomes of {unknown} commands stay unknown"));
    }

    /// Asks for some checkouts once more, from all over the run.
    pub(super) async fn repeat(&self, run: &Run) {
        let checkouts = self.told().checkouts.clone();
        let step = (checkouts.len() / AGAIN).max(1);
        for (number, Checkout { id, order, outcome }) in checkouts.iter().step_by(step).enumerate() {
            let node = NODES[number % 3];
            let again = match run.ask::<Order>(node, *id, order, &checkout_command()).await {
                Some(Ok(answered)) if answered.replayed => Ok(()),
                Some(Err(CommandError::Refused(refusal))) if refusal.replayed => Err(refusal.value.name().to_owned()),
                Some(Ok(_) | Err(CommandError::Refused(_))) => {
                    run.fail(format_args!("the checkout of {order} was done twice"));
                    continue;
                }
                Some(Err(_)) | None => continue,
            };
            run.hold(again == *outcome, || format!("{order}: told {outcome:?} first, and then {again:?}"));
            run.note(Event::Repeated);
            let other = order_command(order::command::Command::Cancel(order::Cancel {}));
            match run.ask::<Order>(node, *id, order, &other).await {
                Some(Err(CommandError::Mismatch)) => run.note(Event::Mismatched),
                Some(Ok(_) | Err(CommandError::Refused(_))) => {
                    run.fail(format_args!("{order}: another command under the id of its checkout is not turned away"));
                }
                Some(Err(_)) | None => {}
            }
        }
    }

    /// Reads all orders, users and items on every node.
    pub(super) async fn judge(&self, run: &Run) {
        for node in NODES {
            let (mut spent, mut sold) = self.judge_orders(run, node).await;
            judge_accounts(run, node, &mut spent).await;
            judge_items(run, node, &mut sold).await;
        }
    }

    /// What users have paid for, and which pieces are gone, by the orders.
    async fn judge_orders(&self, run: &Run, node: u64) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
        let (mut spent, mut sold) = (BTreeMap::new(), BTreeMap::new());
        let mut statuses = BTreeMap::new();
        for (id, state) in run.shop.aggregates::<Order>(node).await {
            let Some(order::state::State::Order(order)) = state.state else { continue };
            let status = order.status();
            let open = matches!(status, order::Status::Reserving | order::Status::Releasing);
            run.hold(!open, || format!("every saga ends: order {id} is still {status:?}"));
            if matches!(status, order::Status::Confirmed | order::Status::Delivered) {
                for line in &order.lines {
                    *spent.entry(order.customer.clone()).or_default() += line.quantity * PRICE;
                    *sold.entry(line.item.clone()).or_default() += line.quantity;
                }
            }
            statuses.insert(id, status);
        }
        for Checkout { order, outcome, .. } in &self.told().checkouts {
            let confirmed = statuses.get(order) == Some(&order::Status::Confirmed);
            run.hold(outcome.is_ok() == confirmed, || {
                format!("{order} is confirmed: {confirmed}; its caller was told {outcome:?} (INV-4)")
            });
        }
        (spent, sold)
    }
}

async fn judge_accounts(run: &Run, node: u64, spent: &mut BTreeMap<String, i64>) {
    for (user, account) in run.shop.aggregates::<Payment>(node).await {
        let payment::Account { available, held, spent: charged, deposited, .. } = account;
        let said = || format!("user {user}: {account:?}");
        run.hold(available >= 0 && charged >= 0, || format!("nothing is below zero: {}", said()));
        run.hold(held == 0, || format!("nothing is held at rest (INV-13): {}", said()));
        run.hold((available + charged, deposited) == (MONEY, MONEY), || {
            format!("money is conserved (INV-10): {}", said())
        });
        let owed = spent.remove(&user).unwrap_or_default();
        run.hold(charged == owed, || format!("orders of {owed} are paid, {charged} was charged (INV-3): {}", said()));
    }
    run.hold(spent.values().all(|spent| *spent == 0), || format!("orders that nobody paid for: {spent:?}"));
}

async fn judge_items(run: &Run, node: u64, sold: &mut BTreeMap<String, i64>) {
    for (key, state) in run.shop.aggregates::<Stock>(node).await {
        let Some(stock::state::State::Item(item)) = state.state else { continue };
        let stock::Item { free, held, sold: taken, added, .. } = item;
        let said = || format!("item {key}: {item:?}");
        run.hold(free >= 0, || format!("nothing is below zero: {}", said()));
        run.hold(held == 0, || format!("nothing is held at rest (INV-16): {}", said()));
        run.hold((free + taken, added) == (PIECES, PIECES), || format!("pieces are conserved (INV-14): {}", said()));
        let ordered = sold.remove(&key).unwrap_or_default();
        run.hold(taken == ordered, || format!("{ordered} were ordered, {taken} are gone: {}", said()));
    }
    run.hold(sold.values().all(|sold| *sold == 0), || format!("pieces that came from nowhere: {sold:?}"));
}
