//! `corduroy bench append`: how many records a second are acknowledged, and how long one waits.
//!
//! A producer per partition keeps a fixed number of sends in flight: the next one is sent when the oldest is
//! acknowledged. Acknowledged means what it means to every client: on disk at a majority.

mod load;

use super::{
    Place, Report,
    cluster::Cluster,
    cpu::{Clock, CpuSeconds},
    latencies::{Latencies, rounded},
};
use crate::cli::exit::Failure;
use corduroy_client::{Client, ReadOptions};
use load::{Load, Loaded, Schedule};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const TOPIC: &str = "bench";
/// Connections, caches and the CPU's clock find their pace; not counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// Of a batch larger than this, nodes accept none.
const LARGEST_BATCH: u64 = 4 << 20;

/// Measures durable appends through the gRPC API: records a second and time to acknowledgement.
///
/// Nodes and client share the machine. The first 2 s are not counted. At the end the topic must hold as many records as
/// were acknowledged, or the command fails.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, env = "CORDUROY_BENCH_NODES", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub(super) nodes: u64,
    /// How many partitions, each with a producer.
    #[arg(long, value_name = "N", default_value_t = 12, env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=256))]
    partitions: u32,
    /// Replicas of each partition. Default: 3, or the number of nodes where there are fewer.
    #[arg(long, value_name = "N", env = "CORDUROY_BENCH_REPLICATION", value_parser = clap::value_parser!(u32).range(1..=9))]
    replication: Option<u32>,
    /// Size of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 128, env = "CORDUROY_BENCH_RECORD_BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    record_bytes: u32,
    /// Records per send.
    #[arg(long, value_name = "N", default_value_t = 512, env = "CORDUROY_BENCH_BATCH", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Sends in flight per partition. The producer gathers what waits into requests.
    #[arg(long, value_name = "N", default_value_t = 8, env = "CORDUROY_BENCH_IN_FLIGHT", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// How long to measure, without the warm-up. Seconds.
    #[arg(long, value_name = "N", default_value_t = 10, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Appended {
    nodes: u64,
    replication: u32,
    partitions: u32,
    record_bytes: u32,
    batch: u32,
    in_flight: u32,
    seconds: f64,
    records: u64,
    records_per_second: u64,
    megabytes_per_second: f64,
    #[serde(rename = "ackMs")]
    ack: Latencies,
    /// Of the whole load, warm-up included; `None` where the system does not tell.
    cpu_seconds: Option<CpuSeconds>,
    /// Client and nodes together.
    cpu_micros_per_record: Option<f64>,
    verified: Verified,
}

/// The count of records in the topic against the count of acknowledgements, of the whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    acknowledged: u64,
    /// Records that may or may not have been appended.
    unknown: u64,
    /// Records that were certainly not appended, and not sent again.
    refused: u64,
    stored: u64,
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Appended, Failure> {
    let request = u64::from(args.batch) * (u64::from(args.record_bytes) + 12);
    if request > LARGEST_BATCH {
        return Err(Failure::usage(format!(
            "a batch of {request} bytes is larger than nodes accept ({LARGEST_BATCH})"
        )));
    }
    cluster.start_all().await?;
    let topic = cluster.admin()?.create_topic(TOPIC, args.partitions, args.replication).await?;
    // Room for all that is to be in flight: the window is not what is measured.
    let window = (request as usize + (64 << 10)).saturating_mul(args.in_flight as usize + 1);
    let client = cluster.client(window).await?;
    eprintln!("appending for {WARM_UP:?} of warm-up and {} s", args.seconds);
    let pids = cluster.pids();
    let before = Clock::read(&pids);
    let loaded = tokio::select! {
        loaded = load(args, &client) => loaded?,
        failure = cluster.broken() => return Err(failure),
    };
    let cpu_seconds = before.zip(Clock::read(&pids)).map(|(before, after)| after.since(before));
    let stored = stored(&client, args.partitions).await?;
    let seconds = args.seconds as f64;
    let bytes = loaded.measured as f64 * f64::from(args.record_bytes);
    Ok(Appended {
        nodes: args.nodes,
        replication: topic.replication,
        partitions: args.partitions,
        record_bytes: args.record_bytes,
        batch: args.batch,
        in_flight: args.in_flight,
        seconds,
        records: loaded.measured,
        records_per_second: (loaded.measured as f64 / seconds) as u64,
        megabytes_per_second: rounded(bytes / seconds / 1e6),
        ack: loaded.latencies,
        cpu_seconds,
        cpu_micros_per_record: cpu_seconds.map(|cpu| rounded(cpu.bench() * 1e6 / loaded.acknowledged.max(1) as f64)),
        verified: Verified {
            acknowledged: loaded.acknowledged,
            unknown: loaded.unknown,
            refused: loaded.refused,
            stored,
        },
    })
}

