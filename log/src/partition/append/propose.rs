//! The task that proposes.
use super::{
    DEPTH, Job, Queues,
    heads::{Heads, Place},
    settle::{InFlight, Jobs, Pending, refuse, settle},
};
use crate::{
    batch::{self, Batch, Conditions},
    error::LogError,
    partition::{Core, cursors::CursorJob, fold::Void},
    topic::Term,
    world::{Clock, Timestamp, World},
};
use openraft::impls::ProgressResponder;
use openraft_rt::{AsyncRuntime, Select2};
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, Weak},
};
use tokio::sync::mpsc;

/// A batch takes no further request once it holds this much: larger ones gain nothing and delay what follows.
const BATCH_TARGET: usize = 512 << 10;
/// Changes of cursors in one batch.
const CURSOR_CHANGES: usize = 4096;

/// Starts the two tasks of a partition. They end when the partition is dropped.
pub(in crate::partition) fn start<W: World>(core: &Arc<Core<W>>, queues: Queues) {
    let (sender, in_flight) = mpsc::channel(DEPTH);
    let heads = Arc::new(Mutex::new(Heads::default()));
    let proposer = Proposer {
        core: Arc::downgrade(core),
        heads: heads.clone(),
        last_time: Timestamp::default(),
        taken: VecDeque::new(),
    };
    drop(<W::Tasks as AsyncRuntime>::spawn(proposer.run(queues, sender)));
    drop(<W::Tasks as AsyncRuntime>::spawn(settle(Arc::downgrade(core), heads, in_flight)));
}

struct Proposer<W: World> {
    core: Weak<Core<W>>,
    heads: Arc<Mutex<Heads>>,
    last_time: Timestamp,
    /// Taken from the queue for a batch they did not fit into.
    taken: VecDeque<Job>,
}

/// What is to be done with an append.
enum Placed {
    /// To be proposed.
    Next,
    /// To be answered as the first time.
    Repeated,
    /// To be refused, and a leader that was deposed may say so: what refuses it never goes back.
    Refused(LogError),
    /// To be refused, if this is the leader: a later one may have what is missing.
    RefusedAsLeader(LogError),
}

/// What the proposer has to do next.
enum Next {
    Append(Job),
    Cursors(CursorJob),
    Nothing,
}

impl<W: World> Proposer<W> {
    async fn run(mut self, mut queues: Queues, in_flight: mpsc::Sender<InFlight<W>>) {
        loop {
            let next = match self.taken.pop_front() {
                Some(job) => Next::Append(job),
                None => queues.next::<W>().await,
            };
            // Waiting for a place in the pipeline is what lets batches grow under load.
            let Ok(place) = in_flight.reserve().await else { return };
            let Some(core) = self.core.upgrade() else { return };
            let proposed = match next {
                Next::Append(first) => self.append(&core, first, &mut queues.appends).await,
                Next::Cursors(first) => self.change_cursors(&core, first, &mut queues.cursors).await,
                Next::Nothing => return,
            };
            if let Some(batch) = proposed {
                place.send(batch);
            }
        }
    }

    /// Proposes the first job, with what can be joined to it. `None`: it was refused.
    async fn append(
        &mut self,
        core: &Arc<Core<W>>,
        first: Job,
        queue: &mut mpsc::UnboundedReceiver<Job>,
    ) -> Option<InFlight<W>> {
        let term = match lead(core).await {
            Ok(term) => term,
            Err(error) => {
                refuse(vec![first], &error);
                return None;
            }
        };
        self.tick(core);
        match self.place(core, term, &first) {
            Placed::Next => {}
            Placed::Repeated => return Some(InFlight { jobs: Jobs::Repeated(first.into()), term, outcome: None }),
            Placed::Refused(error) => {
                refuse(vec![first], &error);
                return None;
            }
            Placed::RefusedAsLeader(error) => {
                drop(<W::Tasks as AsyncRuntime>::spawn(refuse_as_leader(core.clone(), term, first, error)));
                return None;
            }
        }
        let mut jobs = self.take_batch(first, queue, core.host.limits.batch_bytes as usize);
        self.note_proposed(&jobs);
        let records = jobs.iter_mut().map(|job| std::mem::take(&mut job.records));
        let batch: Batch = batch::seal(records, self.last_time);
        match self.propose(core, term, batch).await {
            Ok(outcome) => Some(InFlight { jobs: Jobs::Appends(jobs), term, outcome: Some(outcome) }),
            Err(error) => {
                let mut heads = self.heads.lock().expect("bookkeeping does not panic");
                for stamp in jobs.iter().filter_map(|job| job.conditions.producer) {
                    heads.settled(term, &stamp.producer, false);
                }
                drop(heads);
                refuse(jobs, &error);
                None
            }
        }
    }

