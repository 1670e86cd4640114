//! Which routes there are.
//!
//! - `campaigns`: those of campaigns and their events.
mod campaigns;

use super::{
    account, activity, delivering, delivery, described, explained, letters, listing, orders, payment, placing, sagas,
    seeds, stock, timers, vouchers,
};
use crate::gateway::{answer::Answer, ask::Ask, problem::Problem, routes::Route, streams};
use axum::http::{Method, StatusCode};
use std::{sync::Arc, time::Duration};

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;

const PAGE: [(&str, &str); 2] = [
    ("limit", "rows of the reply, 1000 unless said, at most 10000"),
    ("after", "the key behind which the page begins"),
];
const ORDERS: &[(&str, &str)] = &[
    PAGE[0],
    PAGE[1],
    ("status", "by the name of the status, without case"),
    ("customer", "by the customer, without case"),
    ("undelivered", "true: only confirmed orders that are not delivered"),
];
const DELIVERIES: &[(&str, &str)] =
    &[PAGE[0], PAGE[1], ("day", "such as 2020-07-01"), ("state", "held, refused, voided, scheduled or delivered")];

const VOUCHERS: &[(&str, &str)] = &[
    PAGE[0],
    PAGE[1],
    ("customer", "whose they are"),
    ("order", "the id of the order that earned them"),
    ("redeemed", "true or false"),
];

const LETTERS: &[(&str, &str)] = &[
    PAGE[0],
    PAGE[1],
    ("service", "of which service"),
    ("reason", "invalid, fault, exhausted or expired"),
    ("state", "parked: those that are settled are gone"),
    ("key", "the key that waits behind it"),
];
const TIMERS: &[(&str, &str)] = &[PAGE[0], ("service", "of which service"), ("key", "of which aggregate")];
const SAGAS: &[(&str, &str)] =
    &[PAGE[0], PAGE[1], ("state", "reserving or releasing"), ("older", "those that began so long ago, such as 30s")];

const NOTIFICATIONS: &[(&str, &str)] = &[
    ("customer", "of this customer: with seq, without gaps"),
    ("order", "of this order"),
    ("subjects", "such as ORDER_FINALISED_SUCCESS,PAYMENT_PROCESSED_ERROR, by name or alias"),
    ("after", "behind this id, or this position"),
    ("profile", "reservation: the four messages of a reservation alone"),
];

const STREAM: &[(&str, &str)] = &[
    ("partition", "of one partition alone; else of all"),
    ("from", "earliest, latest (unless said), or the first offset: 17 of one partition, 0:17,1:20 of several"),
    ("key", "only those with this key"),
];
const EVENTS: &[(&str, &str)] = &[PAGE[0], ("after", "the seq behind which the page begins")];

const UNKNOWN_ORDER: &[&str] = &["unknown-order"];
const LINES: &[&str] = &["unknown-order", "unknown-item", "order-busy", "order-closed", "rule-violated"];
const CHECKOUT: &[&str] = &[
    "unknown-order",
    "out-of-stock",
    "out-of-credit",
    "account-missing",
    "item-missing",
    "price-changed",
    "no-delivery-slot",
    "checkout-timeout",
    "checkout-cancelled",
    "order-busy",
    "order-closed",
    "rule-violated",
];
const RULE: &[&str] = &["rule-violated"];

const CHANGED: &str = r#"{"order_id":"7","item_id":"3","quantity":2,"total_cost":20}"#;
const SUMMARY: &str = r#"{"orderRef":"OS000001-ORD","customerRef":"ada","numberOfItems":2,"statusName":"New"}"#;
const SUMMARIES: &str = r#"[{"orderRef":"OS000001-ORD","customerRef":"ada","numberOfItems":2,"statusName":"New"}]"#;
const VALUED: &str = r#"{"orderId":"7","orderRef":"OS000001-ORD","netTotal":"150.00","vatRate":1900,
    "grandTotal":"178.50","deliverySent":false,"orderDate":"2024-07-01T12:00:00Z"}"#;
const DETAIL: &str = r#"{"orderId":"7","orderRef":"OS000001-ORD","customerId":"ada","kind":"items","status":"open",
    "attempt":1,"lastRefusal":{"reason":"out-of-stock","step":"stock","itemId":"3","requested":2,"available":1},
    "lines":[{"itemId":"3","quantity":2,"price":"0.10"}],"total":"0.20","netTotal":null,"vatRate":null,
    "grandTotal":"0.20","orderDate":"2024-07-01T12:00:00Z","deliverySent":false,"deliveredAt":null,
    "vouchers":[{"code":"ABCD","strategy":"Order.Large-Delivered-Five-Euro","value":"5.00"}]}"#;
