//! The task behind a producer: one stream at a time, opened at the leader, driven until it ends or must be given up.
use super::{Job, flight::Flight, stopped};
use crate::{
    Client, Error,
    client::{Attempts, Target},
    error::Hint,
    retry::Kind,
};
use corduroy_proto::v1::{self, append_stream_response::Outcome};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Requests handed to the connection and not yet written.
const ON_THE_WIRE: usize = 16;

pub(super) struct Task {
    client: Client,
    topic: String,
    partition: u32,
    jobs: mpsc::Receiver<Job>,
    /// No more jobs will come.
    closed: bool,
    flight: Flight,
}

/// An open stream.
struct Wire {
    address: String,
    requests: mpsc::Sender<v1::AppendStreamRequest>,
    answers: Streaming<v1::AppendStreamResponse>,
}

impl Task {
    pub(super) fn new(client: Client, topic: &str, partition: u32, jobs: mpsc::Receiver<Job>) -> Self {
        Task { client, topic: topic.to_owned(), partition, jobs, closed: false, flight: Flight::default() }
    }

    pub(super) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            self.jobs.close();
            self.flight.fail(&error);
            while let Some(job) = self.jobs.recv().await {
                let _ = job.reply.send(Err(stopped()));
            }
        }
    }

    /// Opens streams until there is nothing more to do, or no way to go on.
    async fn serve(&mut self) -> Result<(), Error> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let mut attempts = Attempts::new(&client, Target::Leader(&topic, self.partition));
        while self.has_work().await {
            let wire = self.open(&mut attempts).await?;
            let address = wire.address.clone();
            self.drive(wire, &mut attempts).await;
            if self.flight.is_lost() {
                return Err(stopped());
            }
            if let Some(refusal) = self.flight.rewind() {
                self.pause(&refusal, &address, &mut attempts).await?;
            }
        }
        Ok(())
    }

    /// Waits for something to send; false when nothing will come.
    async fn has_work(&mut self) -> bool {
        if self.flight.is_empty() {
            match self.jobs.recv().await {
                Some(job) => self.take(job),
                None => return false,
            }
        }
        true
    }

    fn take(&mut self, job: Job) {
        self.flight.push(job, Instant::now() + self.client.timeout());
    }

    /// Opens a stream. It carries nothing until it is open, so every failure here means that nothing was sent.
    async fn open(&mut self, attempts: &mut Attempts<'_>) -> Result<Wire, Error> {
        loop {
            let address = attempts.address();
            let (requests, outgoing) = mpsc::channel(ON_THE_WIRE);
            let mut node = self.client.pool().log(&address)?;
            let opened = timeout_at(self.due(), node.append_stream(ReceiverStream::new(outgoing))).await;
            let error = match opened {
                Ok(Ok(answers)) => return Ok(Wire { address, requests, answers: answers.into_inner() }),
                Ok(Err(status)) => Error::from_status(&status, &address),
                Err(_) => Error::Unreachable(format!("{address} did not answer in time")),
            };
            let error = match error {
                Error::Lost(text) | Error::Timeout(text) => Error::Unreachable(text),
                other => other,
            };
            self.pause(&error, &address, attempts).await?;
        }
    }

    /// Waits before the next attempt, or says that there is none.
    async fn pause(&mut self, error: &Error, address: &str, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        match attempts.failed(error, Kind::Write, address) {
            Some(pause) if Instant::now() + pause < self.due() => {
                sleep(pause).await;
                Ok(())
            }
            _ => Err(attempts.conclude(error.clone())),
        }
    }

    fn due(&self) -> Instant {
        self.flight.due().unwrap_or_else(|| Instant::now() + Duration::from_secs(1))
    }

    /// Sends and receives until the stream is over: everything done, or nothing more owed after a failure.
    async fn drive(&mut self, mut wire: Wire, attempts: &mut Attempts<'_>) {
        loop {
            let broken = self.flight.broken();
            if broken && !self.flight.owes() || self.closed && self.flight.is_empty() {
                return;
            }
            let sendable = !broken && self.flight.has_unsent();
            let due = self.due();
            tokio::select! {
                answer = wire.answers.message() => match answer {
                    Ok(Some(answer)) => self.answered(answer, &wire.address, attempts),
                    Ok(None) => return self.flight.lose("the node ended the stream before its answer"),
                    Err(status) => {
                        return self.flight.lose(&format!("the connection to {} failed: {}", wire.address, status.message()));
                    }
                },
                permit = wire.requests.reserve(), if sendable => match (permit, self.flight.send_next()) {
                    (Ok(permit), Some(request)) => permit.send(request),
                    _ => return self.flight.lose("the stream ended before the request was written"),
                },
                job = self.jobs.recv(), if !broken && !sendable && !self.closed => match job {
                    Some(job) => self.take(job),
                    None => self.closed = true,
                },
                () = sleep_until(due), if !self.flight.is_empty() => {
                    let timeout = self.client.timeout();
                    return self.flight.lose(&format!("{} did not answer within {timeout:?}", wire.address));
                }
            }
        }
    }

    fn answered(&mut self, answer: v1::AppendStreamResponse, address: &str, attempts: &mut Attempts<'_>) {
        let id = answer.correlation_id;
        match answer.outcome {
            Some(Outcome::Ok(ok)) => {
                attempts.succeeded(Kind::Write, address);
                self.flight.acknowledged(id, ok.into());
            }
            Some(Outcome::Failed(failed)) => self.flight.refused(id, failure(failed)),
            None => self.flight.refused(id, Error::UnknownOutcome(format!("{address} answered without an outcome"))),
        }
    }
}

fn failure(failed: v1::AppendFailure) -> Error {
    let leader_grpc = Some(failed.leader_grpc).filter(|address| !address.is_empty());
    let hint = Hint { leader: failed.leader, leader_grpc, replicas_grpc: Vec::new() };
    let retry_after = failed.retry_after_ms.map(Duration::from_millis);
    Error::from_reason(&failed.reason, failed.message, hint, retry_after)
}
