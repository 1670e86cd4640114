//! `corduroy bench latency`: how long one append takes when nothing else is going on.
//!
//! Three ways to the same disks, in turns of a fifth of a second so that all see the same machine:
//!
//! ```text
//! in process             this process is node 1, and leads: Partition::append
//! gRPC, same leader      the client library, over a TCP connection to node 1
//! gRPC, another process  the client library, to a leader that runs in a process of its own
//! ```
//!
//! The first is what a service embeds; the second shows what the way over the API adds; the third is what a client
//! elsewhere sees, less the network.
//!
//! One append at a time, unless a rate is given: then appends are due at fixed times, and a time counts from there, the
//! bench's own delay included.
mod way;

use super::{
    Place, Report,
    cluster::Cluster,
    latencies::{Latencies, rounded},
    leads::topic_led,
};
use crate::cli::exit::Failure;
use bytes::Bytes;
use corduroy_log::{LogError, RealLog};
use serde::Serialize;
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use way::{PARTITION, Road, Way};

/// One in this process, two beside it.
pub(super) const NODES: u64 = 3;
const EMBEDDED: u64 = 1;
/// Per way, not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// This process's node has heard of a topic by then, and is asked so often.
const KNOWN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
/// How long one way is measured before it is the next one's turn.
const TURN: Duration = Duration::from_millis(200);

/// Measures single appends: inside the process that leads, and over gRPC.
///
/// This process is node 1 of a cluster of three; the other two are processes of their own. The difference between the
/// first two rows is what gRPC adds. Without --rate one append is in flight, which shows what an idle system can do; with
/// it, times count from when an append was due, which is what users of a busy one see.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench latency
  corduroy bench latency --rate 500
  corduroy bench latency --rate 2000 --seconds 30 --record-bytes 1024")]
pub(super) struct Args {
    /// How long to measure each of the three ways. Seconds.
    #[arg(long, value_name = "N", default_value_t = 10, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Appends a second, at fixed times. Not given: one after the other.
    #[arg(long, value_name = "N", env = "CORDUROY_BENCH_RATE", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Size of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 128, env = "CORDUROY_BENCH_RECORD_BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    record_bytes: u32,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    nodes: u64,
    record_bytes: u32,
    seconds: u64,
    /// Appends a second that were due; `None`: one after the other.
    rate: Option<u32>,
    #[serde(rename = "inProcessMs")]
    in_process: Latencies,
    #[serde(rename = "grpcMs")]
    grpc: Latencies,
    #[serde(rename = "grpcOtherProcessMs")]
    grpc_elsewhere: Latencies,
    /// Median over gRPC less median in process, same leader. Milliseconds.
    grpc_adds_ms: f64,
    /// With a rate: how long after it was due the bench sent an append; part of the times above.
    #[serde(rename = "sentLateMs")]
    late: Option<Latencies>,
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Measured, Failure> {
    for id in cluster.ids() {
        if id != EMBEDDED {
            cluster.start(id)?;
        }
    }
    let log = cluster.embed(EMBEDDED).await?;
    cluster.until_ready().await?;
    let here = topic_led(cluster, "here", NODES as u32, |leader| leader == EMBEDDED).await?;
    let elsewhere = topic_led(cluster, "elsewhere", NODES as u32, |leader| leader != EMBEDDED).await?;
    let client = cluster.client(8 << 20).await?;
    let leaders = (known_leader(&log, &here).await?, known_leader(&log, &elsewhere).await?);
    let roads = [
        Road::InProcess(log.partition(&here, PARTITION).map_err(failed)?),
        Road::Grpc { client: client.clone(), topic: here.clone() },
        Road::Grpc { client, topic: elsewhere.clone() },
    ];
    let how = args.rate.map_or("one record at a time".to_owned(), |rate| format!("{rate} records a second"));
    eprintln!("appending {how}, each way for {} s", args.seconds);
    let value = Bytes::from(vec![0x2a; args.record_bytes as usize]);
    // A task of the runtime's own threads, as any user's code would be; aborted when this function is.
    let mut task = JoinSet::new();
    task.spawn(take_turns(roads.map(Way::new), value, Duration::from_secs(args.seconds), args.rate));
    let ways = tokio::select! {
        done = task.join_next() => match done {
            Some(Ok(ways)) => ways?,
            Some(Err(error)) => return Err(Failure::refused(format!("the measuring task failed: {error}"))),
            None => unreachable!("one task was spawned"),
        },
        failure = cluster.broken() => return Err(failure),
    };
    if leaders != (leader_of(&log, &here)?, leader_of(&log, &elsewhere)?) {
        return Err(Failure::refused("a leader changed while it was measured; run it again"));
    }
    let mut late = Latencies::new();
    ways.iter().for_each(|way| late.add(&way.late));
    let [in_process, grpc, grpc_elsewhere] = ways.map(|way| way.latencies);
    let grpc_adds_ms = rounded(grpc.milliseconds(0.5) - in_process.milliseconds(0.5));
    Ok(Measured {
        nodes: NODES,
        record_bytes: args.record_bytes,
        seconds: args.seconds,
        in_process,
        grpc,
        grpc_elsewhere,
        grpc_adds_ms,
        rate: args.rate,
        late: args.rate.map(|_| late),
    })
}

/// Its leader, as soon as this process's node has heard of it.
async fn known_leader(log: &RealLog, topic: &str) -> Result<u64, Failure> {
    let known = async {
        loop {
            match leader_of(log, topic) {
                Ok(leader) => return leader,
                Err(_) => sleep(LOOK).await,
            }
        }
    };
    timeout(KNOWN, known).await.map_err(|_| Failure::refused(format!("{topic} is not known here after {KNOWN:?}")))
}

fn leader_of(log: &RealLog, topic: &str) -> Result<u64, Failure> {
    let leader = log.partition(topic, PARTITION).map_err(failed)?.info().leader;
    leader.ok_or_else(|| Failure::refused(format!("{topic}/{PARTITION} has no leader")))
}

fn failed(error: LogError) -> Failure {
    Failure::refused(error.to_string())
}

async fn take_turns(mut ways: [Way; 3], value: Bytes, time: Duration, rate: Option<u32>) -> Result<[Way; 3], Failure> {
    for way in &mut ways {
        way.take_turn(&value, WARM_UP, rate).await?;
        way.forget();
    }
    let mut left = time;
    while left > Duration::ZERO {
        let turn = TURN.min(left);
        for way in &mut ways {
            way.take_turn(&value, turn, rate).await?;
        }
        left -= turn;
    }
    Ok(ways)
}

impl Report for Measured {
    fn text(&self) -> String {
        let how = self
            .rate
            .map_or("one at a time".to_owned(), |rate| format!("at {rate}/s, counted from when they were due"));
        let late =
            self.late.as_ref().map_or(String::new(), |late| format!("\n  of that, sent late by    {}", late.text()));
        format!(
            "latency: {} nodes, appends of {} B {how}, acknowledged by a majority's disks, {} s each\n\
             \x20 in process             {}\n\
             \x20 gRPC, same leader      {}\n\
             \x20 gRPC, another process  {}\n\
             \x20 gRPC adds {:.3} ms to the median of the same leader{late}",
            self.nodes,
            self.record_bytes,
            self.seconds,
            self.in_process.text(),
            self.grpc.text(),
            self.grpc_elsewhere.text(),
            self.grpc_adds_ms,
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        Ok(())
    }
}
