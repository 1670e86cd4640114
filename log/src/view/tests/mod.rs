//! Views on whole nodes in the simulated world, against what the log says.
use super::{topics, *};
use crate::{
    Config, Consistency, KeyPage, Log, NewRecord, NewTopic, Partition,
    partition::TimeOffset,
    testing::{Sim, SimCluster, SimWorld, ViewDamage},
    world::{Direction, Pair},
};
use bytes::Bytes;
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

mod lookup;
mod own;
mod property;
mod rebuild;
mod states;

const TOPIC: &str = "order";

fn topic() -> NewTopic {
    NewTopic { key_index: true, ..NewTopic::new(TOPIC, 1) }
}

fn small(config: &mut Config) {
    config.limits.segment_bytes = 64 << 10;
    config.limits.batch_bytes = 16 << 10;
    config.limits.record_bytes = 4 << 10;
    config.limits.hot_tail_bytes = 8 << 10;
}

/// A cluster with the topic, whose nodes' views are spared unless a test asks for something else.
async fn cluster(sim: &Sim, nodes: u64) -> SimCluster {
    let cluster = SimCluster::with_config(sim, nodes, small);
    cluster.nodes().into_iter().for_each(|node| sim.spare_views(node, true));
    cluster.start().await;
    cluster.create_topic(topic()).await.unwrap();
    cluster.ready().await;
    cluster
}

/// A record of one of a few keys, or of none.
fn record(nth: u64) -> NewRecord {
    let record = NewRecord::new(format!("{nth} {}", "x".repeat(nth as usize % 90)));
    match nth % 7 {
        0 => record,
        1 => record.with_key(Bytes::new()),
        key => record.with_key(format!("key-{key}")),
    }
}

/// Appends records in batches of one to three, with a pause between them.
async fn append(cluster: &SimCluster, records: std::ops::Range<u64>, pause: Duration) {
    let mut next = records.start;
    while next < records.end {
        let batch = next..(next + 1 + next % 3).min(records.end);
        next = batch.end;
        cluster.append(TOPIC, 0, batch.map(record).collect()).await.unwrap();
        cluster.sim().sleep(pause).await;
    }
}

async fn records(partition: &Partition<SimWorld>, consistency: Consistency) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let page = partition.read(records.len() as u64, 64 << 10, u32::MAX, consistency).await.unwrap();
        if page.records.is_empty() {
            return records;
        }
        records.extend(page.records);
    }
}

/// All records of a key, read in pages of `max` records.
async fn of_key(partition: &Partition<SimWorld>, key: &[u8], max: u32) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    let mut next = 0;
    loop {
        let KeyPage { records, next: after, end } =
            partition.read_key(key, next, u64::MAX, max, Consistency::Stale).await.unwrap();
        assert!(!records.is_empty() || after == end, "an empty page before the end");
        assert!(records.len() <= max as usize, "{} records in a page of {max}", records.len());
        found.extend(records);
        next = after;
        if after == end {
            return found;
        }
    }
}

/// Waits until the view follows the log, and stands still nowhere.
async fn follows(log: &Log<SimWorld>) {
    let well =
        |view: &ViewStatus| view.state == ViewState::Following && view.partitions.iter().all(|p| p.trouble.is_none());
    while !log.views().iter().all(well) {
        crate::testing::SimTasks::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for every key and every time there is, and for others, and compares with the log, read from its beginning.
async fn agrees_with_the_log(partition: &Partition<SimWorld>) {
    let all = records(partition, Consistency::Linearizable).await;
    let mut keys: BTreeMap<Bytes, Vec<Record>> = BTreeMap::from([(Bytes::from("nobody's"), Vec::new())]);
    for record in &all {
        if let Some(key) = &record.key {
            keys.entry(key.clone()).or_default().push(record.clone());
        }
    }
    for (turn, (key, expected)) in (0..).zip(keys) {
        assert_eq!(of_key(partition, &key, [1, 3, 100][turn % 3]).await, expected, "key {key:?}");
    }
    let times = all.iter().flat_map(|record| [record.time.0.saturating_sub(1), record.time.0, record.time.0 + 1]);
    let times: BTreeSet<u64> = times.chain([0, u64::MAX]).collect();
    for time in times {
        let expected = all.iter().position(|record| record.time.0 >= time).unwrap_or(all.len()) as u64;
        let found = partition.offset_at(Timestamp(time), Consistency::Stale).await.unwrap();
        assert_eq!(found, TimeOffset { offset: expected, end: all.len() as u64 }, "time {time}");
    }
}

/// Everything the view of topics has of the partition.
async fn contents(partition: &Partition<SimWorld>) -> Vec<Pair> {
    let read = |reader: &ViewReader<'_>| {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let trees = topics::Topics.trees().iter();
        let pairs: Result<Vec<_>, _> =
            trees.map(|tree| reader.range(tree, all, Direction::Ascending, usize::MAX)).collect();
        Ok(pairs?.concat())
    };
    partition.read_view(topics::NAME, Consistency::Linearizable, read).await.unwrap()
}

fn status(log: &Log<SimWorld>) -> ViewStatus {
    log.views().into_iter().find(|view| view.name == topics::NAME).expect("it is kept")
}

fn rebuilds(log: &Log<SimWorld>, reason: RebuildReason) -> u64 {
    status(log).rebuilds.iter().find(|(found, _)| *found == reason).map_or(0, |(_, times)| *times)
}

/// Runs a script with a node's partition, to its end.
async fn on<T: Send + 'static, F>(
    cluster: &SimCluster,
    node: u64,
    script: impl FnOnce(Log<SimWorld>, Partition<SimWorld>) -> F + Send + 'static,
) -> T
where
    F: Future<Output = T> + Send + 'static,
{
    let script = async move |log: Log<SimWorld>| {
        let partition = log.partition(TOPIC, 0).unwrap();
        script(log, partition).await
    };
    cluster.on(node, script).await.expect("nobody ends the node")
}
