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

use super::{
    Place, Report,
    cluster::Cluster,
    latencies::{Latencies, rounded},
};
use crate::{cli::exit::Failure, world};
use bytes::Bytes;
use corduroy_client::{Client, Record};
use corduroy_log::{LogError, NewRecord, RealLog};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// One in this process, two beside it.
pub(super) const NODES: u64 = 3;
const EMBEDDED: u64 = 1;
const PARTITION: u32 = 0;
/// Per way, not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long one way is measured before it is the next one's turn.
const TURN: Duration = Duration::from_millis(200);
/// Topics made until their leaders are where they are wanted.
const TOPICS: u32 = 32;

/// Measures single appends, one in flight: inside the process that leads, and over gRPC.
///
/// This process is node 1 of a cluster of three; the other two are processes of their own. The difference between the
/// first two rows is what gRPC adds.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long to measure each of the three ways. Seconds.
    #[arg(long, value_name = "N", default_value_t = 10, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
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
    #[serde(rename = "inProcessMs")]
    in_process: Latencies,
    #[serde(rename = "grpcMs")]
    grpc: Latencies,
    #[serde(rename = "grpcOtherProcessMs")]
    grpc_elsewhere: Latencies,
    /// Median over gRPC less median in process, same leader. Milliseconds.
    grpc_adds_ms: f64,
}

/// A way to append, and what it took.
struct Way {
    road: Road,
    latencies: Latencies,
}

/// How an append gets to its leader.
enum Road {
    InProcess(world::Partition),
    Grpc { client: Client, topic: String },
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Measured, Failure> {
    for id in cluster.ids() {
        if id != EMBEDDED {
            cluster.start(id)?;
        }
    }
    let log = cluster.embed(EMBEDDED).await?;
    cluster.until_ready().await?;
    let here = topic_led(cluster, &log, "here", |leader| leader == EMBEDDED).await?;
    let elsewhere = topic_led(cluster, &log, "elsewhere", |leader| leader != EMBEDDED).await?;
    let client = cluster.client(8 << 20).await?;
    let leaders = (leader_of(&log, &here)?, leader_of(&log, &elsewhere)?);
    let roads = [
        Road::InProcess(log.partition(&here, PARTITION).map_err(failed)?),
        Road::Grpc { client: client.clone(), topic: here.clone() },
        Road::Grpc { client, topic: elsewhere.clone() },
    ];
    eprintln!("appending one record at a time, each way for {} s", args.seconds);
    let value = Bytes::from(vec![0x2a; args.record_bytes as usize]);
    // A task of the runtime's own threads, as any user's code would be; aborted when this function is.
    let mut task = JoinSet::new();
    task.spawn(take_turns(roads.map(Way::new), value, Duration::from_secs(args.seconds)));
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
    })
}

/// Makes a topic of one partition whose leader is where it is wanted.
async fn topic_led(
    cluster: &Cluster,
    log: &RealLog,
    name: &str,
    wanted: impl Fn(u64) -> bool,
) -> Result<String, Failure> {
    let admin = cluster.admin()?;
    for number in 0..TOPICS {
        let topic = format!("{name}-{number}");
        admin.create_topic(&topic, 1, Some(3)).await?;
        let leader = loop {
            // The answer may have come from a node that knew it first.
            match leader_of(log, &topic) {
                Ok(leader) => break leader,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        if wanted(leader) {
            return Ok(topic);
        }
        admin.delete_topic(&topic).await?;
    }
    Err(Failure::refused(format!("none of {TOPICS} topics has its leader where the bench needs it")))
}

fn leader_of(log: &RealLog, topic: &str) -> Result<u64, Failure> {
    let leader = log.partition(topic, PARTITION).map_err(failed)?.info().leader;
    leader.ok_or_else(|| Failure::refused(format!("{topic}/{PARTITION} has no leader")))
}

fn failed(error: LogError) -> Failure {
    Failure::refused(error.to_string())
}

async fn take_turns(mut ways: [Way; 3], value: Bytes, time: Duration) -> Result<[Way; 3], Failure> {
    for way in &mut ways {
        way.take_turn(&value, WARM_UP).await?;
        way.latencies = Latencies::new();
    }
    let mut left = time;
    while left > Duration::ZERO {
        let turn = TURN.min(left);
        for way in &mut ways {
            way.take_turn(&value, turn).await?;
        }
        left -= turn;
    }
    Ok(ways)
}

impl Way {
    fn new(road: Road) -> Self {
        Way { road, latencies: Latencies::new() }
    }

    async fn take_turn(&mut self, value: &Bytes, turn: Duration) -> Result<(), Failure> {
        let end = Instant::now() + turn;
        let mut start = Instant::now();
        while start < end {
            self.road.append(value.clone()).await?;
            let done = Instant::now();
            self.latencies.record(done - start);
            start = done;
        }
        Ok(())
    }
}

impl Road {
    async fn append(&self, value: Bytes) -> Result<(), Failure> {
        match self {
            Road::InProcess(partition) => partition.append(vec![NewRecord::new(value)]).await.map(drop).map_err(failed),
            Road::Grpc { client, topic } => {
                client.append(topic, Some(PARTITION), vec![Record::new(value)]).await.map(drop).map_err(Failure::from)
            }
        }
    }
}

impl Report for Measured {
    fn text(&self) -> String {
        format!(
            "latency: {} nodes, one append of {} B in flight, acknowledged by a majority's disks, {} s each\n\
             \x20 in process             {}\n\
             \x20 gRPC, same leader      {}\n\
             \x20 gRPC, another process  {}\n\
             \x20 gRPC adds {:.3} ms to the median of the same leader",
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
