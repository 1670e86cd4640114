//! What operators ask: the state of the cluster, and changes to its topics.
use crate::{
    Error,
    pool::Pool,
    retry::{self, Backoff, Kind, Step, is_doubtful},
};
use corduroy_proto::v1::{self, admin_client::AdminClient};
use std::{collections::BTreeMap, future::Future, sync::Mutex, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, transport::Channel};

/// Bound on asking one node how it is.
const STATUS: Duration = Duration::from_secs(2);

/// A client of the admin ports. Any node answers for the cluster.
#[derive(Debug)]
pub struct Admin {
    pool: Pool,
    /// The node that answered last comes first.
    endpoints: Mutex<Vec<String>>,
    timeout: Duration,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Replicas per partition.
    pub replication: u32,
    /// Whether it knows where each key has its last record, for [`crate::Client::append_if_key`].
    pub key_index: bool,
    /// Only nodes that carry this service have replicas; `None`: any node.
    pub service: Option<String>,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Up to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit.
    pub name: String,
    /// At least 1; fixed for the life of the topic.
    pub partitions: u32,
    /// Replicas per partition. `None`: 3, or the number of nodes where there are fewer.
    pub replication: Option<u32>,
    /// Keep where each key has its last record, for [`crate::Client::append_if_key`]. Costs memory for every key.
    pub key_index: bool,
    /// Only nodes that carry this service get replicas; `None`: any node.
    pub service: Option<String>,
}

impl NewTopic {
    /// A topic with this name and so many partitions, and everything else as usual.
    ///
    /// ```
    /// # use corduroy_client::NewTopic;
    /// let accounts = NewTopic { key_index: true, ..NewTopic::new("accounts", 4) };
    /// assert_eq!((accounts.partitions, accounts.replication), (4, None));
    /// ```
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        NewTopic { name: name.into(), partitions, replication: None, key_index: false, service: None }
    }
}

/// A node, as the cluster map and the node itself describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: u64,
    /// host:port of HTTP.
    pub http: String,
    /// host:port of gRPC.
    pub grpc: String,
    /// host:port for operators.
    pub admin: String,
    /// Its process, when it answers.
    pub pid: Option<u32>,
    /// Whether it says that it should get traffic; false when it does not answer.
    pub ready: bool,
    /// What it is waiting for, in its words.
    pub waiting_for: Vec<String>,
    /// The file system of its data directory, when it answers and has opened its log.
    pub disk: Option<DiskView>,
}

/// Room on a node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskView {
    /// `plenty`, `low` (appends are refused) or `full` (there is no room for another segment, either).
    pub space: String,
    /// Bytes free.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// A partition, as the replica that knows best describes it: its leader, or the one with the newest term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Topic name; `_cluster` is the cluster map's.
    pub topic: String,
    /// Its number in the topic.
    pub partition: u32,
    /// Who leads. `None` when nobody that answers knows a live leader.
    pub leader: Option<u64>,
    /// Term.
    pub term: u64,
    /// Nodes with a replica.
    pub replicas: Vec<u64>,
    /// First offset kept.
    pub start_offset: u64,
    /// First offset that cannot be read yet.
    pub end_offset: u64,
}

/// The whole cluster at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// By id; nodes that do not answer are among them.
    pub nodes: Vec<NodeView>,
    /// By topic and number.
    pub partitions: Vec<PartitionView>,
    /// By name.
    pub topics: Vec<TopicInfo>,
}

impl ClusterStatus {
    /// Whether every node is ready and every partition has a leader.
    ///
    /// ```
    /// # use corduroy_client::{ClusterStatus, PartitionView};
    /// let leaderless = PartitionView {
    ///     topic: "orders".into(),
    ///     partition: 0,
    ///     leader: None,
    ///     term: 7,
    ///     replicas: vec![1, 2, 3],
    ///     start_offset: 0,
    ///     end_offset: 12,
    /// };
    /// assert!(!ClusterStatus { partitions: vec![leaderless], ..ClusterStatus::default() }.is_ready());
    /// ```
    pub fn is_ready(&self) -> bool {
        self.nodes.iter().all(|node| node.ready) && self.partitions.iter().all(|p| p.leader.is_some())
    }
}

