//! Filling partitions with numbered records, as fast as they are taken.
use super::{cluster::Cluster, lanes::Lane, numbered::value_of};
use crate::cli::exit::Failure;
use corduroy_client::{Client, Delivery, Error, ReadOptions, Record};
use std::{collections::VecDeque, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Records per send, and sends in flight per lane.
const BATCH: u64 = 512;
const IN_FLIGHT: usize = 8;
/// How often a lane is begun again after its leader was lost: a machine with other work loses some.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Appends records 0 to `count` to each of the lanes, which are empty. Each has its number as its offset.
pub(super) async fn fill(cluster: &Cluster, lanes: &[Lane], count: u64, record_bytes: u32) -> Result<(), Failure> {
    let client = cluster.client(16 << 20).await?;
    let mut fillers = JoinSet::new();
    for lane in lanes {
        let filler = Filler { client: client.clone(), lane: lane.clone(), count, record_bytes };
        fillers.spawn(filler.run());
    }
    while let Some(done) = fillers.join_next().await {
        done.map_err(|error| Failure::refused(format!("filling failed: {error}")))??;
    }
    Ok(())
}

struct Filler {
    client: Client,
    lane: Lane,
    count: u64,
    record_bytes: u32,
}

impl Filler {
    /// Nobody else appends, and in order: so wherever the partition ends, it is to go on from there.
    async fn run(self) -> Result<(), Failure> {
        let Lane { topic, partition, .. } = &self.lane;
        for _ in 0..ATTEMPTS {
            let next = self.client.offsets(topic, *partition, &ReadOptions::default()).await?.end;
            match self.append(next).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() || matches!(error, Error::UnknownOutcome(_)) => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::refused(format!("{topic}/{partition} could not be filled in {ATTEMPTS} attempts")))
    }

    /// From record `next` on.
    async fn append(&self, mut next: u64) -> Result<(), Error> {
        let Filler { client, lane, count, record_bytes } = self;
        let producer = client.producer(&lane.topic).partition(lane.partition).stop_at_failure().build();
        let mut flying: VecDeque<(u64, Delivery)> = VecDeque::new();
        while next < *count || !flying.is_empty() {
            if next < *count && flying.len() < IN_FLIGHT {
                let end = (next + BATCH).min(*count);
                let records = (next..end).map(|number| Record::new(value_of(lane.number, number, *record_bytes)));
                flying.push_back((next, producer.send_batch(records.collect()).await?));
                next = end;
            } else if let Some((first, delivery)) = flying.pop_front() {
                let offset = delivery.await?.first_offset;
                if offset != first {
                    return Err(Error::Protocol(format!("record {first} of {lane:?} has offset {offset}")));
                }
            }
        }
        Ok(())
    }
}
