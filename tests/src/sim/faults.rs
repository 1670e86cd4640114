//! Doing to the cluster what the plan says.
use super::{
    plan::{Fault, SAFETY, Victim},
    run::{Run, TOPIC},
    settings::Kind,
};
use corduroy_log::{
    OpenError,
    testing::{SimLink, StartError},
    topic::NodeId,
    world::Halt,
};
use std::{io, sync::Arc, time::Duration};

/// After a fault operations may still fail for so long: leases, elections, reconnecting.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Waits for the fault's time, lets it happen and puts an end to it.
pub(super) async fn inflict(run: Arc<Run>, fault: Fault) {
    run.sleep_until(fault.at).await;
    let Some(victims) = seize(&run, &fault) else {
        run.sim().trace(format_args!("skipped {fault}: nobody is there to meet it"));
        run.seen().skipped += 1;
        return;
    };
    run.sim().trace(format_args!("begins {fault}: nodes {victims:?}"));
    let began = run.now();
    let window = {
        let mut seen = run.seen();
        *seen.fired.entry(format!("{:?}", fault.kind)).or_default() += 1;
        seen.windows.push((began, Duration::MAX));
        seen.windows.len() - 1
    };
    happen(&run, &fault, &victims).await;
    for victim in &victims {
        // One that lost its power together with all others, in the middle of this.
        if fault.kind.seizes() && run.cluster.log(*victim).is_none() {
            start(&run, *victim).await;
        }
    }
    run.seen().windows[window].1 = run.now() + AFTERMATH;
    let mut seen = run.seen();
    for victim in victims {
        seen.busy.remove(&victim);
    }
}

/// The nodes the fault meets, none of which another fault has in its hands. `None`: there are none.
fn seize(run: &Run, fault: &Fault) -> Option<Vec<NodeId>> {
    let node = match fault.victim {
        Victim::Node(node) => node,
        Victim::LeaderOf(partition) => run.cluster.leader(TOPIC, partition)?,
    };
    let mut seen = run.seen();
    let free = |node: &NodeId| !seen.busy.contains(node) && run.cluster.log(*node).is_some();
    let victims: Vec<NodeId> = match fault.kind {
        Kind::PowerCutAll => run.cluster.nodes().into_iter().filter(free).collect(),
        // Links and clocks are nobody's: any number of faults may have them.
        Kind::OneWay | Kind::Cut | Kind::Flap | Kind::HalfOpen if fault.detail == node => return None,
        kind if !kind.seizes() => return Some(vec![node]),
        _ => [node].into_iter().filter(free).collect(),
    };
    seen.busy.extend(&victims);
    (!victims.is_empty()).then_some(victims)
}

