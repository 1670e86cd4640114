//! Doing what is planned, and seeing to it that it was felt.
use super::{
    late,
    plan::{Kind, Trouble},
    run::Run,
    tally::Event,
};
use corduroy_log::{
    testing::{LinkStats, SimConfig},
    topic::NodeId,
};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// The nodes of a cluster.
pub(super) const NODES: [NodeId; 3] = [1, 2, 3];
/// How long a node takes at most to come to a write, under load.
const WRITES: Duration = Duration::from_secs(10);
const HOUR: i64 = 3_600_000_000;

/// Does it. Afterwards every node runs and is well.
pub(super) async fn make(run: &Run, trouble: &Trouble) -> Result<(), String> {
    let (sim, shop) = (run.sim().clone(), &run.shop);
    let (topic, partition) = trouble.leads;
    let node = shop.logs().await_leader(topic, partition).await;
    let others = NODES.into_iter().filter(move |other| *other != node);
    sim.trace(format_args!("{:?} of node {node}, which leads {topic}/{partition}", trouble.kind));
    let (lasts, measure) = (trouble.lasts, trouble.measure);
    let before = Felt::of(run, node);
    match trouble.kind {
        Kind::Kill => {
            interrupt(run).await;
            shop.kill(node);
            sim.sleep(lasts).await;
            restart(run, node).await;
        }
        Kind::KillAtWrite | Kind::PowerCut => {
            interrupt(run).await;
            let write = 1 + measure % 40;
            match trouble.kind {
                Kind::PowerCut => sim.power_cut_at(node, write),
                _ => sim.kill_at(node, write),
            }
            let deadline = sim.elapsed() + WRITES;
            while sim.is_alive(node) && sim.elapsed() < deadline {
                sim.sleep(MS).await;
            }
            sim.sleep(lasts).await;
            restart(run, node).await;
        }
        Kind::PowerCutOfAll => {
            interrupt(run).await;
            power_off(run).await;
        }
        Kind::Cut => {
            others.clone().for_each(|other| sim.cut(node, other));
            sim.sleep(lasts).await;
            others.for_each(|other| sim.heal(node, other));
        }
        Kind::Mute => {
            others.clone().for_each(|other| sim.cut_one_way(node, other));
            sim.sleep(lasts).await;
            others.for_each(|other| sim.heal_one_way(node, other));
        }
        Kind::Pause => {
            shop.pause(node);
            sim.sleep(lasts).await;
            shop.resume(node);
        }
        Kind::WrongClock => {
            // It leads with it, and after it has died and lived again it may.
            sim.set_clock_offset(node, off(measure));
            sim.sleep(lasts).await;
            shop.kill(node);
            sim.sleep(lasts / 2).await;
            restart(run, node).await;
        }
        Kind::JumpingClock => {
            for jump in 0..4 {
                sim.set_clock_offset(node, off(measure + jump));
                sim.sleep(lasts / 4).await;
            }
        }
        Kind::Drift => {
            sim.set_clock_rate(node, if measure.is_multiple_of(2) { 500 } else { 2000 });
            sim.sleep(lasts).await;
            sim.set_clock_rate(node, 1000);
        }
        Kind::SlowDisk => {
            sim.set_sync_delay(node, 30 * MS..=120 * MS);
            sim.sleep(lasts).await;
            sim.set_sync_delay(node, SimConfig::default().sync_delay);
        }
        Kind::Late => late::propose(run, topic, partition).await?,
        Kind::Unsynced => unsynced(run, node, measure).await,
    }
    let felt = before.since(run, node, trouble.kind);
    run.hold(felt, || format!("{:?} of node {node} met nothing: the run proves nothing", trouble.kind));
    run.note(Event::Fault(trouble.kind));
    run.held()
}

