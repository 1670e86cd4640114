//! Requests to the HTTP ports of nodes.
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// What a node answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `null` where it is no JSON.
    pub(super) body: Value,
}

/// A client of some nodes. Connections are kept.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    /// host:port.
    nodes: Vec<String>,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) body: Option<&'a Value>,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Ask { method: "GET", path, ..Ask::default() }
    }

    pub(super) fn post(path: &'a str, key: &'a str) -> Self {
        Ask { method: "POST", path, key: Some(key), ..Ask::default() }
    }
}

impl Http {
    pub(super) fn new(nodes: Vec<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Http { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector), nodes }
    }

    /// Asks one node, once.
    pub(super) async fn ask(&self, node: usize, ask: &Ask<'_>, deadline: Duration) -> Result<Answer, String> {
        let address = &self.nodes[node % self.nodes.len()];
        let mut request = http::Request::builder().method(ask.method).uri(format!("http://{address}{}", ask.path));
        if let Some(key) = ask.key {
            request = request.header("idempotency-key", key);
        }
        let body = match ask.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let answered = async {
            let answer = self.client.request(request).await.map_err(|error| format!("{address}: {error}"))?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.map_err(|error| format!("{address}: {error}"))?.to_bytes();
            Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
        };
        timeout(deadline, answered)
            .await
            .unwrap_or_else(|_| Err(format!("{address} did not answer within {deadline:?}")))
    }

    /// Asks one node after the other, under the same key, until one gives an answer that is final. With how often it took.
    pub(super) async fn insist(&self, from: usize, ask: &Ask<'_>, patience: Duration) -> Result<(Answer, u32), String> {
        let insisting = async {
            for turn in 0.. {
                let why = match self.ask(from + turn as usize, ask, patience).await {
                    Ok(answer) if answer.status < 500 => return (answer, turn),
                    Ok(answer) => format!("{} {}", answer.status, answer.body),
                    Err(why) => why,
                };
                tracing::debug!(path = ask.path, why, "asked again");
                tokio::time::sleep(Duration::from_millis(5 * u64::from(turn.min(10) + 1))).await;
            }
            unreachable!("there is no end of numbers")
        };
        timeout(patience, insisting).await.map_err(|_| format!("{}: no answer within {patience:?}", ask.path))
    }
}
