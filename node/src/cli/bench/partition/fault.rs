//! Inflicting a fault, healing it, and proof that it happened.
//!
//! **Invariant**: a fault that did not happen fails the run. That nothing was disturbed is only worth something when it
//! could have been.
use super::{
    super::{cluster::Cluster, lanes::Lane, leads::Leads},
    scenario::Scenario,
};
use crate::cli::exit::Failure;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until, timeout};

/// How often connections are reset.
const RESET_EVERY: Duration = Duration::from_millis(200);
/// A node that is not ready by then has failed.
const READY: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is about to be done, and to whom.
#[derive(Debug)]
pub(super) struct Fault {
    scenario: Scenario,
    victim: Option<u64>,
    /// Lanes the victim leads.
    pub(super) led: Vec<u32>,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Inflicted {
    pub(super) victim: Option<u64>,
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) proofs: Vec<Proof>,
}

/// One thing that shows that the fault happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Proof {
    pub(super) what: String,
    pub(super) shown: bool,
}

/// Traffic in one direction, and whether it is to be held.
struct Watched {
    from: u64,
    to: u64,
    cut: bool,
    before: (u64, u64),
}

impl Fault {
    /// Chooses the victim as leadership is now.
    pub(super) async fn choose(scenario: Scenario, cluster: &Cluster, lanes: &[Lane]) -> Result<Self, Failure> {
        let leads = Leads::look(&cluster.admin()?, lanes).await?;
        let victim = match scenario {
            Scenario::None | Scenario::Rolling => None,
            Scenario::Follower => Some(follower(cluster)),
            _ => Some(leads.most()?),
        };
        let led = victim.map_or(Vec::new(), |victim| leads.of(victim));
        if scenario == Scenario::Follower && !led.is_empty() {
            return Err(Failure::refused(format!("node {} is no mere follower: it leads {led:?}", follower(cluster))));
        }
        Ok(Fault { scenario, victim, led })
    }

    /// Does it, for so long, and makes it good.
    pub(super) async fn inflict(&self, cluster: &mut Cluster, time: Duration) -> Result<Inflicted, Failure> {
        let from = Instant::now();
        let proofs = match (self.scenario, self.victim) {
            (Scenario::LeaderKilled, Some(victim)) => kill(cluster, victim, time).await?,
            (Scenario::LeaderReset, Some(victim)) => reset(cluster, victim, time).await?,
            (Scenario::Rolling, _) => roll(cluster).await?,
            (scenario, Some(victim)) => cut(cluster, scenario, victim, time).await?,
            (_, None) => {
                undisturbed(cluster, time).await?;
                Vec::new()
            }
        };
        Ok(Inflicted { victim: self.victim, from, until: Instant::now(), proofs })
    }
}

/// The node that leads nothing where a scenario needs one.
pub(super) fn follower(cluster: &Cluster) -> u64 {
    *cluster.ids().last().expect("a cluster has nodes")
}

/// Waits; fails when a node ends meanwhile.
pub(super) async fn undisturbed(cluster: &mut Cluster, time: Duration) -> Result<(), Failure> {
    match timeout(time, cluster.broken()).await {
        Ok(failure) => Err(failure),
        Err(_) => Ok(()),
    }
}

/// Holds what goes to the victim, comes from it, or both.
async fn cut(cluster: &mut Cluster, scenario: Scenario, victim: u64, time: Duration) -> Result<Vec<Proof>, Failure> {
    let is_cut = |from: u64, to: u64| match scenario {
        Scenario::LeaderDeaf => to == victim,
        Scenario::LeaderMute => from == victim,
        _ => from == victim || to == victim,
    };
    let mesh = cluster.mesh();
    let near = mesh.directions().into_iter().filter(|(from, to)| *from == victim || *to == victim);
    let watched: Vec<Watched> = near
        .map(|(from, to)| {
            let traffic = mesh.traffic(from, to);
            Watched { from, to, cut: is_cut(from, to), before: (traffic.passed, traffic.held) }
        })
        .collect();
    let clients = mesh.client_traffic(victim).held;
    watched.iter().filter(|way| way.cut).for_each(|way| mesh.cut(way.from, way.to));
    let with_clients = scenario.cuts_clients() && mesh.cut_clients(victim);
    let outcome = undisturbed(cluster, time).await;
    let mesh = cluster.mesh();
    let mut proofs: Vec<Proof> = watched.iter().map(|way| way.proof(cluster)).collect();
    if scenario.cuts_clients() {
        let held = mesh.client_traffic(victim).held - clients;
        let what = format!("clients and node {victim}: {held} bytes held");
        proofs.push(Proof { what, shown: with_clients && held > 0 });
    }
    mesh.heal();
    outcome.map(|()| proofs)
}