/// A node with a slow disk gets entries of a leader that is cut off from the third one, and loses them, and the leader with them.
/// The other two go on without these entries.
async fn unsynced(run: &Run, leader: NodeId, measure: u64) {
    let (sim, shop) = (run.sim(), &run.shop);
    let mut others: Vec<NodeId> = NODES.into_iter().filter(|other| *other != leader).collect();
    if !measure.is_multiple_of(2) {
        others.reverse();
    }
    let (slow, third) = (others[0], others[1]);
    sim.cut(leader, third);
    sim.set_sync_delay(slow, 300 * MS..=500 * MS);
    sim.sleep(MS * (30 + (measure / 2) as u32 % 150)).await;
    interrupt(run).await;
    shop.power_cut(slow);
    sim.cut(leader, slow);
    sim.set_sync_delay(slow, SimConfig::default().sync_delay);
    sim.sleep(100 * MS).await;
    restart(run, slow).await;
    sim.sleep(2000 * MS).await;
    sim.heal(leader, third);
    sim.heal(leader, slow);
}

/// All machines lose their power, and start again.
pub(super) async fn power_off(run: &Run) {
    NODES.into_iter().for_each(|node| run.shop.power_cut(node));
    run.sim().sleep(100 * MS).await;
    for node in NODES {
        restart(run, node).await;
    }
}

async fn restart(run: &Run, node: NodeId) {
    // One that died by itself is known to be dead.
    run.shop.kill(node);
    run.shop.restart(node).await;
    run.sim().sleep(MS).await;
    let log = run.shop.logs().log(node);
    let partitions = log.iter().flat_map(corduroy_log::Log::partitions);
    let restored =
        partitions.filter(|partition| corduroy_log::testing::Probe::new(partition.clone()).restored().is_some());
    run.note_many(Event::Restored, restored.count() as u64);
}

/// Waits for commands to be under way: a death that interrupts nothing shows nothing.
async fn interrupt(run: &Run) {
    let deadline = run.sim().elapsed() + WRITES;
    while run.under_way() == 0 && run.sim().elapsed() < deadline {
        run.sim().sleep(MS).await;
    }
    if run.under_way() > 0 {
        run.note(Event::Interrupted);
    }
}

/// A wall clock that is wrong by up to two hours. Of days, ids of commands would expire.
fn off(measure: u64) -> i64 {
    let ahead = measure.is_multiple_of(2);
    let off = (measure % 7 + 1) as i64 * HOUR / 4;
    if ahead { off } else { -off }
}

/// What a node, and its links to the others, have been through.
struct Felt {
    deaths: u64,
    held_back: u64,
    wrong_times: u64,
    drifted_times: u64,
    slow_syncs: u64,
    cut: u64,
    void: u64,
}

impl Felt {
    fn of(run: &Run, node: NodeId) -> Self {
        let stats = run.sim().node_stats(node);
        let of = |LinkStats { held, unanswered, .. }: LinkStats| held + unanswered;
        let links = NODES.into_iter().flat_map(|other| [(node, other), (other, node)]).filter(|(a, b)| a != b);
        Felt {
            deaths: NODES.into_iter().map(|node| run.sim().node_stats(node).deaths).sum(),
            held_back: stats.held_back,
            wrong_times: stats.wrong_times,
            drifted_times: stats.drifted_times,
            slow_syncs: stats.slow_syncs,
            cut: links.map(|(from, to)| of(run.sim().link_stats(from, to))).sum(),
            void: run.tally().of(Event::Void),
        }
    }

    /// Whether a fault of this kind was felt since then.
    fn since(&self, run: &Run, node: NodeId, kind: Kind) -> bool {
        let now = Felt::of(run, node);
        match kind {
            Kind::Kill | Kind::KillAtWrite | Kind::PowerCut => now.deaths > self.deaths,
            Kind::PowerCutOfAll => now.deaths >= self.deaths + 3,
            Kind::Cut | Kind::Mute => now.cut > self.cut,
            Kind::Pause => now.held_back > self.held_back,
            Kind::WrongClock | Kind::JumpingClock => now.wrong_times > self.wrong_times,
            Kind::Drift => now.drifted_times > self.drifted_times,
            Kind::SlowDisk => now.slow_syncs > self.slow_syncs,
            Kind::Late => now.void > self.void,
            Kind::Unsynced => now.deaths > self.deaths && now.cut > self.cut,
        }
    }
}
