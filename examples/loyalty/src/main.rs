//! A node of a cluster with the services of Corduroy and one more. Three of these are a cluster:
//!
//! ```text
//! loyalty CONFIG ID DATA      e.g. loyalty cluster.toml 1 data/node-1
//! ```
use corduroy_node::{
    Node, NodeServices,
    axum::{
        Json, Router,
        extract::{Path, State},
        http::{HeaderMap, StatusCode},
        routing::{get, post},
    },
    config::{Flags, NodeConfig, Sources},
    runtime::{CommandError, CommandOptions, id_of_key},
};
use loyalty::{Change, Loyalty, Points};
use serde_json::{Value, json};
use std::{error::Error, io};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [file, id, data] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "loyalty CONFIG ID DATA")?;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let flags =
        Flags { node_id: Some(id.parse()?), data: Some(data.into()), insecure_dev: Some(true), ..Flags::default() };
    let config = NodeConfig::load(&Sources { file: Some(file.into()), flags, ..Sources::default() })?;
    let builder = corduroy_node::shop::with_services(Node::builder(), &config.shop);
    Ok(builder.config(config).service::<Loyalty>().routes(routes).run().await?)
}

fn routes(services: NodeServices) -> Router {
    Router::new()
        .route("/loyalty/{customer}", get(balance))
        .route("/loyalty/{customer}/spend/{points}", post(spend))
        .with_state(services)
}

async fn balance(State(services): State<NodeServices>, Path(customer): Path<String>) -> (StatusCode, Json<Value>) {
    match services.get::<Loyalty>(&customer, corduroy_node::runtime::Consistency::Linearizable).await {
        Ok(found) => (StatusCode::OK, shown(&customer, &found.value.unwrap_or_default())),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "detail": error.to_string() }))),
    }
}

async fn spend(
    State(services): State<NodeServices>,
    Path((customer, points)): Path<(String, u64)>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    // The same request under the same key is one.
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let id = key.map_or_else(|| services.new_id(), |key| id_of_key("", "loyalty", key));
    let options = CommandOptions { by_client: key.is_some(), ..CommandOptions::new(id) };
    match services.command::<Loyalty>(&customer, &Change { earn: false, points }, &options).await {
        Ok(answered) => (StatusCode::OK, shown(&customer, &answered.value)),
        Err(CommandError::Refused(refusal)) => {
            (StatusCode::CONFLICT, Json(json!({ "type": refusal.value.name(), "detail": refusal.value.detail() })))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "detail": error.to_string() }))),
    }
}

fn shown(customer: &str, points: &Points) -> Json<Value> {
    Json(json!({ "customer": customer, "balance": points.balance, "orders": points.orders }))
}
