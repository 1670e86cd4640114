//! One partition of one node.
use crate::{
    error::LogError,
    record::{NewRecord, Record},
    topic::{NodeId, Offset, PartitionId, Term},
    world::{Timestamp, World},
};
use futures::stream::BoxStream;

/// The answer to an append: on disk at a majority, evolved at the leader.
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
    /// Sees everything acknowledged before the read began; needs a majority.
    Linearizable,
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
    /// Evolved offset of this replica.
    pub end: Offset,
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

/// A snapshot of a partition's state on this node.
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

/// A partition hosted by this node. Clone freely.
pub struct Partition<W: World> {
    _w: std::marker::PhantomData<W>,
}

impl<W: World> Clone for Partition<W> {
    fn clone(&self) -> Self {
        todo!()
    }
}

impl<W: World> Partition<W> {
    /// State of this replica.
    pub fn info(&self) -> PartitionInfo { todo!() }
    /// Appends records as one batch. Only the leader accepts; see [`LogError`] for what each refusal means.
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<Ack, LogError> { let _ = records; todo!() }
    /// Enqueues an append (fixing its place in the order of this partition's appends before returning) and gives the
    /// future of its answer.
    pub fn submit(&self, records: Vec<NewRecord>) -> Result<impl Future<Output = Result<Ack, LogError>> + Send + 'static, LogError> {
        let _ = records;
        Ok(async { todo!() })
    }
    /// Reads from `offset` on: at least one record if there is one, at most about `max_bytes`, at most `max_records`.
    pub async fn read(&self, offset: Offset, max_bytes: u64, max_records: u32, consistency: Consistency) -> Result<ReadResult, LogError> {
        let _ = (offset, max_bytes, max_records, consistency);
        todo!()
    }
    /// (start, end) offsets.
    pub async fn offsets(&self, consistency: Consistency) -> Result<(Offset, Offset), LogError> { let _ = consistency; todo!() }
    /// Records from `offset` on, as they become readable on this replica; each item at most about `max_bytes`.
    pub fn subscribe(&self, offset: Offset, max_bytes: u64) -> BoxStream<'static, Result<Vec<Record>, LogError>> { let _ = (offset, max_bytes); todo!() }
}
