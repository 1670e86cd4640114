//! `corduroy bench restart`: how long a node with a long log takes to come back.
//!
//! ```text
//!   fill ─▶ SIGTERM ─▶ start ─▶ ready ─▶ kill -9 ─▶ start ─▶ ready ─▶ ...     the other nodes go on meanwhile
//! ```
use super::{
    Place, Report, checkout,
    cluster::Cluster,
    fill::fill,
    lanes,
    latencies::rounded,
    memory::{megabytes, resident},
    numbered, settled,
};
use crate::cli::{exit::Failure, output::table};
use corduroy_client::Admin;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

const TOPIC: &str = "bench";
/// The node that is restarted.
const NODE: u64 = 1;
/// A node that is not ready by then has failed.
const READY: Duration = Duration::from_secs(600);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(5);
/// For how long ids of commands are remembered while orders are settled: what is measured is a shop whose orders are old.
const FORGOTTEN: Duration = Duration::from_secs(1);
/// What waits for the disk is written by then, and a checkpoint that is due.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures restarts with a long log: time until ready and memory, after a clean stop and after kill -9.
///
/// A cluster is filled, then one of its nodes is stopped and started again, each way in turn. Ready means what it means
/// to a load balancer: every partition of the node is open and has a leader. What is read is in the page cache, as it is
/// after a restart of the process and not of the machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench restart
  corduroy bench restart --bytes 10GiB --nodes 1           needs that much disk; three nodes need three times as much
  corduroy bench restart --orders 10000000                 a node of a shop with ten million orders that are over: about 10 GB")]
pub(super) struct Args {
    /// How many nodes, each with a replica of everything.
    #[arg(long, value_name = "N", default_value_t = 3, env = "CORDUROY_BENCH_NODES", value_parser = clap::value_parser!(u64).range(1..=5))]
    nodes: u64,
    /// Values of all records together, before they are replicated.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "CORDUROY_BENCH_BYTES")]
    bytes: bytesize::ByteSize,
    /// How many partitions.
    #[arg(long, value_name = "N", default_value_t = 12, env = "CORDUROY_BENCH_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Size of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 128, env = "CORDUROY_BENCH_RECORD_BYTES", value_parser = clap::value_parser!(u32).range(i64::from(numbered::LEAST)..=1 << 16))]
    record_bytes: u32,
    /// Instead of records: orders of a shop, placed and delivered, on one node. The memory of a restarted node is also given
    /// for each of them.
    #[arg(long, value_name = "N", env = "CORDUROY_BENCH_ORDERS", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["nodes", "bytes", "record_bytes", "partitions"])]
    orders: Option<u64>,
    /// How often, each way.
    #[arg(long, value_name = "N", default_value_t = 3, env = "CORDUROY_BENCH_ROUNDS", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[command(flatten)]
    pub(super) place: Place,
}

impl Args {
    /// How many nodes it takes.
    pub(super) fn nodes(&self) -> u64 {
        if self.orders.is_some() { 1 } else { self.nodes }
    }

