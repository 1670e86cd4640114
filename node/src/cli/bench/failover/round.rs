//! One kill.
use super::{super::cluster::Cluster, gap, writer::Writers};
use crate::cli::exit::Failure;
use corduroy_client::{Admin, ClusterStatus};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// All partitions acknowledge undisturbed for this long before a node is killed.
const STEADY: Duration = Duration::from_secs(2);
/// After all partitions acknowledge again: a second election would still be seen.
const SETTLE: Duration = Duration::from_secs(2);
/// A partition that is silent for longer has failed.
const SILENCE: Duration = Duration::from_secs(30);
/// A node that has not caught up by then has failed.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What one kill did.
#[derive(Debug)]
pub(super) struct Round {
    victim: u64,
    /// Partitions that the killed node led, with their longest gap.
    pub(super) affected: Vec<(u32, Duration)>,
    /// The others, likewise.
    pub(super) others: Vec<(u32, Duration)>,
    /// From restart to ready with everything acknowledged before it.
    pub(super) catch_up: Duration,
}

impl Round {
    pub(super) async fn run(cluster: &mut Cluster, writers: &Writers, topic: &str) -> Result<Self, Failure> {
        let admin = cluster.admin()?;
        tokio::select! {
            steady = steady(writers) => steady?,
            failure = cluster.broken() => return Err(failure),
        }
        let (victim, led) = leads_most(&admin.cluster().await?, topic)?;
        let kill = Instant::now();
        cluster.kill(victim).await?;
        tokio::select! {
            gone_on = all_acknowledge(writers, kill) => gone_on?,
            failure = cluster.broken() => return Err(failure),
        }
        sleep(SETTLE).await;
        let gaps = (0..writers.partitions()).map(|partition| {
            let gap = gap::longest(&writers.history(partition).acks, kill);
            (partition, gap.expect("it has acknowledged since"))
        });
        let (affected, others) = gaps.partition(|(partition, _)| led.contains(partition));
        let catch_up = restart(cluster, &admin, writers, topic, victim).await?;
        Ok(Round { victim, affected, others, catch_up })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
        let longest = self.affected.iter().map(|(_, gap)| milliseconds(gap)).fold(0.0, f64::max);
        let shortest = self.affected.iter().map(|(_, gap)| milliseconds(gap)).fold(f64::INFINITY, f64::min);
        write!(
            f,
            "killed node {}, which led {} partitions; gaps from {shortest:.1} to {longest:.1} ms; caught up {:.0} ms after its restart",
            self.victim,
            self.affected.len(),
            milliseconds(&self.catch_up)
        )
    }
}

/// Resolves when every partition has acknowledged something for a while.
async fn steady(writers: &Writers) -> Result<(), Failure> {
    all_acknowledge(writers, Instant::now()).await?;
    sleep(STEADY).await;
    all_acknowledge(writers, Instant::now()).await
}

/// Resolves when every partition has acknowledged something after `since`.
async fn all_acknowledge(writers: &Writers, since: Instant) -> Result<(), Failure> {
    let silent = || {
        let after = |partition: &u32| writers.history(*partition).acks.last().is_some_and(|ack| ack.at > since);
        (0..writers.partitions()).find(|partition| !after(partition))
    };
    while let Some(partition) = silent() {
        if since.elapsed() > SILENCE {
            return Err(Failure::refused(format!("partition {partition} has acknowledged nothing for {SILENCE:?}")));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// The node that leads most partitions of the topic, and which.
fn leads_most(cluster: &ClusterStatus, topic: &str) -> Result<(u64, BTreeSet<u32>), Failure> {
    let mut led: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for partition in cluster.partitions.iter().filter(|partition| partition.topic == topic) {
        if let Some(leader) = partition.leader {
            led.entry(leader).or_default().insert(partition.partition);
        }
    }
    let most = led.into_iter().max_by_key(|(_, partitions)| partitions.len());
    most.ok_or_else(|| Failure::refused("no partition has a leader"))
}

/// Starts the killed node again; returns how long it took to be ready and to have what was acknowledged before.
async fn restart(
    cluster: &mut Cluster,
    admin: &Admin,
    writers: &Writers,
    topic: &str,
    id: u64,
) -> Result<Duration, Failure> {
    let ends: Vec<u64> = (0..writers.partitions())
        .map(|partition| writers.history(partition).acks.last().map_or(0, |ack| ack.offset + 1))
        .collect();
    let start = Instant::now();
    cluster.start(id)?;
    let address = cluster.admin_of(id);
    let caught_up = async {
        while !has_caught_up(admin, &address, topic, &ends).await {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        done = timeout(CATCH_UP, caught_up) => match done {
            Ok(()) => Ok(start.elapsed()),
            Err(_) => Err(Failure::refused(format!("node {id} has not caught up {CATCH_UP:?} after its restart"))),
        },
        failure = cluster.broken() => Err(failure),
    }
}

async fn has_caught_up(admin: &Admin, address: &str, topic: &str, ends: &[u64]) -> bool {
    let Ok(status) = admin.node_status(address).await else { return false };
    let here = status.partitions.iter().filter(|partition| partition.topic == topic);
    let reached = here.filter(|partition| partition.end_offset >= ends[partition.partition as usize]).count();
    status.ready && reached == ends.len()
}
