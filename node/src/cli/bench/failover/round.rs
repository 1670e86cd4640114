//! One fall.
use super::{
    super::{cluster::Cluster, gap, lanes, leads::Leads},
    How, elections,
    writer::Writers,
};
use crate::cli::exit::Failure;
use corduroy_client::Admin;
use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// All partitions acknowledge undisturbed for this long before a node falls.
const STEADY: Duration = Duration::from_secs(2);
/// After all partitions acknowledge again: a second election would still be seen.
const SETTLE: Duration = Duration::from_secs(2);
/// A partition that is silent for longer has failed.
const SILENCE: Duration = Duration::from_secs(30);
/// A node that has not caught up by then has failed.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What one fall did.
#[derive(Debug)]
pub(super) struct Round {
    victim: u64,
    /// Partitions that the node led, with their longest gap.
    pub(super) affected: Vec<(u32, Duration)>,
    /// Of each of them, how long after the fall another node led it.
    pub(super) elected: Vec<Duration>,
    /// And how much later the writer's next append was acknowledged.
    pub(super) followed: Vec<Duration>,
    /// The others, likewise.
    pub(super) others: Vec<(u32, Duration)>,
    /// From restart to ready with everything acknowledged before it.
    pub(super) catch_up: Duration,
}

impl Round {
    pub(super) async fn run(cluster: &mut Cluster, writers: &Writers, topic: &str, how: How) -> Result<Self, Failure> {
        cluster.while_whole(steady(writers)).await?;
        let admin = cluster.admin()?;
        let leads = Leads::look(&admin, &lanes::of_topic(topic, writers.partitions())).await?;
        let victim = leads.most()?;
        let led: BTreeSet<u32> = leads.of(victim).into_iter().collect();
        let others = cluster.ids().into_iter().filter(|id| *id != victim).map(|id| cluster.admin_of(id)).collect();
        let (fall, name, watched) = (Instant::now(), topic.to_owned(), led.clone());
        let mut watching = JoinSet::new();
        watching.spawn(async move { elections::watch(admin, others, &name, watched, fall).await });
        match how {
            How::Killed => drop(cluster.kill(victim).await?),
            How::Stopped => cluster.terminate(victim).await?,
        }
        cluster.while_whole(all_acknowledge(writers, Instant::now())).await?;
        sleep(SETTLE).await;
        let now = Instant::now();
        // They acknowledge, so they have leaders.
        let elected = timeout(SILENCE, watching.join_next()).await.ok().flatten().and_then(Result::ok);
        let elected = elected.ok_or_else(|| Failure::refused("no new leader was seen"))?;
        let followed = elected.iter().filter_map(|(partition, after)| writers.reaction(*partition, fall + *after));
        let followed = followed.collect();
        let gaps = (0..writers.partitions()).map(|partition| {
            let times: Vec<Instant> = writers.history(partition).acks.iter().map(|ack| ack.at).collect();
            (partition, gap::longest(&times, fall, now))
        });
        let (affected, others) = gaps.partition(|(partition, _)| led.contains(partition));
        let catch_up = restart(cluster, &cluster.admin()?, writers, topic, victim).await?;
        Ok(Round { victim, affected, elected: elected.into_values().collect(), followed, others, catch_up })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
        let longest = self.affected.iter().map(|(_, gap)| milliseconds(gap)).fold(0.0, f64::max);
        let shortest = self.affected.iter().map(|(_, gap)| milliseconds(gap)).fold(f64::INFINITY, f64::min);
        write!(
            f,
            "node {}, which led {} partitions; led by others after {:.0} ms at most; gaps from {shortest:.1} to {longest:.1} ms; caught up {:.0} ms after its restart",
            self.victim,
            self.affected.len(),
            self.elected.iter().map(milliseconds).fold(0.0, f64::max),
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
