//! What a node's log is told: who it is, who the others are, limits and times.
use crate::{
    calls::Calls,
    partition::Machines,
    topic::{ClusterId, Format, NodeId},
};
use std::{path::PathBuf, time::Duration};

/// A node and its addresses (host:port). Only `peer` matters to the log; the others are carried in the cluster map for
/// those who ask any node where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node.
    pub id: NodeId,
    /// Where it listens for peers.
    pub peer: String,
    /// Where it serves gRPC clients; empty where it does not.
    pub grpc: String,
    /// Where it serves HTTP; empty where it does not.
    pub http: String,
    /// Where it serves operators; empty where it does not.
    pub admin: String,
}

impl NodeAddress {
    /// A node that listens for its peers at this address (host:port) and serves nobody else.
    pub fn new(id: NodeId, peer: impl Into<String>) -> Self {
        NodeAddress { id, peer: peer.into(), grpc: String::new(), http: String::new(), admin: String::new() }
    }
}

/// Configuration of one node's log. [`Config::new`] has what must be said; the fields have the rest.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory. Created when missing, locked while open.
    pub dir: PathBuf,
    /// Identity of the cluster; equal on all of its nodes.
    pub cluster: ClusterId,
    /// This node. One of `nodes`.
    pub node: NodeId,
    /// All nodes of the cluster, this one among them. Fixed for the life of the cluster.
    pub nodes: Vec<NodeAddress>,
    /// What this node carries: topics of other services get no replicas here. Empty: everything.
    pub services: Vec<String>,
    /// The latest format of the events of services that this build knows. [`Log::format`](crate::Log::format) follows when every node
    /// knows it.
    pub format: Format,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timing: Timing,
    /// What evolves beside the logs of partitions. Whoever changes it changes what replicas fold: all of them must do so alike.
    pub machines: Machines,
    /// What answers calls of other nodes ([`Log::call`](crate::Log::call)).
    pub calls: Calls,
}

impl Config {
    /// A node that carries all topics, with the usual limits and times. `cluster` and `nodes` must be the same on all nodes;
    /// `dir` is this one's alone.
    pub fn new(dir: impl Into<PathBuf>, cluster: ClusterId, node: NodeId, nodes: Vec<NodeAddress>) -> Self {
        Config {
            dir: dir.into(),
            cluster,
            node,
            nodes,
            services: Vec::new(),
            format: Format::FIRST,
            limits: Limits::default(),
            timing: Timing::default(),
            machines: Machines::default(),
            calls: Calls::default(),
        }
    }

    /// Whether it makes sense; else what does not, in one sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        if !ids.contains(&self.node) {
            return Err(format!("node {} is not among the configured nodes {ids:?}", self.node));
        }
        if ids.contains(&0) {
            return Err("node ids begin at 1".into());
        }
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("node {} is configured twice", twice[0]));
        }
        let limits = &self.limits;
        if limits.record_bytes >= limits.batch_bytes || limits.batch_bytes > limits.segment_bytes / 2 {
            return Err(format!(
                "limits: a record ({} bytes) must be smaller than a batch ({}), and a batch at most half a segment ({})",
                limits.record_bytes, limits.batch_bytes, limits.segment_bytes
            ));
        }
        if limits.node_in_flight_bytes < limits.in_flight_bytes {
            return Err(format!(
                "limits: a node must take what one of its partitions takes: in flight per node {} bytes, per partition {}",
                limits.node_in_flight_bytes, limits.in_flight_bytes
            ));
        }
        if limits.min_free_percent > 50 {
            return Err(format!("limits: {} % of the disk kept free is more than half of it", limits.min_free_percent));
        }
        let DiskPatience { overdue, stuck, failed } = self.timing.disk;
        if overdue.is_zero() || overdue >= stuck || stuck >= failed {
            return Err(format!(
                "timing: a disk must be overdue ({overdue:?}) before it is stuck ({stuck:?}), and stuck before it has failed \
                 ({failed:?})"
            ));
        }
        Ok(())
    }
}

