//! Three processes of this package's own binary. The leader is killed with -9 while orders are delivered: each earns its points
//! once.
use corduroy_log::testing::free_port;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    config: PathBuf,
    http: Vec<u16>,
    nodes: Vec<Option<Child>>,
    dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            // Those that ended are no matter.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

impl Cluster {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = || free_port().expect("a free port").port();
        let mut text = String::from("cluster_id = \"01920000-0000-7000-8000-0000000000aa\"\n");
        let mut http = Vec::new();
        for id in 1..=3 {
            let (peer, grpc, web, admin) = (port(), port(), port(), port());
            http.push(web);
            text += &format!(
                "[[nodes]]\nid = {id}\npeer = \"127.0.0.1:{peer}\"\ngrpc = \"127.0.0.1:{grpc}\"\nhttp = \"127.0.0.1:{web}\"\n\
                 admin = \"127.0.0.1:{admin}\"\n"
            );
        }
        let config = dir.path().join("cluster.toml");
        fs::write(&config, text).expect("written");
        let mut cluster = Cluster { config, http, nodes: vec![None, None, None], dir };
        (0..3).for_each(|node| cluster.start_node(node));
        cluster.ready();
        cluster
    }

    fn start_node(&mut self, node: usize) {
        let data = self.dir.path().join(format!("node-{node}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_loyalty"));
        command.args([&self.config, Path::new(&(node + 1).to_string()), &data]).stdin(Stdio::null());
        self.nodes[node] = Some(command.spawn().expect("the binary was built for this test"));
    }

    /// `kill -9`.
    fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node].take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it ended");
    }

    fn ready(&self) {
        let began = Instant::now();
        for node in (0..3).filter(|node| self.nodes[*node].is_some()) {
            while self.ask(node, "GET", "/readyz", "", None).is_none_or(|(status, _)| status != 200) {
                assert!(began.elapsed() < PATIENCE, "node {} is not ready", node + 1);
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// One request to one node; `None`: it did not answer.
    fn ask(&self, node: usize, method: &str, path: &str, body: &str, key: Option<&str>) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http[node])).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(40))).ok()?;
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             {key}content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// A request that is sent again, under the same key, until some node answers it.
    fn insist(&self, method: &str, path: &str, body: &str, key: &str) -> (u16, Value) {
        let began = Instant::now();
        for turn in 0.. {
            match self.ask(turn % 3, method, path, body, Some(key)) {
                Some((status, body)) if status < 500 => return (status, body),
                answer => assert!(began.elapsed() < PATIENCE, "{method} {path}: {answer:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        unreachable!("there is no end of numbers")
    }
}

#[test]
fn every_order_earns_its_points_once_when_the_leader_is_killed() {
    let mut cluster = Cluster::start();
    let mut delivered = 0;
    for round in 0..3 {
        for number in 0..20 {
            let key = format!("order-{round}-{number}");
            let body = json!({ "netTotal": "100.00", "customerId": "ada" }).to_string();
            let (status, placed) = cluster.insist("POST", "/orders/value", &body, &key);
            assert_eq!(status, 201, "{placed}");
            let id = placed["orderId"].as_str().expect("an id").to_owned();
            if number == 10 {
                // One of the three leads what is under way; over three rounds all have been killed.
                cluster.kill(round);
            }
            let (status, answer) =
                cluster.insist("POST", &format!("/orders/deliver/{id}"), "", &format!("{key}-delivered"));
            assert_eq!(status, 200, "{answer}");
            delivered += 1;
        }
        cluster.start_node(round);
        cluster.ready();
    }
    // 119.00 gross each.
    let began = Instant::now();
    let expected = json!({ "customer": "ada", "balance": 119 * delivered, "orders": delivered });
    loop {
        let (_, found) = cluster.insist("GET", "/loyalty/ada", "", "");
        if found == expected {
            break;
        }
        assert!(found["orders"].as_u64() <= Some(delivered), "more than was delivered: {found}");
        assert!(began.elapsed() < PATIENCE, "{found}, expected {expected}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Spending is repeated under one key, at every node: it happens once.
    for _ in 0..3 {
        let (status, left) = cluster.insist("POST", "/loyalty/ada/spend/19", "", "a-gift");
        assert_eq!((status, &left["balance"]), (200, &json!(119 * delivered - 19)));
    }
    let (status, refused) = cluster.insist("POST", "/loyalty/ada/spend/1000000", "", "too-much");
    assert_eq!((status, &refused["type"]), (409, &json!("too-few-points")));
}
