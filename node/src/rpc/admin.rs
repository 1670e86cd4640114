//! The Admin service: what operators ask of a node, and changes to the topics.
use super::{convert, failure::Failure};
use crate::{routing, shared::Shared, world::Log};
use corduroy_log::{
    Consistency,
    error::LogError,
    log::{NewTopic, Topic},
    topic::PartitionId,
    view::ViewStatus,
    wal::DiskSpace,
};
use corduroy_proto::v1::{self, admin_server};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::{Request, Response, Status};

/// How long a new topic is waited for until its partitions have leaders. It exists either way.
const LEADERS: Duration = Duration::from_secs(10);
/// How long the end of a source is waited for.
const SOURCE: Duration = Duration::from_millis(500);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Implements the service for one node.
pub(super) struct AdminApi {
    shared: Shared,
}

impl AdminApi {
    pub(super) fn new(shared: Shared) -> Self {
        AdminApi { shared }
    }

    fn log(&self) -> Result<&Log, Status> {
        self.shared.log().map_err(|error| Failure::new(&error, None).into_status())
    }

    fn status(&self, error: &LogError) -> Status {
        Failure::new(error, self.shared.opened()).into_status()
    }

    fn topic(&self, name: &str) -> Result<Topic, Status> {
        let found = self.log()?.topics().into_iter().find(|topic| topic.name == name);
        found.ok_or_else(|| self.status(&LogError::UnknownTopic(name.to_owned())))
    }

    /// The status of each partition of a topic; replicas elsewhere have no leader and no offsets here.
    fn partitions(&self, topic: &Topic) -> Result<Vec<v1::PartitionStatus>, Status> {
        let log = self.log()?;
        let status = |(partition, replicas): (u32, &Vec<u64>)| match log.partition(&topic.name, partition) {
            Ok(hosted) => convert::partition_status(hosted.info()),
            Err(_) => v1::PartitionStatus {
                topic: topic.name.clone(),
                partition,
                replicas: replicas.clone(),
                ..v1::PartitionStatus::default()
            },
        };
        Ok((0..).zip(&topic.partitions).map(status).collect())
    }
}

#[tonic::async_trait]
impl admin_server::Admin for AdminApi {
    async fn node_status(&self, _: Request<v1::NodeStatusRequest>) -> Result<Response<v1::NodeStatusResponse>, Status> {
        let mut status = node_status(&self.shared);
        if let Some(log) = self.shared.opened() {
            status.subscriptions = subscriptions(&self.shared, log).await;
        }
        Ok(Response::new(status))
    }

    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let v1::CreateTopicRequest { name, partitions, replication, key_index, service } = request.into_inner();
        if name == routing::CLUSTER_TOPIC {
            return Err(self.status(&LogError::Invalid("_cluster is the name of the cluster map".into())));
        }
        let log = self.log()?;
        let service = Some(service).filter(|service| !service.is_empty());
        let created = log.create_topic(NewTopic { name, partitions, replication, key_index, service }).await;
        let created = created.map_err(|error| self.status(&error))?;
        if timeout(LEADERS, leaders(log, &created)).await.is_err() {
            tracing::warn!(topic = %created.name, after = ?LEADERS, "the topic exists, and some partition has no leader yet");
        }
        Ok(Response::new(v1::CreateTopicResponse { topic: Some(wire_topic(&created)) }))
    }

    async fn list_topics(&self, _: Request<v1::ListTopicsRequest>) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let topics = self.log()?.topics().iter().map(wire_topic).collect();
        Ok(Response::new(v1::ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let topic = self.topic(&request.into_inner().name)?;
        let partitions = self.partitions(&topic)?;
        Ok(Response::new(v1::DescribeTopicResponse { topic: Some(wire_topic(&topic)), partitions }))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let name = request.into_inner().name;
        self.log()?.delete_topic(&name).await.map_err(|error| self.status(&error))?;
        Ok(Response::new(v1::DeleteTopicResponse {}))
    }
}

