//! The cluster of a bench: a folder, child processes, and all of it gone at the end.
use super::{Place, mesh::Mesh};
use crate::{
    Node,
    cli::{
        exit::Failure,
        up::{
            child::{Children, Death},
            layout::{Layout, Member},
            wait,
        },
    },
    config::{Flags, NodeConfig, Sources},
    node::NodeServices,
    os, shop,
};
use corduroy_client::{Admin, Client};
use corduroy_log::RealLog;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::time::timeout;

/// Bound on one request of a bench, retries included: longer than any failover, short enough to notice.
const REQUEST: Duration = Duration::from_secs(10);
/// The cluster has this long to be ready, or to stop being of use.
const READY: Duration = Duration::from_secs(120);
/// A node with much state that ends inside this process has this long for its last checkpoints.
const CHECKPOINTS: Duration = Duration::from_secs(1800);
/// A node that is told to end has this long; its own deadline is shorter.
const END: Duration = Duration::from_secs(20);

/// Nodes on this machine that live as long as a bench.
///
/// **Invariant**: [`Cluster::stop`] leaves no process. A bench that is aborted before leaves none either: children end
/// with their parent.
pub(super) struct Cluster {
    layout: Layout,
    children: Children,
    embedded: Option<Node>,
    mesh: Option<Mesh>,
    /// Removed when dropped, which is after the nodes are gone.
    dir: TempDir,
    keep: bool,
}

impl Cluster {
    /// Makes the folder and chooses ports; nothing runs yet.
    pub(super) fn prepare(place: &Place, nodes: u64, services: &[&str]) -> Result<Self, Failure> {
        let inside = |error| Failure::start(format!("cannot make a folder in {}: {error}", place.data.display()));
        let dir =
            tempfile::Builder::new().prefix("corduroy-bench-").disable_cleanup(place.keep).tempdir_in(&place.data);
        let dir = dir.map_err(inside)?;
        let layout = Layout::temporary(dir.path().to_owned(), nodes, services)?;
        Ok(Cluster { layout, children: Children::none(), embedded: None, mesh: None, dir, keep: place.keep })
    }

    /// Puts proxies between the nodes, and between them and the clients if so wanted. Before any node starts.
    pub(super) async fn weave(&mut self, with_clients: bool) -> Result<(), Failure> {
        self.mesh = Some(Mesh::weave(&mut self.layout, with_clients).await?);
        Ok(())
    }

    /// The network between the nodes.
    ///
    /// # Panics
    /// Without [`Cluster::weave`].
    pub(super) fn mesh(&self) -> &Mesh {
        self.mesh.as_ref().expect("it was woven before the nodes were started")
    }

    /// Where the data of one node is.
    pub(super) fn data_of(&self, id: u64) -> PathBuf {
        self.layout.data_of(self.layout.member(id))
    }