const LEDGER: &str = r#"{"id":"a-key","order":{"orderId":"7","customerId":"ada","totalPrice":20,"totalQuantity":2,
    "items":[{"productId":"3","price":10,"quantity":2}],"status":"PENDING"}}"#;
const ENVELOPE: &str = r#"{"data":{"id":"a-key","order":{"orderId":"7","customerId":"ada","totalPrice":20,
    "totalQuantity":2,"items":[{"productId":"3","price":10,"quantity":2}]}}}"#;
const LEDGER_OF: &str = r#"{"order":{"order":{"orderId":"7","customerId":"ada","totalPrice":20,"totalQuantity":2,
    "items":[{"productId":"3","price":10,"quantity":2}],"status":"COMPLETE"}}}"#;
const CHECKED_OUT: &str =
    r#"{"order_id":"7","paid":true,"status":"completed","total_cost":20,"attempt":1,"alreadyPaid":false}"#;
const FOUND: &str =
    r#"{"order_id":"7","paid":false,"items":[["3",2]],"user_id":"1","total_cost":20,"status":"pending"}"#;
const DELIVERY: &str = r#"{"orderId":"7","customerId":"ada","day":"2024-07-02","state":"scheduled"}"#;
const VOUCHER: &str = r#"{"code":"0001V4Q8X2ZJ7C5D9N3M","orderId":"7",
    "strategy":"Order.Large-Delivered-Five-Euro","kind":"absolute","value":"5.00","customerId":"ada",
    "createdAt":"2024-07-02T12:00:00Z","expiresAt":null,"redeemed":false,"redeemedAt":null}"#;
const VOUCHER_LIST: &str = r#"[{"code":"0001V4Q8X2ZJ7C5D9N3M","orderId":"7",
    "strategy":"Order.Large-Delivered-Five-Euro","kind":"absolute","value":"5.00","customerId":"ada",
    "createdAt":"2024-07-02T12:00:00Z","expiresAt":null,"redeemed":false,"redeemedAt":null}]"#;
const LETTER: &str = r#"{"id":"voucher-2-17","service":"voucher","partition":2,"key":"7/Order.Large-Delivered-Five-Euro",
    "reason":"exhausted","error":"it wanted to wait 3 times","state":"parked",
    "source":{"topic":"order","partition":1,"offset":93,"at":"2024-07-02T12:00:00Z"},"tries":3,"redriven":0,"parked":0,
    "firstAt":"2024-07-02T12:00:30Z","lastAt":"2024-07-02T12:00:30Z",
    "input":{"kind":"command","name":"Consider","data":{"strategy":"Order.Large-Delivered-Five-Euro"}}}"#;
const LETTER_LIST: &str = r#"[{"id":"voucher-2-17","service":"voucher","partition":2,"key":"7/Order.Large-Delivered-Five-Euro",
    "reason":"exhausted","error":"it wanted to wait 3 times","state":"parked",
    "source":{"topic":"order","partition":1,"offset":93,"at":"2024-07-02T12:00:00Z"},"tries":3,"redriven":0,"parked":0,
    "firstAt":"2024-07-02T12:00:30Z","lastAt":"2024-07-02T12:00:30Z"}]"#;
const TIMER_LIST: &str =
    r#"[{"id":"order-1-5","service":"order","key":"7","due":"2024-07-02T12:00:10Z","purpose":"Deadline"}]"#;
const SAGA: &str = r#"{"orderId":"7","attempt":1,"state":"confirmed","step":null,"since":null,"deadline":null,
    "timeline":[{"at":"2024-07-02T12:00:00Z","partition":"order/1","offset":93,"event":"CheckoutStarted","term":2,
    "tookMs":0}]}"#;
const SAGA_LIST: &str = r#"[{"orderId":"7","attempt":1,"state":"reserving","step":"payment","since":"2024-07-02T12:00:00Z",
    "deadline":"2024-07-02T12:00:10Z"}]"#;
const ACCOUNT: &str = r#"{"customerId":"ada","balance":10,"orders":[{"id":"7","ref":"OS000001-ORD",
    "status":"confirmed","total":20}],"vouchers":[{"code":"ABCD","value":"5.00","redeemed":false}],"seq":12}"#;
const CUSTOMER_EVENTS: &str = r#"[{"customerId":"ada","seq":1,"at":"2024-07-01T12:00:00Z",
    "source":{"topic":"order","partition":2,"offset":17},"event":"OrderPlaced",
    "subjects":["ORDER_CREATE","ORDER_PLACED_SUCCESS"],"orderId":"7","balance":null}]"#;
