//! The phases of a run: faults, then a majority that must make progress, then everybody, then the verdict.
use super::{
    clients::Client,
    faults, nodes,
    plan::{Outside, Plan, SAFETY},
    run::{Run, TOPIC},
    tally::Event,
    violation::{Invariant, Verdict, Violation},
    watch::Watch,
};
use corduroy_log::{
    LogError,
    testing::{SimLink, SimTasks},
    topic::NodeId,
};
use openraft_rt::AsyncRuntime as _;
use std::{path::Path, sync::Arc, time::Duration};

/// How often the invariants are looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How often the disks are read.
const READ_DISKS: Duration = Duration::from_secs(4);
/// Within this a healed majority must serve.
const RECOVERY: Duration = Duration::from_secs(15);
const RECOVERS: (Duration, Invariant) = (RECOVERY, Invariant::Liveness);
/// Within this everybody must have caught up.
/// Within this a node that started must run its partitions.
const OPENS: (Duration, Invariant) = (Duration::from_secs(20), Invariant::Damage);
const SETTLES: (Duration, Invariant) = (Duration::from_secs(30), Invariant::Settling);

/// The safety phase: clients work, faults happen, nothing that is promised may break.
pub(super) async fn safety(run: &Arc<Run>, plan: &Plan, watch: &mut Watch) -> Verdict {
    let last = plan.operations.iter().map(|operation| operation.client).max().map_or(0, |client| client + 1);
    let clients: Vec<_> = (0..last)
        .map(|number| {
            let own = plan.operations.iter().filter(|operation| operation.client == number).copied().collect();
            SimTasks::spawn(Client::new(run, number).work(own))
        })
        .collect();
    let faults: Vec<_> =
        plan.faults.iter().map(|fault| SimTasks::spawn(faults::inflict(run.clone(), *fault))).collect();
    let mut read_disks = READ_DISKS;
    while run.now() < SAFETY {
        look(run, watch).await?;
        if run.now() >= read_disks {
            watch.read_disks();
            read_disks += READ_DISKS;
        }
    }
    // Those still under way end by themselves: every wait of theirs has a bound.
    for task in faults.into_iter().chain(clients) {
        let mut task = std::pin::pin!(task);
        while SimTasks::timeout(LOOK, &mut task).await.is_err() {
            look(run, watch).await?;
        }
    }
    Ok(())
}

async fn look(run: &Arc<Run>, watch: &mut Watch) -> Verdict {
    run.sim().sleep(LOOK).await;
    watch.look();
    run.failure().map_or(Ok(()), Err)
}

/// Waits for something that must come, with the invariants in view.
async fn until(
    run: &Arc<Run>,
    watch: &mut Watch,
    (bound, invariant): (Duration, Invariant),
    what: &str,
    mut missing: impl FnMut() -> Option<String>,
) -> Verdict {
    let deadline = run.now() + bound;
    while let Some(missing) = missing() {
        if run.now() > deadline {
            return Err(Violation::new(invariant, format_args!("{what} within {bound:?}: {missing}")));
        }
        look(run, watch).await?;
    }
    Ok(())
}

/// The liveness phase: the core is healed and must serve, whatever the others do.
pub(super) async fn liveness(run: &Arc<Run>, plan: &Plan, watch: &mut Watch) -> Verdict {
    let (sim, cluster) = (run.sim(), &run.cluster);
    let outside: Vec<NodeId> = cluster.nodes().into_iter().filter(|node| !plan.core.contains(node)).collect();
    sim.trace(format_args!("liveness: core {:?}, {outside:?} {:?}", plan.core, plan.outside));
    heal(run);
    for node in cluster.nodes() {
        if outside.contains(&node) {
            leave(run, node, plan.outside).await;
        } else if cluster.log(node).is_none() {
            nodes::start(run, node).await;
        }
    }
    let healed = run.now();
    let partitions = all_partitions(run);
    let led = || {
        partitions.iter().find_map(|(name, _, partition)| {
            // Where the others work, too, any of them may lead.
            let may_lead = |leader: NodeId| plan.outside == Outside::Healed || plan.core.contains(&leader);
            let led = cluster.leader(name, *partition).is_some_and(may_lead);
            (!led).then(|| format!("{name}/{partition} has no leader"))
        })
    };
    until(run, watch, RECOVERS, "a majority is healed, so every partition must be led", led).await?;
    let mut client = Client::new(run, u32::MAX);
    for (name, topic, partition) in &partitions {
        let deadline = healed + RECOVERY;
        // Whom to ask is not what is tested here: a node that stands still would take a client's whole patience.
        if let Some(leader) = cluster.leader(name, *partition) {
            client.turn_to(name, *partition, leader);
        }
        let writing = async {
            while !client.append(name, *topic, *partition, 1, 30).await {
                if run.now() > deadline {
                    let what = "takes no append, though a majority is healed";
                    let what = format_args!("{name}/{partition} {what} for {RECOVERY:?}");
                    return Err(Violation::new(Invariant::Liveness, what));
                }
            }
            Ok(())
        };
        let mut writing = std::pin::pin!(writing);
        loop {
            match SimTasks::timeout(LOOK, &mut writing).await {
                Ok(written) => break written?,
                Err(_) => look(run, watch).await?,
            }
        }
    }
    let calls = || {
        let seen = run.seen();
        let open = seen.open_calls.iter().find(|(node, calls)| plan.core.contains(node) && **calls > 0);
        open.map(|(node, calls)| format!("{calls} calls to node {node} are open"))
    };
    until(run, watch, RECOVERS, "every call must be answered", calls).await?;
    until(run, watch, RECOVERS, "the replicas of the core must agree", || apart(run, &plan.core)).await?;
    let unready = || {
        let checks = plan.core.iter().filter_map(|node| Some((node, cluster.log(*node)?.readiness())));
        let mut unready =
            checks.flat_map(|(node, checks)| checks.into_iter().filter(|c| !c.ok).map(move |c| (node, c)));
        unready.next().map(|(node, check)| format!("{check:?} on node {node}"))
    };
    until(run, watch, RECOVERS, "the core must be ready", unready).await?;
    watch.read_disks();
    run.failure().map_or(Ok(()), Err)
}

