//! A cluster in the real world, inside this process: for tests of what is built on the log, where virtual time is no help.
use crate::{
    RealLog,
    config::{Config, Limits, NodeAddress, Timing},
    error::{LogError, OpenError},
    partition::Ack,
    record::NewRecord,
    topic::{ClusterId, NodeId},
    world::Env,
};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// Bound on everything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Ports are taken from here on: below the range from which the kernel takes those of outgoing connections, so that a node
/// that is started again finds its own free.
const PORTS: u16 = 10_000;
const PORT_COUNT: u16 = 20_000;

/// Nodes 1 to n of one cluster, with files in a temporary folder and sockets on loopback. They are small, and elect quickly.
///
/// For faults that end a process, start processes; for time, crashes and networks at will there is
/// [`SimCluster`](super::SimCluster).
///
/// # Example
/// ```
/// use corduroy_log::{NewRecord, NewTopic, testing::Cluster};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = Cluster::start(3).await?;
/// let log = cluster.log(1).expect("it was started");
/// log.create_topic(NewTopic::new("order", 2)).await?;
/// let ack = cluster.append("order", 1, vec![NewRecord::new("placed")]).await?;
/// assert_eq!(ack.first_offset, 0);
/// # Ok(())
/// # })
/// # }
/// ```
pub struct Cluster {
    configs: BTreeMap<NodeId, Config>,
    logs: BTreeMap<NodeId, RealLog>,
    _dir: TempDir,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("running", &self.logs.keys()).finish_non_exhaustive()
    }
}

/// Why a [`Cluster`] does not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no temporary folder, or no port that is free.
    #[error("no place for a node: {0}")]
    Place(#[from] io::Error),
    /// A node's log does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A node is not ready in time. The text says what is missing.
    #[error("node {0} is not ready after a minute: {1}")]
    NotReady(NodeId, String),
}

impl Cluster {
    /// Starts so many nodes and waits until all are ready.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start(nodes: u64) -> Result<Self, ClusterError> {
        let dir = tempfile::tempdir()?;
        let address = |id: NodeId| Ok(NodeAddress::new(id, free_port()?.to_string()));
        let addresses = (1..=nodes).map(address).collect::<io::Result<Vec<_>>>()?;
        let id = ClusterId(rand::random());
        let config = |node: NodeId| {
            let place = dir.path().join(format!("node-{node}"));
            (node, quick(Config::new(place, id, node, addresses.clone())))
        };
        let configs = (1..=nodes).map(config).collect();
        let mut cluster = Cluster { configs, logs: BTreeMap::new(), _dir: dir };
        for node in 1..=nodes {
            cluster.open(node).await?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// The log of a node that runs.
    pub fn log(&self, node: NodeId) -> Option<&RealLog> {
        self.logs.get(&node)
    }

    /// Opens the log of a node, which does not run.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Panics
    /// When the cluster has no such node.
    pub async fn open(&mut self, node: NodeId) -> Result<(), OpenError> {
        let config = self.configs.get(&node).expect("a node of the cluster").clone();
        self.logs.insert(node, RealLog::open(config, Env::real()).await?);
        Ok(())
    }

    /// Shuts the log of a node down, cleanly.
    pub async fn stop(&mut self, node: NodeId) {
        if let Some(log) = self.logs.remove(&node) {
            log.shutdown().await;
        }
    }

    /// Waits until every node that runs is ready.
    ///
    /// # Errors
    /// [`ClusterError::NotReady`] after a minute.
    pub async fn ready(&self) -> Result<(), ClusterError> {
        for (node, log) in &self.logs {
            if tokio::time::timeout(PATIENCE, log.ready()).await.is_err() {
                let open = log.readiness().into_iter().filter(|check| !check.ok);
                let open: Vec<String> = open.map(|check| format!("{}: {}", check.name, check.detail)).collect();
                return Err(ClusterError::NotReady(*node, open.join("; ")));
            }
        }
        Ok(())
    }

    /// Appends through whichever node leads.
    ///
    /// # Errors
    /// Those of [`Partition::append`](crate::Partition::append). That nobody leads, or the partition is being opened, is one
    /// only after a minute.
    pub async fn append(&self, topic: &str, partition: u32, records: Vec<NewRecord>) -> Result<Ack, LogError> {
        let mut last = LogError::Unavailable("no node runs".into());
        let attempts = async {
            loop {
                for log in self.logs.values() {
                    let answer = match log.partition(topic, partition) {
                        Ok(partition) => partition.append(records.clone()).await,
                        Err(error) => Err(error),
                    };
                    match answer {
                        Err(error) if !is_elsewhere(&error) => return Err(error),
                        Err(error) => last = error,
                        Ok(ack) => return Ok(ack),
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, attempts).await;
        done.unwrap_or(Err(last))
    }
}

/// Whether it is certainly not appended, and another node may do it, or this one in a moment. A node may not have heard of a new
/// topic yet.
fn is_elsewhere(error: &LogError) -> bool {
    matches!(
        error,
        LogError::NotLeader { .. }
            | LogError::NotHosted { .. }
            | LogError::Unavailable(_)
            | LogError::UnknownTopic(_)
            | LogError::Stopped(_)
    )
}

/// A configuration for tests: small files, quick elections.
pub fn quick(config: Config) -> Config {
    let ms = Duration::from_millis;
    let limits = Limits { segment_bytes: 16 << 20, reserve_bytes: 1 << 20, ..config.limits };
    let timing = Timing { heartbeat: ms(40), election_min: ms(150), election_max: ms(250), ..config.timing };
    Config { limits, timing, ..config }
}

/// A port nobody listens on. Never given out twice by this process; other processes begin elsewhere.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> io::Result<SocketAddr> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = u64::from(std::process::id()) * 613;
    for _ in 0..PORT_COUNT {
        let taken = u64::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u64::from(PORTS) + (start + taken) % u64::from(PORT_COUNT);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("below 30000")));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::other("no free port"))
}
