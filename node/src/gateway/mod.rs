//! HTTP: is the node alive, is it ready, what has it done.
//!
//! ```text
//! GET /         what this is, in a line
//! GET /livez    200 as long as the process answers
//! GET /readyz   200 while this node should get traffic, 503 otherwise; ?verbose names every check
//! GET /metrics  Prometheus text
//! ```
//!
//! Refusals are `application/problem+json` (RFC 9457).
//!
//! **Invariant**: the only place that knows HTTP status codes.

mod health;
mod metrics;
mod problem;

use crate::shared::Shared;
use axum::{Router, extract::State, routing::get};
use std::time::Instant;
use tokio::net::TcpListener;

/// What handlers get.
#[derive(Clone)]
struct Gateway {
    shared: Shared,
    started: Instant,
}

/// Serves until the node stops.
pub(crate) async fn serve(listener: TcpListener, shared: Shared) -> Result<(), String> {
    let stopping = shared.clone();
    axum::serve(listener, router(shared))
        .with_graceful_shutdown(async move { stopping.stopping().await })
        .await
        .map_err(|error| format!("HTTP: {error}"))
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(Gateway { shared, started: Instant::now() })
}

async fn index(State(gateway): State<Gateway>) -> String {
    let (shared, version) = (&gateway.shared, env!("CARGO_PKG_VERSION"));
    let config = shared.config();
    format!(
        "Corduroy {version}: node {} of cluster {}. Health: /livez, /readyz?verbose. Metrics: /metrics. Log API: gRPC on {}.\n",
        shared.node(),
        config.log.cluster,
        config.listen.grpc
    )
}
