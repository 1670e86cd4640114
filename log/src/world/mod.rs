//! The seams between the log and the world: disk, network, clock, randomness, tasks, stores of views.
//!
//! Everything outside this folder is a function of what comes through these traits, so that one seed can run a whole
//! cluster. There are two worlds: [`real`] (files, tonic, tokio, sled) and the simulated one of `crate::testing`.
//!
//! ```text
//!      wal ── Disk      peer ── Net      partition ── Clock, Rng      view ── Views      everyone ── Tasks
//!              └────────────┴──────────┬──────────┴─────────────────────┴──────────────────────┘
//!                                   W: World
//! ```
//!
//! **Invariant**: only this folder (and its simulated twin) names `std::fs`, sockets, the system clock, threads,
//! `tokio::spawn` or `tokio::time`. `clippy.toml` keeps it. Channels of `tokio::sync` other than `watch` are allowed
//! everywhere: they need no runtime and wake their waiters in a fixed order.

mod clock;
mod disk;
mod net;
mod rng;
mod tasks;
mod views;

pub mod real;

#[cfg(test)]
pub(crate) mod conformance;

pub use clock::{Clock, Timestamp};
pub use disk::{Disk, DiskFile};
pub use net::{Connection, Net, NetError, Purpose};
pub use real::RealWorld;
pub use rng::Rng;
pub use tasks::{Halt, Tasks};
pub use views::{Direction, Pair, StoreChange, StoreError, Tree, ViewStore, Views};

/// The kinds of seam one world is made of. A type, not a value: the values travel in [`Env`].
pub trait World: Copy + Clone + Default + Eq + Ord + std::fmt::Debug + Send + Sync + Sized + 'static {
    /// Spawn, sleep, timeouts, threads; also openraft's runtime.
    type Tasks: Tasks;
    /// Files and directories.
    type Disk: Disk;
    /// Connections between nodes.
    type Net: Net;
    /// The wall clock.
    type Clock: Clock;
    /// Randomness.
    type Rng: Rng;
    /// Stores of what can be built again.
    type Views: Views;
}

/// One node's share of a world.
#[derive(Clone, Debug)]
pub struct Env<W: World> {
    /// Where this node keeps its files.
    pub disk: W::Disk,
    /// How this node reaches the others.
    pub net: W::Net,
    /// This node's wall clock.
    pub clock: W::Clock,
    /// This node's randomness.
    pub rng: W::Rng,
    /// Where this node keeps its views.
    pub views: W::Views,
}
