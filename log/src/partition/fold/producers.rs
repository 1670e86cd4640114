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

/// A producer is remembered for so long after its last append, in log time: the window in which a repetition is told.
/// Part of the format: replicas must forget alike.
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
    /// Log time of its last append.
    time: Timestamp,
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
    by_time: BTreeSet<(Timestamp, ProducerId)>,
}

impl Producers {
    pub(crate) fn session(&self, producer: &ProducerId) -> Option<&Session> {
        self.sessions.get(producer)
    }

    /// Whether these records come next, at log time `now`.
    pub(crate) fn judge(&self, stamp: &ProducerStamp, records: u64, now: Timestamp) -> Result<(), Void> {
        let ProducerStamp { producer, epoch, sequence } = *stamp;
        let session = self.session(&producer).filter(|session| !is_over(session.time, now));
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
    fn is_full(&self, now: Timestamp) -> bool {
        let oldest = self.by_time.first().map_or(now, |(time, _)| *time);
        self.sessions.len() >= SESSIONS && now.0.saturating_sub(oldest.0) < SILENT_MICROS
    }

    /// Remembers records that [`Producers::judge`] found to come next.
    pub(crate) fn append(&mut self, stamp: &ProducerStamp, records: u64, offset: Offset, now: Timestamp) {
        let ProducerStamp { producer, epoch, sequence } = *stamp;
        while let Some(&(time, oldest)) = self.by_time.first()
            && (is_over(time, now) || self.sessions.len() >= SESSIONS && self.session(&producer).is_none())
        {
            self.by_time.remove(&(time, oldest));
            self.sessions.remove(&oldest);
        }
        match self.sessions.get_mut(&producer) {
            Some(session) => {
                self.by_time.remove(&(session.time, producer));
                if session.epoch != epoch {
                    session.epoch = epoch;
                    session.runs.clear();
                }
                session.append(sequence, records, offset);
                session.time = now;
            }
            None => {
                let mut session = Session { epoch, next: 0, time: now, runs: Vec::new() };
                session.append(sequence, records, offset);
                self.sessions.insert(producer, session);
            }
        }
        self.by_time.insert((now, producer));
    }

    /// What a checkpoint keeps of it.
    pub(super) fn frozen(&self) -> Shards<ProducerId, Session> {
        self.sessions.clone()
    }

    pub(super) fn restore(encoded: &[pb::ProducerSession]) -> Result<Self, SnapshotError> {
        let sessions = encoded.iter().map(decode).collect::<Result<Shards<_, _>, _>>()?;
        let by_time = sessions.iter().map(|(producer, session)| (session.time, *producer)).collect();
        Ok(Producers { sessions, by_time })
    }
}

impl PartialEq for Producers {
    fn eq(&self, other: &Self) -> bool {
        self.sessions == other.sessions
    }
}

impl Eq for Producers {}

fn is_over(last: Timestamp, now: Timestamp) -> bool {
    now.0.saturating_sub(last.0) > KEPT_MICROS
}

pub(super) fn encode((producer, session): (&ProducerId, &Session)) -> pb::ProducerSession {
    let run = |run: &Run| pb::ProducerRun { sequence: run.sequence, count: run.count, offset: run.offset };
    pb::ProducerSession {
        producer: producer.0.to_vec().into(),
        epoch: session.epoch,
        time: session.time.0,
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
    let (epoch, next, time) = (encoded.epoch, encoded.next, Timestamp(encoded.time));
    Ok((ProducerId(producer), Session { epoch, next, time, runs }))
}
