//! The life of a node: ports first, so that a taken one is found before any file is touched; then the log; then, on the
//! way out, everything in reverse, within a deadline.
use crate::{
    config::NodeConfig,
    gateway, observe, rpc,
    runtime::{Keep, Registry, Service, Services},
    shared::Shared,
    world,
};
use corduroy_log::{RealLog, error::OpenError, topic::Format, world::RealWorld};
use std::{fmt, io, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

/// How often health is looked at for those who watch it.
const HEALTH_EVERY: Duration = Duration::from_millis(200);

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be listened on.
    #[error("cannot listen on {address} for {purpose} (--{flag}): {}", listen_problem(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// [`Builder::config`] was not called.
    #[error("the node has no configuration")]
    NoConfig,
    /// One of the servers ended although nobody asked it to.
    #[error("a server of this node failed: {0}")]
    Server(String),
}

fn listen_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process uses this port".to_owned(),
        _ => error.to_string(),
    }
}

/// The services of a cluster, as a node of the real world speaks to them.
pub type NodeServices = Services<RealWorld>;

type MakeRoutes = Box<dyn FnOnce(NodeServices) -> axum::Router + Send>;

/// How a node is made; see [`Node::builder`].
#[derive(Default)]
pub struct Builder {
    config: Option<NodeConfig>,
    services: Registry<RealWorld>,
    routes: Vec<MakeRoutes>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The configuration.
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Adds a service. All nodes of a cluster should have the same ones; which of them carry it is said by the configuration.
    pub fn service<S: Service + Default>(self) -> Self {
        self.service_with(S::default(), S::PARTITIONS)
    }

    /// Adds a service that is made with settings; its topic gets so many partitions when it is made.
    pub fn service_with<S: Service>(mut self, service: S, partitions: u32) -> Self {
        self.services = self.services.service_with(service, partitions);
        self
    }

    /// For how long the ids of commands are remembered, of services that are added from here on.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.services = self.services.keep(keep);
        self
    }

    /// An event of a peer that is older than this in log time when its turn comes at a service becomes a dead letter (`expired`),
    /// which can be redriven. Of a service that is added from here on; without it events are never too old.
    pub fn max_age(mut self, service: &'static str, max_age: Duration) -> Self {
        self.services = self.services.max_age(service, max_age);
        self
    }

    /// For how long callers wait for an answer, unless they say otherwise: 30 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.services = self.services.patience(patience);
        self
    }

    /// The latest format of events that the services of this build know, 1 unless it is said here: see
    /// [`Decide::format`](crate::runtime::Decide::format). A build that knows less than the cluster has come to does not stay up.
    pub fn format(mut self, format: Format) -> Self {
        self.services = self.services.format(format);
        self
    }

    /// Adds HTTP routes, beside those of every node. They speak to the services of the cluster, wherever these are.
    pub fn routes(mut self, make: impl FnOnce(NodeServices) -> axum::Router + Send + 'static) -> Self {
        self.routes.push(Box::new(make));
        self
    }

    /// Starts the node and returns when its log is recovered. It may not be ready yet: that takes a leader for every
    /// partition, hence other nodes.
    ///
    /// # Errors
    /// A taken port, a locked or foreign data directory, a damaged log.
    pub async fn start(self) -> Result<Node, StartError> {
        let node = self.listen().await?;
        node.open().await?;
        Ok(node)
    }

    /// Starts the node and runs it until the process gets SIGTERM or SIGINT; then shuts it down cleanly.
    ///
    /// # Errors
    /// As [`Builder::start`], and a server that fails later.
    pub async fn run(self) -> Result<(), StartError> {
        self.run_until(observe::signals::terminated()).await
    }

    async fn listen(self) -> Result<Node, StartError> {
        Node::listen(self.config.ok_or(StartError::NoConfig)?, self.services, self.routes).await
    }

    /// As [`Builder::run`], until `end` resolves.
    ///
    /// # Errors
    /// As [`Builder::run`].
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<(), StartError> {
        let mut node = self.listen().await?;
        tokio::pin!(end);
        let outcome = tokio::select! {
            opened = node.open() => match opened {
                Ok(()) => tokio::select! {
                    () = &mut end => Ok(()),
                    failure = node.failed() => Err(failure),
                },
                Err(error) => Err(error.into()),
            },
            () = &mut end => Ok(()),
        };
        node.shutdown().await;
        outcome
    }
}