impl Admin {
    /// A client of these admin addresses (`host:port`); one that answers is enough. Connects when first used.
    ///
    /// # Errors
    /// `Invalid` when there is none, or one is no address.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use corduroy_client::Admin;
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let _entered = runtime.enter();
    /// let admin = Admin::new(["127.0.0.1:7201", "127.0.0.1:7202"], Duration::from_secs(15));
    /// assert!(admin.is_ok());
    /// assert!(Admin::new(["no address"], Duration::from_secs(15)).is_err());
    /// ```
    pub fn new<I>(endpoints: I, timeout: Duration) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let pool = Pool::new(Duration::from_secs(1), None)?;
        for endpoint in &endpoints {
            pool.endpoint(endpoint)?;
        }
        if endpoints.is_empty() {
            return Err(Error::Invalid("no admin address was given".into()));
        }
        Ok(Admin { pool, endpoints: Mutex::new(endpoints), timeout })
    }

    /// Asks every node, and puts their answers together. Nodes that do not answer appear as not ready.
    ///
    /// # Errors
    /// `Unreachable` when none of the given nodes answers.
    ///
    /// ```
    #[doc = include_str!("../doc/admin.rs")]
    /// let cluster = admin.cluster().await?;
    /// assert_eq!(cluster.nodes.len(), 3);
    /// # Ok(()) }) }
    /// ```
    pub async fn cluster(&self) -> Result<ClusterStatus, Error> {
        let known = self.endpoints();
        let mut answers = self.ask_all(&known).await;
        if answers.is_empty() {
            return Err(Error::Unreachable(format!("no node answers at {}", known.join(", "))));
        }
        // The ones that answered name the others.
        let mut others: Vec<String> = answers.iter().flat_map(|a| &a.nodes).map(|n| n.admin.clone()).collect();
        others.sort();
        others.dedup();
        others.retain(|address| !address.is_empty() && !known.contains(address));
        answers.extend(self.ask_all(&others).await);
        Ok(merge(&answers))
    }

    /// Asks one node how it is.
    ///
    /// # Errors
    /// `Unreachable`, `Lost`, `Timeout`.
    ///
    /// ```
    #[doc = include_str!("../doc/admin.rs")]
    /// let status = admin.node_status(&cluster.admin()[0]).await?;
    /// assert_eq!(status.node, 1);
    /// # Ok(()) }) }
    /// ```
    pub async fn node_status(&self, address: &str) -> Result<v1::NodeStatusResponse, Error> {
        let mut node = self.pool.admin(address)?;
        match timeout(STATUS, node.node_status(v1::NodeStatusRequest {})).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&status, address)),
            Err(_) => Err(Error::Timeout(format!("{address} did not answer within {STATUS:?}"))),
        }
    }

    /// Creates a topic as most are; returns when each of its partitions has a leader. `replication` `None`: 3, or the number
    /// of nodes where there are fewer.
    ///
    /// # Errors
    /// As [`Admin::create`].
    ///
    /// ```
    #[doc = include_str!("../doc/admin.rs")]
    /// let topic = admin.create_topic("orders", 4, None).await?;
    /// assert_eq!((topic.partitions, topic.replication), (4, 3));
    /// # Ok(()) }) }
    /// ```
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        replication: Option<u32>,
    ) -> Result<TopicInfo, Error> {
        self.create(NewTopic { replication, ..NewTopic::new(name, partitions) }).await
    }

    /// Creates a topic; returns when each of its partitions has a leader.
    ///
    /// # Errors
    /// `TopicExists`, `Invalid`, `Unavailable`, `UnknownOutcome`.
    ///
    /// ```
    #[doc = include_str!("../doc/admin.rs")]
    /// # use corduroy_client::NewTopic;
    /// let topic = admin.create(NewTopic { key_index: true, ..NewTopic::new("accounts", 2) }).await?;
    /// assert!(topic.key_index);
    /// # Ok(()) }) }
    /// ```
    pub async fn create(&self, new: NewTopic) -> Result<TopicInfo, Error> {
        let NewTopic { name, partitions, replication, key_index, service } = new;
        let service = service.unwrap_or_default();
        let request = v1::CreateTopicRequest { name, partitions, replication, key_index, service };
        let answer = self
            .call(Kind::Once, |mut node| {
                let request = request.clone();
                async move { Ok(node.create_topic(request).await?.into_inner()) }
            })
            .await?;
        answer.topic.map(topic).ok_or_else(|| Error::Protocol("the answer names no topic".into()))
    }

    /// All topics, by name; `_cluster` is not among them.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`.
    ///
    /// ```
    #[doc = include_str!("../doc/admin.rs")]
    /// admin.create_topic("orders", 1, None).await?;
    /// assert_eq!(admin.list_topics().await?[0].name, "orders");
    /// # Ok(()) }) }
    /// ```
    pub async fn list_topics(&self) -> Result<Vec<TopicInfo>, Error> {
        let list = |mut node: AdminClient<Channel>| async move {
            Ok(node.list_topics(v1::ListTopicsRequest {}).await?.into_inner())
        };
        Ok(self.call(Kind::Read, list).await?.topics.into_iter().map(topic).collect())
    }

    /// Removes a topic.
    ///
    /// # Errors
    /// `UnknownTopic`, `Unavailable`, `UnknownOutcome`.
    ///
    /// ```
    #[doc = include_str!("../doc/admin.rs")]
    /// admin.create_topic("orders", 1, None).await?;
    /// admin.delete_topic("orders").await?;
    /// assert!(admin.list_topics().await?.is_empty());
    /// # Ok(()) }) }
    /// ```
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteTopicRequest { name: name.to_owned() };
        self.call(Kind::Once, |mut node| {
            let request = request.clone();
            async move { Ok(node.delete_topic(request).await?.into_inner()) }
        })
        .await
        .map(drop)
    }

    fn endpoints(&self) -> Vec<String> {
        self.endpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The answers of those that answer.
    async fn ask_all(&self, addresses: &[String]) -> Vec<v1::NodeStatusResponse> {
        let asked = addresses.iter().map(|address| self.node_status(address));
        futures::future::join_all(asked).await.into_iter().filter_map(Result::ok).collect()
    }

    /// Asks one node after the other, as the rules of [`retry`] allow, until the deadline.
    async fn call<T, F, Fut>(&self, kind: Kind, make: F) -> Result<T, Error>
    where
        F: Fn(AdminClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        let endpoints = self.endpoints();
        let (mut backoff, mut doubt) = (Backoff::new(), false);
        let mut turns = 0..;
        loop {
            let turn: usize = turns.next().expect("the range has no end");
            let address = &endpoints[turn % endpoints.len()];
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match timeout(left, make(self.pool.admin(address)?)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => Error::from_status(&status, address),
                Err(_) => Error::Timeout(format!("{address} did not answer within {left:?}")),
            };
            doubt |= is_doubtful(&error);
            let pause = match retry::next(&error, kind, address) {
                // Once around is enough to know that nobody is there, or that nobody knows the topic.
                Step::Elsewhere | Step::Follow(_) if turn + 1 < endpoints.len() => Some(Duration::ZERO),
                Step::Elsewhere | Step::Follow(_)
                    if !matches!(error, Error::Unreachable(_) | Error::UnknownTopic(_)) =>
                {
                    Some(backoff.next())
                }
                Step::After(pause) => Some(pause),
                _ => None,
            };
            match pause {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => return Err(kind.conclude(error, doubt)),
            }
        }
    }
}

