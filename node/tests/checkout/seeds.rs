//! A hundred thousand users, items and orders at once.
use super::all;
use crate::harness::{Answer, Callers, Cluster, PATIENCE};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

const N: usize = 100_000;
const CREDIT: i64 = 1_000;
const STOCK: i64 = 500;
const PRICE: i64 = 3;
/// What a call may take: as long as a gateway waits.
const LIMIT: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 48;

/// A24: each call ends within its limit; whoever is asked for is there.
pub async fn each_is_there(callers: &Callers) {
    for (node, (path, says)) in [
        (format!("/payment/batch_init/{N}/{CREDIT}"), "Batch init for users successful"),
        (format!("/stock/batch_init/{N}/{STOCK}/{PRICE}"), "Batch init for stock successful"),
        (format!("/orders/batch_init/{N}/{N}/{N}/{PRICE}"), "Batch init for orders successful"),
    ]
    .into_iter()
    .enumerate()
    {
        let since = Instant::now();
        let made = callers.post(node, &path).await;
        assert_eq!((made.status, &made.body), (200, &json!({ "msg": says })), "{made:?}");
        println!("{path}: {:?}", since.elapsed());
        assert!(since.elapsed() < LIMIT, "{path}: {:?}", since.elapsed());
    }
    let ids: Vec<usize> = sample().collect();
    let credits = all(AT_ONCE, ids.iter().map(|id| async move { callers.credit(*id, &id.to_string()).await })).await;
    let stocks = all(AT_ONCE, ids.iter().map(|id| async move { callers.stock(*id, &id.to_string()).await })).await;
    let count = i64::try_from(ids.len()).unwrap();
    assert_eq!((credits.iter().sum(), stocks.iter().sum()), (count * CREDIT, count * STOCK));
    all(AT_ONCE, ids.iter().map(|id| Seeded::read(callers, *id, PRICE))).await;
    for path in ["/payment/find_user", "/stock/find", "/orders/find"] {
        let behind = callers.get(0, &format!("{path}/{N}")).await;
        assert_eq!(behind.status, 404, "{behind:?}");
    }
}

/// A24: every order is charged once, and once more when orders are made new; users and items stay as they are.
pub async fn orders_made_again_are_charged_again(callers: &Callers) {
    let (mut spent, mut sold): (BTreeMap<String, i64>, BTreeMap<String, i64>) = Default::default();
    for round in 0..2 {
        if round > 0 {
            let made = callers.post(round, &format!("/orders/batch_init/{N}/{N}/{N}/{PRICE}")).await;
            assert_eq!(made.status, 200, "{made:?}");
        }
        let orders = all(AT_ONCE, sample().step_by(10).map(|id| Seeded::read(callers, id, PRICE))).await;
        for already in [false, true] {
            let paid = all(AT_ONCE, orders.iter().map(|order| callers.post(round, &order.checkout))).await;
            for answer in paid {
                let said = (&answer.body["alreadyPaid"], &answer.body["total_cost"], &answer.body["attempt"]);
                assert_eq!(said, (&json!(already), &json!(2 * PRICE), &json!(1)), "{answer:?}");
            }
        }
        for order in &orders {
            *spent.entry(order.user.clone()).or_default() += 2 * PRICE;
            for item in &order.items {
                *sold.entry(item.clone()).or_default() += 1;
            }
        }
        for (user, spent) in &spent {
            assert_eq!(callers.credit(round, user).await, CREDIT - spent, "user {user}");
        }
        for (item, sold) in &sold {
            assert_eq!(callers.stock(round, item).await, STOCK - sold, "item {item}");
        }
    }
}

