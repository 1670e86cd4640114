//! What happens while the only node of a service is gone, and what becomes of events that are too old when it is back.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

use harness::{Callers, Cluster};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Events that are older have expired.
const MAX_AGE: Duration = Duration::from_secs(2);
/// Bound on what comes by itself.
const SOON: Duration = Duration::from_secs(30);
/// The only node with vouchers, from 0.
const VOUCHERS: usize = 3;

/// An order of 150.00 that was placed and delivered through these nodes, which took so long.
async fn delivered(callers: &Callers) -> (String, Duration) {
    let began = Instant::now();
    let placed = callers.ask(0, "POST", "/orders/value", &[], Some(&json!({ "customerId": "ada" }))).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let id = placed.body["orderId"].as_str().unwrap().to_owned();
    assert_eq!(callers.post(1, &format!("/orders/deliver/{id}")).await.status, 200);
    (id, began.elapsed())
}

/// What is at a path, as soon as it is what is wanted.
async fn until(callers: &Callers, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let found = callers.get(0, path).await;
        if found.status == 200 && wanted(&found.body) {
            return found.body;
        }
        assert!(Instant::now() < deadline, "GET {path}: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn vouchers(callers: &Callers, order: &str, count: usize) -> Value {
    until(callers, &format!("/vouchers?order={order}"), |found| {
        found.as_array().is_some_and(|found| found.len() == count)
    })
    .await
}

/// A10: orders do not wait for vouchers. A13: what waited for too long is a dead letter. A12, the half that needs no webhook: it can
/// be redriven once, and then is what it would have been.
#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_without_the_voucher_service_and_what_it_finds_too_old_can_be_redriven() {
    let shop: &[&str] = &["order", "payment", "stock", "delivery"];
    let carried = [Some(shop), Some(shop), Some(shop), Some(&["voucher"][..])];
    let lines = format!("[subscription.voucher]\nmax_age = \"{}ms\"\n", MAX_AGE.as_millis());
    let mut cluster = Cluster::of(&carried, &lines);
    cluster.start_all();
    let callers = Callers::of(&cluster);

    let (before, _) = delivered(&callers).await;
    vouchers(&callers, &before, 1).await;

    cluster.nodes[VOUCHERS].kill();
    let others = callers.afresh_without(VOUCHERS);
    let mut late = Vec::new();
    for _ in 0..3 {
        let (order, took) = delivered(&others).await;
        // Nobody waits for a service that is gone: a request that does takes seconds.
        assert!(took < MAX_AGE, "it took {took:?}");
        late.push(order);
    }
    let unanswered = others.get(0, "/vouchers").await;
    assert_eq!((unanswered.status, unanswered.problem()), (503, "no-quorum"), "{unanswered:?}");
    tokio::time::sleep(MAX_AGE).await;
    cluster.nodes[VOUCHERS].start();

    // Those that waited have expired; what comes now does not.
    let letters = until(&callers, "/dead-letters?service=voucher", |found| found.as_array().unwrap().len() == 3).await;
    let (after, _) = delivered(&callers).await;
    vouchers(&callers, &after, 1).await;
    let mut ids = Vec::new();
    for letter in letters.as_array().unwrap() {
        assert_eq!(
            (&letter["reason"], &letter["state"], &letter["tries"]),
            (&json!("expired"), &json!("parked"), &json!(1))
        );
        let order = letter["key"].as_str().unwrap().split('/').next().unwrap().to_owned();
        assert!(late.contains(&order), "{letter}");
        assert_eq!(letter["source"]["topic"], json!("order"));
        vouchers(&callers, &order, 0).await;
        ids.push((letter["id"].as_str().unwrap().to_owned(), order));
    }
    let counted = callers.get(1, "/dead-letters?reason=expired&limit=2").await;
    assert_eq!((counted.header("corduroy-count"), counted.body.as_array().unwrap().len()), (Some("3"), 2));
    let next = counted.header("link").unwrap().split(['<', '>']).nth(1).unwrap();
    let rest = callers.get(1, next).await;
    assert_eq!((rest.body.as_array().unwrap().len(), rest.header("link")), (1, None), "{next}");
    assert_eq!(callers.get(1, "/dead-letters?reason=fault").await.body, json!([]));

    // One is shown, and redriven: with one effect, however often.
    let (id, order) = &ids[0];
    let shown = callers.get(2, &format!("/dead-letters/{id}")).await;
    let input = &shown.body["input"];
    assert_eq!((&input["kind"], &input["name"]), (&json!("command"), &json!("Consider")), "{shown:?}");
    assert_eq!(input["data"]["facts"]["order"], json!(order));
    let redrive = format!("/dead-letters/{id}/redrive");
    let redriven = callers.ask(0, "POST", &redrive, &[("idempotency-key", "mine")], None).await.unwrap();
    assert_eq!(
        (redriven.status, redriven.header("location")),
        (202, Some(&*format!("/dead-letters/{id}"))),
        "{redriven:?}"
    );
    vouchers(&callers, order, 1).await;
    let again = callers.ask(2, "POST", &redrive, &[("idempotency-key", "mine")], None).await.unwrap();
    assert_eq!((again.status, again.header("idempotent-replay")), (202, Some("true")), "{again:?}");
    let second = callers.post(1, &redrive).await;
    assert_eq!((second.status, second.problem(), &second.body["state"]), (409, "dead-letter-settled", &json!("gone")));
    assert_eq!(callers.get(0, &format!("/dead-letters/{id}")).await.problem(), "unknown-dead-letter");
    vouchers(&callers, order, 1).await;

    // One is given up, for a reason.
    let (id, order) = &ids[1];
    let discard = format!("/dead-letters/{id}/discard");
    assert_eq!(callers.post(0, &discard).await.problem(), "rule-violated");
    let reason = json!({ "reason": "nobody wants it" });
    let discarded = callers.ask(0, "POST", &discard, &[], Some(&reason)).await.unwrap();
    assert_eq!((discarded.status, &discarded.body["state"]), (200, &json!("discarded")), "{discarded:?}");
    assert_eq!(callers.ask(1, "POST", &discard, &[], Some(&reason)).await.unwrap().problem(), "dead-letter-settled");
    vouchers(&callers, order, 0).await;

    // The rest by a filter.
    let filter = json!({ "service": "voucher", "reason": "expired" });
    let all = callers.ask(1, "POST", "/dead-letters/redrive", &[], Some(&filter)).await.unwrap();
    assert_eq!((all.status, &all.body), (202, &json!({ "redriven": 1, "failed": 0 })), "{all:?}");
    vouchers(&callers, &ids[2].1, 1).await;
    assert_eq!(callers.get(2, "/dead-letters").await.body, json!([]));
}
