//! A way to append, and the times it took.
use super::super::{latencies::Latencies, pace::Pace};
use crate::{cli::exit::Failure, world};
use bytes::Bytes;
use corduroy_client::{Client, Record};
use corduroy_log::NewRecord;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The partition of every topic here.
pub(super) const PARTITION: u32 = 0;

/// How an append gets to its leader.
#[derive(Clone)]
pub(super) enum Road {
    InProcess(world::Partition),
    Grpc { client: Client, topic: String },
}

impl Road {
    async fn append(&self, value: Bytes) -> Result<(), Failure> {
        match self {
            Road::InProcess(partition) => {
                let appended = partition.append(vec![NewRecord::new(value)]).await;
                appended.map(drop).map_err(|error| Failure::refused(error.to_string()))
            }
            Road::Grpc { client, topic } => {
                client.append(topic, Some(PARTITION), vec![Record::new(value)]).await.map(drop).map_err(Failure::from)
            }
        }
    }
}

/// A road, and what was measured on it.
pub(super) struct Way {
    road: Road,
    pub(super) latencies: Latencies,
    /// Of an open loop: how long after it was due an append was sent. It is part of the latencies.
    pub(super) late: Latencies,
}

impl Way {
    pub(super) fn new(road: Road) -> Self {
        Way { road, latencies: Latencies::new(), late: Latencies::new() }
    }

    /// Appends for so long: one after the other, or so many a second.
    pub(super) async fn take_turn(&mut self, value: &Bytes, turn: Duration, rate: Option<u32>) -> Result<(), Failure> {
        match rate {
            None => self.one_after_the_other(value, turn).await,
            Some(rate) => self.at_a_rate(value, turn, rate).await,
        }
    }

    pub(super) fn forget(&mut self) {
        (self.latencies, self.late) = (Latencies::new(), Latencies::new());
    }

    async fn one_after_the_other(&mut self, value: &Bytes, turn: Duration) -> Result<(), Failure> {
        let end = Instant::now() + turn;
        let mut start = Instant::now();
        while start < end {
            self.road.append(value.clone()).await?;
            let done = Instant::now();
            self.latencies.record(done - start);
            start = done;
        }
        Ok(())
    }

    async fn at_a_rate(&mut self, value: &Bytes, turn: Duration, rate: u32) -> Result<(), Failure> {
        let pace = Pace { begin: Instant::now(), per_second: rate.into() };
        let end = pace.begin + turn;
        let mut due = pace.keep(move |due| due.at < end);
        let mut flying = JoinSet::new();
        while let Some(next) = due.recv().await {
            self.late.record(Instant::now() - next.at);
            let (road, value) = (self.road.clone(), value.clone());
            flying.spawn(async move { road.append(value).await.map(|()| next.at.elapsed()) });
            while let Some(done) = flying.try_join_next() {
                self.done(done)?;
            }
        }
        while let Some(done) = flying.join_next().await {
            self.done(done)?;
        }
        Ok(())
    }

    fn done(&mut self, done: Result<Result<Duration, Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
        self.latencies.record(done.map_err(|error| Failure::refused(format!("an append failed: {error}")))??);
        Ok(())
    }
}
