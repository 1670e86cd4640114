//! A cluster of real processes that carries the services of the shop, and its callers.
use super::{Cluster, wait_until};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// Bound on one request, and on one that is sent again until it is answered.
const REQUEST: Duration = Duration::from_secs(40);
const INSIST: Duration = Duration::from_secs(90);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// `null` where it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The last part of the problem's type.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Speaks HTTP to the nodes of a cluster. Clones share connections.
#[derive(Clone)]
pub struct Callers {
    client: Client<HttpConnector, Full<Bytes>>,
    ports: Vec<u16>,
}

impl Callers {
    /// Of these nodes.
    pub fn of(cluster: &Cluster) -> Self {
        Callers { client: client(), ports: cluster.nodes.iter().map(|node| node.ports.http).collect() }
    }

    /// Of the same nodes, with connections of its own.
    pub fn afresh(&self) -> Self {
        Callers { client: client(), ports: self.ports.clone() }
    }

    /// Of the same nodes but one (from 0), with connections of its own.
    pub fn afresh_without(&self, node: usize) -> Self {
        let others = self.ports.iter().enumerate().filter(|(other, _)| *other != node);
        Callers { client: client(), ports: others.map(|(_, port)| *port).collect() }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.ports.len()
    }

    /// One request to one node (from 0), once. An error is one of the connection.
    pub async fn ask(
        &self,
        node: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let uri = format!("http://127.0.0.1:{}{path}", self.ports[node % self.ports.len()]);
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(body.map(Value::to_string).unwrap_or_default()));
        let request = request.map_err(|error| error.to_string())?;
        let answered = async {
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
            };
            Ok(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers.iter().map(header).collect(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            })
        };
        let answered = tokio::time::timeout(REQUEST, answered).await;
        answered.unwrap_or_else(|_| Err(format!("no answer within {REQUEST:?}")))
    }

    /// Sends a mutation without a body on a connection of its own. Nobody reads the answer; to drop it is to hang up.
    pub async fn send(&self, node: usize, path: &str, key: &str) -> TcpStream {
        let address = ("127.0.0.1", self.ports[node % self.ports.len()]);
        let mut stream = TcpStream::connect(address).await.expect("the node listens");
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: node\r\nidempotency-key: {key}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it is open");
        stream
    }

    /// A request without a body that must come through.
    pub async fn get(&self, node: usize, path: &str) -> Answer {
        self.ask(node, "GET", path, &[], None).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The same with POST.
    pub async fn post(&self, node: usize, path: &str) -> Answer {
        self.ask(node, "POST", path, &[], None).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Sends a request again under its key, to one node after the other, until one gives an answer that is none of 5xx.
    /// Any 5xx but 503 and 504 is a failure.
    pub async fn insist(&self, from: usize, method: &str, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let insisting = async {
            for turn in 0.. {
                match self.ask(from + turn, method, path, &[("idempotency-key", key)], body).await {
                    Ok(answer) if answer.status < 500 => return answer,
                    Ok(answer) => {
                        assert!(matches!(answer.status, 503 | 504), "{method} {path}: {answer:?}");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            unreachable!("there is no end of numbers")
        };
        tokio::time::timeout(INSIST, insisting).await.unwrap_or_else(|_| panic!("{method} {path}: no answer"))
    }

    /// A user with so much credit.
    pub async fn user(&self, credit: i64) -> String {
        let made = self.post(0, "/payment/create_user").await;
        let id = made.body["user_id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
        let added = self.post(1, &format!("/payment/add_funds/{id}/{credit}")).await;
        assert_eq!(added.body, json!({ "user_id": id, "credit": credit }), "{added:?}");
        id
    }

    /// An item with this price, and so many of it.
    pub async fn item(&self, price: i64, stock: i64) -> String {
        let made = self.post(0, &format!("/stock/item/create/{price}")).await;
        let id = made.body["item_id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
        let added = self.post(1, &format!("/stock/add/{id}/{stock}")).await;
        assert_eq!(added.body, json!({ "item_id": id, "stock": stock }), "{added:?}");
        id
    }

    /// An order of these lines.
    pub async fn order(&self, user: &str, lines: &[(&str, i64)]) -> String {
        let made = self.post(0, &format!("/orders/create/{user}")).await;
        let id = made.body["order_id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
        for (item, quantity) in lines {
            let added = self.post(2, &format!("/orders/addItem/{id}/{item}/{quantity}")).await;
            assert_eq!(added.status, 200, "{added:?}");
        }
        id
    }

    /// What a user has.
    pub async fn credit(&self, node: usize, user: &str) -> i64 {
        let found = self.get(node, &format!("/payment/find_user/{user}")).await;
        found.body["credit"].as_i64().unwrap_or_else(|| panic!("{found:?}"))
    }

    /// How many there are of an item.
    pub async fn stock(&self, node: usize, item: &str) -> i64 {
        let found = self.get(node, &format!("/stock/find/{item}")).await;
        found.body["stock"].as_i64().unwrap_or_else(|| panic!("{found:?}"))
    }
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

impl Cluster {
    /// Three nodes that carry all services of the shop, with these lines in their configuration.
    pub fn shop(lines: &str) -> Self {
        let everything = [None, None, None];
        let mut cluster = Cluster::of(&everything, lines);
        cluster.start_all();
        cluster
    }

    /// Who leads each partition of a topic, by partition; none where nobody does.
    pub async fn leads(&self, topic: &str) -> Vec<Option<u64>> {
        let status = self.admin().cluster().await.expect("a node runs");
        let mut found: Vec<_> = status.partitions.into_iter().filter(|partition| partition.topic == topic).collect();
        found.sort_by_key(|partition| partition.partition);
        found.into_iter().map(|partition| partition.leader).collect()
    }

    /// Waits until every partition of a service has handled everything its sources have.
    pub async fn settle(&self) {
        let admins: Vec<_> = self.nodes.iter().filter(|node| node.is_running()).map(|node| node.ports.admin).collect();
        let admin = self.admin();
        let mut quiet = 0;
        let mut last = Vec::new();
        for _ in 0..600 {
            let mut now = Vec::new();
            for port in &admins {
                let status = admin.node_status(&format!("127.0.0.1:{port}")).await.expect("it runs");
                let read = status.subscriptions.into_iter();
                now.extend(
                    read.map(|read| (read.service, read.partition, read.topic, read.source, read.offset, read.end)),
                );
            }
            now.sort();
            let handled = now.iter().all(|(.., offset, end)| *end == Some(*offset));
            quiet = if handled && now == last { quiet + 1 } else { 0 };
            if quiet >= 5 {
                return;
            }
            last = now;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not come to rest: {last:?}");
    }
}

/// Waits until a node says that it is ready, after it was started again.
pub fn ready(port: u16) {
    wait_until("a node to be ready", || match super::http::get(port, "/readyz") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