    /// The ids of the nodes, from 1.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.layout.members.iter().map(|member| member.id).collect()
    }

    /// The processes of the nodes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.ids().into_iter().filter_map(|id| self.pid(id)).collect()
    }

    /// The process of one node, while it runs.
    pub(super) fn pid(&self, id: u64) -> Option<u32> {
        self.children.pid(id)
    }

    /// Starts all nodes as processes and waits until they can be used.
    pub(super) async fn start_all(&mut self) -> Result<(), Failure> {
        for id in self.ids() {
            self.start(id)?;
        }
        self.until_ready().await
    }

    /// Starts one node as a process.
    pub(super) fn start(&mut self, id: u64) -> Result<(), Failure> {
        self.children.start(&self.layout, self.layout.member(id))
    }

    /// Starts one node inside this process.
    pub(super) async fn embed(&mut self, id: u64) -> Result<RealLog, Failure> {
        let node = Node::builder().config(self.config_of(id)?).start().await?;
        let log = node.log();
        self.embedded = Some(node);
        Ok(log)
    }

    /// Starts one node inside this process, with the services of the shop; ids of commands are forgotten after so long.
    pub(super) async fn embed_shop(&mut self, id: u64, keep: Duration) -> Result<NodeServices, Failure> {
        let mut config = self.config_of(id)?;
        (config.shop.keep.clients, config.shop.keep.gateways) = (keep, keep);
        // In a process that goes on, what is not done in time would keep the data for good.
        config.shutdown_timeout = CHECKPOINTS;
        let builder = shop::with_services(Node::builder(), &config.shop);
        let node = builder.config(config).start().await?;
        let services = node.services();
        self.embedded = Some(node);
        Ok(services)
    }

    /// Ends the node inside this process. It may be started as a process then.
    pub(super) async fn release(&mut self) {
        if let Some(node) = self.embedded.take() {
            node.shutdown().await;
        }
    }

    fn config_of(&self, id: u64) -> Result<NodeConfig, Failure> {
        os::enough_descriptors().map_err(Failure::start)?;
        let data = self.data_of(id);
        let flags = Flags { node_id: Some(id), data: Some(data), insecure_dev: Some(true), ..Flags::default() };
        let config = NodeConfig::load(&Sources { file: Some(self.layout.file()), flags, ..Sources::default() });
        config.map_err(|error| Failure::usage(error.to_string()))
    }

    /// Resolves when every partition has a leader; fails when a node dies or the time is up.
    pub(super) async fn until_ready(&mut self) -> Result<(), Failure> {
        tokio::select! {
            ready = wait::until_ready(&self.layout) => ready,
            death = self.children.next_death() => Err(Failure::start(death.describe(&self.layout))),
            () = tokio::time::sleep(READY) => Err(Failure::start(format!("the cluster was not ready within {READY:?}"))),
        }
    }

    /// Resolves when a node ends that nobody told to.
    pub(super) async fn broken(&mut self) -> Failure {
        let death = self.children.next_death().await;
        Failure::refused(death.describe(&self.layout))
    }

    /// Runs something for as long as no node ends.
    pub(super) async fn while_whole<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            failure = self.broken() => Err(failure),
        }
    }

    /// Kills one node as `kill -9` does, and waits until it is gone. Returns how it ended.
    pub(super) async fn kill(&mut self, id: u64) -> Result<String, Failure> {
        self.children.kill_one(id);
        let death = self.children.next_death().await;
        if death.id == id { Ok(death.how()) } else { Err(self.died(&death)) }
    }

    /// Asks one node to end, and waits until it has.
    pub(super) async fn terminate(&mut self, id: u64) -> Result<(), Failure> {
        self.children.terminate_one(id);
        match timeout(END, self.children.next_death()).await {
            Ok(death) if death.id == id && death.is_clean() => Ok(()),
            Ok(death) => Err(self.died(&death)),
            Err(_) => Err(Failure::refused(format!("node {id} did not end within {END:?}"))),
        }
    }

    fn died(&self, death: &Death) -> Failure {
        Failure::refused(death.describe(&self.layout))
    }

    /// A client of all nodes, through the proxies where there are any for clients.
    pub(super) async fn client(&self, in_flight_bytes: usize) -> Result<Client, Failure> {
        let proxied = |member: &Member| self.mesh.as_ref().and_then(|mesh| mesh.grpc_of(member.id));
        let endpoints = self.layout.members.iter().map(|member| proxied(member).unwrap_or_else(|| member.grpc()));
        Ok(Client::builder().endpoints(endpoints).timeout(REQUEST).in_flight_bytes(in_flight_bytes).connect().await?)
    }

    /// The HTTP addresses of all nodes, by id.
    pub(super) fn http(&self) -> Vec<String> {
        self.layout.members.iter().map(Member::http).collect()
    }

    /// What operators use.
    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(self.layout.members.iter().map(Member::admin), Duration::from_secs(30))?)
    }

    /// The admin address of one node.
    pub(super) fn admin_of(&self, id: u64) -> String {
        self.layout.member(id).admin()
    }

    /// The gRPC address of one node, without any proxy.
    pub(super) fn grpc_of(&self, id: u64) -> String {
        self.layout.member(id).grpc()
    }

    /// Ends all nodes and removes the folder, unless it is to be kept.
    pub(super) async fn stop(mut self) {
        // The embedded one first: while the others live it has nobody to wait for.
        self.release().await;
        self.children.kill().await;
        if self.keep {
            let dir: PathBuf = self.dir.path().to_owned();
            eprintln!("kept {}", dir.display());
        }
    }
}
