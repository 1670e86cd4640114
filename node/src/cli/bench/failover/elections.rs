//! When the partitions of a node that has fallen have a new leader, seen from outside: the others are asked again and
//! again.
use corduroy_client::Admin;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Pause between two looks; what is seen is so much late at most, and the time of an answer.
const LOOK: Duration = Duration::from_millis(2);

/// Resolves when each of the partitions is led by one of the nodes at these admin addresses; says after how long each was.
pub(super) async fn watch(
    admin: Admin,
    others: Vec<String>,
    topic: &str,
    partitions: BTreeSet<u32>,
    since: Instant,
) -> BTreeMap<u32, Duration> {
    let mut led = BTreeMap::new();
    while led.len() < partitions.len() {
        for other in &others {
            // One that does not answer is asked again.
            let Ok(status) = admin.node_status(other).await else { continue };
            let now = since.elapsed();
            for partition in status.partitions.iter().filter(|p| p.topic == topic && p.role == "leader") {
                if partitions.contains(&partition.partition) {
                    led.entry(partition.partition).or_insert(now);
                }
            }
        }
        sleep(LOOK).await;
    }
    led
}
