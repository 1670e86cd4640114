//! Events as they come, over HTTP, on three real nodes.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

use harness::{Callers, Cluster, NodeProcess};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

/// Bound on the next event.
const SOON: Duration = Duration::from_secs(20);
/// Orders that are there.
const ORDERS: usize = 120;

/// An event: its id and what it says.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    id: String,
    data: Value,
}

/// Reads so many events of a stream, from behind an id, then breaks off.
async fn read(port: u16, path: &str, behind: Option<&str>, count: usize) -> Vec<Told> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut request = http::Request::get(format!("http://127.0.0.1:{port}{path}"));
    if let Some(behind) = behind {
        request = request.header("last-event-id", behind);
    }
    let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].as_bytes()),
        (200, &b"text/event-stream"[..]),
        "{path}"
    );
    let (mut body, mut text, mut told) = (answer.into_body(), String::new(), Vec::new());
    while told.len() < count {
        let frame = timeout(SOON, body.frame()).await.unwrap_or_else(|_| panic!("{path} behind {behind:?}: {told:?}"));
        let frame = frame.expect("it does not end").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(data), true) = (field("id:"), field("data:"), told.len() < count) {
                told.push(Told { id: id.to_owned(), data: serde_json::from_str(data).unwrap() });
            }
            text = rest.to_owned();
        }
    }
    told
}

/// The id that a stream begins with; then breaks off.
async fn begins(port: u16, path: &str) -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let request = http::Request::get(format!("http://127.0.0.1:{port}{path}")).body(Empty::new()).unwrap();
    let mut body = client.request(request).await.unwrap().into_body();
    let frame = timeout(SOON, body.frame()).await.expect("it comes at once").unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    assert!(!text.contains("data:"), "{text}");
    text.trim().strip_prefix("id:").unwrap().trim().to_owned()
}

/// Where an event is in the log.
fn place(told: &Told) -> (u64, u64) {
    (told.data["partition"].as_u64().unwrap(), told.data["offset"].as_u64().unwrap())
}

fn ports(cluster: &Cluster) -> Vec<u16> {
    cluster.nodes.iter().map(|node: &NodeProcess| node.ports.http).collect()
}

async fn place_orders(callers: &Callers, count: usize) {
    for order in 0..count {
        let body = json!({ "netTotal": "10.00", "customerId": format!("customer-{order}") });
        let key = format!("order-{order}");
        let headers = [("idempotency-key", key.as_str())];
        let placed = callers.ask(order, "POST", "/orders/value", &headers, Some(&body)).await.unwrap();
        assert_eq!(placed.status, 201, "{placed:?}");
    }
}

