//! An ordered, replicated, replayable event log inside your own process.
//!
//! Three processes that embed this crate are a cluster: no broker beside them, no failover watcher, no relay. An append
//! that is acknowledged is on disk at a majority of them. Start with [`Log`]; [`config::Config`] says who the nodes are.
//!
//! The way of a record, and the folders in its order:
//!
//! ```text
//!   Log ─▶ Partition ─▶ raft (openraft) ─▶ wal: one group commit for all partitions of the node ┐
//!            │                        └──▶ peer ─▶ the other nodes' wal                         ├─ a majority
//!            └◀── Evolved: offsets, readers, subscribers ◀── commit ◀──────────────────────────┘
//! ```
//!
//! - [`log`], [`topic`], [`record`], [`producer`], [`batch`], [`config`], [`error`]: what callers hold in their hands.
//! - [`partition`]: append, read, subscribe; the fold that gives records their offsets.
//! - [`view`]: read models that follow the log, and are built again from it when anything is wrong with them.
//! - `raft`: the openraft glue and nothing else.
//! - [`wal`]: the one segmented log file set of a node; `docs/disk-format.md` has its bytes.
//! - `peer`: what nodes say to each other.
//! - [`feed`]: what a partition holds, on nodes that hold no replica of it.
//! - `calls`: what is built on the log, from node to node.
//! - `cluster`: the cluster map, itself a partition, and what follows from it.
//! - `health`: what a node does about a disk that is full or slow.
//! - [`offline`]: the records of a node that is not running.
//! - [`world`]: disk, network, clock, randomness, tasks, stores of views. Everything above is a function of these.
pub mod batch;
pub mod config;
pub mod error;
pub mod log;
pub mod producer;
pub mod record;
pub mod topic;

pub mod partition;

pub mod view;

mod raft;

pub mod wal;

mod peer;

pub mod feed;

mod calls;

mod cluster;

mod health;

pub mod offline;

pub mod world;

#[cfg(feature = "testing")]
pub mod testing;

pub use batch::DecidedBatch;
pub use calls::{CallError, Calls};
pub use cluster::CLUSTER_TOPIC;
pub use config::Config;
pub use error::{LogError, OpenError};
pub use feed::Subscription;
pub use log::{Log, NewTopic, Topic};
pub use partition::{
    Ack, AppendOptions, Consistency, Cursor, Decision, Evolving, Expect, Frozen, FrozenTable, KeyPage, Machine,
    Machines, Partition, PlacedBatch, Table, TimeOffset,
};
pub use producer::{ProducerId, ProducerStamp};
pub use record::{Header, NewRecord, Record};

/// The log in the real world: files, gRPC connections, tokio.
pub type RealLog = Log<world::real::RealWorld>;
