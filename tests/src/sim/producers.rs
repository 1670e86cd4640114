//! Clients that number their records and send again what they heard no answer of, clients that append behind the last record of a
//! key, and clients that keep a cursor.
use super::{
    clients::{ATTEMPTS, Client, PAUSE},
    kind::Kind,
    run::{Called, TOPIC},
    tally::Event,
    violation::Invariant,
};
use crate::checker::{Moment, Outcome, RecordId};
use corduroy_log::{
    AppendOptions, Consistency, Log, LogError, NewRecord, ProducerId, ProducerStamp, partition::Ack, topic::NodeId,
};
use std::{collections::BTreeSet, time::Duration};

/// Keys there are: few, so that clients meet.
pub(super) const KEYS: u64 = 3;

/// What a client has numbered for one partition.
#[derive(Default)]
pub(super) struct Produced {
    /// Number of its next record.
    next: u64,
    /// Goes up when the partition has forgotten the producer.
    epoch: u32,
    /// Sent, and not answered.
    pending: Option<Pending>,
}

struct Pending {
    sent: Vec<(RecordId, NewRecord)>,
    since: Moment,
}

/// What a client knows of its cursor in one partition.
#[derive(Default)]
pub(super) struct Kept {
    /// The last commit that was acknowledged.
    acked: Option<u64>,
    /// Commits without an answer since.
    unknown: BTreeSet<u64>,
}

/// The key of a number.
pub(super) fn key(number: u64) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

impl Client {
    /// Appends numbered records; whatever was not answered comes first, with the same numbers. `twice`: every attempt is sent
    /// to two nodes at once.
    pub(super) async fn produce(&mut self, partition: u32, records: u32, bytes: u32, twice: bool) -> bool {
        let mut produced = self.produced.remove(&partition).unwrap_or_default();
        let before = produced.pending.is_some();
        let mut done = true;
        if before {
            done = self.send(partition, &mut produced, twice).await;
        }
        if done {
            let sent = (0..records).map(|_| self.record(bytes)).collect();
            produced.pending = Some(Pending { sent, since: self.run.moment() });
            done = self.send(partition, &mut produced, twice).await;
        }
        self.produced.insert(partition, produced);
        done
    }

    /// Sends what is pending until it is answered.
    async fn send(&mut self, partition: u32, produced: &mut Produced, twice: bool) -> bool {
        let nodes = self.run.cluster.nodes();
        let place = (TOPIC.to_owned(), partition);
        let mut target = *self.routes.get(&place).unwrap_or(&nodes[self.session.0 as usize % nodes.len()]);
        let Some(Pending { sent, since }) = produced.pending.take() else { return true };
        for attempt in 0..ATTEMPTS as usize {
            let other = nodes[(target as usize + attempt) % nodes.len()];
            let values: Vec<NewRecord> = sent.iter().map(|(_, record)| record.clone()).collect();
            let first = self.attempt(target, partition, produced, values.clone());
            let (first, second) = match twice {
                true => {
                    let second = self.attempt(other, partition, produced, values);
                    let (first, second) = futures::future::join(first, second).await;
                    (first, Some(second))
                }
                false => (first.await, None),
            };
            let answers: Vec<(NodeId, Called<Result<Ack, LogError>>)> =
                [(target, first)].into_iter().chain(second.map(|second| (other, second))).collect();
            let mut acked = answers.iter().filter_map(|(node, called)| match called {
                Called::Answered(Ok(ack)) => Some((*node, ack)),
                _ => None,
            });
            if let Some((node, ack)) = acked.next() {
                if let Some((_, again)) = acked.next()
                    && again.first_offset != ack.first_offset
                {
                    let (one, two) = (ack.first_offset, again.first_offset);
                    self.run.fail(Invariant::Answers, format_args!("one append was told of offsets {one} and {two}"));
                }
                let known = self.known.entry(partition).or_default();
                *known = (*known).max(ack.first_offset + u64::from(ack.count));
                self.note_append(&sent, since, Outcome::Acked { partition, offset: ack.first_offset });
                self.run.seen().tally.note(Event::Produced, 1);
                self.run.seen().tally.note(Event::ProducedAgain, u64::from(attempt > 0));
                produced.next += sent.len() as u64;
                self.routes.insert(place, node);
                return true;
            }
            if self.is_forgotten(&answers) {
                self.note_append(&sent, since, Outcome::Unknown);
                *produced = Produced { epoch: produced.epoch + 1, ..Produced::default() };
                return false;
            }
            let (next, pause) = self.after(&answers[0].1, target, attempt, partition, produced.next);
            target = next;
            self.run.sim().sleep(pause).await;
        }
        self.routes.insert(place, target);
        produced.pending = Some(Pending { sent, since });
        false
    }