/// A running node. Dropping it drops its ports without a clean shutdown; see [`Node::shutdown`].
pub struct Node {
    shared: Shared,
    servers: JoinSet<Result<(), String>>,
}

impl Node {
    /// Begins to make a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Whether this node should get traffic: recovered, and every partition it hosts has a leader it hears of.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// The log of this node: to append and read in this process, without a way over the network.
    pub fn log(&self) -> RealLog {
        self.shared.opened().expect("a node is handed out after its log is open").clone()
    }

    /// The services of the cluster: to command and ask in this process, without a way over HTTP.
    pub fn services(&self) -> NodeServices {
        self.shared.services()
    }

    /// Takes the ports and starts to answer on them; until the log is open the answer is "recovering".
    async fn listen(
        mut config: NodeConfig,
        services: Registry<RealWorld>,
        routes: Vec<MakeRoutes>,
    ) -> Result<Self, StartError> {
        services.install(&mut config.log);
        let listen = config.listen;
        let http = bind(listen.http, "HTTP", "listen-http").await?;
        let grpc = bind(listen.grpc, "gRPC clients", "listen-grpc").await?;
        let admin = bind(listen.admin, "operators", "listen-admin").await?;
        // The log listens for peers itself, once it is recovered. That the port is free is better known now.
        drop(bind(listen.peer, "other nodes", "listen-peer").await?);
        let shared = Shared::new(config, services);
        let made = routes.into_iter().map(|make| make(shared.services()));
        let routes = made.fold(axum::Router::new(), axum::Router::merge);
        let mut servers = JoinSet::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        servers.spawn(gateway::serve(http, shared.clone(), routes));
        servers.spawn(rpc::serve_clients(grpc, shared.clone(), health_service));
        servers.spawn(rpc::serve_operators(admin, shared.clone()));
        servers.spawn(watch_health(shared.clone(), health));
        Ok(Node { shared, servers })
    }

    /// Opens the log.
    async fn open(&self) -> Result<(), OpenError> {
        let config = self.shared.config();
        tracing::info!(node = config.log.node, cluster = %config.log.cluster, dir = %config.log.dir.display(), "opening the log");
        let log = world::Log::open(config.log.clone(), world::environment()).await?;
        let listen = config.listen;
        tracing::info!(
            node = log.node(), boot = log.boot_epoch(), http = %listen.http, grpc = %listen.grpc, peer = %listen.peer,
            admin = %listen.admin, "the node is up"
        );
        self.shared.registry().start(&log);
        self.shared.recovered(log);
        Ok(())
    }

    /// Resolves when a server ends, which none does before the node is told to stop.
    async fn failed(&mut self) -> StartError {
        let text = match self.servers.join_next().await {
            Some(Ok(Err(text))) => text,
            Some(Ok(Ok(()))) | None => "it ended".to_owned(),
            Some(Err(panic)) => panic.to_string(),
        };
        StartError::Server(text)
    }

    /// Stops: readiness first, so that nothing new is sent here; then leads are handed over; then what is in flight is
    /// answered; then the log is synced and its directory released. What is not done by the configured deadline is dropped.
    pub async fn shutdown(mut self) {
        let deadline = self.shared.config().shutdown_timeout;
        tracing::info!(node = self.shared.node(), ?deadline, "shutting down");
        self.shared.leave();
        let third = deadline / 3;
        if let Some(log) = self.shared.opened()
            && timeout(third, log.leave()).await.is_err()
        {
            tracing::warn!(after = ?third, "leads are left that nobody took");
        }
        self.shared.stop();
        let drained = timeout(third, async { while self.servers.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(after = ?third, "connections are still open; they are dropped");
            self.servers.shutdown().await;
        }
        if let Some(log) = self.shared.opened()
            && timeout(third, log.shutdown()).await.is_err()
        {
            tracing::warn!(after = ?third, "the log has not come to rest; the next start recovers what is missing");
        }
        tracing::info!(node = self.shared.node(), "stopped");
    }
}

async fn bind(address: SocketAddr, purpose: &'static str, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, flag, source })
}

/// Keeps the health service true, and the metrics from growing while nobody scrapes them.
async fn watch_health(shared: Shared, health: tonic_health::server::HealthReporter) -> Result<(), String> {
    while !shared.is_stopping() {
        rpc::report_health(&health, shared.is_ready()).await;
        shared.metrics().keep_up();
        let _ = timeout(HEALTH_EVERY, shared.stopping()).await;
    }
    rpc::report_health(&health, false).await;
    Ok(())
}
