//! `corduroy bench cursors`: what a named cursor costs, and whether ten thousand cost more each than ten.
//!
//! ```text
//!   n cursors of one partition ◀── CommitCursor, so many in flight, in turn, over and over ── one gRPC connection
//! ```
//!
//! At the end the partition is asked for its cursors: each must be where its last acknowledged commit put it.
use super::{
    Place, Report,
    cluster::Cluster,
    cpu::Clock,
    fill::fill,
    lanes,
    latencies::{Latencies, rounded},
    leads::Leads,
    memory::{megabytes, resident_of_all},
    numbered::LEAST,
};
use crate::cli::{exit::Failure, output::table};
use corduroy_proto::v1::{CommitCursorRequest, Consistency, ListCursorsRequest, log_client::LogClient};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

pub(super) const NODES: u64 = 3;
const TOPIC: &str = "bench";
/// Records a cursor can point between.
const RECORDS: u64 = 1_000_000;
/// Bound on one request: longer than a node's own for an append.
const COMMIT: Duration = Duration::from_secs(15);
/// Largest answer: ten thousand cursors and more.
const LARGEST_ANSWER: usize = 64 << 20;

/// Measures named cursors: commits a second and processor time per commit, for few and for many cursors.
///
/// All cursors are of one partition and committed in turn, over and over, so every commit changes another cursor. The
/// cluster of three is the same for all counts; each adds to the cursors of the one before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy bench cursors
  corduroy bench cursors --cursors 512,10000 --in-flight 512")]
pub(super) struct Args {
    /// How many cursors, ascending.
    #[arg(long, value_name = "N,...", default_value = "10,100,1000,10000", value_delimiter = ',', env = "CORDUROY_BENCH_CURSORS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    cursors: Vec<u64>,
    /// Commits in flight; at most as many as there are cursors, so that each has one at a time.
    #[arg(long, value_name = "N", default_value_t = 10, env = "CORDUROY_BENCH_IN_FLIGHT", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    in_flight: u64,
    /// How long to measure each count, after each cursor was committed once. Seconds.
    #[arg(long, value_name = "N", default_value_t = 5, env = "CORDUROY_BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    nodes: u64,
    in_flight: u64,
    rows: Vec<Row>,
    /// Cursors whose place is not that of their last acknowledged commit.
    misplaced: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cursors: u64,
    commits_per_second: u64,
    /// Of all nodes.
    node_micros_per_commit: Option<f64>,
    /// Of all nodes together, at the end of the row.
    resident_mb: Option<f64>,
    #[serde(rename = "commitMs")]
    commit: Latencies,
}

/// The cursors, and how often each was committed: a commit is to an offset of that number.
struct Cursors {
    client: LogClient<Channel>,
    commits: Vec<AtomicU64>,
}

pub(super) async fn measure(args: &Args, cluster: &mut Cluster) -> Result<Measured, Failure> {
    if !args.cursors.is_sorted() {
        return Err(Failure::usage("--cursors must ascend: each count adds to the one before"));
    }
    if args.cursors.iter().any(|count| *count < args.in_flight) {
        return Err(Failure::usage(format!("--in-flight {} is more than the fewest --cursors", args.in_flight)));
    }
    cluster.start_all().await?;
    let admin = cluster.admin()?;
    admin.create_topic(TOPIC, 1, Some(NODES as u32)).await?;
    let lanes = lanes::of_topic(TOPIC, 1);
    fill(cluster, &lanes, RECORDS, LEAST).await?;
    let leader = Leads::look(&admin, &lanes).await?.most()?;
    let cursors = Arc::new(Cursors::new(&cluster.grpc_of(leader), args.cursors.iter().copied().max().unwrap_or(0))?);
    let pids = cluster.pids();
    let mut rows = Vec::new();
    for count in &args.cursors {
        let work = async {
            run(&cursors, *count, args.in_flight, Until::EachOnce).await?;
            let before = Clock::read(&pids);
            let begin = Instant::now();
            let until = Until::Then(begin + Duration::from_secs(args.seconds));
            let commit = run(&cursors, *count, args.in_flight, until).await?;
            let (seconds, cpu) = (begin.elapsed().as_secs_f64(), before.zip(Clock::read(&pids)));
            let commits = commit.count();
            let micros = |(before, after): (Clock, Clock)| after.since(before).nodes * 1e6 / commits.max(1) as f64;
            Ok(Row {
                cursors: *count,
                commits_per_second: (commits as f64 / seconds) as u64,
                node_micros_per_commit: cpu.map(|cpu| rounded(micros(cpu))),
                resident_mb: megabytes(resident_of_all(&pids)),
                commit,
            })
        };
        let row = cluster.while_whole(work).await?;
        eprintln!("{}", row.cells().join("  "));
        rows.push(row);
    }
    let misplaced = cursors.misplaced(*args.cursors.last().expect("clap wants one")).await?;
    Ok(Measured { nodes: NODES, in_flight: args.in_flight, rows, misplaced })
}