impl Watched {
    /// A direction that is cut holds something; one that is not lets something pass and holds nothing.
    fn proof(&self, cluster: &Cluster) -> Proof {
        let traffic = cluster.mesh().traffic(self.from, self.to);
        let (passed, held) = (traffic.passed - self.before.0, traffic.held - self.before.1);
        let (state, shown) = if self.cut { ("cut", held > 0) } else { ("whole", passed > 0 && held == 0) };
        let what = format!("node {} to {}, {state}: {held} bytes held, {passed} passed", self.from, self.to);
        Proof { what, shown }
    }
}

/// Resets the victim's connections again and again.
async fn reset(cluster: &mut Cluster, victim: u64, time: Duration) -> Result<Vec<Proof>, Failure> {
    let before = cluster.mesh().connections_reset();
    let end = tokio::time::Instant::now() + time;
    let mut rounds = 0;
    while tokio::time::Instant::now() < end {
        cluster.mesh().reset(victim);
        rounds += 1;
        undisturbed(cluster, RESET_EVERY.min(end.saturating_duration_since(tokio::time::Instant::now()))).await?;
    }
    let count = cluster.mesh().connections_reset() - before;
    // Two directions to each other node, at least once.
    let least = 2 * (cluster.ids().len() as u64 - 1);
    let what = format!("node {victim}: {count} connections reset in {rounds} rounds");
    Ok(vec![Proof { what, shown: count >= least }])
}

/// Kills the victim, and starts it again at the end.
async fn kill(cluster: &mut Cluster, victim: u64, time: Duration) -> Result<Vec<Proof>, Failure> {
    let end = tokio::time::Instant::now() + time;
    let before = cluster.pid(victim);
    let how = cluster.kill(victim).await?;
    tokio::select! {
        () = sleep_until(end) => {}
        failure = cluster.broken() => return Err(failure),
    }
    cluster.start(victim)?;
    let after = cluster.pid(victim);
    let what = format!("node {victim}, process {}: {how}; started again as {}", shown(before), shown(after));
    Ok(vec![Proof { what, shown: how.contains("SIGKILL") && before.is_some() && before != after }])
}

/// Restarts one node after the other, each when the one before is ready.
async fn roll(cluster: &mut Cluster) -> Result<Vec<Proof>, Failure> {
    let mut proofs = Vec::new();
    for id in cluster.ids() {
        let before = cluster.pid(id);
        cluster.terminate(id).await?;
        cluster.start(id)?;
        until_ready(cluster, id).await?;
        let after = cluster.pid(id);
        let what = format!(
            "node {id}, process {}: ended when it was told to; started again as {}",
            shown(before),
            shown(after)
        );
        proofs.push(Proof { what, shown: before.is_some() && after.is_some() && before != after });
    }
    Ok(proofs)
}

fn shown(pid: Option<u32>) -> String {
    pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string())
}

/// Resolves when a node says that it should get traffic.
async fn until_ready(cluster: &mut Cluster, id: u64) -> Result<(), Failure> {
    let (admin, address) = (cluster.admin()?, cluster.admin_of(id));
    let ready = async {
        while !admin.node_status(&address).await.is_ok_and(|status| status.ready) {
            sleep(LOOK).await;
        }
        Ok(())
    };
    let ready = async {
        let late = || Failure::refused(format!("node {id} was not ready {READY:?} after its start"));
        timeout(READY, ready).await.unwrap_or_else(|_| Err(late()))
    };
    cluster.while_whole(ready).await
}
