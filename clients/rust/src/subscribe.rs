//! Following a partition from an offset on.
use crate::{
    Client, Error, StoredRecord,
    client::{Attempts, Target},
    retry::Kind,
};
use corduroy_proto::v1::{self, subscribe_request::Message};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

/// Bytes of records a node may send ahead of the reader.
const CREDIT: u64 = 4 << 20;
/// Bound on one attempt to open a stream.
const OPEN: Duration = Duration::from_secs(3);

/// Records of one partition as they become readable, in order, without gap or repeat. Made by [`Client::subscribe`].
///
/// When the node it reads from dies or falls silent, it goes on at another, at the next offset. Nothing is buffered
/// beyond a credit of 4 MiB: a reader that does not ask is not sent more.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    topic: String,
    partition: u32,
    next: u64,
    only: Option<String>,
    feed: Option<Feed>,
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
    /// Follows a partition from `offset` on. Connects when first asked for records.
    pub fn subscribe(&self, topic: &str, partition: u32, offset: u64) -> Subscription {
        let topic = topic.to_owned();
        Subscription { client: self.clone(), topic, partition, next: offset, only: None, feed: None, begun: false }
    }
}

impl Subscription {
    /// Reads from this gRPC address and no other; when it fails, so does the subscription.
    pub fn at_node(mut self, address: impl Into<String>) -> Self {
        self.only = Some(address.into());
        self
    }

    /// The offset that comes next: where to resume after dropping this.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// The next records, at least one; waits until there are some. Cancelling loses nothing.
    ///
    /// # Errors
    /// `UnknownTopic`, `PartitionOutOfRange`, `OffsetOutOfRange` when the first offset lies beyond the end, `Protocol`
    /// when a node leaves a gap, and the retryable ones when no node could be subscribed to within the client's
    /// timeout. After an error the subscription may be asked again.
    pub async fn next(&mut self) -> Result<Vec<StoredRecord>, Error> {
        let mut deadline = Instant::now() + self.client.timeout();
        let (client, topic, only) = (self.client.clone(), self.topic.clone(), self.only.clone());
        let target = only.as_deref().map_or(Target::Leader(&topic, self.partition), Target::Only);
        let mut attempts = Attempts::new(&client, target);
        loop {
            let address = match &self.feed {
                Some(feed) => feed.address.clone(),
                None => attempts.address(),
            };
            let error = match self.receive(&address).await {
                Ok(records) if records.is_empty() => {
                    // A sign of life: the node has nothing new.
                    attempts.succeeded(Kind::Read, &address);
                    deadline = Instant::now() + client.timeout();
                    continue;
                }
                Ok(records) => return Ok(records),
                Err(error) => error,
            };
            // A stream that was open has used no time on attempts, however long it was quiet.
            if self.feed.take().is_some() {
                deadline = Instant::now() + client.timeout();
            }
            let behind = self.begun && matches!(error, Error::OffsetOutOfRange(_));
            let error = if behind { Error::Unavailable(error.to_string()) } else { error };
            match attempts.failed(&error, Kind::Read, &address) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => return Err(attempts.conclude(error)),
            }
        }
    }

    /// The same as a [`futures::Stream`]. Ends after the first error.
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
            self.feed = Some(self.open(address).await?);
        }
        let feed = self.feed.as_mut().expect("it was opened above");
        let answer = feed.answers.message().await.map_err(|status| Error::from_status(&status, address))?;
        let answer = answer.ok_or_else(|| Error::Lost(format!("{address} ended the stream")))?;
        if answer.used_bytes > 0 {
            // A closed stream shows when the next answer is asked for.
            let message = Some(Message::CreditBytes(answer.used_bytes));
            let _ = feed.requests.send(v1::SubscribeRequest { message });
        }
        let records: Vec<StoredRecord> = answer.records.into_iter().map(Into::into).collect();
        self.accept(records, address)
    }

    async fn open(&self, address: &str) -> Result<Feed, Error> {
        // Bounded by the answers: one grant each.
        let (requests, outgoing) = mpsc::unbounded_channel();
        let (topic, partition, offset) = (self.topic.clone(), self.partition, self.next);
        let start = v1::SubscribeStart { topic, partition, offset, credit_bytes: CREDIT };
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

    /// Checks that the records follow on what was received, and moves on.
    fn accept(&mut self, records: Vec<StoredRecord>, address: &str) -> Result<Vec<StoredRecord>, Error> {
        for record in &records {
            if record.offset != self.next {
                self.feed = None;
                let (got, expected) = (record.offset, self.next);
                return Err(Error::Protocol(format!("{address} sent offset {got} where {expected} was next")));
            }
            self.next += 1;
        }
        self.begun |= !records.is_empty();
        Ok(records)
    }
}
