//! Ten times the load a node can take: what is too much is refused by name, what is acknowledged is there, and no node
//! grows.
mod harness;

use corduroy_client::ReadOptions;
use corduroy_proto::v1::{self, log_client::LogClient};
use harness::{Cluster, TOPIC, resident};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, transport::Channel};

/// A partition of these clusters has a mebibyte in flight at most. Each sender has one request of about a sixth of that.
const SENDERS: usize = 64;
const RECORDS: usize = 3;
const BYTES: usize = 60_000;
/// What all requests that are decoded at a time may come to, several times over. What would queue up without bound is ten
/// times that after a second.
const GROWTH: u64 = 96 << 20;

/// What the senders were told.
#[derive(Default)]
struct Told {
    next: AtomicU64,
    stop: AtomicBool,
    /// Offset of the first record, by its number.
    acked: Mutex<BTreeMap<u64, u64>>,
    busy: AtomicU64,
    others: Mutex<Vec<String>>,
}

impl Told {
    /// Sends one request after the other, without a pause after a refusal: a client that does not behave.
    async fn send(self: Arc<Self>, mut node: LogClient<Channel>) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let record = v1::Record { value: format!("{number:0>BYTES$}").into(), ..v1::Record::default() };
            let request = v1::AppendRequest {
                topic: TOPIC.into(),
                partition: Some(0),
                records: vec![record; RECORDS],
                ..v1::AppendRequest::default()
            };
            match node.append(request).await {
                Ok(answer) => {
                    self.acked.lock().expect("no panic").insert(number, answer.into_inner().first_offset);
                }
                Err(status) if status.code() == Code::ResourceExhausted && status.message().contains("is busy") => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                }
                Err(status) => self.others.lock().expect("no panic").push(status.to_string()),
            }
        }
    }

    fn acked(&self) -> usize {
        self.acked.lock().expect("no panic").len()
    }
}

/// Sends from so many senders until so many requests have been acknowledged; gives the largest growth of each node.
async fn load(cluster: &Cluster, told: &Arc<Told>, leader: &str, senders: usize, wanted: usize) -> Vec<u64> {
    let before: Vec<u64> = cluster.nodes.iter().filter_map(|node| resident(node.pid())).collect();
    let mut most = before.clone();
    let mut running = JoinSet::new();
    for _ in 0..senders {
        // A connection each, as that many clients would have.
        let node = LogClient::connect(format!("http://{leader}")).await.expect("it listens");
        running.spawn(told.clone().send(node));
    }
    let wanted = told.acked() + wanted;
    let mut looks = 0;
    while told.acked() < wanted || looks < 20 {
        sleep(Duration::from_millis(50)).await;
        looks += 1;
        assert!(looks < 1200, "{} of {wanted} in a minute\n{}", told.acked(), cluster.logs());
        let now = cluster.nodes.iter().filter_map(|node| resident(node.pid()));
        most.iter_mut().zip(now).for_each(|(most, now)| *most = (*most).max(now));
    }
    told.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended.expect("no panic");
    }
    told.stop.store(false, Ordering::Relaxed);
    most.iter().zip(before).map(|(most, before)| most.saturating_sub(before)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_load_is_refused_by_name_and_costs_no_memory() {
    let mut cluster = Cluster::start();
    cluster.create_topic(1).await;
    let leader = cluster.leaders(1).await[0];
    let address = cluster.grpc()[leader as usize - 1].clone();
    let told = Arc::new(Told::default());
    // Whatever a node needs once it has, before it is looked at.
    load(&cluster, &told, &address, 4, 20).await;
    let before = (told.acked(), told.busy.load(Ordering::Relaxed));

    let grown = load(&cluster, &told, &address, SENDERS, 200).await;
    let busy = told.busy.load(Ordering::Relaxed) - before.1;
    let acked = told.acked() - before.0;
    println!("{acked} requests acknowledged, {busy} refused as busy; grown by {grown:?} bytes");
    assert!(busy > acked as u64, "that was no overload: {acked} acknowledged, {busy} refused\n{}", cluster.logs());
    assert!(grown.iter().all(|grown| *grown < GROWTH), "nodes have grown by {grown:?} bytes");
    let others = std::mem::take(&mut *told.others.lock().expect("no panic"));
    assert!(others.len() < acked / 10, "refused otherwise: {others:?}");

    // And it is over when it is over.
    let client = cluster.client().await;
    client.append(TOPIC, Some(0), vec![corduroy_client::Record::new("at rest")]).await.expect("nothing is in flight");
    let acked = std::mem::take(&mut *told.acked.lock().expect("no panic"));
    let options = ReadOptions { max_records: Some(RECORDS as u32), ..ReadOptions::default() };
    for (number, offset) in &acked {
        let records = client.read(TOPIC, 0, *offset, &options).await.expect("the nodes run").records;
        let expected = format!("{number:0>BYTES$}");
        assert_eq!(records.len(), RECORDS, "of request {number}");
        assert!(records.iter().all(|record| record.value == expected.as_bytes()), "something else at {offset}");
    }
    cluster.shut_down();
}
