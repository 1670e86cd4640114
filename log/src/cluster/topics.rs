//! Changing the cluster map, from any node.
use super::{Controller, TopicPlan, candidates, check_topic, place};
use crate::{
    error::LogError,
    log::{NewTopic, Topic},
    partition::Partition,
    record::NewRecord,
    topic::{NodeId, Offset, PartitionId},
    world::{Rng, World},
};
use bytes::Bytes;
use corduroy_proto::v1::{
    self as pb, ClusterEvent, cluster_event::Event, cluster_proposed::Outcome, peer_request, peer_response,
};
use openraft_rt::AsyncRuntime;
use prost::Message as _;
use std::time::Duration;

/// Bound on finding the leader of `_cluster/0`, which may be elected only now.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between attempts.
const RETRY: Duration = Duration::from_millis(50);

impl<W: World> Controller<W> {
    /// Appends a fact to `_cluster/0`, wherever its leader is, and waits until it has evolved here.
    pub(super) async fn propose(&self, fact: ClusterEvent) -> Result<Offset, LogError> {
        let event: Bytes = fact.encode_to_vec().into();
        let found = async {
            loop {
                match self.propose_once(event.clone()).await {
                    Err(LogError::NotLeader { .. } | LogError::Busy { .. }) => {
                        <W::Tasks as AsyncRuntime>::sleep(RETRY).await
                    }
                    other => return other,
                }
            }
        };
        let offset = <W::Tasks as AsyncRuntime>::timeout(PATIENCE, found).await;
        let offset = offset.unwrap_or_else(|_| Err(LogError::Unavailable("_cluster/0 has no leader".into())))?;
        let evolved = self.map.wait(|map| (map.next > offset).then_some(()));
        let evolved = <W::Tasks as AsyncRuntime>::timeout(PATIENCE, evolved).await;
        evolved.map_err(|_| LogError::Unavailable(format!("_cluster/0 did not reach offset {offset} on this node")))?;
        Ok(offset)
    }

    async fn propose_once(&self, event: Bytes) -> Result<Offset, LogError> {
        let missing = || LogError::Unavailable("_cluster/0 is not open yet".into());
        let partition = self.hosted.partition(PartitionId::CLUSTER).ok_or_else(missing)?;
        let leader = match partition.append(vec![NewRecord::new(event.clone())]).await {
            Ok(ack) => return Ok(ack.first_offset),
            Err(LogError::NotLeader { leader: Some(leader), .. }) => leader,
            Err(error) => return Err(error),
        };
        let link = self.host.peers.link(leader).ok_or_else(|| not_leader(self.host.node, None))?;
        if link.session().is_none() {
            return Err(not_leader(self.host.node, None));
        }
        let proposal = peer_request::Body::Propose(pb::ClusterProposal { event });
        match link.request(PartitionId::CLUSTER, proposal, self.host.timing.append_timeout).await {
            Ok(peer_response::Body::Propose(answer)) => match answer.outcome {
                Some(Outcome::Offset(offset)) => Ok(offset),
                Some(Outcome::NotLeader(_)) => Err(not_leader(self.host.node, None)),
                Some(Outcome::Failed(why)) => Err(LogError::Unavailable(why)),
                Some(Outcome::Unknown(why)) => Err(LogError::UnknownOutcome(why)),
                None => Err(LogError::UnknownOutcome("_cluster/0: an answer without outcome".into())),
            },
            Ok(_) => {
                Err(LogError::UnknownOutcome("_cluster/0: the leader answered something else than was asked".into()))
            }
            Err(error) => Err(LogError::UnknownOutcome(format!("_cluster/0: {error}"))),
        }
    }

    /// Creates a topic; returns when this node knows it.
    pub(crate) async fn create_topic(&self, new: NewTopic) -> Result<Topic, LogError> {
        check_topic(&new, self.host.limits.partitions)?;
        let nodes: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let (nodes, replication) = {
            let map = self.map.get();
            if map.topics.contains_key(&new.name) {
                return Err(LogError::TopicExists(new.name));
            }
            candidates(&new, &nodes, &map.nodes)?
        };
        let request: Bytes = self.host.env.rng.next_id().to_vec().into();
        let placed = place(&new.name, new.partitions, replication, &nodes);
        let created = pb::TopicCreated {
            request_id: request.clone(),
            name: new.name.clone(),
            replication,
            key_index: new.key_index,
            service: new.service.clone().unwrap_or_default(),
            partitions: placed.into_iter().map(|replicas| pb::PartitionPlacement { replicas }).collect(),
        };
        self.propose(ClusterEvent { event: Some(Event::TopicCreated(created)) }).await?;
        match self.map.get().topics.get(&new.name) {
            Some(plan) if plan.request == request => Ok(topic(&new.name, plan)),
            _ => Err(LogError::TopicExists(new.name)),
        }
    }

    /// Deletes a topic; returns when this node knows it.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        if !self.map.get().topics.contains_key(name) {
            return Err(LogError::UnknownTopic(name.into()));
        }
        let request_id = self.host.env.rng.next_id().to_vec().into();
        let deleted = pb::TopicDeleted { request_id, name: name.into() };
        self.propose(ClusterEvent { event: Some(Event::TopicDeleted(deleted)) }).await?;
        Ok(())
    }
}

/// The public face of a topic of the map.
pub(crate) fn topic(name: &str, plan: &TopicPlan) -> Topic {
    Topic {
        name: name.into(),
        id: plan.id,
        partitions: plan.partitions.clone(),
        replication: plan.replication,
        key_index: plan.key_index,
        service: plan.service.clone(),
    }
}

fn not_leader(asked: NodeId, leader: Option<NodeId>) -> LogError {
    LogError::NotLeader { asked, partition: "_cluster/0".into(), leader }
}

impl<W: World> Partition<W> {
    /// Answers a node that asks this one, which it believes to lead `_cluster/0`, to append a fact.
    pub(crate) async fn answer_proposal(&self, event: Bytes) -> pb::ClusterProposed {
        let outcome = match self.append(vec![NewRecord::new(event)]).await {
            Ok(ack) => Outcome::Offset(ack.first_offset),
            Err(LogError::NotLeader { leader, .. }) => Outcome::NotLeader(leader.unwrap_or(0)),
            Err(LogError::UnknownOutcome(why)) => Outcome::Unknown(why),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        pb::ClusterProposed { outcome: Some(outcome) }
    }
}
