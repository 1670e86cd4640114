//! Many appends over one stream, in order per partition.
//!
//! ```text
//! requests ─▶ reader: submit() fixes the place in the partition's order ─▶ lane of the partition ─▶ answers
//!                                                                           (one future after the other)
//! ```
//!
//! **Invariant**: the answers of one partition leave in the order of its requests.
//!
//! **Invariant**: once a request failed in a way that a later attempt may not, the lane is broken: what comes after it
//! is refused untried, so that a client that sends again does not overtake itself. So is what comes after a request that
//! failed before it had a lane: [`Astray`].
mod astray;

use self::astray::{Astray, Place};
use super::{
    convert,
    failure::Failure,
    log::{Admitted, admit},
};
use crate::shared::Shared;
use corduroy_log::{error::LogError, partition::Ack};
use corduroy_proto::v1::{self, append_stream_response::Outcome};
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Appends in flight per lane; bytes are bounded by the partition.
const LANE: usize = 1024;
/// Answers waiting for the connection.
const ANSWERS: usize = 1024;
/// How long a stopping node goes on refusing, so that clients learn that nothing of what they sent last was taken.
const FAREWELL: Duration = Duration::from_secs(1);

type Answers = mpsc::Sender<Result<v1::AppendStreamResponse, Status>>;

/// Answers a stream of appends until the client ends it or the node stops.
pub(super) fn serve(
    shared: Shared,
    requests: Streaming<v1::AppendStreamRequest>,
) -> BoxStream<'static, Result<v1::AppendStreamResponse, Status>> {
    let (answers, outgoing) = mpsc::channel(ANSWERS);
    tokio::spawn(Reader { shared, answers, lanes: HashMap::new(), astray: Astray::default() }.run(requests));
    ReceiverStream::new(outgoing).boxed()
}

/// Takes requests in.
struct Reader {
    shared: Shared,
    answers: Answers,
    /// By topic and partition.
    lanes: HashMap<String, HashMap<u32, Lane>>,
    astray: Astray,
}

/// The appends of one partition that wait for their answers.
#[derive(Clone)]
struct Lane {
    waiting: mpsc::Sender<Waiting>,
    broken: Arc<AtomicBool>,
}

/// What the answer to an append needs to know of its request.
struct Ticket {
    id: u64,
    count: u64,
    bytes: u64,
    since: Instant,
    partition: u32,
}

struct Waiting {
    ticket: Ticket,
    answer: BoxFuture<'static, Result<Ack, LogError>>,
}

impl Reader {
    async fn run(mut self, mut requests: Streaming<v1::AppendStreamRequest>) {
        let shared = self.shared.clone();
        let stopping = async move {
            shared.stopping().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::pin!(stopping);
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                () = &mut stopping => return,
                // The client has gone; nobody wants the answers.
                () = self.answers.closed() => return,
            };
            match request {
                Ok(Some(request)) => {
                    if self.take(request).await.is_break() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    let _ = self.answers.send(Err(status)).await;
                    return;
                }
            }
        }
    }

    async fn take(&mut self, request: v1::AppendStreamRequest) -> ControlFlow<()> {
        let id = request.correlation_id;
        let append = request.append.unwrap_or_default();
        let place = Place { topic: append.topic.clone(), partition: append.partition };
        if self.astray.blocks(&place) {
            self.refuse(id, Failure::preceding()).await;
            return ControlFlow::Continue(());
        }
        let (count, bytes) = (append.records.len() as u64, convert::payload_bytes(&append.records));
        match admit(&self.shared, append) {
            Err(error) => {
                let failure = Failure::new(&error, self.shared.opened());
                let remembered = if failure.breaks_order() { self.astray.remember(place) } else { Ok(()) };
                self.refuse(id, failure).await;
                if let Err(full) = remembered {
                    // Without memory of what failed, order is not kept.
                    let _ = self.answers.send(Err(Status::resource_exhausted(full.to_string()))).await;
                    return ControlFlow::Break(());
                }
            }
            Ok(admitted) => {
                let lane = self.lane(place.topic, admitted.number);
                let since = Instant::now();
                let ticket = Ticket { id, count, bytes, since, partition: admitted.number };
                self.enter(lane, admitted, ticket).await;
            }
        }
        ControlFlow::Continue(())
    }

    /// The lane of a partition, begun when first used.
    fn lane(&mut self, topic: String, partition: u32) -> Lane {
        let begin = || begin_lane(self.shared.clone(), self.answers.clone());
        self.lanes.entry(topic).or_default().entry(partition).or_insert_with(begin).clone()
    }

    /// Gives an append its place in the partition's order, and its answer a place in the lane.
    async fn enter(&self, lane: Lane, append: Admitted, ticket: Ticket) {
        if lane.broken.load(Ordering::Acquire) {
            return self.refuse(ticket.id, Failure::preceding()).await;
        }
        let answer: BoxFuture<'static, _> = match self.submit(append).await {
            Ok(answer) => answer,
            Err(error) => {
                if Failure::new(&error, None).breaks_order() {
                    // The lane would find out when this answer's turn has come; what follows must know now.
                    lane.broken.store(true, Ordering::Release);
                }
                Box::pin(std::future::ready(Err(error)))
            }
        };
        // The lane ends only after this reader.
        let _ = lane.waiting.send(Waiting { ticket, answer }).await;
    }

    /// Submits; while the partition is busy the stream waits, which is what slows a fast client down.
    async fn submit(&self, append: Admitted) -> Result<BoxFuture<'static, Result<Ack, LogError>>, LogError> {
        let patience = Instant::now() + self.shared.patience();
        let Admitted { partition, records, options, .. } = append;
        let records = convert::new_records(records);
        loop {
            match partition.submit_with(&records, &options) {
                Ok(answer) => return Ok(Box::pin(answer)),
                Err(LogError::Busy { retry_after, .. }) if Instant::now() < patience => {
                    tokio::time::sleep(retry_after).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn refuse(&self, id: u64, failure: Failure) {
        self.shared.metrics().append_failed();
        // Fails only when the client has gone.
        let _ = self.answers.send(Ok(failed(id, failure))).await;
    }
}

/// Starts a lane: a task that waits for one append after the other. It ends with its reader, after the last answer.
fn begin_lane(shared: Shared, answers: Answers) -> Lane {
    let (waiting, mut queue) = mpsc::channel::<Waiting>(LANE);
    let broken = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&broken);
    tokio::spawn(async move {
        while let Some(Waiting { ticket, answer }) = queue.recv().await {
            let answer = match answer.await {
                Ok(ack) => {
                    shared.metrics().appended(ticket.count, ticket.bytes, ticket.since);
                    let ok = convert::appended(ticket.partition, ack);
                    v1::AppendStreamResponse { correlation_id: ticket.id, outcome: Some(Outcome::Ok(ok)) }
                }
                Err(error) => {
                    shared.metrics().append_failed();
                    let failure = Failure::new(&error, shared.opened());
                    if failure.breaks_order() {
                        mark.store(true, Ordering::Release);
                    }
                    failed(ticket.id, failure)
                }
            };
            // When the client has gone the answers are still waited for: they are counted.
            let _ = answers.send(Ok(answer)).await;
        }
    });
    Lane { waiting, broken }
}

fn failed(id: u64, failure: Failure) -> v1::AppendStreamResponse {
    let outcome = Some(Outcome::Failed(failure.into_append_failure()));
    v1::AppendStreamResponse { correlation_id: id, outcome }
}
