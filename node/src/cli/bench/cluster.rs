//! The cluster of a bench: a folder, child processes, and all of it gone at the end.
use super::Place;
use crate::{
    Node,
    cli::{
        exit::Failure,
        up::{
            child::Children,
            layout::{Layout, Member},
            wait,
        },
    },
    config::{Flags, NodeConfig, Sources},
    os,
};
use corduroy_client::{Admin, Client};
use corduroy_log::RealLog;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// Bound on one request of a bench, retries included: longer than any failover, short enough to notice.
const REQUEST: Duration = Duration::from_secs(10);
/// The cluster has this long to be ready, or to stop being of use.
const READY: Duration = Duration::from_secs(60);

/// Nodes on this machine that live as long as a bench.
///
/// **Invariant**: [`Cluster::stop`] leaves no process. A bench that is aborted before leaves none either: children end
/// with their parent.
pub(super) struct Cluster {
    layout: Layout,
    children: Children,
    embedded: Option<Node>,
    /// Removed when dropped, which is after the nodes are gone.
    dir: TempDir,
    keep: bool,
}

impl Cluster {
    /// Makes the folder and chooses ports; nothing runs yet.
    pub(super) fn prepare(place: &Place, nodes: u64) -> Result<Self, Failure> {
        let inside = |error| Failure::start(format!("cannot make a folder in {}: {error}", place.data.display()));
        std::fs::create_dir_all(&place.data).map_err(inside)?;
        let dir =
            tempfile::Builder::new().prefix("corduroy-bench-").disable_cleanup(place.keep).tempdir_in(&place.data);
        let dir = dir.map_err(inside)?;
        let layout = Layout::temporary(dir.path().to_owned(), nodes)?;
        Ok(Cluster { layout, children: Children::none(), embedded: None, dir, keep: place.keep })
    }

    /// Where the data is.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The ids of the nodes, from 1.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.layout.members.iter().map(|member| member.id).collect()
    }

    /// The processes of the nodes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.ids().into_iter().filter_map(|id| self.children.pid(id)).collect()
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
        os::enough_descriptors().map_err(Failure::start)?;
        let data = self.layout.data_of(self.layout.member(id));
        let flags = Flags { node_id: Some(id), data: Some(data), insecure_dev: Some(true), ..Flags::default() };
        let config = NodeConfig::load(&Sources { file: Some(self.layout.file()), flags, ..Sources::default() });
        let config = config.map_err(|error| Failure::usage(error.to_string()))?;
        let node = Node::builder().config(config).start().await?;
        let log = node.log();
        self.embedded = Some(node);
        Ok(log)
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

    /// Kills one node as `kill -9` does, and waits until it is gone.
    pub(super) async fn kill(&mut self, id: u64) -> Result<(), Failure> {
        self.children.kill_one(id);
        let death = self.children.next_death().await;
        if death.id == id { Ok(()) } else { Err(Failure::refused(death.describe(&self.layout))) }
    }

    /// A client of all nodes.
    pub(super) async fn client(&self, window_bytes: usize) -> Result<Client, Failure> {
        let endpoints = self.layout.members.iter().map(Member::grpc);
        Ok(Client::builder().endpoints(endpoints).timeout(REQUEST).window_bytes(window_bytes).connect().await?)
    }

    /// What operators use.
    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(self.layout.members.iter().map(Member::admin), Duration::from_secs(30))?)
    }

    /// The admin address of one node.
    pub(super) fn admin_of(&self, id: u64) -> String {
        self.layout.member(id).admin()
    }

    /// Ends all nodes and removes the folder, unless it is to be kept.
    pub(super) async fn stop(mut self) {
        // The embedded one first: while the others live it has nobody to wait for.
        if let Some(node) = self.embedded.take() {
            node.shutdown().await;
        }
        self.children.kill().await;
        if self.keep {
            let dir: PathBuf = self.dir.path().to_owned();
            eprintln!("kept {}", dir.display());
        }
    }
}
