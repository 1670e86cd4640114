//! From a request to its partition.
use crate::world::{Log, Partition};
use corduroy_log::{
    error::LogError,
    topic::{NodeId, check_name},
};

/// The topic of the cluster map: read by anyone, written by the nodes alone.
pub(crate) const CLUSTER_TOPIC: &str = "_cluster";

/// Refuses names of which clients can never append to a topic.
pub(crate) fn check_writable(topic: &str) -> Result<(), LogError> {
    if topic == CLUSTER_TOPIC {
        return Err(LogError::Invalid("_cluster is written by the nodes alone".into()));
    }
    check_name(topic)
}

/// The partition that is to take records whose first key is `key`, and its number: the one named, or the key's, or 0.
pub(crate) fn to_append(
    log: &Log,
    topic: &str,
    partition: Option<u32>,
    key: Option<&[u8]>,
) -> Result<(u32, Partition), LogError> {
    let number = match (partition, key) {
        (Some(number), _) => number,
        (None, None) => 0,
        (None, Some(key)) => corduroy_client::partition_for_key(key, partitions(log, topic)?),
    };
    Ok((number, log.partition(topic, number)?))
}

/// How many partitions a topic has.
pub(crate) fn partitions(log: &Log, topic: &str) -> Result<u32, LogError> {
    let topics = log.topics();
    let found = topics.iter().find(|known| known.name == topic);
    let found = found.ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
    Ok(u32::try_from(found.partitions.len()).expect("a topic has at most Limits::partitions partitions"))
}

/// Where a node serves gRPC, when that is known.
pub(crate) fn grpc_address(log: &Log, node: NodeId) -> Option<String> {
    log.nodes().into_iter().find(|known| known.id == node).map(|known| known.grpc).filter(|address| !address.is_empty())
}
