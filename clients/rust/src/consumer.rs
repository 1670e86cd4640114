//! Consuming a topic: all of its partitions or one, from an offset or from where a named cursor stands.
//!
//! ```text
//! a task per partition: Subscription ─▶ decoded ─┐
//!                                                ├─▶ [one answer per partition] ─▶ Consumer::next ─▶ the caller
//!                                                ┘                                      │ done with it
//!                                                    the cursor of each partition ◀─ commit
//! ```
mod commits;

use self::commits::Commits;
use crate::{Client, Error, ReadOptions, StoredRecord, subscribe::CREDIT};
use futures::{Stream, future::try_join_all};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

/// Pause before a partition that failed for a while is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// The least credit of a partition: less would make very small answers.
const LEAST_CREDIT: u64 = 64 << 10;

/// Where to begin, where no cursor says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// With the first record that is kept.
    #[default]
    Start,
    /// With what is appended from now on.
    End,
    /// At this offset of each partition.
    Offset(u64),
}

/// How a consumer is made; see [`Client::consumer`].
#[derive(Clone, Debug)]
pub struct ConsumerBuilder {
    client: Client,
    topic: String,
    partition: Option<u32>,
    start: StartAt,
    cursor: Option<String>,
    commit_every: Option<Duration>,
    credit: u64,
}

impl ConsumerBuilder {
    /// This partition and no other. Default: all of them.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let consumer = client.consumer("orders").partition(1).open().await?;
    /// assert_eq!(consumer.positions().len(), 1);
    /// # Ok(()) }) }
    /// ```
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Where to begin. A cursor that exists knows better.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::StartAt;
    /// let consumer = client.consumer("orders").start_at(StartAt::End).open().await?;
    /// # Ok(()) }) }
    /// ```
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.start = start;
        self
    }

    /// Take over the cursor of this name in every partition, begin where it stands, and commit to it. Whoever had it
    /// before is told at its next commit, and ends.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let mut consumer = client.consumer("orders").cursor("mailer").open().await?;
    /// let placed = consumer.next().await.expect("it does not end")?;
    /// consumer.close().await?;
    /// // The next one goes on behind it.
    /// let consumer = client.consumer("orders").cursor("mailer").open().await?;
    /// assert_eq!(consumer.positions()[&placed.partition], placed.next_offset);
    /// # Ok(()) }) }
    /// ```
    pub fn cursor(mut self, name: impl Into<String>) -> Self {
        self.cursor = Some(name.into());
        self
    }

    /// Commit what is done so often; `None`: only when [`Consumer::commit`] is called. What was handed out is taken to be
    /// done when more is asked for, so after a crash some records come again and none is skipped. Default: every second.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let consumer = client.consumer("orders").cursor("mailer").commit_every(None).open().await?;
    /// # Ok(()) }) }
    /// ```
    pub fn commit_every(mut self, interval: Option<Duration>) -> Self {
        self.commit_every = interval;
        self
    }

    /// Bytes of records that nodes may send ahead of the caller, over all partitions: a bound on what is buffered, but for
    /// three answers of each partition, of about 512 KiB. Default: 4 MiB per partition.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let consumer = client.consumer("orders").credit(1 << 20).open().await?;
    /// # Ok(()) }) }
    /// ```
    pub fn credit(mut self, bytes: u64) -> Self {
        self.credit = bytes;
        self
    }

    /// Finds out where to begin, takes the cursor over, and subscribes.
    ///
    /// # Errors
    /// `UnknownTopic`, `PartitionOutOfRange`, and what reading offsets or acquiring a cursor may say.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let consumer = client.consumer("orders").open().await?;
    /// assert_eq!(consumer.positions().len(), 2);
    /// # Ok(()) }) }
    /// ```
    pub async fn open(self) -> Result<Consumer, Error> {
        let partitions: Vec<u32> = match self.partition {
            Some(partition) => vec![partition],
            None => (0..self.client.partitions(&self.topic).await?).collect(),
        };
        let places = try_join_all(partitions.iter().map(|partition| self.begin(*partition))).await?;
        let share = match self.credit {
            0 => CREDIT,
            credit => (credit / partitions.len().max(1) as u64).max(LEAST_CREDIT),
        };
        let (records, incoming) = mpsc::channel(partitions.len().max(1));
        let mut tasks = JoinSet::new();
        let mut positions = BTreeMap::new();
        let mut fences = BTreeMap::new();
        for (partition, (offset, fence)) in partitions.into_iter().zip(places) {
            let subscription = self.client.subscribe(&self.topic, partition, offset).credit(share);
            tasks.spawn(follow(partition, subscription, records.clone()));
            positions.insert(partition, offset);
            fences.insert(partition, (offset, fence));
        }
        let mut failure = None;
        let commits = self.cursor.map(|name| Arc::new(Commits::new(self.client, self.topic, name, fences)));
        if let (Some(commits), Some(interval)) = (&commits, self.commit_every) {
            let (fenced, failed) = oneshot::channel();
            tasks.spawn(commits.clone().by_interval(interval, fenced));
            failure = Some(failed);
        }
        Ok(Consumer { incoming, positions, commits, failure, ended: false, _tasks: tasks })
    }

    /// The first offset wanted of a partition, and the fence of its cursor.
    async fn begin(&self, partition: u32) -> Result<(u64, u64), Error> {
        let (client, topic) = (&self.client, &self.topic);
        let Some(name) = &self.cursor else { return Ok((self.first(partition).await?, 0)) };
        let known = client.cursor(topic, partition, name, &ReadOptions::default()).await?;
        let mine = client.acquire_cursor(topic, partition, name).await?;
        if known.is_some() || mine.offset > 0 {
            return Ok((mine.offset, mine.fence));
        }
        // Where it begins is decided once, and not again by whoever goes on from here.
        let first = self.first(partition).await?;
        if first > 0 {
            client.commit_cursor(topic, partition, name, first, mine.fence).await?;
        }
        Ok((first, mine.fence))
    }

    async fn first(&self, partition: u32) -> Result<u64, Error> {
        let bounds = self.client.offsets(&self.topic, partition, &ReadOptions::default()).await?;
        Ok(match self.start {
            StartAt::Start => bounds.start,
            StartAt::End => bounds.end,
            StartAt::Offset(offset) => offset.max(bounds.start),
        })
    }
}

