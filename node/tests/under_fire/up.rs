//! `corduroy up` with services spread over nodes of their own.
use super::harness::{PATIENCE, corduroy, machine, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
};

/// Nodes of the layout.
const NODES: u16 = 9;
/// From one kind of ports to the next.
const STEP: u16 = 10;

/// A cluster that ends with the test.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        // Its nodes end with it. Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A54 as far as one command goes: nine nodes that carry one service each pay an order, and Ctrl-C ends them.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::await_holding_lock, reason = "one test at a time has the machine, and its runtime")]
async fn up_starts_the_layout_it_is_given() {
    let _machine = machine();
    let dir = tempfile::tempdir().unwrap();
    let base = free_base();
    let mut up = Up(spawn(base, dir.path()));
    let said = || fs::read_to_string(dir.path().join("up.err")).unwrap_or_default();
    let mut line = String::new();
    let mut out = BufReader::new(up.0.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{}", said()));
    assert_eq!(ready["nodes"].as_array().map(Vec::len), Some(NODES.into()), "{ready}");

    let ask = |node: u16, method: &'static str, path: String| {
        let to = base + node;
        async move { tell(to, method, &path).await }
    };
    let user = ask(1, "POST", "/payment/create_user".into()).await["user_id"].as_str().unwrap().to_owned();
    let item = ask(4, "POST", "/stock/item/create/5".into()).await["item_id"].as_str().unwrap().to_owned();
    let order = ask(7, "POST", format!("/orders/create/{user}")).await["order_id"].as_str().unwrap().to_owned();
    ask(7, "POST", format!("/payment/add_funds/{user}/15")).await;
    ask(1, "POST", format!("/stock/add/{item}/50")).await;
    ask(4, "POST", format!("/orders/addItem/{order}/{item}/3")).await;
    assert_eq!(ask(9, "POST", format!("/orders/checkout/{order}")).await["paid"], true);
    assert_eq!(ask(2, "GET", format!("/payment/find_user/{user}")).await["credit"], 0);
    assert_eq!(ask(5, "GET", format!("/stock/find/{item}")).await, json!({ "stock": 47, "price": 5 }));

    wait_until("status to show who reads what", || {
        let at = |kind: u16| {
            (1..=NODES).map(|node| format!("127.0.0.1:{}", base + kind * STEP + node)).collect::<Vec<_>>().join(",")
        };
        let mut status = corduroy();
        status.arg("status").env("CORDUROY_GRPC", at(1)).env("CORDUROY_ADMIN", at(3));
        let output = status.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let reads = |service: &str, topic: &str| {
            let mut rows = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            rows.any(|row| matches!(row[..], [a, b, _, lag] if a == service && b == topic && lag == "0"))
        };
        let peers =
            [("order/0", "payment/0"), ("order/0", "stock/0"), ("payment/0", "order/0"), ("stock/0", "order/0")];
        if peers.iter().all(|(service, topic)| reads(service, topic)) { Ok(()) } else { Err(shown) }
    });

    kill_process(Pid::from_raw(up.0.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let status = wait_until("up to end", || up.0.try_wait().unwrap().ok_or_else(said));
    assert_eq!(status.code(), Some(0), "{}", said());
    for node in 1..=NODES {
        assert!(TcpListener::bind(("127.0.0.1", base + node)).is_ok(), "node {node} still serves");
    }
}

fn spawn(base: u16, dir: &Path) -> Child {
    let mut command = corduroy();
    command.args(["up", "--format", "json", "--layout", "order=1,2,3;payment=4,5,6;stock=7,8,9", "--data"]);
    command.arg(dir.join("data"));
    for (flag, kind) in [("--http-port", 0), ("--grpc-port", 1), ("--peer-port", 2), ("--admin-port", 3)] {
        command.args([flag, &(base + kind * STEP).to_string()]);
    }
    let said = File::create(dir.join("up.err")).unwrap();
    command.stdout(Stdio::piped()).stderr(said).spawn().expect("the binary was built for this test")
}

/// A base with free ports above it, below the range of outgoing connections and above the harness's.
fn free_base() -> u16 {
    let start = u16::try_from(std::process::id() % 60).unwrap();
    let mut bases = (0..60).map(|turn| 30_000 + (start + turn) % 60 * 40);
    let free = |base: &u16| (*base..base + 4 * STEP).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    bases.find(free).expect("forty free ports in a row")
}

/// Asks one node until it answers; 503 is asked again, under the same key.
async fn tell(port: u16, method: &str, path: &str) -> Value {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let request = http::Request::builder().method(method).uri(format!("http://127.0.0.1:{port}{path}"));
        let request = request.header("idempotency-key", path).body(Empty::new()).unwrap();
        let answer = client.request(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            200 => return body,
            503 => assert!(std::time::Instant::now() < deadline, "{method} {path}: {body}"),
            _ => panic!("{method} {path}: {status} {body}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
