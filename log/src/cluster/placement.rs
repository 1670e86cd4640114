//! Which nodes carry which partition. Pure.
use crate::{
    error::LogError,
    log::NewTopic,
    topic::{NodeId, check_name},
};
use xxhash_rust::xxh3::xxh3_64;

/// Replicas of a topic that does not say how many it wants, where there are enough nodes.
const REPLICATION: u32 = 3;

/// Checks what a caller asks for and fills in the number of replicas.
pub(crate) fn check_topic(new: &NewTopic, nodes: usize, partition_limit: u32) -> Result<u32, LogError> {
    check_name(&new.name)?;
    if new.partitions == 0 || new.partitions > partition_limit {
        let text = format!(
            "topic {:?}: {} partitions asked for, 1 to {partition_limit} are possible",
            new.name, new.partitions
        );
        return Err(LogError::Invalid(text));
    }
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let replication = new.replication.unwrap_or(REPLICATION.min(nodes));
    if replication == 0 || replication > nodes {
        let text = format!("topic {:?}: {replication} replicas asked for, the cluster has {nodes} nodes", new.name);
        return Err(LogError::Invalid(text));
    }
    Ok(replication)
}

/// Replicas of each partition, the first one meant to lead. Neighbouring partitions begin at neighbouring nodes of an
/// order that depends on the topic's name, so the leaders of one topic differ by at most one per node, and topics with few
/// partitions do not all begin at the same node.
pub(crate) fn place(topic: &str, partitions: u32, replication: u32, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut order = nodes.to_vec();
    order.sort_by_key(|node| (xxh3_64(format!("{topic}/{node}").as_bytes()), *node));
    let replicas = |partition: u32| {
        let start = partition as usize % order.len();
        order.iter().cycle().skip(start).take(replication as usize).copied().collect()
    };
    (0..partitions).map(replicas).collect()
}

#[cfg(test)]
mod tests;
