//! Customers of three real nodes: one sequence of events each, whoever reads it.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

use futures::{StreamExt as _, stream};
use harness::{Answer, Callers, Cluster};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A machine with other work may be slow: no attempt ends only for that.
const PATIENT: &str = "[saga]\ntimeout = \"60s\"\n";
const CONNECTIONS: usize = 10;
const ORDERS: usize = 200;

async fn answer(callers: &Callers, node: usize, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
    callers.ask(node, method, path, &[("corduroy-session", token)], body).await.unwrap()
}

fn token(answer: &Answer) -> &str {
    answer.header("corduroy-session").unwrap()
}

/// Reads a customer's events page by page, through one node, until there are so many. Each page goes on where the one before it ended.
async fn read(callers: &Callers, node: usize, customer: &str, until: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    for _ in 0..3000 {
        let path = format!("/accounts/{customer}/events?after={}&limit=37", seen.len());
        let page = callers.get(node, &path).await;
        assert_eq!((page.status, page.header("corduroy-first")), (200, Some("1")), "{page:?}");
        let page = page.body.as_array().unwrap().clone();
        for event in page {
            seen.push(event);
            assert_eq!(seen.last().unwrap()["seq"], seen.len(), "node {node}: a gap");
        }
        if seen.len() >= until {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("node {node}: only {} of {until} events", seen.len());
}

/// A37: 200 orders of one customer over 10 connections, while all nodes are asked what happens.
#[tokio::test(flavor = "multi_thread")]
async fn all_readers_of_a_customer_see_one_sequence_without_gaps() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    let customer = callers.user(1000).await;
    let connections: Vec<Callers> = (0..CONNECTIONS).map(|_| callers.afresh()).collect();
    let order = |turn: usize| {
        let (callers, customer) = (&connections[turn % CONNECTIONS], &customer);
        async move {
            let body = json!({ "customerRef": customer, "orderItems": [{ "productId": "p", "quantity": 1 }] });
            let placed = callers.ask(turn, "POST", "/orders", &[], Some(&body)).await.unwrap();
            assert_eq!(placed.status, 201, "{placed:?}");
            let order = placed.body["orderRef"].as_str().unwrap();
            let cancelled = callers.post(turn + 1, &format!("/orders/cancel/{order}")).await;
            assert_eq!(cancelled.status, 200, "{cancelled:?}");
        }
    };
    let all = stream::iter((0..ORDERS).map(order)).buffer_unordered(CONNECTIONS).collect::<Vec<()>>();
    // The user was opened and given money; each order is placed and cancelled.
    let until = 2 + 2 * ORDERS;
    let readers = (0..3).map(|node| read(&callers, node, &customer, until));
    let (_, sequences) = tokio::join!(all, futures::future::join_all(readers));
    assert_eq!(sequences[0].len(), until);
    assert!(sequences.iter().all(|sequence| *sequence == sequences[0]), "they differ");
    let mut of_order: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in &sequences[0] {
        if let Some(order) = event["orderId"].as_str() {
            of_order.entry(order).or_default().push(event["event"].as_str().unwrap());
        }
    }
    assert_eq!(of_order.len(), ORDERS);
    assert!(of_order.values().all(|events| *events == ["OrderPlaced", "OrderCancelled"]), "{of_order:?}");

    // All nodes end at once: what was told stays as it was told.
    (1..=3).for_each(|node| cluster.node(node).kill());
    cluster.start_all();
    for node in 0..3 {
        assert_eq!(read(&callers, node, &customer, until).await, sequences[0], "node {node}");
    }
    let account = callers.get(1, &format!("/accounts/{customer}")).await;
    assert_eq!((account.body["seq"].as_u64(), account.body["balance"].as_i64()), (Some(until as u64), Some(1000)));
    let orders = account.body["orders"].as_array().unwrap();
    assert_eq!(orders.len(), ORDERS);
    assert!(orders.iter().all(|order| order["status"] == "cancelled" && order["ref"].is_string()), "{orders:?}");
}

/// A caller sees what it has done at once, with its session token, through any node.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_its_own_work_at_once() {
    let cluster = Cluster::shop(PATIENT);
    let callers = Callers::of(&cluster);
    nothing_is_known_of_a_stranger(&callers).await;
    let item = callers.item(5, 4).await;
    let user = callers.user(20).await;
    let path = format!("/accounts/{user}");

    let order = callers.order(&user, &[(&item, 3)]).await;
    let paid = callers.post(0, &format!("/orders/checkout/{order}")).await;
    assert_eq!(paid.status, 200, "{paid:?}");
    let account = answer(&callers, 1, "GET", &path, token(&paid), None).await;
    let body = &account.body;
    assert_eq!((body["customerId"].as_str(), body["balance"].as_i64()), (Some(user.as_str()), Some(5)), "{account:?}");
    let detail = callers.get(2, &format!("/orders/detail/{order}")).await;
    let expected = json!({ "id": order, "ref": detail.body["orderRef"], "status": "confirmed", "total": 15 });
    assert_eq!((&body["orders"], &body["vouchers"]), (&json!([expected]), &json!([])));
    assert_eq!(body.as_object().unwrap().len(), 5, "{body}");

    // There is not enough of the item, and the money comes back.
    let other = callers.order(&user, &[(&item, 1), (&item, 1)]).await;
    let added = callers.post(1, &format!("/payment/add_funds/{user}/5")).await;
    let account = answer(&callers, 2, "GET", &path, token(&added), None).await;
    assert_eq!(account.body["balance"], 10, "{account:?}");
    let refused = callers.post(2, &format!("/orders/checkout/{other}")).await;
    assert_eq!(refused.problem(), "out-of-stock", "{refused:?}");
    let account = answer(&callers, 0, "GET", &path, token(&refused), None).await;
    assert_eq!((&account.body["balance"], account.body["orders"].as_array().unwrap().len()), (&json!(10), 2));

    let mut profile = json!({ "displayName": "Ada", "contact": "ada@example.com" });
    let set = callers.ask(1, "PUT", &format!("{path}/profile"), &[], Some(&profile)).await.unwrap();
    profile["customerId"] = json!(user);
    assert_eq!((set.status, &set.body), (200, &profile));
    let events = answer(&callers, 2, "GET", &format!("{path}/events"), token(&set), None).await;
    let events = events.body.as_array().unwrap();
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["source"]), (&json!("ProfileChanged"), &Value::Null), "{last}");
    let forward: Vec<&str> = subjects(events, &order);
    let begun = ["ORDER_CREATE", "ORDER_PLACED_SUCCESS", "ORDER_CONFIRMATION_SUCCESS", "PAYMENT_CHARGE_SUCCESS"];
    assert_eq!(forward[..4], begun);
    assert_eq!(forward[4..], ["INVENTORY_UPDATE_SUCCESS", "DELIVERY_SCHEDULED_SUCCESS", "ORDER_FINALISED_SUCCESS"]);
    let back = subjects(events, &other);
    assert_eq!(back[..4], begun);
    assert_eq!(back[4..], ["INVENTORY_UPDATE_ERROR", "PAYMENT_CHARGE_ROLLBACK", "ORDER_CONFIRMATION_ROLLBACK"]);

    seeded_customers_have_their_money(&callers).await;
}

