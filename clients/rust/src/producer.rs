//! Appends to a topic: many in flight, gathered into requests, each of them once and in order.
//!
//! ```text
//! send ─▶ partition of the record ─▶ lane: waiting ─▶ requests, numbered ─▶ wire (one AppendStream at the leader)
//!                                       ▲                  │
//!                                       └── deliveries ◀───┴── answers, in order
//! ```
//!
//! There is a lane for each partition in use, with a task that drives it. While requests are in flight, what is sent
//! gathers into the next one; at rest a record goes at once.
//!
//! **Invariant**: records are numbered when they become part of a request, and a request keeps its numbers and its bounds
//! as long as it may have been appended. A partition takes the numbers of a producer in order and each once, so a request
//! may be sent again, to whichever leader, until it is answered.
//!
//! **Invariant**: numbers are given to other records only in a new *epoch*, and then nothing of the one before may be in
//! doubt: what is, is reported as unknown first. The partition takes nothing of an earlier epoch any more once it has seen
//! the new one.
mod drive;

mod lane;

mod wire;

use crate::{Appended, Client, Error, Record, client::encode, partition_for_key};
use lane::{Job, Limits, Reply};
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};

/// What a record costs beside its bytes.
const RECORD: usize = 24;
/// Records above this are refused here: the node would end the whole stream over them. Bytes.
const LARGEST: usize = (4 << 20) + (512 << 10);
/// A keyless record goes where the one before went, until so many bytes have gone there.
const STICKY: usize = 64 << 10;
/// Requests that may be in flight to one partition. A partition remembers the last 128 of a producer.
const REQUESTS: usize = 64;

/// Where records without a key go, when no partition was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyless {
    /// Some to one partition, then some to another: larger requests than by turns.
    #[default]
    Sticky,
    /// Each to the next partition.
    ByTurns,
}

/// How a producer is made; see [`Client::producer`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    client: Client,
    topic: String,
    partition: Option<u32>,
    keyless: Keyless,
    linger: Option<Duration>,
    in_flight_bytes: usize,
    idempotent: bool,
    stop_at_failure: bool,
    limits: Limits,
}

impl ProducerBuilder {
    /// Every record goes to this partition. Default: where its key belongs ([`partition_for_key`]).
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let producer = client.producer("orders").partition(1).build();
    /// # Ok(()) }) }
    /// ```
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Where records without a key go.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Keyless;
    /// let producer = client.producer("orders").keyless(Keyless::ByTurns).build();
    /// # Ok(()) }) }
    /// ```
    pub fn keyless(mut self, keyless: Keyless) -> Self {
        self.keyless = keyless;
        self
    }

