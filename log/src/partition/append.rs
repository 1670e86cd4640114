//! Appending: admission, joining into batches, the pipeline to Raft, and who is told what.
//!
//! One task per partition proposes, so the order of appends is the order of its queue. It takes everything that waits into
//! one batch: under load batches grow, at rest a lone append goes at once. Up to [`DEPTH`] batches are in flight; a second
//! task takes their outcomes in order and answers.
//!
//! An outcome is one of three: acknowledged; refused, and certainly not appended; unknown. A batch is proposed for the term
//! it was accepted in and no other, so a refusal by openraft before the append is certain.
use super::{Ack, Core, Partition};
use crate::{
    batch::{self, Batch, EncodedRecords},
    error::{LogError, Room, Scope},
    health::{Budget, Share},
    raft::{Applied, TypeConfig},
    record::NewRecord,
    topic::{Offset, PartitionId, Term},
    wal::{DiskSpace, Space},
    world::{Clock, Timestamp, World},
};
use openraft::{
    error::ClientWriteError,
    impls::ProgressResponder,
    raft::{ClientWriteResponse, ClientWriteResult},
};
use openraft_rt::{AsyncRuntime, Instant, Select2};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Batches in flight.
const DEPTH: usize = 64;
/// A batch takes no further request once it holds this much: larger ones gain nothing and delay what follows.
const BATCH_TARGET: usize = 512 << 10;
/// How often a batch without outcome is asked whether its leader still leads.
const PATIENCE: Duration = Duration::from_millis(100);
/// When to try again after a busy answer.
const BUSY_RETRY: Duration = Duration::from_millis(20);
/// When to try again after a full answer: by then another replica may lead.
const FULL_RETRY: Duration = Duration::from_millis(250);

type Outcome<W> = ClientWriteResult<TypeConfig<W>>;
type Pending<W> = <<<W as World>::Tasks as AsyncRuntime>::Oneshot as openraft_rt::Oneshot>::Receiver<Outcome<W>>;

/// The way in: what has been accepted and how much of it is in flight.
pub(crate) struct Appends {
    queue: mpsc::UnboundedSender<Job>,
    /// Of this partition, and of all of the node's.
    budgets: [(Scope, Arc<Budget>); 2],
}

/// One accepted append.
pub(crate) struct Job {
    /// Taken when the append becomes part of a batch.
    records: EncodedRecords,
    count: u32,
    /// Where the partition must end for it to count.
    expected_end: Option<Offset>,
    reply: oneshot::Sender<Result<Ack, LogError>>,
    /// Bytes in flight, given back when the append is answered.
    _admitted: [Share; 2],
}

impl Appends {
    pub(crate) fn new(limit: u64, node: Arc<Budget>) -> (Self, mpsc::UnboundedReceiver<Job>) {
        let (queue, jobs) = mpsc::unbounded_channel();
        (Appends { queue, budgets: [(Scope::Partition, Budget::new(limit)), (Scope::Node, node)] }, jobs)
    }

    /// Reserves room for an append. What it costs beside its bytes counts, too: this is what bounds the queue.
    fn admit(&self, partition: impl FnOnce() -> String, bytes: usize) -> Result<[Share; 2], LogError> {
        let bytes = (bytes + size_of::<Job>()) as u64;
        let take = |(scope, budget): &(Scope, Arc<Budget>)| {
            budget.take(bytes).map_err(|in_flight| (*scope, in_flight, budget.limit()))
        };
        let [own, node] = &self.budgets;
        let taken = take(own).and_then(|share| Ok([share, take(node)?]));
        taken.map_err(|(scope, in_flight, limit)| LogError::Busy {
            partition: partition(),
            scope,
            in_flight,
            limit,
            retry_after: BUSY_RETRY,
        })
    }
}

impl<W: World> Partition<W> {
    /// Appends records as one contiguous run. Only the leader accepts; see [`LogError`] for what each refusal means.
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<Ack, LogError> {
        self.submit(&records)?.await
    }

