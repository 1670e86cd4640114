//! The commands of `corduroy`, as a person or a script meets them: what they print, how they end.
//!
//! Each test has a cluster of its own, started by `corduroy up` on ports of its own. Ports, process ids, folders and
//! times differ from run to run; they are replaced by their names before anything is compared.
mod harness;

use harness::{corduroy, machine, wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::{
        MutexGuard,
        atomic::{AtomicU16, Ordering},
    },
    time::Instant,
};
use tempfile::TempDir;

// --- The cluster.

/// A running `corduroy up`.
struct Up {
    child: Child,
    out: BufReader<ChildStdout>,
    base: u16,
    dir: TempDir,
    /// What `up` printed when it was ready.
    ready: Value,
    _machine: MutexGuard<'static, ()>,
}

impl Up {
    /// Three nodes with the log alone.
    fn start() -> Self {
        Self::start_with(&["--services", "none"])
    }

    fn start_with(more: &[&str]) -> Self {
        let machine = machine();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let base = free_base();
        let (mut child, mut out) = spawn_up(base, &dir, more);
        let mut line = String::new();
        out.read_line(&mut line).expect("readable");
        if line.is_empty() {
            let status = child.wait().expect("it was started");
            panic!("up ended ({status}): {}", fs::read_to_string(dir.path().join("up.err")).unwrap_or_default());
        }
        let ready = serde_json::from_str(&line).expect("one JSON object");
        Up { child, out, base, dir, ready, _machine: machine }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let at = |offset: u16| {
            (1..=3).map(|i| format!("127.0.0.1:{}", self.base + offset + i)).collect::<Vec<_>>().join(",")
        };
        let mut command = corduroy();
        command.args(arguments).env("CORDUROY_GRPC", at(4)).env("CORDUROY_ADMIN", at(12)).env("CORDUROY_HTTP", at(0));
        command
    }

    /// Runs a command that must succeed; gives what it printed, with the names of what differs.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.shown(&expect(self.command(arguments).output().expect("it runs"), 0, arguments).stdout)
    }

    /// As [`Up::ok`], exactly as it was printed.
    #[track_caller]
    fn raw(&self, arguments: &[&str]) -> String {
        let output = expect(self.command(arguments).output().expect("it runs"), 0, arguments);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a command with this standard input.
    #[track_caller]
    fn fed(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        child.stdin.take().expect("piped").write_all(input).expect("it reads its input");
        self.shown(&expect(child.wait_with_output().expect("it ends"), 0, arguments).stdout)
    }

    /// Runs a command that must fail with this exit code; gives what it said on standard error.
    #[track_caller]
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        self.shown(&expect(self.command(arguments).output().expect("it runs"), code, arguments).stderr)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = expect(self.command(arguments).output().expect("it runs"), 0, arguments);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn pid(&self, node: usize) -> u32 {
        u32::try_from(self.ready["nodes"][node - 1]["pid"].as_u64().expect("a pid")).expect("a pid")
    }

    /// What `up` has said on standard error.
    fn said(&self) -> String {
        self.shown(&fs::read(self.dir.path().join("up.err")).expect("its file"))
    }

    /// Replaces what differs from run to run.
    fn shown(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        text = text.replace(&self.data().display().to_string(), "DATA");
        for (name, offset) in [("HTTP", 0), ("GRPC", 4), ("PEER", 8), ("ADMIN", 12)] {
            for i in 1..=3 {
                text = text.replace(&format!("127.0.0.1:{}", self.base + offset + i), &format!("{name}{i}"));
            }
        }
        for node in 1..=3 {
            text = text.replace(&format!("\"pid\":{}", self.pid(node)), &format!("\"pid\":\"PID{node}\""));
        }
        without_times(&text)
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).expect("up runs");
    }

    /// Ctrl-C; waits for the end.
    fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("up said:\n{}", fs::read_to_string(self.dir.path().join("up.err")).unwrap_or_default());
        }
    }
}

