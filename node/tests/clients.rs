//! The client library and real nodes that die: nothing is lost, doubled or out of order, and a reader that takes nothing
//! costs nobody memory.
mod harness;

use corduroy_client::{Client, Error, ReadOptions, Record, StoredRecord};
use harness::{Cluster, NodeProcess, PATIENCE, TOPIC, http_get, resident};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// A client that waits longer than any fault of these tests lasts.
async fn patient(cluster: &Cluster) -> Client {
    let client = Client::builder().endpoints(cluster.grpc()).timeout(PATIENCE).connect().await;
    client.unwrap_or_else(|error| panic!("no client: {error}\n{}", cluster.logs()))
}

async fn until(what: &str, cluster: &Cluster, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}\n{}", cluster.logs());
        sleep(Duration::from_millis(5)).await;
    }
}

/// Every value of a partition, by offset.
async fn read_back(client: &Client, partition: u32) -> Vec<String> {
    let mut values = Vec::new();
    loop {
        let from = values.len() as u64;
        let page = client.read(TOPIC, partition, from, &ReadOptions::default()).await.expect("the nodes run");
        if page.records.is_empty() {
            return values;
        }
        assert_eq!(page.records[0].offset, from);
        values.extend(page.records.iter().map(text));
    }
}

fn text(record: &StoredRecord) -> String {
    String::from_utf8_lossy(&record.value).into_owned()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Sends numbered records to partition 0 until told to stop, without waiting for answers; gives all answers.
fn produce(client: &Client, stop: Arc<AtomicBool>, acked: Arc<AtomicU64>) -> JoinHandle<Vec<Result<u64, Error>>> {
    let producer = client.producer(TOPIC).partition(0).build();
    let (deliveries, mut answers) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0_u64.. {
            let delivery = producer.send(Record::new(number.to_string())).await.expect("the record is right");
            deliveries.send(delivery).expect("it is listened to");
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if number % 8 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    tokio::spawn(async move {
        let mut offsets = Vec::new();
        while let Some(delivery) = answers.recv().await {
            let answer = delivery.await.map(|ack| ack.first_offset);
            acked.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
            offsets.push(answer);
        }
        offsets
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_across_kills_of_the_leader_loses_doubles_and_reorders_nothing() {
    let mut cluster = Cluster::start();
    cluster.create_topic(1).await;
    let client = patient(&cluster).await;
    let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let answers = produce(&client, stop.clone(), acked.clone());
    for _ in 0..3 {
        let before = acked.load(Ordering::Relaxed);
        until("acknowledgements", &cluster, || acked.load(Ordering::Relaxed) > before + 500).await;
        let leader = cluster.leaders(1).await[0];
        cluster.node(leader).kill();
        let before = acked.load(Ordering::Relaxed);
        until("acknowledgements of another leader", &cluster, || acked.load(Ordering::Relaxed) > before + 500).await;
        assert_ne!(cluster.leaders_without(1, leader).await[0], leader);
        cluster.node(leader).start();
        cluster.node(leader).wait_ready();
    }
    stop.store(true, Ordering::Relaxed);
    let answers = answers.await.expect("no panic");
    for (number, answer) in (0_u64..).zip(&answers) {
        assert_eq!(answer, &Ok(number), "a kill is no reason to doubt\n{}", cluster.logs());
    }
    assert!(read_back(&client, 0).await == numbers(answers.len()), "what is there is not what was sent");
    cluster.shut_down();
}

/// What a consumer was given, by partition.
type Seen = Arc<Mutex<BTreeMap<u32, Vec<StoredRecord>>>>;

/// A consumer with a cursor, in a task of its own until it is told to close.
struct Consuming {
    seen: Seen,
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Consuming {
    async fn start(client: &Client) -> Self {
        let mut consumer = client.consumer(TOPIC).cursor("mailer").open().await.expect("the nodes run");
        let (seen, (close, mut closing)) = (Seen::default(), oneshot::channel());
        let into = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = consumer.next() => next.expect("it does not end"),
                    _ = &mut closing => break,
                };
                match next {
                    Ok(some) => into.lock().expect("no panic").entry(some.partition).or_default().extend(some.records),
                    Err(error) => assert!(error.is_retryable(), "a consumer failed for good: {error}"),
                }
            }
            consumer.close().await.expect("the nodes run");
        });
        Consuming { seen, close, task }
    }

    fn count(&self) -> usize {
        self.seen.lock().expect("no panic").values().map(Vec::len).sum()
    }

    async fn close(self) -> BTreeMap<u32, Vec<StoredRecord>> {
        self.close.send(()).expect("it runs");
        self.task.await.expect("no panic");
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_across_a_kill_and_a_restart_of_everything_has_no_gap_and_no_repeat() {
    const TWO: u32 = 2;
    let mut cluster = Cluster::start();
    cluster.create_topic(TWO).await;
    let client = patient(&cluster).await;
    let producer = client.producer(TOPIC).keyless(corduroy_client::Keyless::ByTurns).build();
    let append = async |count: usize| {
        for number in 0..count {
            producer.send(Record::new(number.to_string())).await.expect("the record is right");
        }
        producer.flush().await;
    };
    let consuming = Consuming::start(&client).await;
    append(1_000).await;
    until("the first records", &cluster, || consuming.count() == 1_000).await;

    let leader = cluster.leaders(TWO).await[0];
    cluster.node(leader).kill();
    append(1_000).await;
    until("records of another leader", &cluster, || consuming.count() == 2_000).await;
    cluster.node(leader).start();
    cluster.node(leader).wait_ready();

    cluster.shut_down();
    assert!(cluster.nodes.iter().all(|node| !node.is_running()));
    cluster.start_all();
    append(1_000).await;
    until("records after a restart of all", &cluster, || consuming.count() >= 3_000).await;
    let seen = consuming.close().await;
    for (partition, records) in &seen {
        let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (0..records.len() as u64).collect::<Vec<u64>>(), "a gap or a repeat");
        let values: Vec<String> = records.iter().map(text).collect();
        assert!(values == read_back(&client, *partition).await, "partition {partition} holds something else");
    }
    assert_eq!(seen.len(), 2);

    // The next one goes on behind it, at a cluster that was restarted once more.
    cluster.shut_down();
    cluster.start_all();
    let next = Consuming::start(&client).await;
    append(100).await;
    until("what the other one has not seen", &cluster, || next.count() >= 100).await;
    let more = next.close().await;
    assert_eq!(more.values().map(Vec::len).sum::<usize>(), 100);
    for (partition, records) in more {
        assert_eq!(records[0].offset, seen[&partition].len() as u64);
    }
    cluster.shut_down();
}

/// Bytes sent to readers by all nodes together.
fn sent_to_readers(cluster: &Cluster) -> u64 {
    let of = |node: &NodeProcess| {
        let (_, metrics) = http_get(node.ports.http, "/metrics").expect("it runs");
        let line = metrics.lines().find(|line| line.starts_with("corduroy_read_bytes_total"));
        line.and_then(|line| line.split(' ').next_back()?.parse::<f64>().ok()).map_or(0, |bytes| bytes as u64)
    };
    cluster.nodes.iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_takes_nothing_costs_no_memory_and_gets_everything_from_disk_later() {
    const RECORDS: usize = 1_600;
    const BYTES: usize = 60_000;
    let mut cluster = Cluster::start();
    cluster.create_topic(1).await;
    let client = patient(&cluster).await;
    let producer = client.producer(TOPIC).partition(0).build();
    for number in 0..RECORDS {
        producer.send(Record::new(format!("{number:0>BYTES$}"))).await.expect("the record is right");
    }
    producer.flush().await;

    let before: Vec<_> = cluster.nodes.iter().map(|node| resident(node.pid())).collect();
    let sent_before = sent_to_readers(&cluster);
    let mut consumer = client.consumer(TOPIC).credit(256 << 10).open().await.expect("the nodes run");
    let mut got = consumer.next().await.expect("it does not end").expect("records").records;
    sleep(Duration::from_secs(2)).await;
    let sent = sent_to_readers(&cluster) - sent_before;
    assert!(sent > 0 && sent < 4 << 20, "{sent} bytes of {} were sent to a reader that takes nothing", RECORDS * BYTES);
    for (node, before) in cluster.nodes.iter().zip(before) {
        let now = resident(node.pid());
        let grown = now.zip(before).map(|(now, before)| now.saturating_sub(before));
        assert!(grown.is_none_or(|grown| grown < 48 << 20), "node {} has grown by {grown:?} bytes", node.id);
    }
    while got.len() < RECORDS {
        got.extend(consumer.next().await.expect("it does not end").expect("records").records);
    }
    for (number, record) in got.iter().enumerate() {
        assert_eq!((record.offset, record.value.len()), (number as u64, BYTES));
        assert_eq!(text(record).trim_start_matches('0'), if number == 0 { String::new() } else { number.to_string() });
    }
    cluster.shut_down();
}
