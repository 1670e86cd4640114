//! Clients: they append, read and subscribe, and write down what they were told.
use super::{
    plan::{Operation, What},
    producers::{Kept, Produced},
    run::{Called, Run, TOPIC},
    tally::Event,
    violation::Invariant,
};
use crate::checker::{Append, Consistency, Entry, Moment, Outcome, Read, RecordId, SessionId, ValueHash};
use corduroy_log::{Consistency as Ask, Log, LogError, NewRecord, Record, testing::SimTasks, topic::NodeId};
use futures::StreamExt as _;
use openraft_rt::AsyncRuntime as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Attempts to append before a client gives up.
pub(super) const ATTEMPTS: u32 = 12;
/// Pause after a refusal without a hint.
pub(super) const PAUSE: Duration = Duration::from_millis(60);

/// Partitions of topics created in the run have numbers of their own towards the checker.
pub(super) fn checker_number(topic: u64, partition: u32) -> u32 {
    if topic == 0 { partition } else { 1000 + topic as u32 * 10 + partition }
}

/// One client.
pub(super) struct Client {
    pub(super) run: Arc<Run>,
    pub(super) session: SessionId,
    /// Who led, when last heard.
    pub(super) routes: BTreeMap<(String, u32), NodeId>,
    /// How far this client has seen a partition.
    pub(super) known: BTreeMap<u32, u64>,
    pub(super) produced: BTreeMap<u32, Produced>,
    /// Where keys had their last records, when last heard, by partition and number of the key.
    pub(super) keys: BTreeMap<(u32, u64), Option<u64>>,
    pub(super) cursors: BTreeMap<u32, Kept>,
}

