//! What every route of orders, payment and stock answers: exactly these fields.
use crate::harness::{Answer, Callers};
use serde_json::{Value, json};

const KEY: &str = "idempotency-key";

const SUMMARY: &[&str] = &["orderRef", "customerRef", "numberOfItems", "statusName"];
const VALUED: &[&str] = &["orderId", "orderRef", "netTotal", "vatRate", "grandTotal", "deliverySent", "orderDate"];
#[rustfmt::skip]
const DETAIL: &[&str] = &[
    "orderId", "orderRef", "customerId", "kind", "status", "attempt", "lastRefusal", "lines", "total", "netTotal",
    "vatRate", "grandTotal", "orderDate", "deliverySent", "deliveredAt", "vouchers",
];

/// Asks one node, with the first part of every path in one case.
pub struct Caller<'a> {
    pub callers: &'a Callers,
    pub node: usize,
    upper: bool,
}

impl Caller<'_> {
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let behind = path[1..].find(['/', '?']).map_or(path.len(), |at| at + 1);
        let (first, rest) = path.split_at(behind);
        let first = if self.upper { first.to_uppercase() } else { first.to_owned() };
        let answer = self.callers.ask(self.node, method, &format!("{first}{rest}"), &[], body).await;
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let node = (self.node + 1).to_string();
        assert_eq!(answer.header("corduroy-node"), Some(&*node), "{method} {path}: {answer:?}");
        assert_eq!(answer.header(KEY).is_some(), method != "GET", "{method} {path}: {answer:?}");
        answer
    }

    /// A good answer in JSON.
    pub async fn json(&self, method: &str, path: &str, body: Option<&Value>, status: u16) -> Answer {
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}: {answer:?}");
        assert!(answer.header("corduroy-session").is_some(), "{method} {path}: {answer:?}");
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        self.json("GET", path, None, 200).await.body
    }

    pub async fn post(&self, path: &str) -> Value {
        self.json("POST", path, None, 200).await.body
    }

    /// Makes something, whose id is all there is in the answer.
    pub async fn make(&self, path: &str, name: &str) -> String {
        let made = self.post(path).await;
        fields(&made, &[name]);
        made[name].as_str().expect("an id").to_owned()
    }

    /// A refusal, with more to go on.
    pub async fn problem(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        is: (u16, &str),
        extras: &[&str],
    ) -> Answer {
        let answer = self.ask(method, path, body).await;
        assert_eq!((answer.status, answer.problem()), is, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}: {answer:?}");
        assert_eq!(answer.body["type"], format!("/problems/{}", is.1), "{method} {path}: {answer:?}");
        assert_eq!(answer.body["status"], is.0, "{method} {path}: {answer:?}");
        let instance = answer.body["instance"].as_str().unwrap_or_default();
        let asked = path.split('?').next().unwrap_or_default();
        assert!(instance.eq_ignore_ascii_case(asked), "{method} {path}: {answer:?}");
        let key = answer.header(KEY).into_iter().map(|_| "idempotencyKey");
        let usual = ["type", "title", "status", "detail", "instance"].into_iter().chain(key);
        let expected: Vec<&str> = usual.chain(extras.iter().copied()).collect();
        fields(&answer.body, &expected);
        answer
    }
}

/// An object has these fields and no others.
#[track_caller]
pub fn fields(object: &Value, expected: &[&str]) {
    let mut is: Vec<&str> = object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut expected = expected.to_vec();
    is.sort_unstable();
    expected.sort_unstable();
    assert_eq!(is, expected, "{object}");
}

/// Through every node, in either case.
pub fn callers_of(callers: &Callers) -> impl Iterator<Item = Caller<'_>> {
    (0..callers.nodes()).flat_map(move |node| [false, true].map(|upper| Caller { callers, node, upper }))
}

/// A17: through every node, in either case.
pub async fn every_route_answers_exactly_its_fields(callers: &Callers) {
    for caller in callers_of(callers) {
        let (user, item) = payment_and_stock(&caller).await;
        orders_line_by_line(&caller, &user, &item).await;
        orders_as_a_whole(&caller, &item).await;
        orders_for_amounts(&caller).await;
    }
}

