//! `corduroy bench checkout`: the whole saga of an order, over HTTP, through all nodes.
//!
//! ```text
//! users, items, orders (batch_init) ─▶ open loop at each rate ─▶ closed loop ─▶ open loop while a leader is killed ─▶ sums
//! ```
//!
//! Every checkout is of an order nobody has tried before: order, payment, stock, order, five commits one after the other, each on
//! disk at a majority. In the end the money of all users and the pieces of all items are counted.
mod load;
mod shop;

use super::{Place, Report, bed::Bed, cluster::Cluster, latencies::Latencies};
use crate::cli::exit::Failure;
use load::{Load, Told};
use serde::Serialize;
use shop::Shop;
use std::time::Duration;

/// Between two measurements: what is posted after a checkout must not stand in the way of the next.
const REST: Duration = Duration::from_secs(2);
/// Orders that are there for the closed loop, in a second of it.
const AT_MOST: f64 = 12_000.0;

/// Measures checkouts: at fixed rates, as fast as they can be, and while a leader dies.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench checkout
  corduroy bench checkout --rates 500,1000,2000 --seconds 20 --callers 512

An open loop sends at times that were fixed before; a checkout counts from when it was due. The closed loop has so many callers,
each of whom asks when the last one was answered. Then a leader of order is killed with -9 in the middle of the first rate; callers
ask again, elsewhere, under the same key.")]
pub(super) struct Args {
    /// Checkouts in a second, one measurement each.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1000", env = "CORDUROY_BENCH_RATES")]
    rates: Vec<f64>,
    /// How long each measurement takes.
    #[arg(long, value_name = "N", default_value_t = 10.0, env = "CORDUROY_BENCH_SECONDS")]
    seconds: f64,
    /// Callers of the closed loop.
    #[arg(long, value_name = "N", default_value_t = 256, env = "CORDUROY_BENCH_CALLERS")]
    callers: usize,
    /// Users and items.
    #[arg(long, value_name = "N", default_value_t = 1000, env = "CORDUROY_BENCH_USERS")]
    users: u64,
    /// Do not kill anybody.
    #[arg(long, env = "CORDUROY_BENCH_NO_KILL")]
    no_kill: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    open: Vec<OpenLoop>,
    closed: ClosedLoop,
    killed: Option<Killed>,
    confirmed: u64,
    refused: u64,
    money_missing: i64,
    pieces_missing: i64,
    failures: Vec<String>,
}

/// At a fixed rate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenLoop {
    per_second: f64,
    latencies: Latencies,
    asked_again: u64,
}

/// As fast as so many callers can.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedLoop {
    callers: usize,
    per_second: f64,
    latencies: Latencies,
}

/// While a leader dies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Killed {
    per_second: f64,
    latencies: Latencies,
    longest_gap_ms: f64,
    asked_again: u64,
}

/// The services a checkout takes.
pub(super) const SERVICES: [&str; 4] = ["order", "payment", "stock", "delivery"];
/// Nodes of the cluster.
pub(super) const NODES: u64 = 3;

pub(super) async fn measure(args: &Args, bed: &mut Bed) -> Result<Measured, Failure> {
    bed.with_services(NODES, &SERVICES, async |cluster| on(args, cluster).await).await
}

async fn on(args: &Args, cluster: &mut Cluster) -> Result<Measured, Failure> {
    let rates: f64 = args.rates.iter().sum::<f64>() + if args.no_kill { 0.0 } else { args.rates[0] };
    let orders = ((rates + AT_MOST) * args.seconds) as u64 + 1_000;
    cluster.start_all().await?;
    let shop = Shop::open(cluster, args.users, orders).await?;
    let mut load = Load::new(shop.http.clone(), orders);
    // Connections, caches and leaders that are still moving.
    let mut told = load.open(200.0, Duration::from_secs(2)).await.told;
    let mut open = Vec::new();
    for rate in &args.rates {
        tokio::time::sleep(REST).await;
        let run = load.open(*rate, Duration::from_secs_f64(args.seconds)).await;
        told.add(&run.told);
        open.push(OpenLoop { per_second: *rate, latencies: run.latencies, asked_again: run.asked_again });
    }
    tokio::time::sleep(REST).await;
    let run = load.closed(args.callers, Duration::from_secs_f64(args.seconds)).await;
    told.add(&run.told);
    let per_second = (run.told.confirmed as f64 / run.took.as_secs_f64()).round();
    let closed = ClosedLoop { callers: args.callers, per_second, latencies: run.latencies };
    let killed = if args.no_kill { None } else { Some(kill(args, cluster, &mut load, &mut told).await?) };
    let (money_missing, pieces_missing) = shop.count(&told).await?;
    Ok(Measured {
        open,
        closed,
        killed,
        confirmed: told.confirmed,
        refused: told.refused,
        money_missing,
        pieces_missing,
        failures: told.failures,
    })
}

async fn kill(args: &Args, cluster: &mut Cluster, load: &mut Load, told: &mut Told) -> Result<Killed, Failure> {
    tokio::time::sleep(REST).await;
    let status = cluster.admin()?.cluster().await?;
    let leader = status.partitions.iter().find(|at| at.topic == "order" && at.partition == 0).and_then(|at| at.leader);
    let leader = leader.ok_or_else(|| Failure::refused("order/0 has no leader"))?;
    let half = Duration::from_secs_f64(args.seconds / 2.0);
    let running = load.open(args.rates[0], Duration::from_secs_f64(args.seconds));
    let killing = async {
        tokio::time::sleep(half).await;
        cluster.kill(leader).await
    };
    let (run, how) = tokio::join!(running, killing);
    how?;
    told.add(&run.told);
    cluster.start(leader)?;
    cluster.until_ready().await?;
    let gap = super::gap::longest(&run.answered, run.began, run.began + run.took);
    Ok(Killed {
        per_second: args.rates[0],
        latencies: run.latencies,
        longest_gap_ms: super::latencies::rounded(gap.as_secs_f64() * 1000.0),
        asked_again: run.asked_again,
    })
}

impl Report for Measured {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for OpenLoop { per_second, latencies, asked_again } in &self.open {
            let again = if *asked_again > 0 { format!(", {asked_again} asked again") } else { String::new() };
            lines.push(format!("open loop, {per_second} checkouts/s: {}{again}", latencies.text()));
        }
        let ClosedLoop { callers, per_second, latencies } = &self.closed;
        lines.push(format!("closed loop, {callers} callers: {per_second} checkouts/s, {}", latencies.text()));
        if let Some(Killed { per_second, latencies, longest_gap_ms, asked_again }) = &self.killed {
            lines.push(format!(
                "a leader of order killed at {per_second} checkouts/s: longest gap {longest_gap_ms} ms, {asked_again} asked \
                 again, {}",
                latencies.text()
            ));
        }
        lines.push(format!(
            "{} confirmed, {} refused; money missing: {}, pieces missing: {}",
            self.confirmed, self.refused, self.money_missing, self.pieces_missing
        ));
        lines.join("\n")
    }

    fn verdict(&self) -> Result<(), Failure> {
        if let Some(first) = self.failures.first() {
            return Err(Failure::refused(format!("{} checkouts came to no end: {first}", self.failures.len())));
        }
        match (self.money_missing, self.pieces_missing) {
            (0, 0) => Ok(()),
            (money, pieces) => Err(Failure::refused(format!("{money} cents and {pieces} pieces are missing"))),
        }
    }
}
