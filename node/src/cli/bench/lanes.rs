//! Lanes: partitions that a bench writes to and reads back.
use super::numbered::number_of;
use crate::cli::exit::Failure;
use corduroy_client::{Client, Consistency, ReadOptions};

/// Size of the pages in which everything is read back. Bytes.
const PAGE: u64 = 1 << 20;

/// A partition with a writer of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    /// Its number among the lanes; values carry it.
    pub(super) number: u32,
    pub(super) topic: String,
    pub(super) partition: u32,
}

/// All partitions of a topic.
pub(super) fn of_topic(topic: &str, partitions: u32) -> Vec<Lane> {
    (0..partitions).map(|number| Lane { number, topic: topic.to_owned(), partition: number }).collect()
}

/// The numbers of all records of a lane, by offset; `None` where a record has none. From one node, as its replica is, or
/// from the leader.
pub(super) async fn read_back(client: &Client, lane: &Lane, node: Option<String>) -> Result<Vec<Option<u64>>, Failure> {
    let consistency = if node.is_some() { Consistency::Stale } else { Consistency::Linearizable };
    let options = ReadOptions { max_bytes: Some(PAGE), consistency, node, ..ReadOptions::default() };
    let Lane { number, topic, partition } = lane;
    let mut numbers = Vec::new();
    loop {
        let page = client.read(topic, *partition, numbers.len() as u64, &options).await?;
        if page.records.is_empty() {
            return Ok(numbers);
        }
        for record in page.records {
            if record.offset != numbers.len() as u64 {
                return Err(Failure::refused(format!("{topic}/{partition} has a hole at offset {}", numbers.len())));
            }
            numbers.push(number_of(*number, &record.value));
        }
    }
}
