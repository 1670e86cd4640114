//! Ordered, pipelined appends to one partition.
//!
//! A producer keeps many appends in flight over one `AppendStream` and acknowledges them in the order they were sent.
//! When the leader moves it waits for every answer still owed, then sends again, in order, what was refused.
//!
//! **Invariant**: an append is sent again only if nothing of it was appended *and* nothing sent after it was. Where
//! that does not hold, or an outcome is unknown, the producer says so and stops: it never reorders and never repeats.

mod flight;
mod task;

use crate::{Appended, Client, Error, Record, client::encode};
use corduroy_proto::v1;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Requests above this are refused here: the node would end the whole stream over them. Bytes.
const MAX_REQUEST: usize = (4 << 20) + (512 << 10);
/// Appends waiting to be put on the stream.
const QUEUE: usize = 256;

/// Appends to one partition, in order, many in flight. Made by [`Client::producer`].
///
/// After the first append whose outcome is unknown, or which could not be sent again without changing the order, the
/// producer has failed: what was refused is reported as such, and every later [`Producer::send`] fails.
#[derive(Debug)]
pub struct Producer {
    topic: String,
    partition: u32,
    jobs: mpsc::Sender<Job>,
    window: Arc<Semaphore>,
    window_bytes: usize,
}

/// One append on its way.
#[derive(Debug)]
struct Job {
    request: v1::AppendRequest,
    reply: oneshot::Sender<Result<Appended, Error>>,
    /// Its share of the window; given back with the answer.
    room: OwnedSemaphorePermit,
}

/// The answer to an append, once it is there. Dropping it does not take the append back.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Appended, Error>>);

impl Future for Delivery {
    type Output = Result<Appended, Error>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(stopped())))
    }
}

impl Client {
    /// A producer for one partition.
    pub fn producer(&self, topic: &str, partition: u32) -> Producer {
        let (jobs, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(task::Task::new(self.clone(), topic, partition, incoming).run());
        let window_bytes = self.window_bytes();
        let window = Arc::new(Semaphore::new(window_bytes));
        Producer { topic: topic.to_owned(), partition, jobs, window, window_bytes }
    }
}

impl Producer {
    /// Puts a batch in line; waits while the window is full. Its place in the order is fixed when this returns. The
    /// records are appended together, contiguously, or not at all.
    ///
    /// # Errors
    /// `BatchTooLarge`, or `PrecedingFailed` when the producer has failed. Nothing was sent then. What becomes of the
    /// batch afterwards is the [`Delivery`]'s to say.
    pub async fn send(&self, records: Vec<Record>) -> Result<Delivery, Error> {
        let topic = self.topic.clone();
        let request = v1::AppendRequest {
            topic,
            partition: Some(self.partition),
            records: encode(records),
            ..Default::default()
        };
        let size = weight(&request);
        if size > MAX_REQUEST {
            return Err(Error::BatchTooLarge(format!("the request has {size} bytes, the limit is {MAX_REQUEST}")));
        }
        let share = u32::try_from(size.min(self.window_bytes)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.window).acquire_many_owned(share).await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { request, reply, room }).await.map_err(|_| stopped())?;
        Ok(Delivery(answer))
    }
}

fn stopped() -> Error {
    Error::PrecedingFailed("not sent: an earlier append of this producer failed".into())
}

/// About what the request weighs on the wire.
fn weight(request: &v1::AppendRequest) -> usize {
    /// Tags and lengths around a record, and around a header.
    const FRAME: usize = 24;
    let header = |h: &v1::Header| h.name.len() + h.value.len() + FRAME;
    let record = |r: &v1::Record| {
        r.key.as_ref().map_or(0, |key| key.len()) + r.value.len() + r.headers.iter().map(header).sum::<usize>() + FRAME
    };
    request.records.iter().map(record).sum::<usize>() + request.topic.len() + FRAME
}