fn topic(topic: v1::Topic) -> TopicInfo {
    let v1::Topic { name, partitions, replication, key_index, service, .. } = topic;
    TopicInfo { name, partitions, replication, key_index, service: Some(service).filter(|service| !service.is_empty()) }
}

/// Puts the answers of several nodes together.
pub(crate) fn merge(answers: &[v1::NodeStatusResponse]) -> ClusterStatus {
    let mut nodes: BTreeMap<u64, NodeView> = BTreeMap::new();
    for node in answers.iter().flat_map(|answer| &answer.nodes) {
        let view = nodes.entry(node.id).or_insert_with(|| NodeView {
            id: node.id,
            http: String::new(),
            grpc: String::new(),
            admin: String::new(),
            pid: None,
            ready: false,
            waiting_for: Vec::new(),
            disk: None,
        });
        // A node that has not heard from another yet does not know all of its addresses.
        for (known, said) in
            [(&mut view.http, &node.http), (&mut view.grpc, &node.grpc), (&mut view.admin, &node.admin)]
        {
            if known.is_empty() {
                known.clone_from(said);
            }
        }
    }
    for answer in answers {
        if let Some(view) = nodes.get_mut(&answer.node) {
            view.pid = Some(answer.pid);
            view.ready = answer.ready;
            let failing = answer.checks.iter().filter(|check| !check.ok);
            view.disk = answer.disk.as_ref().map(|disk| DiskView {
                space: disk.space.clone(),
                free_bytes: disk.free_bytes,
                total_bytes: disk.total_bytes,
            });
            view.waiting_for = failing.map(|check| format!("{}: {}", check.name, check.detail)).collect();
        }
    }
    let topics: BTreeMap<String, TopicInfo> =
        answers.iter().flat_map(|a| &a.topics).map(|t| (t.name.clone(), topic(t.clone()))).collect();
    ClusterStatus {
        partitions: merge_partitions(answers),
        nodes: nodes.into_values().collect(),
        topics: topics.into_values().collect(),
    }
}

/// Of each partition, what its leader says; without one, what the replica with the newest term and most records says,
/// which then names a leader only if that leader answered too and does not deny it.
fn merge_partitions(answers: &[v1::NodeStatusResponse]) -> Vec<PartitionView> {
    let mut best: BTreeMap<(&str, u32), (u64, &v1::PartitionStatus)> = BTreeMap::new();
    for answer in answers {
        for status in &answer.partitions {
            let rank = |s: &v1::PartitionStatus| (s.term, s.role == "leader", s.end_offset);
            let slot = best.entry((&status.topic, status.partition)).or_insert((answer.node, status));
            if rank(status) > rank(slot.1) {
                *slot = (answer.node, status);
            }
        }
    }
    let answered = |node: &u64| answers.iter().any(|answer| answer.node == *node);
    best.into_values()
        .map(|(from, status)| PartitionView {
            topic: status.topic.clone(),
            partition: status.partition,
            leader: if status.role == "leader" { Some(from) } else { status.leader.filter(answered) },
            term: status.term,
            replicas: status.replicas.clone(),
            start_offset: status.start_offset,
            end_offset: status.end_offset,
        })
        .collect()
}
