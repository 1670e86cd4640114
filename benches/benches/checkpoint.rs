//! How long evolving waits while a checkpoint is made: a partition with a million keys, one thread that evolves, and one
//! that writes the state down.
//!
//! The mean would hide it: what counts are the slowest batches. So this is no criterion bench; it prints quantiles.

use corduroy_benches::{RECORD, records};
use corduroy_log::{NewRecord, batch::Batch, testing::Folding};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const KEYS: u64 = 1_000_000;
const FILL: usize = 4096;
/// Checkpoints, one after the other.
const ROUNDS: usize = 5;

fn keyed(from: u64, count: usize) -> Batch {
    let record = |(number, mut record): (u64, NewRecord)| {
        record.key = Some((number % KEYS).to_be_bytes().to_vec().into());
        record
    };
    let records: Vec<NewRecord> = (from..).zip(records(count, RECORD)).map(record).collect();
    Folding::batch(&records, None)
}

/// Evolves batches of one record until told to stop; returns how long each took.
fn evolve(folding: &Folding, batches: &[Batch], stop: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut turn = batches.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let batch = turn.next().expect("it has no end");
        let start = Instant::now();
        folding.evolve(batch);
        times.push(start.elapsed());
    }
    times
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: {} batches of one record, p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn main() {
    // `cargo test --benches` runs this, too, and wants nothing from it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folding = Folding::new(true);
    for from in (0..KEYS).step_by(FILL) {
        folding.evolve(&keyed(from, FILL));
    }
    let batches: Vec<Batch> = (0..4999).map(|n| keyed(n * 7919, 1)).collect();
    let stop = AtomicBool::new(false);
    let during = |time: &dyn Fn()| {
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let evolving = scope.spawn(|| evolve(&folding, &batches, &stop));
            time();
            stop.store(true, Ordering::Relaxed);
            evolving.join().expect("evolving does not panic")
        })
    };
    print("at rest", during(&|| std::thread::sleep(Duration::from_secs(1))));
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let times = during(&|| {
            let bytes = folding.checkpoint();
            println!("a checkpoint of {KEYS} keys, {bytes} bytes, made in {:?}", start.elapsed());
        });
        print("  meanwhile", times);
    }
}
