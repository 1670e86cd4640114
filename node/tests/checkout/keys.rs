//! One request, sent more than once.
use super::all;
use crate::harness::{Answer, Callers};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const KEY: &str = "idempotency-key";

async fn ask(callers: &Callers, node: usize, method: &str, path: &str, key: &str, body: Option<&Value>) -> Answer {
    let answer = callers.ask(node, method, path, &[(KEY, key)], body).await.expect("the node runs");
    assert_eq!(answer.header(KEY), Some(key), "{answer:?}");
    answer
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replay") == Some("true")
}

/// A45: the second answer is the first one, of whatever kind, through another node; another request is none of it.
pub async fn the_same_request_twice_is_answered_alike(callers: &Callers) {
    let (item, user, poor) = (callers.item(3, 100).await, callers.user(100).await, callers.user(0).await);
    let order = callers.order(&user, &[(&item, 2), (&item, 7)]).await;
    let (unpaid, gone) = (callers.order(&poor, &[(&item, 1)]).await, callers.order(&user, &[]).await);
    let placed = json!({ "customerRef": "ada", "orderItems": [{ "productId": item, "quantity": 2 }] });
    let ledger = json!({ "id": "another-key", "order": {
        "orderId": "written-twice", "customerId": user, "totalPrice": 3, "totalQuantity": 1,
        "items": [{ "productId": item, "price": 3, "quantity": 1 }]
    } });
    let requests = [
        ("POST", "/payment/create_user".to_owned(), None, 200),
        ("POST", format!("/payment/add_funds/{user}/5"), None, 200),
        ("POST", format!("/payment/pay/{user}/5"), None, 200),
        ("POST", format!("/payment/pay/{poor}/5"), None, 409),
        ("POST", "/payment/add_funds/nobody/5".to_owned(), None, 404),
        ("POST", "/stock/item/create/5".to_owned(), None, 200),
        ("POST", format!("/stock/add/{item}/5"), None, 200),
        ("POST", format!("/stock/subtract/{item}/5"), None, 200),
        ("POST", format!("/orders/create/{user}"), None, 200),
        ("POST", format!("/orders/addItem/{order}/{item}/4"), None, 200),
        ("DELETE", format!("/orders/removeItem/{order}/{item}"), None, 200),
        ("POST", format!("/orders/checkout/{order}"), None, 200),
        ("POST", format!("/orders/checkout/{unpaid}"), None, 409),
        ("POST", format!("/orders/cancel/{gone}"), None, 200),
        ("POST", "/orders".to_owned(), Some(&placed), 201),
        ("POST", "/orders/value".to_owned(), None, 201),
        ("POST", "/orders/deliver-next".to_owned(), None, 200),
        ("POST", "/order".to_owned(), Some(&ledger), 200),
    ];
    for (at, (method, path, body, status)) in requests.iter().enumerate() {
        let key = format!("twice-{at}");
        let first = ask(callers, at, method, path, &key, *body).await;
        assert_eq!((first.status, is_replay(&first)), (*status, false), "{method} {path}: {first:?}");
        for turn in 1..=callers.nodes() {
            let again = ask(callers, at + turn, method, path, &key, *body).await;
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{method} {path}: {again:?}");
            assert_eq!(again.header("location"), first.header("location"), "{method} {path}: {again:?}");
            assert!(is_replay(&again), "{method} {path}: {again:?}");
        }
    }
    // Each had one effect: 100 + 5 - 5 of both, without what the two orders cost and have. The lines are 2 and 7.
    let settled = callers.post(0, "/orders/checkout/written-twice").await;
    assert_eq!((settled.status, &settled.body["attempt"]), (200, &json!(1)), "{settled:?}");
    assert_eq!((callers.credit(1, &user).await, callers.stock(2, &item).await), (100 - 3 * 9 - 3, 100 - 9 - 1));

    callers.post(0, &format!("/payment/add_funds/{poor}/3")).await;
    let stored = ask(callers, 1, "POST", &format!("/orders/checkout/{unpaid}"), "twice-12", None).await;
    assert_eq!((stored.status, stored.problem()), (409, "out-of-credit"), "a refusal is kept too: {stored:?}");
    let anew = callers.post(2, &format!("/orders/checkout/{unpaid}")).await;
    assert_eq!((anew.status, &anew.body["attempt"]), (200, &json!(2)), "{anew:?}");

    let other = json!({ "customerRef": "ada", "orderItems": [{ "productId": item, "quantity": 3 }] });
    for (path, body) in [("/orders", Some(&other)), ("/orders/value", None)] {
        let refused = ask(callers, 0, "POST", path, "twice-14", body).await;
        assert_eq!((refused.status, refused.problem()), (422, "idempotency-mismatch"), "{refused:?}");
        assert_eq!(refused.body["idempotencyKey"], "twice-14", "{refused:?}");
    }
    let other = format!("/payment/add_funds/{user}/6");
    let refused = ask(callers, 1, "POST", &other, "twice-1", None).await;
    assert_eq!((refused.status, refused.problem()), (422, "idempotency-mismatch"), "{refused:?}");
}

/// A45: twenty at once, through all nodes.
pub async fn the_same_request_at_once_has_one_effect(callers: &Callers) {
    let (item, user) = (callers.item(10, 100).await, callers.user(100).await);
    let order = callers.order(&user, &[(&item, 1)]).await;
    for (at, path) in [
        format!("/payment/add_funds/{user}/7"),
        format!("/stock/add/{item}/7"),
        format!("/orders/addItem/{order}/{item}/2"),
        format!("/orders/checkout/{order}"),
        "/payment/create_user".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let key = format!("twenty-{at}");
        let asked = (0..20).map(|turn| ask(callers, turn, "POST", path, &key, None));
        let answers = all(20, asked).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{path}: {answers:?}");
        let bodies: BTreeSet<String> = answers.iter().map(|answer| answer.body.to_string()).collect();
        assert_eq!(bodies.len(), 1, "{path}: {bodies:?}");
        let first = answers.iter().filter(|answer| !is_replay(answer)).count();
        // Those that came while it was done got its answer at once.
        assert!(first >= 1, "{path}: nobody did it: {answers:?}");
    }
    assert_eq!((callers.credit(0, &user).await, callers.stock(1, &item).await), (77, 104));
}

/// R52: with as many keys as may be remembered new ones are refused, and those that are remembered are answered as before.
pub async fn a_full_quota_refuses_new_keys(callers: &Callers) {
    let (method, path) = ("POST", "/payment/create_user");
    let first = ask(callers, 0, method, path, "first", None).await;
    let second = ask(callers, 1, method, path, "second", None).await;
    assert_eq!((first.status, second.status), (200, 200), "{first:?} {second:?}");
    for node in 0..callers.nodes() {
        let refused = ask(callers, node, method, path, "third", None).await;
        assert_eq!((refused.status, refused.problem()), (429, "rate-limited"), "{refused:?}");
        assert_eq!(refused.body["partition"], "payment/0", "{refused:?}");
        let after: u64 = refused.header("retry-after").expect("it says when").parse().expect("seconds");
        assert!((80_000..=86_400).contains(&after), "{after}");
        let again = ask(callers, node, method, path, "first", None).await;
        assert_eq!((again.status, &again.body, is_replay(&again)), (200, &first.body, true), "{again:?}");
    }
    let without = callers.post(2, path).await;
    assert_eq!(without.status, 200, "a key that a gateway made counts for nobody: {without:?}");
}