fn spawn_up(base: u16, dir: &TempDir, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let said = fs::OpenOptions::new().create(true).append(true).open(dir.path().join("up.err")).expect("a file");
    let mut command = corduroy();
    command.args(["up", "--format", "json", "--data"]).arg(dir.path().join("data"));
    for (flag, offset) in [("--http-port", 0), ("--grpc-port", 4), ("--peer-port", 8), ("--admin-port", 12)] {
        command.args([flag, &(base + offset).to_string()]);
    }
    let mut child =
        command.args(more).stdout(Stdio::piped()).stderr(said).spawn().expect("the binary was built for this test");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

/// A base with sixteen free ports above it, below the range of outgoing connections and above the harness's.
fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 160).expect("below 160");
    for _ in 0..160 {
        let base = 30_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 160 * 16;
        if (base..base + 16).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("no sixteen free ports in a row");
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(raw.cast_signed()).expect("not zero")
}

#[track_caller]
fn expect(output: Output, code: i32, arguments: &[&str]) -> Output {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "corduroy {arguments:?}\nstdout: {stdout}\nstderr: {stderr}");
    output
}

/// `2026-11-21T06:35:22.474679Z` becomes `TIME`; anything that is not exactly of that form stays.
fn without_times(text: &str) -> String {
    const FORM: &str = "0000-00-00T00:00:00.000000Z";
    let matches = |at: &str| {
        at.len() >= FORM.len()
            && at.bytes().zip(FORM.bytes()).all(|(b, form)| if form == b'0' { b.is_ascii_digit() } else { b == form })
    };
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let skip = if matches(rest) {
            shown.push_str("TIME");
            FORM.len()
        } else {
            shown.push(first);
            first.len_utf8()
        };
        rest = &rest[skip..];
    }
    shown
}