    async fn change_cursors(
        &mut self,
        core: &Core<W>,
        first: CursorJob,
        queue: &mut mpsc::UnboundedReceiver<CursorJob>,
    ) -> Option<InFlight<W>> {
        let mut jobs = vec![first];
        while jobs.len() < CURSOR_CHANGES
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        let proposed = async {
            let term = lead(core).await?;
            self.tick(core);
            let changes: Vec<_> = jobs.iter().map(|job| job.change.clone()).collect();
            let outcome = self.propose(core, term, batch::seal_cursors(&changes, self.last_time)).await?;
            Ok::<_, LogError>((term, outcome))
        };
        match proposed.await {
            Ok((term, outcome)) => Some(InFlight { jobs: Jobs::Cursors(jobs), term, outcome: Some(outcome) }),
            Err(error) => {
                jobs.into_iter().for_each(|job| job.refuse(&error));
                None
            }
        }
    }

    /// Everything before this term has evolved, so log time cannot go back.
    fn tick(&mut self, core: &Core<W>) {
        self.last_time = core.host.env.clock.now().max(core.evolved.time()).max(self.last_time);
    }

    async fn propose(&self, core: &Core<W>, term: Term, batch: Batch) -> Result<Pending<W>, LogError> {
        let (responder, outcome) = ProgressResponder::complete_only();
        match core.raft.write(batch).with_leader(term).responder(responder).await {
            Ok(()) => Ok(outcome),
            Err(fatal) => Err(LogError::Stopped(format!("{}: {fatal}", core.name()))),
        }
    }

    /// What is to be done with an append.
    fn place(&self, core: &Core<W>, term: Term, job: &Job) -> Placed {
        if let Some(stamp) = &job.conditions.producer {
            let mut heads = self.heads.lock().expect("bookkeeping does not panic");
            heads.enter(term);
            let records = u64::from(job.count);
            let place = heads.place(stamp, records, || core.evolved.judge_producer(stamp, records, self.last_time));
            match place {
                Place::Next => {}
                Place::Repeated => return Placed::Repeated,
                Place::Void(void @ (Void::Sequence { .. } | Void::Producers)) => {
                    return Placed::RefusedAsLeader(core.void(void, &job.conditions));
                }
                Place::Void(void) => return Placed::Refused(core.void(void, &job.conditions)),
                Place::NotNow => {
                    let producer = stamp.producer;
                    return Placed::Refused(LogError::Unavailable(format!(
                        "{}: earlier appends of producer {producer} are not answered yet",
                        core.name()
                    )));
                }
            }
        }
        let void = core.certainly_void(&job.conditions);
        void.map_or(Placed::Next, |void| Placed::Refused(core.void(void, &job.conditions)))
    }

    fn note_proposed(&self, jobs: &[Job]) {
        let stamped = jobs.iter().filter_map(|job| Some((job.conditions.producer?, job.count)));
        let mut heads = self.heads.lock().expect("bookkeeping does not panic");
        stamped.for_each(|(stamp, count)| heads.proposed(&stamp, count.into()));
    }

    /// Everything that waits and may be in one batch with the first, up to the size of a batch.
    fn take_batch(&mut self, first: Job, queue: &mut mpsc::UnboundedReceiver<Job>, limit: usize) -> Vec<Job> {
        let mut size = first.conditions.header_len() + first.records.size();
        let mut joined_by = first.records.joined_by();
        let mut jobs = vec![first];
        while let Some(wanted) = joined_by
            && size < BATCH_TARGET
        {
            let Some(job) = self.taken.pop_front().or_else(|| queue.try_recv().ok()) else { break };
            if job.conditions != wanted || size + job.records.size() > limit {
                self.taken.push_front(job);
                break;
            }
            size += job.records.size();
            joined_by = job.records.joined_by();
            jobs.push(job);
        }
        jobs
    }
}

/// Refuses an append after a majority has confirmed that this is the leader of the term it was judged in.
async fn refuse_as_leader<W: World>(core: Arc<Core<W>>, term: Term, job: Job, error: LogError) {
    let confirmed = core.confirm_lead(term);
    let answer = match <W::Tasks as AsyncRuntime>::timeout(core.host.timing.read_timeout, confirmed).await {
        Ok(Ok(())) => error,
        Ok(Err(refused)) => refused,
        Err(_) => LogError::Unavailable(format!("{}: no majority confirmed that this is the leader", core.name())),
    };
    refuse(vec![job], &answer);
}

impl Queues {
    /// Waits for whatever comes first.
    async fn next<W: World>(&mut self) -> Next {
        let Queues { appends, cursors } = self;
        let next = <W::Tasks as AsyncRuntime>::select2(pin!(appends.recv()), pin!(cursors.recv())).await;
        match next {
            Select2::First(Some(job)) => Next::Append(job),
            Select2::Second(Some(job)) => Next::Cursors(job),
            Select2::First(None) | Select2::Second(None) => Next::Nothing,
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

impl<W: World> Core<W> {
    /// Ends and last offsets never go back, so what has passed needs no entry to be refused. What lies ahead does: what is in
    /// flight may reach it.
    fn certainly_void(&self, conditions: &Conditions) -> Option<Void> {
        let end = self.evolved.end();
        if conditions.end.is_some_and(|expected| expected < end || expected == u64::MAX) {
            return Some(Void::End { actual: end });
        }
        let expected = conditions.key?;
        let actual = self.evolved.last_of_key(&expected.key);
        (actual > expected.last).then_some(Void::Key { actual })
    }
}