    /// Whether the partition has forgotten the producer: a day has passed for the wall clock of a leader.
    fn is_forgotten(&self, answers: &[(NodeId, Called<Result<Ack, LogError>>)]) -> bool {
        let forgotten =
            |called: &Called<_>| matches!(called, Called::Answered(Err(LogError::OutOfSequence { expected: 0, .. })));
        let jumps = self.run.settings.kinds.contains(&Kind::ClockJump);
        jumps && answers.iter().any(|(_, called)| forgotten(called))
    }

    fn attempt(
        &self,
        node: NodeId,
        partition: u32,
        produced: &Produced,
        values: Vec<NewRecord>,
    ) -> impl Future<Output = Called<Result<Ack, LogError>>> + use<> {
        let run = self.run.clone();
        let mut id = [0x5e; 16];
        id[..4].copy_from_slice(&self.session.0.to_le_bytes());
        let stamp = ProducerStamp { producer: ProducerId(id), epoch: produced.epoch, sequence: produced.next };
        let options = AppendOptions { producer: Some(stamp), expect: None };
        async move {
            run.call(node, async move |log: Log<_>| {
                log.partition(TOPIC, partition)?.append_with(&values, &options).await
            })
            .await
        }
    }

    /// Where to send it next, and when. Refusals that say that numbers were lost or repeated break a promise: this client skips
    /// and repeats none.
    fn after(
        &self,
        called: &Called<Result<Ack, LogError>>,
        target: NodeId,
        attempt: usize,
        partition: u32,
        sequence: u64,
    ) -> (NodeId, Duration) {
        let nodes = self.run.cluster.nodes();
        let elsewhere = (nodes[(target as usize + attempt) % nodes.len()], PAUSE);
        let Called::Answered(Err(error)) = called else { return elsewhere };
        match error {
            LogError::NotLeader { leader: Some(leader), .. } => (*leader, Duration::from_millis(2)),
            LogError::NotHosted { replicas, .. } => (replicas[attempt % replicas.len()], Duration::from_millis(2)),
            LogError::Busy { retry_after, .. } => (target, *retry_after),
            LogError::Unavailable(_) => (target, Duration::from_millis(10)),
            LogError::Full { node, .. } => {
                *self.run.seen().full.entry(*node).or_default() += 1;
                elsewhere
            }
            LogError::OutOfSequence { .. }
            | LogError::AlreadyAppended { .. }
            | LogError::ProducerFenced { .. }
            | LogError::TooMany { .. } => {
                let what = format_args!("partition {partition}: record {sequence} of a producer is refused: {error}");
                self.run.fail(Invariant::Answers, what);
                elsewhere
            }
            _ => elsewhere,
        }
    }

    /// What was never answered may be in the log, once.
    pub(super) fn give_up_produced(&mut self) {
        for (_, produced) in std::mem::take(&mut self.produced) {
            if let Some(Pending { sent, since }) = produced.pending {
                self.note_append(&sent, since, Outcome::Unknown);
            }
        }
    }

    /// Appends a record with a key if its last record is where this client thinks. What a refusal says is where it goes on.
    pub(super) async fn append_if_key(&mut self, partition: u32, number: u64) -> bool {
        let place = (TOPIC.to_owned(), partition);
        let Some(&target) = self.routes.get(&place) else {
            return self.append(TOPIC, 0, partition, 1, 20).await;
        };
        for _ in 0..3 {
            let expected = self.keys.get(&(partition, number)).copied().flatten();
            let (id, sent) = self.record(20);
            let sent = sent.with_key(key(number));
            let (start, value) = (self.run.moment(), sent.clone());
            let called = self.run.call(target, async move |log: Log<_>| {
                log.partition(TOPIC, partition)?.append_if_key(key(number), expected, vec![value]).await
            });
            let (outcome, last) = match called.await {
                Called::Answered(Ok(ack)) => {
                    (Outcome::Acked { partition, offset: ack.first_offset }, Some(Some(ack.first_offset)))
                }
                Called::Answered(Err(LogError::KeyMismatch { actual, .. })) => (Outcome::Refused, Some(actual)),
                Called::Answered(Err(LogError::UnknownOutcome(_))) | Called::Lost => (Outcome::Unknown, None),
                Called::Answered(Err(_)) | Called::NotRunning => (Outcome::Refused, None),
            };
            self.note_append(&[(id, sent)], start, outcome);
            self.run.seen().keyed.insert(id, (key(number), expected));
            let Some(last) = last else {
                self.routes.remove(&place);
                return self.append(TOPIC, 0, partition, 1, 20).await;
            };
            self.keys.insert((partition, number), last);
            if outcome != Outcome::Refused {
                self.run.seen().tally.note(Event::Keyed, 1);
                return true;
            }
        }
        // Others were faster: that is an answer, too.
        true
    }

