//! Three nodes that form a cluster.
use super::{NodeProcess, PATIENCE, Ports, machine};
use corduroy_client::{Admin, Client, ClusterStatus, Error};
use std::{fmt::Write as _, sync::MutexGuard, time::Duration};
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

/// The topic of the tests.
pub const TOPIC: &str = "order";

/// Bound on a client's call, retries included: longer than an election, shorter than a test.
const CALL: Duration = Duration::from_secs(4);

/// A cluster of real processes; node `i` is `nodes[i - 1]`.
pub struct Cluster {
    /// The nodes, by id.
    pub nodes: Vec<NodeProcess>,
    /// The cluster's identity.
    pub id: Uuid,
    dir: TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts three nodes and waits until each is ready.
    pub fn start() -> Self {
        let mut cluster = Self::configured();
        cluster.start_all();
        cluster
    }

    /// Three nodes with ports and configuration, none of them running.
    ///
    /// Segments are small, so that every run crosses several of them.
    pub fn configured() -> Self {
        let none: Option<&[&str]> = Some(&["none"]);
        Self::of(
            &[none; 3],
            "[limits]\nrecord = \"64KiB\"\nbatch = \"256KiB\"\nin_flight = \"1MiB\"\nsegment = \"1MiB\"\nhot_tail = \"64KiB\"\n",
        )
    }

    /// Nodes that carry these services (`None`: all), with these lines in their configuration; none of them running.
    pub fn of(services: &[Option<&[&str]>], lines: &str) -> Self {
        let machine = machine();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (id, config) = (Uuid::new_v4(), dir.path().join("cluster.toml"));
        let ports: Vec<Ports> = services.iter().map(|_| Ports::free()).collect();
        std::fs::write(&config, configuration(id, &ports, services, lines)).expect("a temporary file");
        let nodes = (1..).zip(ports).map(|(id, ports)| NodeProcess::new(id, ports, &config, dir.path())).collect();
        Cluster { nodes, id, dir, _machine: machine }
    }

    /// The directory that holds everything of this cluster.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Starts those that do not run, and waits until all are ready.
    pub fn start_all(&mut self) {
        self.nodes.iter_mut().filter(|node| !node.is_running()).for_each(NodeProcess::start);
        self.nodes.iter_mut().for_each(NodeProcess::wait_ready);
    }

    /// A node by id.
    pub fn node(&mut self, id: u64) -> &mut NodeProcess {
        self.nodes.iter_mut().find(|node| node.id == id).expect("ids are 1, 2, 3")
    }

    /// gRPC addresses of all nodes.
    pub fn grpc(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.grpc)).collect()
    }

    /// A client of its own: own connections, own knowledge of leaders.
    pub async fn client(&self) -> Client {
        let client = Client::builder().endpoints(self.grpc()).timeout(CALL).connect().await;
        client.unwrap_or_else(|error| panic!("no client: {error}\n{}", self.logs()))
    }

    /// The operators' client.
    pub fn admin(&self) -> Admin {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.admin));
        Admin::new(addresses, Duration::from_secs(15)).expect("addresses of this machine")
    }

    /// Creates the topic of the tests, replicated three times, and waits until every partition has a leader.
    pub async fn create_topic(&self, partitions: u32) {
        let created = self.admin().create_topic(TOPIC, partitions, Some(3)).await;
        created.unwrap_or_else(|error| panic!("the topic was not created: {error}\n{}", self.logs()));
        self.leaders(partitions).await;
    }

    /// The leader of every partition of the topic, by partition, as soon as all have one that runs and is reachable.
    pub async fn leaders(&self, partitions: u32) -> Vec<u64> {
        self.leaders_if(partitions, |_| true).await
    }

    /// As [`Cluster::leaders`], as soon as none of them is led by `gone`.
    pub async fn leaders_without(&self, partitions: u32, gone: u64) -> Vec<u64> {
        self.leaders_if(partitions, |leaders| !leaders.contains(&gone)).await
    }

    async fn leaders_if(&self, partitions: u32, wanted: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.admin().cluster().await.map(|status| leaders_of(&status));
            match seen {
                Ok(leaders) if leaders.len() == partitions as usize => {
                    let known: Option<Vec<u64>> = leaders.iter().copied().collect();
                    if let Some(leaders) = known.filter(|leaders| wanted(leaders)) {
                        return leaders;
                    }
                }
                seen => {
                    assert!(Instant::now() < deadline, "leaders of {partitions} partitions: {seen:?}\n{}", self.logs())
                }
            }
            assert!(Instant::now() < deadline, "no such leaders within {PATIENCE:?}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The end offset of every replica of the topic: (node, partition, end), of the nodes that answer.
    pub async fn ends(&self) -> Result<Vec<(u64, u32, u64)>, Error> {
        let admin = self.admin();
        let mut ends = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            let status = admin.node_status(&format!("127.0.0.1:{}", node.ports.admin)).await?;
            let of_topic = status.partitions.iter().filter(|partition| partition.topic == TOPIC);
            ends.extend(of_topic.map(|partition| (node.id, partition.partition, partition.end_offset)));
        }
        Ok(ends)
    }

    /// SIGTERM to all, and proof that each ended with 0.
    pub fn shut_down(&mut self) {
        self.nodes.iter().filter(|node| node.is_running()).for_each(NodeProcess::terminate);
        for node in self.nodes.iter_mut().filter(|node| node.is_running()) {
            node.wait().assert(0, &[]);
        }
    }

    /// The last lines of every node's log, for messages.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            // Writing to a String does not fail.
            let _ = writeln!(text, "--- node {}, last lines of its log:\n{}", node.id, node.log_tail());
        }
        text
    }
}

fn leaders_of(status: &ClusterStatus) -> Vec<Option<u64>> {
    let mut found: Vec<_> = status.partitions.iter().filter(|partition| partition.topic == TOPIC).collect();
    found.sort_by_key(|partition| partition.partition);
    found.into_iter().map(|partition| partition.leader).collect()
}

fn configuration(cluster: Uuid, ports: &[Ports], services: &[Option<&[&str]>], lines: &str) -> String {
    let mut text = format!("cluster_id = \"{cluster}\"\n\n{lines}");
    for ((id, ports), services) in (1u64..).zip(ports).zip(services) {
        let Ports { http, grpc, peer, admin } = ports;
        text.push_str(&format!(
            "\n[[nodes]]\nid = {id}\npeer = \"127.0.0.1:{peer}\"\ngrpc = \"127.0.0.1:{grpc}\"\n\
             http = \"127.0.0.1:{http}\"\nadmin = \"127.0.0.1:{admin}\"\n",
        ));
        if let Some(services) = services {
            text.push_str(&format!("services = {services:?}\n"));
        }
    }
    text
}