    /// Wait so long for more records before a request that is not full is sent. Default: not at all. Records gather anyway
    /// while others are in flight; this makes fewer and larger requests of a trickle.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let producer = client.producer("orders").linger(std::time::Duration::from_millis(2)).build();
    /// # Ok(()) }) }
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Bytes that the producer may hold, over all partitions; above it [`Producer::send`] waits. Default: the client's.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let producer = client.producer("orders").in_flight_bytes(1 << 20).build();
    /// # Ok(()) }) }
    /// ```
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes.max(1);
        self
    }

    /// Requests in flight to one partition, 1 to 64. Default: 8. With more of them records gather less.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let producer = client.producer("orders").requests_in_flight(64).build();
    /// # Ok(()) }) }
    /// ```
    pub fn requests_in_flight(mut self, requests: usize) -> Self {
        self.limits.requests = requests.clamp(1, REQUESTS);
        self
    }

    /// Records that one request holds at most, unless one [`Producer::send_batch`] has more. Default: as many as there are
    /// in 512 KiB.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let one_by_one = client.producer("orders").records_per_request(1).build();
    /// # Ok(()) }) }
    /// ```
    pub fn records_per_request(mut self, records: usize) -> Self {
        self.limits.request_records = records.max(1);
        self
    }

    /// Whether records are numbered, so that they may be sent again when an answer is lost. Default: yes. Without, such a
    /// record has an unknown outcome at once, and one request is in flight to a partition at a time. A partition remembers a
    /// limited number of producers: this is for those that live for a few records.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let producer = client.producer("orders").idempotent(false).build();
    /// # Ok(()) }) }
    /// ```
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// After a record was not appended, or may not have been, append nothing that was sent behind it to the same partition:
    /// what is there is then a prefix of what was sent. Later deliveries fail with [`Error::PrecedingFailed`]. Default: go
    /// on; the delivery of the record says what happened to it.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// let producer = client.producer("orders").stop_at_failure().build();
    /// # Ok(()) }) }
    /// ```
    pub fn stop_at_failure(mut self) -> Self {
        self.stop_at_failure = true;
        self
    }

    /// For appends of many callers that know nothing of each other.
    pub(crate) fn shared(mut self) -> Self {
        self.limits.requests = 16;
        self
    }

    /// The producer. Connects when something is sent.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let producer = client.producer("orders").build();
    /// let delivery = producer.send(Record::new("placed").with_key("customer-7")).await?;
    /// let appended = delivery.await?;
    /// println!("at offset {} of partition {}", appended.first_offset, appended.partition);
    /// # Ok(()) }) }
    /// ```
    pub fn build(self) -> Producer {
        let window = Arc::new(Semaphore::new(self.in_flight_bytes.min(Semaphore::MAX_PERMITS)));
        let sticky = Sticky { partition: rand::random(), bytes: 0 };
        let lanes = Mutex::new(Lanes { open: HashMap::new(), sticky, turn: rand::random(), closed: false });
        Producer { inner: Arc::new(Inner { id: rand::random(), lanes, window, options: self }) }
    }
}

/// Appends to a topic, in order per partition. Made by [`Client::producer`]; clones are the same producer.
///
/// Records to one partition are appended in the order in which they were sent. When a leader dies, or a connection breaks,
/// the producer sends again what was not acknowledged, to the next leader, until the client's timeout; nothing is appended
/// twice for that.
///
/// When the time is over, a record has the outcome [`Error::UnknownOutcome`] if it may have been appended; so have those
/// that were on the wire behind it. What was sent later goes on, unless [`ProducerBuilder::stop_at_failure`] was asked for:
/// in a new *epoch* of the producer, which keeps out what was left of the one before. As soon as one of those records is
/// acknowledged, the earlier ones are in the partition or will never be.
#[derive(Clone, Debug)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: [u8; 16],
    options: ProducerBuilder,
    lanes: Mutex<Lanes>,
    /// Bytes that may still be taken.
    window: Arc<Semaphore>,
}

#[derive(Debug)]
struct Lanes {
    /// By partition: the way to the task that drives it.
    open: HashMap<u32, mpsc::UnboundedSender<Job>>,
    sticky: Sticky,
    turn: u32,
    closed: bool,
}

#[derive(Debug)]
struct Sticky {
    partition: u32,
    bytes: usize,
}

impl Sticky {
    /// Where the next record goes.
    fn next(&mut self, bytes: usize, partitions: u32) -> u32 {
        if self.bytes >= STICKY {
            *self = Sticky { partition: rand::random(), bytes: 0 };
        }
        self.bytes += bytes;
        self.partition % partitions.max(1)
    }
}

/// The answer to what was sent, once it is there: the partition, and the offset of the (first) record. Dropping it does not
/// take the records back.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Appended, Error>>);

impl Future for Delivery {
    type Output = Result<Appended, Error>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A lane answers everything it has taken, unless its runtime ends.
        let lost = || Err(Error::UnknownOutcome("the producer ended before its answer".into()));
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or_else(|_| lost()))
    }
}

