//! The client: configuration, and the loops that make a call, wait, and try again within a deadline.
use crate::{
    Error, Producer,
    leaders::Searches,
    pool::Pool,
    record::Record,
    retry::{self, Backoff, Kind, Step, is_doubtful},
    routes::{Leader, Lost, PartitionRoute, Routes, Topology},
    slots::Slots,
};
use corduroy_proto::v1::{self, log_client::LogClient};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, transport::Channel};

/// Bound on an attempt that may be made again elsewhere.
const ATTEMPT: Duration = Duration::from_secs(3);
/// A leader that has said nothing for so long is doubted: the others are asked whether there is a newer one.
pub(crate) const SILENCE: Duration = Duration::from_millis(250);

/// How a client is made; see [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    endpoints: Vec<String>,
    timeout: Duration,
    connect_timeout: Duration,
    in_flight_bytes: usize,
    name: Option<String>,
}

impl Builder {
    /// gRPC addresses (`host:port`) of nodes to begin with. One that answers is enough: it names the others.
    ///
    /// ```
    /// let builder = corduroy_client::Client::builder().endpoints(["127.0.0.1:7001", "127.0.0.1:7002"]);
    /// ```
    pub fn endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Bound on every call, retries included; also on how long a [`Producer`] tries to append a record. Default: 15 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = corduroy_client::Client::builder().timeout(Duration::from_secs(5));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bound on making one connection. Default: 1 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = corduroy_client::Client::builder().connect_timeout(Duration::from_millis(200));
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Bytes of records that a [`Producer`] may hold: waiting, sent and not yet acknowledged. Above it `send` waits.
    /// Default: 32 MiB.
    ///
    /// ```
    /// let builder = corduroy_client::Client::builder().in_flight_bytes(4 << 20);
    /// ```
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes.max(1);
        self
    }

    /// What this client calls itself, for people who look at a node's connections: part of the `user-agent`. Visible ASCII.
    ///
    /// ```
    /// let builder = corduroy_client::Client::builder().name("billing/1.4");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Contacts the cluster and learns its nodes.
    ///
    /// # Errors
    /// `Unreachable` when no endpoint answers within the timeout, `Invalid` when there is none, or one is no address.
    ///
    /// ```
    #[doc = include_str!("../doc/cluster.rs")]
    /// let client = corduroy_client::Client::builder().endpoints(cluster.grpc()).connect().await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn connect(self) -> Result<Client, Error> {
        if self.endpoints.is_empty() {
            return Err(Error::Invalid("no endpoint was given".into()));
        }
        let pool = Pool::new(self.connect_timeout, self.name.as_deref())?;
        for endpoint in &self.endpoints {
            pool.endpoint(endpoint)?;
        }
        let inner = Inner {
            pool,
            routes: Routes::new(self.endpoints.clone()),
            searches: Searches::default(),
            appenders: Mutex::default(),
            slots: Slots::default(),
            options: self,
        };
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
    searches: Searches,
    /// The producers behind [`Client::append`], by topic.
    appenders: Mutex<HashMap<String, Producer>>,
    slots: Slots,
}

