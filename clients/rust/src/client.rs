//! The client: configuration, and the one loop that makes a call, waits, and tries again within a deadline.
use crate::{
    Error,
    pool::Pool,
    record::Record,
    retry::{self, Backoff, Kind, Step},
    routes::{NodeEndpoint, PartitionRoute, Routes, Topology},
};
use corduroy_proto::v1::{self, log_client::LogClient};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, transport::Channel};

/// How a client is made; see [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    endpoints: Vec<String>,
    timeout: Duration,
    connect_timeout: Duration,
    window_bytes: usize,
}

impl Builder {
    /// gRPC addresses (`host:port`) of nodes to begin with. One that answers is enough: it names the others.
    pub fn endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Bound on every call, retries included. Default: 15 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bound on making one connection. Default: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Bytes a [`crate::Producer`] may have in flight. Default: 8 MiB.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes.max(1);
        self
    }

    /// Contacts the cluster and learns its nodes.
    ///
    /// # Errors
    /// `Unreachable` when no endpoint answers within the timeout, `Invalid` when there is none or one is no address.
    pub async fn connect(self) -> Result<Client, Error> {
        if self.endpoints.is_empty() {
            return Err(Error::Invalid("no endpoint was given".into()));
        }
        let pool = Pool::new(self.connect_timeout);
        for endpoint in &self.endpoints {
            pool.endpoint(endpoint)?;
        }
        let inner = Inner { pool, routes: Routes::new(self.endpoints.clone()), options: self };
        let client = Client { inner: Arc::new(inner) };
        client.find_any_node().await?;
        Ok(client)
    }
}