/// What this node says about itself, also while it recovers.
fn node_status(shared: &Shared) -> v1::NodeStatusResponse {
    let config = &shared.config().log;
    let checks = shared.checks();
    let log = shared.opened();
    v1::NodeStatusResponse {
        node: config.node,
        cluster: config.cluster.to_string(),
        pid: std::process::id(),
        ready: checks.iter().all(|check| check.ok),
        checks: checks.into_iter().map(|c| v1::Check { name: c.name, ok: c.ok, detail: c.detail }).collect(),
        nodes: log.map_or_else(|| config.nodes.clone(), |log| log.nodes()).into_iter().map(wire_node).collect(),
        topics: log.map(|log| log.topics().iter().map(wire_topic).collect()).unwrap_or_default(),
        partitions: log
            .map(|log| log.partitions().iter().map(|p| convert::partition_status(p.info())).collect())
            .unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_epoch: log.map_or(0, Log::boot_epoch),
        disk: log.map(|log| wire_disk(log.disk_space())),
        clock: log.map(|log| v1::ClockStatus { ahead: log.clock_ahead(), wrong: !log.trusts_clock() }),
        views: log.map(|log| log.views().iter().map(wire_view).collect()).unwrap_or_default(),
        subscriptions: Vec::new(),
    }
}

/// How far the partitions that are led here have read their sources.
async fn subscriptions(shared: &Shared, log: &Log) -> Vec<v1::Subscription> {
    let topics = log.topics();
    let led = log.partitions().into_iter().filter(|partition| partition.leads().is_some());
    let asked = led.flat_map(|partition| {
        let info = partition.info();
        let listens = shared.registry().listens(&info.topic);
        let sources = topics.iter().filter(|topic| listens.contains(&topic.name.as_str()));
        let sources = sources.flat_map(|topic| (0..topic.partitions.len() as u32).map(move |number| (topic, number)));
        let asked = sources.map(|(topic, source)| {
            let offset = partition.source(PartitionId::new(topic.id, source));
            let (service, topic, partition) = (info.topic.clone(), topic.name.clone(), info.partition);
            async move {
                let end = timeout(SOURCE, log.offsets(&topic, source, Consistency::Stale)).await;
                let end = end.ok().and_then(Result::ok).map(|(_, end)| end.max(offset));
                v1::Subscription { service, partition, topic, source, offset, end }
            }
        });
        asked.collect::<Vec<_>>()
    });
    futures::future::join_all(asked).await
}

/// Resolves when every partition of a topic that this node hosts has a leader.
async fn leaders(log: &Log, topic: &Topic) {
    let led = |partition| match log.partition(&topic.name, partition) {
        Ok(hosted) => hosted.info().leader.is_some(),
        // Not hosted here: not known here. Not opened yet: wait.
        Err(error) => matches!(error, LogError::NotHosted { .. }),
    };
    let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    while !(0..count).all(led) {
        sleep(LOOK).await;
    }
}

fn wire_disk(disk: DiskSpace) -> v1::Disk {
    let DiskSpace { space, free, total, low, .. } = disk;
    v1::Disk { space: space.to_string(), free_bytes: free, total_bytes: total, low_bytes: low }
}

fn wire_view(view: &ViewStatus) -> v1::ViewStatus {
    v1::ViewStatus {
        name: view.name.to_owned(),
        state: view.state.to_string(),
        behind: view.behind(),
        rebuilds: view.rebuilt(),
        detail: view.to_string(),
    }
}

fn wire_topic(topic: &Topic) -> v1::Topic {
    let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    v1::Topic {
        name: topic.name.clone(),
        partitions,
        replication: topic.replication,
        id: topic.id,
        key_index: topic.key_index,
        service: topic.service.clone().unwrap_or_default(),
    }
}

fn wire_node(node: corduroy_log::config::NodeAddress) -> v1::Node {
    let corduroy_log::config::NodeAddress { id, peer, grpc, http, admin } = node;
    v1::Node { id, http, grpc, peer, admin, incarnation: Default::default() }
}