    /// Appends records only if they get the offset `expected`: the partition ends there when they are appended, be it
    /// through whichever leader. Of several callers that expect the same end, one succeeds. Repeating it after an unknown
    /// outcome appends at most once.
    ///
    /// # Errors
    /// [`LogError::OffsetMismatch`] with the end there was; otherwise as [`Partition::append`].
    pub async fn append_if(&self, expected: Offset, records: Vec<NewRecord>) -> Result<Ack, LogError> {
        // The end never goes back, so an end that has passed needs no entry to be refused. One that lies ahead does: what
        // is in flight may reach it.
        let actual = self.evolved_offset();
        if actual > expected || expected == Offset::MAX {
            return Err(LogError::OffsetMismatch { partition: self.name(), expected, actual });
        }
        self.accept(&records, Some(expected))?.await
    }

    /// Accepts an append, fixing its place in the order of this partition's appends, and returns the future of its
    /// answer. An error here means that nothing was appended; the records are the caller's to submit again.
    pub fn submit(
        &self,
        records: &[NewRecord],
    ) -> Result<impl Future<Output = Result<Ack, LogError>> + Send + use<W>, LogError> {
        self.accept(records, None)
    }

    fn accept(
        &self,
        records: &[NewRecord],
        expected_end: Option<Offset>,
    ) -> Result<impl Future<Output = Result<Ack, LogError>> + Send + use<W>, LogError> {
        let core = &self.core;
        core.has_room()?;
        let records = EncodedRecords::encode(records, &core.host.limits)?;
        let admitted = core.appends.admit(|| core.name(), records.size())?;
        let (reply, answer) = oneshot::channel();
        let count = records.records();
        let job = Job { records, count, expected_end, reply, _admitted: admitted };
        core.appends.queue.send(job).map_err(|_| LogError::Stopped(format!("{} has stopped", core.name())))?;
        let (name, timeout) = (core.name(), core.host.timing.append_timeout);
        Ok(async move {
            match <W::Tasks as AsyncRuntime>::timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(LogError::UnknownOutcome(format!("{name} stopped before the append was answered"))),
                Err(_) => Err(LogError::UnknownOutcome(format!("{name} did not answer within {timeout:?}"))),
            }
        })
    }
}

impl<W: World> Core<W> {
    /// Refuses an append for which the disks have no room (R66), where this replica leads; elsewhere the answer is who
    /// does. Changes of the cluster map are small, and taken as long as anything can be written.
    fn has_room(&self) -> Result<(), LogError> {
        let vitals = &self.host.vitals;
        let refused = if self.id == PartitionId::CLUSTER { Space::Full } else { Space::Low };
        let here = (vitals.space() >= refused).then_some(self.host.node);
        let Some(node) = here.or_else(|| vitals.lacks_room(&self.replicas)) else { return Ok(()) };
        if self.raft.as_leader().is_err() {
            return Ok(());
        }
        let room =
            here.map(|_| vitals.disk_space()).map(|DiskSpace { free, resume, .. }| Room { free, needed: resume });
        Err(LogError::Full { node, partition: self.name(), room, retry_after: FULL_RETRY })
    }
}

/// Starts the two tasks of a partition. They end when the partition is dropped.
pub(crate) fn start<W: World>(core: &Arc<Core<W>>, queue: mpsc::UnboundedReceiver<Job>) {
    let (sender, in_flight) = mpsc::channel(DEPTH);
    let proposer = Proposer { core: Arc::downgrade(core), last_time: Timestamp::default() };
    drop(<W::Tasks as AsyncRuntime>::spawn(proposer.run(queue, sender)));
    drop(<W::Tasks as AsyncRuntime>::spawn(settle(Arc::downgrade(core), in_flight)));
}

/// A batch on its way.
struct InFlight<W: World> {
    jobs: Vec<Job>,
    term: Term,
    outcome: Pending<W>,
}

struct Proposer<W: World> {
    core: std::sync::Weak<Core<W>>,
    last_time: Timestamp,
}