/// A connection to a cluster. Clone it freely; clones share connections and what was learned.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Builder,
    pool: Pool,
    routes: Routes,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// The leader of a partition, or who comes closest.
    Leader(&'a str, u32),
    /// This node and no other.
    Only(&'a str),
    /// Any node.
    Any,
}

impl Client {
    /// Begins to configure a client.
    pub fn builder() -> Builder {
        Builder {
            endpoints: Vec::new(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(1),
            window_bytes: 8 << 20,
        }
    }

    /// The nodes, and the partitions of `topic` with their leaders, as the first node that answers knows them.
    ///
    /// # Errors
    /// `UnknownTopic` when no node knows it, `Unreachable`, `Timeout`, `Unavailable`.
    pub async fn topology(&self, topic: &str) -> Result<Topology, Error> {
        let request = v1::MetadataRequest { topic: topic.to_owned() };
        let answer = self
            .call(Target::Any, Kind::Read, |mut node| {
                let request = request.clone();
                async move { Ok(node.metadata(request).await?.into_inner()) }
            })
            .await?;
        let topology = Topology {
            nodes: answer.nodes.into_iter().map(|n| NodeEndpoint { id: n.id, grpc: n.grpc }).collect(),
            partitions: answer.partitions.into_iter().map(route).collect(),
        };
        self.routes().learn(topic, &topology);
        Ok(topology)
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.inner.routes
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.inner.options.timeout
    }

    pub(crate) fn window_bytes(&self) -> usize {
        self.inner.options.window_bytes
    }

    /// Asks every endpoint in turn until one answers.
    async fn find_any_node(&self) -> Result<(), Error> {
        self.topology("").await.map(drop).map_err(|error| match error {
            Error::Timeout(text) | Error::Lost(text) => Error::Unreachable(text),
            other => other,
        })
    }

    /// Makes a call, and makes it again as the rules of [`retry`] allow, until the deadline.
    pub(crate) async fn call<T, F, Fut>(&self, target: Target<'_>, kind: Kind, make: F) -> Result<T, Error>
    where
        F: Fn(LogClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.timeout();
        let mut attempts = Attempts::new(self, target);
        loop {
            let address = attempts.address();
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match timeout(attempt_bound(kind, left), make(self.pool().log(&address)?)).await {
                Ok(Ok(answer)) => {
                    attempts.succeeded(kind, &address);
                    return Ok(answer);
                }
                Ok(Err(status)) => Error::from_status(&status, &address),
                Err(_) => Error::Timeout(format!("{address} did not answer within {left:?}")),
            };
            let pause = attempts.failed(&error, kind, &address);
            match pause {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ if kind == Kind::Write => return Err(attempts.conclude(error).for_write()),
                _ => return Err(attempts.conclude(error)),
            }
        }
    }
}

/// A read is tried elsewhere when a node says nothing for a while; a write waits for its answer as long as it may,
/// because its outcome would be unknown.
fn attempt_bound(kind: Kind, left: Duration) -> Duration {
    match kind {
        Kind::Read => left.min(Duration::from_secs(3)),
        Kind::Write => left,
    }
}

fn route(partition: v1::PartitionMetadata) -> PartitionRoute {
    PartitionRoute { partition: partition.partition, leader: partition.leader, replicas: partition.replicas }
}

/// The attempts of one call: where the next one goes, and after which pause.
pub(crate) struct Attempts<'a> {
    client: &'a Client,
    target: Target<'a>,
    follow: Option<String>,
    followed: u32,
    unknown_topic: usize,
    backoff: Backoff,
    /// What a node said last, as opposed to the silence of others.
    said: Option<Error>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(client: &'a Client, target: Target<'a>) -> Self {
        Attempts { client, target, follow: None, followed: 0, unknown_topic: 0, backoff: Backoff::new(), said: None }
    }

    /// Whom to ask now.
    pub(crate) fn address(&mut self) -> String {
        let routes = self.client.routes();
        match self.target {
            Target::Only(address) => address.to_owned(),
            Target::Any => routes.next_endpoint(),
            Target::Leader(topic, partition) => {
                self.follow.take().or_else(|| routes.leader(topic, partition)).unwrap_or_else(|| routes.next_endpoint())
            }
        }
    }

    /// The node answered. Who took a write leads; who answered a read may be any replica.
    pub(crate) fn succeeded(&mut self, kind: Kind, address: &str) {
        self.backoff.reset();
        self.followed = 0;
        self.unknown_topic = 0;
        self.said = None;
        if let (Target::Leader(topic, partition), Kind::Write) = (self.target, kind) {
            self.client.routes().set_leader(topic, partition, address);
        }
    }

    /// The error to end with: when some node answered, the cluster was reached, and what that node said matters more
    /// than that the one it named is not there.
    pub(crate) fn conclude(&self, error: Error) -> Error {
        match (error, &self.said) {
            (Error::Unreachable(text), Some(said)) => Error::Unavailable(format!("{said}; {text}")),
            (error, _) => error,
        }
    }

    /// The node failed: how long to pause before the next attempt, or `None` when there is to be none.
    pub(crate) fn failed(&mut self, error: &Error, kind: Kind, address: &str) -> Option<Duration> {
        if let Target::Leader(topic, partition) = self.target {
            self.client.routes().forget_leader(topic, partition, address);
        }
        if !matches!(error, Error::Unreachable(_) | Error::Lost(_) | Error::Timeout(_)) {
            self.said = Some(error.clone());
        }
        if let Error::UnknownTopic(_) = error {
            // A node may not have heard of a new topic yet; when all say no, it is no.
            self.unknown_topic += 1;
            if self.unknown_topic >= self.client.routes().endpoints().len() {
                return None;
            }
        }
        match retry::next(error, kind, address) {
            Step::GiveUp => None,
            Step::After(pause) => Some(pause.max(self.backoff.next())),
            Step::Elsewhere if matches!(self.target, Target::Only(_)) && !matches!(error, Error::Unavailable(_)) => {
                None
            }
            Step::Elsewhere => Some(self.backoff.next()),
            Step::Follow(_) if matches!(self.target, Target::Only(_)) => None,
            Step::Follow(leader) => {
                if let (Target::Leader(topic, partition), Error::NotLeader { .. }) = (self.target, error) {
                    self.client.routes().set_leader(topic, partition, &leader);
                }
                self.follow = Some(leader);
                self.followed += 1;
                // The first hints are followed at once; nodes that send each other's clients in circles are not.
                Some(if self.followed <= 2 { Duration::ZERO } else { self.backoff.next() })
            }
        }
    }
}

/// The request form of records.
pub(crate) fn encode(records: Vec<Record>) -> Vec<v1::Record> {
    records.into_iter().map(Into::into).collect()
}