/// JSON of `status` without what changes from moment to moment: the space of disks, and how far views are.
fn without_states(json: &str) -> String {
    let json = without(r#","clock":{"#, '}', json);
    without(r#","disk":{"#, '}', &without(r#","views":["#, ']', &json))
}

fn without(begin: &str, end: char, json: &str) -> String {
    let mut rest = json;
    let mut kept = String::new();
    while let Some((before, part)) = rest.split_once(begin) {
        kept.push_str(before);
        rest = part.split_once(end).expect("it ends").1;
    }
    kept + rest
}

// --- What they print.

#[test]
fn up_starts_a_cluster_that_status_shows_and_ctrl_c_stops() {
    let mut up = Up::start();
    let node = |i: usize| {
        format!(
            r#"{{"admin":"ADMIN{i}","data":"DATA/node-{i}","grpc":"GRPC{i}","http":"HTTP{i}","id":{i},"log":"DATA/node-{i}.log","peer":"PEER{i}","pid":"PID{i}"}}"#
        )
    };
    let nodes = up.shown(up.ready["nodes"].to_string().as_bytes());
    assert_eq!(nodes, format!("[{},{},{}]", node(1), node(2), node(3)));

    let status = up.json(&["status", "--format", "json"]);
    let leader = status["partitions"][0]["leader"].as_u64().expect("it has a leader");
    let term = status["partitions"][0]["term"].as_u64().expect("a term");
    let node = |i: usize| format!(r#"{{"id":{i},"http":"HTTP{i}","grpc":"GRPC{i}","pid":"PID{i}","ready":true}}"#);
    let expected = format!(
        concat!(
            r#"{{"nodes":[{},{},{}],"partitions":[{{"topic":"_cluster","partition":0,"leader":{},"term":{},"#,
            r#""replicas":[1,2,3],"startOffset":0,"endOffset":3}}],"subscriptions":[]}}"#,
            "\n"
        ),
        node(1),
        node(2),
        node(3),
        leader,
        term
    );
    assert_eq!(without_states(&up.ok(&["status", "--format", "json"])), expected);
    for node in status["nodes"].as_array().expect("a list") {
        let (free, total) = (node["disk"]["freeBytes"].as_u64(), node["disk"]["totalBytes"].as_u64());
        assert!(0 < free.expect("bytes") && free <= total, "{node}");
        assert_eq!(node["clock"]["wrong"], false, "{node}");
    }
    wait_until("every view to follow the log", || {
        let status = up.json(&["status", "--format", "json"]);
        let expected: Value =
            serde_json::from_str(r#"[{"view":"topics","state":"following","behind":0,"rebuilds":0}]"#).expect("JSON");
        let nodes = status["nodes"].as_array().expect("a list");
        if nodes.iter().all(|node| node["views"] == expected) { Ok(()) } else { Err(status.to_string()) }
    });
    let text = up.ok(&["status"]);
    assert!(text.contains("http://HTTP2") && text.contains("_cluster/0") && text.contains("ready"), "{text}");

    assert_eq!(up.stop().code(), Some(0));
    let said = up.said();
    assert!(said.ends_with("stopping 3 nodes\nstopped; the data is in DATA\n"), "{said}");
    let mut rest = String::new();
    up.out.read_line(&mut rest).expect("readable");
    assert_eq!(rest, "", "nothing but one JSON object was printed");
    for node in 1..=3 {
        assert!(test_kill_process(pid(up.pid(node))).is_err(), "node {node} has ended");
    }
    let failure = up.refused(3, &["status"]);
    assert!(failure.starts_with("error: no node could be reached"), "{failure}");
}

#[test]
fn lines_become_records_and_come_back_from_read_and_dump() {
    let mut up = Up::start();
    assert_eq!(
        up.ok(&["topics", "create", "orders", "--partitions", "2"]),
        "created orders: 2 partitions, 3 replicas of each\n"
    );

    // CRLF, an empty line, bytes that are not UTF-8, and no end of the last line.
    let lines = b"placed\r\n\npa\xffid\nlast";
    let acks = "{\"partition\":1,\"offset\":0}\n{\"partition\":1,\"offset\":1}\n{\"partition\":1,\"offset\":2}\n{\"partition\":1,\"offset\":3}\n";
    assert_eq!(up.fed(&["append", "orders", "--partition", "1"], lines), acks);
    // Without partition and key, line n goes to partition n modulo 2.
    assert_eq!(up.fed(&["append", "orders", "--format", "text"], b"x\ny\nz\n"), "0\t0\n1\t4\n0\t1\n");
    let file = up.dir.path().join("lines");
    fs::write(&file, "k\n").expect("written");
    let keyed =
        ["append", "orders", "--partition", "0", "--key", "customer-7", "--file", file.to_str().expect("plain")];
    assert_eq!(up.ok(&keyed), "{\"partition\":0,\"offset\":2}\n");

    let record = |partition, offset, key: &str, value: &str| {
        format!(r#"{{"partition":{partition},"offset":{offset},"time":"TIME","key":{key},{value},"headers":[]}}"#)
            + "\n"
    };
    let zero = [
        record(0, 0, "null", r#""value":"x""#),
        record(0, 1, "null", r#""value":"z""#),
        record(0, 2, r#""customer-7""#, r#""value":"k""#),
    ];
    let one = [
        record(1, 0, "null", r#""value":"placed""#),
        record(1, 1, "null", r#""value":"""#),
        record(1, 2, "null", r#""valueBase64":"cGH/aWQ=""#),
        record(1, 3, "null", r#""value":"last""#),
        record(1, 4, "null", r#""value":"y""#),
    ];
    assert_eq!(up.ok(&["read", "orders"]), zero.concat() + &one.concat());
    assert_eq!(up.ok(&["read", "orders/1", "--from", "-2"]), one[3..].concat());
    assert_eq!(up.ok(&["read", "orders/1", "--from", "1", "--max", "2"]), one[1..3].concat());
    assert_eq!(up.ok(&["read", "orders", "--from", "end"]), "");
    assert_eq!(up.ok(&["read", "orders/0", "--follow", "--max", "3"]), zero.concat());
    assert_eq!(up.ok(&["read", "orders/0", "--from", "2", "--format", "text"]), "0\t2\tTIME\tcustomer-7\tk\n");
    for node in ["1", "2", "3"] {
        let stale = ["read", "orders/1", "--node", node, "--consistency", "stale"];
        wait_until("the replica to have it all", || {
            let read = up.ok(&stale);
            if read == one.concat() { Ok(()) } else { Err(read) }
        });
    }
    assert_eq!(
        up.refused(1, &["read", "orders/1", "--from", "99"]),
        "error: offset 99 is past the end of orders/1, which is 5\n"
    );
    assert_eq!(
        up.refused(1, &["read", "orders/7"]),
        "error: topic \"orders\" has partitions 0..2, there is no partition 7\n"
    );

    let before = (up.ok(&["read", "orders/0"]), up.ok(&["read", "orders/1"]));
    assert_eq!(up.stop().code(), Some(0));
    for node in 1..=3 {
        let data = up.data().join(format!("node-{node}")).display().to_string();
        let dump = |partition| up.ok(&["dump", "--data", &data, "--uncommitted", partition]);
        assert_eq!((dump("orders/0"), dump("orders/1")), before, "node {node}");
        assert_eq!(up.refused(1, &["dump", "--data", &data, "nope/0"]), "error: no topic named \"nope\"\n");
        assert!(up.refused(2, &["dump", "--data", &data, "orders"]).contains("Give orders/0"));
    }
}

#[test]
fn read_finds_by_key_and_by_time_and_says_what_is_wrong_with_either() {
    let up = Up::start();
    up.ok(&["topics", "create", "orders", "--partitions", "4", "--key-index"]);
    up.ok(&["topics", "create", "plain"]);
    let append = |key: &str, lines: &str| up.fed(&["append", "orders", "--key", key], lines.as_bytes());
    append("customer-7", "first\n");
    append("customer-8", "another's\n");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    append("customer-7", "second\nthird\n");

    // The customer's partition holds nobody else's records with this key, and the times of all are in order.
    let all: Vec<Value> = up
        .raw(&["read", "orders"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|record: &Value| record["key"] == "customer-7")
        .collect();
    let values = |arguments: &[&str]| -> Vec<String> {
        let lines = up.raw(arguments);
        let value =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["value"].as_str().expect("text").to_owned();
        lines.lines().map(value).collect()
    };
    assert_eq!(values(&["read", "orders", "--key", "customer-7"]), ["first", "second", "third"]);
    assert_eq!(values(&["read", "orders", "--key", "customer-7", "--max", "2"]), ["first", "second"]);
    assert_eq!(values(&["read", "orders", "--key", "nobody"]), [""; 0]);
    let (partition, offset) = (&all[1]["partition"], &all[1]["offset"]);
    let target = format!("orders/{partition}");
    assert_eq!(values(&["read", &target, "--key", "customer-7", "--from", &offset.to_string()]), ["second", "third"]);
    for node in ["1", "2", "3"] {
        assert_eq!(values(&["read", &target, "--key", "customer-7", "--node", node]), ["first", "second", "third"]);
    }

    let second = format!("@{}", all[1]["time"].as_str().expect("a time"));
    assert_eq!(values(&["read", &target, "--from", &second]), ["second", "third"]);
    assert_eq!(values(&["read", &target, "--from", &second, "--follow", "--max", "1"]), ["second"]);
    assert_eq!(values(&["read", &target, "--key", "customer-7", "--from", &second]), ["second", "third"]);
    assert_eq!(values(&["read", "orders", "--key", "customer-7", "--from", "@-1h"]), ["first", "second", "third"]);
    assert_eq!(values(&["read", "orders", "--from", "@2126-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(values(&["read", "plain", "--from", "@-5m"]), [""; 0], "no key index is needed");

    assert_eq!(
        up.refused(2, &["read", "plain", "--key", "customer-7"]),
        "error: topic \"plain\" has no key index, so its records are not found by key; whether it has one is chosen when a \
         topic is created\n"
    );
    let said = up.refused(2, &["read", "orders", "--from", "@yesterday"]);
    assert!(said.contains("@yesterday is no time: ") && said.contains("try @2026-11-27T10:00:00Z"), "{said}");
    assert!(up.refused(2, &["read", "orders", "--key", "k", "--follow"]).contains("cannot be used with"), "{said}");

    let (code, checks) = harness::http_get(up.base + 1, "/readyz?verbose").expect("it answers");
    assert!(code == 200 && checks.contains("[+] view topics: following, has "), "{checks}");
    let (_, metrics) = harness::http_get(up.base + 1, "/metrics").expect("it answers");
    for line in [
        "corduroy_view_following{node=\"1\",view=\"topics\"} 1",
        "corduroy_view_rebuilds_total{node=\"1\",view=\"topics\",reason=\"damaged\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

/// The commands of the shop, and what they say when something cannot be had. A1: an order of a value, and one with too many places.
#[test]
fn the_shop_is_used_from_a_command_line() {
    let up = Up::start_with(&[]);
    let created = up.json(&["order", "create", "--customer", "ada", "--format", "json"]);
    assert_eq!(
        (&created["netTotal"], &created["vatRate"], &created["grandTotal"]),
        (&Value::from("150.00"), &Value::from(1900), &Value::from("178.50"))
    );
    let said = up.refused(2, &["order", "create", "99.999"]);
    assert!(said.contains("(malformed)"), "{said}");
    let delivered = up.json(&["order", "deliver", "--format", "json"]);
    assert_eq!((&delivered["orderId"], &delivered["deliverySent"]), (&created["orderId"], &Value::Bool(true)));
    let said = up.refused(1, &["order", "deliver"]);
    assert!(said.contains("(no-undelivered-order). `corduroy order create` makes one"), "{said}");

    // The same key is the same user.
    let user = up.json(&["payment", "create-user", "--key", "a-user", "--format", "json"]);
    assert_eq!(up.json(&["payment", "create-user", "--key", "a-user", "--format", "json"]), user);
    let user = user["user_id"].as_str().expect("an id");
    up.ok(&["payment", "add-funds", user, "15"]);
    let said = up.refused(1, &["payment", "pay", user, "16"]);
    assert!(said.contains("(out-of-credit)"), "{said}");
    assert_eq!(up.json(&["payment", "show", user, "--format", "json"])["credit"], Value::from(15));

    let item = up.json(&["stock", "create", "5", "--format", "json"]);
    let item = item["item_id"].as_str().expect("an id");
    assert!(up.ok(&["stock", "add", item, "50"]).contains("stock  50"));
    assert!(up.refused(1, &["stock", "subtract", item, "51"]).contains("(out-of-stock)"));
    assert_eq!(up.json(&["stock", "show", item, "--format", "json"])["stock"], Value::from(50));

    let text = up.ok(&["status"]);
    assert!(text.contains("payment/0") && text.contains("lag"), "{text}");
}

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let up = Up::start_with(&["--services", "billing"]);
    assert_eq!(up.ok(&["topics", "list"]), "no topics yet; try: corduroy topics create orders --partitions 4\n");
    let created = up.ok(&["topics", "create", "orders", "--partitions", "2", "--format", "json"]);
    assert_eq!(
        created,
        "{\"keyIndex\":false,\"name\":\"orders\",\"partitions\":2,\"replication\":3,\"service\":null}\n"
    );
    up.ok(&["topics", "create", "audit", "--replication", "1", "--key-index"]);
    assert_eq!(
        up.ok(&["topics", "list", "--format", "json"]),
        "[{\"keyIndex\":true,\"name\":\"audit\",\"partitions\":1,\"replication\":1,\"service\":null},\
          {\"keyIndex\":false,\"name\":\"orders\",\"partitions\":2,\"replication\":3,\"service\":null}]\n"
    );
    assert_eq!(up.refused(1, &["topics", "create", "orders"]), "error: a topic named \"orders\" exists already\n");
    assert_eq!(up.refused(1, &["topics", "describe", "nope"]), "error: no topic named \"nope\"\n");
    assert_eq!(up.refused(1, &["topics", "delete", "nope"]), "error: no topic named \"nope\"\n");
    assert_eq!(up.refused(1, &["read", "nope"]), "error: no topic named \"nope\"\n");
    up.refused(2, &["topics", "create", "Not a name"]);

    let described = up.json(&["topics", "describe", "orders", "--format", "json"]);
    assert_eq!(described["name"], "orders");
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(2));
    assert_eq!(described["partitions"][1]["endOffset"], 0);
    let mut replicas: Vec<u64> =
        described["partitions"][1]["replicas"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    replicas.sort_unstable();
    assert_eq!(replicas, [1, 2, 3]);

    assert_eq!(up.ok(&["topics", "delete", "orders"]), "deleted orders\n");
    let left = up.ok(&["topics", "list", "--format", "json"]);
    assert!(left.contains("audit") && !left.contains("orders"), "{left}");
    assert!(
        up.ok(&["topics", "describe", "audit"])
            .starts_with("audit: 1 partition, 1 replicas of each, with a key index\n")
    );
    let bills = up.ok(&["topics", "create", "bills", "--service", "billing"]);
    assert_eq!(
        bills, "created bills: 1 partition, 3 replicas of each, on nodes of \"billing\"\n",
        "all of them carry it"
    );
}

#[test]
fn cursors_are_set_listed_and_deleted() {
    let up = Up::start();
    up.ok(&["topics", "create", "orders", "--partitions", "2"]);
    assert_eq!(up.ok(&["cursors", "list", "orders"]), "no cursors yet\n");
    up.fed(&["append", "orders", "--partition", "1"], b"a\nb\nc\n");
    assert_eq!(up.ok(&["cursors", "set", "orders/1", "mailer", "2"]), "mailer is at 2 of orders/1\n");
    assert_eq!(
        up.ok(&["cursors", "list", "orders", "--format", "json"]),
        "[{\"fence\":0,\"lag\":1,\"name\":\"mailer\",\"offset\":2,\"partition\":1,\"time\":\"TIME\"}]\n"
    );
    assert!(up.ok(&["cursors", "list", "orders/1"]).contains("mailer"));
    assert_eq!(up.ok(&["cursors", "list", "orders/0"]), "no cursors yet\n");
    let beyond = up.refused(1, &["cursors", "set", "orders/1", "mailer", "9"]);
    assert!(beyond.contains("offset 9") && beyond.contains("orders/1"), "{beyond}");
    assert!(up.refused(2, &["cursors", "set", "orders", "mailer", "1"]).contains("one partition"));
    assert_eq!(up.refused(1, &["cursors", "list", "nope"]), "error: no topic named \"nope\"\n");
    assert_eq!(up.ok(&["cursors", "delete", "orders/1", "mailer"]), "deleted mailer\n");
    assert_eq!(up.ok(&["cursors", "list", "orders"]), "no cursors yet\n");
}

// --- When something dies.

#[test]
fn up_says_how_a_child_died_and_the_others_go_on() {
    let up = Up::start();
    up.ok(&["topics", "create", "orders"]);
    up.fed(&["append", "orders"], b"before\n");
    let leader = up.json(&["topics", "describe", "orders", "--format", "json"])["partitions"][0]["leader"]
        .as_u64()
        .expect("a leader");
    let leader = usize::try_from(leader).expect("small");
    let mut follower =
        up.command(&["read", "orders", "--follow", "--max", "2"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut followed = BufReader::new(follower.stdout.take().expect("piped"));
    let mut first = String::new();
    followed.read_line(&mut first).expect("readable");
    assert!(first.contains("before"), "{first}");

    kill_process(pid(up.pid(leader)), Signal::KILL).expect("it runs");
    let said = wait_until("up to say it", || {
        let said = up.said();
        if said.contains("to start it again") { Ok(said) } else { Err(said) }
    });
    assert!(said.contains(&format!("node {leader} was killed by SIGKILL (signal 9)")), "{said}");
    assert!(said.contains(&format!("last line of DATA/node-{leader}.log: ")), "{said}");
    assert!(
        said.contains(&format!("corduroy node --config DATA/cluster.toml --id {leader} --data DATA/node-{leader}")),
        "{said}"
    );

    up.fed(&["append", "orders"], b"after\n");
    let mut second = String::new();
    followed.read_line(&mut second).expect("readable");
    assert!(second.contains("\"offset\":1") && second.contains("after"), "no gap, no repeat: {second}");
    assert!(follower.wait().expect("it ends").success());

    let status = up.json(&["status", "--format", "json"]);
    let dead = &status["nodes"][leader - 1];
    assert_eq!((&dead["id"], &dead["pid"], &dead["ready"]), (&Value::from(leader), &Value::Null, &Value::Bool(false)));
    assert_ne!(status["partitions"][1]["leader"], Value::from(leader), "{status}");
}

#[test]
fn a_node_without_a_majority_says_that_it_is_not_ready() {
    let up = Up::start();
    let ask = |path: &str| harness::http_get(up.base + 3, path);
    let (code, text) = ask("/readyz?verbose").expect("it answers");
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("[+] recovery: ") && text.contains("[+] _cluster/0: led by node "), "{text}");
    for node in [1, 2] {
        kill_process(pid(up.pid(node)), Signal::KILL).expect("it runs");
    }
    let text = wait_until("node 3 to say it", || match ask("/readyz") {
        Ok((503, text)) => Ok(text),
        other => Err(format!("{other:?}")),
    });
    assert!(text.starts_with("[-] _cluster/0: ") && text.ends_with("not ready\n"), "{text}");
    assert_eq!(ask("/livez"), Ok((200, "ok\n".to_owned())));
    let (code, problem) = ask("/nothing").expect("it answers");
    let problem: Value = serde_json::from_str(&problem).expect("a problem in JSON");
    assert_eq!(
        (code, &problem["status"], &problem["title"]),
        (404, &Value::from(404), &Value::from("There is nothing here"))
    );
    let (code, metrics) = ask("/metrics").expect("it answers");
    assert!(code == 200 && metrics.contains("corduroy_ready{node=\"3\"} 0"), "{metrics}");
}

#[test]
fn no_node_survives_an_up_that_is_killed() {
    let mut up = Up::start();
    up.signal(Signal::KILL);
    up.child.wait().expect("it ends");
    for node in 1..=3 {
        wait_until("the node to follow", || match test_kill_process(pid(up.pid(node))) {
            Ok(()) => Err(format!("node {node} runs")),
            Err(_) => Ok(()),
        });
    }
}

#[test]
fn a_second_run_continues_the_cluster_and_refuses_another_size() {
    let mut up = Up::start();
    up.ok(&["topics", "create", "orders"]);
    up.fed(&["append", "orders"], b"kept\n");
    let (mut second, _) = spawn_up(up.base, &up.dir, &["--services", "none"]);
    assert_eq!(second.wait().expect("it ends").code(), Some(5));
    let said = up.said();
    assert!(said.contains("(node 1, HTTP, --http-port)") && said.contains("in use by other processes"), "{said}");
    assert_eq!(up.stop().code(), Some(0));

    let (mut other, _) = spawn_up(up.base, &up.dir, &["--services", "none", "--nodes", "2"]);
    assert_eq!(other.wait().expect("it ends").code(), Some(2));
    assert!(up.said().contains("DATA holds a cluster of 3 nodes"), "{}", up.said());

    let (child, mut out) = spawn_up(up.base, &up.dir, &["--services", "none"]);
    up.child = child;
    let mut line = String::new();
    out.read_line(&mut line).expect("readable");
    let ready: Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!(ready["cluster"], up.ready["cluster"]);
    assert!(up.ok(&["read", "orders"]).contains("kept"));
}

// --- What needs no cluster.

#[test]
fn exit_codes_are_documented() {
    for arguments in [&["help", "exit-codes"][..], &["exit-codes"]] {
        let output = expect(corduroy().args(arguments).output().expect("it runs"), 0, arguments);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for line in ["3  no node of the cluster could be reached", "4  unknown outcome", "72  a node halted: DATA_LOSS"]
        {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}

#[test]
fn nobody_there_is_exit_code_three_and_a_wrong_flag_is_two() {
    let base = free_base();
    let address = format!("127.0.0.1:{}", base + 1);
    let since = Instant::now();
    for arguments in [&["status", "--admin", &address][..], &["topics", "list", "--admin", &address]] {
        expect(corduroy().args(arguments).output().expect("it runs"), 3, arguments);
    }
    let arguments = ["read", "orders", "--grpc", &address, "--timeout", "300ms"];
    expect(corduroy().args(arguments).output().expect("it runs"), 3, &arguments);
    assert!(since.elapsed() < harness::PATIENCE);
    for arguments in
        [&["read"][..], &["status", "--frobnicate"], &["read", "orders/x"], &["status", "--admin", "no address"]]
    {
        expect(corduroy().args(arguments).output().expect("it runs"), 2, arguments);
    }
}
