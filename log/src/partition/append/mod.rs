//! Appending: admission, joining into batches, the pipeline to Raft, and who is told what.
//!
//! ```text
//!   submit ─▶ queue ─┐                                        ┌─▶ outcomes, in order ─▶ answers
//!                    ├─▶ proposer: one batch of what waits ───┤        settle
//!   cursors ─▶ queue ┘        heads: what is in flight        └─▶ Raft
//! ```
//!
//! One task per partition proposes, so the order of appends is the order of its queue. It takes everything that waits into
//! one batch: under load batches grow, at rest a lone append goes at once. Up to [`DEPTH`] batches are in flight; a second
//! task takes their outcomes in order and answers.
//!
//! An outcome is one of three: acknowledged; refused, and certainly not appended; unknown. A batch is proposed for the term
//! it was accepted in and no other, so a refusal by openraft before the append is certain.
mod heads;

mod propose;

mod settle;

pub(super) use propose::start;
pub(super) use settle::resolve;

use super::{Ack, Core, Partition, cursors::CursorJob};
use crate::{
    batch::{Conditions, EncodedRecords, KeyExpectation},
    config::Limits,
    error::{LogError, Room, Scope},
    health::{Budget, Share},
    producer::{KeyDigest, ProducerStamp, digest_of},
    record::NewRecord,
    topic::{Offset, PartitionId},
    wal::{DiskSpace, Space},
    world::World,
};
use bytes::Bytes;
use openraft_rt::AsyncRuntime;
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Batches in flight.
const DEPTH: usize = 64;
/// When to try again after a busy answer.
const BUSY_RETRY: Duration = Duration::from_millis(20);
/// When to try again after a full answer: by then another replica may lead.
const FULL_RETRY: Duration = Duration::from_millis(250);

/// What an append asks for beside being appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendOptions {
    /// Makes repeating the append harmless.
    pub producer: Option<ProducerStamp>,
    /// What must hold, or nothing is appended.
    pub expect: Option<Expect>,
}

/// What must hold when an append comes to its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The partition ends at this offset, which the first record gets.
    End(Offset),
    /// The key of the records, which must be the same for all of them, has its last record at this offset, or none. Only on
    /// topics with a key index.
    LastOfKey(Option<Offset>),
}

/// The way in: what has been accepted and how much of it is in flight.
pub(crate) struct Appends {
    queue: mpsc::UnboundedSender<Job>,
    cursors: mpsc::UnboundedSender<CursorJob>,
    /// Of this partition, and of all of the node's.
    budgets: [(Scope, Arc<Budget>); 2],
}

/// The way out, for the proposer.
pub(crate) struct Queues {
    appends: mpsc::UnboundedReceiver<Job>,
    cursors: mpsc::UnboundedReceiver<CursorJob>,
}

/// One accepted append.
pub(crate) struct Job {
    /// Taken when the append becomes part of a batch.
    records: EncodedRecords,
    count: u32,
    conditions: Conditions,
    reply: oneshot::Sender<Result<Ack, LogError>>,
    /// Bytes in flight, given back when the append is answered.
    _admitted: [Share; 2],
}

impl Appends {
    pub(crate) fn new(limit: u64, node: Arc<Budget>) -> (Self, Queues) {
        let (queue, appends) = mpsc::unbounded_channel();
        let (cursors, cursor_jobs) = mpsc::unbounded_channel();
        let budgets = [(Scope::Partition, Budget::new(limit)), (Scope::Node, node)];
        (Appends { queue, cursors, budgets }, Queues { appends, cursors: cursor_jobs })
    }

