//! The simulated world: a whole cluster in one process, on one thread, in virtual time, from one seed.
//!
//! [`Sim`] owns the world; [`Sim::env`] hands a node its share of it, and everything built on
//! [`Env`] and [`World`] then runs unchanged, disk, network, time and crashes included:
//!
//! ```text
//!    Sim ── kill, power_cut, restart, pause, cut, heal, fail_next_sync ...        (the test, node-less)
//!     │
//!     ├── node 1: tasks ─ SimDisk (unsynced sectors and names) ─ SimClock ─ SimRng
//!     ├── node 2:   ...        │ connections: seeded latency, in order, cut one way or both
//!     └── node 3:   ...        ▼
//!    SimTasks ── openraft's simulated runtime: one queue of tasks, virtual time      ─▶ trace hash
//! ```
//!
//! What a crash does: a *kill* drops every task of the node, releases its locks and resets its connections; what it
//! wrote stays in the page cache, and its views may be anything. A *power cut* also loses, sector by sector and name by name, what was not synced, and
//! the other nodes hear nothing. A restarted node has the same disk and a new incarnation; handles of the old one fail.
//!
//! **Invariant**: a run is a function of its seed and of the code. All randomness comes from streams named after their
//! use; nothing iterates an unordered map, reads a real clock or starts a thread.
//! [`Sim::trace_hash`] covers every poll of a task, every packet, sync and crash, so two runs that differ anywhere differ
//! there.
//!
//! **Invariant**: a future is dropped outside of all locks, and never while it is being polled.
//!
//! **Invariant**: a task that panics fails the run, with the seed in the message. Nothing is swallowed.
//!
//! [`SimCluster`] is whole nodes in it. [`Cluster`] is the other thing: real files and sockets, for where time must be real.
//!
//! Left out: two versions of the code in one cluster; loss and repetition of single packets on a connection, which delivers
//! in order or is lost, as TCP does ([`SimLink`] says what a lossy link then looks like).
//!
//! # Example
//! ```
//! use corduroy_log::{testing::Sim, world::{Disk as _, DiskFile as _}};
//! use std::{path::Path, time::Duration};
//!
//! let sim = Sim::seed(7);
//! sim.run(async {
//!     let env = sim.env(1);
//!     let written = sim.spawn_on(1, async move {
//!         let file = env.disk.create_new(Path::new("/log"))?;
//!         env.disk.sync_dir(Path::new("/"))?;
//!         file.write_all_at(0, &[b"synced"])?;
//!         file.sync_data().await
//!     });
//!     written.await.expect("the task was not killed").expect("the disk works");
//!
//!     sim.power_cut(1);
//!     sim.sleep(Duration::from_secs(1)).await;
//!     let env = sim.restart(1);
//!     let mut bytes = [0; 6];
//!     let file = env.disk.open(Path::new("/log")).expect("the name was synced");
//!     file.read_exact_at(0, &mut bytes).expect("so was the length");
//!     assert_eq!(&bytes, b"synced");
//! });
//! println!("trace {:016x}", sim.trace_hash());
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the simulated world implements the seams others must use"
)]

mod decided;
mod folding;
mod probe;
mod sim;
mod sim_cluster;
mod stats;
mod table;

mod clock;
mod disk;
mod net;
mod rng;
mod sleep;
mod tasks;

mod views;

mod loopback;

mod trace;
mod universe;

#[doc(hidden)]
pub mod fuzz;

#[cfg(test)]
mod tests;

pub use clock::{SimClock, SimTime};
pub use decided::decided_in;
pub use disk::{DiskCall, DiskError, DiskImage, PlantedBug, Rot, Rotten, SimDisk, SimFile, SimLock};
pub use folding::Folding;
pub use loopback::{Cluster, ClusterError, free_port, quick};
pub use net::{SimLink, SimNet};
pub use probe::{Glimpse, Probe};
pub use rng::SimRng;
pub use sim::{Sim, SimConfig};
pub use sim_cluster::{SimCluster, StartError};
pub use sleep::{SimElapsed, SimSleep, SimTimeout};
pub use stats::{LinkStats, NodeStats};
pub use table::table;
pub use tasks::{SimTasks, TaskError, TaskHandle};
pub use views::{SimStore, SimViews, ViewDamage};

#[cfg(doc)]
use crate::world::Env;
use crate::world::World;
use std::sync::{Mutex, MutexGuard};

/// The world of one [`Sim`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimWorld;

impl World for SimWorld {
    type Tasks = SimTasks;
    type Disk = SimDisk;
    type Net = SimNet;
    type Clock = SimClock;
    type Rng = SimRng;
    type Views = SimViews;
}

/// Locks a mutex. A panic fails the run anyway; while it unwinds, destructors still need what the mutex guards.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
