//! gRPC: the Log service for clients, the Admin service on a port of its own, health and reflection on both.
//!
//! ```text
//! request ─▶ log.rs, append_stream.rs, subscribe.rs, lookup.rs, admin.rs ─▶ corduroy_log
//!                   │ decode, encode: convert.rs                   │ LogError
//!                   ▼                                              ▼
//!                response ◀──────────────────────────────── failure.rs (the one map to gRPC codes)
//! ```
//!
//! Limits hold before a message is decoded: a request may be as large as a batch and a little. Nothing is compressed:
//! a node never announces an encoding and refuses requests that use one.
//!
//! **Invariant**: `failure.rs` is the only place that chooses gRPC codes and reasons.

mod admin;
mod append_stream;
mod convert;
mod failure;
mod log;
mod lookup;
mod subscribe;

#[cfg(test)]
mod tests;

use crate::shared::Shared;
use corduroy_proto::v1::{admin_server::AdminServer, log_server::LogServer};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::HealthReporter;

/// Room for what surrounds the records of a batch of the largest size. Above it a request is refused undecoded; up to
/// it the refusal can say which record is too large.
const SLACK: usize = 2 << 20;
/// HTTP/2 windows, so that a pipelining producer does not wait for window updates.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Streams of one connection.
const STREAMS: u32 = 1024;
/// Bytes of all headers of one request.
const HEADERS: u32 = 16 << 10;
/// A client that answers no ping for this long is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Serves the Log API until the node stops.
pub(crate) async fn serve_clients<H>(
    listener: TcpListener,
    shared: Shared,
    health: tonic_health::pb::health_server::HealthServer<H>,
) -> Result<(), String>
where
    H: tonic_health::pb::health_server::Health,
{
    let limit = usize::try_from(shared.config().log.limits.batch_bytes).unwrap_or(usize::MAX).saturating_add(SLACK);
    let service = LogServer::new(log::LogApi::new(shared.clone())).max_decoding_message_size(limit);
    let router = server().add_service(service).add_service(health).add_service(reflection()?);
    let stopping = async move { shared.stopping().await };
    router.serve_with_incoming_shutdown(incoming(listener), stopping).await.map_err(|error| format!("gRPC: {error}"))
}

/// Serves the Admin API until the node stops.
pub(crate) async fn serve_operators(listener: TcpListener, shared: Shared) -> Result<(), String> {
    let service = AdminServer::new(admin::AdminApi::new(shared.clone()));
    let router = server().add_service(service).add_service(reflection()?);
    let stopping = async move { shared.stopping().await };
    router.serve_with_incoming_shutdown(incoming(listener), stopping).await.map_err(|error| format!("admin: {error}"))
}

/// Tells those who watch the health service.
pub(crate) async fn report_health(health: &HealthReporter, ready: bool) {
    let status = if ready { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
    for service in ["", "corduroy.v1.Log"] {
        health.set_service_status(service, status).await;
    }
}

fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    String,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(corduroy_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| format!("reflection: {error}"))
}
