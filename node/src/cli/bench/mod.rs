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
mod proxy;

mod mesh;

mod pace;

mod lanes;
mod leads;
mod numbered;

mod fill;

mod append;
mod checkout;
mod cursors;
mod latency;
mod read;

mod failover;
mod partition;
mod restart;
mod settled;

mod growth;
mod idle;

mod gap;
mod latencies;
mod timeline;

mod judge;

mod cpu;
mod machine;
mod memory;

mod bed;

use super::{
    block_on,
    exit::Failure,
    output::{Format, Output},
};
use bed::Bed;
use machine::Machine;
use serde::Serialize;
use std::{ops::AsyncFnOnce, path::PathBuf};

/// Measures a cluster of its own on this machine: throughput, times, and both of them under faults.
///
/// Starts real node processes in a temporary folder, on free loopback ports, and removes everything at the end. Say so
/// when you quote a figure: which command, which machine, and that the nodes and the client share it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench append                               batches of 512 records, 12 partitions, 3 nodes
  corduroy bench append --batch 1 --in-flight 512     one record per request
  corduroy bench latency --rate 500
  corduroy bench partition --scenario leader          throughput while a leader is cut off from the others
  corduroy bench failover --rounds 5
  corduroy bench checkout                             the saga of an order, over HTTP

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
    Read(read::Args),
    Cursors(cursors::Args),
    Partition(partition::Args),
    Failover(failover::Args),
    Restart(restart::Args),
    Growth(growth::Args),
    Idle(idle::Args),
    Checkout(checkout::Args),
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
        Bench::Append(args) => measure("append", &args.place.clone(), format, async |bed| {
            bed.with_cluster(args.nodes, async |cluster| append::measure(&args, cluster).await).await
        }),
        Bench::Latency(args) => measure("latency", &args.place.clone(), format, async |bed| {
            bed.with_cluster(latency::NODES, async |cluster| latency::measure(&args, cluster).await).await
        }),
        Bench::Read(args) => measure("read", &args.place.clone(), format, async |bed| {
            bed.with_cluster(read::NODES, async |cluster| read::measure(&args, cluster).await).await
        }),
        Bench::Cursors(args) => measure("cursors", &args.place.clone(), format, async |bed| {
            bed.with_cluster(cursors::NODES, async |cluster| cursors::measure(&args, cluster).await).await
        }),
        Bench::Partition(args) => {
            measure("partition", &args.place.clone(), format, async |bed| partition::measure(&args, bed).await)
        }
        Bench::Failover(args) => measure("failover", &args.place.clone(), format, async |bed| {
            bed.with_cluster(failover::NODES, async |cluster| failover::measure(&args, cluster).await).await
        }),
        Bench::Restart(args) => measure("restart", &args.place.clone(), format, async |bed| {
            bed.with_services(args.nodes(), args.services(), async |cluster| restart::measure(&args, cluster).await)
                .await
        }),
        Bench::Checkout(args) => {
            measure("checkout", &args.place.clone(), format, async |bed| checkout::measure(&args, bed).await)
        }
        Bench::Growth(args) => {
            measure("growth", &args.place.clone(), format, async |bed| growth::measure(&args, bed).await)
        }
        Bench::Idle(args) => measure("idle", &args.place.clone(), format, async |bed| {
            bed.with_cluster(args.nodes, async |cluster| idle::measure(&args, cluster).await).await
        }),
    }
}

/// From an empty folder to a printed report; stops at Ctrl-C.
fn measure<R: Report>(
    name: &'static str,
    place: &Place,
    format: Format,
    bench: impl AsyncFnOnce(&mut Bed) -> Result<R, Failure>,
) -> Result<(), Failure> {
    block_on(async move {
        let mut bed = Bed::prepare(place)?;
        let machine = Machine::look(&place.data).await?;
        machine.warn(&place.data);
        let report = bench(&mut bed).await?;
        print(&Made { bench: name, machine: &machine, report: &report }, format)?;
        report.verdict()
    })
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
