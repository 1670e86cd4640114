//! What a partition holds, to a subscriber, as far as its credit reaches: batches as they are, or records.
use super::{convert, failure::Failure};
use crate::{shared::Shared, world::Partition};
use corduroy_log::{PlacedBatch, error::LogError, record::Record};
use corduroy_proto::v1::{self, subscribe_request::Message};
use futures::{
    StreamExt as _,
    stream::{BoxStream, Stream},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// About the size of one answer, bytes.
const ANSWER: u64 = 512 << 10;
/// Answers waiting for the connection.
const ANSWERS: usize = 4;
/// What an encoded batch takes beside its bytes.
const BATCH_OVERHEAD: u64 = 32;

/// The first message of a stream, which must say what to subscribe to.
pub(super) async fn first(requests: &mut Streaming<v1::SubscribeRequest>) -> Result<v1::SubscribeStart, Status> {
    match requests.message().await?.and_then(|request| request.message) {
        Some(Message::Start(start)) => Ok(start),
        _ => {
            let error = LogError::Invalid("a subscription begins with a start message".into());
            Err(Failure::new(&error, None).into_status())
        }
    }
}

/// Sends what there is until the client goes, the partition ends, or the node stops.
pub(super) fn serve(
    shared: Shared,
    partition: Partition,
    start: v1::SubscribeStart,
    requests: Streaming<v1::SubscribeRequest>,
) -> BoxStream<'static, Result<v1::SubscribeResponse, Status>> {
    let (answers, outgoing) = mpsc::channel(ANSWERS);
    let credit = 0_i64.saturating_add_unsigned(start.credit_bytes);
    let feed = Feed { shared, partition, requests, answers, credit };
    tokio::spawn(feed.run(start));
    ReceiverStream::new(outgoing).boxed()
}

struct Feed {
    shared: Shared,
    partition: Partition,
    requests: Streaming<v1::SubscribeRequest>,
    answers: mpsc::Sender<Result<v1::SubscribeResponse, Status>>,
    /// Bytes that may still be sent. An answer is sent whole, and may use more than there is: then that is owed.
    credit: i64,
}

/// What becomes one answer.
struct Answer {
    response: v1::SubscribeResponse,
    records: u64,
}

impl Feed {
    async fn run(mut self, start: v1::SubscribeStart) {
        self.shared.metrics().subscriptions.increment(1.0);
        let fed = if start.batches {
            let batches = self.partition.subscribe_batches(start.offset, ANSWER);
            self.feed(batches.map(|batches| batches.map(of_batches))).await
        } else {
            let records = self.partition.subscribe(start.offset, ANSWER);
            self.feed(records.map(|records| records.map(of_records))).await
        };
        if let Err(status) = fed {
            // Fails only when the client has gone.
            let _ = self.answers.send(Err(status)).await;
        }
        self.shared.metrics().subscriptions.decrement(1.0);
    }

    async fn feed(&mut self, mut source: impl Stream<Item = Result<Answer, LogError>> + Unpin) -> Result<(), Status> {
        let shared = self.shared.clone();
        let stopping = shared.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                request = self.requests.message() => match request? {
                    None => return Ok(()),
                    Some(request) => self.grant(request)?,
                },
                answer = source.next(), if self.credit > 0 => match answer {
                    None => return Err(self.status(&LogError::Stopped("the partition has ended".into()))),
                    Some(Err(error)) => return Err(self.status(&error)),
                    Some(Ok(answer)) => if self.send(answer).await.is_err() {
                        return Ok(());
                    },
                },
                () = &mut stopping => {
                    return Err(self.status(&LogError::Stopped(format!("node {} is shutting down", self.shared.node()))));
                }
                () = self.answers.closed() => return Ok(()),
            }
        }
    }

    fn grant(&mut self, request: v1::SubscribeRequest) -> Result<(), Status> {
        match request.message {
            Some(Message::CreditBytes(bytes)) => {
                self.credit = self.credit.saturating_add_unsigned(bytes);
                Ok(())
            }
            _ => {
                Err(self
                    .status(&LogError::Invalid("after its start a subscription grants credit and nothing else".into())))
            }
        }
    }

    /// Fails when the client has gone.
    async fn send(&mut self, answer: Answer) -> Result<(), ()> {
        let Answer { mut response, records } = answer;
        self.credit = self.credit.saturating_sub_unsigned(response.used_bytes);
        response.end_offset = self.partition.evolved_offset();
        self.shared.metrics().sent(records, response.used_bytes);
        self.answers.send(Ok(response)).await.map_err(|_| ())
    }

    fn status(&self, error: &LogError) -> Status {
        Failure::new(error, self.shared.opened()).into_status()
    }
}

fn of_batches(batches: Vec<PlacedBatch>) -> Answer {
    let records = batches.iter().map(|placed| u64::from(placed.batch.records())).sum();
    let response = v1::SubscribeResponse {
        next_offset: batches.last().map_or(0, PlacedBatch::end),
        used_bytes: batches.iter().map(|placed| placed.batch.bytes().len() as u64 + BATCH_OVERHEAD).sum(),
        batches: batches.into_iter().map(convert::encoded_batch).collect(),
        ..Default::default()
    };
    Answer { response, records }
}

fn of_records(records: Vec<Record>) -> Answer {
    let (next_offset, count) = (records.last().map_or(0, |last| last.offset + 1), records.len() as u64);
    let (records, bytes) = convert::stored_records(records);
    // Records without a byte of payload cost credit too, or there would be no bound on them.
    let response = v1::SubscribeResponse { records, next_offset, used_bytes: bytes + count, ..Default::default() };
    Answer { response, records: count }
}