impl Client {
    /// Begins to make a producer for a topic.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let producer = client.producer("orders").build();
    /// for number in 0..100 {
    ///     producer.send(Record::new(format!("order {number}"))).await?;
    /// }
    /// producer.flush().await;
    /// # Ok(()) }) }
    /// ```
    pub fn producer(&self, topic: &str) -> ProducerBuilder {
        ProducerBuilder {
            client: self.clone(),
            topic: topic.to_owned(),
            partition: None,
            keyless: Keyless::default(),
            linger: None,
            in_flight_bytes: self.in_flight_bytes(),
            idempotent: true,
            stop_at_failure: false,
            limits: Limits { requests: 8, request_bytes: 512 << 10, request_records: usize::MAX },
        }
    }
}

impl Producer {
    /// Puts a record in line; waits while the producer holds as many bytes as it may. Its place in the order is fixed when
    /// this returns; the [`Delivery`] says what became of it.
    ///
    /// # Errors
    /// Nothing was sent: [`Error::RecordTooLarge`]; [`Error::UnknownTopic`] and others that asking for the partitions of the
    /// topic may give; [`Error::PrecedingFailed`] when the producer has been closed.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let producer = client.producer("orders").partition(0).build();
    /// let (first, second) = (producer.send(Record::new("a")).await?, producer.send(Record::new("b")).await?);
    /// assert!(first.await?.first_offset < second.await?.first_offset);
    /// # Ok(()) }) }
    /// ```
    pub async fn send(&self, record: Record) -> Result<Delivery, Error> {
        let size = weight(&record);
        if size > LARGEST {
            return Err(Error::RecordTooLarge(format!("the record has {size} bytes, nodes take at most {LARGEST}")));
        }
        let partition = self.partition_for(&record, size).await?;
        self.enqueue(partition, vec![record], size).await
    }

    /// Puts records in line, to be appended together: contiguously, and all of them or none. They must belong to one
    /// partition.
    ///
    /// # Errors
    /// As [`Producer::send`]; [`Error::Invalid`] without records, or with keys of different partitions;
    /// [`Error::BatchTooLarge`].
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let producer = client.producer("orders").partition(0).build();
    /// let appended = producer.send_batch(vec![Record::new("a"), Record::new("b")]).await?.await?;
    /// assert_eq!(appended.count, 2);
    /// # Ok(()) }) }
    /// ```
    pub async fn send_batch(&self, records: Vec<Record>) -> Result<Delivery, Error> {
        let Some(first) = records.first() else {
            return Err(Error::Invalid("an append needs at least one record".into()));
        };
        let size = checked(&records)?;
        let partition = self.partition_for(first, size).await?;
        if self.inner.options.partition.is_none() {
            self.check_keys(partition, &records).await?;
        }
        self.enqueue(partition, records, size).await
    }

    /// Puts records in line for a partition, whatever their keys.
    pub(crate) async fn send_to(&self, partition: u32, records: Vec<Record>) -> Result<Delivery, Error> {
        if records.is_empty() {
            return Err(Error::Invalid("an append needs at least one record".into()));
        }
        let size = checked(&records)?;
        self.enqueue(partition, records, size).await
    }

    /// Waits until everything that was sent before has its answer, good or bad.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::{ReadOptions, Record};
    /// let producer = client.producer("orders").partition(0).build();
    /// for _ in 0..10 {
    ///     producer.send(Record::new("placed")).await?;
    /// }
    /// producer.flush().await;
    /// assert_eq!(client.offsets("orders", 0, &ReadOptions::default()).await?.end, 10);
    /// # Ok(()) }) }
    /// ```
    pub async fn flush(&self) {
        let answers: Vec<_> = self.lanes().open.values().filter_map(mark).collect();
        for answer in answers {
            // A lane that has ended owes nothing.
            let _ = answer.await;
        }
    }

