//! Clients that append and read until they are told to stop.
use super::{Cluster, PATIENCE, Recorder, TOPIC};
use corduroy_client::{Client, Consistency as Wanted, Delivery, ReadOptions};
use corduroy_tests::checker::{Consistency, Moment, SessionId};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};

/// Appends a pipelining producer keeps in flight.
const PIPELINE: usize = 16;
/// Pause between the requests of one client: the point is overlap with faults, not throughput.
const PAUSE: Duration = Duration::from_millis(4);

/// A load on every partition of the topic. Per partition: two writers that wait for each answer, one producer that
/// does not, one linearizable and one stale reader, one subscriber.
pub struct Load {
    /// What they did and saw.
    pub recorder: Arc<Recorder>,
    partitions: u32,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// What every client of the load has.
#[derive(Clone)]
struct Context {
    client: Client,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
    session: SessionId,
    partition: u32,
}

impl Load {
    /// Starts it.
    pub async fn start(cluster: &Cluster, partitions: u32) -> Self {
        let (recorder, stop) = (Arc::new(Recorder::new(partitions)), Arc::new(AtomicBool::new(true)));
        let mut load = Load { recorder, partitions, stop, clients: JoinSet::new() };
        load.go_on(cluster).await;
        load
    }

    /// Starts it again after a stop, with new clients.
    pub async fn go_on(&mut self, cluster: &Cluster) {
        assert!(self.stop.swap(false, Ordering::Relaxed), "the load was stopped before");
        let grpc = cluster.grpc();
        for partition in 0..self.partitions {
            // Two clients for each partition: each learns for itself that a leader has moved.
            let (writing, reading) = (cluster.client().await, cluster.client().await);
            let with = |client: &Client| Context {
                client: client.clone(),
                recorder: self.recorder.clone(),
                stop: self.stop.clone(),
                session: self.recorder.session(),
                partition,
            };
            let node = grpc[partition as usize % grpc.len()].clone();
            let (writer, another, producer) = (with(&writing), with(&writing), with(&writing));
            let (reader, stale, subscriber) = (with(&reading), with(&reading), with(&reading));
            self.clients.spawn(write(writer));
            self.clients.spawn(write(another));
            self.clients.spawn(produce(producer));
            self.clients.spawn(read_linearizable(reader));
            self.clients.spawn(read_stale(stale, node));
            self.clients.spawn(subscribe(subscriber));
        }
    }

    /// Appends `count` records with payloads of about `bytes` to each partition, one after the other.
    ///
    /// # Panics
    /// When one is not acknowledged: this is for preparing a run, not for testing it.
    pub async fn fill(&self, cluster: &Cluster, count: u32, bytes: usize) {
        let (client, session) = (cluster.client().await, self.recorder.session());
        for partition in 0..self.partitions {
            for _ in 0..count {
                let (record, sent) = self.recorder.record_of(session, bytes);
                let start = self.recorder.now();
                let answer = client.append(TOPIC, Some(partition), vec![record]).await;
                self.recorder.appended(session, &[sent], start, &answer);
                answer.unwrap_or_else(|error| panic!("filling a quiet cluster: {error}\n{}", cluster.logs()));
            }
        }
    }

