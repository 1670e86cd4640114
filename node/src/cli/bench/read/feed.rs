//! One subscriber.
use super::super::{cluster::Cluster, lanes::Lane, numbered::number_of};
use crate::{cli::exit::Failure, world};
use corduroy_client::Client;
use corduroy_log::RealLog;
use futures::StreamExt as _;
use serde::Serialize;
use std::{
    fmt,
    ops::Range,
    time::{Duration, Instant},
};

/// About the size of a page in process, that of an answer over gRPC. Bytes.
const PAGE: u64 = 512 << 10;

/// How records get to the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Road {
    InProcess,
    Grpc,
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Road::InProcess => "in process",
            Road::Grpc => "gRPC",
        })
    }
}

/// Where the records are that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Part {
    /// The end of the partition, which the node still has in memory; again and again.
    Memory,
    /// The whole partition, from its beginning; again and again.
    PageCache,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Memory => "memory",
            Part::PageCache => "page cache",
        })
    }
}

/// What a subscriber got.
pub(super) struct Fed {
    pub(super) records: u64,
    pub(super) time: Duration,
}

/// A subscriber of one partition.
pub(super) struct Feed {
    lane: Lane,
    source: Source,
}

enum Source {
    InProcess(world::Partition),
    Grpc { client: Client, address: String },
}

impl Feed {
    pub(super) async fn new(
        cluster: &Cluster,
        log: &RealLog,
        lane: Lane,
        road: Road,
        address: &str,
    ) -> Result<Self, Failure> {
        let failed = |error: corduroy_log::LogError| Failure::refused(error.to_string());
        let source = match road {
            Road::InProcess => Source::InProcess(log.partition(&lane.topic, lane.partition).map_err(failed)?),
            Road::Grpc => Source::Grpc { client: cluster.client(8 << 20).await?, address: address.to_owned() },
        };
        Ok(Feed { lane, source })
    }

    /// Subscribes to the range and reads it, again and again until the time is over.
    pub(super) async fn run(self, range: Range<u64>, end: Instant) -> Result<Fed, Failure> {
        let begin = Instant::now();
        let mut records = 0;
        while Instant::now() < end {
            records += match &self.source {
                Source::InProcess(partition) => self.in_process(partition, range.clone(), end).await?,
                Source::Grpc { client, address } => self.over_grpc(client, address, range.clone(), end).await?,
            };
        }
        Ok(Fed { records, time: begin.elapsed() })
    }

    async fn in_process(&self, partition: &world::Partition, range: Range<u64>, end: Instant) -> Result<u64, Failure> {
        let mut next = range.start;
        let mut pages = partition.subscribe(next, PAGE);
        while next < range.end && Instant::now() < end {
            let page = pages.next().await.ok_or_else(|| Failure::refused("a subscription has ended"))?;
            for record in page.map_err(|error| Failure::refused(error.to_string()))? {
                next = self.follows(next, record.offset, &record.value)?;
            }
        }
        Ok(next - range.start)
    }

    async fn over_grpc(&self, client: &Client, address: &str, range: Range<u64>, end: Instant) -> Result<u64, Failure> {
        let Lane { topic, partition, .. } = &self.lane;
        let mut next = range.start;
        let mut subscription = client.subscribe(topic, *partition, next).at_node(address);
        while next < range.end && Instant::now() < end {
            for record in subscription.next().await? {
                next = self.follows(next, record.offset, &record.value)?;
            }
        }
        Ok(next - range.start)
    }

    /// Checks that a record is the one that was to come; returns which comes next.
    fn follows(&self, next: u64, offset: u64, value: &[u8]) -> Result<u64, Failure> {
        if offset == next && number_of(self.lane.number, value) == Some(next) {
            return Ok(next + 1);
        }
        Err(Failure::refused(format!(
            "a subscriber got offset {offset}, or another record there, where {next} was next"
        )))
    }
}
