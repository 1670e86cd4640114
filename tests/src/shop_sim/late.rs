//! Decisions that come late: a leader that was deposed, or a second one that knows nothing of the first, proposes what was decided
//! before, once more, under the lead of another, or behind what is missing. Nothing of it may count.
//!
//! Raft would hold most of it up, and does so in all other faults; here it gets as far as the log, and the fences in the log have to
//! do (R47).
use super::{run::Run, tally::Event};
use corduroy_log::{
    DecidedBatch, Decision, Log, LogError,
    testing::{SimWorld, decided_in},
    topic::Term,
};
use futures::StreamExt as _;

/// Events behind which it is looked for what was decided.
const BACK: u64 = 400;
/// Of each sort of late decision so many are proposed.
const SOME: usize = 4;
/// A number that no decider comes to while the others are on their way.
const GAP: u64 = 100_000;

/// Proposes such batches at the leader of a partition.
pub(super) async fn propose(run: &Run, topic: &'static str, partition: u32) -> Result<(), String> {
    for _ in 0..50 {
        let node = run.shop.logs().await_leader(topic, partition).await;
        let proposed = run.shop.logs().on(node, async move |log| on_leader(&log, topic, partition).await);
        // A leader that has decided nothing yet, or is just being deposed, is asked again.
        match proposed.await {
            Ok(Ok(outcomes)) if !outcomes.is_empty() => {
                for (batch, outcome) in outcomes {
                    match outcome {
                        Ok(Decision::Counts { base, end }) => {
                            let (term, number) = (batch.term, batch.sequence);
                            return Err(format!(
                                "{topic}/{partition}: what was decided in term {term} as number {number} counts once more, at {base} to {end}"
                            ));
                        }
                        Ok(Decision::Void(_)) | Err(LogError::NotLeader { .. }) => run.note(Event::Void),
                        Err(_) => {}
                    }
                }
                return Ok(());
            }
            _ => run.sim().sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    Ok(())
}

type Outcome = (DecidedBatch, Result<Decision, LogError>);

async fn on_leader(log: &Log<SimWorld>, topic: &str, partition: u32) -> Result<Vec<Outcome>, LogError> {
    let partition = log.partition(topic, partition)?;
    let (_, end) = partition.offsets(corduroy_log::Consistency::Stale).await?;
    let (mut decided, mut at) = (Vec::new(), end.saturating_sub(BACK));
    let mut batches = partition.subscribe_batches(at, 1 << 20);
    while at < end
        && let Some(some) = batches.next().await
    {
        for placed in some? {
            at = placed.end();
            decided.extend(decided_in(&placed));
        }
    }
    let Some(term) = partition.leads() else { return Ok(Vec::new()) };
    // All of them before the first answer: meanwhile the true decider would go on.
    let (mut proposed, mut outcomes) = (Vec::new(), Vec::new());
    for batch in late(&decided, term, partition.next_decided(term)) {
        proposed.push((partition.decide(&batch).await, batch));
    }
    for (outcome, batch) in proposed {
        let outcome = match outcome {
            Ok(outcome) => outcome.await,
            Err(error) => Err(error),
        };
        outcomes.push((batch, outcome));
    }
    Ok(outcomes)
}

/// Of what was decided, what a confused decider might propose where the next one is number `next` of this term.
fn late(decided: &[DecidedBatch], term: Term, next: u64) -> Vec<DecidedBatch> {
    let of_this_term = || decided.iter().rev().filter(|batch| batch.term == term);
    // What has sources is held up by these; what has none only by its number.
    let again = of_this_term().filter(|batch| batch.sources.is_empty()).chain(of_this_term()).take(SOME).cloned();
    let behind_a_gap = of_this_term().take(1).map(|batch| DecidedBatch { sequence: next + GAP, ..batch.clone() });
    let of_before = decided.iter().filter(|batch| batch.term < term);
    let of_before = of_before.filter(|batch| (next..next + 2 * SOME as u64).contains(&batch.sequence)).cloned();
    // Those of the term before that would be next go first: nothing else is on its way then.
    of_before.chain(again).chain(behind_a_gap).collect()
}