    /// Waits until every partition has acknowledged `more` records that it had not acknowledged now.
    pub async fn acknowledged(&self, more: u64, cluster: &Cluster) {
        let before = self.recorder.acked();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.recorder.acked();
            if before.iter().zip(&now).all(|(before, now)| now - before >= more) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{more} more acknowledgements in each partition were expected: {before:?}, then {now:?}\n{}",
                cluster.logs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops every client, and lets it finish what it began.
    ///
    /// # Panics
    /// When a client has panicked: each asserts what it can see by itself.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

impl Context {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        self.recorder.now()
    }
}

/// Appends batches of one to four records, one batch after the other.
async fn write(context: Context) {
    let Context { ref client, ref recorder, session, partition, .. } = context;
    let mut turn = 0;
    while context.goes_on() {
        turn += 1;
        let (records, sent): (Vec<_>, Vec<_>) = (0..1 + turn % 4).map(|_| recorder.record(session)).unzip();
        let start = context.now();
        let answer = client.append(TOPIC, Some(partition), records).await;
        recorder.appended(session, &sent, start, &answer);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Keeps many appends in flight. Answers come in the order of sending, and so do offsets, also behind those that failed.
async fn produce(context: Context) {
    let Context { ref client, ref recorder, session, partition, .. } = context;
    let producer = client.producer(TOPIC).partition(partition).build();
    let (mut in_flight, mut last) = (VecDeque::new(), None);
    while context.goes_on() {
        let (record, sent) = recorder.record(session);
        let start = context.now();
        let delivery = producer.send(record).await.expect("nothing is wrong with the record");
        in_flight.push_back((sent, start, delivery));
        if in_flight.len() >= PIPELINE {
            deliver(&context, &mut in_flight, &mut last).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    while !in_flight.is_empty() {
        deliver(&context, &mut in_flight, &mut last).await;
    }
}

type InFlight = VecDeque<(super::recorder::Sent, Moment, Delivery)>;

/// Takes the oldest answer.
async fn deliver(context: &Context, in_flight: &mut InFlight, last: &mut Option<u64>) {
    let Some((sent, start, delivery)) = in_flight.pop_front() else { return };
    let answer = delivery.await;
    context.recorder.appended(context.session, &[sent], start, &answer);
    if let Ok(ack) = &answer {
        assert!(
            last.is_none_or(|last| last < ack.first_offset),
            "a producer's records changed places: offset {} came after {last:?}",
            ack.first_offset
        );
        *last = Some(ack.first_offset);
    }
}

/// Reads the newest records, each time with the promise to see all that was acknowledged before.
async fn read_linearizable(context: Context) {
    let Context { ref client, ref recorder, session, partition, .. } = context;
    let options = ReadOptions { consistency: Wanted::Linearizable, max_records: Some(200), ..ReadOptions::default() };
    let mut from = 0;
    while context.goes_on() {
        let start = context.now();
        if let Ok(page) = client.read(TOPIC, partition, from, &options).await {
            let first = page.records.first().map(|record| record.offset);
            assert!(first.is_none_or(|first| first == from), "a read from {from} began at {first:?}");
            recorder.read(session, partition, start, Consistency::Linearizable, &page.records, page.end_offset);
            // Back a little, so that neighbouring reads overlap.
            from = page.end_offset.saturating_sub(20);
        }
        tokio::time::sleep(PAUSE * 3).await;
    }
}

/// Reads from one replica, whatever it has.
async fn read_stale(context: Context, node: String) {
    let Context { ref client, ref recorder, session, partition, .. } = context;
    let consistency = Wanted::Stale;
    let options = ReadOptions { consistency, max_records: Some(200), node: Some(node), ..ReadOptions::default() };
    let mut from = 0;
    while context.goes_on() {
        let start = context.now();
        match client.read(TOPIC, partition, from, &options).await {
            Ok(page) => {
                recorder.read(session, partition, start, Consistency::Stale, &page.records, page.end_offset);
                from = page.end_offset.saturating_sub(20);
            }
            // The replica is gone, or has just come back and is behind what it once had evolved.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        tokio::time::sleep(PAUSE * 3).await;
    }
}

/// Follows the partition from the beginning, over every fault. What it got counts as one long read, so that the
/// checker sees gaps and repeats at the seams.
async fn subscribe(context: Context) {
    let Context { ref client, ref recorder, session, partition, .. } = context;
    let mut subscription = client.subscribe(TOPIC, partition, 0);
    let (start, mut received) = (context.now(), Vec::new());
    while context.goes_on() {
        match tokio::time::timeout(Duration::from_millis(200), subscription.next()).await {
            Ok(Ok(records)) => received.extend(records),
            // No node could be subscribed to for a while.
            Ok(Err(error)) => assert!(error.is_retryable(), "a subscription failed for good: {error}"),
            Err(_nothing_new) => {}
        }
    }
    assert_eq!(subscription.next_offset(), received.len() as u64, "records of a subscription from 0 are dense");
    recorder.read(session, partition, start, Consistency::Stale, &received, subscription.next_offset());
}
