//! Who is where: the nodes known so far and the last known leader of each partition.
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A node and where it serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The node.
    pub id: u64,
    /// host:port of its gRPC port; empty when the cluster does not know it.
    pub grpc: String,
}

/// A partition and who leads it, as the asked node knew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRoute {
    /// Its number in the topic.
    pub partition: u32,
    /// The leader's node id, when known.
    pub leader: Option<u64>,
    /// The nodes with a replica.
    pub replicas: Vec<u64>,
}

/// The nodes of the cluster and the partitions of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// All nodes.
    pub nodes: Vec<NodeEndpoint>,
    /// All partitions of the topic, in order; empty when no topic was asked for.
    pub partitions: Vec<PartitionRoute>,
}

impl Topology {
    /// The gRPC address of a node, when it is known.
    pub fn address(&self, node: u64) -> Option<&str> {
        self.nodes.iter().find(|n| n.id == node && !n.grpc.is_empty()).map(|n| n.grpc.as_str())
    }
}

/// What the client knows of the cluster. Hints only: a wrong one costs a redirect.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<Known>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: Vec<String>,
    leaders: HashMap<(String, u32), String>,
}

impl Routes {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Routes { known: Mutex::new(Known { endpoints, leaders: HashMap::new() }), turn: AtomicUsize::new(0) }
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.lock().endpoints.clone()
    }

    /// Another node each time, so that a dead one is asked once per round.
    pub(crate) fn next_endpoint(&self) -> String {
        let known = self.lock();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        known.endpoints[turn % known.endpoints.len()].clone()
    }

    pub(crate) fn leader(&self, topic: &str, partition: u32) -> Option<String> {
        self.lock().leaders.get(&(topic.to_owned(), partition)).cloned()
    }

    pub(crate) fn set_leader(&self, topic: &str, partition: u32, address: &str) {
        self.lock().leaders.insert((topic.to_owned(), partition), address.to_owned());
    }

    /// Forgets a leader that turned out not to be one (unless another call has corrected it meanwhile).
    pub(crate) fn forget_leader(&self, topic: &str, partition: u32, address: &str) {
        let mut known = self.lock();
        let key = (topic.to_owned(), partition);
        if known.leaders.get(&key).is_some_and(|known| known == address) {
            known.leaders.remove(&key);
        }
    }

    /// Takes in what a node said about the cluster.
    pub(crate) fn learn(&self, topic: &str, topology: &Topology) {
        let mut known = self.lock();
        for node in topology.nodes.iter().filter(|node| !node.grpc.is_empty()) {
            if !known.endpoints.contains(&node.grpc) {
                known.endpoints.push(node.grpc.clone());
            }
        }
        for route in &topology.partitions {
            if let Some(address) = route.leader.and_then(|leader| topology.address(leader)) {
                known.leaders.insert((topic.to_owned(), route.partition), address.to_owned());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
