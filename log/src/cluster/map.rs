//! The cluster map: a fold over the records of `_cluster/0`.
use crate::{
    batch::Batch,
    partition::{Evolving, FoldOptions, Frozen, Machine, Table},
    record::Record,
    topic::{Format, NodeId, Offset},
    world::{Halt, Tasks, World},
};
use bytes::Bytes;
use corduroy_proto::v1::{self as pb, ClusterEvent, cluster_event::Event};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::Notify;

/// A topic of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPlan {
    /// Derived from the offset of its creation, hence never used again.
    pub id: u32,
    /// Who asked for it: tells one's own creation from a concurrent one.
    pub request: Bytes,
    pub replication: u32,
    /// Whether its partitions keep where each key has its last record.
    pub key_index: bool,
    /// Only nodes that carry it get replicas.
    pub service: Option<String>,
    /// Replicas of each partition, the first one meant to lead at the start.
    pub partitions: Vec<Vec<NodeId>>,
}

impl TopicPlan {
    /// What a fact says was created, under the number it gets.
    fn new(id: u32, created: pb::TopicCreated) -> Self {
        TopicPlan {
            id,
            request: created.request_id,
            replication: created.replication,
            key_index: created.key_index,
            service: Some(created.service).filter(|service| !service.is_empty()),
            partitions: created.partitions.into_iter().map(|partition| partition.replicas).collect(),
        }
    }

    /// How its partitions fold.
    pub(crate) fn options(&self) -> FoldOptions {
        FoldOptions { key_index: self.key_index }
    }
}

/// The map as of some offset. Pure: the same records give the same map everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    pub nodes: BTreeMap<NodeId, pb::NodeRegistered>,
    pub topics: BTreeMap<String, TopicPlan>,
    /// The format events of services may have. It is never lowered.
    pub format: Format,
    /// First offset not folded yet.
    pub next: Offset,
}

impl Map {
    /// Takes the fact at `offset`. Facts cannot be refused; one that contradicts the map changes nothing.
    pub(crate) fn evolve(&mut self, offset: Offset, event: Event) {
        self.next = offset + 1;
        match event {
            Event::NodeRegistered(node) => match self.nodes.get(&node.id) {
                Some(known) if known.incarnation != node.incarnation => {}
                _ => drop(self.nodes.insert(node.id, node)),
            },
            Event::TopicCreated(topic) => {
                // Ids start at 1: topic 0 is `_cluster`.
                let id = u32::try_from(offset + 1).expect("four billion changes of the cluster map");
                self.topics.entry(topic.name.clone()).or_insert_with(|| TopicPlan::new(id, topic));
            }
            Event::TopicDeleted(topic) => drop(self.topics.remove(&topic.name)),
            Event::FormatRaised(raised) => {
                // It was proposed before somebody came back who knows less: not beyond what all who are registered know now.
                let known = self.known_to_all(self.nodes.keys().copied());
                self.format = self.format.max(Format(raised.format).min(known));
            }
        }
    }

    /// The latest format that all of these nodes have registered to know.
    pub(crate) fn known_to_all(&self, nodes: impl IntoIterator<Item = NodeId>) -> Format {
        let of = |node| self.nodes.get(&node).map_or(Format::FIRST, |node| Format(node.format).max(Format::FIRST));
        nodes.into_iter().map(of).min().unwrap_or_default()
    }
}

/// The map of this node, shared between its fold and those who look at it.
#[derive(Debug, Default)]
pub(crate) struct ClusterMap {
    map: Mutex<Map>,
    changed: Notify,
}

impl ClusterMap {
    pub(crate) fn get(&self) -> MutexGuard<'_, Map> {
        self.map.lock().expect("folding does not panic")
    }

    /// Resolves when `ready` holds; looks at every change.
    pub(crate) async fn wait<T>(&self, ready: impl Fn(&Map) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = ready(&self.get()) {
                return found;
            }
            changed.await;
        }
    }

    /// Feeds the map from the records of `_cluster/0`.
    pub(crate) fn machine<W: World>(self: &Arc<Self>) -> Box<dyn Machine> {
        Box::new(Feeder { map: self.clone(), world: PhantomData::<W> })
    }
}

struct Feeder<W> {
    map: Arc<ClusterMap>,
    world: PhantomData<W>,
}

impl<W: World> Machine for Feeder<W> {
    fn evolve(&mut self, Evolving { base, batch, .. }: Evolving<'_>) {
        match facts(base, batch) {
            Ok(facts) => facts.into_iter().for_each(|(offset, event)| self.map.get().evolve(offset, event)),
            // Skipping a fact of a later version would make the maps differ.
            Err(what) => <W::Tasks as Tasks>::halt(Halt::UnknownEntry(format!("_cluster/0: {what}"))),
        }
        self.map.changed.notify_waiters();
    }

    fn freeze(&mut self) -> Frozen {
        let map = self.map.get();
        let topics = map.topics.iter().map(|(name, plan)| pb::TopicState {
            id: plan.id,
            created: Some(pb::TopicCreated {
                request_id: plan.request.clone(),
                name: name.clone(),
                replication: plan.replication,
                key_index: plan.key_index,
                service: plan.service.clone().unwrap_or_default(),
                partitions: plan
                    .partitions
                    .iter()
                    .map(|nodes| pb::PartitionPlacement { replicas: nodes.clone() })
                    .collect(),
            }),
        });
        let state = pb::ClusterState {
            nodes: map.nodes.values().cloned().collect(),
            topics: topics.collect(),
            next_offset: map.next,
            format: map.format.0,
        };
        drop(map);
        Frozen::in_memory(move || state.encode_to_vec().into())
    }

    fn check(&self, state: &[u8], _: Option<&Table>) -> Result<(), String> {
        pb::ClusterState::decode(state).map(drop).map_err(|error| error.to_string())
    }

    fn install(&mut self, state: &[u8], _: Option<Table>) -> Result<(), String> {
        let state = pb::ClusterState::decode(state).map_err(|error| error.to_string())?;
        let topics = state.topics.into_iter().filter_map(|topic| {
            let created = topic.created?;
            Some((created.name.clone(), TopicPlan::new(topic.id, created)))
        });
        let nodes = state.nodes.into_iter().map(|node| (node.id, node)).collect();
        *self.map.get() = Map {
            nodes,
            topics: topics.collect(),
            format: Format(state.format).max(Format::FIRST),
            next: state.next_offset,
        };
        self.map.changed.notify_waiters();
        Ok(())
    }
}

/// The facts of a batch of `_cluster/0`; an error names the one this build does not understand.
pub(crate) fn facts(base: Offset, batch: &Batch) -> Result<Vec<(Offset, Event)>, String> {
    let records = batch.decode(base).map_err(|error| format!("batch at offset {base}: {error}"))?;
    let fact = |record: Record| match ClusterEvent::decode(&record.value[..]).map(|fact| fact.event) {
        Ok(Some(event)) => Ok((record.offset, event)),
        Ok(None) => Err(format!("fact of an unknown kind at offset {}", record.offset)),
        Err(error) => Err(format!("fact at offset {}: {error}", record.offset)),
    };
    records.into_iter().map(fact).collect()
}

#[cfg(test)]
mod tests;
