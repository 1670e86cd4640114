//! Named cursors: how far consumers have come, kept by the partition.
use crate::{Client, Error, ReadOptions, record::system_time, retry::Kind};
use corduroy_proto::v1;
use std::time::SystemTime;

/// How far a consumer has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The name of the consumer.
    pub name: String,
    /// It has done everything below.
    pub offset: u64,
    /// Commits need this fence, or a higher one, which is the fence from then on.
    pub fence: u64,
    /// Log time of the last change.
    pub time: SystemTime,
}

impl Cursor {
    fn from_wire(cursor: v1::Cursor) -> Self {
        let v1::Cursor { name, offset, fence, time } = cursor;
        let time = time.map_or(SystemTime::UNIX_EPOCH, |time| system_time(time.seconds, time.nanos));
        Cursor { name, offset, fence, time }
    }
}

fn changed(answer: v1::CursorResponse) -> Result<Cursor, Error> {
    answer.cursor.map(Cursor::from_wire).ok_or_else(|| Error::Protocol("the answer holds no cursor".into()))
}

impl Client {
    /// Says that the consumer of this name has done everything below `offset` of a partition. Offsets may go back: that is
    /// how one does something again. The first commit makes the cursor. `fence` is the cursor's, from
    /// [`Client::acquire_cursor`], or 0 where nobody acquires it.
    ///
    /// # Errors
    /// [`Error::CursorFenced`] where a higher fence was acquired; [`Error::OffsetOutOfRange`] beyond the end of the
    /// partition; [`Error::TooMany`]; [`Error::Invalid`] for a name that is none. Repeating it does no harm.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let cursor = client.commit_cursor("orders", 0, "mailer", 1, 0).await?;
    /// assert_eq!((cursor.offset, cursor.fence), (1, 0));
    /// # Ok(()) }) }
    /// ```
    pub async fn commit_cursor(
        &self,
        topic: &str,
        partition: u32,
        name: &str,
        offset: u64,
        fence: u64,
    ) -> Result<Cursor, Error> {
        let (topic, name) = (topic.to_owned(), name.to_owned());
        let request = v1::CommitCursorRequest { topic, partition, name, offset, fence };
        let answer = self.at_leader((&request.topic, partition), Kind::Idempotent, |mut node| {
            let request = request.clone();
            async move { Ok(node.commit_cursor(request).await?.into_inner()) }
        });
        changed(answer.await?)
    }

    /// Takes a cursor over: whoever had it before can commit no more. Says where to go on, and with which fence. Makes the
    /// cursor, at offset 0, where there is none.
    ///
    /// # Errors
    /// [`Error::TooMany`]; [`Error::Invalid`] for a name that is none.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Error;
    /// let before = client.acquire_cursor("orders", 0, "mailer").await?;
    /// let mine = client.acquire_cursor("orders", 0, "mailer").await?;
    /// let refused = client.commit_cursor("orders", 0, "mailer", 0, before.fence).await;
    /// assert!(matches!(refused, Err(Error::CursorFenced { current, .. }) if current == mine.fence));
    /// # Ok(()) }) }
    /// ```
    pub async fn acquire_cursor(&self, topic: &str, partition: u32, name: &str) -> Result<Cursor, Error> {
        let request = v1::CursorRequest { topic: topic.to_owned(), partition, name: name.to_owned() };
        let answer = self.at_leader((topic, partition), Kind::Idempotent, |mut node| {
            let request = request.clone();
            async move { Ok(node.acquire_cursor(request).await?.into_inner()) }
        });
        changed(answer.await?)
    }

    /// Forgets a cursor. One that is not there is forgotten already.
    ///
    /// # Errors
    /// `UnknownTopic`, `PartitionOutOfRange`, and the retryable ones once the deadline has passed.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// client.acquire_cursor("orders", 0, "mailer").await?;
    /// client.delete_cursor("orders", 0, "mailer").await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn delete_cursor(&self, topic: &str, partition: u32, name: &str) -> Result<(), Error> {
        let request = v1::CursorRequest { topic: topic.to_owned(), partition, name: name.to_owned() };
        let answer = self.at_leader((topic, partition), Kind::Idempotent, |mut node| {
            let request = request.clone();
            async move { Ok(node.delete_cursor(request).await?.into_inner()) }
        });
        answer.await.map(drop)
    }

    /// The cursor of this name; `None`: there is none. Only `consistency` and `node` of the options matter.
    ///
    /// # Errors
    /// As [`Client::read`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::ReadOptions;
    /// assert_eq!(client.cursor("orders", 0, "mailer", &ReadOptions::default()).await?, None);
    /// # Ok(()) }) }
    /// ```
    pub async fn cursor(
        &self,
        topic: &str,
        partition: u32,
        name: &str,
        options: &ReadOptions,
    ) -> Result<Option<Cursor>, Error> {
        let (consistency, session_offset) = options.consistency.on_the_wire();
        let (topic, name) = (topic.to_owned(), name.to_owned());
        let request = v1::FetchCursorRequest { topic, partition, name, consistency, session_offset };
        let answer = self.ask_replica((&request.topic, partition), options, |mut node| {
            let request = request.clone();
            async move { Ok(node.fetch_cursor(request).await?.into_inner()) }
        });
        Ok(answer.await?.cursor.map(Cursor::from_wire))
    }

    /// All cursors of a partition, by name. Only `consistency` and `node` of the options matter.
    ///
    /// # Errors
    /// As [`Client::read`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::ReadOptions;
    /// client.acquire_cursor("orders", 0, "mailer").await?;
    /// let cursors = client.cursors("orders", 0, &ReadOptions::default()).await?;
    /// assert_eq!(cursors[0].name, "mailer");
    /// # Ok(()) }) }
    /// ```
    pub async fn cursors(&self, topic: &str, partition: u32, options: &ReadOptions) -> Result<Vec<Cursor>, Error> {
        let (consistency, session_offset) = options.consistency.on_the_wire();
        let request = v1::ListCursorsRequest { topic: topic.to_owned(), partition, consistency, session_offset };
        let answer = self.ask_replica((topic, partition), options, |mut node| {
            let request = request.clone();
            async move { Ok(node.list_cursors(request).await?.into_inner()) }
        });
        Ok(answer.await?.cursors.into_iter().map(Cursor::from_wire).collect())
    }
}
