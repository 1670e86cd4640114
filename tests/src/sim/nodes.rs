//! Nodes that die and start, or halt, as faults want it; and what must be true of each.
use super::{damage, plan::SAFETY, run::Run, tally::Event, violation::Invariant};
use corduroy_log::{OpenError, testing::StartError, topic::NodeId, world::Halt};
use std::{sync::Arc, time::Duration};

/// Starts a node that died, after some time.
pub(super) async fn back(run: &Arc<Run>, node: NodeId, after: Duration) {
    if run.sim().is_alive(node) {
        run.fail(Invariant::FaultsWork, format_args!("node {node} lives, though it was to die"));
    }
    run.sim().sleep(after).await;
    start(run, node).await;
}

/// Starts a node. Nothing keeps a node from starting but another crash, and a disk that was told to fail.
pub(super) async fn start(run: &Arc<Run>, node: NodeId) {
    const ATTEMPTS: u32 = 5;
    for _ in 0..ATTEMPTS {
        if run.seen().is_lost(node) {
            return;
        }
        let damaged = run.seen().is_damaged(node).then(|| run.sim().copy_disk(node));
        match run.cluster.restart(node).await {
            Ok(_) if run.sim().is_alive(node) => {
                return run.seen().tally.note(Event::RotOpened, u64::from(damaged.is_some()));
            }
            Ok(_) | Err(StartError::Died) => {}
            Err(StartError::Open(OpenError::Halt(Halt::DiskFailed(_)))) if run.seen().may_halt.contains(&node) => {}
            Err(error) => {
                return match (error, damaged) {
                    (StartError::Open(OpenError::Halt(halt)), Some(before)) => {
                        damage::refused(run, node, &halt, Some(&before));
                    }
                    (error, _) => run.fail(Invariant::Start, format_args!("node {node} does not start: {error}")),
                };
            }
        }
        run.sim().sleep(Duration::from_millis(50)).await;
    }
}

/// A node whose disk fails halts, and says why. Then it is started on a disk that works.
pub(super) async fn halts(run: &Arc<Run>, node: NodeId, lasts: Duration) {
    run.seen().may_halt.insert(node);
    let deadline = run.now() + Duration::from_secs(5).max(lasts);
    while run.sim().is_alive(node) && run.now() < deadline.min(SAFETY) {
        run.sim().sleep(Duration::from_millis(5)).await;
    }
    match run.sim().halted(node) {
        Some(Halt::DiskFailed(_)) => {}
        Some(other) => {
            let what = format_args!("node {node} was to halt for its disk, and halted: {other}");
            run.fail(Invariant::Halts, what);
        }
        // Another fault may have killed it first, or there was nothing to write.
        None => run.cluster.kill(node),
    }
    run.sim().sleep(lasts).await;
    run.sim().mend_disk(node);
    start(run, node).await;
    run.seen().may_halt.remove(&node);
}
