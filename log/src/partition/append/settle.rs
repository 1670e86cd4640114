//! The task that takes outcomes in order and answers.
use super::{Job, heads::Heads};
use crate::{
    batch::Conditions,
    error::LogError,
    partition::{
        Ack, Core,
        cursors::CursorJob,
        fold::{Verdict, Void},
    },
    raft::{Applied, TypeConfig},
    topic::Term,
    world::World,
};
use openraft::{
    error::ClientWriteError,
    raft::{ClientWriteResponse, ClientWriteResult},
};
use openraft_rt::{AsyncRuntime, Instant, Select2};
use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// How often a batch without outcome is asked whether its leader still leads.
const PATIENCE: Duration = Duration::from_millis(100);
/// A leader that no majority has answered for so many of the longest election timeouts has been replaced, if the others could
/// do so: what it has in flight is not waited for any longer.
const CUT_OFF: u32 = 2;

type Outcome<W> = ClientWriteResult<TypeConfig<W>>;
pub(in crate::partition) type Pending<W> =
    <<<W as World>::Tasks as AsyncRuntime>::Oneshot as openraft_rt::Oneshot>::Receiver<Outcome<W>>;

/// A batch on its way.
pub(super) struct InFlight<W: World> {
    pub jobs: Jobs,
    pub term: Term,
    /// `None`: nothing was proposed.
    pub outcome: Option<Pending<W>>,
}

/// Who waits.
pub(super) enum Jobs {
    Appends(Vec<Job>),
    /// It waits until what it may repeat is settled.
    Repeated(Box<Job>),
    Cursors(Vec<CursorJob>),
}

pub(super) fn refuse(jobs: Vec<Job>, error: &LogError) {
    for job in jobs {
        job.reply.send(Err(error.clone())).ok();
    }
}

pub(super) async fn settle<W: World>(
    core: Weak<Core<W>>,
    heads: Arc<Mutex<Heads>>,
    mut in_flight: mpsc::Receiver<InFlight<W>>,
) {
    while let Some(InFlight { jobs, term, outcome }) = in_flight.recv().await {
        let Some(core) = core.upgrade() else { return };
        let outcome = match outcome {
            Some(outcome) => Some(resolve(&core, term, outcome).await),
            None => None,
        };
        match (jobs, outcome) {
            (Jobs::Appends(jobs), Some(outcome)) => {
                settle_heads(&heads, term, &jobs, &outcome);
                core.answer_appends(jobs, outcome.map(|response| response.data), term);
            }
            (Jobs::Cursors(jobs), Some(outcome)) => core.answer_cursors(jobs, outcome.map(|response| response.data)),
            (Jobs::Repeated(job), _) => core.answer_repeated(*job),
            (Jobs::Appends(_) | Jobs::Cursors(_), None) => unreachable!("what waits for an outcome was proposed"),
        }
    }
}

pub(in crate::partition) type Response<W> = Result<ClientWriteResponse<TypeConfig<W>>, LogError>;

/// The producers of these appends may go on from them, or must not.
fn settle_heads<W: World>(heads: &Mutex<Heads>, term: Term, jobs: &[Job], outcome: &Response<W>) {
    let counted = outcome.as_ref().is_ok_and(|response| response.data.verdict == Verdict::Counts);
    let mut heads = heads.lock().expect("bookkeeping does not panic");
    for stamp in jobs.iter().filter_map(|job| job.conditions.producer) {
        heads.settled(term, &stamp.producer, counted);
    }
}

impl<W: World> Core<W> {
    fn answer_appends(&self, jobs: Vec<Job>, outcome: Result<Applied, LogError>, term: Term) {
        let Applied { base, time, verdict, .. } = match outcome {
            Ok(applied) => applied,
            Err(error) => return refuse(jobs, &error),
        };
        match verdict {
            Verdict::Counts => {
                let mut first_offset = base;
                for job in jobs {
                    let count = job.count;
                    job.reply.send(Ok(Ack { first_offset, count, term, time })).ok();
                    first_offset += u64::from(count);
                }
            }
            Verdict::Void(Void::Duplicate { .. }) => jobs.into_iter().for_each(|job| self.answer_repeated(job)),
            Verdict::Void(void) => {
                for job in jobs {
                    let error = self.void(void, &job.conditions);
                    job.reply.send(Err(error)).ok();
                }
            }
            Verdict::Cursors(_) => unreachable!("a batch of records changes no cursor"),
        }
    }

