//! The write-ahead log on a real disk, every append synced.
//!
//! The files are in cargo's folder for such things, below `target/`: on the disk of the checkout.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bytes::Bytes;
use corduroy_benches::value;
use corduroy_log::{
    config::Limits,
    topic::{ClusterId, LogId, PartitionId},
    wal::{EntryKind, PartitionLog, Wal, WalEntry, WalOptions},
    world::{RealWorld, real::RealDisk},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc};

/// Partitions that share the log.
const PARTITIONS: u32 = 12;
/// Entries of each that wait for the disk at the same time.
const IN_FLIGHT: u64 = 8;

/// A write-ahead log in a folder of its own.
struct Bed {
    wal: Wal<RealWorld>,
    partitions: Vec<Partition>,
    _dir: TempDir,
}

/// A partition's log and the index of its next entry.
struct Partition {
    log: PartitionLog<RealWorld>,
    next: u64,
}

impl Bed {
    fn new(runtime: &Runtime) -> Self {
        let _inside = runtime.enter();
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made the folder");
        let limits = Limits::default();
        let options = WalOptions {
            dir: dir.path().to_owned(),
            cluster: ClusterId(*b"a bench's folder"),
            node: 1,
            segment_bytes: limits.segment_bytes,
            commit_bytes: limits.commit_bytes,
            hot_tail_bytes: limits.hot_tail_bytes,
            hot_tail_total_bytes: limits.hot_tail_total_bytes,
            index_cache_bytes: limits.index_cache_bytes,
            supply: None,
        };
        let wal = Wal::<RealWorld>::open(&RealDisk, options).expect("the folder is empty");
        let log = |number| wal.partition(PartitionId::new(1, number));
        let partitions = (0..PARTITIONS).map(|number| Partition { log: log(number), next: 0 }).collect();
        Bed { wal, partitions, _dir: dir }
    }

    /// Appends `count` entries with the same payload, a fixed number in flight in each of the first `partitions`
    /// partitions; resolves when all are durable.
    async fn append(&mut self, count: u64, partitions: usize, in_flight: u64, payload: &Bytes) {
        let crc = crc32c::crc32c(payload);
        let (done, mut acks) = mpsc::unbounded_channel();
        let mut begin = |partition: usize| {
            let Partition { log, next } = &mut self.partitions[partition];
            let id = LogId { term: 1, index: *next };
            *next += 1;
            let entry = WalEntry { id, kind: EntryKind::Batch, payload: payload.clone(), crc };
            let done = done.clone();
            log.append(
                vec![entry],
                Box::new(move |durable| {
                    durable.expect("the disk works");
                    // The receiver is there until all are answered.
                    let _ = done.send(partition);
                }),
            );
        };
        let mut begun = 0;
        for number in 0..count.min(partitions as u64 * in_flight) {
            begin(number as usize % partitions);
            begun += 1;
        }
        for _ in 0..count {
            let partition = acks.recv().await.expect("a sender is kept here");
            if begun < count {
                begin(partition);
                begun += 1;
            }
        }
    }
}

fn wal(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("wal");
    // Every iteration writes: few samples, or the disk fills.
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (name, partitions, in_flight, bytes) in [
        ("one at a time", 1, 1, 160),
        ("12 partitions x 8 in flight", PARTITIONS as usize, IN_FLIGHT, 160),
        ("12 partitions x 8 in flight", PARTITIONS as usize, IN_FLIGHT, 64 << 10),
    ] {
        let mut bed = Bed::new(&runtime);
        let payload = value(1, bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new(name, format!("{bytes} B")), |b| {
            b.iter_custom(|count| {
                let start = Instant::now();
                runtime.block_on(bed.append(count, partitions, in_flight, &payload));
                start.elapsed()
            });
        });
        let stats = bed.wal.stats();
        println!("  {} frames in {} writes and {} syncs", stats.frames, stats.batches, stats.syncs);
        runtime.block_on(bed.wal.close());
    }
    group.finish();
}

criterion_group!(benches, wal);
criterion_main!(benches);
