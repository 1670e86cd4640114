//! What is wrong is refused in one specific sentence, with the documented exit code, and nothing else is disturbed by
//! it.
mod harness;

use corduroy_client::{Error, ReadOptions, Record};
use corduroy_proto::v1::{self, append_stream_response::Outcome, log_client::LogClient};
use harness::{Cluster, Ended, NodeProcess, PATIENCE, Ports, TOPIC, run};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use uuid::Uuid;

/// The documented exit codes these tests meet.
mod exit {
    pub const FAILED: i32 = 1;
    pub const USAGE: i32 = 2;
    pub const UNREACHABLE: i32 = 3;
    pub const START: i32 = 5;
    pub const DATA_LOSS: i32 = 72;
    pub const WRONG_IDENTITY: i32 = 73;
}

// --- Before anything is opened: configuration and ports.

#[test]
fn an_unknown_configuration_key_is_refused_by_name() {
    let mut cluster = Cluster::configured();
    let file = cluster.dir().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("written by the harness");
    fs::write(&file, text.replace("hot_tail =", "hot_tial =")).expect("a temporary file");
    let ended = start_and_wait(cluster.node(1));
    let named = format!("unknown configuration key \"limits.hot_tial\" in {}", file.display());
    ended.assert(exit::USAGE, &[&named, "did you mean \"limits.hot_tail\"?"]);
    assert!(!cluster.node(1).data.exists(), "nothing was created");
}

#[test]
fn an_address_beyond_this_machine_is_refused() {
    let mut cluster = Cluster::configured();
    let ended = start_with_and_wait(cluster.node(1), &["--listen-grpc", "0.0.0.0:7001"]);
    ended.assert(exit::USAGE, &["listen.grpc", "\"0.0.0.0:7001\"", "is not a loopback address"]);
}

#[test]
fn a_port_in_use_is_named_with_its_purpose_and_flag() {
    let mut cluster = Cluster::configured();
    let ports = cluster.node(1).ports;
    let purposes = ["HTTP", "gRPC clients", "other nodes", "operators"];
    for ((name, port), purpose) in ports.all().into_iter().zip(purposes) {
        let _other = TcpListener::bind(("127.0.0.1", port)).expect("the port was free");
        let ended = start_and_wait(cluster.node(1));
        let sentence = format!(
            "cannot listen on 127.0.0.1:{port} for {purpose} (--listen-{name}): another process uses this port"
        );
        ended.assert(exit::START, &[&sentence]);
    }
    assert!(!cluster.node(1).data.exists(), "ports are taken before any file is touched");
}

#[test]
fn too_few_file_descriptors_are_refused_with_the_command_to_type() {
    let mut cluster = Cluster::configured();
    let (config, data) = (cluster.dir().join("cluster.toml"), cluster.node(1).data.clone());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 200 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_corduroy")]);
    command.args(["node", "--id", "1", "--insecure-dev", "--config"]).arg(config).arg("--data").arg(&data);
    let output = command.stdin(Stdio::null()).output().expect("sh is there");
    let sentence = "this process may open only 200 files, a node needs 1024: type `ulimit -n 1024`";
    assert_output(&output, exit::START, sentence);
    assert!(!data.exists(), "nothing was created");
}

// --- Data directories.

#[test]
fn a_folder_with_somebody_elses_files_is_refused_and_left_alone() {
    let mut cluster = Cluster::configured();
    let data = cluster.node(1).data.clone();
    fs::create_dir(&data).expect("a temporary folder");
    fs::write(data.join("thesis.tex"), "chapter 1").expect("a temporary file");
    let ended = start_and_wait(cluster.node(1));
    let sentence = format!("WRONG_IDENTITY: {} is not a Corduroy data directory", data.display());
    ended.assert(exit::WRONG_IDENTITY, &[&sentence]);
    assert_eq!(names(&data), ["thesis.tex"]);
    assert_eq!(fs::read_to_string(data.join("thesis.tex")).expect("still there"), "chapter 1");
}