    /// Reserves room for something that is to be proposed.
    pub(super) fn admit(&self, partition: impl FnOnce() -> String, bytes: usize) -> Result<[Share; 2], LogError> {
        let take = |(scope, budget): &(Scope, Arc<Budget>)| {
            budget.take(bytes as u64).map_err(|in_flight| (*scope, in_flight, budget.limit()))
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

    /// Queues changes of cursors; gives them back when the partition has stopped.
    pub(super) fn send_cursor(&self, job: CursorJob) -> Result<(), CursorJob> {
        self.cursors.send(job).map_err(|unsent| unsent.0)
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
        self.append_with(&records, &AppendOptions { expect: Some(Expect::End(expected)), ..Default::default() }).await
    }

    /// Appends records with this key only if its last record so far has the offset `expected` (`None`: it has none). Of
    /// several callers that read the same last record and go on from it, one succeeds. Repeating it after an unknown
    /// outcome appends at most once.
    ///
    /// # Errors
    /// [`LogError::KeyMismatch`] with the last offset there was; [`LogError::Invalid`] where the topic has no key index or a
    /// record has another key; otherwise as [`Partition::append`].
    pub async fn append_if_key(
        &self,
        key: impl Into<Bytes>,
        expected: Option<Offset>,
        mut records: Vec<NewRecord>,
    ) -> Result<Ack, LogError> {
        let key = key.into();
        for record in &mut records {
            record.key.get_or_insert_with(|| key.clone());
        }
        if let Some(other) = records.iter().position(|record| record.key.as_ref() != Some(&key)) {
            return Err(LogError::Invalid(format!("record {other} has another key than the append is about")));
        }
        let options = AppendOptions { expect: Some(Expect::LastOfKey(expected)), ..Default::default() };
        self.append_with(&records, &options).await
    }

    /// Appends records as one contiguous run, with everything that can be asked for.
    ///
    /// An append with a stamp that the partition has already is answered as it was the first time, whatever else it asks
    /// for. The window for that is 24 h after the producer's last append.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn append_with(&self, records: &[NewRecord], options: &AppendOptions) -> Result<Ack, LogError> {
        self.submit_with(records, options)?.await
    }

    /// Accepts an append, fixing its place in the order of this partition's appends, and returns the future of its
    /// answer. An error here means that nothing was appended; the records are the caller's to submit again.
    pub fn submit(
        &self,
        records: &[NewRecord],
    ) -> Result<impl Future<Output = Result<Ack, LogError>> + Send + use<W>, LogError> {
        self.submit_with(records, &AppendOptions::default())
    }

    /// As [`Partition::submit`], with everything that can be asked for.
    pub fn submit_with(
        &self,
        records: &[NewRecord],
        options: &AppendOptions,
    ) -> Result<impl Future<Output = Result<Ack, LogError>> + Send + use<W>, LogError> {
        let core = &self.core;
        core.has_room()?;
        let conditions = core.conditions(records, options)?;
        let records = EncodedRecords::encode(records, conditions, &core.host.limits)?;
        // What it costs beside its bytes counts, too: this is what bounds the queue.
        let admitted = core.appends.admit(|| core.name(), records.size() + size_of::<Job>())?;
        let (reply, answer) = oneshot::channel();
        let count = records.records();
        let job = Job { records, count, conditions, reply, _admitted: admitted };
        core.appends.queue.send(job).map_err(|_| LogError::Stopped(format!("{} has stopped", core.name())))?;
        Ok(core.answered(answer))
    }
}

impl<W: World> Core<W> {
    /// The answer to something that was queued, within the time there is.
    pub(super) fn answered<T: Send + 'static>(
        &self,
        answer: oneshot::Receiver<Result<T, LogError>>,
    ) -> impl Future<Output = Result<T, LogError>> + Send + use<W, T> {
        let (name, timeout) = (self.name(), self.host.timing.append_timeout);
        async move {
            match <W::Tasks as AsyncRuntime>::timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(LogError::UnknownOutcome(format!("{name} stopped before it answered"))),
                Err(_) => Err(LogError::UnknownOutcome(format!("{name} did not answer within {timeout:?}"))),
            }
        }
    }

    /// What an append asks for, as its batch will state it.
    fn conditions(&self, records: &[NewRecord], options: &AppendOptions) -> Result<Conditions, LogError> {
        let mut conditions = Conditions { producer: options.producer, ..Conditions::default() };
        match options.expect {
            None => {}
            Some(Expect::End(end)) => conditions.end = Some(end),
            Some(Expect::LastOfKey(last)) => {
                conditions.key = Some(KeyExpectation { key: self.only_key(records)?, last });
            }
        }
        if self.evolved.options().key_index {
            self.has_room_for_keys(records, &self.host.limits)?;
        }
        Ok(conditions)
    }

    /// The key that all the records have.
    fn only_key(&self, records: &[NewRecord]) -> Result<KeyDigest, LogError> {
        if !self.evolved.options().key_index {
            let topic = &self.topic;
            return Err(LogError::Invalid(format!(
                "topic {topic:?} has no key index; it is chosen when a topic is created"
            )));
        }
        let key = records.first().and_then(|record| record.key.as_ref());
        let key = key.ok_or_else(|| LogError::Invalid("record 0 has no key, and the append is about one".into()))?;
        match records.iter().position(|record| record.key.as_ref() != Some(key)) {
            Some(other) => Err(LogError::Invalid(format!("record {other} has another key than record 0"))),
            None => Ok(digest_of(key)),
        }
    }

    /// Refuses new keys where the index is as large as it may be.
    fn has_room_for_keys(&self, records: &[NewRecord], limits: &Limits) -> Result<(), LogError> {
        if (self.evolved.keys() as u64) < limits.keys {
            return Ok(());
        }
        let mut keys = records.iter().filter_map(|record| record.key.as_ref());
        if keys.all(|key| self.evolved.last_of_key(&digest_of(key)).is_some()) {
            return Ok(());
        }
        Err(LogError::TooMany { what: "keys", partition: self.name(), limit: limits.keys })
    }

    /// Refuses an append for which the disks have no room (R66), where this replica leads; elsewhere the answer is who
    /// does. Changes of the cluster map are small, and taken as long as anything can be written.
    pub(super) fn has_room(&self) -> Result<(), LogError> {
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

#[cfg(test)]
mod tests;
