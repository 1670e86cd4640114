//! Encoding, verifying and decoding batches.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use corduroy_benches::{RECORD, records};
use corduroy_log::{batch::Batch, config::Limits, world::Timestamp};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// One record, and what a batching client sends.
const SIZES: [usize; 2] = [1, 512];

fn batches(c: &mut Criterion) {
    let limits = Limits::default();
    let time = Timestamp(1_700_000_000_000_000);
    let mut group = c.benchmark_group("batch of 128 B records");
    for count in SIZES {
        let records = records(count, RECORD);
        let batch = Batch::encode(&records, &limits, time).expect("within the limits");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("encode", count), &records, |b, records| {
            b.iter(|| Batch::encode(black_box(records), &limits, time));
        });
        group.bench_with_input(BenchmarkId::new("verify", count), &batch, |b, batch| {
            b.iter(|| Batch::verify(black_box(batch.bytes().clone()), batch.crc()));
        });
        group.bench_with_input(BenchmarkId::new("decode", count), &batch, |b, batch| {
            b.iter(|| black_box(batch).decode(0));
        });
    }
    group.finish();
}

criterion_group!(benches, batches);
criterion_main!(benches);
