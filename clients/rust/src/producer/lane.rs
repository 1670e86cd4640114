//! What one partition is to get: what waits, what is formed into requests and numbered, and what became of it. No I/O: the
//! answers of nodes go in, decisions come out.
//!
//! ```text
//!   push ─▶ waiting ─▶ form: numbered ─▶ requests: sent │ not sent ─▶ acknowledged, failed
//!                                            ▲      lost, refused: all of them are not sent again
//! ```
//!
//! A request is *in doubt* when an earlier attempt of it may have been appended, or may still be. It is sent again as it is;
//! if time runs out before it is answered, its outcome is unknown. One that is refused and not in doubt was not appended,
//! and neither was anything behind it: the partition takes numbers in order.
use crate::{Appended, Error};
use corduroy_proto::v1;
use std::{collections::VecDeque, mem, sync::Arc};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

/// However small the batches of a cluster are, so much is gathered. Bytes.
const SMALLEST: usize = 4 << 10;

/// How much is put into a request, and how many of them are under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) requests: usize,
    pub(super) request_bytes: usize,
    pub(super) request_records: usize,
}

/// What was sent together.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) records: Vec<v1::Record>,
    pub(super) size: usize,
    pub(super) due: Instant,
    pub(super) reply: Reply,
}

/// Who waits for it.
#[derive(Debug)]
pub(super) enum Reply {
    Delivery {
        reply: oneshot::Sender<Result<Appended, Error>>,
        /// Its share of the window; given back with the answer.
        _room: OwnedSemaphorePermit,
    },
    /// Somebody who wants to know that everything before is answered.
    Mark(oneshot::Sender<()>),
}

impl Reply {
    fn send(self, answer: Result<Appended, Error>) {
        // Whoever sent it may have stopped to wait.
        match self {
            Reply::Delivery { reply, .. } => drop(reply.send(answer)),
            Reply::Mark(reply) => drop(reply.send(())),
        }
    }
}

/// Jobs that are appended together.
#[derive(Debug)]
struct Request {
    id: u64,
    sequence: u64,
    message: Arc<v1::AppendStreamRequest>,
    /// Of each job, how many of the records are its.
    jobs: Vec<(u32, Reply)>,
    due: Instant,
    doubt: bool,
}

impl Request {
    fn count(&self) -> u64 {
        self.jobs.iter().map(|(count, _)| u64::from(*count)).sum()
    }

    fn deliveries(&self) -> usize {
        self.jobs.iter().filter(|(count, _)| *count > 0).count()
    }

    fn fail(self, error: &Error) {
        self.jobs.into_iter().for_each(|(_, reply)| reply.send(Err(error.clone())));
    }
}

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on with this stream.
    GoOn,
    /// Leave it, for this reason. What is to be sent again is sent on another one.
    Leave(Error),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    topic: String,
    partition: u32,
    /// `None`: records are not numbered. Then one request is under way at a time, and none in doubt is sent again.
    producer: Option<[u8; 16]>,
    epoch: u32,
    /// Number of the next record.
    next: u64,
    next_id: u64,
    limits: Limits,
    /// Nothing goes past a failure.
    stop_at_failure: bool,
    /// Why nothing is taken any more.
    stopped: Option<Error>,
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    /// Oldest first; the first `sent` of them are on the wire.
    requests: VecDeque<Request>,
    sent: usize,
    /// What a node said last, when it refused something.
    refusal: Option<Error>,
}

impl Lane {
    pub(super) fn new(
        (topic, partition): (&str, u32),
        producer: Option<[u8; 16]>,
        limits: Limits,
        stop_at_failure: bool,
    ) -> Self {
        let requests = if producer.is_some() { limits.requests } else { 1 };
        Lane {
            topic: topic.to_owned(),
            partition,
            producer,
            epoch: 0,
            next: 0,
            next_id: 1,
            limits: Limits { requests, ..limits },
            stop_at_failure,
            stopped: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            requests: VecDeque::new(),
            sent: 0,
            refusal: None,
        }
    }

    /// Takes a job; its place in the order is behind all others.
    pub(super) fn push(&mut self, job: Job) {
        if let Some(stopped) = &self.stopped {
            return job.reply.send(Err(stopped.clone()));
        }
        self.waiting_bytes += job.size;
        self.waiting.push_back(job);
        self.settle_marks();
    }