/// A user with 90, and an item of which there are 18, at 10.
async fn payment_and_stock(caller: &Caller<'_>) -> (String, String) {
    let made = caller.post("/payment/batch_init/3/40").await;
    assert_eq!(made, json!({ "msg": "Batch init for users successful" }));
    assert_eq!(caller.get("/payment/find_user/2").await, json!({ "user_id": "2", "credit": 40 }));
    let user = caller.make("/payment/create_user", "user_id").await;
    let found = |credit: i64| json!({ "user_id": user, "credit": credit });
    assert_eq!(caller.get(&format!("/payment/find_user/{user}")).await, found(0));
    assert_eq!(caller.post(&format!("/payment/add_funds/{user}/100")).await, found(100));
    assert_eq!(caller.post(&format!("/payment/add_funds/{user}/0")).await, found(100));
    assert_eq!(caller.post(&format!("/payment/pay/{user}/10")).await, found(90));
    assert_eq!(caller.post(&format!("/payment/pay/{user}/0")).await, found(90));
    assert_eq!(caller.get(&format!("/payment/find_user/{user}/")).await, found(90), "a slash at the end is accepted");

    let made = caller.post("/stock/batch_init/3/40/7").await;
    assert_eq!(made, json!({ "msg": "Batch init for stock successful" }));
    assert_eq!(caller.get("/stock/find/2").await, json!({ "stock": 40, "price": 7 }));
    let item = caller.make("/stock/item/create/10", "item_id").await;
    let changed = |stock: i64| json!({ "item_id": item, "stock": stock });
    assert_eq!(caller.get(&format!("/stock/find/{item}")).await, json!({ "stock": 0, "price": 10 }));
    assert_eq!(caller.post(&format!("/stock/add/{item}/20")).await, changed(20));
    assert_eq!(caller.post(&format!("/stock/add/{item}/0")).await, changed(20));
    assert_eq!(caller.post(&format!("/stock/subtract/{item}/2")).await, changed(18));
    assert_eq!(caller.post(&format!("/stock/subtract/{item}/0")).await, changed(18));
    (user, item)
}

async fn orders_line_by_line(caller: &Caller<'_>, user: &str, item: &str) {
    let made = caller.post("/orders/batch_init/3/3/3/7").await;
    assert_eq!(made, json!({ "msg": "Batch init for orders successful" }));
    let found = caller.get("/orders/find/2").await;
    fields(&found, &["order_id", "paid", "items", "user_id", "total_cost", "status"]);
    assert_eq!((&found["paid"], &found["total_cost"]), (&json!(false), &json!(14)), "{found}");

    let order = caller.make(&format!("/orders/create/{user}"), "order_id").await;
    let find = format!("/orders/find/{order}");
    let found = |items: Value, paid: bool, total: i64| {
        let status = if paid { "completed" } else { "pending" };
        json!({
            "order_id": order, "paid": paid, "items": items, "user_id": user, "total_cost": total, "status": status
        })
    };
    assert_eq!(caller.get(&find).await, found(json!([]), false, 0));
    let changed = |quantity: i64, cost: i64| {
        json!({
            "order_id": order, "item_id": item, "quantity": quantity, "total_cost": cost
        })
    };
    assert_eq!(caller.post(&format!("/orders/addItem/{order}/{item}")).await, changed(1, 10));
    assert_eq!(caller.post(&format!("/orders/addItem/{order}/{item}/3")).await, changed(3, 40));
    assert_eq!(caller.post(&format!("/orders/addItem/{order}/{item}/2")).await, changed(2, 60));
    let removed = caller.json("DELETE", &format!("/orders/removeItem/{order}/{item}"), None, 200).await;
    assert_eq!(removed.body, changed(2, 40));
    assert_eq!(caller.get(&find).await, found(json!([[item, 1], [item, 3]]), false, 40), "they are not merged");

    for of in ["payment", "stock"] {
        assert_eq!(caller.get(&format!("/{of}/checkid/{order}")).await, "MISSING");
    }
    for already in [false, true] {
        let expected = json!({
            "order_id": order, "paid": true, "status": "completed", "total_cost": 40, "attempt": 1,
            "alreadyPaid": already
        });
        assert_eq!(caller.post(&format!("/orders/checkout/{order}")).await, expected);
    }
    assert_eq!(caller.get(&find).await, found(json!([[item, 1], [item, 3]]), true, 40));
    for of in ["payment", "stock"] {
        assert_eq!(caller.get(&format!("/{of}/checkid/{order}")).await, "PAID");
    }
    let detail = caller.get(&format!("/orders/detail/{order}")).await;
    fields(&detail, DETAIL);
    fields(&caller.post(&format!("/orders/deliver/{order}")).await, VALUED);

    let order = caller.make(&format!("/orders/create/{user}"), "order_id").await;
    let cancelled = caller.post(&format!("/orders/cancel/{order}")).await;
    fields(&cancelled, DETAIL);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
}

