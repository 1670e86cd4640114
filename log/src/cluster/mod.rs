//! The cluster map and what follows from it.
//!
//! ```text
//!   create_topic ──▶ leader of _cluster/0 ──▶ its log ──▶ evolve on every node ──▶ Map ──▶ Controller: opens partitions
//! ```
//!
//! `_cluster/0` is a partition like any other, replicated on every node; its records are facts ([`map`]) and the map is
//! their fold. Nothing else decides what exists: a node opens and closes partitions by looking at its map.
//!
//! Where a topic's partitions lie, and who is meant to lead them, is decided once, when it is made ([`placement`]). Who leads is
//! decided by elections; afterwards leads move back to where they are meant to be ([`balance`]).
//!
//! The nodes are fixed: every node is configured with all of them. A node that has never taken part asks every other
//! node whether its id is free before it starts any Raft group ([`controller`]); after that it needs a majority only.
mod balance;
mod controller;
mod hosted;
mod map;
mod placement;
mod spread;
mod topics;

pub(crate) use balance::Leads;
pub(crate) use controller::{Controller, DataDir, RUNNING};
pub(crate) use hosted::Hosted;
pub(crate) use map::{ClusterMap, Map, TopicPlan, facts};
pub(crate) use placement::{candidates, check_topic, place};
pub(crate) use topics::topic;

/// Name of the topic that holds the cluster map.
pub const CLUSTER_TOPIC: &str = "_cluster";
