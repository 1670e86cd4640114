//! `corduroy bench read`: how many records a second a subscriber gets, and how soon it sees a new one.
//!
//! ```text
//!   fill ─▶ partitions, one per subscriber ─┬─ the end, in memory ─▶ in process │ gRPC ─▶ 1, n subscribers
//!                                           └─ all, from page cache ─▶   "
//!   pace ─▶ append at the leader ─▶ ... ─▶ a subscriber at another node: time since it was due
//! ```
//!
//! Records carry their number, which is their offset: a subscriber that misses one, gets one twice, or in another order
//! fails the bench.
mod feed;

mod seen;

use super::{
    Place, Report,
    cluster::Cluster,
    cpu::{Clock, CpuSeconds},
    fill::fill,
    lanes::{self, Lane},
    latencies::{Latencies, rounded},
    leads::topic_led,
    numbered,
};
use crate::cli::{exit::Failure, output::table};
use corduroy_log::RealLog;
use feed::{Feed, Part, Road};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::{task::JoinSet, time::timeout};

/// One node in this process, two beside it.
pub(super) const NODES: u64 = 3;
const EMBEDDED: u64 = 1;
/// The node whose replica is read over gRPC.
const OTHER: u64 = 2;
const TOPIC: &str = "bench";
/// Replicas have all that was appended by then.
const REACHED: Duration = Duration::from_secs(60);
/// Of the end of a partition, what is surely still in memory: less than a node keeps (`limits.hot_tail`). Bytes.
const HOT: u64 = 8 << 20;

/// Measures subscriptions: records a second from memory and from the page cache, and how soon a new record is seen.
///
/// This process is node 1 of a cluster of three and reads from its own replica, and over gRPC from node 2's. Afterwards
/// records are appended at a steady rate, and a subscriber at a node that does not lead says when it saw each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench read
  corduroy bench read --subscribers 1,2,8 --records 500000
  corduroy bench read --record-bytes 1024 --records 300000

Nodes, subscribers and the appending client share the machine's cores: figures per subscriber fall when there are more
subscribers than cores.")]
pub(super) struct Args {
    /// How many subscribers at the same time, each of a partition of its own.
    #[arg(long, value_name = "N,...", default_value = "1,4", value_delimiter = ',', env = "CORDUROY_BENCH_SUBSCRIBERS", value_parser = clap::value_parser!(u32).range(1..=64))]
    subscribers: Vec<u32>,
    /// Records in each partition.
    #[arg(long, value_name = "N", default_value_t = 1_500_000, env = "CORDUROY_BENCH_RECORDS", value_parser = clap::value_parser!(u64).range(100_000..=1_000_000_000))]
    records: u64,
    /// Size of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 128, env = "CORDUROY_BENCH_RECORD_BYTES", value_parser = clap::value_parser!(u32).range(i64::from(numbered::LEAST)..=1 << 16))]
    record_bytes: u32,
    /// How long each row is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 4, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Appends a second while it is measured how soon they are seen.
    #[arg(long, value_name = "N", default_value_t = 500, env = "CORDUROY_BENCH_RATE", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    nodes: u64,
    record_bytes: u32,
    records: u64,
    rows: Vec<Row>,
    rate: u32,
    /// From when an append was due until a subscriber at another node has it.
    #[serde(rename = "seenMs")]
    seen: Latencies,
    /// From the same moment until the append is acknowledged.
    #[serde(rename = "ackMs")]
    ack: Latencies,
}

/// One way of reading, by so many at once.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    road: Road,
    part: Part,
    subscribers: u32,
    /// Mean of the subscribers.
    records_per_second_each: u64,
    megabytes_per_second_each: f64,
    /// Client and nodes.
    cpu_micros_per_record: Option<f64>,
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Measured, Failure> {
    for id in cluster.ids() {
        if id != EMBEDDED {
            cluster.start(id)?;
        }
    }
    let log = cluster.embed(EMBEDDED).await?;
    cluster.until_ready().await?;
    let most = args.subscribers.iter().copied().max().expect("clap wants one");
    cluster.admin()?.create_topic(TOPIC, most, Some(NODES as u32)).await?;
    let lanes = lanes::of_topic(TOPIC, most);
    eprintln!("filling {most} partitions with {} records of {} B", args.records, args.record_bytes);
    fill(cluster, &lanes, args.records, args.record_bytes).await?;
    until_all_have(cluster, &log, &lanes, args.records).await?;
    let mut rows = Vec::new();
    for road in [Road::InProcess, Road::Grpc] {
        for part in [Part::Memory, Part::PageCache] {
            for subscribers in &args.subscribers {
                let row = row(args, cluster, &log, &lanes[..*subscribers as usize], road, part).await?;
                eprintln!("{}", row.cells().join("  "));
                rows.push(row);
            }
        }
    }
    let topic = topic_led(cluster, "seen", NODES as u32, |leader| leader != EMBEDDED).await?;
    eprintln!("appending {} a second, and looking when they are seen", args.rate);
    let (seen, ack) = seen::measure(args, cluster, topic).await?;
    let (record_bytes, records, rate) = (args.record_bytes, args.records, args.rate);
    Ok(Measured { nodes: NODES, record_bytes, records, rows, rate, seen, ack })
}

