//! What every route of orders, payment and stock refuses, and how.
use super::routes::{Caller, callers_of, fields};
use crate::harness::Callers;
use serde_json::{Value, json};

/// A17: through every node, in either case.
pub async fn every_error_is_a_problem(callers: &Callers) {
    for caller in callers_of(callers) {
        what_is_not_there(&caller).await;
        what_cannot_be_read(&caller).await;
        what_is_against_a_rule(&caller).await;
        what_the_state_forbids(&caller).await;
    }
}

async fn what_is_not_there(caller: &Caller<'_>) {
    let item = caller.make("/stock/item/create/10", "item_id").await;
    let order = caller.make("/orders/create/nobody", "order_id").await;
    for (method, path, what) in [
        ("GET", "/orders/find/none".to_owned(), "unknown-order"),
        ("GET", "/orders/detail/none".to_owned(), "unknown-order"),
        ("GET", "/orders/OS999999999-ORD".to_owned(), "unknown-order"),
        ("GET", "/order/none".to_owned(), "unknown-order"),
        ("POST", format!("/orders/addItem/none/{item}/1"), "unknown-order"),
        ("POST", format!("/orders/addItem/{order}/none/1"), "unknown-item"),
        ("DELETE", format!("/orders/removeItem/none/{item}"), "unknown-order"),
        ("DELETE", format!("/orders/removeItem/{order}/{item}"), "unknown-item"),
        ("POST", "/orders/checkout/none".to_owned(), "unknown-order"),
        ("POST", "/orders/cancel/none".to_owned(), "unknown-order"),
        ("POST", "/orders/deliver/none".to_owned(), "unknown-order"),
        ("GET", "/payment/find_user/none".to_owned(), "unknown-user"),
        ("POST", "/payment/add_funds/none/1".to_owned(), "unknown-user"),
        ("POST", "/payment/pay/none/1".to_owned(), "unknown-user"),
        ("GET", "/stock/find/none".to_owned(), "unknown-item"),
        ("POST", "/stock/add/none/1".to_owned(), "unknown-item"),
        ("POST", "/stock/subtract/none/1".to_owned(), "unknown-item"),
        ("GET", "/nothing/here".to_owned(), "not-found"),
    ] {
        // What has no route is neither: nobody knows what it would have done.
        caller.problem(method, &path, None, (404, what), &["id"]).await;
    }
    for of in ["payment", "stock"] {
        assert_eq!(caller.get(&format!("/{of}/checkid/none")).await, "MISSING");
    }
    let answer = caller.callers.ask(caller.node, "GET", "/payment/create_user", &[], None).await.expect("it runs");
    assert_eq!((answer.status, answer.problem()), (405, "method-not-allowed"), "{answer:?}");
    assert_eq!(answer.header("allow"), Some("POST"), "{answer:?}");
}

async fn what_cannot_be_read(caller: &Caller<'_>) {
    let (user, item) = ("somebody", "something");
    for (method, path, body) in [
        ("GET", "/orders/find/a%20b".to_owned(), None),
        ("GET", format!("/orders/find/{}", "x".repeat(65)), None),
        ("GET", "/payment/find_user/a%20b".to_owned(), None),
        ("GET", "/stock/find/a%20b".to_owned(), None),
        ("GET", format!("/payment/find_user/{user}?consistency=perhaps"), None),
        ("GET", "/orders?limit=none".to_owned(), None),
        ("POST", "/orders/create/a%20b".to_owned(), None),
        ("POST", format!("/orders/addItem/none/{item}/x"), None),
        ("POST", format!("/payment/add_funds/{user}/1.5"), None),
        ("POST", format!("/payment/pay/{user}/x"), None),
        ("POST", "/payment/batch_init/x/1".to_owned(), None),
        ("POST", "/stock/item/create/x".to_owned(), None),
        ("POST", format!("/stock/add/{item}/x"), None),
        ("POST", format!("/stock/subtract/{item}/x"), None),
        ("POST", "/orders".to_owned(), Some(json!({ "orderItems": [{ "productId": item, "quantity": 1 }] }))),
        ("POST", "/orders".to_owned(), Some(json!({ "customerRef": "ada", "orderItems": 1 }))),
        ("POST", "/orders".to_owned(), None),
        ("POST", "/orders/value".to_owned(), Some(json!({ "netTotal": "99.999" }))),
        ("POST", "/orders/value".to_owned(), Some(json!({ "orderDate": "2020-13-01" }))),
        ("POST", "/order".to_owned(), Some(json!({ "id": "1" }))),
    ] {
        let problem = caller.problem(method, &path, body.as_ref(), (400, "malformed"), &["errors"]).await;
        let errors = problem.body["errors"].as_array().expect("a list");
        assert!(!errors.is_empty(), "{problem:?}");
        errors.iter().for_each(|error| fields(error, &["path", "reason"]));
    }
    let large = json!({ "customerRef": "x".repeat(2 << 20), "orderItems": [] });
    // The node may hang up on who goes on sending, so the connection is no good for anybody else.
    if let Ok(answer) = caller.callers.afresh().ask(caller.node, "POST", "/orders", &[], Some(&large)).await {
        assert_eq!((answer.status, answer.problem()), (413, "too-large"), "{answer:?}");
    }
}

