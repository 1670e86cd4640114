//! `corduroy bench growth`: what a partition costs, and whether a thousand cost more each than one.
//!
//! For each count a cluster of its own: time until all have leaders, memory and processor time at rest, and throughput of
//! the same load spread over all of them.
use super::{
    Bed, Place, Report,
    cluster::Cluster,
    cpu::Clock,
    idle::{self, Rest},
    lanes::{self, Lane},
    latencies::{Latencies, rounded},
    numbered::value_of,
};
use crate::cli::{
    exit::{self, Failure},
    output::table,
};
use corduroy_client::{Client, Record};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const NODES: u64 = 3;
const TOPIC: &str = "bench";
/// Between the last leader's election and the look at the idle cluster.
const SETTLE: Duration = Duration::from_secs(5);
/// Of the load, not counted.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures what partitions cost: memory, idle processor time and throughput, for few and for many.
///
/// Each count has a cluster of its own. The load keeps the same number of requests in flight, whichever partition they are
/// for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench growth
  corduroy bench growth --partitions 1,64 --batch 1 --in-flight 512")]
pub(super) struct Args {
    /// How many partitions, each replicated three times.
    #[arg(long, value_name = "N,...", default_value = "1,16,128,1024", value_delimiter = ',', env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: Vec<u32>,
    /// Records per request.
    #[arg(long, value_name = "N", default_value_t = 64, env = "CORDUROY_BENCH_BATCH", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Requests in flight, over all partitions.
    #[arg(long, value_name = "N", default_value_t = 128, env = "CORDUROY_BENCH_IN_FLIGHT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Size of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 128, env = "CORDUROY_BENCH_RECORD_BYTES", value_parser = clap::value_parser!(u32).range(12..=1 << 16))]
    record_bytes: u32,
    /// How long to look at the idle cluster, and how long to measure the load. Seconds.
    #[arg(long, value_name = "N", default_value_t = 10, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Grown {
    nodes: u64,
    batch: u32,
    in_flight: u32,
    record_bytes: u32,
    rows: Vec<Row>,
    failed: Vec<Failed>,
}

/// A count that this machine was not up to.
#[derive(Debug, Serialize)]
struct Failed {
    partitions: u32,
    why: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    partitions: u32,
    /// From asking for the topic until all its partitions have leaders.
    created_ms: f64,
    #[serde(flatten)]
    rest: Rest,
    records_per_second: u64,
    /// Client and nodes.
    cpu_micros_per_record: Option<f64>,
    #[serde(rename = "ackMs")]
    ack: Latencies,
}

pub(super) async fn measure(args: &Args, bed: &mut Bed) -> Result<Grown, Failure> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for partitions in &args.partitions {
        match bed.with_cluster(NODES, async |cluster| row(args, *partitions, cluster).await).await {
            Ok(row) => {
                eprintln!("{}", row.cells().join("  "));
                rows.push(row);
            }
            Err(failure) if failure.code() == exit::INTERRUPTED => return Err(failure),
            // What fewer partitions cost is worth knowing all the same.
            Err(failure) => {
                eprintln!("{partitions} partitions: {failure}");
                failed.push(Failed { partitions: *partitions, why: failure.to_string() });
            }
        }
    }
    let Args { batch, in_flight, record_bytes, .. } = *args;
    Ok(Grown { nodes: NODES, batch, in_flight, record_bytes, rows, failed })
}

