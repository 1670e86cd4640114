//! Real clusters under test: three processes of the built binary, a load with unique ids, faults, and the verdict of
//! the log checker.
//!
//! ```text
//! Cluster ── NodeProcess x 3 (corduroy node, own ports, own folder, own log file)
//!    ▲            ▲ kill -9, SIGSTOP, restart
//! Load ── writers, producers, readers, subscribers ──▶ Recorder (every append, every read, with times)
//!                                                         │
//! settle ▶ stop ▶ corduroy dump of every replica ──────────┴──▶ checker ──▶ no violation
//! ```
//!
//! **Invariant**: a process is only ever signalled through the `Child` that started it, and none outlives its test.
//!
//! **Invariant**: nothing here asserts how long something took; deadlines are there to end a test that hangs.
#![allow(dead_code, unused_imports, reason = "every test binary compiles the harness and uses its own part of it")]

mod http;
mod loop_disk;
mod ports;
mod process;
mod small_disk;
mod trace;

mod cluster;
mod load;
mod recorder;

mod dump;
mod run;
mod shop;
pub mod stores;
mod verdict;

pub use cluster::{Cluster, TOPIC};
pub use dump::{dump, dump_bytes, dump_of};
pub use http::get as http_get;
pub use load::Load;
pub use loop_disk::{FileSystem, LoopDisk, can_cut_power};
pub use ports::Ports;
pub use process::{Ended, NodeProcess, corduroy, resident, run};
pub use recorder::Recorder;
pub use run::Run;
pub use shop::{Answer, Callers};
pub use small_disk::SmallDisk;
pub use trace::Tracer;
pub use verdict::{FaultLog, Verdict, settle};

use std::{
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long anything may take before the test gives up. Generous: the machine may have two cores and other work.
pub const PATIENCE: Duration = Duration::from_secs(60);

static MACHINE: Mutex<()> = Mutex::new(());

/// Held by a test that runs a cluster: one at a time, so that three nodes and their load have the machine to
/// themselves.
pub fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says loudly, on standard error, that a test did not run because this machine cannot do what it needs.
///
/// # Panics
/// Where the variable `required` is set: there it must run.
#[track_caller]
pub fn skipped(required: &str, why: &str) {
    assert!(std::env::var_os(required).is_none(), "{required} is set, and this machine cannot: {why}");
    // Past the capture of the test harness: nobody should take this for a test that passed.
    let _ = writeln!(std::io::stderr(), "\n#### SKIPPED, NOT PASSED: {why}\n");
}

/// Asks again and again until the answer is yes.
///
/// # Panics
/// After [`PATIENCE`], with what was waited for and the last answer.
#[track_caller]
pub fn wait_until<T>(what: &str, mut answer: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match answer() {
            Ok(value) => return value,
            Err(state) => assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}; last seen: {state}"),
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}