    /// Answers as the first time, from what has evolved.
    fn answer_repeated(&self, job: Job) {
        let Some(stamp) = job.conditions.producer else { unreachable!("only what a producer numbered repeats") };
        let records = u64::from(job.count);
        let answer = match self.evolved.appended_at(&stamp, records) {
            Some(first_offset) => self.entry_at(first_offset).map(|(id, batch)| {
                let time = batch.time();
                Ack { first_offset, count: job.count, term: id.term, time }
            }),
            None if self.evolved.next_sequence(&stamp.producer, stamp.epoch) >= stamp.sequence + records => {
                Err(LogError::AlreadyAppended {
                    partition: self.name(),
                    producer: stamp.producer,
                    sequence: stamp.sequence,
                })
            }
            // What it repeated has failed meanwhile.
            None => Err(LogError::Unavailable(format!(
                "{}: an earlier attempt of producer {} failed",
                self.name(),
                stamp.producer
            ))),
        };
        job.reply.send(answer).ok();
    }

    fn answer_cursors(&self, jobs: Vec<CursorJob>, outcome: Result<Applied, LogError>) {
        match outcome.map(|applied| applied.verdict) {
            Ok(Verdict::Cursors(verdicts)) if verdicts.len() == jobs.len() => {
                for (job, verdict) in jobs.into_iter().zip(verdicts) {
                    job.answer(verdict);
                }
            }
            Ok(other) => unreachable!("a batch of changes without conditions was judged as {other:?}"),
            Err(error) => jobs.into_iter().for_each(|job| job.refuse(&error)),
        }
    }

    /// What is told of an append that is void.
    pub(super) fn void(&self, void: Void, conditions: &Conditions) -> LogError {
        let partition = self.name();
        let stamp = || conditions.producer.expect("only what a producer numbered is void by its number");
        match void {
            Void::End { actual } => {
                let expected = conditions.end.expect("only what expects an end is void by it");
                LogError::OffsetMismatch { partition, expected, actual }
            }
            Void::Key { actual } => {
                LogError::KeyMismatch { partition, expected: conditions.key.and_then(|key| key.last), actual }
            }
            Void::Duplicate { .. } => {
                LogError::AlreadyAppended { partition, producer: stamp().producer, sequence: stamp().sequence }
            }
            Void::Sequence { expected } => {
                let (producer, sequence) = (stamp().producer, stamp().sequence);
                LogError::OutOfSequence { partition, producer, sequence, expected }
            }
            Void::Epoch { current } => {
                LogError::ProducerFenced { partition, producer: stamp().producer, epoch: stamp().epoch, current }
            }
            Void::Fence { .. } | Void::Source { .. } => unreachable!("no append is a decision"),
            Void::Producers => {
                LogError::TooMany { what: "producers", partition, limit: crate::partition::fold::SESSIONS as u64 }
            }
        }
    }
}

/// Waits for a batch's outcome. That of a deposed leader may never come, and that of a leader that is cut off comes when it is
/// too late for whoever waits: then it is unknown.
pub(in crate::partition) async fn resolve<W: World>(
    core: &Core<W>,
    term: Term,
    mut outcome: Pending<W>,
) -> Response<W> {
    let start = <<W::Tasks as AsyncRuntime>::Instant as Instant>::now();
    let mut deposed = false;
    loop {
        // What follows a batch that was given up is not waited for as long again.
        let patience = if core.is_cut_off(term) { Duration::ZERO } else { PATIENCE };
        let patience = <W::Tasks as AsyncRuntime>::sleep(patience);
        match <W::Tasks as AsyncRuntime>::select2(&mut outcome, std::pin::pin!(patience)).await {
            Select2::First(Ok(Ok(response))) => return Ok(response),
            Select2::First(Ok(Err(ClientWriteError::ForwardToLeader(elsewhere)))) => {
                return Err(core.not_leader(elsewhere.leader_id));
            }
            Select2::First(Ok(Err(error))) => {
                return Err(LogError::UnknownOutcome(format!("{}: {error}", core.name())));
            }
            Select2::First(Err(_)) => return Err(LogError::UnknownOutcome(format!("{} stopped", core.name()))),
            Select2::Second(()) if deposed => {
                let text =
                    format!("{}: the leader of term {term} was deposed before the append was committed", core.name());
                return Err(LogError::UnknownOutcome(text));
            }
            Select2::Second(()) if core.is_cut_off(term) => {
                let text = format!("{}: the leader of term {term} is cut off from a majority", core.name());
                return Err(LogError::UnknownOutcome(text));
            }
            Select2::Second(()) => deposed = core.raft.as_leader().map_or(true, |leader| leader.term() != term),
        }
        if start.elapsed() > core.host.timing.append_timeout {
            return Err(LogError::UnknownOutcome(format!("{}: not committed in time", core.name())));
        }
    }
}

impl<W: World> Core<W> {
    /// Whether this node leads in `term`, as far as it knows, and no majority has answered it for long. One that is a majority
    /// by itself is asked by nobody, and answers nobody.
    fn is_cut_off(&self, term: Term) -> bool {
        if self.replicas.len() == 1 {
            return false;
        }
        let Ok(leader) = self.raft.as_leader() else { return false };
        let silent = leader.last_quorum_acked().map(|answered| answered.elapsed());
        leader.term() == term && silent.is_some_and(|silent| silent > self.host.timing.election_max * CUT_OFF)
    }
}
