//! Following a partition from an offset on.
use crate::{Client, Consistency, Error, ReadOptions, StoredRecord, client::Places, record::decode};
use corduroy_proto::v1::{self, subscribe_request::Message};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

/// Bytes of records a node may send ahead of the reader, unless told otherwise.
pub(crate) const CREDIT: u64 = 4 << 20;
/// Bound on one attempt to open a stream.
const OPEN: Duration = Duration::from_secs(3);
/// A node that sends nothing for so long is doubted; doubles up to `DOUBT_MAX` while no other has more.
const DOUBT_MIN: Duration = Duration::from_secs(1);
const DOUBT_MAX: Duration = Duration::from_secs(8);
/// One that is behind another has so long to catch up.
const GRACE: Duration = Duration::from_millis(200);
/// Bound on asking another node how far it is.
const ASK: Duration = Duration::from_millis(500);

/// Records of one partition as they become readable, in order, without gap or repeat. Made by [`Client::subscribe`].
///
/// When the node it reads from dies or falls silent, or is cut off from the others, it goes on at another, at the next
/// offset. Nothing is buffered beyond its credit: a reader that does not ask is not sent more.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    topic: String,
    partition: u32,
    next: u64,
    end: u64,
    only: Option<String>,
    credit: u64,
    feed: Option<Feed>,
    /// Where it goes next, because it is known to have more.
    ahead: Option<String>,
    /// A stream is being opened. Still set at the next call: the caller went away before the node answered.
    opening: bool,
    /// When the node was last heard of, and how long after that it is doubted.
    heard: Instant,
    doubt: Duration,
    /// Asks another node whether it has more: one at a time, over several calls if need be.
    doubting: JoinSet<Option<String>>,
    /// Something was received: the offset exists, a replica that does not have it yet is behind.
    begun: bool,
}

#[derive(Debug)]
struct Feed {
    address: String,
    requests: mpsc::UnboundedSender<v1::SubscribeRequest>,
    answers: Streaming<v1::SubscribeResponse>,
}

impl Client {
    /// Follows a partition from `offset` on; one beyond the end waits there. Connects when first asked for records. For all partitions of a topic, or with
    /// a cursor, see [`Client::consumer`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let mut subscription = client.subscribe("orders", 0, 0);
    /// let records = subscription.next().await?;
    /// assert_eq!((records[0].offset, &records[0].value[..]), (0, &b"placed"[..]));
    /// # Ok(()) }) }
    /// ```
    pub fn subscribe(&self, topic: &str, partition: u32, offset: u64) -> Subscription {
        Subscription {
            client: self.clone(),
            topic: topic.to_owned(),
            partition,
            next: offset,
            end: 0,
            only: None,
            credit: CREDIT,
            feed: None,
            ahead: None,
            opening: false,
            heard: Instant::now(),
            doubt: DOUBT_MIN,
            doubting: JoinSet::new(),
            begun: false,
        }
    }
}

impl Subscription {
    /// Reads from this gRPC address and no other; when it fails, so does the subscription.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let address = &client.topology("orders").await?.nodes[0].grpc;
    /// let subscription = client.subscribe("orders", 0, 0).at_node(address);
    /// # Ok(()) }) }
    /// ```
    pub fn at_node(mut self, address: impl Into<String>) -> Self {
        self.only = Some(address.into());
        self
    }

    /// Bytes of records a node may send ahead of the reader: a bound on what is buffered, but for one answer, of about 512
    /// KiB. Default: 4 MiB. Takes effect when a node is next connected to.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let subscription = client.subscribe("orders", 0, 0).credit(64 << 10);
    /// # Ok(()) }) }
    /// ```
    pub fn credit(mut self, bytes: u64) -> Self {
        self.credit = bytes.max(1);
        self
    }

