//! Liveness and readiness.
use super::Gateway;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
};

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether this node should get traffic; `?verbose` names every check, without it only the failing ones are named.
pub(super) async fn ready(State(gateway): State<Gateway>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    let checks = gateway.shared.checks();
    let ready = checks.iter().all(|check| check.ok);
    let mut text = String::new();
    for check in checks.iter().filter(|check| verbose || !check.ok) {
        let mark = if check.ok { '+' } else { '-' };
        text.push_str(&format!("[{mark}] {}: {}\n", check.name, check.detail));
    }
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}
