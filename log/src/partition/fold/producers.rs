//! Sessions of producers: what they have appended, so that what they append again is not appended twice.
//!
//! **Invariant**: of one producer and epoch the partition holds the records 0, 1, 2, ... in this order, each once.
use super::{SnapshotError, Void, shards::Shards};
use crate::{
    producer::{ProducerId, ProducerStamp},
    topic::Offset,
    world::Timestamp,
};
use corduroy_proto::v1 as pb;
use std::collections::BTreeSet;

/// Time as sessions count it: log time, in which a pause between two batches counts a minute at most. So a clock that jumps ends
/// no session, and neither does a partition at rest. Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age(pub u64);

impl Age {
    /// So much later in log time.
    pub(super) fn after(self, from: Timestamp, to: Timestamp) -> Self {
        const LONGEST_MICROS: u64 = 60 * 1_000_000;
        Age(self.0 + to.0.saturating_sub(from.0).min(LONGEST_MICROS))
    }
}

/// A producer is remembered for so long after its last append: the window in which a repetition is told. Part of the format:
/// replicas must forget alike.
const KEPT_MICROS: u64 = 24 * 3600 * 1_000_000;
/// One that has been silent for so long gives way where there are too many.
const SILENT_MICROS: u64 = 3600 * 1_000_000;
/// Producers a partition remembers.
pub(crate) const SESSIONS: usize = 16 << 10;
/// Runs of a producer's records whose offsets are remembered. A producer must not have more appends unanswered.
pub(crate) const RUNS: usize = 128;

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub epoch: u32,
    /// Number of its next record.
    pub next: u64,
    /// When it last appended.
    at: Age,
    /// Its last records, oldest first: runs without a gap in numbers and offsets.
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    sequence: u64,
    count: u64,
    offset: Offset,
}

impl Session {
    /// The offset of the first of these records, where they are remembered.
    pub(crate) fn offset(&self, sequence: u64, records: u64) -> Option<Offset> {
        let run = self.runs.iter().rev().find(|run| run.sequence <= sequence)?;
        let end = sequence.checked_add(records)?;
        (end <= run.sequence + run.count).then(|| run.offset + (sequence - run.sequence))
    }

    fn append(&mut self, sequence: u64, count: u64, offset: Offset) {
        self.next = sequence + count;
        match self.runs.last_mut() {
            Some(run) if run.sequence + run.count == sequence && run.offset + run.count == offset => run.count += count,
            _ => {
                if self.runs.len() == RUNS {
                    self.runs.remove(0);
                }
                self.runs.push(Run { sequence, count, offset });
            }
        }
    }
}

/// All that a partition remembers.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    sessions: Shards<ProducerId, Session>,
    /// By their last append, to forget the oldest. Follows from the sessions.
    by_age: BTreeSet<(Age, ProducerId)>,
}

impl Producers {
    pub(crate) fn session(&self, producer: &ProducerId) -> Option<&Session> {
        self.sessions.get(producer)
    }

    /// Whether these records come next.
    pub(crate) fn judge(&self, stamp: &ProducerStamp, records: u64, now: Age) -> Result<(), Void> {
        let ProducerStamp { producer, epoch, sequence } = *stamp;
        let session = self.session(&producer).filter(|session| !is_over(session.at, now));
        let next = match session {
            Some(session) if epoch < session.epoch => return Err(Void::Epoch { current: session.epoch }),
            Some(session) if epoch == session.epoch => session.next,
            None if self.is_full(now) => return Err(Void::Producers),
            _ => 0,
        };
        match session {
            _ if sequence == next && sequence.checked_add(records).is_some() => Ok(()),
            Some(session) if sequence.checked_add(records).is_some_and(|end| end <= next) => {
                Err(Void::Duplicate { first: session.offset(sequence, records) })
            }
            _ => Err(Void::Sequence { expected: next }),
        }
    }

    /// Whether there is no room for another producer.
    fn is_full(&self, now: Age) -> bool {
        let oldest = self.by_age.first().map_or(now, |(at, _)| *at);
        self.sessions.len() >= SESSIONS && now.0.saturating_sub(oldest.0) < SILENT_MICROS
    }

    /// Remembers records that [`Producers::judge`] found to come next.
    pub(crate) fn append(&mut self, stamp: &ProducerStamp, records: u64, offset: Offset, now: Age) {
        let ProducerStamp { producer, epoch, sequence } = *stamp;
        while let Some(&(at, oldest)) = self.by_age.first()
            && (is_over(at, now) || self.sessions.len() >= SESSIONS && self.session(&producer).is_none())
        {
            self.by_age.remove(&(at, oldest));
            self.sessions.remove(&oldest);
        }
        match self.sessions.get_mut(&producer) {
            Some(session) => {
                self.by_age.remove(&(session.at, producer));
                if session.epoch != epoch {
                    session.epoch = epoch;
                    session.runs.clear();
                }
                session.append(sequence, records, offset);
                session.at = now;
            }
            None => {
                let mut session = Session { epoch, next: 0, at: now, runs: Vec::new() };
                session.append(sequence, records, offset);
                self.sessions.insert(producer, session);
            }
        }
        self.by_age.insert((now, producer));
    }

    /// What a checkpoint keeps of it.
    pub(super) fn frozen(&self) -> Shards<ProducerId, Session> {
        self.sessions.clone()
    }

    pub(super) fn restore(encoded: &[pb::ProducerSession]) -> Result<Self, SnapshotError> {
        let sessions = encoded.iter().map(decode).collect::<Result<Shards<_, _>, _>>()?;
        let by_age = sessions.iter().map(|(producer, session)| (session.at, *producer)).collect();
        Ok(Producers { sessions, by_age })
    }
}

impl PartialEq for Producers {
    fn eq(&self, other: &Self) -> bool {
        self.sessions == other.sessions
    }
}

impl Eq for Producers {}

fn is_over(last: Age, now: Age) -> bool {
    now.0.saturating_sub(last.0) > KEPT_MICROS
}

pub(super) fn encode((producer, session): (&ProducerId, &Session)) -> pb::ProducerSession {
    let run = |run: &Run| pb::ProducerRun { sequence: run.sequence, count: run.count, offset: run.offset };
    pb::ProducerSession {
        producer: producer.0.to_vec().into(),
        epoch: session.epoch,
        age: session.at.0,
        next: session.next,
        runs: session.runs.iter().map(run).collect(),
    }
}

fn decode(encoded: &pb::ProducerSession) -> Result<(ProducerId, Session), SnapshotError> {
    let missing = SnapshotError::Missing("a plausible session of a producer");
    let Ok(producer) = <[u8; 16]>::try_from(&encoded.producer[..]) else { return Err(missing) };
    let run = |run: &pb::ProducerRun| Run { sequence: run.sequence, count: run.count, offset: run.offset };
    let runs: Vec<Run> = encoded.runs.iter().map(run).collect();
    let ends = |run: &Run| Some((run.sequence.checked_add(run.count)?, run.offset.checked_add(run.count)?));
    let in_order = runs.windows(2).all(|pair| ends(&pair[0]).is_some_and(|(end, _)| end <= pair[1].sequence));
    let last = runs.last().and_then(ends).is_none_or(|(end, _)| end != encoded.next);
    if runs.len() > RUNS || !in_order || last {
        return Err(missing);
    }
    let (epoch, next, at) = (encoded.epoch, encoded.next, Age(encoded.age));
    Ok((ProducerId(producer), Session { epoch, next, at, runs }))
}