async fn row(args: &Args, partitions: u32, cluster: &mut Cluster) -> Result<Row, Failure> {
    cluster.start_all().await?;
    let begin = Instant::now();
    cluster.admin()?.create_topic(TOPIC, partitions, Some(NODES as u32)).await?;
    cluster.until_ready().await?;
    let created_ms = rounded(begin.elapsed().as_secs_f64() * 1e3);
    let time = Duration::from_secs(args.seconds);
    tokio::time::sleep(SETTLE).await;
    let rest = idle::look(cluster, time).await?;
    let (client, pids) = (cluster.client(8 << 20).await?, cluster.pids());
    let worker = Worker {
        lanes: lanes::of_topic(TOPIC, partitions).into(),
        client,
        next: Arc::default(),
        begin: Instant::now() + WARM_UP,
        end: Instant::now() + WARM_UP + time,
        batch: args.batch,
        record_bytes: args.record_bytes,
    };
    let before = Clock::read(&pids);
    let done = cluster.while_whole(load(worker, args.in_flight)).await?;
    let cpu = before.zip(Clock::read(&pids)).map(|(before, after)| after.since(before).bench());
    Ok(Row {
        partitions,
        created_ms,
        rest,
        records_per_second: (done.measured as f64 / time.as_secs_f64()) as u64,
        cpu_micros_per_record: cpu.map(|cpu| rounded(cpu * 1e6 / done.records.max(1) as f64)),
        ack: done.ack,
    })
}

/// One of those that keep a request in flight.
#[derive(Clone)]
struct Worker {
    lanes: Arc<[Lane]>,
    client: Client,
    /// Number of the next request of all of them.
    next: Arc<AtomicU64>,
    begin: Instant,
    end: Instant,
    batch: u32,
    record_bytes: u32,
}

/// What was acknowledged.
struct Done {
    records: u64,
    /// Of these, within the time that counts.
    measured: u64,
    ack: Latencies,
}

async fn load(worker: Worker, in_flight: u32) -> Result<Done, Failure> {
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        workers.spawn(worker.clone().run());
    }
    let mut all = Done { records: 0, measured: 0, ack: Latencies::new() };
    while let Some(done) = workers.join_next().await {
        let done = done.map_err(|error| Failure::refused(format!("a worker failed: {error}")))??;
        all.records += done.records;
        all.measured += done.measured;
        all.ack.add(&done.ack);
    }
    Ok(all)
}

impl Worker {
    async fn run(self) -> Result<Done, Failure> {
        let mut done = Done { records: 0, measured: 0, ack: Latencies::new() };
        let batch = u64::from(self.batch);
        while Instant::now() < self.end {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Lane { number: lane, topic, partition } = &self.lanes[(number % self.lanes.len() as u64) as usize];
            let value = |record| Record::new(value_of(*lane, number * batch + record, self.record_bytes));
            let records = (0..batch).map(value).collect();
            let start = Instant::now();
            self.client.append(topic, Some(*partition), records).await?;
            let now = Instant::now();
            done.records += batch;
            if (self.begin..self.end).contains(&now) {
                done.measured += batch;
                done.ack.record(now - start);
            }
        }
        Ok(done)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let [percent, resident] = self.rest.cells();
        vec![
            self.partitions.to_string(),
            format!("{:.0}", self.created_ms),
            resident,
            percent,
            self.records_per_second.to_string(),
            self.cpu_micros_per_record.map_or("-".into(), |us| us.to_string()),
            format!("{:.2}", self.ack.milliseconds(0.5)),
            format!("{:.2}", self.ack.milliseconds(0.99)),
        ]
    }
}

impl Report for Grown {
    fn text(&self) -> String {
        let headings = [
            "partitions",
            "leaders after ms",
            "MB resident",
            "% of a core idle",
            "records/s",
            "us per record",
            "p50 ms",
            "p99 ms",
        ];
        format!(
            "growth: {} nodes, {} records of {} B per request, {} requests in flight; memory and idle time of all nodes \
             together\n{}",
            self.nodes,
            self.batch,
            self.record_bytes,
            self.in_flight,
            table(&headings, self.rows.iter().map(Row::cells)),
        ) + &self.failed.iter().map(|failed| format!("\n{}: {}", failed.partitions, failed.why)).collect::<String>()
    }

    fn verdict(&self) -> Result<(), Failure> {
        let counts: Vec<String> = self.failed.iter().map(|failed| failed.partitions.to_string()).collect();
        match &counts[..] {
            [] => Ok(()),
            some => Err(Failure::refused(format!("not measured: {} partitions", some.join(", ")))),
        }
    }
}
