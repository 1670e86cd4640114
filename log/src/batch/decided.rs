//! What the leader of a service decided, as a batch holds it.
use super::{Batch, BatchHeader, Conditions, Kind, layout, records::check_record};
use crate::{
    config::Limits,
    error::LogError,
    record::NewRecord,
    topic::{Offset, PartitionId, Term},
    world::Timestamp,
};
use bytes::{BufMut, Bytes, BytesMut};
use corduroy_proto::batch::{DecidedHeader, SourceAdvance};
use std::{collections::BTreeMap, ops::Range};

/// What a leader decided, and wants to be one entry of the log: events, how far the sources were read that they came from, and
/// whatever goes with them. It counts as a whole or not at all; see [`Partition::decide`](crate::Partition::decide).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecidedBatch {
    /// The term it was decided in. In any other it is void.
    pub term: Term,
    /// Its number among the decided batches of that term that count, from 0. As another one it is void.
    pub sequence: u64,
    /// Log time of its events.
    pub time: Timestamp,
    /// The offsets that were looked at of each source. The batch counts only where the partition had come to the beginning of each,
    /// and takes it to its end.
    pub sources: BTreeMap<PartitionId, Range<Offset>>,
    /// What only the service reads, on every replica ([`Machine`](crate::partition::Machine)).
    pub effects: Bytes,
    /// Records as any others: they have offsets, and are read and subscribed to. May be none.
    pub events: Vec<NewRecord>,
}

impl DecidedBatch {
    /// Checks it against the limits and encodes it.
    pub(crate) fn seal(&self, limits: &Limits) -> Result<Batch, LogError> {
        let too_many = |what: &str, count: usize| LogError::Invalid(format!("{count} {what} in one decided batch"));
        let sources = u16::try_from(self.sources.len()).map_err(|_| too_many("sources", self.sources.len()))?;
        let count = u32::try_from(self.events.len()).map_err(|_| too_many("events", self.events.len()))?;
        let effects =
            u32::try_from(self.effects.len()).map_err(|_| too_many("bytes of effects", self.effects.len()))?;
        let decided = DecidedHeader { term: self.term, sequence: self.sequence, sources, effects };
        let (kind, conditions) = (Kind::Decided, Conditions::default());
        let header = BatchHeader { kind, count, time: self.time.0, conditions, decided: Some(decided) };
        let mut size = (header.len() + decided.prelude()) as u64;
        for (index, event) in self.events.iter().enumerate() {
            size += check_record(index, event, limits)?;
        }
        if size > limits.batch_bytes {
            return Err(LogError::BatchTooLarge { size, limit: limits.batch_bytes });
        }
        let mut buffer = BytesMut::with_capacity(size as usize);
        buffer.put_bytes(0, header.len());
        for (partition, read) in &self.sources {
            SourceAdvance { partition: partition.0, from: read.start, to: read.end }.encode(&mut buffer);
        }
        buffer.put_slice(&self.effects);
        for event in &self.events {
            layout::put_record(&mut buffer, event);
        }
        Ok(Batch::seal(header, buffer))
    }
}

impl Batch {
    /// What it states as one that was decided.
    pub(crate) fn decided(&self) -> Option<DecidedHeader> {
        self.0.header().decided
    }

    /// The term it was decided in; `None`: it was not decided.
    pub fn term(&self) -> Option<Term> {
        self.decided().map(|decided| decided.term)
    }

    /// The offsets that were looked at of each source, as it states them.
    pub fn sources(&self) -> impl Iterator<Item = (PartitionId, Range<Offset>)> {
        self.0.sources().map(|source| (PartitionId(source.partition), source.from..source.to))
    }

    /// What goes with its events; empty where it was not decided. Shares the batch's memory.
    pub fn effects(&self) -> Bytes {
        self.0.effects()
    }
}
