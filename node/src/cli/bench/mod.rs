//! `corduroy bench`: how fast this machine is at it, with real processes and real syncs.
//!
//! ```text
//! temporary folder ─▶ nodes as child processes ─▶ load ─▶ figures ─▶ is every acknowledged record there? ─▶ all gone
//!       cluster              cluster            append, latency, failover
//! ```
//!
//! A figure without a check is an opinion: `append` and `failover` read back what they wrote, and fail where something
//! acknowledged is missing. Every figure stands beside what the machine is, because most of an acknowledgement is
//! the disk's.
//!
//! **Invariant**: whatever a bench starts it stops, and what it writes it removes, also after Ctrl-C.
//!
//! **Invariant**: nothing but loopback, and every wait has an end.

mod cluster;
mod cpu;
mod machine;

mod append;
mod failover;
mod latency;

mod latencies;

use super::{
    block_on,
    exit::{self, Failure},
    output::{Format, Output},
    up::Signals,
};
use cluster::Cluster;
use machine::Machine;
use serde::Serialize;
use std::{ops::AsyncFnOnce, path::PathBuf};

/// Measures a cluster of its own on this machine: throughput, latency, failover.
///
/// Starts real node processes in a temporary folder, on free loopback ports, and removes everything at the end. Say so
/// when you quote a figure: which command, which machine, and that the nodes and the client share it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench append                               batches of 512 records, 12 partitions, 3 nodes
  corduroy bench append --batch 1 --in-flight 512     one record per request
  corduroy bench latency
  corduroy bench failover --rounds 5

The folder is made in the current one; give --data where that is on another disk than you mean. On tmpfs a sync costs
nothing, and the figures mean nothing.")]
pub(super) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Append(append::Args),
    Latency(latency::Args),
    Failover(failover::Args),
}

/// Where the data of a bench lies.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// A folder for the data is made in here, and removed at the end.
    #[arg(long, value_name = "DIR", default_value = ".", env = "CORDUROY_BENCH_DATA")]
    data: PathBuf,
    /// Do not remove it.
    #[arg(long, env = "CORDUROY_BENCH_KEEP")]
    keep: bool,
}

/// What a bench found out.
trait Report: Serialize {
    /// For people, a few lines.
    fn text(&self) -> String;

    /// What was wrong, if something was: the bench fails, after its report.
    fn verdict(&self) -> Result<(), Failure>;
}

/// A report and where it was made, as one JSON object.
#[derive(Serialize)]
struct Made<'a, R> {
    bench: &'static str,
    machine: &'a Machine,
    #[serde(flatten)]
    report: &'a R,
}

pub(super) fn run(args: Args, format: Option<Format>) -> Result<(), Failure> {
    let format = format.unwrap_or(Format::Text);
    match args.bench {
        Bench::Append(args) => {
            let (place, nodes) = (args.place.clone(), args.nodes);
            measure("append", &place, nodes, format, async |cluster| append::measure(&args, cluster).await)
        }
        Bench::Latency(args) => {
            let place = args.place.clone();
            measure("latency", &place, latency::NODES, format, async |cluster| latency::measure(&args, cluster).await)
        }
        Bench::Failover(args) => {
            let place = args.place.clone();
            measure("failover", &place, failover::NODES, format, async |cluster| {
                failover::measure(&args, cluster).await
            })
        }
    }
}

/// From an empty folder to a printed report; stops at Ctrl-C.
fn measure<R: Report>(
    name: &'static str,
    place: &Place,
    nodes: u64,
    format: Format,
    bench: impl AsyncFnOnce(&mut Cluster) -> Result<R, Failure>,
) -> Result<(), Failure> {
    block_on(async move {
        let mut signals = Signals::listen()?;
        let mut cluster = Cluster::prepare(place, nodes)?;
        let outcome = tokio::select! {
            outcome = measure_on(&mut cluster, bench) => outcome,
            () = signals.next() => Err(Failure::new(exit::INTERRUPTED, "interrupted; the nodes are stopped")),
        };
        cluster.stop().await;
        let (machine, report) = outcome?;
        print(&Made { bench: name, machine: &machine, report: &report }, format)?;
        report.verdict()
    })
}

async fn measure_on<R: Report>(
    cluster: &mut Cluster,
    bench: impl AsyncFnOnce(&mut Cluster) -> Result<R, Failure>,
) -> Result<(Machine, R), Failure> {
    let machine = Machine::look(cluster.dir()).await?;
    if machine.syncs_are_free() {
        eprintln!("warning: {} is not on a disk; the figures mean nothing", cluster.dir().display());
    }
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; for figures use `cargo run --release`");
    }
    let report = bench(cluster).await?;
    Ok((machine, report))
}

fn print<R: Report>(made: &Made<'_, R>, format: Format) -> Result<(), Failure> {
    let mut out = Output::new();
    match format {
        Format::Json => out.json(made)?,
        Format::Text => {
            out.line(&made.machine.to_string())?;
            out.line(&made.report.text())?;
        }
    }
    out.flush()
}