/// All producers, until the time is over and everything is answered.
async fn load(args: &Args, client: &Client) -> Result<Loaded, Failure> {
    let begin = Instant::now() + WARM_UP;
    let schedule = Schedule { begin, end: begin + Duration::from_secs(args.seconds) };
    let progress = Arc::new(AtomicU64::new(0));
    let mut producers = JoinSet::new();
    for partition in 0..args.partitions {
        let load = Load {
            client: client.clone(),
            topic: TOPIC.to_owned(),
            partition,
            batch: load::batch(args.batch as usize, args.record_bytes as usize),
            in_flight: args.in_flight as usize,
            schedule,
            progress: progress.clone(),
        };
        producers.spawn(load.run());
    }
    let mut shown = Shown { schedule, since: Instant::now(), before: 0, record_bytes: args.record_bytes };
    let mut all = Loaded::default();
    let mut ticks =
        tokio::time::interval_at(tokio::time::Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
    loop {
        tokio::select! {
            done = producers.join_next() => match done {
                None => return Ok(all),
                Some(Ok(done)) => all.add(&done?),
                Some(Err(error)) => return Err(Failure::refused(format!("a producer failed: {error}"))),
            },
            _ = ticks.tick() => shown.line(progress.load(Ordering::Relaxed)),
        }
    }
}

/// A line a second.
struct Shown {
    schedule: Schedule,
    since: Instant,
    before: u64,
    record_bytes: u32,
}

impl Shown {
    fn line(&mut self, records: u64) {
        let now = Instant::now();
        if now > self.schedule.end {
            return;
        }
        let rate = (records - self.before) as f64 / now.duration_since(self.since).as_secs_f64();
        (self.since, self.before) = (now, records);
        // The ticks and the schedule began at nearly the same time.
        let phase = match now.saturating_duration_since(self.schedule.begin).as_secs_f64().round() {
            0.0 => "warm-up".to_owned(),
            seconds => format!("{seconds} s"),
        };
        eprintln!("{phase:>8}  {rate:>12.0} records/s  {:>8.1} MB/s", rate * f64::from(self.record_bytes) / 1e6);
    }
}

/// How many records the topic holds.
async fn stored(client: &Client, partitions: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for partition in 0..partitions {
        sum += client.offsets(TOPIC, partition, &ReadOptions::default()).await?.end;
    }
    Ok(sum)
}

impl Verified {
    fn holds(&self) -> bool {
        (self.acknowledged..=self.acknowledged + self.unknown).contains(&self.stored)
    }
}

impl Report for Appended {
    fn text(&self) -> String {
        let verified = &self.verified;
        let cpu = self.cpu_seconds.zip(self.cpu_micros_per_record);
        let cpu = cpu.map_or_else(String::new, |(cpu, record)| format!("\n  {cpu}; {record} us per record"));
        format!(
            "append: {} nodes, replication {}, {} partitions, {} records of {} B per send, {} sends in flight per partition\n\
             \x20 {} records/s, {} MB/s acknowledged by a majority's disks ({} records in {} s)\n\
             \x20 time to acknowledgement: {}{cpu}\n\
             \x20 verified: {} records acknowledged, {} of unknown outcome, {} refused; {} stored: {}",
            self.nodes,
            self.replication,
            self.partitions,
            self.batch,
            self.record_bytes,
            self.in_flight,
            self.records_per_second,
            self.megabytes_per_second,
            self.records,
            self.seconds,
            self.ack.text(),
            verified.acknowledged,
            verified.unknown,
            verified.refused,
            verified.stored,
            if verified.holds() { "none lost, none doubled" } else { "WRONG" },
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        let Verified { acknowledged, unknown, stored, .. } = self.verified;
        if self.verified.holds() {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "{acknowledged} records were acknowledged and {unknown} have an unknown outcome, but {stored} are stored"
        )))
    }
}
