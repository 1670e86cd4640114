//! Records to a subscriber, as far as its credit reaches.
use super::{convert, failure::Failure};
use crate::{shared::Shared, world::Partition};
use corduroy_log::{error::LogError, record::Record};
use corduroy_proto::v1::{self, subscribe_request::Message};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// About the size of one answer, bytes.
const ANSWER: u64 = 512 << 10;
/// Answers waiting for the connection.
const ANSWERS: usize = 4;

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

/// Sends records until the client goes, the partition ends, or the node stops.
pub(super) fn serve(
    shared: Shared,
    partition: &Partition,
    start: v1::SubscribeStart,
    requests: Streaming<v1::SubscribeRequest>,
) -> BoxStream<'static, Result<v1::SubscribeResponse, Status>> {
    let (answers, outgoing) = mpsc::channel(ANSWERS);
    let records = partition.subscribe(start.offset, ANSWER);
    let feed = Feed { shared, records, requests, answers, credit: start.credit_bytes, next: start.offset };
    tokio::spawn(feed.run());
    ReceiverStream::new(outgoing).boxed()
}

struct Feed {
    shared: Shared,
    records: BoxStream<'static, Result<Vec<Record>, LogError>>,
    requests: Streaming<v1::SubscribeRequest>,
    answers: mpsc::Sender<Result<v1::SubscribeResponse, Status>>,
    /// Bytes that may still be sent. An answer is sent whole, hence it may use a little more than there is.
    credit: u64,
    next: u64,
}

impl Feed {
    async fn run(mut self) {
        self.shared.metrics().subscriptions.increment(1.0);
        if let Err(status) = self.feed().await {
            // Fails only when the client has gone.
            let _ = self.answers.send(Err(status)).await;
        }
        self.shared.metrics().subscriptions.decrement(1.0);
    }

    async fn feed(&mut self) -> Result<(), Status> {
        let shared = self.shared.clone();
        let stopping = shared.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                request = self.requests.message() => match request? {
                    None => return Ok(()),
                    Some(request) => self.grant(request)?,
                },
                batch = self.records.next(), if self.credit > 0 => match batch {
                    None => return Err(self.status(&LogError::Stopped("the partition has ended".into()))),
                    Some(Err(error)) => return Err(self.status(&error)),
                    Some(Ok(records)) => if self.send(records).await.is_err() {
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
                self.credit = self.credit.saturating_add(bytes);
                Ok(())
            }
            _ => {
                Err(self
                    .status(&LogError::Invalid("after its start a subscription grants credit and nothing else".into())))
            }
        }
    }

    /// Fails when the client has gone.
    async fn send(&mut self, records: Vec<Record>) -> Result<(), ()> {
        let Some(last) = records.last() else { return Ok(()) };
        self.next = last.offset + 1;
        let (records, bytes) = convert::stored_records(records);
        // Records without a byte of payload cost credit too, or there would be no bound on them.
        let used_bytes = bytes + records.len() as u64;
        self.credit = self.credit.saturating_sub(used_bytes);
        self.shared.metrics().sent(records.len() as u64, bytes);
        let answer = v1::SubscribeResponse { records, next_offset: self.next, used_bytes };
        self.answers.send(Ok(answer)).await.map_err(|_| ())
    }

    fn status(&self, error: &LogError) -> Status {
        Failure::new(error, self.shared.opened()).into_status()
    }
}