impl Client {
    /// Begins to configure a client.
    ///
    /// ```
    #[doc = include_str!("../doc/cluster.rs")]
    /// let client = corduroy_client::Client::builder()
    ///     .endpoints(cluster.grpc())
    ///     .timeout(std::time::Duration::from_secs(5))
    ///     .connect()
    ///     .await?;
    /// # Ok(()) }) }
    /// ```
    pub fn builder() -> Builder {
        Builder {
            endpoints: Vec::new(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(1),
            in_flight_bytes: 32 << 20,
            name: None,
        }
    }

    /// The nodes, and the partitions of `topic` with their leaders, as the first node that answers knows them.
    ///
    /// # Errors
    /// `UnknownTopic` when no node knows it, `Unreachable`, `Timeout`, `Unavailable`.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let topology = client.topology("orders").await?;
    /// let leader = topology.partitions[0].leader.expect("it has one");
    /// println!("orders/0 is led by node {leader} at {:?}", topology.address(leader));
    /// # Ok(()) }) }
    /// ```
    pub async fn topology(&self, topic: &str) -> Result<Topology, Error> {
        let deadline = Instant::now() + self.timeout();
        let (mut backoff, mut unknown) = (Backoff::new(), 0);
        loop {
            let address = self.routes().next_endpoint();
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.ask_topology(&address, topic, left.min(ATTEMPT)).await {
                Ok(topology) => return Ok(topology),
                Err(error) => error,
            };
            // A node may not have heard of a new topic yet; when all say no, it is no.
            unknown += usize::from(matches!(error, Error::UnknownTopic(_)));
            let pause = match retry::next(&error, Kind::Read, &address) {
                _ if unknown >= self.routes().endpoints().len() => None,
                Step::GiveUp => None,
                Step::After(pause) => Some(pause),
                Step::Follow(_) | Step::Elsewhere => Some(backoff.next()),
            };
            match pause {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    /// How many partitions a topic has. Asked once: it is fixed for the life of a topic.
    ///
    /// # Errors
    /// As [`Client::topology`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// assert_eq!(client.partitions("orders").await?, 2);
    /// # Ok(()) }) }
    /// ```
    pub async fn partitions(&self, topic: &str) -> Result<u32, Error> {
        match self.routes().partitions(topic) {
            Some(count) => Ok(count),
            None => Ok(u32::try_from(self.topology(topic).await?.partitions.len()).unwrap_or(u32::MAX)),
        }
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.inner.routes
    }

    pub(crate) fn searches(&self) -> &Searches {
        &self.inner.searches
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.inner.options.timeout
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.inner.options.in_flight_bytes
    }

    /// The producer behind [`Client::append`].
    pub(crate) fn appender(&self, topic: &str) -> Producer {
        let mut appenders = self.inner.appenders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(appender) = appenders.get(topic) {
            return appender.clone();
        }
        let appender = self.producer(topic).shared().build();
        appenders.insert(topic.to_owned(), appender.clone());
        appender
    }

    /// Asks every endpoint in turn until one answers.
    async fn find_any_node(&self) -> Result<(), Error> {
        self.topology("").await.map(drop).map_err(|error| match error {
            Error::Timeout(text) | Error::Lost(text) => Error::Unreachable(text),
            other => other,
        })
    }

    /// Makes a call at the leader of a partition, and makes it again as the rules of [`retry`] allow, until the deadline.
    pub(crate) async fn at_leader<T, F, Fut>(
        &self,
        (topic, partition): (&str, u32),
        kind: Kind,
        make: F,
    ) -> Result<T, Error>
    where
        F: Fn(LogClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.timeout();
        let (mut lost, mut hint, mut hints) = (None::<Lost>, None, 0);
        let (mut backoff, mut said, mut doubt) = (Backoff::new(), None::<Error>, false);
        loop {
            let leader = match hint.take() {
                Some(address) => Leader { address, term: 0 },
                None => {
                    let found = self.find_leader_by(deadline, topic, partition, lost.as_ref()).await;
                    found.map_err(|error| kind.conclude(or_said(error, said.take()), doubt))?
                }
            };
            let error = match self.attempt(&leader, (topic, partition), kind, deadline, &make).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let step = retry::next(&error, kind, &leader.address);
            doubt |= is_doubtful(&error);
            if !matches!(error, Error::Unreachable(_) | Error::Lost(_) | Error::Timeout(_)) {
                said = Some(error.clone());
            }
            let pause = match step {
                Step::GiveUp => return Err(kind.conclude(error, doubt)),
                Step::After(pause) => pause.max(backoff.next()),
                // The first hints are followed at once; nodes that send each other's clients in circles are not.
                Step::Follow(address) if hints < 2 && !is_lost(lost.as_ref(), &address) => {
                    hints += 1;
                    hint = Some(address);
                    Duration::ZERO
                }
                Step::Follow(_) | Step::Elsewhere => {
                    self.routes().forget(topic, partition, &leader);
                    lost = Some(Lost { leader, since: Instant::now() });
                    hints = 0;
                    backoff.next()
                }
            };
            if Instant::now() + pause >= deadline {
                return Err(kind.conclude(or_said(error, said), doubt));
            }
            sleep(pause).await;
        }
    }

    /// One attempt. One that may be repeated is given up when somebody else leads meanwhile, or after a while.
    async fn attempt<T, F, Fut>(
        &self,
        leader: &Leader,
        (topic, partition): (&str, u32),
        kind: Kind,
        deadline: Instant,
        make: &F,
    ) -> Result<T, Error>
    where
        F: Fn(LogClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let address = &leader.address;
        let left = deadline.saturating_duration_since(Instant::now());
        let bound = if kind.may_repeat() { left.min(ATTEMPT) } else { left };
        let call = timeout(bound, make(self.pool().log(address)?));
        let newer = async {
            sleep(SILENCE).await;
            self.newer_leader(topic, partition, leader).await
        };
        tokio::select! {
            biased;
            answer = call => match answer {
                Ok(answer) => answer.map_err(|status| Error::from_status(&status, address)),
                Err(_) => Err(Error::Timeout(format!("{address} did not answer within {bound:?}"))),
            },
            newer = newer, if kind.may_repeat() => {
                Err(Error::Lost(format!("{address} says nothing, and {} leads now", newer.address)))
            }
        }
    }

    /// Makes a call that any replica can answer: at the leader, if one is known, then at others; or at one node alone.
    pub(crate) async fn at_any<T, F, Fut>(
        &self,
        (topic, partition): (&str, u32),
        only: Option<&str>,
        make: F,
    ) -> Result<T, Error>
    where
        F: Fn(LogClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.timeout();
        let mut places = Places::new(self, (topic, partition), only);
        loop {
            let address = places.next();
            let bound = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT);
            let error = match timeout(bound, make(self.pool().log(&address)?)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => Error::from_status(&status, &address),
                Err(_) => Error::Timeout(format!("{address} did not answer within {bound:?}")),
            };
            match places.failed(&error, &address) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => return Err(places.conclude(error)),
            }
        }
    }
}

/// When some node answered, the cluster was reached: what that node said matters more than that the one it named is not
/// there.
fn or_said(error: Error, said: Option<Error>) -> Error {
    match (error, said) {
        (Error::Unreachable(text), Some(said)) => Error::Unavailable(format!("{said}; {text}")),
        (error, _) => error,
    }
}

fn is_lost(lost: Option<&Lost>, address: &str) -> bool {
    lost.is_some_and(|lost| lost.leader.address == address)
}

pub(crate) fn route(partition: v1::PartitionMetadata) -> PartitionRoute {
    let v1::PartitionMetadata { partition, leader, replicas, term } = partition;
    PartitionRoute { partition, leader, term, replicas }
}

/// Where something is asked for that any replica can answer, one place after the other.
pub(crate) struct Places<'a> {
    client: &'a Client,
    partition: (&'a str, u32),
    only: Option<&'a str>,
    /// Where a node pointed to.
    follow: Option<String>,
    followed: u32,
    /// The leader has been asked.
    begun: bool,
    unknown_topic: usize,
    backoff: Backoff,
    /// What a node said last, as opposed to the silence of others.
    said: Option<Error>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(client: &'a Client, partition: (&'a str, u32), only: Option<&'a str>) -> Self {
        let (follow, said, backoff) = (None, None, Backoff::new());
        Places { client, partition, only, follow, followed: 0, begun: false, unknown_topic: 0, backoff, said }
    }

    /// The leader was asked before, in vain.
    pub(crate) fn pass_over_leader(&mut self) {
        self.begun = true;
    }

    /// Whom to ask now.
    pub(crate) fn next(&mut self) -> String {
        if let Some(only) = self.only {
            return only.to_owned();
        }
        let routes = self.client.routes();
        let (topic, partition) = self.partition;
        let leader = if self.begun { None } else { routes.leader(topic, partition, None) };
        self.begun = true;
        let follow = self.follow.take().or(leader.map(|leader| leader.address));
        follow.unwrap_or_else(|| routes.next_endpoint())
    }

    /// The node answered: the next failure is the first.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.reset();
        (self.followed, self.unknown_topic, self.begun, self.said) = (0, 0, false, None);
    }

