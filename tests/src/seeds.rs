//! Running many seeds, in one way for all simulators whose runs are independent of each other.
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Which seeds, and for how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Seeds {
    /// Run so many seeds.
    #[arg(long, default_value_t = 50)]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// End after so many minutes, even if not all seeds were run.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// How many runs at the same time.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64))]
    pub jobs: u64,
    /// Go on after a run that failed.
    #[arg(long)]
    pub keep_going: bool,
}

/// Every so many seeds one is run twice.
const TWICE: u64 = 100;

/// How a run of one seed went.
#[derive(Clone, Debug)]
pub struct Report<T> {
    /// What is added up over all runs; `Err`: what was wrong.
    pub outcome: Result<T, String>,
    /// Equal for equal runs.
    pub trace: u64,
    /// What to print.
    pub text: String,
}

/// Runs seeds until one fails, prints how each went and in the end a line for scripts, and returns how many failed. `add` adds up
/// what happened, `missing` says what should have happened in so many runs and did not.
pub fn run<T: Default + Send + std::fmt::Display>(
    seeds: &Seeds,
    run: impl Fn(u64) -> Report<T> + Sync,
    add: impl Fn(&mut T, T) + Sync,
    missing: impl FnOnce(&T, u64) -> Vec<String>,
) -> u64 {
    let (next, done) = (AtomicU64::new(seeds.from), AtomicU64::new(0));
    let sum: Mutex<T> = Mutex::default();
    // Seed, seeds run until then, what was wrong.
    let failures: Mutex<Vec<(u64, u64, String)>> = Mutex::default();
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let end = seeds.from + seeds.seeds;
    let late = || seeds.minutes.is_some_and(|minutes| began.elapsed() > Duration::from_secs(60 * minutes));
    std::thread::scope(|scope| {
        for _ in 0..seeds.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && !late() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = one(seed, &run);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    match outcome {
                        Ok(happened) => add(&mut sum.lock().expect("nobody panics with it"), happened),
                        Err(what) => {
                            failures.lock().expect("nobody panics with it").push((seed, done, what));
                            stop.store(!seeds.keep_going, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let done = done.into_inner();
    let sum = sum.into_inner().expect("nobody panics with it");
    let mut failures = failures.into_inner().expect("nobody panics with it");
    println!("{sum}");
    let missing = missing(&sum, done);
    if failures.is_empty() && !missing.is_empty() {
        failures.push((seeds.from, done, format!("nothing of this happened: {}", missing.join(", "))));
    }
    match failures.first() {
        Some((seed, after, what)) => {
            println!("{} of {done} seeds failed", failures.len());
            println!("caught: seed {seed} after {after} seeds: {}", what.lines().collect::<Vec<_>>().join("; "));
        }
        None => println!("clean: {done} seeds, {:.0} per minute", done as f64 * 60.0 / began.elapsed().as_secs_f64()),
    }
    failures.len() as u64
}

/// Runs a seed, every hundredth of them twice.
fn one<T>(seed: u64, run: &impl Fn(u64) -> Report<T>) -> Result<T, String> {
    let first = run(seed);
    println!("{}", first.text);
    if seed.is_multiple_of(TWICE) {
        let second = run(seed).trace;
        if second != first.trace {
            return Err(format!("not reproducible: traces {:016x} and {second:016x}", first.trace));
        }
    }
    first.outcome
}