    /// Takes nothing more, and waits until everything that was sent has its answer.
    ///
    /// ```
    #[doc = include_str!("../doc/topic.rs")]
    /// # use corduroy_client::Record;
    /// let producer = client.producer("orders").build();
    /// let delivery = producer.send(Record::new("last")).await?;
    /// producer.close().await;
    /// delivery.await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn close(&self) {
        let answers: Vec<_> = {
            let mut lanes = self.lanes();
            lanes.closed = true;
            lanes.open.drain().filter_map(|(_, lane)| mark(&lane)).collect()
        };
        for answer in answers {
            let _ = answer.await;
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.inner.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a record, or a batch that begins with it, goes.
    async fn partition_for(&self, record: &Record, size: usize) -> Result<u32, Error> {
        let ProducerBuilder { client, topic, partition, keyless, .. } = &self.inner.options;
        if let Some(partition) = partition {
            return Ok(*partition);
        }
        let partitions = client.partitions(topic).await?;
        Ok(match (&record.key, keyless) {
            (Some(key), _) => partition_for_key(key, partitions),
            (None, Keyless::Sticky) => self.lanes().sticky.next(size, partitions),
            (None, Keyless::ByTurns) => {
                let mut lanes = self.lanes();
                lanes.turn = lanes.turn.wrapping_add(1);
                lanes.turn % partitions.max(1)
            }
        })
    }

    /// A batch goes to one partition: that of all its keys.
    async fn check_keys(&self, partition: u32, records: &[Record]) -> Result<(), Error> {
        let ProducerBuilder { client, topic, .. } = &self.inner.options;
        let partitions = client.partitions(topic).await?;
        let of = |record: &Record| record.key.as_ref().map(|key| partition_for_key(key, partitions));
        let other = records.iter().map(of).enumerate().find(|(_, of)| of.is_some_and(|of| of != partition));
        match other {
            Some((number, Some(other))) => Err(Error::Invalid(format!(
                "record {number} belongs to partition {other} and record 0 to {partition}: a batch goes to one"
            ))),
            _ => Ok(()),
        }
    }

    async fn enqueue(&self, partition: u32, records: Vec<Record>, size: usize) -> Result<Delivery, Error> {
        let Inner { options, window, .. } = &*self.inner;
        let share = u32::try_from(size.min(options.in_flight_bytes)).unwrap_or(u32::MAX);
        let room = Arc::clone(window).acquire_many_owned(share).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let due = Instant::now() + options.client.timeout();
        let job = Job { records: encode(records), size, due, reply: Reply::Delivery { reply, _room: room } };
        self.lane(partition)?.send(job).map_err(|_| closed())?;
        Ok(Delivery(answer))
    }

    /// The way to a partition's lane, which begins when it is first used.
    fn lane(&self, partition: u32) -> Result<mpsc::UnboundedSender<Job>, Error> {
        let mut lanes = self.lanes();
        if lanes.closed {
            return Err(closed());
        }
        let begin = || {
            let (jobs, incoming) = mpsc::unbounded_channel();
            tokio::spawn(drive::Drive::new(&self.inner.options, self.inner.id, partition, incoming).run());
            jobs
        };
        Ok(lanes.open.entry(partition).or_insert_with(begin).clone())
    }
}

/// Puts a mark behind everything that was sent on a lane; resolves when all of that is answered.
fn mark(lane: &mpsc::UnboundedSender<Job>) -> Option<oneshot::Receiver<()>> {
    let (reply, answer) = oneshot::channel();
    let job = Job { records: Vec::new(), size: 0, due: Instant::now(), reply: Reply::Mark(reply) };
    lane.send(job).is_ok().then_some(answer)
}

fn closed() -> Error {
    Error::PrecedingFailed("not sent: the producer is closed".into())
}

/// What the records of one request weigh, if nodes may take them.
fn checked(records: &[Record]) -> Result<usize, Error> {
    let size = records.iter().map(weight).sum();
    if size > LARGEST {
        return Err(Error::BatchTooLarge(format!("the records have {size} bytes, nodes take at most {LARGEST}")));
    }
    Ok(size)
}

/// About what the record weighs on the wire.
fn weight(record: &Record) -> usize {
    record.size() as usize + RECORD * (1 + record.headers.len())
}
