//! Reading pages of records.
use crate::{Client, Error, StoredRecord, client::Target, retry::Kind};
use corduroy_proto::v1;

/// What a read promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every append that was acknowledged before the read began. Needs a majority.
    #[default]
    Linearizable,
    /// What the asked replica has, at once, even without a majority.
    Stale,
}

impl From<Consistency> for v1::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable,
            Consistency::Stale => v1::Consistency::Stale,
        }
    }
}

/// How to read. `ReadOptions::default()` is linearizable, pages of about 1 MiB, at the leader.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// What the read promises.
    pub consistency: Consistency,
    /// Soft bound on the bytes of a page; `None`: 1 MiB.
    pub max_bytes: Option<u64>,
    /// Bound on the records of a page; `None`: bytes alone.
    pub max_records: Option<u32>,
    /// gRPC address of the only node to ask; `None`: the leader, or another while it cannot be reached.
    pub node: Option<String>,
}

/// Records, and the bounds of the partition at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In offset order, without holes; empty when there is nothing at the offset yet.
    pub records: Vec<StoredRecord>,
    /// The first offset kept.
    pub start_offset: u64,
    /// The first offset that cannot be read yet at the replica that answered.
    pub end_offset: u64,
}

/// The bounds of a partition: offsets in `start..end` can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset kept.
    pub start: u64,
    /// The first offset that cannot be read yet.
    pub end: u64,
}

impl Client {
    /// Reads one page from `offset` on.
    ///
    /// # Errors
    /// `OffsetOutOfRange` beyond the end, `UnknownTopic`, `PartitionOutOfRange`, and the retryable ones once the
    /// deadline has passed.
    pub async fn read(&self, topic: &str, partition: u32, offset: u64, options: &ReadOptions) -> Result<Page, Error> {
        let request = v1::ReadRequest {
            topic: topic.to_owned(),
            partition,
            offset,
            max_bytes: options.max_bytes,
            max_records: options.max_records,
            consistency: v1::Consistency::from(options.consistency).into(),
            ..Default::default()
        };
        let answer = self
            .call(target(topic, partition, options), Kind::Read, |mut node| {
                let request = request.clone();
                async move { Ok(node.read(request).await?.into_inner()) }
            })
            .await?;
        Ok(Page {
            records: answer.records.into_iter().map(Into::into).collect(),
            start_offset: answer.start_offset,
            end_offset: answer.end_offset,
        })
    }

    /// The bounds of a partition. Only `consistency` and `node` of the options matter.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub async fn offsets(&self, topic: &str, partition: u32, options: &ReadOptions) -> Result<Offsets, Error> {
        let request = v1::OffsetsRequest {
            topic: topic.to_owned(),
            partition,
            consistency: v1::Consistency::from(options.consistency).into(),
            ..Default::default()
        };
        let answer = self
            .call(target(topic, partition, options), Kind::Read, |mut node| {
                let request = request.clone();
                async move { Ok(node.offsets(request).await?.into_inner()) }
            })
            .await?;
        Ok(Offsets { start: answer.start_offset, end: answer.end_offset })
    }
}

fn target<'a>(topic: &'a str, partition: u32, options: &'a ReadOptions) -> Target<'a> {
    match &options.node {
        Some(address) => Target::Only(address),
        None => Target::Leader(topic, partition),
    }
}
