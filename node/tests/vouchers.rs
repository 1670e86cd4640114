//! What delivered orders earn, and what operators see of orders under way, on real nodes.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

use futures::future;
use harness::{Answer, Callers, Cluster};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// Bound on what comes of an event by itself.
const SOON: Duration = Duration::from_secs(20);

/// An order of this value that was delivered.
async fn delivered(callers: &Callers, node: usize, net: &str, customer: &str) -> String {
    let body = json!({ "netTotal": net, "customerId": customer });
    let placed = callers.ask(node, "POST", "/orders/value", &[], Some(&body)).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let id = placed.body["orderId"].as_str().unwrap().to_owned();
    let delivered = callers.post(node + 1, &format!("/orders/deliver/{id}")).await;
    assert_eq!(delivered.status, 200, "{delivered:?}");
    id
}

/// The vouchers of an order, once there are any.
async fn earned(callers: &Callers, node: usize, order: &str) -> Vec<Value> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let found = callers.get(node, &format!("/vouchers?order={order}")).await;
        assert_eq!(found.status, 200, "{found:?}");
        let vouchers = found.body.as_array().unwrap().clone();
        if !vouchers.is_empty() {
            return vouchers;
        }
        assert!(std::time::Instant::now() < deadline, "{order} has earned nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn redeem(callers: &Callers, node: usize, code: &str, key: &str, body: &Value) -> Answer {
    let headers = [("idempotency-key", key)];
    callers.ask(node, "POST", &format!("/vouchers/{code}/redeem"), &headers, Some(body)).await.unwrap()
}

