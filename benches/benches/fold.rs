//! Evolving batches: what every replica does with every batch, under a lock.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use corduroy_benches::{RECORD, records};
use corduroy_log::{NewRecord, ProducerId, ProducerStamp, batch::Batch, testing::Folding};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// What a batching client sends.
const BATCH: usize = 512;
/// Keys and cursors that are there already.
const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
const CURSORS: [u64; 2] = [64, 10_000];

/// Records whose keys are `from`, `from + 1` and so on.
fn keyed(from: u64, count: usize) -> Vec<NewRecord> {
    let record = |(number, mut record): (u64, NewRecord)| {
        record.key = Some(number.to_be_bytes().to_vec().into());
        record
    };
    (from..).zip(records(count, RECORD)).map(record).collect()
}

/// A fold with a key index that has keys 0 to `count`.
fn with_keys(count: u64) -> Folding {
    let folding = Folding::new(true);
    for from in (0..count).step_by(BATCH) {
        folding.evolve(&Folding::batch(&keyed(from, BATCH), None));
    }
    folding
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("evolve a batch");
    for count in [1, BATCH] {
        group.throughput(Throughput::Elements(count as u64));
        let (folding, batch) = (Folding::new(false), Folding::batch(&records(count, RECORD), None));
        group.bench_function(BenchmarkId::new("records", count), |b| b.iter(|| folding.evolve(black_box(&batch))));
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("of a producer", |b| {
        let (folding, record) = (Folding::new(false), records(1, RECORD));
        let mut sequence = 0;
        let mut next = || {
            let stamp = ProducerStamp { producer: ProducerId([7; 16]), epoch: 1, sequence };
            sequence += 1;
            Folding::batch(&record, Some(stamp))
        };
        b.iter_batched(&mut next, |batch| folding.evolve(&batch), BatchSize::SmallInput);
    });
    for keys in [FEW, MANY] {
        let folding = with_keys(keys);
        // Spread over all of them.
        let batches: Vec<Batch> = (0..997).map(|n| Folding::batch(&keyed(n * 7919 % keys, 1), None)).collect();
        let mut turn = batches.iter().cycle();
        group.bench_function(BenchmarkId::new("with a key, of so many", keys), |b| {
            b.iter(|| folding.evolve(turn.next().expect("it has no end")));
        });
    }
    group.finish();
}

fn cursors(c: &mut Criterion) {
    let mut group = c.benchmark_group("evolve 64 commits of cursors");
    group.throughput(Throughput::Elements(64));
    for count in CURSORS {
        let folding = Folding::new(false);
        folding.evolve(&Folding::batch(&records(1, RECORD), None));
        let commits: Vec<_> = (0..count).map(|n| (format!("cursor-{n}"), n % 2)).collect();
        let batches: Vec<Batch> = commits.chunks(64).map(Folding::commits).collect();
        let mut turn = batches.iter().cycle();
        group.bench_function(BenchmarkId::new("of so many", count), |b| {
            b.iter(|| folding.evolve(turn.next().expect("it has no end")));
        });
    }
    group.finish();
}

criterion_group!(benches, batches, cursors);
criterion_main!(benches);
