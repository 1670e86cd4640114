//! The real world: files, TCP with gRPC on it, tokio, the system's clock and randomness, sled.
//!
//! Each seam is a thin shell over what the operating system offers, and decides nothing:
//!
//! ```text
//!     RealTasks ── tokio, one thread per dedicated task      RealClock ── system time
//!     RealDisk  ── std::fs, pwritev, fdatasync, flock        RealRng   ── the thread's generator
//!     RealNet   ── tonic: one HTTP/2 connection per call of `connect`
//!     RealViews ── sled, with its panics contained
//! ```
//!
//! **Invariant**: no method retries a failed write or sync. The kernel marks pages clean when a sync fails, so a second
//! sync may succeed without the data; the caller halts instead.
//!
//! **Invariant**: what needs a tokio runtime (`RealTasks`, `RealNet`) is called inside one; the disk, the clock and the
//! randomness need none.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the one place where the log touches the world"
)]

mod clock;
mod disk;
mod net;
mod rng;
mod tasks;
mod views;

#[cfg(test)]
mod tests;

pub use clock::RealClock;
pub use disk::{RealDisk, RealFile, RealLock};
pub use net::RealNet;
pub use rng::RealRng;
pub use tasks::RealTasks;
pub use views::{RealStore, RealViews};

use super::{Env, World};

/// The world a process runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RealWorld;

impl World for RealWorld {
    type Tasks = RealTasks;
    type Disk = RealDisk;
    type Net = RealNet;
    type Clock = RealClock;
    type Rng = RealRng;
    type Views = RealViews;
}

impl Env<RealWorld> {
    /// The environment of this process.
    pub fn real() -> Self {
        Env { disk: RealDisk, net: RealNet, clock: RealClock, rng: RealRng, views: RealViews }
    }
}
