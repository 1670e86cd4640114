//! One producer's part of the load.
use super::super::latencies::Latencies;
use crate::cli::exit::Failure;
use corduroy_client::{Client, Delivery, Error, Producer, Record};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// When to measure. Appends are sent from now to `end`; what is acknowledged from `begin` to `end` counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// A closed loop with a fixed number of batches in flight.
pub(super) struct Load {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) batch: Vec<Record>,
    pub(super) in_flight: usize,
    pub(super) schedule: Schedule,
    /// Records acknowledged by all producers.
    pub(super) progress: Arc<AtomicU64>,
}

/// Counts of records.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) acknowledged: u64,
    /// Of these, what was acknowledged within the schedule.
    pub(super) measured: u64,
    pub(super) unknown: u64,
    pub(super) refused: u64,
    /// Per request, within the schedule.
    pub(super) latencies: Latencies,
}

impl Default for Loaded {
    fn default() -> Self {
        Loaded { acknowledged: 0, measured: 0, unknown: 0, refused: 0, latencies: Latencies::new() }
    }
}

impl Loaded {
    pub(super) fn add(&mut self, other: &Loaded) {
        self.acknowledged += other.acknowledged;
        self.measured += other.measured;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.latencies.add(&other.latencies);
    }
}

/// Records with different values, all slices of one allocation: making them is not what is measured.
pub(super) fn batch(records: usize, record_bytes: usize) -> Vec<Record> {
    let mut bytes = vec![0; records * record_bytes];
    rand::fill(&mut bytes[..]);
    let bytes = bytes::Bytes::from(bytes);
    (0..records).map(|n| Record::new(bytes.slice(n * record_bytes..(n + 1) * record_bytes))).collect()
}

impl Load {
    /// Runs until the schedule is over and every append is answered. Fails where the load itself is wrong.
    pub(super) async fn run(self) -> Result<Loaded, Failure> {
        let mut loaded = Loaded::default();
        let producer = self.producer();
        // Answers come in the order of the appends.
        let mut flying: VecDeque<(Instant, Delivery)> = VecDeque::with_capacity(self.in_flight);
        loop {
            while flying.len() < self.in_flight && Instant::now() < self.schedule.end {
                let sent = Instant::now();
                flying.push_back((sent, producer.send_batch(self.batch.clone()).await?));
            }
            let Some((sent, delivery)) = flying.pop_front() else { return Ok(loaded) };
            self.settle(sent, delivery.await.map(drop), &mut loaded);
        }
    }

    fn producer(&self) -> Producer {
        // What is sent while requests are in flight gathers into the next one, as for every user.
        self.client.producer(&self.topic).partition(self.partition).build()
    }

    fn settle(&self, sent: Instant, answer: Result<(), Error>, loaded: &mut Loaded) {
        let now = Instant::now();
        let records = self.batch.len() as u64;
        match answer {
            Ok(()) => {
                loaded.acknowledged += records;
                self.progress.fetch_add(records, Ordering::Relaxed);
                if (self.schedule.begin..self.schedule.end).contains(&now) {
                    loaded.measured += records;
                    loaded.latencies.record(now - sent);
                }
            }
            Err(Error::UnknownOutcome(_)) => loaded.unknown += records,
            Err(_) => loaded.refused += records,
        }
    }
}