/// Some records of one partition, in offset order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// The partition.
    pub partition: u32,
    /// At least one, without holes.
    pub records: Vec<StoredRecord>,
    /// The offset behind them.
    pub next_offset: u64,
    /// The end of the partition when they were sent: how much is still to come.
    pub end_offset: u64,
}

/// The records of a topic as they become readable: each partition's in order, without gap or repeat, whatever becomes of
/// the nodes. Made by [`Client::consumer`]. A [`Stream`], too.
///
/// It buffers little more than its credit ([`ConsumerBuilder::credit`]). Dropping it ends it at once, without a commit; [`Consumer::close`] commits.
#[derive(Debug)]
pub struct Consumer {
    incoming: mpsc::Receiver<(u32, Result<Records, Error>)>,
    /// Of each partition, the offset behind what was handed out.
    positions: BTreeMap<u32, u64>,
    commits: Option<Arc<Commits>>,
    /// Why commits by interval have ended; `None`: there are none.
    failure: Option<oneshot::Receiver<Error>>,
    ended: bool,
    /// Ends with the consumer.
    _tasks: JoinSet<()>,
}

impl Client {
    /// Begins to make a consumer of a topic.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", None, vec![Record::new("placed").with_key("customer-7")]).await?;
    /// let mut consumer = client.consumer("orders").open().await?;
    /// while let Some(some) = consumer.next().await {
    ///     for record in some?.records {
    ///         println!("{}: {:?}", record.offset, record.value);
    ///     }
    /// #   break;
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn consumer(&self, topic: &str) -> ConsumerBuilder {
        ConsumerBuilder {
            client: self.clone(),
            topic: topic.to_owned(),
            partition: None,
            start: StartAt::default(),
            cursor: None,
            commit_every: Some(Duration::from_secs(1)),
            credit: 0,
        }
    }
}

