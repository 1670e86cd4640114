//! The phases of a run: faults, then a majority that must make progress, then everybody, then the verdict.
use super::{
    clients::{Client, checker_number, entry},
    faults,
    plan::{Outside, Plan, SAFETY},
    run::{Called, Run, TOPIC},
    watch::Watch,
};
use crate::checker::{Checker, Entry, Expectation, FinalLogs};
use corduroy_log::{
    Consistency, Log, LogError,
    testing::{SimLink, SimTasks, SimWorld},
    topic::NodeId,
};
use openraft_rt::AsyncRuntime as _;
use std::{sync::Arc, time::Duration};

/// How often the invariants are looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How often the disks are read.
const READ_DISKS: Duration = Duration::from_secs(4);
/// Within this a healed majority must serve.
const RECOVERY: Duration = Duration::from_secs(15);
/// Within this everybody must have caught up.
const SETTLING: Duration = Duration::from_secs(30);

/// The first thing that was wrong ends a run.
pub(super) type Verdict = Result<(), String>;

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
    bound: Duration,
    what: &str,
    mut missing: impl FnMut() -> Option<String>,
) -> Verdict {
    let deadline = run.now() + bound;
    while let Some(missing) = missing() {
        if run.now() > deadline {
            return Err(format!("{what} within {bound:?}: {missing}"));
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
            faults::start(run, node).await;
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
    until(run, watch, RECOVERY, "a majority is healed, so every partition must be led", led).await?;
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
                    return Err(format!("{name}/{partition} {what} for {RECOVERY:?}"));
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
    until(run, watch, RECOVERY, "every call must be answered", calls).await?;
    until(run, watch, RECOVERY, "the replicas of the core must agree", || apart(run, &plan.core)).await?;
    let unready = || {
        let checks = plan.core.iter().filter_map(|node| Some((node, cluster.log(*node)?.readiness())));
        let mut unready =
            checks.flat_map(|(node, checks)| checks.into_iter().filter(|c| !c.ok).map(move |c| (node, c)));
        unready.next().map(|(node, check)| format!("{check:?} on node {node}"))
    };
    until(run, watch, RECOVERY, "the core must be ready", unready).await?;
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
        Outside::Healed if run.cluster.log(node).is_none() => faults::start(run, node).await,
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
fn all_partitions(run: &Run) -> Vec<(String, u64, u32)> {
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

/// Everybody works again and catches up; then all machines lose their power once more, and everything is still there.
pub(super) async fn settle(run: &Arc<Run>, watch: &mut Watch) -> Verdict {
    let (sim, cluster) = (run.sim(), &run.cluster);
    sim.trace("settling");
    heal(run);
    for node in cluster.nodes() {
        cluster.resume(node);
        if cluster.log(node).is_none() {
            faults::start(run, node).await;
        }
    }
    let nodes = cluster.nodes();
    until(run, watch, SETTLING, "all replicas must agree", || missing_node(run).or_else(|| apart(run, &nodes))).await?;
    sim.trace("the last power cut");
    for node in cluster.nodes() {
        cluster.power_cut(node);
    }
    for node in cluster.nodes() {
        faults::start(run, node).await;
    }
    cluster.ready().await;
    until(run, watch, SETTLING, "all replicas must agree", || missing_node(run).or_else(|| apart(run, &nodes))).await
}

fn missing_node(run: &Run) -> Option<String> {
    run.cluster
        .nodes()
        .into_iter()
        .find(|node| run.cluster.log(*node).is_none())
        .map(|node| format!("node {node} is down"))
}

/// Every replica's records, by its own word.
pub(super) async fn dump(run: &Arc<Run>) -> Result<FinalLogs, String> {
    let mut logs = FinalLogs::new();
    for (name, topic, partition) in all_partitions(run) {
        for node in run.cluster.nodes() {
            let topic_name = name.clone();
            let dumped = run.call(node, async move |log: Log<SimWorld>| read_all(&log, &topic_name, partition).await);
            match dumped.await {
                Called::Answered(Ok(records)) => {
                    if let Some(pair) = records.windows(2).find(|pair| pair[0].time > pair[1].time) {
                        return Err(format!("{name}/{partition} on node {node}: log time goes back at {:?}", pair[1]));
                    }
                    logs.add_records(node, checker_number(topic, partition), true, 0, records);
                }
                Called::Answered(Err(LogError::NotHosted { .. })) => {}
                Called::Answered(Err(error)) => return Err(format!("{name}/{partition} on node {node}: {error}")),
                Called::NotRunning | Called::Lost => return Err(format!("node {node} is gone")),
            }
        }
    }
    Ok(logs)
}

async fn read_all(log: &Log<SimWorld>, topic: &str, partition: u32) -> Result<Vec<Entry>, LogError> {
    let partition = log.partition(topic, partition)?;
    let mut records: Vec<Entry> = Vec::new();
    loop {
        // A replica that was just started may not know yet how far its log is committed; its leader does.
        let read = partition.read(records.len() as u64, 256 << 10, u32::MAX, Consistency::Linearizable).await?;
        if read.records.is_empty() {
            return Ok(records);
        }
        records.extend(read.records.iter().map(entry));
    }
}

/// No promise of the log was broken, and the run was worth checking.
pub(super) fn judge(run: &Run, logs: FinalLogs, watch: &Watch, plan: &Plan) -> Result<String, String> {
    let partitions = all_partitions(run).len();
    let seen = run.seen();
    let reads = u64::from(plan.operations.iter().any(|operation| {
        matches!(operation.what, super::plan::What::Read { .. } | super::plan::What::Subscribe { .. })
    }));
    let expected = Expectation {
        acked: u64::from(!plan.operations.is_empty()),
        reads: reads.min(seen.reads.len() as u64),
        partitions,
        replicas: run.settings.replication.min(3) as usize,
        percent_acked_outside_faults: 0,
        faults: Vec::new(),
    };
    let mut checker = Checker::new(logs, expected);
    for append in &seen.appends {
        checker.append(append).map_err(|error| error.to_string())?;
    }
    for read in &seen.reads {
        checker.read(read).map_err(|error| error.to_string())?;
    }
    let report = checker.finish();
    if !report.is_clean() {
        return Err(format!("the log checker: {report}"));
    }
    let outside = |at: &Duration| seen.windows.iter().all(|(from, to)| at < from || at > to);
    let quiet: Vec<bool> = seen.operations.iter().filter(|(at, _)| outside(at)).map(|(_, done)| *done).collect();
    let done = quiet.iter().filter(|done| **done).count();
    if done * 10 < quiet.len() * 9 {
        return Err(format!("vacuous: outside of faults only {done} of {} operations succeeded", quiet.len()));
    }
    let fired: u64 = seen.fired.values().sum();
    if fired + seen.skipped != plan.faults.len() as u64 || fired <= seen.unmet && plan.faults.len() > 3 {
        return Err(format!("vacuous: of {} faults {fired} fired, {} were skipped", plan.faults.len(), seen.skipped));
    }
    if watch.committed() == 0 || watch.disk_checks < 2 {
        return Err("vacuous: the invariants saw nothing".into());
    }
    let segments = run.cluster.nodes().into_iter().filter_map(|node| run.cluster.log(node));
    let segment = segments.map(|log| log.wal_stats().segment).max().unwrap_or(0);
    Ok(format!(
        "{} acknowledged, {} refused, {} unknown, {} reads, {} subscribed; {fired} faults ({} met nobody, {} nothing), {} leaderships, {} partitions moved, segment {segment}, {} entries committed, {done} of {} operations in quiet times",
        report.acked,
        report.refused,
        report.unknown,
        report.reads,
        seen.subscribed,
        seen.skipped,
        seen.unmet,
        watch.leaders(),
        watch.moved(),
        watch.committed(),
        quiet.len(),
    ))
}
