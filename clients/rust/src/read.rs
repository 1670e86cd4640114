//! Reading pages of records.
use crate::{Client, Error, StoredRecord, retry::Kind};
use corduroy_proto::v1::{self, log_client::LogClient};
use std::future::Future;
use tonic::{Status, transport::Channel};

/// What a read promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every append that was acknowledged before the read began. Needs a majority.
    #[default]
    Linearizable,
    /// Sees everything below this offset, on whichever replica: give [`crate::Appended::end`], or the offset behind the
    /// last record read, and you read your own writes and never go back. Needs no majority. A [`crate::Session`] keeps
    /// count.
    Session(u64),
    /// What the asked replica has, at once, even without a majority.
    Stale,
}

impl Consistency {
    /// As a request says it.
    pub(crate) fn on_the_wire(self) -> (i32, u64) {
        let (consistency, offset) = match self {
            Consistency::Linearizable => (v1::Consistency::Linearizable, 0),
            Consistency::Session(offset) => (v1::Consistency::Session, offset),
            Consistency::Stale => (v1::Consistency::Stale, 0),
        };
        (consistency.into(), offset)
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
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{ReadOptions, Record};
    /// client.append("orders", Some(0), vec![Record::new("placed"), Record::new("paid")]).await?;
    /// let page = client.read("orders", 0, 1, &ReadOptions::default()).await?;
    /// assert_eq!((&page.records[0].value[..], page.end_offset), (&b"paid"[..], 2));
    /// # Ok(()) }) }
    /// ```
    pub async fn read(&self, topic: &str, partition: u32, offset: u64, options: &ReadOptions) -> Result<Page, Error> {
        let (consistency, session_offset) = options.consistency.on_the_wire();
        let request = v1::ReadRequest {
            topic: topic.to_owned(),
            partition,
            offset,
            max_bytes: options.max_bytes,
            max_records: options.max_records,
            consistency,
            session_offset,
        };
        let answer = self
            .ask_replica((topic, partition), options, |mut node| {
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
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{Offsets, ReadOptions, Record};
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// assert_eq!(client.offsets("orders", 0, &ReadOptions::default()).await?, Offsets { start: 0, end: 1 });
    /// # Ok(()) }) }
    /// ```
    pub async fn offsets(&self, topic: &str, partition: u32, options: &ReadOptions) -> Result<Offsets, Error> {
        let (consistency, session_offset) = options.consistency.on_the_wire();
        let request = v1::OffsetsRequest { topic: topic.to_owned(), partition, consistency, session_offset };
        let answer = self
            .ask_replica((topic, partition), options, |mut node| {
                let request = request.clone();
                async move { Ok(node.offsets(request).await?.into_inner()) }
            })
            .await?;
        Ok(Offsets { start: answer.start_offset, end: answer.end_offset })
    }

    /// Asks a replica that can answer with this consistency: while nobody leads, nobody can answer a linearizable read, so
    /// that waits for a leader; any replica can answer the others.
    pub(crate) async fn ask_replica<T, F, Fut>(
        &self,
        partition: (&str, u32),
        options: &ReadOptions,
        make: F,
    ) -> Result<T, Error>
    where
        F: Fn(LogClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        match (&options.node, options.consistency) {
            (None, Consistency::Linearizable) => self.at_leader(partition, Kind::Read, make).await,
            (only, _) => self.at_any(partition, only.as_deref(), make).await,
        }
    }
}