async fn what_is_against_a_rule(caller: &Caller<'_>) {
    let item = caller.make("/stock/item/create/10", "item_id").await;
    let user = caller.make("/payment/create_user", "user_id").await;
    let order = caller.make(&format!("/orders/create/{user}"), "order_id").await;
    let ledger = json!({ "id": "wrong", "order": {
        "orderId": "wrong", "customerId": "ada", "totalPrice": 21, "totalQuantity": 2,
        "items": [{ "productId": item, "price": 10, "quantity": 2 }]
    } });
    let items = |items: Value| json!({ "customerRef": "ada", "orderItems": items });
    for (path, body) in [
        (format!("/orders/addItem/{order}/{item}/0"), None),
        (format!("/orders/addItem/{order}/{item}/-1"), None),
        (format!("/orders/addItem/{order}/{item}/1000001"), None),
        (format!("/payment/add_funds/{user}/-1"), None),
        (format!("/payment/add_funds/{user}/9223372036854775808"), None),
        (format!("/payment/pay/{user}/-1"), None),
        ("/payment/batch_init/-1/1".to_owned(), None),
        ("/payment/batch_init/1/-1".to_owned(), None),
        ("/stock/item/create/-1".to_owned(), None),
        (format!("/stock/add/{item}/-1"), None),
        (format!("/stock/subtract/{item}/-1"), None),
        ("/stock/batch_init/1/1/-1".to_owned(), None),
        ("/orders/batch_init/1/0/1/1".to_owned(), None),
        ("/orders/batch_init/1/1/0/1".to_owned(), None),
        ("/orders/batch_init/1/1/1/-1".to_owned(), None),
        ("/orders".to_owned(), Some(items(json!([])))),
        ("/orders".to_owned(), Some(items(json!([{ "productId": item, "quantity": 0 }])))),
        ("/orders/value".to_owned(), Some(json!({ "netTotal": "-0.01" }))),
        ("/order".to_owned(), Some(ledger)),
    ] {
        let problem = caller.problem("POST", &path, body.as_ref(), (422, "rule-violated"), &["errors"]).await;
        let errors = problem.body["errors"].as_array().expect("a list");
        errors.iter().for_each(|error| fields(error, &["path", "reason"]));
    }
}

async fn what_the_state_forbids(caller: &Caller<'_>) {
    let (scarce, user) = (caller.make("/stock/item/create/10", "item_id").await, caller.callers.user(10).await);
    for (path, name, of) in [
        (format!("/payment/pay/{user}/11"), "out-of-credit", "userId"),
        (format!("/stock/subtract/{scarce}/1"), "out-of-stock", "itemId"),
    ] {
        caller.problem("POST", &path, None, (409, name), &[of, "requested", "available"]).await;
    }
    let poor = caller.make("/payment/create_user", "user_id").await;
    for (customer, name, extras, payment, stock) in [
        ("nobody".to_owned(), "account-missing", &["userId"][..], "REJECTED", "MISSING"),
        (poor, "out-of-credit", &["userId", "requested", "available"], "REJECTED", "MISSING"),
        (user.clone(), "out-of-stock", &["itemId", "requested", "available"], "ROLLEDBACK", "REJECTED"),
    ] {
        let order = caller.callers.order(&customer, &[(&scarce, 1)]).await;
        caller.problem("POST", &format!("/orders/checkout/{order}"), None, (409, name), extras).await;
        assert_eq!(caller.get(&format!("/payment/checkid/{order}")).await, payment, "{name}");
        assert_eq!(caller.get(&format!("/stock/checkid/{order}")).await, stock, "{name}");
        let deliver = format!("/orders/deliver/{order}");
        caller.problem("POST", &deliver, None, (409, "not-deliverable"), &["orderStatus"]).await;
    }
    what_items_forbid(caller, &user).await;

    let paid = caller.make(&format!("/orders/create/{user}"), "order_id").await;
    caller.post(&format!("/orders/checkout/{paid}")).await;
    let item = caller.make("/stock/item/create/10", "item_id").await;
    let cancelled = caller.make(&format!("/orders/create/{user}"), "order_id").await;
    caller.post(&format!("/orders/cancel/{cancelled}")).await;
    for (method, path) in [
        ("POST", format!("/orders/addItem/{paid}/{item}/1")),
        ("DELETE", format!("/orders/removeItem/{paid}/{item}")),
        ("POST", format!("/orders/cancel/{paid}")),
        ("POST", format!("/orders/checkout/{cancelled}")),
    ] {
        caller.problem(method, &path, None, (409, "order-closed"), &["orderStatus"]).await;
    }
}

/// An order of an item that is not there, one at another price, and two with one id.
async fn what_items_forbid(caller: &Caller<'_>, user: &str) {
    let asked = json!({ "customerRef": user, "orderItems": [{ "productId": "none", "quantity": 1 }] });
    let placed = caller.json("POST", "/orders", Some(&asked), 201).await;
    let checkout = format!("/orders/checkout/{}", placed.body["orderRef"].as_str().expect("a ref"));
    caller.problem("POST", &checkout, None, (409, "item-missing"), &["itemId"]).await;

    let item = caller.callers.item(5, 10).await;
    let id = format!("quoted-{item}");
    let quoted = |key: &str, price: i64| {
        json!({ "id": format!("{key}-{item}"), "order": {
            "orderId": id, "customerId": user, "totalPrice": price, "totalQuantity": 1,
            "items": [{ "productId": item, "price": price, "quantity": 1 }]
        } })
    };
    caller.json("POST", "/order", Some(&quoted("first", 4)), 200).await;
    let checkout = format!("/orders/checkout/{id}");
    let refused = loop {
        let answer = caller.ask("POST", &checkout, None).await;
        if answer.problem() != "order-busy" {
            break answer;
        }
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    };
    assert_eq!((refused.status, refused.problem()), (409, "price-changed"), "{refused:?}");
    caller.problem("POST", &checkout, None, (409, "price-changed"), &["itemId", "price"]).await;
    caller.problem("POST", "/order", Some(&quoted("second", 5)), (409, "id-conflict"), &["id"]).await;
    let mismatch = (422, "idempotency-mismatch");
    caller.problem("POST", "/order", Some(&quoted("first", 5)), mismatch, &[]).await;
}
