//! What all handlers of a node see.
use crate::{config::NodeConfig, node::NodeServices, observe::Metrics, runtime::Registry, world::Log};
use corduroy_log::{error::LogError, log::Readiness, topic::NodeId, world::RealWorld};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Clone it freely.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    config: NodeConfig,
    metrics: Metrics,
    services: Registry<RealWorld>,
    /// Set once recovery is over.
    log: OnceLock<Log>,
    /// True once the node is about to stop: it should get no more traffic.
    leaving: AtomicBool,
    /// True once the node has begun to stop.
    stop: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(config: NodeConfig, services: Registry<RealWorld>) -> Self {
        let metrics = Metrics::new(config.log.node);
        let (log, leaving, stop) = (OnceLock::new(), AtomicBool::new(false), watch::Sender::new(false));
        Shared(Arc::new(Inner { config, metrics, services, log, leaving, stop }))
    }

    pub(crate) fn config(&self) -> &NodeConfig {
        &self.0.config
    }

    pub(crate) fn node(&self) -> NodeId {
        self.0.config.log.node
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The services of this node.
    pub(crate) fn registry(&self) -> &Registry<RealWorld> {
        &self.0.services
    }

    /// The services of the cluster.
    pub(crate) fn services(&self) -> NodeServices {
        NodeServices::new(&self.0.services)
    }

    /// The log, once it is open.
    pub(crate) fn opened(&self) -> Option<&Log> {
        self.0.log.get()
    }

    /// The log, or why there is none.
    pub(crate) fn log(&self) -> Result<&Log, LogError> {
        let node = self.node();
        self.opened().ok_or_else(|| LogError::Unavailable(format!("node {node} is recovering its log")))
    }

    pub(crate) fn recovered(&self, log: Log) {
        if self.0.log.set(log).is_err() {
            unreachable!("a node opens its log once");
        }
    }

    /// Whatever sends traffic here should begin to send it elsewhere. What comes is still served.
    pub(crate) fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.stop.borrow()
    }

    /// Resolves when the node begins to stop.
    pub(crate) async fn stopping(&self) {
        let mut stop = self.0.stop.subscribe();
        // The sender lives as long as `self`.
        let _ = stop.wait_for(|stopping| *stopping).await;
    }

    /// Everything that must hold before this node should get traffic, by name.
    pub(crate) fn checks(&self) -> Vec<Readiness> {
        let check = |name: &str, ok: bool, detail: &str| Readiness { name: name.into(), ok, detail: detail.into() };
        let Some(log) = self.opened() else {
            return vec![check("recovery", false, "reading the log")];
        };
        let mut checks = vec![check("recovery", true, "done")];
        if self.is_stopping() || self.0.leaving.load(Ordering::Relaxed) {
            checks.push(check("running", false, "shutting down"));
        }
        checks.extend(log.readiness());
        let topics = log.topics();
        for name in self.registry().carried() {
            if !topics.iter().any(|topic| topic.name == name) {
                checks.push(check(&format!("service {name}"), false, "its topic is being made"));
            }
        }
        checks
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.ok)
    }

    /// How long an append may wait for its partition to be less busy.
    pub(crate) fn patience(&self) -> Duration {
        self.0.config.log.timing.append_timeout
    }
}