    /// The offset that comes next: where to resume after dropping this.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// assert_eq!(client.subscribe("orders", 0, 7).next_offset(), 7);
    /// # Ok(()) }) }
    /// ```
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// The end of the partition when the node last sent something; 0 before. What lies between it and
    /// [`Subscription::next_offset`] is still to come.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let mut subscription = client.subscribe("orders", 0, 0);
    /// subscription.next().await?;
    /// assert_eq!(subscription.end_offset() - subscription.next_offset(), 0);
    /// # Ok(()) }) }
    /// ```
    pub fn end_offset(&self) -> u64 {
        self.end
    }

    /// The next records, at least one; waits until there are some. Cancelling loses nothing.
    ///
    /// # Errors
    /// `UnknownTopic`, `PartitionOutOfRange`, `Protocol` when a node leaves a gap or sends what does not verify, and the
    /// retryable ones when no node could be subscribed to within the client's timeout. After an error the subscription may be
    /// asked again.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// client.append("orders", Some(0), vec![Record::new("placed"), Record::new("paid")]).await?;
    /// let records = client.subscribe("orders", 0, 1).next().await?;
    /// assert_eq!(&records[0].value[..], b"paid");
    /// # Ok(()) }) }
    /// ```
    pub async fn next(&mut self) -> Result<Vec<StoredRecord>, Error> {
        let mut deadline = Instant::now() + self.client.timeout();
        let (client, topic, only) = (self.client.clone(), self.topic.clone(), self.only.clone());
        let mut places = Places::new(&client, (&topic, self.partition), only.as_deref());
        if self.opening {
            places.pass_over_leader();
        }
        loop {
            let address = match (&self.feed, &self.ahead) {
                (Some(feed), _) => feed.address.clone(),
                (None, Some(ahead)) => ahead.clone(),
                (None, None) => places.next(),
            };
            let error = match self.receive(&address).await {
                Ok(records) if records.is_empty() => {
                    // A sign of life: the node has nothing new.
                    places.succeeded();
                    deadline = Instant::now() + client.timeout();
                    continue;
                }
                Ok(records) => {
                    self.doubt = DOUBT_MIN;
                    return Ok(records);
                }
                Err(error) => error,
            };
            // A stream that was open has used no time on attempts, however long it was quiet.
            if self.feed.take().is_some() {
                deadline = Instant::now() + client.timeout();
            }
            if self.ahead.as_ref().is_some_and(|ahead| *ahead != address) {
                continue;
            }
            self.ahead = None;
            let behind = self.begun && matches!(error, Error::OffsetOutOfRange(_));
            let error = if behind { Error::Unavailable(error.to_string()) } else { error };
            match places.failed(&error, &address) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => return Err(places.conclude(error)),
            }
        }
    }

    /// The same as a [`futures::Stream`]. Ends after the first error.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// use futures::StreamExt as _;
    /// client.append("orders", Some(0), vec![Record::new("placed")]).await?;
    /// let mut stream = Box::pin(client.subscribe("orders", 0, 0).into_stream());
    /// assert_eq!(stream.next().await.expect("it does not end")?.len(), 1);
    /// # Ok(()) }) }
    /// ```
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<Vec<StoredRecord>, Error>> + Send {
        futures::stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(records) => Some((Ok(records), Some(subscription))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Opens a stream if none is open, and takes one answer from it.
    async fn receive(&mut self, address: &str) -> Result<Vec<StoredRecord>, Error> {
        if self.feed.is_none() {
            self.opening = true;
            let opened = self.open(address).await;
            self.opening = false;
            self.feed = Some(opened?);
            self.ahead = None;
            self.settle();
        }
        let feed = self.feed.as_mut().expect("it was opened above");
        let answer = loop {
            tokio::select! {
                biased;
                answer = feed.answers.message() => {
                    break answer.map_err(|status| Error::from_status(&status, address))?;
                }
                Some(asked) = self.doubting.join_next() => match asked.ok().flatten() {
                    Some(ahead) => {
                        let text = format!("{address} is cut off or behind: {ahead} has more");
                        self.ahead = Some(ahead);
                        return Err(Error::Unavailable(text));
                    }
                    None => {
                        self.heard = Instant::now();
                        self.doubt = (self.doubt * 2).min(DOUBT_MAX);
                        return Ok(Vec::new());
                    }
                },
                () = sleep_until(self.heard + self.doubt), if self.only.is_none() && self.doubting.is_empty() => {
                    let (client, topic, partition) = (self.client.clone(), self.topic.clone(), self.partition);
                    self.doubting.spawn(somebody_ahead(client, topic, partition, address.to_owned(), self.next));
                }
            }
        };
        self.settle();
        let answer = answer.ok_or_else(|| Error::Lost(format!("{address} ended the stream")))?;
        if answer.used_bytes > 0 {
            let feed = self.feed.as_ref().expect("it was opened above");
            // A closed stream shows when the next answer is asked for.
            let message = Some(Message::CreditBytes(answer.used_bytes));
            let _ = feed.requests.send(v1::SubscribeRequest { message });
        }
        self.accept(answer, address).inspect_err(|_| self.feed = None)
    }

    /// The node is heard of.
    fn settle(&mut self) {
        self.heard = Instant::now();
        if !self.doubting.is_empty() {
            self.doubting = JoinSet::new();
        }
    }

    async fn open(&mut self, address: &str) -> Result<Feed, Error> {
        // Bounded by the answers: one grant each.
        let (requests, outgoing) = mpsc::unbounded_channel();
        let (topic, partition, offset) = (self.topic.clone(), self.partition, self.next);
        let start = v1::SubscribeStart { topic, partition, offset, credit_bytes: self.credit, batches: true };
        let message = Some(Message::Start(start));
        requests.send(v1::SubscribeRequest { message }).expect("the receiver is held here");
        let mut node = self.client.pool().log(address)?;
        let answers = timeout(OPEN, node.subscribe(UnboundedReceiverStream::new(outgoing)))
            .await
            .map_err(|_| Error::Timeout(format!("{address} did not answer within {OPEN:?}")))?
            .map_err(|status| Error::from_status(&status, address))?
            .into_inner();
        Ok(Feed { address: address.to_owned(), requests, answers })
    }

    /// Verifies and decodes an answer, checks that it follows on what was received, and moves on. A node that knows nothing
    /// of batches sends records.
    fn accept(&mut self, answer: v1::SubscribeResponse, address: &str) -> Result<Vec<StoredRecord>, Error> {
        let mut records: Vec<StoredRecord> = answer.records.into_iter().map(Into::into).collect();
        for batch in answer.batches {
            let offset = batch.base_offset;
            let damaged =
                |error| Error::Protocol(format!("{address} sent a batch at offset {offset} that is none: {error}"));
            decode(batch, self.next, &mut records).map_err(damaged)?;
        }
        let gap = (self.next..).zip(&records).find(|(expected, record)| record.offset != *expected);
        if let Some((expected, record)) = gap {
            let got = record.offset;
            return Err(Error::Protocol(format!("{address} sent offset {got} where {expected} was next")));
        }
        self.next += records.len() as u64;
        self.end = answer.end_offset.max(self.next);
        self.begun |= !records.is_empty();
        Ok(records)
    }
}

/// Another node that has records from `next` on, and had them before the one at `address` sent them. `None`: the one that was
/// asked has none, either.
async fn somebody_ahead(client: Client, topic: String, partition: u32, address: String, next: u64) -> Option<String> {
    let replicas = client.routes().replicas(&topic, &[partition].into());
    if replicas.is_empty() {
        // Known the next time.
        client.topology(&topic).await.ok()?;
    }
    let others: Vec<String> = replicas.into_iter().filter(|replica| *replica != address).collect();
    let other = others.get(rand::random_range(0..others.len().max(1)))?;
    let options = ReadOptions { consistency: Consistency::Stale, node: Some(other.clone()), ..ReadOptions::default() };
    let offsets = timeout(ASK, client.offsets(&topic, partition, &options)).await.ok()?.ok()?;
    if offsets.end <= next {
        return None;
    }
    sleep(GRACE).await;
    Some(other.clone())
}
