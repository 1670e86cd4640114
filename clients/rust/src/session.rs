//! Reading one's own writes through any node.
use crate::{Appended, Client, Consistency, Error, Offsets, Page, ReadOptions, Record};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Remembers what it has appended and read, so that later reads see it, on whichever replica and without asking a
/// majority. Made by [`Client::session`]. Clones are the same session.
///
/// What others have appended it sees when a replica has it: a session goes forward, and not always to the newest.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    seen: Arc<Mutex<HashMap<(String, u32), u64>>>,
}

impl Client {
    /// Begins a session that has seen nothing yet.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{ReadOptions, Record};
    /// let session = client.session();
    /// session.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// // From any replica, and it is there.
    /// let page = session.read("orders", 0, 0, &ReadOptions::default()).await?;
    /// assert_eq!(page.records.len(), 1);
    /// # Ok(()) }) }
    /// ```
    pub fn session(&self) -> Session {
        Session { client: self.clone(), seen: Arc::default() }
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u32), u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset below which it has seen everything of a partition.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let session = client.session();
    /// assert_eq!(session.seen("orders", 0), 0);
    /// session.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// assert_eq!(session.seen("orders", 0), 1);
    /// # Ok(()) }) }
    /// ```
    pub fn seen(&self, topic: &str, partition: u32) -> u64 {
        self.lock().get(&(topic.to_owned(), partition)).copied().unwrap_or_default()
    }

    /// Has seen everything below `offset` by other means: a producer's acknowledgement, or what another process said.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let appended = client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let session = client.session();
    /// session.saw("orders", 0, appended.end());
    /// assert_eq!(session.seen("orders", 0), 1);
    /// # Ok(()) }) }
    /// ```
    pub fn saw(&self, topic: &str, partition: u32, offset: u64) {
        let mut seen = self.lock();
        let known = seen.entry((topic.to_owned(), partition)).or_default();
        *known = offset.max(*known);
    }

    /// As [`Client::append`], and remembers it.
    ///
    /// # Errors
    /// As [`Client::append`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let session = client.session();
    /// session.append("orders", Some(1), vec![Record::new("placed")]).await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn append(&self, topic: &str, partition: Option<u32>, records: Vec<Record>) -> Result<Appended, Error> {
        let appended = self.client.append(topic, partition, records).await?;
        self.saw(topic, appended.partition, appended.end());
        Ok(appended)
    }

    /// As [`Client::read`], with everything the session has seen of the partition; `consistency` of the options does not
    /// matter.
    ///
    /// # Errors
    /// As [`Client::read`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{ReadOptions, Record};
    /// let session = client.session();
    /// session.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// assert_eq!(session.read("orders", 0, 0, &ReadOptions::default()).await?.records.len(), 1);
    /// # Ok(()) }) }
    /// ```
    pub async fn read(&self, topic: &str, partition: u32, offset: u64, options: &ReadOptions) -> Result<Page, Error> {
        let page = self.client.read(topic, partition, offset, &self.options(topic, partition, options)).await?;
        self.saw(topic, partition, page.records.last().map_or(0, |last| last.offset + 1));
        Ok(page)
    }

    /// As [`Client::offsets`], with everything the session has seen of the partition.
    ///
    /// # Errors
    /// As [`Client::read`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{ReadOptions, Record};
    /// let session = client.session();
    /// session.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// assert_eq!(session.offsets("orders", 0, &ReadOptions::default()).await?.end, 1);
    /// # Ok(()) }) }
    /// ```
    pub async fn offsets(&self, topic: &str, partition: u32, options: &ReadOptions) -> Result<Offsets, Error> {
        let offsets = self.client.offsets(topic, partition, &self.options(topic, partition, options)).await?;
        self.saw(topic, partition, offsets.end);
        Ok(offsets)
    }

    fn options(&self, topic: &str, partition: u32, options: &ReadOptions) -> ReadOptions {
        ReadOptions { consistency: Consistency::Session(self.seen(topic, partition)), ..options.clone() }
    }
}
