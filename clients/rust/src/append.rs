//! Appending one batch at a time, with or without a condition.
use crate::{Client, Error, Record, client::encode, record::system_time, retry::Kind};
use bytes::Bytes;
use corduroy_proto::v1::{self, append_request::Expect};
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

impl Appended {
    /// The offset behind the last record: what the partition ended at right after the append.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let appended = client.append("orders", Some(0), vec![corduroy_client::Record::new("placed")]).await?;
    /// assert_eq!((appended.first_offset, appended.end()), (0, 1));
    /// # Ok(()) }) }
    /// ```
    pub fn end(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }
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
    /// Without a partition the first record's key chooses it (see [`partition_for_key`]), or partition 0 takes them when
    /// that has none. A leader that dies meanwhile does not matter: the records are numbered, so they are sent to the next
    /// one and appended once. For many appends a [`crate::Producer`] is faster.
    ///
    /// Once the future was polled the records are on their way: dropping it does not take them back.
    ///
    /// # Errors
    /// [`Error::UnknownOutcome`] when the records may have been appended, which takes as long as the client's timeout. After
    /// every other error they were not.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let placed = Record::new("placed").with_key("customer-7");
    /// let appended = client.append("orders", None, vec![placed]).await?;
    /// println!("at offset {} of partition {}", appended.first_offset, appended.partition);
    /// # Ok(()) }) }
    /// ```
    pub async fn append(&self, topic: &str, partition: Option<u32>, records: Vec<Record>) -> Result<Appended, Error> {
        let partition = match partition {
            Some(partition) => partition,
            None => self.partition_of(topic, records.first()).await?,
        };
        self.appender(topic).send_to(partition, records).await?.await
    }

    /// Appends records only if they get the offset `expected`: the partition ends there. Of several callers that expect the
    /// same end, one succeeds.
    ///
    /// # Errors
    /// [`Error::OffsetMismatch`] with the end there was: read what came in between and decide again. Otherwise as
    /// [`Client::append`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{Error, Record};
    /// client.append_if("orders", 0, 0, vec![Record::new("first")]).await?;
    /// match client.append_if("orders", 0, 0, vec![Record::new("also first?")]).await {
    ///     Err(Error::OffsetMismatch { actual, .. }) => assert_eq!(actual, 1),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }) }
    /// ```
    pub async fn append_if(
        &self,
        topic: &str,
        partition: u32,
        expected: u64,
        records: Vec<Record>,
    ) -> Result<Appended, Error> {
        self.append_expecting(topic, partition, records, Expect::ExpectedOffset(expected)).await
    }

    /// Appends records with this key only if its last record has the offset `expected` (`None`: it has none): of several
    /// callers that read the same last record and go on from it, one succeeds. Records without a key get it. Without a
    /// partition the key chooses it. Only on topics with a key index.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] with the last offset there was: read what came in between and decide again.
    /// [`Error::Invalid`] where the topic has no key index or a record has another key. Otherwise as [`Client::append`].
    ///
    /// ```
    #[doc = include_str!("../doc/keyed.rs")]
    /// # use corduroy_client::{Error, Record};
    /// let opened = client.append_if_key("accounts", None, "7", None, vec![Record::new("opened")]).await?;
    /// let last = Some(opened.first_offset);
    /// client.append_if_key("accounts", None, "7", last, vec![Record::new("credited")]).await?;
    /// let refused = client.append_if_key("accounts", None, "7", last, vec![Record::new("debited")]).await;
    /// assert!(matches!(refused, Err(Error::KeyMismatch { actual: Some(1), .. })));
    /// # Ok(()) }) }
    /// ```
    pub async fn append_if_key(
        &self,
        topic: &str,
        partition: Option<u32>,
        key: impl Into<Bytes>,
        expected: Option<u64>,
        mut records: Vec<Record>,
    ) -> Result<Appended, Error> {
        let key = key.into();
        for record in &mut records {
            record.key.get_or_insert_with(|| key.clone());
        }
        if let Some(other) = records.iter().position(|record| record.key.as_ref() != Some(&key)) {
            return Err(Error::Invalid(format!("record {other} has another key than the append is about")));
        }
        let partition = match partition {
            Some(partition) => partition,
            None => partition_for_key(&key, self.partitions(topic).await?),
        };
        let expect = Expect::ExpectedKey(v1::KeyExpectation { last_offset: expected });
        self.append_expecting(topic, partition, records, expect).await
    }

    /// Numbered, too, by a producer that has nothing else under way: a repetition is told before the condition is looked at,
    /// so an append whose first answer was lost is not refused because of itself.
    async fn append_expecting(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<Record>,
        expect: Expect,
    ) -> Result<Appended, Error> {
        let count = records.len() as u64;
        let mut request = v1::AppendRequest {
            topic: topic.to_owned(),
            partition: Some(partition),
            records: encode(records),
            producer: None,
            expect: Some(expect),
        };
        let mut slot = self.slots().take(topic, partition);
        loop {
            request.producer = Some(slot.stamp());
            let answer = self.at_leader((topic, partition), Kind::Idempotent, |mut node| {
                let request = request.clone();
                async move { Ok(node.append(request).await?.into_inner()) }
            });
            match answer.await {
                Ok(answer) => {
                    slot.used(count);
                    self.slots().give_back(slot);
                    return Ok(answer.into());
                }
                // It was not used for so long that the partition has forgotten it.
                Err(Error::OutOfSequence { .. }) if !slot.is_new() => slot = self.slots().new_one(topic, partition),
                // Whether its number is used is not known: nobody uses it again.
                Err(error @ Error::UnknownOutcome(_)) => return Err(error),
                Err(error) => {
                    self.slots().give_back(slot);
                    return Err(error);
                }
            }
        }
    }

    /// The partition of records whose first one is this.
    pub(crate) async fn partition_of(&self, topic: &str, first: Option<&Record>) -> Result<u32, Error> {
        match first.and_then(|record| record.key.as_deref()) {
            None => Ok(0),
            Some(key) => Ok(partition_for_key(key, self.partitions(topic).await?)),
        }
    }
}