async fn happen(run: &Arc<Run>, fault: &Fault, victims: &[NodeId]) {
    let (sim, cluster) = (run.sim(), &run.cluster);
    let node = victims[0];
    match fault.kind {
        Kind::Kill => {
            cluster.kill(node);
            back(run, node, fault.lasts).await;
        }
        Kind::PowerCut => {
            cluster.power_cut(node);
            back(run, node, fault.lasts).await;
        }
        Kind::PowerCutAll => {
            // All of them, also those another fault has killed: it will start them again.
            for node in cluster.nodes() {
                cluster.power_cut(node);
            }
            sim.sleep(fault.lasts).await;
            for node in victims {
                start(run, *node).await;
            }
        }
        Kind::PowerCutAtOperation => {
            sim.power_cut_at(node, fault.detail);
            sim.sleep(fault.lasts / 2).await;
            // An idle disk does not get that far.
            cluster.power_cut(node);
            back(run, node, fault.lasts / 2).await;
        }
        Kind::CutInRecovery => {
            cluster.power_cut(node);
            sim.sleep(fault.lasts / 3).await;
            sim.power_cut_at(node, fault.detail);
            let opened = cluster.restart(node).await;
            sim.trace(format_args!("node {node} recovers with the power about to fail: {:?}", opened.map(drop)));
            sim.sleep(fault.lasts / 3).await;
            cluster.power_cut(node);
            back(run, node, fault.lasts / 3).await;
        }
        Kind::Pause => {
            cluster.pause(node);
            sim.sleep(fault.lasts).await;
            cluster.resume(node);
        }
        Kind::OneWay => links(run, fault.lasts, vec![(node, fault.detail)]).await,
        Kind::Cut => links(run, fault.lasts, both_ways([(node, fault.detail)])).await,
        Kind::Isolate => {
            let others = cluster.nodes().into_iter().filter(|other| *other != node);
            links(run, fault.lasts, both_ways(others.map(|other| (node, other)))).await;
        }
        Kind::Ring => {
            let nodes = cluster.nodes();
            let n = nodes.len() as u64;
            let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b)));
            let apart = pairs.filter(|(a, b)| a < b && b - a != 1 && b - a != n - 1);
            links(run, fault.lasts, both_ways(apart)).await;
        }
        Kind::Bridge => {
            // The victim sees both halves, the halves do not see each other.
            let others: Vec<_> = cluster.nodes().into_iter().filter(|other| *other != node).collect();
            let (left, right) = others.split_at(others.len() / 2);
            let apart = left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b)));
            links(run, fault.lasts, both_ways(apart)).await;
        }
        Kind::Flap => {
            const TIMES: u32 = 6;
            for _ in 0..TIMES {
                links(run, fault.lasts / (2 * TIMES), both_ways([(node, fault.detail)])).await;
                sim.sleep(fault.lasts / (2 * TIMES)).await;
            }
        }
        Kind::SlowDisk => {
            let slow = Duration::from_millis(fault.detail);
            // One whose disk does not answer for long halts on its own.
            let hangs = slow > run.settings.timing.disk.failed;
            if hangs {
                run.seen().may_halt.insert(node);
            }
            sim.set_sync_delay(node, slow / 2..=slow);
            sim.sleep(if hangs { fault.lasts + slow } else { fault.lasts }).await;
            sim.set_sync_delay(node, run.settings.world.sync_delay.clone());
            if hangs {
                // Its last sync may still hang.
                cluster.kill(node);
            }
            if cluster.log(node).is_none() {
                start(run, node).await;
            }
            run.seen().may_halt.remove(&node);
        }
        Kind::FailSync => {
            sim.fail_next_sync(node, io::ErrorKind::Other);
            halts(run, node, fault.lasts).await;
        }
        Kind::FailWrite => {
            sim.fail_next_write(node, io::ErrorKind::Other);
            halts(run, node, fault.lasts).await;
        }
        Kind::Drift => {
            sim.set_clock_rate(node, fault.detail);
            sim.sleep(fault.lasts).await;
            sim.set_clock_rate(node, 1000);
        }
        Kind::SlowLinks => {
            let slow = Duration::from_millis(fault.detail);
            qualities(run, node, fault.lasts, SimLink { latency: Some(slow / 20..=slow), ..SimLink::default() }).await;
        }
        Kind::LossyLinks => {
            qualities(run, node, fault.lasts, SimLink { loss_percent: fault.detail, ..SimLink::default() }).await;
        }
        Kind::LateRequests => {
            qualities(run, node, fault.lasts, SimLink { late_percent: fault.detail, ..SimLink::default() }).await;
        }
        Kind::NarrowLinks => {
            let narrow = SimLink { bytes_per_second: Some(fault.detail), ..SimLink::default() };
            qualities(run, node, fault.lasts, narrow).await;
        }
        Kind::Resets => {
            const TIMES: u32 = 5;
            for _ in 0..TIMES {
                for other in cluster.nodes().into_iter().filter(|other| *other != node) {
                    sim.reset(node, other);
                }
                sim.sleep(fault.lasts / TIMES).await;
            }
        }
        Kind::HalfOpen => {
            sim.half_open(node, fault.detail);
            sim.sleep(fault.lasts).await;
            sim.close_half_open(node, fault.detail);
        }
        Kind::DiskFull => {
            run.seen().may_halt.insert(node);
            sim.set_disk_capacity(node, Some(sim.disk_used(node) + fault.detail));
            let before = (sim.disk_failures(node).len(), run.seen().full);
            sim.sleep(fault.lasts).await;
            if before == (sim.disk_failures(node).len(), run.seen().full) {
                run.seen().unmet += 1;
            }
            sim.set_disk_capacity(node, None);
            if cluster.log(node).is_none() {
                start(run, node).await;
            }
            run.seen().may_halt.remove(&node);
        }
        Kind::ReadOnly => {
            sim.set_disk_read_only(node, true);
            halts(run, node, fault.lasts).await;
        }
        Kind::ClockJump => {
            const THIRTY_DAYS_MILLIS: i64 = 30 * 86_400_000;
            sim.set_clock_offset(node, (fault.detail as i64 - THIRTY_DAYS_MILLIS) * 1000);
            sim.sleep(fault.lasts).await;
            sim.set_clock_offset(node, 0);
        }
    }
}