    /// How long to pause before the next attempt, or `None` when there is to be none.
    pub(crate) fn failed(&mut self, error: &Error, address: &str) -> Option<Duration> {
        if !matches!(error, Error::Unreachable(_) | Error::Lost(_) | Error::Timeout(_)) {
            self.said = Some(error.clone());
        }
        // A node may not have heard of a new topic yet; when all say no, it is no.
        self.unknown_topic += usize::from(matches!(error, Error::UnknownTopic(_)));
        if self.unknown_topic >= self.client.routes().endpoints().len() {
            return None;
        }
        let only = self.only.is_some();
        match retry::next(error, Kind::Read, address) {
            Step::GiveUp => None,
            Step::After(pause) => Some(pause.max(self.backoff.next())),
            Step::Elsewhere if only && !matches!(error, Error::Unavailable(_)) => None,
            Step::Elsewhere => Some(self.backoff.next()),
            Step::Follow(_) if only => None,
            Step::Follow(there) => {
                self.follow = Some(there);
                self.followed += 1;
                Some(if self.followed <= 2 { Duration::ZERO } else { self.backoff.next() })
            }
        }
    }

    /// The error to end with.
    pub(crate) fn conclude(&self, error: Error) -> Error {
        or_said(error, self.said.clone())
    }
}

/// The request form of records.
pub(crate) fn encode(records: Vec<Record>) -> Vec<v1::Record> {
    let header = |header: crate::Header| v1::Header { name: header.name, value: header.value };
    let record = |Record { key, headers, value }| {
        let headers = if headers.is_empty() { Vec::new() } else { headers.into_iter().map(header).collect() };
        v1::Record { key, headers, value }
    };
    records.into_iter().map(record).collect()
}