    /// What they carry.
    pub(super) fn services(&self) -> &'static [&'static str] {
        if self.orders.is_some() { &checkout::SERVICES } else { &["none"] }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restarted {
    nodes: u64,
    /// What it has.
    what: String,
    /// The data directory of the node.
    directory_mb: f64,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    how: &'static str,
    /// From the start of the process.
    ready_ms: f64,
    /// When it is ready.
    resident_mb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_order: Option<f64>,
}

/// What the node must have when it is ready: topics, and the ends of their partitions.
type Ends = BTreeMap<(String, u32), u64>;

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Restarted, Failure> {
    let what = match args.orders {
        Some(orders) => settle_all(cluster, orders).await?,
        None => fill_all(args, cluster).await?,
    };
    sleep(SETTLE).await;
    let (admin, address) = (cluster.admin()?, cluster.admin_of(NODE));
    let ends = ends(&admin, &address).await?;
    let mut rows = Vec::new();
    for _ in 0..args.rounds {
        for how in ["stopped", "killed"] {
            match how {
                "stopped" => cluster.terminate(NODE).await?,
                _ => drop(cluster.kill(NODE).await?),
            }
            let begin = Instant::now();
            cluster.start(NODE)?;
            cluster.while_whole(ready(&admin, &address, &ends)).await?;
            let ready_ms = rounded(begin.elapsed().as_secs_f64() * 1e3);
            let resident = cluster.pid(NODE).and_then(resident);
            let each = |bytes: u64| rounded(bytes as f64 / args.orders.unwrap_or_default() as f64);
            let bytes_per_order = args.orders.and(resident).map(each);
            let row = Row { how, ready_ms, resident_mb: megabytes(resident), bytes_per_order };
            eprintln!("{}", row.cells().join("  "));
            rows.push(row);
            sleep(SETTLE).await;
        }
    }
    let directory_mb = megabytes(Some(size_of_dir(&cluster.data_of(NODE)))).unwrap_or_default();
    Ok(Restarted { nodes: cluster.ids().len() as u64, what, directory_mb, rows })
}

/// Fills a topic of a cluster that runs then; says with what.
async fn fill_all(args: &Args, cluster: &mut Cluster) -> Result<String, Failure> {
    let replication = u32::try_from(args.nodes).expect("at most 5");
    let each = args.bytes.0 / u64::from(args.record_bytes) / u64::from(args.partitions);
    if each == 0 {
        return Err(Failure::usage(format!("--bytes {} is not a record for each partition", args.bytes)));
    }
    cluster.start_all().await?;
    cluster.admin()?.create_topic(TOPIC, args.partitions, Some(replication)).await?;
    eprintln!("filling {} partitions with {each} records of {} B each", args.partitions, args.record_bytes);
    fill(cluster, &lanes::of_topic(TOPIC, args.partitions), each, args.record_bytes).await?;
    let records = each * u64::from(args.partitions);
    Ok(format!("{} partitions, {records} records of {} B", args.partitions, args.record_bytes))
}

/// Settles orders on a node, which runs as a process then.
async fn settle_all(cluster: &mut Cluster, orders: u64) -> Result<String, Failure> {
    eprintln!("settling {orders} orders");
    let services = cluster.embed_shop(NODE, FORGOTTEN).await?;
    cluster.until_ready().await?;
    settled::settle(&services, orders).await?;
    drop(services);
    cluster.release().await;
    cluster.start_all().await?;
    Ok(format!("{orders} orders, placed and delivered"))
}

/// Where all partitions end now.
async fn ends(admin: &Admin, address: &str) -> Result<Ends, Failure> {
    let status = admin.node_status(address).await?;
    Ok(status.partitions.into_iter().map(|found| ((found.topic, found.partition), found.end_offset)).collect())
}

/// Resolves when the node is ready and has what was appended; fails when it is ready without.
async fn ready(admin: &Admin, address: &str, expected: &Ends) -> Result<(), Failure> {
    let ready = async {
        loop {
            if let Ok(status) = admin.node_status(address).await
                && status.ready
                && let Ok(found) = ends(admin, address).await
                && expected.iter().all(|(partition, end)| found.get(partition).is_some_and(|found| found >= end))
            {
                return;
            }
            sleep(LOOK).await;
        }
    };
    timeout(READY, ready).await.map_err(|_| Failure::refused(format!("the node was not ready after {READY:?}")))
}

/// Bytes of all files below.
fn size_of_dir(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of_dir(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let shown = |number: Option<f64>| number.map_or("-".into(), |number| number.to_string());
        vec![self.how.to_owned(), format!("{:.0}", self.ready_ms), shown(self.resident_mb), shown(self.bytes_per_order)]
    }
}

impl Report for Restarted {
    fn text(&self) -> String {
        format!(
            "restart: node 1 of {}, {}, {} MB in its directory\n{}",
            self.nodes,
            self.what,
            self.directory_mb,
            table(&["before", "ready after ms", "MB resident", "B per order"], self.rows.iter().map(Row::cells)),
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        Ok(())
    }
}
