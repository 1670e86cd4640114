//! `corduroy bench idle`: what a cluster costs that has nothing to do.
use super::{
    Place, Report,
    cluster::Cluster,
    cpu::Clock,
    latencies::rounded,
    memory::{megabytes, resident_of_all},
};
use crate::cli::exit::Failure;
use serde::Serialize;
use std::time::{Duration, Instant};

pub(super) const NODES: u64 = 3;
const TOPIC: &str = "bench";
/// Elections, registrations and the first checkpoints are over by then.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures an idle cluster: processor time of all nodes together, in percent of one core.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench idle
  corduroy bench idle --partitions 1 --seconds 60")]
pub(super) struct Args {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = NODES, env = "CORDUROY_BENCH_NODES", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub(super) nodes: u64,
    /// How many partitions, each replicated three times.
    #[arg(long, value_name = "N", default_value_t = 64, env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// How long to look. Seconds.
    #[arg(long, value_name = "N", default_value_t = 30, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    nodes: u64,
    partitions: u32,
    seconds: u64,
    #[serde(flatten)]
    rest: Rest,
}

/// A cluster at rest.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rest {
    /// Processor time of all nodes, in percent of one core.
    pub(super) percent_of_a_core: Option<f64>,
    /// Of all nodes together.
    pub(super) resident_mb: Option<f64>,
}

/// Looks at the nodes for so long.
pub(super) async fn look(cluster: &mut Cluster, time: Duration) -> Result<Rest, Failure> {
    let pids = cluster.pids();
    let (begin, before) = (Instant::now(), Clock::read(&pids));
    cluster.while_whole(asleep(time)).await?;
    let (seconds, after) = (begin.elapsed().as_secs_f64(), Clock::read(&pids));
    let percent = before.zip(after).map(|(before, after)| rounded(after.since(before).nodes / seconds * 100.0));
    Ok(Rest { percent_of_a_core: percent, resident_mb: megabytes(resident_of_all(&pids)) })
}

async fn asleep(time: Duration) -> Result<(), Failure> {
    tokio::time::sleep(time).await;
    Ok(())
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Measured, Failure> {
    cluster.start_all().await?;
    cluster.admin()?.create_topic(TOPIC, args.partitions, None).await?;
    cluster.while_whole(asleep(SETTLE)).await?;
    eprintln!("looking for {} s", args.seconds);
    let rest = look(cluster, Duration::from_secs(args.seconds)).await?;
    Ok(Measured { nodes: args.nodes, partitions: args.partitions, seconds: args.seconds, rest })
}

impl Rest {
    pub(super) fn cells(&self) -> [String; 2] {
        [self.percent_of_a_core, self.resident_mb].map(|figure| figure.map_or("-".into(), |figure| figure.to_string()))
    }
}

impl Report for Measured {
    fn text(&self) -> String {
        let [percent, resident] = self.rest.cells();
        format!(
            "idle: {} nodes, {} partitions, looked at for {} s\n  {percent} % of one core, {resident} MB resident, all nodes \
             together",
            self.nodes, self.partitions, self.seconds
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        Ok(())
    }
}