/// Starts a node that died, after some time.
async fn back(run: &Arc<Run>, node: NodeId, after: Duration) {
    if run.sim().is_alive(node) {
        run.fail(format_args!("node {node} lives, though it was to die"));
    }
    run.sim().sleep(after).await;
    start(run, node).await;
}

/// Starts a node. Nothing keeps a node from starting but another crash, and a disk that was told to fail.
pub(super) async fn start(run: &Arc<Run>, node: NodeId) {
    const ATTEMPTS: u32 = 5;
    for _ in 0..ATTEMPTS {
        match run.cluster.restart(node).await {
            Ok(_) | Err(StartError::Died) if run.sim().is_alive(node) => return,
            Ok(_) | Err(StartError::Died) => {}
            Err(StartError::Open(OpenError::Halt(Halt::DiskFailed(_)))) if run.seen().may_halt.contains(&node) => {}
            Err(error) => return run.fail(format_args!("node {node} does not start: {error}")),
        }
        run.sim().sleep(Duration::from_millis(50)).await;
    }
}

/// A node whose disk fails halts, and says why. Then it is started on a disk that works.
async fn halts(run: &Arc<Run>, node: NodeId, lasts: Duration) {
    run.seen().may_halt.insert(node);
    let deadline = run.now() + Duration::from_secs(5).max(lasts);
    while run.sim().is_alive(node) && run.now() < deadline.min(SAFETY) {
        run.sim().sleep(Duration::from_millis(5)).await;
    }
    match run.sim().halted(node) {
        Some(Halt::DiskFailed(_)) => {}
        Some(other) => run.fail(format_args!("node {node} was to halt for its disk, and halted: {other}")),
        // Another fault may have killed it first, or there was nothing to write.
        None => {
            run.seen().unmet += 1;
            run.cluster.kill(node);
        }
    }
    run.sim().sleep(lasts).await;
    run.sim().mend_disk(node);
    start(run, node).await;
    run.seen().may_halt.remove(&node);
}

/// Gives all links of a node other qualities for some time. Of two such faults at once the later one holds, and both end.
async fn qualities(run: &Arc<Run>, node: NodeId, lasts: Duration, link: SimLink) {
    let set = |link: &SimLink| {
        for other in run.cluster.nodes().into_iter().filter(|other| *other != node) {
            run.sim().set_link(node, other, link.clone());
            run.sim().set_link(other, node, link.clone());
        }
    };
    set(&link);
    run.sim().sleep(lasts).await;
    set(&SimLink::default());
}

/// Cuts links for some time. A link that several faults cut is mended by the last of them.
async fn links(run: &Arc<Run>, lasts: Duration, links: Vec<(NodeId, NodeId)>) {
    for (from, to) in &links {
        *run.seen().cuts.entry((*from, *to)).or_default() += 1;
        run.sim().cut_one_way(*from, *to);
    }
    run.sim().sleep(lasts).await;
    for (from, to) in links {
        let mended = {
            let mut seen = run.seen();
            let count = seen.cuts.entry((from, to)).or_default();
            *count = count.saturating_sub(1);
            *count == 0
        };
        if mended {
            run.sim().heal_one_way(from, to);
        }
    }
}

fn both_ways(pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> Vec<(NodeId, NodeId)> {
    pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}
