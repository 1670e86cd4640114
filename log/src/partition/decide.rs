//! Deciding: batches that count only as what their decider believed them to be.
//!
//! A decider is a task of the leader that keeps a state ahead of what has evolved: it decides on what it has decided before, while
//! that is still on its way. This is what makes that safe, and all there is to it:
//!
//! ```text
//!   leads() ─▶ term ─▶ next_decided(term), sources ─▶ decide, decide, decide ... ─▶ Decision, in order
//!      ▲                                                                              │ void, refused, unknown
//!      └───────────────── wait until nothing is in flight, begin anew ◀───────────────┘
//! ```
//!
//! **Invariant**: a decided batch that counts stands in the term it was decided in, behind exactly the decided batches its decider
//! numbered before it, and begins its sources where those ended. So its decider had seen everything before it, whatever was lost,
//! delayed or decided by somebody else meanwhile.
use super::{
    Core, Partition,
    append::resolve,
    fold::{Verdict, Void},
};
use crate::{
    batch::DecidedBatch,
    error::LogError,
    topic::{Offset, PartitionId, Term},
    world::{Clock, Timestamp, World},
};
use bytes::Bytes;
use openraft::impls::ProgressResponder;
use std::sync::Arc;

/// What became of a decided batch that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It counts, and has evolved here.
    Counts {
        /// Offset of its first event; of the next record where it has none.
        base: Offset,
        /// The offset behind its last event.
        end: Offset,
    },
    /// It is void on every replica: nothing has changed, and its decider must begin anew from what has evolved.
    Void(String),
}

impl<W: World> Partition<W> {
    /// The term this replica leads in, once everything of earlier terms has evolved here: until then nobody may decide.
    pub fn leads(&self) -> Option<Term> {
        let term = self.core.raft.as_leader().ok()?.term();
        (self.core.evolved.term() >= term).then_some(term)
    }

    /// Resolves when this replica may decide, with the term. `None`: it has stopped.
    pub async fn may_decide(&self) -> Option<Term> {
        self.core.evolved.wait(|evolved| evolved.is_closed() || self.leads().is_some()).await;
        if self.core.evolved.is_closed() { None } else { self.leads() }
    }

    /// The effects of a decided batch that has evolved here, by the index of its entry.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where that entry is not kept, or is none that was decided.
    pub async fn effects(&self, index: u64) -> Result<Bytes, LogError> {
        self.core.decided_at(index).await
    }

    /// The number of the next decided batch of a term, by what has evolved here.
    pub fn next_decided(&self, term: Term) -> u64 {
        self.core.evolved.next_decided(term)
    }

    /// Where a source is to be read on, by what has evolved here.
    pub fn source(&self, partition: PartitionId) -> Offset {
        self.core.evolved.source(partition)
    }

    /// All sources that were read, and where they are to be read on.
    pub fn sources(&self) -> Vec<(PartitionId, Offset)> {
        self.core.evolved.sources()
    }

    /// Log time as this node would have it now: its clock, and not before the last batch. What is decided is given a time from here
    /// on.
    pub fn log_time(&self) -> Timestamp {
        self.core.host.env.clock.now().max(self.core.evolved.time())
    }

    /// Proposes a decided batch. Batches of one decider get their places in the order of these calls; the next one may be proposed
    /// while the answer to this one is awaited.
    ///
    /// # Errors
    /// Here: nothing was proposed: [`LogError::BatchTooLarge`] and its like, [`LogError::Busy`] with too much in flight,
    /// [`LogError::Full`], [`LogError::Stopped`]. From the answer: [`LogError::NotLeader`]: not in this term, it never counts;
    /// [`LogError::UnknownOutcome`]: it may still count, if nothing was decided behind it.
    pub async fn decide(
        &self,
        batch: &DecidedBatch,
    ) -> Result<impl Future<Output = Result<Decision, LogError>> + Send + use<W>, LogError> {
        let core = self.core.clone();
        core.has_room()?;
        let sealed = batch.seal(&core.host.limits)?;
        let admitted = core.appends.admit(|| core.name(), sealed.bytes().len())?;
        let (responder, outcome) = ProgressResponder::complete_only();
        let proposed = core.raft.write(sealed).with_leader(batch.term).responder(responder).await;
        proposed.map_err(|fatal| LogError::Stopped(format!("{}: {fatal}", core.name())))?;
        let term = batch.term;
        Ok(async move {
            let _admitted = admitted;
            let applied = resolve(&core, term, outcome).await?.data;
            Ok(match applied.verdict {
                Verdict::Void(void) => Decision::Void(describe(&core, void)),
                Verdict::Counts | Verdict::Cursors(_) => Decision::Counts { base: applied.base, end: applied.end },
            })
        })
    }
}

fn describe<W: World>(core: &Arc<Core<W>>, void: Void) -> String {
    match void {
        Void::Fence { term, next } => {
            format!("{}: the next decided batch of term {term} is number {next}", core.name())
        }
        Void::Source { partition, at } => format!("{}: partition {partition} is to be read on at {at}", core.name()),
        other => format!("{}: {other:?}", core.name()),
    }
}