async fn orders_as_a_whole(caller: &Caller<'_>, item: &str) {
    let customer = format!("Ada-{}-{}", caller.node, caller.upper);
    let asked = json!({ "customerRef": customer, "orderItems": [{ "productId": item, "quantity": 2, "more": 1 }] });
    let made = caller.json("POST", "/orders", Some(&asked), 201).await;
    fields(&made.body, SUMMARY);
    let order_ref = made.body["orderRef"].as_str().expect("a ref").to_owned();
    assert_eq!(made.header("location"), Some(&*format!("/Orders/{order_ref}")), "{made:?}");
    let summary = json!({ "orderRef": order_ref, "customerRef": customer, "numberOfItems": 1, "statusName": "New" });
    assert_eq!(made.body, summary);
    assert_eq!(caller.get(&format!("/orders/{order_ref}")).await, summary);
    assert_eq!(caller.get(&format!("/orders/{}", order_ref.to_lowercase())).await, summary);
    assert_eq!(caller.get(&format!("/orders/customer/{}", customer.to_lowercase())).await, json!([summary]));
    assert_eq!(caller.get(&format!("/orders?customer={customer}&status=new")).await, json!([summary]));
    assert_eq!(caller.get("/orders/customer/nobody-at-all").await, json!([]));
    let page = caller.json("GET", "/orders?limit=1", None, 200).await;
    assert!(page.header("link").is_some_and(|link| link.ends_with("rel=\"next\"")), "{page:?}");
    page.body.as_array().expect("a list").iter().for_each(|summary| fields(summary, SUMMARY));

    let id = format!("ledger-{customer}");
    let order = json!({
        "orderId": id, "customerId": customer, "totalPrice": 20, "totalQuantity": 2,
        "items": [{ "productId": item, "price": 10, "quantity": 2 }]
    });
    let posted = caller.json("POST", "/order", Some(&json!({ "data": { "id": &id, "order": order } })), 200).await;
    fields(&posted.body, &["id", "order"]);
    let ledger =
        |order: &Value| fields(order, &["orderId", "customerId", "totalPrice", "totalQuantity", "items", "status"]);
    ledger(&posted.body["order"]);
    let found = caller.get(&format!("/order/{id}")).await;
    fields(&found, &["order"]);
    fields(&found["order"], &["order"]);
    ledger(&found["order"]["order"]);
}

async fn orders_for_amounts(caller: &Caller<'_>) {
    let made = caller.json("POST", "/orders/value", None, 201).await;
    fields(&made.body, VALUED);
    assert_eq!((&made.body["netTotal"], &made.body["deliverySent"]), (&json!("150.00"), &json!(false)), "{made:?}");
    let dated = json!({ "netTotal": "100.5", "customerId": "ada", "orderDate": "2020-07-01T00:00:00Z" });
    let made = caller.json("POST", "/orders/value", Some(&dated), 201).await;
    fields(&made.body, VALUED);
    assert_eq!((&made.body["vatRate"], &made.body["grandTotal"]), (&json!(1600), &json!("116.58")), "{made:?}");
    let next = caller.post("/orders/deliver-next").await;
    fields(&next, VALUED);
    assert_eq!(
        (&next["orderId"], &next["deliverySent"]),
        (&made.body["orderId"], &json!(true)),
        "the earliest: {next}"
    );
    // Whatever else is due.
    loop {
        let answer = caller.ask("POST", "/orders/deliver-next", None).await;
        if answer.status == 404 {
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        fields(&answer.body, VALUED);
    }
    caller.problem("POST", "/orders/deliver-next", None, (404, "no-undelivered-order"), &["hint"]).await;
}