/// Puts an end to everything that is wrong with links.
fn heal(run: &Run) {
    run.sim().heal_all();
    let nodes = run.cluster.nodes();
    for (a, b) in nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b) {
        run.sim().set_link(a, b, SimLink::default());
    }
}

async fn leave(run: &Arc<Run>, node: NodeId, outside: Outside) {
    match outside {
        Outside::Healed if run.cluster.log(node).is_none() => nodes::start(run, node).await,
        Outside::Healed => {}
        Outside::Dead => run.cluster.kill(node),
        Outside::CutOff => {
            for other in run.cluster.nodes().into_iter().filter(|other| *other != node) {
                run.sim().cut(node, other);
            }
        }
        Outside::Paused => run.cluster.pause(node),
    }
}

/// Name, number towards the checker, and partition of everything that can be written to.
pub(super) fn all_partitions(run: &Run) -> Vec<(String, u64, u32)> {
    let of = |name: &str, number: u64, count: u32| (0..count).map(move |p| (name.to_owned(), number, p)).collect();
    let mut all: Vec<(String, u64, u32)> = of(TOPIC, 0, run.settings.partitions);
    for (name, (number, count)) in &run.seen().topics {
        let more: Vec<_> = of(name, *number, *count);
        all.extend(more);
    }
    all
}

/// Where replicas on these nodes differ in how far they have evolved.
fn apart(run: &Run, nodes: &[NodeId]) -> Option<String> {
    all_partitions(run).into_iter().find_map(|(name, _, partition)| {
        let mut ends = Vec::new();
        for node in nodes {
            match run.cluster.log(*node)?.partition(&name, partition) {
                Ok(partition) => ends.push((*node, partition.evolved_offset())),
                Err(LogError::NotHosted { .. }) => {}
                Err(error) => return Some(error.to_string()),
            }
        }
        let equal = ends.windows(2).all(|pair| pair[0].1 == pair[1].1);
        (!equal).then(|| format!("{name}/{partition} ends (by node) at {ends:?}"))
    })
}

/// Everybody works again and catches up; then all machines lose their power once more, and everything is still there. A node
/// whose log was damaged need not catch up.
pub(super) async fn settle(run: &Arc<Run>, watch: &mut Watch) -> Verdict {
    let (sim, cluster) = (run.sim(), &run.cluster);
    sim.trace("settling");
    heal(run);
    for node in cluster.nodes() {
        cluster.resume(node);
        if cluster.log(node).is_none() {
            nodes::start(run, node).await;
        }
    }
    let (damaged, well): (Vec<_>, Vec<_>) = cluster.nodes().into_iter().partition(|node| run.seen().is_damaged(*node));
    let agree = || missing_node(run, &well).or_else(|| apart(run, &well));
    until(run, watch, SETTLES, "all replicas must agree", agree).await?;
    count_checkpoints(run, &well);
    sim.trace("the last power cut");
    for node in cluster.nodes() {
        cluster.power_cut(node);
    }
    for node in &well {
        nodes::start(run, *node).await;
    }
    if run.failure().is_none() {
        cluster.ready().await;
    }
    for node in &damaged {
        nodes::start(run, *node).await;
    }
    until(run, watch, SETTLES, "all replicas must agree", agree).await?;
    let whole = || damaged.iter().find_map(|node| unhosted(run, *node));
    until(run, watch, OPENS, "a damaged node must run what it has, or halt", whole).await?;
    watch.list_all();
    run.failure().map_or(Ok(()), Err)
}

/// A partition that a node should run, and does not, although the node lives.
fn unhosted(run: &Run, node: NodeId) -> Option<String> {
    let log = run.cluster.log(node)?;
    all_partitions(run).into_iter().find_map(|(name, _, partition)| match log.partition(&name, partition) {
        Ok(_) | Err(LogError::NotHosted { .. }) => None,
        Err(error) => Some(format!("node {node}: {error}")),
    })
}

/// Checkpoints that the next start could use.
fn count_checkpoints(run: &Run, nodes: &[NodeId]) {
    let is_checkpoint = |path: &Path| path.extension().is_some_and(|extension| extension == "ckpt");
    for node in nodes {
        let found = run.sim().durable_image(*node).files().filter(|(path, _)| is_checkpoint(path)).count();
        run.seen().tally.note(Event::Checkpoint, found as u64);
    }
}

fn missing_node(run: &Run, nodes: &[NodeId]) -> Option<String> {
    nodes.iter().find(|node| run.cluster.log(**node).is_none()).map(|node| format!("node {node} is down"))
}