fn subjects<'a>(events: &'a [Value], order: &str) -> Vec<&'a str> {
    let of_order = events.iter().filter(|event| event["orderId"] == order);
    of_order.flat_map(|event| event["subjects"].as_array().unwrap()).map(|subject| subject.as_str().unwrap()).collect()
}

async fn nothing_is_known_of_a_stranger(callers: &Callers) {
    for path in ["/accounts/stranger", "/accounts/stranger/events"] {
        let answer = callers.get(0, path).await;
        assert_eq!((answer.status, answer.problem()), (404, "unknown-user"), "{answer:?}");
    }
    let answer = callers.ask(1, "PUT", "/accounts/stranger/profile", &[], Some(&json!({}))).await.unwrap();
    assert_eq!((answer.status, answer.problem()), (404, "unknown-user"), "{answer:?}");
    for (path, status) in [("/accounts/a%20b", 400), ("/accounts/stranger/events?after=x", 400)] {
        let answer = callers.get(2, path).await;
        assert_eq!((answer.status, answer.problem()), (status, "malformed"), "{answer:?}");
    }
}

async fn seeded_customers_have_their_money(callers: &Callers) {
    let seeded = callers.post(0, "/payment/batch_init/100000/77").await;
    assert_eq!(seeded.status, 200, "{seeded:?}");
    for user in ["0", "99999"] {
        let account = answer(callers, 1, "GET", &format!("/accounts/{user}"), token(&seeded), None).await;
        let none = json!({ "customerId": user, "balance": 77, "orders": [], "vouchers": [], "seq": 0 });
        assert_eq!(account.body, none);
    }
    let nobody = answer(callers, 2, "GET", "/accounts/100000", token(&seeded), None).await;
    assert_eq!(nobody.status, 404);
}
