//! A cluster inside this process, with real files, sockets and syncs: for tests and examples of what talks to nodes.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! corduroy_node::testing::block_on(async {
//!     let cluster = corduroy_node::testing::Cluster::start(3).await?;
//!     let client = corduroy_client::Client::builder().endpoints(cluster.grpc()).connect().await?;
//!     assert_eq!(client.topology("").await?.nodes.len(), 3);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Its nodes are on loopback, in a temporary folder that goes with it. They are as fast as they can be to start and to
//! elect, and small. For faults that end a process, start processes; for whole clusters in virtual time there is
//! `corduroy_log::testing`.
pub mod fuzz;
mod sim;

pub use crate::runtime::rules::{Rules, Then};
pub use sim::{Sim, SimServices};

use crate::{
    Node, StartError,
    config::{Listen, NodeConfig, ShopConfig},
};
use corduroy_log::{
    config::{Config, NodeAddress},
    testing::{free_port, quick},
    topic::{ClusterId, NodeId},
};
use std::{collections::BTreeMap, error::Error, fmt, io, time::Duration};
use tempfile::TempDir;

/// Bound on a start.
const READY: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Nodes 1 to n of one cluster.
pub struct Cluster {
    configs: BTreeMap<NodeId, NodeConfig>,
    running: BTreeMap<NodeId, Node>,
    _dir: TempDir,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("running", &self.running.keys()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts so many nodes and waits until all of them are ready.
    ///
    /// # Errors
    /// No temporary folder or free ports; a node that does not start, or is not ready within a minute.
    pub async fn start(nodes: u64) -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let listens = (1..=nodes).map(|id| Ok((id, free_ports()?))).collect::<io::Result<BTreeMap<_, _>>>()?;
        let address = |(id, listen): (&NodeId, &Listen)| NodeAddress {
            id: *id,
            peer: listen.peer.to_string(),
            grpc: listen.grpc.to_string(),
            http: listen.http.to_string(),
            admin: listen.admin.to_string(),
        };
        let addresses: Vec<NodeAddress> = listens.iter().map(address).collect();
        let cluster = ClusterId(rand::random());
        let config = |(id, listen): (NodeId, Listen)| {
            let place = dir.path().join(format!("node-{id}"));
            let log = quick(Config::new(place, cluster, id, addresses.clone()));
            (id, NodeConfig { log, listen, shutdown_timeout: Duration::from_secs(5), shop: ShopConfig::default() })
        };
        let configs = listens.into_iter().map(config).collect();
        let mut cluster = Cluster { configs, running: BTreeMap::new(), _dir: dir };
        for id in 1..=nodes {
            cluster.start_node(id).await?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// gRPC addresses of all nodes, by id.
    pub fn grpc(&self) -> Vec<String> {
        self.configs.values().map(|config| config.listen.grpc.to_string()).collect()
    }

    /// Admin addresses of all nodes, by id.
    pub fn admin(&self) -> Vec<String> {
        self.configs.values().map(|config| config.listen.admin.to_string()).collect()
    }

    /// A node that runs.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.running.get(&id)
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// As [`crate::Builder::start`].
    pub async fn start_node(&mut self, id: NodeId) -> Result<(), StartError> {
        let config = self.configs.get(&id).cloned().ok_or(StartError::NoConfig)?;
        self.running.insert(id, Node::builder().config(config).start().await?);
        Ok(())
    }

    /// Shuts a node down, cleanly.
    pub async fn stop_node(&mut self, id: NodeId) {
        if let Some(node) = self.running.remove(&id) {
            node.shutdown().await;
        }
    }

    /// Waits until every node that runs is ready.
    ///
    /// # Errors
    /// When that takes more than a minute.
    pub async fn ready(&self) -> Result<(), Box<dyn Error>> {
        let ready = async {
            while !self.running.values().all(Node::is_ready) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(READY, ready).await.map_err(|_| format!("not ready within {READY:?}").into())
    }
}

/// Runs a test on a runtime of its own.
///
/// # Errors
/// What the test says.
///
/// # Panics
/// Where the system gives no threads.
pub fn block_on(test: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(test)
}

fn free_ports() -> io::Result<Listen> {
    Ok(Listen { http: free_port()?, grpc: free_port()?, peer: free_port()?, admin: free_port()? })
}
