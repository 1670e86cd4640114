//! Micro benchmarks of Corduroy's hot paths, and the inputs they share.
//!
//! ```text
//! benches/batch.rs   records ─▶ bytes ─▶ records: what a leader, a follower and a reader each do once per batch
//! benches/fold.rs    batches ─▶ what the log folds to: offsets, producers, keys, cursors; once per batch on every replica
//! benches/checkpoint.rs  how long evolving waits while a million keys are written down
//! benches/wal.rs     appends ─▶ write-ahead log ─▶ synced: one at a time, and many in flight over one sync
//! benches/disk.rs    bytes ─▶ file system ─▶ durable: the ways a write-ahead log could ask for it (decision 8)
//! ```
//!
//! They say where time goes. What users see is measured with whole clusters, by `corduroy bench`; `benches/README.md` has
//! both, with commands and figures.

pub mod figures;
pub mod plot;

use bytes::Bytes;
use corduroy_log::NewRecord;

/// Value size of the usual workload. Bytes.
pub const RECORD: usize = 128;

/// `count` records with different values of `size` bytes and nothing else.
pub fn records(count: usize, size: usize) -> Vec<NewRecord> {
    (0..count).map(|n| NewRecord::new(value(n as u64, size))).collect()
}

/// Bytes that do not compress and depend on `seed`.
pub fn value(seed: u64, size: usize) -> Bytes {
    // A step of splitmix64 per byte: cheap, and different for every seed.
    let byte = |at: usize| {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 56) as u8
    };
    (0..size).map(byte).collect::<Vec<u8>>().into()
}