/// A24: each call is cut off when some partitions have done it and others, whose leader has been stopped, have not.
/// Repeated, it leaves everything as one call would have.
pub async fn a_call_that_is_cut_off_can_be_repeated(cluster: &Cluster, callers: &Callers) {
    const AGAIN: i64 = PRICE + 1;
    const MONEY: i64 = 2 * AGAIN;
    let paths = [
        ("payment", format!("/payment/batch_init/{N}/{MONEY}"), "/payment/find_user", "credit", MONEY),
        ("stock", format!("/stock/batch_init/{N}/{AGAIN}/{AGAIN}"), "/stock/find", "stock", AGAIN),
        ("order", format!("/orders/batch_init/{N}/{N}/{N}/{AGAIN}"), "/orders/find", "total_cost", 2 * AGAIN),
    ];
    for (topic, path, find, field, expected) in &paths {
        let leaders: BTreeSet<u64> = cluster.leads(topic).await.into_iter().flatten().collect();
        let (stopped, serving) = (*leaders.first().unwrap(), *leaders.last().unwrap());
        assert_ne!(stopped, serving, "one node leads everything of {topic}");
        let node = usize::try_from(serving).unwrap() - 1;
        let stopped = cluster.nodes.iter().find(|node| node.id == stopped).unwrap();
        let seen = async || {
            let read = |id: usize| async move {
                let found = callers.get(node, &format!("{find}/{id}?consistency=stale")).await;
                found.body[field] == *expected
            };
            let made = all(AT_ONCE, sample().map(read)).await;
            (made.iter().filter(|made| **made).count(), made.len())
        };
        let key = format!("cut-off-{topic}");
        assert_eq!(seen().await.0, 0, "nothing is made yet");
        stopped.pause();
        let connection = callers.send(node, path, &key).await;
        let since = Instant::now();
        let (made, of) = loop {
            let (made, of) = seen().await;
            if made > 0 {
                break (made, of);
            }
            assert!(since.elapsed() < PATIENCE, "no partition has done it: {path}");
        };
        let is_over = was_answered(&connection);
        drop(connection);
        stopped.resume();
        println!("{path}: cut off when {made} of {of} were made");
        assert!(made < of && !is_over, "it was not cut off half way: {made} of {of}");

        let made = callers.insist(node + 1, "POST", path, &key, None).await;
        assert_eq!(made.status, 200, "{made:?}");
        let again = callers.insist(node + 2, "POST", path, &key, None).await;
        assert_eq!((again.status, &again.body), (made.status, &made.body), "{again:?}");
        assert_eq!(again.header("idempotent-replay"), Some("true"), "{again:?}");
    }
    let ids: Vec<usize> = sample().collect();
    let credits = all(AT_ONCE, ids.iter().map(|id| async move { callers.credit(*id, &id.to_string()).await })).await;
    let stocks = all(AT_ONCE, ids.iter().map(|id| async move { callers.stock(*id, &id.to_string()).await })).await;
    assert!(credits.iter().all(|is| *is == MONEY) && stocks.iter().all(|is| *is == AGAIN), "{credits:?} {stocks:?}");
    let orders = all(AT_ONCE, ids.iter().map(|id| Seeded::read(callers, *id, AGAIN))).await;

    // By the same key it is the same orders, one of which has been changed: that change stays.
    let paid = callers.post(0, &orders[0].checkout).await;
    assert_eq!((paid.status, &paid.body["total_cost"]), (200, &json!(2 * AGAIN)), "{paid:?}");
    let again = callers.insist(2, "POST", &paths[2].1, "cut-off-order", None).await;
    assert_eq!(again.status, 200, "{again:?}");
    let found = callers.get(1, &orders[0].find).await;
    assert_eq!(found.body["paid"], true, "what was done is not done again: {found:?}");
    let others = all(AT_ONCE, ids.iter().skip(1).map(|id| Seeded::read(callers, *id, AGAIN))).await;
    assert!(orders.iter().skip(1).eq(others.iter()), "they are not what they were");
}

fn was_answered(connection: &TcpStream) -> bool {
    let mut buffer = [0; 1];
    !connection.try_read(&mut buffer).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The first, the last, and some between.
fn sample() -> impl Iterator<Item = usize> {
    (0..N).step_by(499).chain([1, N - 1])
}

#[derive(Debug, PartialEq, Eq)]
struct Seeded {
    find: String,
    checkout: String,
    user: String,
    items: Vec<String>,
}

impl Seeded {
    /// An order that nobody has touched.
    async fn read(callers: &Callers, id: usize, price: i64) -> Self {
        let find = format!("/orders/find/{id}");
        let found = callers.get(id, &find).await;
        let names_one = |text: &str| text.parse::<usize>().is_ok_and(|number| number < N);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let Answer { body, .. } = &found;
        let user = text(&body["user_id"]);
        let lines = body["items"].as_array().cloned().unwrap_or_default();
        let items: Vec<String> = lines.iter().map(|line| text(&line[0])).collect();
        assert!(names_one(&user) && items.len() == 2 && items.iter().all(|item| names_one(item)), "{found:?}");
        let expected = json!({
            "order_id": id.to_string(), "paid": false, "items": [[items[0], 1], [items[1], 1]], "user_id": user,
            "total_cost": 2 * price, "status": "pending"
        });
        assert_eq!((found.status, body), (200, &expected), "{found:?}");
        Seeded { checkout: format!("/orders/checkout/{id}"), find, user, items }
    }
}