    /// Nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.requests.is_empty()
    }

    /// Requests whose answers are owed on this stream.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// When the oldest job runs out of time.
    pub(super) fn due(&self) -> Option<Instant> {
        self.requests.front().map(|request| request.due).or_else(|| self.waiting.front().map(|job| job.due))
    }

    /// Whether what waits should wait for more, if that is wanted at all: a request would not be full, and nobody has asked
    /// for it to be sent.
    pub(super) fn could_gather(&self) -> bool {
        let mut marks = self.waiting.iter().rev().take_while(|job| job.records.is_empty());
        self.sent == self.requests.len()
            && self.waiting_bytes < self.limits.request_bytes
            && self.waiting.len() < self.limits.request_records
            && marks.next().is_none()
    }

    /// The next request to put on the stream, which is taken as sent from here on.
    pub(super) fn next_to_send(&mut self) -> Option<Arc<v1::AppendStreamRequest>> {
        if self.sent == self.requests.len() {
            self.form()?;
        }
        let request = &self.requests[self.sent];
        self.sent += 1;
        Some(request.message.clone())
    }

    /// Makes a request of what waits.
    fn form(&mut self) -> Option<()> {
        if self.requests.len() >= self.limits.requests {
            return None;
        }
        let Limits { request_bytes, request_records, .. } = self.limits;
        let Job { mut records, size, due, reply } = self.waiting.pop_front()?;
        let (mut bytes, mut jobs) = (size, vec![(count(&records), reply)]);
        while let Some(next) = self.waiting.front()
            && bytes + next.size <= request_bytes
            && records.len() + next.records.len() <= request_records
        {
            let job = self.waiting.pop_front().expect("it was just looked at");
            bytes += job.size;
            jobs.push((count(&job.records), job.reply));
            records.extend(job.records);
        }
        self.waiting_bytes -= bytes;
        self.add(records, jobs, due);
        Some(())
    }

    fn add(&mut self, records: Vec<v1::Record>, jobs: Vec<(u32, Reply)>, due: Instant) {
        let (id, sequence) = (self.next_id, self.next);
        (self.next_id, self.next) = (id + 1, sequence + records.len() as u64);
        let append = v1::AppendRequest {
            topic: self.topic.clone(),
            partition: Some(self.partition),
            producer: self.stamp(sequence),
            records,
            expect: None,
        };
        let message = Arc::new(v1::AppendStreamRequest { correlation_id: id, append: Some(append) });
        self.requests.push_back(Request { id, sequence, message, jobs, due, doubt: false });
    }

    fn stamp(&self, sequence: u64) -> Option<v1::ProducerStamp> {
        let id = self.producer?;
        Some(v1::ProducerStamp { id: id.to_vec().into(), epoch: self.epoch, sequence })
    }

    /// The append happened.
    pub(super) fn acknowledged(&mut self, id: u64, appended: Appended) -> Next {
        let Some(request) = self.take_answered(id) else { return self.confused(id) };
        let mut first_offset = appended.first_offset;
        for (count, reply) in request.jobs {
            reply.send(Ok(Appended { first_offset, count, ..appended }));
            first_offset += u64::from(count);
        }
        self.refusal = None;
        Next::GoOn
    }

    /// The attempt did not append anything, or that is not known.
    pub(super) fn refused(&mut self, id: u64, error: Error) -> Next {
        if self.sent == 0 || self.requests[0].id != id {
            return self.confused(id);
        }
        match &error {
            Error::AlreadyAppended(_) => {
                let request = self.take_answered(id).expect("it is the first");
                request.fail(&error);
                return Next::GoOn;
            }
            Error::UnknownOutcome(_) => self.doubt_sent(),
            // What follows has its own answer, which is not waited for.
            _ => {
                let before = self.requests[0].doubt;
                self.doubt_sent();
                self.requests[0].doubt = before;
            }
        }
        self.refusal = Some(error.clone());
        match &error {
            Error::UnknownOutcome(_) | Error::UnknownTopic(_) => {}
            error if error.is_retryable() => {}
            // The partition has forgotten the producer, or something was lost.
            Error::OutOfSequence { expected, .. }
                if !self.requests[0].doubt && *expected < self.requests[0].sequence =>
            {
                self.renew();
            }
            Error::ProducerFenced { .. } => self.end(&error),
            // Whose fault it is shows when they are sent one by one.
            Error::RecordTooLarge(_) | Error::BatchTooLarge(_) | Error::Invalid(_)
                if self.requests[0].deliveries() > 1 && !self.requests[0].doubt =>
            {
                if matches!(error, Error::BatchTooLarge(_)) {
                    // The cluster takes smaller batches than most.
                    self.limits.request_bytes = (self.limits.request_bytes / 2).max(SMALLEST);
                }
                self.split_first();
            }
            _ => self.fail_first(&error),
        }
        self.settle_unnumbered();
        Next::Leave(error)
    }

    /// No further answer will come on this stream.
    pub(super) fn lost(&mut self) {
        self.doubt_sent();
        self.settle_unnumbered();
    }

    /// Gives up what has run out of time. What was not refused is told `otherwise`, if it was not appended. True when an
    /// answer to something of that is owed: the stream is of no use any more.
    pub(super) fn expire(&mut self, now: Instant, otherwise: &Error) -> bool {
        let mut owed = false;
        let error = self.refusal.clone().unwrap_or_else(|| otherwise.clone());
        while self.requests.front().is_some_and(|request| request.due <= now) {
            owed |= self.sent > 0;
            self.doubt_sent();
            self.fail_first(&error);
        }
        while self.waiting.front().is_some_and(|job| job.due <= now && !job.records.is_empty()) {
            let job = self.waiting.pop_front().expect("it was just looked at");
            self.waiting_bytes -= job.size;
            job.reply.send(Err(error.clone()));
            self.failed();
        }
        self.settle_marks();
        owed
    }

    /// Marks that nothing waits in front of belong to what is under way, or are done.
    fn settle_marks(&mut self) {
        while self.waiting.front().is_some_and(|job| job.records.is_empty()) {
            let job = self.waiting.pop_front().expect("it was just looked at");
            match self.requests.back_mut() {
                Some(last) => last.jobs.push((0, job.reply)),
                None => job.reply.send(Ok(NOTHING)),
            }
        }
    }

    /// There is nobody to send anything to, and there will not be.
    pub(super) fn fail(&mut self, error: &Error) {
        self.doubt_sent();
        while !self.requests.is_empty() {
            self.fail_first(error);
        }
        for job in mem::take(&mut self.waiting) {
            job.reply.send(Err(error.clone()));
            self.failed();
        }
        self.waiting_bytes = 0;
    }

    /// The node answered out of turn: nothing it says is believed.
    fn confused(&mut self, id: u64) -> Next {
        self.lost();
        Next::Leave(Error::Protocol(format!("an answer to request {id} came out of turn")))
    }

    /// The first request, if it is the one that is answered.
    fn take_answered(&mut self, id: u64) -> Option<Request> {
        if self.sent == 0 || self.requests[0].id != id {
            return None;
        }
        self.sent -= 1;
        self.requests.pop_front()
    }

    /// The stream is given up: what is on it may have been appended, and is to be sent again.
    fn doubt_sent(&mut self) {
        self.requests.iter_mut().take(self.sent).for_each(|request| request.doubt = true);
        self.sent = 0;
    }

    /// What is not numbered is not sent again when it is in doubt.
    fn settle_unnumbered(&mut self) {
        while self.producer.is_none() && self.requests.front().is_some_and(|request| request.doubt) {
            let error = Error::UnknownOutcome("the connection was lost before the answer came".into());
            self.fail_first(&error);
        }
    }

    /// Gives up the first request, and what must be given up with it.
    fn fail_first(&mut self, error: &Error) {
        let Some(first) = self.requests.pop_front() else { return };
        if !first.doubt {
            // Nothing behind it was appended, either, and its numbers are free.
            first.fail(error);
            self.renew();
        } else {
            first.fail(&unknown(error));
            while self.requests.front().is_some_and(|request| request.doubt) {
                let next = self.requests.pop_front().expect("it was just looked at");
                next.fail(&unknown(error));
            }
            self.renew();
        }
        self.failed();
    }

    /// Something was not appended, or may not have been.
    fn failed(&mut self) {
        if self.stop_at_failure && self.stopped.is_none() {
            let behind = Error::PrecedingFailed("not appended: a record before it failed".into());
            self.end(&behind);
        }
    }

    /// Gives everything up, for good.
    fn end(&mut self, error: &Error) {
        self.stopped = Some(error.clone());
        let mut doubt = true;
        for request in mem::take(&mut self.requests) {
            doubt &= request.doubt;
            request.fail(&if doubt { unknown(error) } else { error.clone() });
        }
        mem::take(&mut self.waiting).into_iter().for_each(|job| job.reply.send(Err(error.clone())));
        (self.sent, self.waiting_bytes) = (0, 0);
    }

    /// Begins a new epoch with what is not sent. Nothing of it may be in doubt but by what has just been settled before it.
    fn renew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        (self.next, self.sent) = (0, 0);
        for at in 0..self.requests.len() {
            let sequence = self.next;
            let stamp = self.stamp(sequence);
            let request = &mut self.requests[at];
            (request.sequence, request.doubt) = (sequence, false);
            if let Some(append) = Arc::make_mut(&mut request.message).append.as_mut() {
                append.producer = stamp;
            }
            self.next += request.count();
        }
    }

    /// Makes a request of each job of the first one, which was not appended.
    fn split_first(&mut self) {
        let Some(Request { message, jobs, due, .. }) = self.requests.pop_front() else { return };
        let append = Arc::unwrap_or_clone(message).append.unwrap_or_default();
        let behind = mem::take(&mut self.requests);
        let mut records = append.records.into_iter();
        for (count, reply) in jobs {
            match (count, self.requests.back_mut()) {
                (0, Some(before)) => before.jobs.push((0, reply)),
                _ => self.add(records.by_ref().take(count as usize).collect(), vec![(count, reply)], due),
            }
        }
        self.requests.extend(behind);
        self.renew();
    }
}

/// What a mark is told, which it does not look at.
const NOTHING: Appended =
    Appended { partition: 0, first_offset: 0, count: 0, term: 0, time: std::time::SystemTime::UNIX_EPOCH };

fn count(records: &[v1::Record]) -> u32 {
    u32::try_from(records.len()).expect("records of one request are counted in 32 bits")
}

fn unknown(error: &Error) -> Error {
    match error {
        Error::UnknownOutcome(_) => error.clone(),
        other => Error::UnknownOutcome(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
