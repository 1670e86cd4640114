//! The records of one key.
use super::{Failure, Reader, Sink};
use corduroy_client::partition_for_key;

/// The partition that records with this key go to when nobody names another.
pub(super) fn home(key: &str, partitions: usize) -> u32 {
    partition_for_key(key.as_bytes(), u32::try_from(partitions).unwrap_or(u32::MAX))
}

impl Reader {
    /// Reads the key's records up to the end that each partition has when the command starts.
    pub(super) async fn read_key(&self, partitions: &[u32], key: &str, sink: &mut Sink) -> Result<(), Failure> {
        for &partition in partitions {
            let (mut next, bounds) = self.begin(partition).await?;
            // Asked even where there is nothing yet: that the topic has no key index is worth hearing then, too.
            while !sink.is_full() {
                let page = self.client.read_key(&self.topic, partition, key.as_bytes(), next, &self.options).await?;
                let wanted = page.records.partition_point(|record| record.offset < bounds.end);
                sink.take(partition, &page.records[..wanted])?;
                if page.next_offset >= bounds.end {
                    break;
                }
                if page.next_offset <= next {
                    let text = format!("{}/{partition} ends at {next} at the node that was asked", self.topic);
                    return Err(Failure::refused(text));
                }
                next = page.next_offset;
            }
        }
        Ok(())
    }
}