/// A4, A5 and A7.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_order_earns_a_voucher_that_can_be_used_once() {
    let cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);

    // A5: by what it costs with its tax of 19 percent.
    let (large, small) = (delivered(&callers, 0, "84.03", "ada").await, delivered(&callers, 1, "84.02", "ada").await);
    let vouchers = earned(&callers, 2, &large).await;
    let [voucher] = &vouchers[..] else { panic!("{vouchers:?}") };
    let code = voucher["code"].as_str().unwrap();
    let fields: BTreeSet<&str> = voucher.as_object().unwrap().keys().map(String::as_str).collect();
    let exactly = [
        "code",
        "orderId",
        "strategy",
        "kind",
        "value",
        "customerId",
        "createdAt",
        "expiresAt",
        "redeemed",
        "redeemedAt",
    ];
    assert_eq!(fields, BTreeSet::from(exactly));
    assert_eq!(
        (&voucher["value"], &voucher["kind"], &voucher["customerId"]),
        (&json!("5.00"), &json!("absolute"), &json!("ada"))
    );

    // A4: the order has it, too.
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let detail = callers.get(1, &format!("/orders/detail/{large}")).await;
        if detail.body["vouchers"] == json!([{ "code": code, "strategy": voucher["strategy"], "value": "5.00" }]) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{detail:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // And so has the account of its customer.
    let listed = json!([{ "code": code, "value": "5.00", "redeemed": false }]);
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let account = callers.get(2, "/accounts/ada").await;
        if account.body["vouchers"] == listed {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{account:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Everything about it is found from any node.
    for node in 0..callers.nodes() {
        assert_eq!(callers.get(node, &format!("/Vouchers/{}", code.to_lowercase())).await.body, *voucher);
        let of_ada = callers.get(node, "/vouchers?customer=ada&redeemed=false").await;
        assert_eq!(of_ada.body, json!([voucher]), "node {node}");
        assert_eq!(callers.get(node, "/vouchers?redeemed=true").await.body, json!([]));
        assert_eq!(callers.get(node, &format!("/vouchers?order={small}")).await.body, json!([]));
        assert_eq!(callers.get(node, "/vouchers/0000ZZZZZZZZZZZZZZZZ").await.problem(), "unknown-voucher");
        assert_eq!(callers.get(node, "/vouchers?redeemed=maybe").await.problem(), "malformed");
    }

    // A7: twenty at once.
    let foreign = redeem(&callers, 0, code, "foreign", &json!({ "customerId": "bob" })).await;
    assert_eq!((foreign.status, foreign.problem(), &foreign.body["code"]), (409, "voucher-owner", &json!(code)));
    let (body, keys) =
        (json!({ "customerId": "ada", "orderId": small }), (0..20).map(|caller| format!("caller-{caller}")));
    let keys: Vec<String> = keys.collect();
    let told =
        future::join_all(keys.iter().enumerate().map(|(node, key)| redeem(&callers, node, code, key, &body))).await;
    let (won, lost): (Vec<_>, Vec<_>) = told.iter().enumerate().partition(|(_, answer)| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 19), "{told:?}");
    assert!(lost.iter().all(|(_, answer)| (answer.status, answer.problem()) == (409, "voucher-redeemed")), "{lost:?}");
    let (winner, answer) = won[0];
    assert_eq!(answer.body["redeemed"], json!(true));
    let again = redeem(&callers, winner + 1, code, &keys[winner], &body).await;
    assert_eq!((again.status, &again.body, again.header("idempotent-replay")), (200, &answer.body, Some("true")));
    assert_eq!(redeem(&callers, 0, "0000ZZZZZZZZZZZZZZZZ", "none", &body).await.problem(), "unknown-voucher");
    assert_eq!(redeem(&callers, 0, code, "bad", &json!({ "customerId": "a b" })).await.problem(), "malformed");
    assert_eq!(redeem(&callers, 0, code, "worse", &json!({ "customerId": 7 })).await.status, 400);
}

/// A8, with a real kill: whoever of the three dies while orders are delivered, and comes back, each large order has one voucher.
#[tokio::test(flavor = "multi_thread")]
async fn whichever_node_dies_meanwhile_each_order_has_one_voucher() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    let mut orders = Vec::new();
    for round in 0..3_usize {
        for order in 0..10 {
            let net = if order % 2 == 0 { "150.00" } else { "10.00" };
            let key = format!("{round}-{order}");
            let body = json!({ "netTotal": net, "customerId": "ada" });
            let placed = callers.insist(round, "POST", "/orders/value", &format!("place-{key}"), Some(&body)).await;
            let id = placed.body["orderId"].as_str().unwrap().to_owned();
            let path = format!("/orders/deliver/{id}");
            assert_eq!(callers.insist(round, "POST", &path, &format!("deliver-{key}"), None).await.status, 200);
            orders.push((id, order % 2 == 0));
            if order == 5 {
                cluster.nodes[round].kill();
            }
        }
        cluster.nodes[round].start();
    }
    let others = callers.afresh();
    for (order, large) in orders {
        if large {
            assert_eq!(earned(&others, 0, &order).await.len(), 1, "{order}");
        } else {
            let found = others.get(0, &format!("/vouchers?order={order}")).await;
            assert_eq!(found.body, json!([]), "{order}");
        }
    }
}