impl Client {
    pub(super) fn new(run: &Arc<Run>, number: u32) -> Self {
        Client {
            run: run.clone(),
            session: SessionId(number),
            routes: BTreeMap::new(),
            known: BTreeMap::new(),
            produced: BTreeMap::new(),
            keys: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// Lets it ask this node first.
    pub(super) fn turn_to(&mut self, topic: &str, partition: u32, node: NodeId) {
        self.routes.insert((topic.to_owned(), partition), node);
    }

    /// Does its part of the plan, one operation after the other.
    pub(super) async fn work(mut self, operations: Vec<Operation>) {
        for operation in operations {
            self.run.sleep_until(operation.at).await;
            if self.run.is_over() {
                break;
            }
            let start = self.run.now();
            let done = self.perform(operation).await;
            self.run.seen().operations.push((start, done));
        }
        self.give_up_produced();
    }

    async fn perform(&mut self, operation: Operation) -> bool {
        match operation.what {
            What::Append { partition, records, bytes } => self.append(TOPIC, 0, partition, records, bytes).await,
            What::AppendIf { partition } => self.append_if(partition).await,
            What::AppendIfKey { partition, key } => self.append_if_key(partition, key).await,
            What::Produce { partition, records, bytes, twice } => self.produce(partition, records, bytes, twice).await,
            What::Cursor { partition, node, commits } => self.keep_cursor(partition, node, commits).await,
            What::ReadSession { partition, node } => self.read_session(partition, node).await,
            What::Read { partition, node, linearizable, back } => self.read(partition, node, linearizable, back).await,
            What::Subscribe { partition, millis } => self.subscribe(partition, Duration::from_millis(millis)).await,
            What::CreateTopic { partitions } => self.create_topic(operation.number as u64, partitions).await,
            What::DeleteTopic => self.delete_topic(operation.number as u64).await,
        }
    }

    /// Appends, wherever the leader is. An unknown outcome ends it: to try again might do it twice.
    pub(super) async fn append(
        &mut self,
        topic: &str,
        topic_number: u64,
        partition: u32,
        records: u32,
        bytes: u32,
    ) -> bool {
        let nodes = self.run.cluster.nodes();
        let place = (topic.to_owned(), partition);
        let mut target = *self.routes.get(&place).unwrap_or(&nodes[self.session.0 as usize % nodes.len()]);
        for attempt in 0..ATTEMPTS as usize {
            let sent: Vec<(RecordId, NewRecord)> = (0..records).map(|_| self.record(bytes)).collect();
            let start = self.run.moment();
            let (name, values) = (topic.to_owned(), sent.iter().map(|(_, record)| record.clone()).collect());
            let called = self
                .run
                .call(target, async move |log: Log<_>| log.partition(&name, partition)?.append(values).await)
                .await;
            let (outcome, next) = match called {
                Called::Answered(Ok(ack)) => {
                    let number = checker_number(topic_number, partition);
                    let known = self.known.entry(number).or_default();
                    *known = (*known).max(ack.first_offset + u64::from(ack.count));
                    (Outcome::Acked { partition: number, offset: ack.first_offset }, None)
                }
                Called::Answered(Err(LogError::UnknownOutcome(_))) | Called::Lost => (Outcome::Unknown, None),
                Called::Answered(Err(LogError::NotLeader { leader: Some(leader), .. })) => {
                    (Outcome::Refused, Some((leader, Duration::from_millis(2))))
                }
                Called::Answered(Err(LogError::NotHosted { replicas, .. })) => {
                    (Outcome::Refused, Some((replicas[attempt % replicas.len()], Duration::from_millis(2))))
                }
                Called::Answered(Err(LogError::Full { node, .. })) => {
                    *self.run.seen().full.entry(node).or_default() += 1;
                    (Outcome::Refused, Some((nodes[(target as usize + attempt) % nodes.len()], PAUSE)))
                }
                Called::Answered(Err(LogError::Busy { retry_after, .. })) => {
                    (Outcome::Refused, Some((target, retry_after)))
                }
                Called::Answered(Err(_)) | Called::NotRunning => {
                    (Outcome::Refused, Some((nodes[(target as usize + attempt) % nodes.len()], PAUSE)))
                }
            };
            self.note_append(&sent, start, outcome);
            let Some((next, pause)) = next else {
                // Whoever did not answer is not asked again at once.
                let turn = outcome == Outcome::Unknown;
                self.routes.insert(place, if turn { nodes[target as usize % nodes.len()] } else { target });
                return matches!(outcome, Outcome::Acked { .. });
            };
            target = next;
            self.run.sim().sleep(pause).await;
        }
        self.routes.insert(place, target);
        false
    }

    /// Appends if the partition ends where this client thinks. What the refusal says is where it goes on, once.
    async fn append_if(&mut self, partition: u32) -> bool {
        let place = (TOPIC.to_owned(), partition);
        let Some(&target) = self.routes.get(&place) else {
            // Nobody is known to lead: an append without condition finds out.
            return self.append(TOPIC, 0, partition, 1, 20).await;
        };
        for _ in 0..2 {
            let expected = self.known.get(&partition).copied().unwrap_or(0);
            let (id, sent) = self.record(20);
            let (start, value) = (self.run.moment(), sent.clone());
            let called = self
                .run
                .call(target, async move |log: Log<_>| {
                    log.partition(TOPIC, partition)?.append_if(expected, vec![value]).await
                })
                .await;
            let (outcome, end) = match &called {
                Called::Answered(Ok(ack)) if ack.first_offset != expected => {
                    let at = ack.first_offset;
                    let what = format_args!("partition {partition}: an append at {expected} or nowhere is at {at}");
                    self.run.fail(Invariant::Answers, what);
                    return false;
                }
                Called::Answered(Ok(_)) => (Outcome::Acked { partition, offset: expected }, Some(expected + 1)),
                Called::Answered(Err(LogError::OffsetMismatch { actual, .. })) => (Outcome::Refused, Some(*actual)),
                Called::Answered(Err(LogError::UnknownOutcome(_))) | Called::Lost => (Outcome::Unknown, None),
                Called::Answered(Err(_)) | Called::NotRunning => (Outcome::Refused, None),
            };
            self.note_append(&[(id, sent)], start, outcome);
            let Some(end) = end else {
                self.routes.remove(&place);
                return self.append(TOPIC, 0, partition, 1, 20).await;
            };
            self.known.insert(partition, end);
            if outcome != Outcome::Refused {
                return true;
            }
        }
        // Others were faster twice: that is an answer, too.
        true
    }

    /// A record that says its id, and is as long as asked; where there is an index of keys, most have one of a few.
    pub(super) fn record(&self, bytes: u32) -> (RecordId, NewRecord) {
        const KEYS: u64 = 9;
        let id = self.run.next_id();
        let mut value = id.0.get().to_string().into_bytes();
        value.push(b' ');
        value.resize((bytes as usize).max(value.len()), b'.');
        let record = NewRecord::new(value);
        match id.0.get() % KEYS {
            key if key > 0 && self.run.settings.key_index => (id, record.with_key(format!("key {key}"))),
            _ => (id, record),
        }
    }

    pub(super) fn note_append(&self, sent: &[(RecordId, NewRecord)], start: Moment, outcome: Outcome) {
        let end = self.run.moment();
        let appends = sent.iter().enumerate().map(|(i, (id, record))| Append {
            session: self.session,
            id: *id,
            value: ValueHash::of(record.key.as_deref(), [], &record.value),
            start,
            end,
            outcome: match outcome {
                Outcome::Acked { partition, offset } => Outcome::Acked { partition, offset: offset + i as u64 },
                other => other,
            },
        });
        self.run.seen().appends.extend(appends);
    }

    async fn read(&mut self, partition: u32, node: NodeId, linearizable: bool, back: u64) -> bool {
        let known = self.known.get(&partition).copied().unwrap_or(0);
        let (ask, promise) = match linearizable {
            true => (Ask::Linearizable, Consistency::Linearizable),
            false => (Ask::Stale, Consistency::Stale),
        };
        let offset = known.saturating_sub(back);
        let start = self.run.moment();
        let called = self
            .run
            .call(node, async move |log: Log<_>| log.partition(TOPIC, partition)?.read(offset, 16 << 10, 50, ask).await)
            .await;
        let read = match called {
            Called::Answered(Ok(read)) => read,
            // This replica is behind, or has no replica: true answers both.
            Called::Answered(Err(LogError::OffsetOutOfRange { .. })) => return !linearizable,
            Called::Answered(Err(LogError::NotHosted { .. })) => return true,
            _ => return false,
        };
        let known = self.known.entry(partition).or_default();
        *known = (*known).max(read.end);
        self.note_read(partition, start, promise, &read.records, read.end);
        true
    }

    pub(super) fn note_read(
        &self,
        partition: u32,
        start: Moment,
        consistency: Consistency,
        records: &[Record],
        end_offset: u64,
    ) {
        let (session, end) = (self.session, self.run.moment());
        let records = records.iter().map(entry).collect();
        let read = Read { session, start, end, partition, consistency, records, end_offset };
        self.run.seen().reads.push(read);
    }

    /// Follows a partition, at another node whenever one is gone: no gap, no repeat, whatever happens.
    async fn subscribe(&mut self, partition: u32, lasts: Duration) -> bool {
        let until = self.run.now() + lasts;
        let nodes = self.run.cluster.nodes();
        let (mut next, mut turn) = (0, partition as usize);
        while self.run.now() < until && !self.run.is_over() {
            let node = nodes[turn % nodes.len()];
            turn += 1;
            let Some(log) = self.run.cluster.log(node) else {
                self.run.sim().sleep(PAUSE).await;
                continue;
            };
            let Ok(followed) = log.partition(TOPIC, partition) else {
                self.run.sim().sleep(PAUSE).await;
                continue;
            };
            drop(log);
            let mut records = followed.subscribe(next, 8 << 10);
            drop(followed);
            while self.run.now() < until && self.run.cluster.log(node).is_some() {
                let start = self.run.moment();
                match SimTasks::timeout(Duration::from_secs(1), records.next()).await {
                    Ok(Some(Ok(got))) => next = self.take_subscribed(partition, start, next, &got),
                    Ok(_) => break,
                    // Nothing new: it may be a replica that is cut off.
                    Err(_) => break,
                }
            }
        }
        true
    }

    fn take_subscribed(&mut self, partition: u32, start: Moment, next: u64, got: &[Record]) -> u64 {
        let first = got.first().map_or(next, |record| record.offset);
        if first != next || got.is_empty() {
            self.run.fail(
                Invariant::Answers,
                format_args!(
                    "a subscription of partition {partition} got {} records from {first} on, {next} was due",
                    got.len()
                ),
            );
        }
        let end = first + got.len() as u64;
        self.run.seen().tally.note(Event::Subscribed, got.len() as u64);
        self.note_read(partition, start, Consistency::Stale, got, end);
        end
    }
}

/// A record as the checker wants it.
pub(super) fn entry(record: &Record) -> Entry {
    let text = record.value.split(|byte| *byte == b' ').next().unwrap_or_default();
    let id = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).and_then(RecordId::new);
    let value = ValueHash::of(record.key.as_deref(), [], &record.value);
    Entry { offset: record.offset, id, value, time: record.time.0 }
}
