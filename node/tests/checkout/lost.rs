//! Checkouts whose reply nobody got.
use super::{all, orders_of};
use crate::harness::{Answer, Callers, wait_until};
use serde_json::{Value, json};

/// A25: the reply is written and never read. Under its key it is found again; under another one there is nothing left
/// to pay.
pub async fn a_lost_reply_is_found_by_its_key(callers: &Callers) {
    for node in 0..callers.nodes() {
        let (item, user) = (callers.item(10, 100).await, callers.user(10).await);
        let order = callers.order(&user, &[(&item, 1)]).await;
        let (checkout, key) = (format!("/orders/checkout/{order}"), format!("lost-{order}"));
        let connection = callers.send(node, &checkout, &key).await;
        until(callers, node + 1, &format!("/orders/find/{order}"), |found| found["paid"] == true).await;
        drop(connection);
        let found = again(callers, node + 2, &checkout, &key).await;
        let expected = json!({
            "order_id": order, "paid": true, "status": "completed", "total_cost": 10, "attempt": 1, "alreadyPaid": false
        });
        assert_eq!((found.status, &found.body), (200, &expected), "{found:?}");
        assert_eq!(found.header("idempotent-replay"), Some("true"), "{found:?}");
        let other = callers.post(node, &checkout).await;
        assert_eq!((other.status, &other.body["alreadyPaid"]), (200, &json!(true)), "{other:?}");
        assert_eq!((callers.credit(node, &user).await, callers.stock(node, &item).await), (0, 99));

        // A refusal that nobody got is still the answer to that key; another key is another attempt.
        let order = callers.order(&user, &[(&item, 1)]).await;
        let (checkout, key) = (format!("/orders/checkout/{order}"), format!("lost-{order}"));
        let connection = callers.send(node, &checkout, &key).await;
        let refused = |found: &Value| found["status"] == "open" && !found["lastRefusal"].is_null();
        until(callers, node + 1, &format!("/orders/detail/{order}"), refused).await;
        drop(connection);
        callers.post(node, &format!("/payment/add_funds/{user}/10")).await;
        let found = again(callers, node + 2, &checkout, &key).await;
        assert_eq!((found.status, found.problem()), (409, "out-of-credit"), "{found:?}");
        assert_eq!(found.header("idempotent-replay"), Some("true"), "{found:?}");
        let other = callers.post(node, &checkout).await;
        assert_eq!((other.status, &other.body["attempt"]), (200, &json!(2)), "{other:?}");
        assert_eq!((callers.credit(node, &user).await, callers.stock(node, &item).await), (0, 98));
    }
}

/// A25: the caller hangs up at once, whatever has become of it, and asks again under its key.
pub async fn callers_that_hang_up_are_charged_once(callers: &Callers) {
    let (item, user) = (callers.item(1, 100).await, callers.user(100).await);
    let orders = orders_of(callers, 8, &vec![user.clone(); 30], &item).await;
    let asked = orders.iter().enumerate().map(|(turn, order)| async move {
        let (checkout, key) = (format!("/orders/checkout/{order}"), format!("hung-up-{order}"));
        drop(callers.send(turn, &checkout, &key).await);
        callers.insist(turn + 1, "POST", &checkout, &key, None).await
    });
    for answer in all(10, asked).await {
        assert_eq!((answer.status, &answer.body["attempt"]), (200, &json!(1)), "{answer:?}");
    }
    assert_eq!((callers.credit(0, &user).await, callers.stock(1, &item).await), (70, 70));
}

async fn again(callers: &Callers, node: usize, path: &str, key: &str) -> Answer {
    callers.ask(node, "POST", path, &[("idempotency-key", key)], None).await.expect("the node runs")
}

/// Reads until it is so.
async fn until(callers: &Callers, node: usize, path: &str, is_so: impl Fn(&Value) -> bool) {
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        wait_until(path, || {
            let found = handle.block_on(callers.get(node, path));
            if is_so(&found.body) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    });
}