#[test]
fn the_folder_of_another_node_is_refused() {
    let mut cluster = Cluster::configured();
    open_once(cluster.node(1));
    let (id, foreign) = (cluster.id, cluster.node(1).data.clone());
    let node = cluster.node(2);
    fs::rename(&foreign, &node.data).expect("both are in the same folder");
    let data = node.data.display().to_string();
    let sentence = format!("WRONG_IDENTITY: {data} belongs to node 1 of cluster {id}, this is node 2 of cluster {id}");
    start_and_wait(node).assert(exit::WRONG_IDENTITY, &[&sentence]);
}

#[test]
fn the_folder_of_another_cluster_is_refused() {
    let mut cluster = Cluster::configured();
    open_once(cluster.node(1));
    let (id, other) = (cluster.id, Uuid::new_v4());
    let node = cluster.node(1);
    let data = node.data.display().to_string();
    let ended = start_with_and_wait(node, &["--cluster-id", &other.to_string()]);
    let sentence =
        format!("WRONG_IDENTITY: {data} belongs to node 1 of cluster {id}, this is node 1 of cluster {other}");
    ended.assert(exit::WRONG_IDENTITY, &[&sentence]);
    // And its owner still takes it.
    open_once(cluster.node(1));
}

#[test]
fn a_folder_in_use_is_refused_to_a_second_process_and_to_dump() {
    let mut cluster = Cluster::configured();
    cluster.start_all();
    let data = cluster.node(1).data.clone();
    let sentence = format!("the data directory {} is in use by another process", data.display());

    let config = cluster.dir().join("cluster.toml");
    let mut second = NodeProcess::new(1, Ports::free(), &config, cluster.dir());
    let at = |port: u16| format!("127.0.0.1:{port}");
    let Ports { http, grpc, peer, admin } = second.ports;
    // The same node, with the same folder, that could do no harm by its ports.
    let peers = format!("1={},2={},3={}", at(peer), at(cluster.node(2).ports.peer), at(cluster.node(3).ports.peer));
    let (http, grpc, admin) = (at(http), at(grpc), at(admin));
    let flags = ["--peers", &peers, "--listen-http", &http, "--listen-grpc", &grpc, "--listen-admin", &admin];
    second.start_with(&flags);
    second.wait().assert(exit::START, &[&sentence]);

    let dumped = run(["dump", "--data", &data.display().to_string(), "_cluster/0"]);
    assert_output(&dumped, exit::START, &sentence);
    cluster.node(1).assert_alive();
    cluster.node(1).wait_ready();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_folder_was_wiped_halts_and_the_others_go_on() {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    append(&cluster, 10).await;
    stop(cluster.node(2));
    fs::remove_dir_all(&cluster.node(2).data).expect("the node has stopped");
    let ended = start_and_wait(cluster.node(2));
    ended.assert(exit::DATA_LOSS, &["DATA_LOSS", "node 2 is known with another data directory"]);
    // The refused attempt must not have made itself at home either.
    let ended = start_and_wait(cluster.node(2));
    ended.assert(exit::DATA_LOSS, &["DATA_LOSS"]);
    assert_goes_on(&mut cluster, &[1, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_folder_was_restored_from_an_older_copy_halts_and_the_others_go_on() {
    // It came back twice since the copy was taken: its peers have met a later boot than the copy's next.
    restored_from_a_copy(2, "node 2 once had boot epoch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restored_to_its_last_boot_halts_although_its_boot_epoch_is_right() {
    // It came back once: the restored directory starts with the same boot epoch. It is exposed by what was confirmed or, if
    // it has written as much by the time it greets, by that epoch having been used by another process.
    restored_from_a_copy(1, "node 2 ").await;
}

/// Node 2 is copied, comes back `times` and confirms more each time, and is then replaced by the copy.
async fn restored_from_a_copy(times: u32, sentence: &str) {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    append(&cluster, 10).await;
    stop(cluster.node(2));
    let (data, backup) = (cluster.node(2).data.clone(), cluster.dir().join("backup"));
    copy(&data, &backup);
    for _ in 0..times {
        cluster.node(2).start();
        cluster.node(2).wait_ready();
        append(&cluster, 10).await;
        stop(cluster.node(2));
    }
    fs::remove_dir_all(&data).expect("the node has stopped");
    copy(&backup, &data);
    let ended = start_and_wait(cluster.node(2));
    ended.assert(exit::DATA_LOSS, &["DATA_LOSS", sentence, "is an older copy"]);
    // However often it is started: it does not get as far as a peer again.
    for _ in 0..2 {
        let ended = start_and_wait(cluster.node(2));
        ended.assert(exit::DATA_LOSS, &["DATA_LOSS", "was refused before", sentence]);
    }
    assert_goes_on(&mut cluster, &[1, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_only_its_log_or_only_its_identity_halts() {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    stop(cluster.node(3));
    let data = cluster.node(3).data.clone();
    let wal = data.join("wal");

    fs::rename(&wal, cluster.dir().join("wal-aside")).expect("the same file system");
    let ended = start_and_wait(cluster.node(3));
    ended.assert(exit::DATA_LOSS, &["DATA_LOSS", "belongs to a node that has joined its cluster, and holds no log"]);

    let _ = fs::remove_dir_all(&wal);
    fs::rename(cluster.dir().join("wal-aside"), &wal).expect("the same file system");
    for copy in 1..=3 {
        fs::remove_file(data.join(format!("identity.{copy}"))).expect("three copies");
    }
    let ended = start_and_wait(cluster.node(3));
    ended.assert(exit::DATA_LOSS, &["DATA_LOSS", "holds a log but no identity"]);
    assert_goes_on(&mut cluster, &[1, 2]).await;
}

// --- Strangers.

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_disturbs_nobody() {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    append(&cluster, 10).await;
    let pids: Vec<u32> = cluster.nodes.iter().map(NodeProcess::pid).collect();
    let mut open = Vec::new();
    for node in &cluster.nodes {
        for (_, port) in node.ports.all() {
            open.extend(garbage().into_iter().map(|bytes| throw(port, &bytes)));
        }
    }
    append(&cluster, 10).await;
    drop(open);
    for node in &mut cluster.nodes {
        node.assert_alive();
        node.wait_ready();
    }
    assert_eq!(pids, cluster.nodes.iter().map(NodeProcess::pid).collect::<Vec<u32>>());
    append(&cluster, 10).await;
    cluster.shut_down();
}

/// Things that are not what any port expects.
fn garbage() -> Vec<Vec<u8>> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // The same noise in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(64 << 10)
    .collect();
    vec![
        Vec::new(),
        vec![0; 4096],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // The beginning of a TLS handshake.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &noise].concat(),
        // A frame of 16 MiB is announced, and does not come.
        [PREFACE, b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"].concat(),
        // Well-formed settings, then a request whose message says that it has 4 GiB.
        [PREFACE, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\x00\x00\x05\x00\x01\x00\x00\x00\x01\x00\xff\xff\xff\xff"]
            .concat(),
        noise,
    ]
}

/// Writes the bytes, reads what comes back for a moment, and keeps the connection open.
fn throw(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a node listens");
    stream.set_write_timeout(Some(PATIENCE)).expect("a sane time");
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a sane time");
    match stream.write_all(bytes) {
        Ok(()) => {}
        // Hung up in the middle: what else.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(error) => panic!("port {port}: {error}"),
    }
    // Whatever it is, or nothing in time.
    let _ = stream.read(&mut [0; 4096]);
    stream
}

// --- Requests.

#[tokio::test(flavor = "multi_thread")]
async fn impossible_requests_are_refused_one_by_one_and_append_nothing() {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    let client = cluster.client().await;
    let large = |bytes: usize| Record::new(vec![b'x'; bytes]);

    // The harness configures records of 64 KiB and batches of 256 KiB. Key and headers count.
    let refused = client.append(TOPIC, Some(0), vec![Record::new("fits"), large(65_537)]).await;
    says(
        refused,
        |e| matches!(e, Error::RecordTooLarge(_)),
        "record 1 of the request has 65537 bytes, the limit is 65536",
    );
    let refused = client.append(TOPIC, Some(0), vec![large(65_536).with_key("k")]).await;
    says(refused, |e| matches!(e, Error::RecordTooLarge(_)), "record 0 of the request has 65537 bytes");
    let refused = client.append(TOPIC, Some(0), vec![large(65_000); 5]).await;
    says(refused, |e| matches!(e, Error::BatchTooLarge(_)), "a batch may have 262144");
    let refused = client.append(TOPIC, Some(0), Vec::new()).await;
    says(refused, |e| matches!(e, Error::Invalid(_)), "an append needs at least one record");
    let refused = client.append("ordre", Some(0), vec![large(1)]).await;
    says(refused, |e| matches!(e, Error::UnknownTopic(_)), "no topic named \"ordre\"");
    let refused = client.append(TOPIC, Some(2), vec![large(1)]).await;
    let range = "topic \"order\" has partitions 0..2, there is no partition 2";
    says(refused, |e| matches!(e, Error::PartitionOutOfRange(_)), range);

    let options = ReadOptions::default();
    says(
        client.read("ordre", 0, 0, &options).await,
        |e| matches!(e, Error::UnknownTopic(_)),
        "no topic named \"ordre\"",
    );
    says(client.read(TOPIC, 7, 0, &options).await, |e| matches!(e, Error::PartitionOutOfRange(_)), "no partition 7");
    let refused = client.read(TOPIC, 0, 1, &options).await;
    says(refused, |e| matches!(e, Error::OffsetOutOfRange(_)), "offset 1 is past the end of order/0, which is 0");

    let again = cluster.admin().create_topic(TOPIC, 2, None).await;
    says(again, |e| matches!(e, Error::TopicExists(_)), "a topic named \"order\" exists already");

    for partition in 0..2 {
        let offsets = client.offsets(TOPIC, partition, &options).await.expect("the cluster works");
        assert_eq!((offsets.start, offsets.end), (0, 0), "a refused append appended something");
    }
    // The largest that is allowed is.
    let ack = client.append(TOPIC, Some(0), vec![large(65_536)]).await.expect("exactly the limit");
    assert_eq!((ack.partition, ack.first_offset, ack.count), (0, 0, 1));
    cluster.shut_down();
}

/// The outcomes of appends of one record each, sent over one stream to the leader of partition 0: by place, which is the
/// correlation id.
async fn streamed(cluster: &Cluster, appends: Vec<(&str, String)>) -> Vec<(u64, Result<u64, String>)> {
    let leader = cluster.leaders(2).await[0];
    let address = format!("http://{}", cluster.grpc()[leader as usize - 1]);
    let mut client = LogClient::connect(address).await.expect("the leader listens");
    let request = |(id, (topic, value)): (u64, (&str, String))| {
        let records = vec![v1::Record { value: value.into(), ..v1::Record::default() }];
        let append = v1::AppendRequest { topic: topic.into(), partition: Some(0), records, ..Default::default() };
        v1::AppendStreamRequest { correlation_id: id, append: Some(append) }
    };
    let requests: Vec<_> = (0..).zip(appends).map(request).collect();
    let mut answers = client.append_stream(tokio_stream::iter(requests)).await.expect("it is taken").into_inner();
    let mut outcomes = Vec::new();
    while let Some(answer) = answers.message().await.expect("the stream ends well") {
        let outcome = match answer.outcome.expect("every answer has an outcome") {
            Outcome::Ok(ack) => Ok(ack.first_offset),
            Outcome::Failed(failure) => Err(failure.reason),
        };
        outcomes.push((answer.correlation_id, outcome));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_stream_that_are_refused_leave_the_others_their_order_and_their_offsets() {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    // Every third is a byte too large. That will never change, so what follows need not wait for it.
    let sizes: Vec<usize> = (0..30).map(|place| if place % 3 == 1 { 65_537 } else { 100 + place }).collect();
    let appends = sizes.iter().map(|size| (TOPIC, "x".repeat(*size))).collect();
    let outcome =
        |place: u64| if place % 3 == 1 { Err("RECORD_TOO_LARGE".into()) } else { Ok(place - (place + 1) / 3) };
    let expected: Vec<(u64, Result<u64, String>)> = (0..30).map(|place| (place, outcome(place))).collect();
    assert_eq!(streamed(&cluster, appends).await, expected, "one answer for each place, in their order");
    let client = cluster.client().await;
    let page = client.read(TOPIC, 0, 0, &ReadOptions::default()).await.expect("the cluster works");
    let read: Vec<usize> = page.records.iter().map(|record| record.value.len()).collect();
    let sent: Vec<usize> = sizes.into_iter().filter(|size| *size < 65_537).collect();
    assert_eq!(read, sent, "what was acknowledged is there, and nothing else");

    // A topic may be made later: what follows for it is refused untried, and for nobody else.
    let appends = (0..9).map(|place| (if place % 3 == 1 { "later" } else { TOPIC }, "y".into())).collect();
    let (later, other): (Vec<_>, Vec<_>) =
        streamed(&cluster, appends).await.into_iter().partition(|(place, _)| place % 3 == 1);
    let refused = |place, reason: &str| (place, Err(reason.to_owned()));
    let in_order = [refused(1, "UNKNOWN_TOPIC"), refused(4, "PRECEDING_FAILED"), refused(7, "PRECEDING_FAILED")];
    assert_eq!(later, in_order);
    assert_eq!(other, [(0, Ok(20)), (2, Ok(21)), (3, Ok(22)), (5, Ok(23)), (6, Ok(24)), (8, Ok(25))]);
    cluster.shut_down();
}

/// A stream of appends to one node, with one append under way at a time.
struct Appends {
    requests: mpsc::Sender<v1::AppendStreamRequest>,
    answers: Streaming<v1::AppendStreamResponse>,
}

impl Appends {
    async fn open(address: &str) -> Self {
        let mut client = LogClient::connect(format!("http://{address}")).await.expect("the node listens");
        let (requests, sent) = mpsc::channel(1);
        let answers = client.append_stream(ReceiverStream::new(sent)).await.expect("it is taken").into_inner();
        Appends { requests, answers }
    }

    /// The offset of a record, or the reason why it has none.
    async fn append(&mut self, topic: &str, partition: Option<u32>) -> Result<u64, String> {
        let records = vec![v1::Record { value: "z".into(), ..v1::Record::default() }];
        let append = v1::AppendRequest { topic: topic.into(), partition, records, ..Default::default() };
        let request = v1::AppendStreamRequest { correlation_id: 0, append: Some(append) };
        self.requests.send(request).await.expect("the node reads");
        let answer = self.answers.message().await.expect("the stream goes on").expect("an answer for each request");
        match answer.outcome.expect("every answer has an outcome") {
            Outcome::Ok(ack) => Ok(ack.first_offset),
            Outcome::Failed(failure) => Err(failure.reason),
        }
    }
}

/// Waits until a node says that it leads partition 0 of a topic; gives its address.
async fn leading(cluster: &Cluster, topic: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for (id, address) in (1..).zip(cluster.grpc()) {
            let mut client = LogClient::connect(format!("http://{address}")).await.expect("the node listens");
            let answer = client.metadata(v1::MetadataRequest { topic: topic.into() }).await;
            let partitions = answer.map_or_else(|_| Vec::new(), |answer| answer.into_inner().partitions);
            if partitions.first().is_some_and(|first| first.leader == Some(id)) {
                return address;
            }
        }
        assert!(Instant::now() < deadline, "nobody leads {topic}/0\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_remembers_a_bounded_number_of_unknown_topics_and_none_that_cannot_be() {
    let mut cluster = Cluster::start();
    cluster.create_topic(1).await;
    let refused = |reason: &str| Err(reason.to_owned());

    // To every node, as any may come to lead the topic: what failed was meant for partition 0 by default.
    let mut early = Vec::new();
    for address in cluster.grpc() {
        let mut stream = Appends::open(&address).await;
        assert_eq!(stream.append("later", None).await, refused("UNKNOWN_TOPIC"));
        early.push(stream);
    }
    cluster.admin().create_topic("later", 1, Some(3)).await.expect("the cluster works");
    let leader = leading(&cluster, "later").await;
    for stream in &mut early {
        assert_eq!(stream.append("later", Some(0)).await, refused("PRECEDING_FAILED"));
        assert_eq!(stream.append("later", None).await, refused("PRECEDING_FAILED"));
    }
    let mut stream = Appends::open(&leader).await;
    assert_eq!(stream.append("later", Some(0)).await, Ok(0), "nothing that was refused is there");

    // A name that is a byte too long is nobody's topic, however often one comes.
    for number in 0..1100 {
        assert_eq!(stream.append(&format!("{number:0>64}"), None).await, refused("INVALID_ARGUMENT"));
    }
    assert_eq!(stream.append("later", None).await, Ok(1), "the stream goes on");
    for number in 0..1024 {
        assert_eq!(stream.append(&format!("{number:0>63}"), None).await, refused("UNKNOWN_TOPIC"), "{number}");
    }
    let end = stream.answers.message().await.expect_err("so many are not remembered");
    assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
    cluster.shut_down();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_the_same_with_its_exit_codes() {
    let mut cluster = Cluster::start();
    cluster.create_topic(2).await;
    let grpc = cluster.grpc().join(",");
    let file = cluster.dir().join("large");
    fs::write(&file, "x".repeat(65_537)).expect("a temporary file");
    let file = file.display().to_string();

    let refused = run(["read", "ordre", "--grpc", &grpc]);
    assert_output(&refused, exit::FAILED, "no topic named \"ordre\"");
    let refused = run(["read", "order/2", "--grpc", &grpc]);
    assert_output(&refused, exit::FAILED, "topic \"order\" has partitions 0..2, there is no partition 2");
    let refused = run(["append", "ordre", "--grpc", &grpc, "--file", &file]);
    assert_output(&refused, exit::FAILED, "no topic named \"ordre\"");
    let refused = run(["append", "order", "--partition", "2", "--grpc", &grpc, "--file", &file]);
    assert_output(&refused, exit::FAILED, "there is no partition 2");
    let refused = run(["append", "order", "--partition", "0", "--grpc", &grpc, "--file", &file]);
    assert_output(&refused, exit::FAILED, "has 65537 bytes, the limit is 65536");
    cluster.shut_down();

    let nobody = run(["read", "order", "--timeout", "1s", "--grpc", &grpc]);
    assert_output(&nobody, exit::UNREACHABLE, "no node could be reached");
    let wrong = run(["append", "order", "--partitoin", "1"]);
    assert_output(&wrong, exit::USAGE, "--partitoin");
}

// --- What the tests share.

fn start_and_wait(node: &mut NodeProcess) -> Ended {
    start_with_and_wait(node, &[])
}

fn start_with_and_wait(node: &mut NodeProcess, flags: &[&str]) -> Ended {
    node.start_with(flags);
    node.wait()
}

/// Lets a node open its directory, alone, and stops it cleanly.
fn open_once(node: &mut NodeProcess) {
    node.start();
    node.wait_open();
    stop(node);
}

fn stop(node: &mut NodeProcess) {
    node.terminate();
    node.wait().assert(0, &[]);
}

/// Appends to both partitions of the topic, and asserts that it worked.
async fn append(cluster: &Cluster, records: usize) {
    let client = cluster.client().await;
    for partition in 0..2 {
        let records = (0..records).map(|number| Record::new(format!("{number}"))).collect();
        let acked = client.append(TOPIC, Some(partition), records).await;
        acked.unwrap_or_else(|error| panic!("partition {partition}: {error}\n{}", cluster.logs()));
    }
}

/// The named nodes live, are ready, and append.
async fn assert_goes_on(cluster: &mut Cluster, nodes: &[u64]) {
    assert_alive(cluster, nodes);
    append(cluster, 10).await;
    cluster.shut_down();
}

fn assert_alive(cluster: &mut Cluster, nodes: &[u64]) {
    for id in nodes {
        cluster.node(*id).assert_alive();
        cluster.node(*id).wait_ready();
    }
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Error>, kind: fn(&Error) -> bool, sentence: &str) {
    let error = result.expect_err("this cannot be done");
    assert!(kind(&error), "another kind of refusal: {error:?}");
    assert!(error.to_string().contains(sentence), "{sentence:?} is missing in {error}");
}

#[track_caller]
fn assert_output(output: &Output, code: i32, sentence: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(sentence), "{sentence:?} is missing in {stderr:?}");
    assert!(output.stdout.is_empty(), "a refusal has no result: {:?}", String::from_utf8_lossy(&output.stdout));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a readable file");
        }
    }
}