impl<W: World> Proposer<W> {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>, in_flight: mpsc::Sender<InFlight<W>>) {
        let mut held_over = None;
        loop {
            let first = match held_over.take() {
                Some(job) => job,
                None => match queue.recv().await {
                    Some(job) => job,
                    None => return,
                },
            };
            // Waiting for a place in the pipeline is what lets batches grow under load.
            let Ok(place) = in_flight.reserve().await else { return };
            let Some(core) = self.core.upgrade() else { return };
            let jobs = take_batch(first, &mut queue, &mut held_over, core.host.limits.batch_bytes as usize);
            match self.propose(&core, jobs).await {
                Ok(batch) => place.send(batch),
                Err((jobs, error)) => refuse(jobs, &error),
            }
        }
    }

    async fn propose(&mut self, core: &Core<W>, mut jobs: Vec<Job>) -> Result<InFlight<W>, (Vec<Job>, LogError)> {
        let term = match lead(core).await {
            Ok(term) => term,
            Err(error) => return Err((jobs, error)),
        };
        let expected_end = jobs.first().and_then(|job| job.expected_end);
        let records = jobs.iter_mut().map(|job| std::mem::take(&mut job.records));
        // Everything before this term has evolved, so log time cannot go back.
        self.last_time = core.host.env.clock.now().max(core.evolved.time()).max(self.last_time);
        let batch: Batch = batch::seal(records, self.last_time, expected_end);
        let (responder, outcome) = ProgressResponder::complete_only();
        match core.raft.write(batch).with_leader(term).responder(responder).await {
            Ok(()) => Ok(InFlight { jobs, term, outcome }),
            Err(fatal) => Err((jobs, LogError::Stopped(format!("{}: {fatal}", core.name())))),
        }
    }
}

/// The term this node leads in, once everything of earlier terms has evolved.
async fn lead<W: World>(core: &Core<W>) -> Result<Term, LogError> {
    let term = core.raft.as_leader().map_err(|elsewhere| core.not_leader(elsewhere.leader_id))?.term();
    let begun = core.evolved.wait(|evolved| evolved.term() >= term);
    match <W::Tasks as AsyncRuntime>::timeout(core.host.timing.election_max, begun).await {
        Ok(()) => Ok(term),
        Err(_) => Err(core.not_leader(None)),
    }
}

/// Everything that waits, up to the size of a batch. An append with a condition is a batch of its own: it counts or does
/// not, whatever is beside it.
fn take_batch(
    first: Job,
    queue: &mut mpsc::UnboundedReceiver<Job>,
    held_over: &mut Option<Job>,
    limit: usize,
) -> Vec<Job> {
    let mut size = batch::HEADER + first.records.size();
    let joins = first.expected_end.is_none();
    let mut jobs = vec![first];
    while joins && size < BATCH_TARGET {
        let Ok(job) = queue.try_recv() else { break };
        if job.expected_end.is_some() || size + job.records.size() > limit {
            *held_over = Some(job);
            break;
        }
        size += job.records.size();
        jobs.push(job);
    }
    jobs
}

fn refuse(jobs: Vec<Job>, error: &LogError) {
    for job in jobs {
        job.reply.send(Err(error.clone())).ok();
    }
}

/// Takes outcomes in order and answers.
async fn settle<W: World>(core: std::sync::Weak<Core<W>>, mut in_flight: mpsc::Receiver<InFlight<W>>) {
    while let Some(InFlight { jobs, term, outcome }) = in_flight.recv().await {
        let Some(core) = core.upgrade() else { return };
        match resolve(&core, term, outcome).await {
            Ok(response) => acknowledge(&core, jobs, response.log_id.committed_leader_id().term, response.data),
            Err(error) => refuse(jobs, &error),
        }
    }
}

fn acknowledge<W: World>(core: &Core<W>, jobs: Vec<Job>, term: Term, Applied { base, end, time }: Applied) {
    if let [Job { expected_end: Some(expected), .. }] = jobs[..]
        && base == end
    {
        return refuse(jobs, &LogError::OffsetMismatch { partition: core.name(), expected, actual: base });
    }
    let mut first_offset = base;
    for job in jobs {
        let count = job.count;
        job.reply.send(Ok(Ack { first_offset, count, term, time })).ok();
        first_offset += u64::from(count);
    }
}

/// Waits for a batch's outcome. That of a deposed leader may never come: then it is unknown.
async fn resolve<W: World>(
    core: &Core<W>,
    term: Term,
    mut outcome: Pending<W>,
) -> Result<ClientWriteResponse<TypeConfig<W>>, LogError> {
    let start = <<W::Tasks as AsyncRuntime>::Instant as Instant>::now();
    let mut deposed = false;
    loop {
        let patience = <W::Tasks as AsyncRuntime>::sleep(PATIENCE);
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
            Select2::Second(()) => deposed = core.raft.as_leader().map_or(true, |leader| leader.term() != term),
        }
        if start.elapsed() > core.host.timing.append_timeout {
            return Err(LogError::UnknownOutcome(format!("{}: not committed in time", core.name())));
        }
    }
}
