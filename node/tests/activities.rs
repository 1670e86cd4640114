//! What is counted of orders: by three real nodes and by one that counts, and in simulated worlds around midnight and with a type that
//! is not counted yet.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

use corduroy_log::testing::SimWorld;
use corduroy_node::{
    runtime::{CommandOptions, Consistency, Registry, Services},
    services::{Settings, activity::Activity, order::Order},
    testing::{Sim, SimServices},
};
use corduroy_proto::{
    order::{self as pb, command::Command},
    runtime::query_call,
};
use harness::{Callers, Cluster, http_get};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
/// Who takes orders, and who counts them.
const SHOP: &[&str] = &["order", "payment", "stock", "delivery"];
const COUNTING: &[&str] = &["activity"];

/// Yesterday, today and tomorrow: a test may run at midnight.
fn days() -> [String; 3] {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    [today.yesterday().unwrap(), today, today.tomorrow().unwrap()].map(|day| day.to_string())
}

/// How many of each type, around today; and the lag of the answers.
async fn counted(callers: &Callers, node: usize, query: &str) -> (BTreeMap<String, u64>, u64) {
    let (mut counts, mut lag) = (BTreeMap::new(), 0);
    for day in days() {
        let answer = callers.get(node, &format!("/activities/{day}{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        lag += answer.header("corduroy-lag").unwrap().parse::<u64>().unwrap();
        for counter in answer.body.as_array().unwrap() {
            assert_eq!(counter["activityDate"], day);
            let code = counter["activityTypeCode"].as_str().unwrap().to_owned();
            *counts.entry(code).or_default() += counter["quantity"].as_u64().unwrap();
        }
    }
    (counts, lag)
}

/// What is counted once everything is read.
async fn counted_in_the_end(callers: &Callers, node: usize) -> BTreeMap<String, u64> {
    for _ in 0..600 {
        if let (counts, 0) = counted(callers, node, "").await {
            return counts;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is never counted to the end");
}

async fn place(callers: &Callers, node: usize) -> String {
    let body = json!({ "customerRef": "ada", "orderItems": [{ "productId": "p", "quantity": 1 }] });
    let placed = callers.ask(node, "POST", "/orders", &[], Some(&body)).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    placed.body["orderRef"].as_str().unwrap().to_owned()
}

/// A31, and of A32 what does not need midnight.
#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_while_nobody_counts_and_counted_afterwards() {
    let mut cluster = Cluster::of(&[Some(SHOP), Some(SHOP), Some(SHOP), Some(COUNTING)], "");
    cluster.start_all();
    let callers = Callers::of(&cluster);
    for path in ["/activities/2024-13-01", "/activities/20240701"] {
        let answer = callers.get(0, path).await;
        assert_eq!((answer.status, answer.problem()), (400, "malformed"), "{answer:?}");
    }
    assert_eq!(callers.get(1, "/Activities/2020-02-29/").await.body, json!([]));

    let first = place(&callers, 0).await;
    assert_eq!(callers.post(1, &format!("/orders/cancel/{first}")).await.status, 200);
    let value = callers.post(2, "/orders/value").await;
    assert_eq!(value.status, 201, "{value:?}");
    let value = value.body["orderId"].as_str().unwrap().to_owned();
    assert_eq!(callers.post(0, &format!("/orders/deliver/{value}")).await.status, 200);
    let mut expected: BTreeMap<String, u64> =
        [("ORDER_CREATED", 2), ("ORDER_CANCELLED", 1), ("ORDER_COMPLETED", 1)].map(|(code, n)| (code.into(), n)).into();
    assert_eq!(counted_in_the_end(&callers, 3).await, expected);
    assert_eq!(counted_in_the_end(&callers, 0).await, expected, "a node that does not count asks one that does");

    cluster.node(4).kill();
    for turn in 0..50 {
        place(&callers, turn % 3).await;
    }
    let answer = callers.get(0, &format!("/activities/{}", days()[1])).await;
    assert_eq!((answer.status, answer.problem()), (503, "no-quorum"), "nobody counts: {answer:?}");
    // One of those that take orders is not there for a while either.
    cluster.node(2).kill();
    for turn in 0..50 {
        callers.insist(2 * (turn % 2), "POST", "/orders", &format!("order-{turn}"), Some(&an_order())).await;
    }
    cluster.start_all();
    *expected.get_mut("ORDER_CREATED").unwrap() += 100;
    assert_eq!(counted_in_the_end(&callers, 3).await, expected);
}

fn an_order() -> Value {
    json!({ "customerRef": "bob", "orderItems": [{ "productId": "p", "quantity": 2 }] })
}

/// A33: all nodes are restarted at once, and the numbers are what they were. A node that is alone tells what it has.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_the_same_after_all_nodes_were_killed_at_once() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    for turn in 0..20 {
        place(&callers, turn).await;
    }
    assert_eq!(callers.post(0, "/orders/batch_init/1000/5/5/1").await.status, 200);
    let expected: BTreeMap<String, u64> = [("ORDER_CREATED".to_owned(), 1020)].into();
    assert_eq!(counted_in_the_end(&callers, 0).await, expected);
    cluster.settle().await;
    let before: Vec<_> =
        futures::future::join_all((0..3).map(|node| counted(&callers, node, "?consistency=stale"))).await;
    assert!(before.iter().all(|counted| *counted == (expected.clone(), 0)), "{before:?}");

    (1..=3).for_each(|node| cluster.node(node).kill());
    cluster.start_all();
    for node in 0..3 {
        assert_eq!(counted_in_the_end(&callers, node).await, expected);
    }
    place(&callers, 1).await;
    assert_eq!(counted_in_the_end(&callers, 2).await["ORDER_CREATED"], 1021);

    cluster.settle().await;
    cluster.node(2).kill();
    cluster.node(3).kill();
    let alone = counted(&callers, 0, "?consistency=stale").await;
    assert_eq!(alone.0["ORDER_CREATED"], 1021, "without a quorum");
    assert!(http_get(cluster.nodes[0].ports.http, "/livez").is_ok());
}

/// Three simulated nodes that take orders and count them; of the types, those that `all` says.
async fn counting(sim: &Sim, all: Arc<AtomicBool>) -> SimServices {
    sim.cluster(3, move |node: Registry<SimWorld>| {
        let mut settings = Settings::default();
        if !all.load(Relaxed) {
            settings.activity_types.retain(|code| code != "ORDER_CANCELLED");
        }
        node.service_with(Order::new(settings.clone()), 2).service_with(Activity::new(settings), 1)
    })
    .await
}

async fn ask(shop: &SimServices, order: &str, command: Command) {
    shop.command::<Order>(order, &pb::Command { command: Some(command) }).await.unwrap();
}

async fn place_in(shop: &SimServices, order: &str) {
    ask(shop, order, Command::Place(pb::Place { customer: "ada".into(), ..pb::Place::default() })).await;
}

/// (day, type) and quantity, on every node alike.
async fn counts_in(shop: &SimServices) -> BTreeMap<(String, u32), u64> {
    shop.rest().await;
    let mut all = Vec::new();
    for node in 1..=3 {
        let of_day = |(day, state): (String, corduroy_proto::activity::Day)| {
            state.counters.into_iter().map(move |counter| ((day.clone(), counter.r#type), counter.quantity))
        };
        all.push(shop.aggregates::<Activity>(node).await.into_iter().flat_map(of_day).collect::<BTreeMap<_, _>>());
    }
    assert!(all.iter().all(|counts| *counts == all[0]), "{all:?}");
    all.remove(0)
}

/// Sets all clocks to this, of nodes that may be about to start. By how much.
fn set_clocks(sim: &Sim, micros: u64) -> i64 {
    use corduroy_log::world::Clock as _;
    let by = i64::try_from(micros).unwrap() - i64::try_from(sim.world().env(1).clock.now().0).unwrap();
    put_on(sim, by);
    by
}

fn put_on(sim: &Sim, micros: i64) {
    (1..=3).for_each(|node| sim.world().set_clock_offset(node, micros));
}

/// A32: around midnight.
#[test]
fn a_day_is_that_of_the_event_and_not_that_on_which_it_is_counted() {
    // 2034-07-01 begins.
    const MIDNIGHT: u64 = 2_035_324_800_000_000;
    for seed in 0..3 {
        Sim::seed(seed).run(async |sim| {
            set_clocks(sim, MIDNIGHT - 20_000_000);
            let shop = counting(sim, Arc::new(AtomicBool::new(true))).await;
            let (mut before, mut after) = (0, 0);
            for order in 0..60_u64 {
                let id = format!("order-{order}");
                place_in(&shop, &id).await;
                let time = log_time(&shop, &id).await;
                if time < MIDNIGHT {
                    before += 1
                } else {
                    after += 1
                }
                sim.sleep(SECOND / 2).await;
            }
            ask(&shop, "order-0", Command::Cancel(pb::Cancel {})).await;
            assert!(before > 5 && after > 5, "seed {seed}: {before} and {after}");
            let of = |day: &str, kind, n: u64| ((day.to_owned(), kind), n);
            let expected = [of("2034-06-30", 1, before), of("2034-07-01", 1, after), of("2034-07-01", 3, 1)].into();
            assert_eq!(counts_in(&shop).await, expected, "seed {seed}");
            // Everybody goes, and comes again: it is not counted on another day, nor twice.
            (1..=3).for_each(|node| shop.kill(node));
            for node in 1..=3 {
                shop.restart(node).await;
            }
            shop.ready().await;
            assert_eq!(counts_in(&shop).await, expected, "seed {seed}");
        });
    }
}

/// When an order was placed: without another date it is dated so.
async fn log_time(shop: &SimServices, order: &str) -> u64 {
    let order = order.to_owned();
    let found = shop.on(1, async move |services: Services<SimWorld>| {
        services.get::<Order>(&order, Consistency::Linearizable).await
    });
    match found.await.unwrap().unwrap().value.unwrap().state.unwrap() {
        pb::state::State::Order(order) => order.order_date,
        pb::state::State::Alias(_) => unreachable!("it is an order"),
    }
}

/// A34: what cannot be counted is kept, what comes behind it is counted, and later it is counted on its own day.
#[test]
fn a_type_that_is_not_counted_yet_is_kept_and_counts_on_its_own_day() {
    // 2034-07-01 begins.
    const MIDNIGHT: u64 = 2_035_324_800_000_000;
    for seed in 0..3 {
        Sim::seed(seed).run(async |sim| {
            let off = set_clocks(sim, MIDNIGHT - 60_000_000);
            let all = Arc::new(AtomicBool::new(false));
            let shop = counting(sim, all.clone()).await;
            for order in ["a", "b"] {
                place_in(&shop, order).await;
                ask(&shop, order, Command::Cancel(pb::Cancel {})).await;
            }
            place_in(&shop, "c").await;
            let of = |day: &str, kind, n: u64| ((day.to_owned(), kind), n);
            assert_eq!(counts_in(&shop).await, [of("2034-06-30", 1, 3)].into(), "what is behind it goes on");
            let letters = letters(&shop).await;
            assert_eq!(letters.len(), 2, "{letters:?}");
            assert!(letters.iter().all(|(_, error)| error.contains("ORDER_CANCELLED")), "{letters:?}");

            // On another day they are started with the type.
            (1..=3).for_each(|node| shop.kill(node));
            all.store(true, Relaxed);
            put_on(sim, off + 120_000_000);
            for node in 1..=3 {
                shop.restart(node).await;
            }
            shop.ready().await;
            place_in(&shop, "d").await;
            for (letter, _) in &letters {
                let (id, letter) = (shop.id(), *letter);
                let redriven = shop.on(1, async move |services: Services<SimWorld>| {
                    services.redrive("activity", 0, letter, &CommandOptions::new(id)).await
                });
                redriven.await.unwrap().unwrap();
            }
            let expected = [of("2034-06-30", 1, 3), of("2034-06-30", 3, 2), of("2034-07-01", 1, 1)].into();
            assert_eq!(counts_in(&shop).await, expected, "seed {seed}");
            assert_eq!(self::letters(&shop).await, []);
        });
    }
}

/// The dead letters of activity, with what they say.
async fn letters(shop: &SimServices) -> Vec<(u64, String)> {
    shop.rest().await;
    let asked = shop.on(2, async |services: Services<SimWorld>| {
        services.query("activity", 0, query_call::What::Letters(true), Consistency::Linearizable).await
    });
    let letters = asked.await.unwrap().unwrap().value.letters;
    letters.into_iter().map(|letter| (letter.id, letter.error)).collect()
}
