//! The writers: each appends numbered records to its partition, one at a time, and remembers what it was told.
use super::super::{
    judge::Claims,
    numbered::{LEAST, value_of},
};
use crate::cli::exit::Failure;
use corduroy_client::{Client, Error, Record};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// After a refusal that the client gave up on.
const PAUSE: Duration = Duration::from_millis(5);

/// What a writer was told.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Records sent; they are numbered from 0.
    pub(super) sent: u64,
    /// In the order of their time, which is that of their numbers.
    pub(super) acks: Vec<Acked>,
    pub(super) unknown: u64,
    /// Numbers of the refused.
    pub(super) refused: Vec<u64>,
}

/// A record that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) at: Instant,
}

impl History {
    /// For the judge.
    pub(super) fn claims(&self) -> Claims {
        let acked = self.acks.iter().map(|ack| (ack.number, ack.offset)).collect();
        Claims { sent: self.sent, acked, refused: self.refused.clone() }
    }
}

/// A writer per partition.
pub(super) struct Writers {
    tasks: JoinSet<()>,
    histories: Vec<Arc<Mutex<History>>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    pub(super) fn start(client: &Client, topic: &str, partitions: u32) -> Self {
        let mut writers = Writers { tasks: JoinSet::new(), histories: Vec::new(), stop: Arc::default() };
        for partition in 0..partitions {
            let history = Arc::default();
            writers.histories.push(Arc::clone(&history));
            writers.tasks.spawn(write(client.clone(), topic.to_owned(), partition, history, writers.stop.clone()));
        }
        writers
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.histories.len()).expect("made for a u32 of partitions")
    }

    /// The history of one partition, as it is now.
    pub(super) fn history(&self, partition: u32) -> MutexGuard<'_, History> {
        lock(&self.histories[partition as usize])
    }

    /// How long after a moment a partition acknowledged something; `None` where it was not interrupted then.
    pub(super) fn reaction(&self, partition: u32, since: Instant) -> Option<Duration> {
        let history = self.history(partition);
        let next = history.acks.partition_point(|ack| ack.at < since);
        history.acks.get(next).map(|ack| ack.at - since)
    }

    /// Lets every writer finish what it has in flight.
    pub(super) async fn stop(&mut self) -> Result<Vec<History>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.map_err(|error| Failure::refused(format!("a writer failed: {error}")))?;
        }
        Ok(self.histories.iter().map(|history| lock(history).clone()).collect())
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(client: Client, topic: String, partition: u32, history: Arc<Mutex<History>>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let number = {
            let mut history = lock(&history);
            history.sent += 1;
            history.sent - 1
        };
        let answer =
            client.append(&topic, Some(partition), vec![Record::new(value_of(partition, number, LEAST))]).await;
        let at = Instant::now();
        let refused = {
            let mut history = lock(&history);
            match answer {
                Ok(appended) => history.acks.push(Acked { number, offset: appended.first_offset, at }),
                Err(Error::UnknownOutcome(_)) => history.unknown += 1,
                Err(_) => history.refused.push(number),
            }
            history.acks.last().is_none_or(|last| last.number != number)
        };
        if refused {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