/// Sagas and timers can be looked at, over and under way; there are no dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_an_order_can_be_followed_through_all_services() {
    let cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    let (item, user) = (callers.item(5, 50).await, callers.user(15).await);
    let order = callers.order(&user, &[(&item, 1)]).await;
    let before = callers.get(0, &format!("/sagas/{order}")).await;
    assert_eq!((before.status, &before.body["state"], &before.body["step"]), (200, &json!("open"), &Value::Null));
    assert_eq!(callers.post(0, &format!("/orders/checkout/{order}")).await.status, 200);
    for node in 0..callers.nodes() {
        let saga = callers.get(node, &format!("/sagas/{order}")).await;
        assert_eq!(
            (saga.status, &saga.body["state"], &saga.body["attempt"]),
            (200, &json!("confirmed"), &json!(1)),
            "{saga:?}"
        );
        let timeline = saga.body["timeline"].as_array().unwrap();
        let events: Vec<&str> = timeline.iter().map(|event| event["event"].as_str().unwrap()).collect();
        let place =
            |name| events.iter().position(|event| *event == name).unwrap_or_else(|| panic!("{name}: {events:?}"));
        let steps = [
            "OrderPlaced",
            "LineAdded",
            "CheckoutStarted",
            "PaymentHeld",
            "PaymentSecured",
            "StockRequested",
            "StockHeld",
            "StockSecured",
            "OrderConfirmed",
        ];
        assert!(steps.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{events:?}");
        let times: Vec<&str> = timeline.iter().map(|event| event["at"].as_str().unwrap()).collect();
        assert!(times.is_sorted() && timeline.iter().all(|event| event["term"].as_u64() > Some(0)), "{timeline:?}");
        assert_eq!(callers.get(node, "/sagas").await.body, json!([]));
        assert_eq!(callers.get(node, "/dead-letters").await.body, json!([]));
        assert_eq!(callers.get(node, "/sagas/nobody").await.problem(), "unknown-order");
        assert_eq!(callers.get(node, "/dead-letters/voucher-0-1").await.problem(), "unknown-dead-letter");
        assert_eq!(callers.get(node, "/dead-letters/none").await.problem(), "unknown-dead-letter");
    }
}

/// A checkout that waits for a service that is gone is shown with whom it waits for, and so is the timer that ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_waits_is_shown_with_its_timer_until_it_is_over() {
    let shop: &[&str] = &["order", "payment", "delivery"];
    let carried = [Some(shop), Some(shop), Some(shop), Some(&["stock"][..])];
    let mut cluster = Cluster::of(&carried, "");
    cluster.start_all();
    let callers = Callers::of(&cluster);
    let (item, user) = (callers.item(5, 50).await, callers.user(15).await);
    let order = callers.order(&user, &[(&item, 1)]).await;
    cluster.nodes[3].kill();
    let others = callers.afresh_without(3);
    let begun = [("prefer", "respond-async")];
    let begun = others.ask(0, "POST", &format!("/orders/checkout/{order}"), &begun, None).await.unwrap();
    assert_eq!((begun.status, begun.header("location")), (202, Some(&*format!("/sagas/{order}"))), "{begun:?}");

    let deadline = std::time::Instant::now() + SOON;
    let saga = loop {
        let saga = others.get(1, &format!("/sagas/{order}")).await;
        if saga.body["step"] == "stock" {
            break saga.body;
        }
        assert!(std::time::Instant::now() < deadline, "{saga:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&saga["state"], &saga["attempt"]), (&json!("reserving"), &json!(1)), "{saga}");
    for node in 0..others.nodes() {
        let under_way = others.get(node, "/sagas?state=reserving").await;
        let [listed] = &under_way.body.as_array().unwrap()[..] else { panic!("{under_way:?}") };
        let shown = ["orderId", "step", "since", "deadline"].map(|name| &listed[name]);
        assert_eq!(shown, [&json!(order), &json!("stock"), &saga["since"], &saga["deadline"]]);
        assert_eq!(others.get(node, "/sagas?state=releasing").await.body, json!([]));
        assert_eq!(others.get(node, "/sagas?older=1h").await.body, json!([]));
        let timers = others.get(node, &format!("/timers?service=order&key={order}")).await;
        let [timer] = &timers.body.as_array().unwrap()[..] else { panic!("{timers:?}") };
        assert_eq!((&timer["purpose"], &timer["due"]), (&json!("Deadline"), &saga["deadline"]), "{timer}");
    }
    assert_eq!(others.get(0, "/sagas?older=soon").await.problem(), "malformed");

    cluster.nodes[3].start();
    cluster.nodes[3].wait_ready();
    let deadline = std::time::Instant::now() + SOON;
    while callers.get(0, "/sagas").await.body != json!([]) {
        assert!(std::time::Instant::now() < deadline, "it is still under way");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(callers.get(2, &format!("/sagas/{order}")).await.body["state"], json!("confirmed"));
    let timers = callers.get(0, &format!("/timers?service=order&key={order}")).await;
    assert_eq!(timers.body, json!([]), "{timers:?}");
}
