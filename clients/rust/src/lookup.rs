//! Reading by time and by key.
use crate::{Client, Error, ReadOptions, StoredRecord};
use corduroy_proto::v1;
use std::time::SystemTime;

/// Where a time begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// Of the first record with this log time or a later one; `end` where there is none yet.
    pub offset: u64,
    /// The first offset that cannot be read yet at the replica that answered.
    pub end: u64,
}

/// Records of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// In offset order.
    pub records: Vec<StoredRecord>,
    /// Where to go on; `end` where there is nothing more.
    pub next_offset: u64,
    /// The first offset that cannot be read yet at the replica that answered.
    pub end_offset: u64,
}

impl Client {
    /// The offset of the first record whose log time is `time` or later. Only `consistency` and `node` of the options matter.
    ///
    /// # Errors
    /// As [`Client::read`]; `Unavailable` also while the node builds its index anew, with how far it is.
    pub async fn offset_for_time(
        &self,
        topic: &str,
        partition: u32,
        time: SystemTime,
        options: &ReadOptions,
    ) -> Result<TimeOffset, Error> {
        let (consistency, session_offset) = options.consistency.on_the_wire();
        let request = v1::OffsetForTimeRequest {
            topic: topic.to_owned(),
            partition,
            time: Some(time.into()),
            consistency,
            session_offset,
        };
        let answer = self
            .ask_replica((topic, partition), options, |mut node| {
                let request = request.clone();
                async move { Ok(node.offset_for_time(request).await?.into_inner()) }
            })
            .await?;
        Ok(TimeOffset { offset: answer.offset, end: answer.end_offset })
    }

    /// Reads a page of the records of a key, from `offset` on; it may be shorter than the options allow. The topic must have a
    /// key index.
    ///
    /// # Errors
    /// As [`Client::offset_for_time`]; `Invalid` where the topic has no key index.
    pub async fn read_key(
        &self,
        topic: &str,
        partition: u32,
        key: &[u8],
        offset: u64,
        options: &ReadOptions,
    ) -> Result<KeyPage, Error> {
        let (consistency, session_offset) = options.consistency.on_the_wire();
        let request = v1::ReadKeyRequest {
            topic: topic.to_owned(),
            partition,
            key: key.to_vec().into(),
            offset,
            max_bytes: options.max_bytes,
            max_records: options.max_records,
            consistency,
            session_offset,
        };
        let answer = self
            .ask_replica((topic, partition), options, |mut node| {
                let request = request.clone();
                async move { Ok(node.read_key(request).await?.into_inner()) }
            })
            .await?;
        Ok(KeyPage {
            records: answer.records.into_iter().map(Into::into).collect(),
            next_offset: answer.next_offset,
            end_offset: answer.end_offset,
        })
    }
}