/// Bounds on sizes. Bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest record: key, value and headers together.
    pub record_bytes: u64,
    /// Largest batch, that is, largest append request and largest Raft entry.
    pub batch_bytes: u64,
    /// Accepted and not yet committed, per partition; above it appends are refused as busy.
    pub in_flight_bytes: u64,
    /// The same over all partitions of the node. Also the bound on what leaders elsewhere sent and this node has not yet
    /// on disk.
    pub node_in_flight_bytes: u64,
    /// Size of a WAL segment.
    pub segment_bytes: u64,
    /// Largest write of one group commit.
    pub commit_bytes: u64,
    /// Recent entries kept in memory, per partition.
    pub hot_tail_bytes: u64,
    /// The same, of all partitions together; above it the largest tails give first.
    pub hot_tail_total_bytes: u64,
    /// Where entries of sealed WAL segments lie, as far as it is kept in memory, of all partitions together. Eight bytes an
    /// entry; what is not there is loaded when it is read.
    pub index_cache_bytes: u64,
    /// Memory that each view may spend on what it read of its store; 0: this node keeps no views, and is not asked by key or
    /// by time.
    pub view_cache_bytes: u64,
    /// A partition gets a checkpoint after so many bytes of batches at the latest.
    pub checkpoint_bytes: u64,
    /// Partitions a topic may have, and a node may host.
    pub partitions: u32,
    /// Keys the index of a partition may have, on topics with a key index; about 50 bytes each. Appends of further keys are
    /// refused.
    pub keys: u64,
    /// Length of a file that is given up when the disk is full, so that votes and what is under way can still be
    /// written; 0: none.
    pub reserve_bytes: u64,
    /// Appends are refused as full below this share of the file system, and in any case below two segments.
    pub min_free_percent: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            record_bytes: 1 << 20,
            batch_bytes: 4 << 20,
            in_flight_bytes: 16 << 20,
            node_in_flight_bytes: 128 << 20,
            segment_bytes: 128 << 20,
            commit_bytes: 4 << 20,
            hot_tail_bytes: 16 << 20,
            hot_tail_total_bytes: 256 << 20,
            index_cache_bytes: 32 << 20,
            view_cache_bytes: 16 << 20,
            checkpoint_bytes: 256 << 20,
            partitions: 1024,
            keys: 1_000_000,
            reserve_bytes: 16 << 20,
            min_free_percent: 5,
        }
    }
}

/// Times. Election and heartbeat must agree across the cluster.
#[derive(Clone, Debug)]
pub struct Timing {
    /// How often an idle leader is heard of.
    pub heartbeat: Duration,
    /// A follower that hears nothing for `election_max` asks for votes after a random time in this range.
    pub election_min: Duration,
    /// See `election_min`; also the length of a follower's lease.
    pub election_max: Duration,
    /// Bound on an append; then its outcome is unknown.
    pub append_timeout: Duration,
    /// Bound on a linearizable read.
    pub read_timeout: Duration,
    /// A partition that has changed gets a checkpoint after this time at the latest.
    pub checkpoint_interval: Duration,
    /// What is made of a disk that has not answered for a while.
    pub disk: DiskPatience,
}

/// How long a write or sync of the WAL may take. Each longer than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPatience {
    /// After this the node sends neither heartbeats nor entries, so that others take over, provided that enough of the
    /// others have disks that are faster.
    pub overdue: Duration,
    /// After this it hands over what it leads.
    pub stuck: Duration,
    /// After this it halts with `DISK_FAILED`.
    pub failed: Duration,
}

impl Default for DiskPatience {
    fn default() -> Self {
        DiskPatience {
            overdue: Duration::from_millis(200),
            stuck: Duration::from_secs(2),
            failed: Duration::from_secs(10),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(350),
            append_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(5),
            disk: DiskPatience::default(),
            checkpoint_interval: Duration::from_secs(600),
        }
    }
}
