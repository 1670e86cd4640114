//! Appending one batch at a time.
use crate::{
    Client, Error, Record,
    client::{Target, encode},
    record::system_time,
    retry::Kind,
};
use corduroy_proto::v1;
use std::time::SystemTime;

/// Where records were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The partition.
    pub partition: u32,
    /// Offset of the first record; the others follow densely.
    pub first_offset: u64,
    /// How many.
    pub count: u32,
    /// Raft term in which the batch was committed.
    pub term: u64,
    /// Log time given to the records.
    pub time: SystemTime,
}

impl From<v1::AppendResponse> for Appended {
    fn from(answer: v1::AppendResponse) -> Self {
        Appended {
            partition: answer.partition,
            first_offset: answer.first_offset,
            count: answer.count,
            term: answer.term,
            time: answer.time.map_or(SystemTime::UNIX_EPOCH, |t| system_time(t.seconds, t.nanos)),
        }
    }
}

/// The partition that records with this key belong to, in a topic of `partitions` partitions (at least 1).
///
/// ```
/// let partition = corduroy_client::partition_for_key(b"customer-7", 12);
/// assert!(partition < 12);
/// ```
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    let hash = xxhash_rust::xxh3::xxh3_64(key);
    // The remainder is below `partitions`, hence fits.
    (hash % u64::from(partitions.max(1))) as u32
}

impl Client {
    /// Appends records to one partition as one batch: all of them, contiguously and in order, or none.
    ///
    /// Without a partition the node chooses it by the first record's key (see [`partition_for_key`]), or takes
    /// partition 0 when that has none.
    ///
    /// # Errors
    /// [`Error::UnknownOutcome`] when the records may have been appended. After every other error they were not.
    pub async fn append(&self, topic: &str, partition: Option<u32>, records: Vec<Record>) -> Result<Appended, Error> {
        let likely = match partition {
            Some(partition) => partition,
            None => self.likely_partition(topic, &records).await?,
        };
        let request =
            v1::AppendRequest { topic: topic.to_owned(), partition, records: encode(records), ..Default::default() };
        let answer = self
            .call(Target::Leader(topic, likely), Kind::Write, |mut node| {
                let request = request.clone();
                async move { Ok(node.append(request).await?.into_inner()) }
            })
            .await?;
        Ok(answer.into())
    }

    /// The partition the node is going to choose, to know whom to ask. The node decides.
    async fn likely_partition(&self, topic: &str, records: &[Record]) -> Result<u32, Error> {
        match records.first().and_then(|record| record.key.as_deref()) {
            None => Ok(0),
            Some(key) => {
                let count = self.topology(topic).await?.partitions.len();
                Ok(partition_for_key(key, u32::try_from(count).unwrap_or(u32::MAX)))
            }
        }
    }
}
