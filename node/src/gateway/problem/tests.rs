use super::*;
use crate::runtime::Answered;
use axum::body::to_bytes;
use std::{collections::BTreeSet, time::Duration};

async fn shown(problem: Problem) -> (HeaderMap, Value) {
    let response = problem.into_response();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("it is in memory");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["status"], status.as_u16());
    assert_eq!(headers["content-type"], "application/problem+json");
    (headers, body)
}

#[test]
fn every_name_has_its_status_and_a_page() {
    let of_status = [
        (400, "malformed"),
        (404, "not-found unknown-order unknown-item unknown-user unknown-delivery no-undelivered-order"),
        (405, "method-not-allowed"),
        (
            409,
            "out-of-stock out-of-credit account-missing item-missing price-changed no-delivery-slot checkout-timeout",
        ),
        (409, "checkout-cancelled order-closed order-busy id-conflict not-deliverable dead-letter-settled refused"),
        (404, "unknown-campaign unknown-event"),
        (412, "precondition-failed"),
        (413, "too-large"),
        (422, "rule-violated idempotency-mismatch"),
        (500, "fault"),
        (503, "no-quorum overloaded"),
        (504, "outcome-unknown"),
    ];
    for (status, names) in of_status {
        for name in names.split(' ') {
            let kind = kinds::find(name).unwrap_or_else(|| panic!("there is no {name}"));
            assert_eq!(kind.status.as_u16(), status, "{name}");
            assert!(page(name).expect("a page").0.contains(kind.remedy));
        }
    }
    let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), KINDS.len(), "a name is there twice");
    assert!(page("nothing").is_none());
}

#[tokio::test]
async fn a_problem_says_what_it_is_and_where() {
    let problem = Problem::unknown("order", "17").during("/orders/find/17", None);
    let (headers, body) = shown(problem).await;
    let expected = json!({
        "type": "/problems/unknown-order", "title": "There is no such order", "status": 404,
        "detail": "there is no order 17", "instance": "/orders/find/17", "id": "17",
    });
    assert_eq!(body, expected);
    assert!(!headers.contains_key("retry-after"));
}

#[tokio::test]
async fn refusals_keep_what_goes_with_them() {
    let refusal = Refusal::new("out-of-credit", "it is too much").text("userId", "u").number("requested", 5);
    let answered = Answered { value: refusal.flag("releasePending", true), positions: Vec::new(), replayed: false };
    let problem = Problem::of_command(&CommandError::Refused(answered), "payment/0").during("/x", Some("k"));
    let (_, body) = shown(problem).await;
    assert_eq!(body["status"], 409);
    assert_eq!(body["idempotencyKey"], "k");
    assert_eq!((&body["userId"], &body["requested"]), (&json!("u"), &json!(5)));
    assert_eq!(body["releasePending"], true);
    assert_eq!(body.get("partition"), None);
}

#[tokio::test]
async fn the_status_of_an_order_is_not_that_of_the_problem() {
    let refusal = Refusal::new("order-closed", "the order is cancelled").text("status", "cancelled");
    let (_, body) = shown(Problem::of_refusal(&refusal)).await;
    assert_eq!((&body["status"], &body["orderStatus"]), (&json!(409), &json!("cancelled")));
}

#[tokio::test]
async fn a_rule_names_the_field_in_the_words_of_the_request() {
    for refusal in [
        Refusal::new("rule-violated", "lines[2].quantity: too many")
            .text("path", "lines[2].quantity")
            .text("reason", "too many"),
        Refusal::new("rule-violated", "too many").text("path", "lines[2].quantity"),
    ] {
        let (_, body) = shown(Problem::of_refusal(&refusal).in_words_of("lines", "orderItems")).await;
        assert_eq!(body["errors"], json!([{ "path": "orderItems[2].quantity", "reason": "too many" }]));
        assert_eq!(body["detail"], "orderItems[2].quantity: too many");
    }
}

#[tokio::test]
async fn nothing_was_done_comes_with_a_time_to_wait() {
    let errors = [
        (CommandError::Busy("x".into()), "overloaded", true),
        (CommandError::NoQuorum("x".into()), "no-quorum", true),
        (CommandError::Quota("x".into(), Duration::from_millis(90_500)), "rate-limited", true),
        (CommandError::NoService("order".into()), "no-quorum", true),
        (CommandError::Unknown("x".into()), "outcome-unknown", false),
    ];
    for (error, name, waits) in errors {
        let (headers, body) = shown(Problem::of_command(&error, "order/1")).await;
        assert_eq!(body["type"], format!("/problems/{name}"));
        assert_eq!(body["partition"], "order/1");
        assert_eq!(headers.contains_key("retry-after"), waits);
    }
    let over = CommandError::Quota("x".into(), Duration::from_millis(90_500));
    assert_eq!(shown(Problem::of_command(&over, "order/1")).await.0["retry-after"], "90");
    let (headers, _) = shown(Problem::new("order-busy", "x").with("attempt", 1)).await;
    assert_eq!(headers["retry-after"], "1");
}

#[tokio::test]
async fn a_refusal_nobody_knows_is_one_nevertheless() {
    let (_, body) = shown(Problem::of_refusal(&Refusal::new("too-blue", "it is blue"))).await;
    assert_eq!((&body["status"], &body["type"]), (&json!(409), &json!("/problems/refused")));
    assert_eq!(body["reason"], "too-blue");
}
