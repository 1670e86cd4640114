//! What a producer has under way, in the order it was sent. No I/O: answers go in, decisions come out.
use super::Job;
use crate::{Appended, Error};
use corduroy_proto::v1;
use std::collections::VecDeque;
use tokio::time::Instant;

/// Appends without a final answer, oldest first.
#[derive(Debug, Default)]
pub(super) struct Flight {
    queue: VecDeque<Entry>,
    next_id: u64,
    /// Some append is refused or unknown: send nothing more on this stream.
    broken: bool,
    /// Sending again would repeat or reorder.
    lost: bool,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    job: Job,
    due: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Unsent,
    Sent,
    Refused(Error),
}

impl Flight {
    pub(super) fn push(&mut self, job: Job, due: Instant) {
        self.next_id += 1;
        self.queue.push_back(Entry { id: self.next_id, job, due, state: State::Unsent });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn has_unsent(&self) -> bool {
        // What is sent comes before what is not.
        self.queue.back().is_some_and(|entry| matches!(entry.state, State::Unsent))
    }

    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// Whether an answer is still to come.
    pub(super) fn owes(&self) -> bool {
        self.queue.iter().any(|entry| matches!(entry.state, State::Sent))
    }

    /// When the oldest append runs out of time.
    pub(super) fn due(&self) -> Option<Instant> {
        self.queue.front().map(|entry| entry.due)
    }

    /// The next request to put on the stream, which is taken as sent from here on.
    pub(super) fn send_next(&mut self) -> Option<v1::AppendStreamRequest> {
        let entry = self.queue.iter_mut().find(|entry| matches!(entry.state, State::Unsent))?;
        entry.state = State::Sent;
        Some(v1::AppendStreamRequest { correlation_id: entry.id, append: Some(entry.job.request.clone()) })
    }

    /// The append happened.
    pub(super) fn acknowledged(&mut self, id: u64, appended: Appended) {
        let Some(at) = self.position(id) else { return };
        let overtaken = self.queue.iter().take(at).any(|entry| matches!(entry.state, State::Refused(_)));
        self.lost |= overtaken;
        self.settle(at, Ok(appended));
    }

    /// The append did not happen.
    pub(super) fn refused(&mut self, id: u64, error: Error) {
        let Some(at) = self.position(id) else { return };
        match error {
            Error::UnknownOutcome(_) => {
                self.broken = true;
                self.lost = true;
                self.settle(at, Err(error));
            }
            error if error.is_retryable() || matches!(error, Error::UnknownTopic(_)) => {
                self.broken = true;
                self.queue[at].state = State::Refused(error);
            }
            error => self.settle(at, Err(error)),
        }
    }

    /// No further answer will come: the outcome of everything sent is unknown.
    pub(super) fn lose(&mut self, why: &str) {
        let (sent, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(|entry| matches!(entry.state, State::Sent));
        self.queue = kept;
        self.broken |= !sent.is_empty();
        self.lost |= !sent.is_empty();
        for entry in sent {
            // The caller may have stopped to wait.
            let _ = entry.job.reply.send(Err(Error::UnknownOutcome(why.to_owned())));
        }
    }

    /// Whether the producer must stop.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Makes everything that was refused ready to be sent again; the first refusal says why and where to.
    pub(super) fn rewind(&mut self) -> Option<Error> {
        debug_assert!(!self.lost && !self.owes(), "only a suffix of which nothing happened is sent again");
        self.broken = false;
        let mut first = None;
        for entry in &mut self.queue {
            if let State::Refused(error) = std::mem::replace(&mut entry.state, State::Unsent) {
                first.get_or_insert(error);
            }
        }
        first
    }

    /// Ends everything: refusals as they are, what was not sent with `error`.
    pub(super) fn fail(&mut self, error: &Error) {
        self.lose("the stream ended before the answer");
        for entry in std::mem::take(&mut self.queue) {
            let answer = match entry.state {
                State::Refused(own) => own,
                State::Unsent | State::Sent => error.clone(),
            };
            let _ = entry.job.reply.send(Err(answer));
        }
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.queue.iter().position(|entry| entry.id == id && matches!(entry.state, State::Sent))
    }

    fn settle(&mut self, at: usize, answer: Result<Appended, Error>) {
        if let Some(entry) = self.queue.remove(at) {
            drop(entry.job.room);
            let _ = entry.job.reply.send(answer);
        }
    }
}

#[cfg(test)]
mod tests;
