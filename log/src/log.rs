//! The log of one node: the entry point of the crate.
use crate::{
    config::{Config, NodeAddress},
    error::{LogError, OpenError},
    partition::Partition,
    topic::{ClusterId, NodeId, PartitionId},
    world::{Env, World},
};

/// A topic of the cluster map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its number; never used again.
    pub id: u32,
    /// Replicas of each partition, in order.
    pub partitions: Vec<Vec<NodeId>>,
    /// Replicas per partition.
    pub replication: u32,
}

/// What to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// At least 1.
    pub partitions: u32,
    /// `None`: 3, or the number of nodes where there are fewer.
    pub replication: Option<u32>,
}

/// A node's log. Clone it freely; all clones are the same log.
pub struct Log<W: World> {
    _w: std::marker::PhantomData<W>,
}

impl<W: World> Clone for Log<W> {
    fn clone(&self) -> Self {
        todo!()
    }
}

impl<W: World> Log<W> {
    /// Opens the data directory, recovers, and starts to serve peers.
    pub async fn open(config: Config, env: Env<W>) -> Result<Self, OpenError> {
        let _ = (config, env);
        todo!()
    }
    /// This node.
    pub fn node(&self) -> NodeId { todo!() }
    /// The cluster.
    pub fn cluster(&self) -> ClusterId { todo!() }
    /// How often this data directory was opened.
    pub fn boot_epoch(&self) -> u64 { todo!() }
    /// All nodes, with addresses.
    pub fn nodes(&self) -> Vec<NodeAddress> { todo!() }
    /// Topics as this node knows them, by name; `_cluster` is not among them.
    pub fn topics(&self) -> Vec<Topic> { todo!() }
    /// Creates a topic. Any node may be asked. Returns when the fact is committed and evolved here.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Topic, LogError> { let _ = new; todo!() }
    /// Deletes a topic. Any node may be asked.
    pub async fn delete_topic(&self, name: &str) -> Result<(), LogError> { let _ = name; todo!() }
    /// A partition hosted by this node. `UnknownTopic`, `PartitionOutOfRange`, `NotHosted` otherwise.
    pub fn partition(&self, topic: &str, partition: u32) -> Result<Partition<W>, LogError> { let _ = (topic, partition); todo!() }
    /// All partitions hosted here, `_cluster/0` first.
    pub fn partitions(&self) -> Vec<Partition<W>> { todo!() }
    /// Everything that must hold before this node should get traffic, by name.
    pub fn readiness(&self) -> Vec<Readiness> { todo!() }
    /// Hands nothing over yet: stops accepting, finishes what is in flight, syncs, releases the directory.
    pub async fn shutdown(&self) { todo!() }
    /// Raw id of a partition, for tools.
    pub fn partition_id(&self, topic: &str, partition: u32) -> Option<PartitionId> { let _ = (topic, partition); todo!() }
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// What is checked, e.g. `order/2`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// The state, for a person.
    pub detail: String,
}
