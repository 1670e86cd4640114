//! Who is where: the nodes known so far, and who leads each partition, as far as anybody has said. Pure.
//!
//! What nodes say of a leader is a *claim*, with the term it is about. Of two claims the one with the higher term is newer.
//! A leader that has just died is still named by the others, in the same term, until they have another one: such claims are
//! passed over. If it did not die, but only the connection to it did, it says so itself. A topic that was deleted and made
//! again begins with low terms: that is why a leader that is lost is forgotten.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::Notify, time::Instant};

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
    /// The Raft term the asked node is in; 0 where it holds no replica.
    pub term: u64,
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
    ///
    /// ```
    /// # use corduroy_client::{NodeEndpoint, Topology};
    /// let node = NodeEndpoint { id: 2, grpc: "127.0.0.1:7002".into() };
    /// let topology = Topology { nodes: vec![node], ..Topology::default() };
    /// assert_eq!((topology.address(2), topology.address(3)), (Some("127.0.0.1:7002"), None));
    /// ```
    pub fn address(&self, node: u64) -> Option<&str> {
        self.nodes.iter().find(|n| n.id == node && !n.grpc.is_empty()).map(|n| n.grpc.as_str())
    }
}

/// Somebody who leads a partition, or is said to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) address: String,
    /// 0: nobody said.
    pub(crate) term: u64,
}

/// A leader that does not answer as one any more.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) leader: Leader,
    pub(crate) since: Instant,
}

/// What the client knows of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<Known>,
    /// Something was learned.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: Vec<String>,
    turn: usize,
    topics: HashMap<String, BTreeMap<u32, Route>>,
    /// How many partitions a topic has, once somebody has said it.
    partitions: HashMap<String, u32>,
}

#[derive(Debug, Default)]
struct Route {
    leader: Option<Leader>,
    /// When that leader said so itself.
    confirmed: Option<Instant>,
    /// Where replicas are.
    replicas: Vec<String>,
}

impl Route {
    fn hear(&mut self, claim: Leader, by_itself: bool, now: Instant) {
        let newer = self.leader.as_ref().is_none_or(|known| claim.term >= known.term);
        if !newer {
            return;
        }
        let same = self.leader.as_ref() == Some(&claim);
        self.confirmed = if by_itself { Some(now) } else { self.confirmed.filter(|_| same) };
        self.leader = Some(claim);
    }

    /// The leader, if it is another one than was lost, or has spoken since.
    fn leader_after(&self, lost: Option<&Lost>) -> Option<&Leader> {
        let leader = self.leader.as_ref()?;
        let Some(lost) = lost else { return Some(leader) };
        let later = leader.term > lost.leader.term;
        let other = leader.term == lost.leader.term && leader.address != lost.leader.address;
        let alive = self.confirmed.is_some_and(|confirmed| confirmed > lost.since);
        (later || other || alive).then_some(leader)
    }
}

impl Routes {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Routes { known: Mutex::new(Known { endpoints, ..Known::default() }), changed: Notify::new() }
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.lock().endpoints.clone()
    }

    /// Another node each time, so that a dead one is asked once per round.
    pub(crate) fn next_endpoint(&self) -> String {
        let mut known = self.lock();
        let turn = known.turn;
        known.turn = turn.wrapping_add(1);
        known.endpoints[turn % known.endpoints.len()].clone()
    }

    /// How many partitions a topic has, as far as is known. Fixed for the life of a topic.
    pub(crate) fn partitions(&self, topic: &str) -> Option<u32> {
        self.lock().partitions.get(topic).copied()
    }

    /// Who leads a partition; after a loss, only if that is news.
    pub(crate) fn leader(&self, topic: &str, partition: u32, lost: Option<&Lost>) -> Option<Leader> {
        let known = self.lock();
        known.topics.get(topic)?.get(&partition)?.leader_after(lost).cloned()
    }

    /// A leader of a later term than this one's, or, where that is not known, another one.
    pub(crate) fn newer_leader(&self, topic: &str, partition: u32, than: &Leader) -> Option<Leader> {
        let leader = self.leader(topic, partition, None)?;
        (leader.address != than.address && leader.term > than.term).then_some(leader)
    }

    /// A node has taken an append in this term: it leads.
    pub(crate) fn confirm(&self, topic: &str, partition: u32, address: &str, term: u64) {
        let claim = Leader { address: address.to_owned(), term };
        self.with_route(topic, partition, |route| route.hear(claim, true, Instant::now()));
        self.changed.notify_waiters();
    }

    /// A leader does not answer as one: until somebody names it again, nobody is known.
    pub(crate) fn forget(&self, topic: &str, partition: u32, leader: &Leader) {
        self.with_route(topic, partition, |route| {
            if route.leader.as_ref().is_some_and(|known| known.address == leader.address && known.term <= leader.term) {
                route.leader = None;
            }
        });
    }

    /// Where replicas of these partitions are, as far as is known.
    pub(crate) fn replicas(&self, topic: &str, partitions: &BTreeSet<u32>) -> BTreeSet<String> {
        let known = self.lock();
        let routes = known.topics.get(topic);
        let of = |partition: &u32| routes.and_then(|routes| routes.get(partition)).map(|route| &route.replicas);
        partitions.iter().filter_map(of).flatten().cloned().collect()
    }

    /// Takes in what the node at `by` said about the cluster.
    pub(crate) fn learn(&self, topic: &str, topology: &Topology, by: &str) {
        let now = Instant::now();
        let mut known = self.lock();
        for node in topology.nodes.iter().filter(|node| !node.grpc.is_empty()) {
            if !known.endpoints.contains(&node.grpc) {
                known.endpoints.push(node.grpc.clone());
            }
        }
        if let Some(count) = u32::try_from(topology.partitions.len()).ok().filter(|count| *count > 0) {
            known.partitions.insert(topic.to_owned(), count);
        }
        for said in &topology.partitions {
            let route = known.topics.entry(topic.to_owned()).or_default().entry(said.partition).or_default();
            route.replicas =
                said.replicas.iter().filter_map(|node| topology.address(*node)).map(str::to_owned).collect();
            if let Some(address) = said.leader.and_then(|leader| topology.address(leader)) {
                route.hear(Leader { address: address.to_owned(), term: said.term }, address == by, now);
            }
        }
        drop(known);
        self.changed.notify_waiters();
    }

    fn with_route(&self, topic: &str, partition: u32, change: impl FnOnce(&mut Route)) {
        let mut known = self.lock();
        change(known.topics.entry(topic.to_owned()).or_default().entry(partition).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
