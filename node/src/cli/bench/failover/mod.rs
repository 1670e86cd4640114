//! `corduroy bench failover`: how long nothing is acknowledged when a leader is killed.
//!
//! ```text
//! writers, one per partition, one append in flight ─────────────────────────────────────────▶ stop ─▶ read all back
//!        │ steady │ kill -9 the node that leads most │ all acknowledge again │ restart, catch up │ next round
//!                            └── longest gap between acknowledgements, per partition it led
//! ```
//!
//! The gap is what a client with one append in flight sees: detection, election, and its own search for the new leader.
//!
//! **Invariant**: an append whose outcome is unknown is never repeated. So each record that was acknowledged must be there
//! once, where it was said to be, and the others at most once.

mod gap;
mod judge;
mod round;
mod writer;

use super::{Place, Report, cluster::Cluster, latencies::Latencies};
use crate::cli::exit::Failure;
use corduroy_client::{Client, ReadOptions};
use judge::Verdict;
use round::Round;
use serde::Serialize;
use writer::{Writers, number_of};

/// A cluster that outlives one node.
pub(super) const NODES: u64 = 3;
const TOPIC: &str = "bench";
/// Size of the pages in which everything is read back. Bytes.
const PAGE: u64 = 1 << 20;

/// Kills the node that leads most partitions, again and again, and measures how long nothing is acknowledged.
///
/// Afterwards everything is read back: a record that was acknowledged and is not there once, where it was said to be,
/// fails the command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often a node is killed.
    #[arg(long, value_name = "N", default_value_t = 5, env = "CORDUROY_BENCH_ROUNDS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many partitions, each with a writer.
    #[arg(long, value_name = "N", default_value_t = 12, env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=256))]
    partitions: u32,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailedOver {
    nodes: u64,
    partitions: u32,
    rounds: u32,
    /// Of the partitions that the killed node led, in all rounds.
    #[serde(rename = "gapMs")]
    gap: Latencies,
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
    let (mut gap, mut others, mut catch_up) = (Latencies::new(), Latencies::new(), Latencies::new());
    for number in 1..=args.rounds {
        let round = Round::run(cluster, &writers, TOPIC).await?;
        eprintln!("round {number} of {}: {round}", args.rounds);
        round.affected.iter().for_each(|(_, time)| gap.record(*time));
        round.others.iter().for_each(|(_, time)| others.record(*time));
        catch_up.record(round.catch_up);
    }
    let histories = tokio::select! {
        histories = writers.stop() => histories?,
        failure = cluster.broken() => return Err(failure),
    };
    eprintln!("reading everything back");
    let mut verdict = Verdict::default();
    for (partition, history) in (0..).zip(&histories) {
        verdict.add(&judge::judge(history, &read_back(&client, partition).await?));
    }
    Ok(FailedOver {
        nodes: NODES,
        partitions: args.partitions,
        rounds: args.rounds,
        gap,
        others,
        catch_up,
        acknowledged: histories.iter().map(|history| history.acks.len() as u64).sum(),
        unknown: histories.iter().map(|history| history.unknown).sum(),
        refused: histories.iter().map(|history| history.refused).sum(),
        verdict,
    })
}

/// The numbers of all records of a partition, by offset; `None` where a record has none.
async fn read_back(client: &Client, partition: u32) -> Result<Vec<Option<u64>>, Failure> {
    let mut numbers = Vec::new();
    let options = ReadOptions { max_bytes: Some(PAGE), ..ReadOptions::default() };
    loop {
        let page = client.read(TOPIC, partition, numbers.len() as u64, &options).await?;
        if page.records.is_empty() {
            return Ok(numbers);
        }
        for record in page.records {
            if record.offset != numbers.len() as u64 {
                return Err(Failure::refused(format!("{TOPIC}/{partition} has a hole at offset {}", numbers.len())));
            }
            numbers.push(number_of(partition, &record.value));
        }
    }
}

impl Report for FailedOver {
    fn text(&self) -> String {
        format!(
            "failover: {} nodes, {} partitions with one writer each, the node that led most killed {} times\n\
             \x20 longest gap without acknowledgements, partitions it led  {}\n\
             \x20 the same, partitions led by others                       {}\n\
             \x20 restarted, ready and caught up after                     {}\n\
             \x20 read back: {} records acknowledged, {} of unknown outcome, {} refused: {}",
            self.nodes,
            self.partitions,
            self.rounds,
            self.gap.text(),
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