/// When committing ends.
#[derive(Clone, Copy)]
enum Until {
    EachOnce,
    Then(Instant),
}

/// Commits the first `count` cursors in turn; a worker for each in flight, with cursors of its own.
async fn run(cursors: &Arc<Cursors>, count: u64, in_flight: u64, until: Until) -> Result<Latencies, Failure> {
    let mut workers = JoinSet::new();
    for worker in 0..in_flight {
        let cursors = cursors.clone();
        workers.spawn(async move {
            let mut times = Latencies::new();
            loop {
                for cursor in (worker..count).step_by(in_flight as usize) {
                    if let Until::Then(end) = until
                        && Instant::now() >= end
                    {
                        return Ok::<_, Failure>(times);
                    }
                    let start = Instant::now();
                    cursors.commit(cursor).await?;
                    times.record(start.elapsed());
                }
                if matches!(until, Until::EachOnce) {
                    return Ok(times);
                }
            }
        });
    }
    let mut all = Latencies::new();
    while let Some(done) = workers.join_next().await {
        all.add(&done.map_err(|error| Failure::refused(format!("a worker failed: {error}")))??);
    }
    Ok(all)
}

impl Cursors {
    fn new(leader: &str, count: u64) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{leader}"));
        let endpoint =
            endpoint.map_err(|error| Failure::refused(format!("{leader}: {error}")))?.tcp_nodelay(true).timeout(COMMIT);
        let client = LogClient::new(endpoint.connect_lazy()).max_decoding_message_size(LARGEST_ANSWER);
        Ok(Cursors { client, commits: (0..count).map(|_| AtomicU64::new(0)).collect() })
    }

    /// Moves a cursor on by one. Only one worker at a time has it.
    async fn commit(&self, cursor: u64) -> Result<(), Failure> {
        let commits = &self.commits[cursor as usize];
        let offset = (commits.load(Ordering::Relaxed) + 1) % RECORDS;
        let request = CommitCursorRequest { topic: TOPIC.into(), partition: 0, name: name(cursor), offset, fence: 0 };
        let mut client = self.client.clone();
        client.commit_cursor(request).await.map_err(|status| Failure::refused(status.message()))?;
        commits.store(offset, Ordering::Relaxed);
        Ok(())
    }

    /// How many of the first `count` cursors are not where they were last committed.
    async fn misplaced(&self, count: u64) -> Result<u64, Failure> {
        let mut client = self.client.clone();
        let request = ListCursorsRequest {
            topic: TOPIC.into(),
            partition: 0,
            consistency: Consistency::Linearizable.into(),
            session_offset: 0,
        };
        let found = client.list_cursors(request).await.map_err(|status| Failure::refused(status.message()))?;
        let mut right = 0;
        for cursor in found.into_inner().cursors {
            let number: Option<usize> = cursor.name.strip_prefix("cursor-").and_then(|number| number.parse().ok());
            let committed = number.and_then(|number| self.commits.get(number));
            right += u64::from(committed.is_some_and(|offset| offset.load(Ordering::Relaxed) == cursor.offset));
        }
        Ok(count.saturating_sub(right))
    }
}

fn name(cursor: u64) -> String {
    format!("cursor-{cursor}")
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let shown = |figure: Option<f64>| figure.map_or("-".into(), |figure| figure.to_string());
        vec![
            self.cursors.to_string(),
            self.commits_per_second.to_string(),
            shown(self.node_micros_per_commit),
            shown(self.resident_mb),
            format!("{:.2}", self.commit.milliseconds(0.5)),
            format!("{:.2}", self.commit.milliseconds(0.99)),
        ]
    }
}

impl Report for Measured {
    fn text(&self) -> String {
        let headings =
            ["cursors", "commits/s", "us of the nodes' processors per commit", "MB resident", "p50 ms", "p99 ms"];
        format!(
            "cursors: {} nodes, one partition, {} commits in flight\n{}\nasked for afterwards: {} of them misplaced",
            self.nodes,
            self.in_flight,
            table(&headings, self.rows.iter().map(Row::cells)),
            self.misplaced,
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        match self.misplaced {
            0 => Ok(()),
            count => Err(Failure::refused(format!("{count} cursors are not where they were committed"))),
        }
    }
}
