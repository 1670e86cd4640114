//! `corduroy bench failover`: how long nothing is acknowledged when a leader is killed, or stopped in an orderly way.
//!
//! ```text
//! writers, one per partition, one append in flight ─────────────────────────────────────────▶ stop ─▶ read all back
//!        │ steady │ the node that leads most falls │ all acknowledge again │ restart, catch up │ next round
//!                            ├── longest gap between acknowledgements, per partition it led
//!                            └── when another node leads, and how long the writer takes from there
//! ```
//!
//! The gap is what a client with one append in flight sees: detection, election, and its own search for the new leader. The
//! first two together are seen from outside, by asking the other nodes who leads.
//!
//! **Invariant**: an append whose outcome is unknown is never repeated. So each record that was acknowledged must be there
//! once, where it was said to be, and the others at most once.

mod elections;
mod round;
mod writer;

use super::{
    Place, Report,
    cluster::Cluster,
    judge::{Verdict, judge},
    lanes::{self, read_back},
    latencies::Latencies,
};
use crate::cli::exit::Failure;
use round::Round;
use serde::Serialize;
use writer::Writers;

/// A cluster that outlives one node.
pub(super) const NODES: u64 = 3;
const TOPIC: &str = "bench";

/// Fells the node that leads most partitions, again and again, and measures how long nothing is acknowledged.
///
/// Afterwards everything is read back: a record that was acknowledged and is not there once, where it was said to be,
/// fails the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench failover
  corduroy bench failover --how stopped --rounds 9     a rolling restart: nodes that lead are stopped in turn")]
pub(super) struct Args {
    /// How it falls.
    #[arg(long, value_enum, default_value = "killed", env = "CORDUROY_BENCH_HOW")]
    how: How,
    /// How often a node falls.
    #[arg(long, value_name = "N", default_value_t = 5, env = "CORDUROY_BENCH_ROUNDS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many partitions, each with a writer.
    #[arg(long, value_name = "N", default_value_t = 12, env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=256))]
    partitions: u32,
    #[command(flatten)]
    pub(super) place: Place,
}

/// How a node falls. It is started again each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum How {
    /// Its process is killed (kill -9).
    Killed,
    /// It is told to end (SIGTERM), as in a rolling restart.
    Stopped,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailedOver {
    how: How,
    nodes: u64,
    partitions: u32,
    rounds: u32,
    /// Of the partitions that the node led, in all rounds.
    #[serde(rename = "gapMs")]
    gap: Latencies,
    /// From the fall until another node leads.
    #[serde(rename = "electedMs")]
    elected: Latencies,
    /// From there until the writer's next acknowledgement.
    #[serde(rename = "followedMs")]
    followed: Latencies,
    /// Of the partitions that others led.
    #[serde(rename = "othersGapMs")]
    others: Latencies,
    /// From the start of the killed node's new process until it is ready and has what was acknowledged before.
    #[serde(rename = "catchUpMs")]
    catch_up: Latencies,
    acknowledged: u64,
    unknown: u64,
    refused: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<FailedOver, Failure> {
    cluster.start_all().await?;
    cluster.admin()?.create_topic(TOPIC, args.partitions, None).await?;
    let client = cluster.client(8 << 20).await?;
    let mut writers = Writers::start(&client, TOPIC, args.partitions);
    let [mut gap, mut elected, mut followed, mut others, mut catch_up] = [(); 5].map(|()| Latencies::new());
    for number in 1..=args.rounds {
        let round = Round::run(cluster, &writers, TOPIC, args.how).await?;
        eprintln!("round {number} of {}: {round}", args.rounds);
        round.affected.iter().for_each(|(_, time)| gap.record(*time));
        round.elected.iter().for_each(|time| elected.record(*time));
        round.followed.iter().for_each(|time| followed.record(*time));
        round.others.iter().for_each(|(_, time)| others.record(*time));
        catch_up.record(round.catch_up);
    }
    let histories = tokio::select! {
        histories = writers.stop() => histories?,
        failure = cluster.broken() => return Err(failure),
    };
    eprintln!("reading everything back");
    let mut verdict = Verdict::default();
    for (lane, history) in lanes::of_topic(TOPIC, args.partitions).iter().zip(&histories) {
        verdict.add(&judge(&history.claims(), &read_back(&client, lane, None).await?));
    }
    Ok(FailedOver {
        how: args.how,
        nodes: NODES,
        partitions: args.partitions,
        rounds: args.rounds,
        gap,
        elected,
        followed,
        others,
        catch_up,
        acknowledged: histories.iter().map(|history| history.acks.len() as u64).sum(),
        unknown: histories.iter().map(|history| history.unknown).sum(),
        refused: histories.iter().map(|history| history.refused.len() as u64).sum(),
        verdict,
    })
}

impl Report for FailedOver {
    fn text(&self) -> String {
        format!(
            "failover: {} nodes, {} partitions with one writer each, the node that led most {} {} times\n\
             \x20 longest gap without acknowledgements, partitions it led  {}\n\
             \x20 of that, until another node leads                        {}\n\
             \x20 from there until the writer's next acknowledgement       {}\n\
             \x20 the same, partitions led by others                       {}\n\
             \x20 restarted, ready and caught up after                     {}\n\
             \x20 read back: {} records acknowledged, {} of unknown outcome, {} refused: {}",
            self.nodes,
            self.partitions,
            match self.how {
                How::Killed => "killed",
                How::Stopped => "stopped",
            },
            self.rounds,
            self.gap.text(),
            self.elected.text(),
            self.followed.text(),
            self.others.text(),
            self.catch_up.text(),
            self.acknowledged,
            self.unknown,
            self.refused,
            self.verdict,
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.verdict.is_clean() { Ok(()) } else { Err(Failure::refused(self.verdict.to_string())) }
    }
}