/// Resolves when the replicas that are read from have everything.
async fn until_all_have(cluster: &mut Cluster, log: &RealLog, lanes: &[Lane], end: u64) -> Result<(), Failure> {
    let (admin, other) = (cluster.admin()?, cluster.admin_of(OTHER));
    let reached = async {
        loop {
            let status = admin.node_status(&other).await?;
            let there = |lane: &Lane| {
                let mut all = status.partitions.iter();
                let there = all.any(|p| p.topic == lane.topic && p.partition == lane.partition && p.end_offset >= end);
                there && log.partition(&lane.topic, lane.partition).is_ok_and(|here| here.evolved_offset() >= end)
            };
            if lanes.iter().all(there) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = async {
        let late = || Failure::refused(format!("a replica lacks records {REACHED:?} after they were appended"));
        timeout(REACHED, reached).await.unwrap_or_else(|_| Err(late()))
    };
    cluster.while_whole(reached).await
}

/// One row: all subscribers at the same time.
async fn row(
    args: &Args,
    cluster: &mut Cluster,
    log: &RealLog,
    lanes: &[Lane],
    road: Road,
    part: Part,
) -> Result<Row, Failure> {
    let hot = HOT / u64::from(args.record_bytes + 16);
    let range = match part {
        Part::Memory => args.records - hot.min(args.records)..args.records,
        Part::PageCache => 0..args.records,
    };
    let (address, pids) = (cluster.grpc_of(OTHER), cluster.pids());
    let mut feeds = JoinSet::new();
    let before = Clock::read(&pids);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(args.seconds);
    for lane in lanes {
        let feed = Feed::new(cluster, log, lane.clone(), road, &address).await?;
        feeds.spawn(feed.run(range.clone(), end));
    }
    let mut rate = 0.0;
    let mut records = 0;
    while let Some(fed) = feeds.join_next().await {
        let fed = fed.map_err(|error| Failure::refused(format!("a subscriber failed: {error}")))??;
        rate += fed.records as f64 / fed.time.as_secs_f64();
        records += fed.records;
    }
    let cpu: Option<CpuSeconds> = before.zip(Clock::read(&pids)).map(|(before, after)| after.since(before));
    let each = rate / lanes.len() as f64;
    Ok(Row {
        road,
        part,
        subscribers: lanes.len() as u32,
        records_per_second_each: each as u64,
        megabytes_per_second_each: rounded(each * f64::from(args.record_bytes) / 1e6),
        cpu_micros_per_record: cpu.map(|cpu| rounded(cpu.bench() * 1e6 / records.max(1) as f64)),
    })
}

impl Row {
    fn cells(&self) -> Vec<String> {
        vec![
            self.road.to_string(),
            self.part.to_string(),
            self.subscribers.to_string(),
            self.records_per_second_each.to_string(),
            self.megabytes_per_second_each.to_string(),
            self.cpu_micros_per_record.map_or("-".into(), |us| us.to_string()),
        ]
    }
}

impl Report for Measured {
    fn text(&self) -> String {
        let headings =
            ["subscribed", "from", "subscribers", "records/s each", "MB/s each", "us of processor per record"];
        format!(
            "read: {} nodes, {} records of {} B per partition, every subscriber has a partition of its own\n{}\n\
             appended at {}/s, seen by a subscriber at another node: {}\n\
             acknowledged: {}",
            self.nodes,
            self.records,
            self.record_bytes,
            table(&headings, self.rows.iter().map(Row::cells)),
            self.rate,
            self.seen.text(),
            self.ack.text(),
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        Ok(())
    }
}