const PROFILE: &str = r#"{"displayName":"Ada","contact":"ada@example.com"}"#;
const ACTIVITIES: &str = r#"[{"activityDate":"2024-07-01","activityTypeCode":"ORDER_CREATED",
    "activityTypeName":"Order Created","quantity":3}]"#;
const CREDIT: &str = r#"{"user_id":"1","credit":10}"#;
const FREE: &str = r#"{"item_id":"3","stock":5}"#;

/// See the module. Replies about campaigns may be kept for so long.
pub(super) fn table(campaign_max_age: Duration) -> Vec<Route> {
    let campaigns = campaigns::campaigns(campaign_max_age);
    let orders = [orders_by_line(), orders_as_a_whole()];
    let all = orders.into_iter().chain([others(), told_by_orders(), vouchers(), campaigns, operators(), pages()]);
    all.flatten().collect()
}

fn orders_by_line() -> Vec<Route> {
    vec![
        post("/orders/create/{user_id}", "Makes an order without lines", orders::create).gives(
            OK,
            "it is made",
            r#"{"order_id":"7"}"#,
        ),
        post("/orders/batch_init/{n}/{n_items}/{n_users}/{item_price}", "Makes orders 0 to n-1 new", seeds::orders)
            .gives(OK, "all are made", r#"{"msg":"Batch init for orders successful"}"#)
            .refuses(RULE),
        get("/orders/find/{order_id}", "An order", orders::find).gives(OK, "the order", FOUND).refuses(UNKNOWN_ORDER),
        post("/orders/addItem/{order_id}/{item_id}", "Adds one of an item, at its price", orders::add_item)
            .gives(OK, "the line is there", CHANGED)
            .refuses(LINES),
        post("/orders/addItem/{order_id}/{item_id}/{quantity}", "Adds so many of an item", orders::add_item)
            .gives(OK, "the line is there", CHANGED)
            .refuses(LINES),
        delete("/orders/removeItem/{order_id}/{item_id}", "Removes the newest line of an item", orders::remove_item)
            .gives(OK, "the line is gone", CHANGED)
            .refuses(LINES),
        post("/orders/checkout/{order_id}", "Pays an order and takes its items", orders::checkout)
            .gives(OK, "it is paid", CHECKED_OUT)
            .gives(StatusCode::ACCEPTED, "it has begun, as Prefer: respond-async asked", "")
            .refuses(CHECKOUT),
        post("/orders/cancel/{order}", "Cancels an order that is not paid", orders::cancel)
            .gives(OK, "it is cancelled", DETAIL)
            .refuses(&["unknown-order", "order-closed"]),
    ]
}

fn orders_as_a_whole() -> Vec<Route> {
    vec![
        get("/orders", "All orders", listing::all).query(ORDERS).gives(OK, "a page of them", SUMMARIES),
        post("/orders", "Places an order for items, to be priced when it is checked out", placing::items)
            .body(r#"{"customerRef":"ada","orderItems":[{"productId":"3","quantity":2}]}"#)
            .gives(CREATED, "it is placed", SUMMARY)
            .refuses(RULE),
        get("/orders/customer/{customer_ref}", "The orders of a customer, without case", listing::of_customer)
            .query(&PAGE)
            .gives(OK, "a page of them", SUMMARIES),
        get("/orders/{order_ref}", "An order in short", listing::one)
            .gives(OK, "the order", SUMMARY)
            .refuses(UNKNOWN_ORDER),
        get("/orders/detail/{order}", "Everything about an order", orders::detail)
            .gives(OK, "the order", DETAIL)
            .refuses(UNKNOWN_ORDER),
        post("/orders/value", "Places an order for an amount; without one, for 150.00", placing::value)
            .body(r#"{"netTotal":"150.00","customerId":"ada","orderDate":"2024-07-01T12:00:00Z"}"#)
            .gives(CREATED, "it is placed, and confirmed", VALUED)
            .refuses(RULE),
        post("/orders/deliver/{order}", "Marks a confirmed order as delivered", delivering::deliver)
            .gives(OK, "it is delivered", VALUED)
            .refuses(&["unknown-order", "not-deliverable"]),
        post("/orders/deliver-next", "Marks the earliest undelivered order as delivered", delivering::next)
            .gives(OK, "it is delivered", VALUED)
            .refuses(&["no-undelivered-order"]),
        get("/order/{id}", "An order with its totals", placing::ledger_of)
            .gives(OK, "the order", LEDGER_OF)
            .refuses(UNKNOWN_ORDER),
        post("/order", "Places an order with prices, and begins its checkout", placing::ledger)
            .body(ENVELOPE)
            .gives(OK, "it is placed, and its checkout has begun", LEDGER)
            .refuses(&["id-conflict", "rule-violated"]),
    ]
}

fn others() -> Vec<Route> {
    vec![
        post("/payment/create_user", "Opens an account", payment::create).gives(OK, "it is open", r#"{"user_id":"1"}"#),
        get("/payment/find_user/{user_id}", "What a user has", payment::find)
            .gives(OK, "the account", CREDIT)
            .refuses(&["unknown-user"]),
        post("/payment/add_funds/{user_id}/{amount}", "Adds to what a user has", payment::add_funds)
            .gives(OK, "it is added", CREDIT)
            .refuses(&["unknown-user", "rule-violated"]),
        post("/payment/pay/{user_id}/{amount}", "Takes from what a user has", payment::pay)
            .gives(OK, "it is paid", CREDIT)
            .refuses(&["unknown-user", "out-of-credit", "rule-violated"]),
        post("/payment/batch_init/{n}/{starting_money}", "Makes users 0 to n-1 new", seeds::users)
            .gives(OK, "all are made", r#"{"msg":"Batch init for users successful"}"#)
            .refuses(RULE),
        get("/payment/checkid/{order_id}", "What became of the payment of an order", payment::check).gives(
            OK,
            "MISSING, PAID, REJECTED or ROLLEDBACK",
            r#""PAID""#,
        ),
        post("/stock/item/create/{price}", "Makes an item of which there is none", stock::create)
            .gives(OK, "it is made", r#"{"item_id":"3"}"#)
            .refuses(RULE),
        get("/stock/find/{item_id}", "How many of an item are free", stock::find)
            .gives(OK, "the item", r#"{"stock":5,"price":10}"#)
            .refuses(&["unknown-item"]),
        post("/stock/add/{item_id}/{amount}", "Adds to an item", stock::add)
            .gives(OK, "it is added", FREE)
            .refuses(&["unknown-item", "rule-violated"]),
        post("/stock/subtract/{item_id}/{amount}", "Takes from an item", stock::subtract)
            .gives(OK, "it is taken", FREE)
            .refuses(&["unknown-item", "out-of-stock", "rule-violated"]),
        post("/stock/batch_init/{n}/{starting_stock}/{item_price}", "Makes items 0 to n-1 new", seeds::items)
            .gives(OK, "all are made", r#"{"msg":"Batch init for stock successful"}"#)
            .refuses(RULE),
        get("/stock/checkid/{order_id}", "What became of the stock of an order", stock::check).gives(
            OK,
            "MISSING, PAID, REJECTED or ROLLEDBACK",
            r#""PAID""#,
        ),
        get("/deliveries", "All deliveries", delivery::all).query(DELIVERIES).gives(
            OK,
            "a page of them",
            r#"[{"orderId":"7","customerId":"ada","day":"2024-07-02","state":"held"}]"#,
        ),
        get("/deliveries/{order}", "The delivery of an order", delivery::one)
            .gives(OK, "the delivery", DELIVERY)
            .refuses(&["unknown-delivery"]),
    ]
}

fn vouchers() -> Vec<Route> {
    vec![
        get("/vouchers", "All vouchers", vouchers::all).query(VOUCHERS).gives(OK, "a page of them", VOUCHER_LIST),
        get("/vouchers/{code}", "A voucher", vouchers::one)
            .gives(OK, "the voucher", VOUCHER)
            .refuses(&["unknown-voucher"]),
        post("/vouchers/{code}/redeem", "Redeems a voucher", vouchers::redeem)
            .body(r#"{"customerId":"ada","orderId":"8"}"#)
            .gives(OK, "it is redeemed", VOUCHER)
            .refuses(&["unknown-voucher", "voucher-redeemed", "voucher-expired", "voucher-owner"]),
    ]
}

fn operators() -> Vec<Route> {
    vec![
        get("/dead-letters", "Inputs that could not be decided", letters::all).query(LETTERS).gives(
            OK,
            "a page of them; Corduroy-Count says how many there are",
            LETTER_LIST,
        ),
        post("/dead-letters/redrive", "Runs those again that a filter names", letters::redrive_all)
            .body(r#"{"service":"voucher","reason":"exhausted"}"#)
            .gives(StatusCode::ACCEPTED, "they have run", r#"{"redriven":2,"failed":0}"#),
        get("/dead-letters/{id}", "A dead letter, with what was to be decided", letters::one)
            .gives(OK, "the dead letter", LETTER)
            .refuses(&["unknown-dead-letter"]),
        post("/dead-letters/{id}/redrive", "Runs a dead letter again", letters::redrive)
            .gives(StatusCode::ACCEPTED, "it has run; if it failed again it is found where it was", "")
            .refuses(&["unknown-dead-letter", "dead-letter-settled"]),
        post("/dead-letters/{id}/discard", "Gives a dead letter up; what waits behind it goes on", letters::discard)
            .body(r#"{"reason":"a duplicate"}"#)
            .gives(OK, "it is no more", r#"{"id":"voucher-2-17","state":"discarded","reason":"a duplicate"}"#)
            .refuses(&["unknown-dead-letter", "dead-letter-settled", "rule-violated"]),
        get("/timers", "Timers that are set", timers::all).query(TIMERS).gives(OK, "those due first", TIMER_LIST),
        get("/sagas", "Checkouts that are under way", sagas::all).query(SAGAS).gives(OK, "a page of them", SAGA_LIST),
        get("/sagas/{order}", "How an order came to be what it is", sagas::one)
            .gives(OK, "the checkout, with all that has happened", SAGA)
            .refuses(UNKNOWN_ORDER),
    ]
}

/// What is kept of what happens to orders.
fn told_by_orders() -> Vec<Route> {
    vec![
        get("/accounts/{customer}", "A customer: balance, orders and vouchers", account::find)
            .gives(OK, "as far as it was told of", ACCOUNT)
            .refuses(&["unknown-user"]),
        get("/accounts/{customer}/events", "What has concerned a customer, one after the other", account::events)
            .query(EVENTS)
            .gives(OK, "a page of them; Corduroy-First says which is the first that can be had", CUSTOMER_EVENTS)
            .refuses(&["unknown-user"]),
        put("/accounts/{customer}/profile", "How a customer is called and reached", account::set_profile)
            .body(PROFILE)
            .gives(
                OK,
                "so it is from now on",
                r#"{"customerId":"ada","displayName":"Ada","contact":"ada@example.com"}"#,
            )
            .refuses(&["unknown-user", "rule-violated"]),
        get("/activities/{date}", "How much of what happened on a day, in UTC", activity::of_day).gives(
            OK,
            "what occurred; Corduroy-Lag says how many events of orders are not counted yet",
            ACTIVITIES,
        ),
    ]
}

fn pages() -> Vec<Route> {
    vec![
        get("/streams/{topic}", "The records of a topic, as they come", streams::topic)
            .query(STREAM)
            .media("text/event-stream")
            .gives(OK, "server-sent events; what was seen is named by Last-Event-ID", "")
            .refuses(&["unknown-topic", "rule-violated"]),
        get("/notifications", "What happens to orders, as it happens: a WebSocket", streams::notifications)
            .query(NOTIFICATIONS)
            .media("application/json")
            .gives(StatusCode::SWITCHING_PROTOCOLS, "messages; what was seen is named by after", "")
            .refuses(RULE),
        get("/ws", "The same", streams::notifications)
            .query(NOTIFICATIONS)
            .media("application/json")
            .gives(StatusCode::SWITCHING_PROTOCOLS, "messages; what was seen is named by after", "")
            .refuses(RULE),
        get("/openapi.json", "This document", described).gives(OK, "this document", r#"{"openapi":"3.1.0"}"#),
        get("/problems/{name}", "What a problem means, and what to do about it", explained)
            .media("text/html")
            .gives(OK, "a page", "")
            .refuses(&["not-found"]),
    ]
}

fn get<F>(path: &'static str, summary: &'static str, handler: impl Fn(Arc<Ask>) -> F + Send + Sync + 'static) -> Route
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    Route::new(Method::GET, path, summary, handler)
}

fn post<F>(path: &'static str, summary: &'static str, handler: impl Fn(Arc<Ask>) -> F + Send + Sync + 'static) -> Route
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    Route::new(Method::POST, path, summary, handler)
}

fn put<F>(path: &'static str, summary: &'static str, handler: impl Fn(Arc<Ask>) -> F + Send + Sync + 'static) -> Route
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    Route::new(Method::PUT, path, summary, handler)
}

fn patch<F>(path: &'static str, summary: &'static str, handler: impl Fn(Arc<Ask>) -> F + Send + Sync + 'static) -> Route
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    Route::new(Method::PATCH, path, summary, handler)
}

fn delete<F>(
    path: &'static str,
    summary: &'static str,
    handler: impl Fn(Arc<Ask>) -> F + Send + Sync + 'static,
) -> Route
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    Route::new(Method::DELETE, path, summary, handler)
}
