//! `corduroy bench partition`: throughput while the network is cut, nodes die, or nodes are restarted.
//!
//! ```text
//!  pace ─▶ appends at a fixed rate ───────────────────────────────────────────────────────▶ stop ─▶ read all replicas
//!          │ warm-up │ baseline │ fault: proxies hold, reset; a process is killed │ recovery │
//!                                          └── did it happen? what it held, who died
//! ```
//!
//! Each scenario has a cluster of its own, whose nodes reach each other through proxies of this process. The load is an open
//! loop: appends are due at fixed times, and what is late counts from when it was due.
//!
//! **Invariant**: an append whose outcome is unknown is never repeated. So every record that was acknowledged must be on
//! every replica once, at its offset, one that was refused on none, and any other at most once.
//!
//! **Invariant**: a run whose fault did not happen fails, like one that lost something.
mod scenario;

mod fault;
mod ledger;
mod load;

mod replicas;

mod outcome;
mod report;

use super::{
    Bed, Place,
    cluster::Cluster,
    cpu::Clock,
    lanes::{self, Lane},
    leads::Leads,
    numbered,
};
use crate::cli::exit::Failure;
use fault::{Fault, undisturbed};
use load::{Load, Shape};
use outcome::{Outcome, Times};
use report::Partitioned;
use scenario::Scenario;
use std::time::{Duration, Instant};

const TOPIC: &str = "bench";
/// Topics made until enough of them are led by others than the follower.
const TOPICS: u32 = 400;

/// Cuts the network, kills and restarts nodes under a steady load, and shows what that does to throughput.
///
/// Every node reaches the others through TCP proxies of this process, one per direction, that can hold what goes through
/// them. Appends come at a fixed rate; times count from when an append was due. Afterwards the records of all replicas are
/// read: one that was acknowledged and is not on each of them, once, at its offset, fails the command, and so does a fault
/// that left no trace.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench partition                                     all scenarios, one after the other: about eight minutes
  corduroy bench partition --scenario leader,leader-killed
  corduroy bench partition --scenario rolling --nodes 5
  corduroy bench partition --format json > partition.json
  cargo run --release -p benches --bin plot -- partition.json  the picture, SVG and PNG, beside it

Reading the table: `in the fault` is what was acknowledged during the fault as a share of what the baseline would have had.
The gap is the longest time without an acknowledgement: of one partition, and of all together. `back after` is the time
until throughput is at 90 % of the baseline again and holds for a second. Records of unknown outcome may be in the log or
not; they are never sent again.

JSON: one object; per scenario a timeline in steps of 100 ms, counts, gaps, and what proves that the fault happened.")]
pub(super) struct Args {
    /// Which scenarios; all when not given.
    #[arg(long, value_name = "NAME,...", value_enum, value_delimiter = ',', env = "CORDUROY_BENCH_SCENARIO")]
    scenario: Vec<Scenario>,
    /// How many nodes, each with a replica of everything.
    #[arg(long, value_name = "N", default_value_t = 3, env = "CORDUROY_BENCH_NODES", value_parser = nodes)]
    nodes: u64,
    /// Records a second, over all partitions.
    #[arg(long, value_name = "N", default_value_t = 12_000, env = "CORDUROY_BENCH_RATE", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// How many partitions.
    #[arg(long, value_name = "N", default_value_t = 12, env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=256))]
    partitions: u32,
    /// Records per request.
    #[arg(long, value_name = "N", default_value_t = 10, env = "CORDUROY_BENCH_BATCH", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Size of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 128, env = "CORDUROY_BENCH_RECORD_BYTES", value_parser = clap::value_parser!(u32).range(i64::from(numbered::LEAST)..=1 << 16))]
    record_bytes: u32,
    /// Load before anything is counted.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, env = "CORDUROY_BENCH_WARM_UP", value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// What the fault is compared with.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, env = "CORDUROY_BENCH_BASELINE", value_parser = clap::value_parser!(u64).range(1..=600))]
    baseline: u64,
    /// How long the fault lasts. A rolling restart takes as long as it takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, env = "CORDUROY_BENCH_FAULT", value_parser = clap::value_parser!(u64).range(1..=600))]
    fault: u64,
    /// Load after the fault.
    #[arg(long, value_name = "SECONDS", default_value_t = 8, env = "CORDUROY_BENCH_RECOVERY", value_parser = clap::value_parser!(u64).range(1..=600))]
    recovery: u64,
    #[command(flatten)]
    pub(super) place: Place,
}

