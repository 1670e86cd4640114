//! Doing to the cluster what the plan says.
use super::{
    damage,
    encounter::{Scene, must_meet},
    kind::Kind,
    nodes::{back, halts, start},
    plan::{Fault, Victim},
    run::{Run, TOPIC},
    tally::Event,
};
use corduroy_log::{testing::SimLink, topic::NodeId};
use std::{io, sync::Arc, time::Duration};

/// After a fault operations may still fail for so long: leases, elections, reconnecting.
const AFTERMATH: Duration = Duration::from_secs(5);
/// A leader that is away for so long, and nothing else is wrong, is succeeded.
const LONG: Duration = Duration::from_secs(3);

/// Waits for the fault's time, lets it happen and puts an end to it.
pub(super) async fn inflict(run: Arc<Run>, fault: Fault) {
    run.sleep_until(fault.at).await;
    let Some(victims) = seize(&run, &fault) else {
        run.sim().trace(format_args!("skipped {fault}: nobody is there to meet it"));
        run.seen().tally.fate_mut(fault.kind).skipped += 1;
        return;
    };
    run.sim().trace(format_args!("begins {fault}: nodes {victims:?}"));
    let began = run.now();
    let window = {
        let mut seen = run.seen();
        seen.windows.push((began, Duration::MAX));
        seen.windows.len() - 1
    };
    let scene = Scene::of(&run, &fault, &victims);
    let (before, lively) = (scene.felt(&run, fault.kind), scene.is_lively(&run));
    let led = (0..run.settings.partitions).any(|partition| run.cluster.leader(TOPIC, partition) == Some(victims[0]));
    run.seen().links.extend(&scene.links);
    happen(&run, &fault, &victims, &scene).await;
    run.seen().give_back(&scene.links);
    for victim in &victims {
        // One that lost its power together with all others, in the middle of this.
        if fault.kind.seizes() && run.cluster.log(*victim).is_none() {
            start(&run, *victim).await;
        }
    }
    let lively = lively && scene.is_lively(&run);
    let met = scene.felt(&run, fault.kind) - before;
    run.sim().trace(format_args!("ended {fault}: met {met}"));
    let ended = run.now();
    let mut seen = run.seen();
    let alone = seen
        .windows
        .iter()
        .enumerate()
        .all(|(at, (from, to))| at == window || to.saturating_sub(AFTERMATH) < began || *from > ended);
    if led && alone && fault.kind.takes_the_lead() && run.settings.nodes > 2 && fault.lasts >= LONG {
        seen.tally.note(Event::Deposed, 1);
    }
    let fate = seen.tally.fate_mut(fault.kind);
    fate.fired += 1;
    fate.met += u64::from(met > 0);
    fate.encounters += met;
    // Without a majority there may be nothing to write.
    let expected = lively && (alone || !fault.kind.needs_writes()) && must_meet(fault.kind, fault.lasts);
    fate.vain += u64::from(met == 0 && expected);
    // Damage stays.
    if !fault.kind.rots() || met == 0 {
        seen.windows[window].1 = ended + AFTERMATH;
    }
    for victim in victims.into_iter().filter(|_| fault.kind.seizes()) {
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

async fn happen(run: &Arc<Run>, fault: &Fault, victims: &[NodeId], scene: &Scene) {
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
        Kind::OneWay | Kind::Cut | Kind::Isolate | Kind::Ring | Kind::Bridge => {
            links(run, fault.lasts, &scene.links).await;
        }
        Kind::Flap => {
            const TIMES: u32 = 6;
            for _ in 0..TIMES {
                links(run, fault.lasts / (2 * TIMES), &scene.links).await;
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
            qualities(run, scene, fault.lasts, SimLink { latency: Some(slow / 20..=slow), ..SimLink::default() }).await;
        }
        Kind::LossyLinks => {
            qualities(run, scene, fault.lasts, SimLink { loss_percent: fault.detail, ..SimLink::default() }).await;
        }
        Kind::LateRequests => {
            qualities(run, scene, fault.lasts, SimLink { late_percent: fault.detail, ..SimLink::default() }).await;
        }
        Kind::NarrowLinks => {
            let narrow = SimLink { bytes_per_second: Some(fault.detail), ..SimLink::default() };
            qualities(run, scene, fault.lasts, narrow).await;
        }
        Kind::Resets => {
            const TIMES: u32 = 5;
            for _ in 0..TIMES {
                // Both directions at once.
                for (a, b) in scene.links.iter().filter(|(a, _)| *a == node) {
                    sim.reset(*a, *b);
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
            sim.set_disk_capacity(node, Some(sim.disk_used(node) + fault.detail));
            sim.sleep(fault.lasts).await;
            sim.set_disk_capacity(node, None);
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
        Kind::Rot => {
            cluster.kill(node);
            sim.sleep(fault.lasts / 2).await;
            damage::inflict(run, node, fault.detail);
            back(run, node, fault.lasts / 2).await;
        }
        Kind::RotInUse => {
            damage::inflict(run, node, fault.detail);
            sim.sleep(fault.lasts).await;
        }
    }
}

/// Gives all links of a node other qualities for some time. Of two such faults at once the later one holds, and both end.
async fn qualities(run: &Arc<Run>, scene: &Scene, lasts: Duration, link: SimLink) {
    let set = |link: &SimLink| {
        for (from, to) in &scene.links {
            run.sim().set_link(*from, *to, link.clone());
        }
    };
    set(&link);
    run.sim().sleep(lasts).await;
    set(&SimLink::default());
}

/// Cuts links for some time. A link that several faults cut is mended by the last of them.
async fn links(run: &Arc<Run>, lasts: Duration, links: &[(NodeId, NodeId)]) {
    for (from, to) in links {
        *run.seen().cuts.entry((*from, *to)).or_default() += 1;
        run.sim().cut_one_way(*from, *to);
    }
    run.sim().sleep(lasts).await;
    for (from, to) in links {
        let mended = {
            let mut seen = run.seen();
            let count = seen.cuts.entry((*from, *to)).or_default();
            *count = count.saturating_sub(1);
            *count == 0
        };
        if mended {
            run.sim().heal_one_way(*from, *to);
        }
    }
}