    /// Commits how far this client has seen the partition, or asks how far it said it had.
    pub(super) async fn keep_cursor(&mut self, partition: u32, node: NodeId, commits: bool) -> bool {
        let name = format!("client-{}", self.session.0);
        if !commits {
            return self.fetch_cursor(partition, node, name).await;
        }
        let place = (TOPIC.to_owned(), partition);
        let nodes = self.run.cluster.nodes();
        let target = *self.routes.get(&place).unwrap_or(&nodes[0]);
        let offset = self.known.get(&partition).copied().unwrap_or(0);
        let called = self.run.call(target, async move |log: Log<_>| {
            log.partition(TOPIC, partition)?.commit_cursor(&name, offset, 0).await
        });
        let called = called.await;
        let kept = self.cursors.entry(partition).or_default();
        match called {
            Called::Answered(Ok(_)) => {
                *kept = Kept { acked: Some(offset), unknown: BTreeSet::new() };
                self.run.seen().tally.note(Event::CursorCommitted, 1);
                true
            }
            Called::Answered(Err(LogError::UnknownOutcome(_))) | Called::Lost => {
                kept.unknown.insert(offset);
                self.routes.remove(&place);
                false
            }
            Called::Answered(Err(LogError::NotLeader { leader: Some(leader), .. })) => {
                self.routes.insert(place, leader);
                true
            }
            Called::Answered(Err(error @ (LogError::CursorFenced { .. } | LogError::TooMany { .. }))) => {
                self.run.fail(Invariant::Answers, format_args!("a cursor nobody else uses: {error}"));
                false
            }
            _ => {
                self.routes.remove(&place);
                false
            }
        }
    }

    async fn fetch_cursor(&mut self, partition: u32, node: NodeId, name: String) -> bool {
        let called = self.run.call(node, async move |log: Log<_>| {
            log.partition(TOPIC, partition)?.cursor(&name, Consistency::Linearizable).await
        });
        let found = match called.await {
            Called::Answered(Ok(found)) => found.map(|cursor| cursor.offset),
            Called::Answered(Err(LogError::NotHosted { .. })) => return true,
            _ => return false,
        };
        let kept = self.cursors.entry(partition).or_default();
        if found != kept.acked && !found.is_some_and(|found| kept.unknown.contains(&found)) {
            let Kept { acked, unknown } = kept;
            let what = format_args!(
                "partition {partition}: a cursor is at {found:?}; acknowledged was {acked:?}, unknown {unknown:?}"
            );
            self.run.fail(Invariant::Answers, what);
        }
        self.run.seen().tally.note(Event::CursorFetched, 1);
        true
    }

    /// Reads what this client has seen, at any replica.
    pub(super) async fn read_session(&mut self, partition: u32, node: NodeId) -> bool {
        let seen = self.known.get(&partition).copied().unwrap_or(0);
        let (start, offset) = (self.run.moment(), seen.saturating_sub(10));
        let called = self.run.call(node, async move |log: Log<_>| {
            log.partition(TOPIC, partition)?.read(offset, 16 << 10, 50, Consistency::Session(seen)).await
        });
        let read = match called.await {
            Called::Answered(Ok(read)) => read,
            Called::Answered(Err(LogError::NotHosted { .. })) => return true,
            _ => return false,
        };
        if read.end < seen {
            let end = read.end;
            self.run.fail(Invariant::Answers, format_args!("a session that has seen {seen} reads below {end}"));
        }
        self.known.insert(partition, read.end.max(seen));
        self.note_read(partition, start, crate::checker::Consistency::Stale, &read.records, read.end);
        self.run.seen().tally.note(Event::SessionRead, 1);
        true
    }
}