fn nodes(text: &str) -> Result<u64, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("3 or 5: a majority must be left".into()),
    }
}

impl Args {
    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenario.is_empty() { Scenario::ALL.into() } else { self.scenario.clone() }
    }

    fn shape(&self) -> Shape {
        Shape { rate: self.rate, batch: self.batch, record_bytes: self.record_bytes }
    }
}

pub(super) async fn measure(args: &Args, bed: &mut Bed) -> Result<Partitioned, Failure> {
    let scenarios = args.scenarios();
    let mut outcomes = Vec::new();
    for (number, scenario) in (1..).zip(&scenarios) {
        eprintln!("{scenario} ({number} of {}): {}", scenarios.len(), scenario.title());
        outcomes.push(bed.with_cluster(args.nodes, async |cluster| run(args, *scenario, cluster).await).await?);
    }
    Ok(Partitioned::new(args, outcomes))
}

/// One scenario, in a cluster that has not been started yet.
async fn run(args: &Args, scenario: Scenario, cluster: &mut Cluster) -> Result<Outcome, Failure> {
    let seconds = Duration::from_secs;
    cluster.weave(scenario.cuts_clients()).await?;
    cluster.start_all().await?;
    let lanes = lanes_for(args, scenario, cluster).await?;
    let load = Load::start(cluster, &lanes, args.shape()).await?;
    undisturbed(cluster, seconds(args.warm_up)).await?;
    let (begin, pids) = (Instant::now(), cluster.pids());
    let before = Clock::read(&pids);
    undisturbed(cluster, seconds(args.baseline)).await?;
    let cpu = before.zip(Clock::read(&pids)).map(|(before, after)| after.since(before));
    let fault = Fault::choose(scenario, cluster, &lanes).await?;
    let inflicted = fault.inflict(cluster, seconds(args.fault)).await?;
    // A rolling restart is over when it is over; the runs are to be equally long.
    let left = seconds(args.fault).saturating_sub(inflicted.until - inflicted.from);
    undisturbed(cluster, seconds(args.recovery) + left).await?;
    let times = Times { begin, end: Instant::now(), cpu };
    let ledger = cluster.while_whole(load.stop()).await?;
    eprintln!("reading all replicas");
    let checked = replicas::check(cluster, &lanes, &ledger).await?;
    let outcome = Outcome::of(scenario, fault.led.len(), times, inflicted, &ledger, checked);
    eprintln!("{}", report::line(&outcome));
    Ok(outcome)
}

/// One topic; or one per lane, none of which the follower leads.
async fn lanes_for(args: &Args, scenario: Scenario, cluster: &Cluster) -> Result<Vec<Lane>, Failure> {
    let (admin, replication) = (cluster.admin()?, u32::try_from(args.nodes).expect("3 or 5"));
    if scenario != Scenario::Follower {
        admin.create_topic(TOPIC, args.partitions, Some(replication)).await?;
        return Ok(lanes::of_topic(TOPIC, args.partitions));
    }
    let follower = fault::follower(cluster);
    let mut kept = Vec::new();
    for number in 0..TOPICS {
        let topic = format!("{TOPIC}-{number}");
        let lane = Lane { number: kept.len() as u32, topic: topic.clone(), partition: 0 };
        admin.create_topic(&topic, 1, Some(replication)).await?;
        let leads = Leads::look(&admin, std::slice::from_ref(&lane)).await?;
        if leads.of(follower).is_empty() {
            kept.push(lane);
        } else {
            admin.delete_topic(&topic).await?;
        }
        if kept.len() == args.partitions as usize {
            return Ok(kept);
        }
    }
    Err(Failure::refused(format!("of {TOPICS} topics node {follower} leads too many")))
}