impl Consumer {
    /// The next records, of whichever partition has some; waits until there are some. Asking says that all that was handed
    /// out before is done. Cancelling loses nothing. `None` after an error that ends it.
    ///
    /// # Errors
    /// [`Error::CursorFenced`] when somebody has taken the cursor over, and `UnknownTopic` when the topic has been deleted,
    /// end it. While no node can be reached there is an error now and then: ask again.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", Some(1), vec![Record::new("placed")]).await?;
    /// let mut consumer = client.consumer("orders").open().await?;
    /// let some = consumer.next().await.expect("it does not end")?;
    /// assert_eq!((some.partition, some.records.len(), some.next_offset), (1, 1, 1));
    /// # Ok(()) }) }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Records, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Of each partition, the offset behind what was handed out: where to resume.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let consumer = client.consumer("orders").open().await?;
    /// assert_eq!(consumer.positions()[&0], 0);
    /// # Ok(()) }) }
    /// ```
    pub fn positions(&self) -> &BTreeMap<u32, u64> {
        &self.positions
    }

    /// Commits everything that was handed out to the cursor. Does nothing without one.
    ///
    /// # Errors
    /// As [`Client::commit_cursor`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{ReadOptions, Record};
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let mut consumer = client.consumer("orders").cursor("mailer").commit_every(None).open().await?;
    /// consumer.next().await.expect("it does not end")?;
    /// consumer.commit().await?;
    /// let cursor = client.cursor("orders", 0, "mailer", &ReadOptions::default()).await?;
    /// assert_eq!(cursor.expect("it was made").offset, 1);
    /// # Ok(()) }) }
    /// ```
    pub async fn commit(&self) -> Result<(), Error> {
        match &self.commits {
            Some(commits) => {
                commits.done(&self.positions);
                commits.commit().await
            }
            None => Ok(()),
        }
    }

    /// Commits everything that was handed out, and ends.
    ///
    /// # Errors
    /// As [`Client::commit_cursor`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let consumer = client.consumer("orders").cursor("mailer").open().await?;
    /// consumer.close().await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn close(self) -> Result<(), Error> {
        self.commit().await
    }
}

impl Stream for Consumer {
    type Item = Result<Records, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(commits) = &this.commits {
            commits.done(&this.positions);
        }
        if let Some(failure) = &mut this.failure
            && let Poll::Ready(ended) = Pin::new(failure).poll(cx)
        {
            this.failure = None;
            if let Ok(error) = ended {
                this.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
        let Some((partition, item)) = std::task::ready!(this.incoming.poll_recv(cx)) else {
            this.ended = true;
            return Poll::Ready(None);
        };
        match &item {
            Ok(records) => drop(this.positions.insert(partition, records.next_offset)),
            Err(error) => this.ended = is_final(error),
        }
        Poll::Ready(Some(item))
    }
}

/// Whether asking again will not help.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::UnknownTopic(_)
            | Error::PartitionOutOfRange(_)
            | Error::OffsetOutOfRange(_)
            | Error::Invalid(_)
            | Error::CursorFenced { .. }
    )
}

/// Reads a partition until nobody wants more of it.
async fn follow(
    partition: u32,
    mut subscription: crate::Subscription,
    records: mpsc::Sender<(u32, Result<Records, Error>)>,
) {
    loop {
        let item = subscription.next().await;
        let (next_offset, end_offset) = (subscription.next_offset(), subscription.end_offset());
        let item = item.map(|records| Records { partition, records, next_offset, end_offset });
        let (failed, last) = (item.is_err(), item.as_ref().is_err_and(is_final));
        if records.send((partition, item)).await.is_err() || last {
            return;
        }
        if failed {
            sleep(PAUSE).await;
        }
    }
}
