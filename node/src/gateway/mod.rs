//! HTTP: is the node alive, is it ready, what has it done; and the services, for whoever speaks neither gRPC nor Rust.
//!
//! ```text
//! GET /         what this is, in a line
//! GET /livez    200 as long as the process answers
//! GET /readyz   200 while this node should get traffic, 503 otherwise; ?verbose names every check
//! GET /metrics  Prometheus text
//!
//! request ──▶ normal ──▶ routes (a table) ──▶ ask ──▶ a handler of shop ──▶ the services, on whatever node
//!    reply ◀── headers of ask ◀── answer or problem ◀─────┘
//! ```
//!
//! Refusals are `application/problem+json` (RFC 9457).
//!
//! - `normal`, `routes`, `openapi`: from a path to its handler, and what there is.
//! - `ask`: a request while it is answered. `idempotency`, `session`, `consistency`: what its headers mean.
//! - `answer`, `problem`: the two ways it ends. `caching`: what may be kept of it.
//! - `shop`: the services of the shop. `streams`: events as they happen.
//!
//! **Invariant**: the only place that knows HTTP status codes.

mod health;
mod metrics;

mod normal;
mod routes;

mod ask;
mod consistency;
mod idempotency;
mod session;

pub(crate) mod shop;
mod streams;

mod answer;
mod caching;
mod problem;

mod openapi;

use crate::shared::Shared;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use corduroy_log::topic::NodeId;
use std::time::Instant;
use tokio::net::TcpListener;

/// Which node answered.
const NODE: HeaderName = HeaderName::from_static("corduroy-node");
/// What a caller traces a request by.
const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// What a node serves by itself.
const NODE_ROUTES: [(&str, &str); 4] = [
    ("/", "What this is"),
    ("/livez", "Whether the process answers"),
    ("/readyz", "Whether this node should get traffic"),
    ("/metrics", "Prometheus text"),
];

/// What handlers get.
#[derive(Clone)]
struct Gateway {
    shared: Shared,
    started: Instant,
}

/// Serves until the node stops.
pub(crate) async fn serve(listener: TcpListener, shared: Shared, routes: Router) -> Result<(), String> {
    let stopping = shared.clone();
    let node = shared.node();
    axum::serve(listener, application(node, router(shared).merge(routes)))
        .with_graceful_shutdown(async move { stopping.stopping().await })
        .await
        .map_err(|error| format!("HTTP: {error}"))
}

/// Everything, behind what happens to every request before it is routed and to every reply.
fn application(node: NodeId, routes: Router) -> Router {
    let signed = move |request: Request, next: Next| async move { sign(node, request, next).await };
    let behind = Router::new().fallback_service(routes);
    behind.layer(middleware::map_request(normal::normalise)).layer(middleware::from_fn(signed))
}

async fn sign(node: NodeId, request: Request, next: Next) -> Response {
    let trace = request.headers().get(TRACE).cloned();
    let mut response = next.run(request).await;
    response.headers_mut().insert(NODE, HeaderValue::from(node));
    response.headers_mut().extend(trace.map(|trace| (TRACE, trace)));
    response
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
