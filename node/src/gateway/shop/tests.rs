//! The routes of a node that has no log yet: what is answered without asking anybody.
#[cfg(feature = "testing")]
mod live;

use super::{routes, table::table};
use crate::{
    gateway::{NODE_ROUTES, application, openapi, problem},
    node::NodeServices,
    runtime::Registry,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tower::ServiceExt;

const MAX_AGE: Duration = Duration::from_secs(100);

struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Said {
    fn problem(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(problem["status"], self.status.as_u16());
        problem
    }

    fn name(&self) -> String {
        let problem = self.problem();
        let name = problem["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
        name.expect("a kind of problem").to_owned()
    }
}

fn node() -> Router {
    let shop = routes(NodeServices::new(&Registry::default()), MAX_AGE);
    application(3, shop.fallback(problem::not_found))
}

async fn ask(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
    ask_of(node(), method, path, headers, body).await
}

async fn ask_of(node: Router, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
    let request = headers
        .iter()
        .fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(*name, *value));
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = node.oneshot(request).await.expect("routers answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("it is in memory").to_vec();
    Said { status, headers, body }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    for (method, path, allow) in [
        (Method::PUT, "/orders", "GET,HEAD,POST"),
        (Method::POST, "/events/live", "GET,HEAD"),
        (Method::POST, "/Event-Campaigns/7/", "DELETE,GET,HEAD,PATCH,PUT"),
        (Method::GET, "/orders/value", "POST"),
        (Method::POST, "/Orders/find/1/", "GET,HEAD"),
    ] {
        let said = ask(method, path, &[], "").await;
        assert_eq!(said.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let mut allowed: Vec<_> = said.headers["allow"].to_str().expect("text").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow);
        assert_eq!(said.name(), "method-not-allowed");
    }
}

#[tokio::test]
async fn what_is_nowhere_is_not_found() {
    for path in ["/nothing", "/Orders/detail/1/2", "/problems/none"] {
        let said = ask(Method::GET, path, &[], "").await;
        assert_eq!((said.status, said.name().as_str()), (StatusCode::NOT_FOUND, "not-found"), "{path}");
        assert_eq!(said.headers["corduroy-node"], "3");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_where_it_is() {
    let long = "x".repeat(65);
    let envelope = r#"{"id":"a","order":{"orderId":"1","customerId":"c","totalPrice":1,"totalQuantity":1,
        "items":[{"productId":"p","price":"1","quantity":1}]}}"#;
    for (method, path, body, name, at) in [
        (Method::GET, "/orders/find/a%20b", "", "malformed", "order_id"),
        (Method::GET, &format!("/stock/find/{long}"), "", "malformed", "item_id"),
        (Method::GET, "/orders?limit=0", "", "malformed", "limit"),
        (Method::GET, "/orders?consistency=eventual", "", "malformed", "consistency"),
        (Method::GET, "/deliveries?day=2024-13-01", "", "malformed", "day"),
        (Method::GET, "/campaign-events/x", "", "malformed", "id"),
        (Method::GET, "/event-campaigns/live?to=2024-11-29", "", "malformed", "to"),
        (Method::GET, "/events?campaignEventId=-1", "", "malformed", "campaignEventId"),
        (Method::PATCH, "/events/1", r#"{"endDate":7}"#, "malformed", "endDate"),
        (Method::PATCH, "/events/1", "[]", "malformed", ""),
        (Method::PATCH, "/campaign-events/1", r#"{"name":null}"#, "rule-violated", "name"),
        (Method::PUT, "/campaign-events/1", r#"{"name":"a","startDate":"2024-11-29T00:00:00Z"}"#, "malformed", ""),
        (Method::GET, "/activities/2024-13-01", "", "malformed", "date"),
        (Method::GET, "/activities/20240701", "", "malformed", "date"),
        (Method::GET, "/activities/today", "", "malformed", "date"),
        (Method::POST, "/payment/pay/1/x", "", "malformed", "amount"),
        (Method::POST, "/payment/pay/1/-1", "", "rule-violated", "amount"),
        (Method::POST, "/stock/item/create/99999999999999999999", "", "rule-violated", "price"),
        (Method::POST, "/orders/batch_init/1/0/1/1", "", "rule-violated", "n_items"),
        (Method::POST, "/orders", "{", "malformed", ""),
        (Method::POST, "/orders", r#"{"orderItems":[]}"#, "malformed", ""),
        (Method::POST, "/orders", r#"{"customerRef":"c","orderItems":[]}"#, "rule-violated", "orderItems"),
        (
            Method::POST,
            "/orders",
            r#"{"customerRef":"c","orderItems":[{"productId":"p","quantity":1.5}]}"#,
            "malformed",
            "orderItems[0].quantity",
        ),
        (Method::POST, "/orders/value", r#"{"netTotal":99.999}"#, "malformed", "netTotal"),
        (Method::POST, "/orders/value", r#"{"netTotal":-1}"#, "rule-violated", "netTotal"),
        (Method::POST, "/order", "{}", "malformed", ""),
        (Method::POST, "/order", envelope, "malformed", "order.items[0].price"),
        (
            Method::POST,
            "/order",
            &envelope.replace("\"price\":\"1\"", "\"price\":2"),
            "rule-violated",
            "order.totalPrice",
        ),
    ] {
        let said = ask(method, path, &[], body).await;
        assert_eq!(
            (said.name().as_str(), &said.problem()["errors"][0]["path"]),
            (name, &Value::from(at)),
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn mutations_name_their_key_and_nobody_leads_here() {
    let said =
        ask(Method::POST, "/Payment/create_user/", &[("idempotency-key", "mine"), ("traceparent", "00-1")], "").await;
    assert_eq!((said.status, said.name().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "no-quorum"));
    assert_eq!(said.headers["idempotency-key"], "mine");
    assert_eq!(said.headers["retry-after"], "1");
    assert_eq!(said.headers["traceparent"], "00-1");
    let problem = said.problem();
    assert_eq!((&problem["idempotencyKey"], &problem["instance"]), (&"mine".into(), &"/payment/create_user".into()));

    let made = ask(Method::POST, "/payment/create_user", &[], "").await;
    let key = made.headers["idempotency-key"].to_str().expect("text");
    assert_eq!(uuid::Uuid::parse_str(key).expect("a UUID").get_version_num(), 7);

    let order =
        r#"{"id":"in the body","order":{"orderId":"1","customerId":"c","totalPrice":0,"totalQuantity":0,"items":[]}}"#;
    assert_eq!(ask(Method::POST, "/order", &[], order).await.name(), "malformed", "a key has no spaces");
    let said = ask(Method::POST, "/order", &[], &order.replace(' ', "-")).await;
    assert_eq!(said.headers["idempotency-key"], "in-the-body");

    let said = ask(Method::POST, "/orders", &[("idempotency-key", "a b")], "").await;
    assert_eq!((said.status, said.name().as_str()), (StatusCode::BAD_REQUEST, "malformed"));
    assert!(!ask(Method::GET, "/orders", &[], "").await.headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn a_body_is_bounded() {
    let said = ask(Method::POST, "/orders", &[], &" ".repeat(1024 * 1024 + 1)).await;
    assert_eq!((said.status, said.name().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too-large"));
    assert_eq!(ask(Method::POST, "/orders", &[], &" ".repeat(1024 * 1024)).await.name(), "malformed");
}

#[tokio::test]
async fn a_token_is_given_back() {
    let token = "CgsKBW9yZGVyEAIYBw";
    let said = ask(Method::GET, "/openapi.json", &[("corduroy-session", token)], "").await;
    assert_eq!(said.status, StatusCode::OK);
    assert_eq!(said.headers["corduroy-session"], token);
}

#[tokio::test]
async fn the_document_names_what_is_served() {
    let said = ask(Method::GET, "/openapi.json", &[], "").await;
    let document: Value = serde_json::from_slice(&said.body).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let operations = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    let described: BTreeSet<String> = paths.iter().flat_map(operations).collect();
    let served = table(MAX_AGE).iter().map(|route| format!("{route:?}")).collect::<Vec<_>>();
    let node = NODE_ROUTES.iter().map(|(path, _)| format!("GET {path}"));
    assert_eq!(described, served.into_iter().chain(node).collect());
}

#[test]
fn what_the_table_shows_is_json_and_what_it_refuses_has_a_page() {
    for route in table(MAX_AGE) {
        for success in &route.successes {
            let shown = success.example.is_empty() || serde_json::from_str::<Value>(success.example).is_ok();
            assert!(shown, "{route:?}: {}", success.example);
        }
        assert!(!route.successes.is_empty(), "{route:?} never answers");
        assert!(route.body.is_none_or(|body| serde_json::from_str::<Value>(body).is_ok()), "{route:?}");
        for name in route.problems {
            assert!(problem::page(name).is_some(), "{route:?}: {name}");
        }
    }
    assert_eq!(openapi::document(&table(MAX_AGE))["openapi"], "3.1.0");
}
