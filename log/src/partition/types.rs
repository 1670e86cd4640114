//! What a partition answers.
use crate::{
    batch::{Batch, BatchError},
    record::Record,
    topic::{NodeId, Offset, PartitionId, Term},
    world::Timestamp,
};

/// The answer to an append: on disk at a majority of the replicas, evolved at the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Offset of the first record; the others follow densely.
    pub first_offset: Offset,
    /// How many records.
    pub count: u32,
    /// Term of the entry.
    pub term: Term,
    /// Log time given to the records.
    pub time: Timestamp,
}

/// What a read promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Sees everything acknowledged before the read began; needs a majority. While nobody leads it waits, for as long as an election
    /// takes.
    Linearizable,
    /// Sees everything below this offset: give the end of what you appended or read last, and you read your own writes and
    /// never go back, on whichever replica. Waits for a replica that is behind; needs no majority.
    Session(Offset),
    /// What this replica has, at once.
    Stale,
}

/// Records read, and the bounds of the partition at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResult {
    /// In offset order, without holes; empty when there is nothing at the offset yet.
    pub records: Vec<Record>,
    /// First offset kept.
    pub start: Offset,
    /// Evolved offset of this replica: the first offset that could not be read.
    pub end: Offset,
}

/// A batch, and where its partition has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedBatch {
    /// Offset of its first record.
    pub base: Offset,
    /// It counts: every record in it has an offset.
    pub batch: Batch,
}

impl PlacedBatch {
    /// The offset behind its last record.
    pub fn end(&self) -> Offset {
        self.base + u64::from(self.batch.records())
    }

    /// Its records from `from` on.
    ///
    /// # Errors
    /// [`BatchError`] where they are not what the batch says.
    pub fn records(&self, from: Offset) -> Result<Vec<Record>, BatchError> {
        let mut records = self.batch.decode(self.base)?;
        records.retain(|record| record.offset >= from);
        Ok(records)
    }
}

/// What this node does in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leads.
    Leader,
    /// Follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Gets the log, has no vote.
    Learner,
    /// Stopped.
    Halted,
}

/// A partition's state on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Topic name.
    pub topic: String,
    /// Number in the topic.
    pub partition: u32,
    /// Raw id.
    pub id: PartitionId,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Current term.
    pub term: Term,
    /// Nodes with a replica.
    pub replicas: Vec<NodeId>,
    /// First offset kept.
    pub start: Offset,
    /// Evolved offset of this replica.
    pub end: Offset,
    /// This node's part.
    pub role: Role,
}
