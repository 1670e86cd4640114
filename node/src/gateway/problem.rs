//! Refusals as RFC 9457 problems.
use axum::{
    Json,
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// A problem. Its type is `about:blank`: the status says what there is to say.
#[derive(Debug, Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

fn problem(status: StatusCode, detail: String) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    let body = Json(Problem { title, status: status.as_u16(), detail });
    (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
}

pub(super) async fn not_found(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}; try /, /livez, /readyz?verbose or /metrics", uri.path());
    problem(StatusCode::NOT_FOUND, detail)
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible on {}", uri.path()))
}