/// A48. Each time through another node, one of which is killed meanwhile and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_broken_off_again_and_again_has_read_exactly_the_log() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    place_orders(&callers, ORDERS).await;
    let ports = ports(&cluster);

    // In one go: every order, each partition in order and without a gap.
    let whole = read(ports[0], "/streams/order?from=earliest", None, ORDERS).await;
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for told in &whole {
        let (partition, offset) = place(told);
        let expected = next.entry(partition).or_default();
        assert_eq!(offset, *expected, "{told:?}");
        *expected += 1;
        assert_eq!(
            (&told.data["event"], &told.data["data"]["net"]),
            (&json!("OrderPlaced"), &json!("1000")),
            "{told:?}"
        );
    }
    assert!(next.len() > 1, "the orders have several partitions");

    // And a hundred times broken off.
    let (mut seen, mut behind): (Vec<Told>, Option<String>) = (Vec::new(), None);
    for turn in 0..100 {
        let count = if turn % 5 == 0 { 2 } else { 1 };
        if seen.len() + count > ORDERS {
            break;
        }
        if turn == 30 {
            cluster.nodes[0].kill();
        }
        if turn == 60 {
            cluster.nodes[0].start();
            cluster.nodes[0].wait_ready();
        }
        let node = if (30..60).contains(&turn) { 1 + turn % 2 } else { turn % 3 };
        let path = "/streams/order?from=earliest";
        seen.extend(read(ports[node], path, behind.as_deref(), count).await);
        behind = seen.last().map(|told| told.id.clone());
    }
    assert_eq!(seen.len(), ORDERS, "a hundred times, one or two");
    let by_place = |told: &[Told]| told.iter().map(|told| (place(told), told.data.clone())).collect::<BTreeMap<_, _>>();
    assert_eq!(by_place(&seen), by_place(&whole), "everything once");
    let in_order = |partition| {
        seen.iter().map(place).filter(|(other, _)| *other == partition).map(|(_, offset)| offset).collect::<Vec<_>>()
    };
    for (partition, end) in next {
        assert_eq!(in_order(partition), (0..end).collect::<Vec<_>>(), "order/{partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_of_what_was_asked_for_and_ends_with_its_node() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    place_orders(&callers, 20).await;
    let ports = ports(&cluster);
    let all = read(ports[0], "/streams/order?from=earliest", None, 20).await;

    // One partition: its ids are offsets.
    let of_one: Vec<&Told> = all.iter().filter(|told| place(told).0 == place(&all[0]).0).collect();
    let partition = place(of_one[0]).0;
    let path = format!("/streams/order?partition={partition}&from=earliest");
    let one = read(ports[1], &path, None, of_one.len()).await;
    assert_eq!(
        one.iter().map(|told| told.id.clone()).collect::<Vec<_>>(),
        (0..of_one.len()).map(|id| id.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(
        one.iter().map(|told| &told.data).collect::<Vec<_>>(),
        of_one.iter().map(|told| &told.data).collect::<Vec<_>>()
    );
    let last = of_one.len() - 1;
    let rest = read(ports[2], &format!("/streams/order?partition={partition}&from={last}"), None, 1).await;
    assert_eq!(rest, one[last..]);

    // One key.
    let key = all[7].data["key"].as_str().unwrap();
    let of_key = read(ports[1], &format!("/streams/order?from=earliest&key={key}"), None, 1).await;
    assert_eq!(of_key[0].data, all[7].data);

    // What comes from now on.
    let live = tokio::spawn({
        let port = ports[2];
        async move { read(port, "/streams/order", None, 1).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let body = json!({ "netTotal": "99.00", "customerId": "late" });
    let placed = callers.ask(0, "POST", "/orders/value", &[], Some(&body)).await.unwrap();
    let live = timeout(SOON, live).await.unwrap().unwrap();
    assert_eq!(live[0].data["key"], placed.body["orderId"]);

    // Who breaks off before anything came goes on where it was: the first id comes before any record.
    let begun = begins(ports[1], "/streams/order?key=late").await;
    let placed = callers.ask(0, "POST", "/orders/value", &[], Some(&body)).await.unwrap();
    let missed = read(ports[2], "/streams/order", Some(&begun), 1).await;
    assert_eq!(missed[0].data["key"], placed.body["orderId"]);

    for (path, problem) in [
        ("/streams/nothing", "unknown-topic"),
        ("/streams/order?partition=99", "rule-violated"),
        ("/streams/order?partition=x", "malformed"),
        ("/streams/order?from=yesterday", "malformed"),
    ] {
        assert_eq!(callers.get(1, path).await.problem(), problem, "{path}");
    }

    // A node that is told to end does not wait for those who read.
    let reader = tokio::spawn({
        let port = ports[0];
        async move {
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
            let uri = format!("http://127.0.0.1:{port}/streams/order");
            let answer = client.request(http::Request::get(uri).body(Empty::new()).unwrap()).await.unwrap();
            drop(answer.into_body().collect().await);
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.nodes[0].terminate();
    cluster.nodes[0].wait().assert(0, &[]);
    let log = cluster.nodes[0].log_of_run();
    assert!(!log.contains("connections are still open"), "{log}");
    timeout(SOON, reader).await.expect("the stream ends with its node").unwrap();
}
