//! The WAL simulator: one node's write-ahead log, its disk, and every way the two can part.
//!
//! A seed is a [`Plan`]: sizes, and a list of steps, which are calls of the WAL and faults. [`run`] carries it out on the code
//! of the product, on the simulated disk, on one thread, in virtual time, and compares what comes back with a model that is a
//! list of what was asked for. A thousand seeds take seconds.
//!
//! ```text
//!   seed ─▶ Plan::draw ─▶ run ─┬─ calls ──▶ Wal, PartitionLog ──▶ SimDisk ◀── faults: cuts, kills, errors, rot, no space
//!              ▲               ├─ Model: every call, in order, frame by frame
//!   shrink ────┘               └─ Tally: what happened, so that a run in which nothing did cannot pass
//! ```
//!
//! What must hold, at every moment of every run:
//!
//! **Invariant**: what was acknowledged is there after a crash, with its content, its log hash and its vote.
//! **Invariant**: what was not acknowledged is there as a prefix of the order of the calls, partition by partition, or not.
//! **Invariant**: acknowledgements of a partition come in the order of the calls, and none comes after a failed sync or write.
//! **Invariant**: a read gives what was written or an error.
//! **Invariant**: damage is refused, with every byte unchanged, or nothing acknowledged is missing or altered. Damage behind the
//! last mark that can still be read is the one exception: nothing on the disk tells it from a torn write.
//! **Invariant**: copies of the identity and of the manifest that agree open and are made good, those that do not are refused by
//! name; the boot epoch rises with each start.
//! **Invariant**: a WAL that opened goes on: it can be appended to, closed and opened again.

mod draw;
mod fault;
mod model;
mod plan;
mod swarm;

mod run;

mod copies;
mod damage;
pub(crate) mod marks;
mod shrink;
mod tally;

pub mod planted;
pub mod scripts;

pub use copies::{CopyRot, Kept};
pub use fault::{Crash, Place, RotKind};
pub use plan::{Config, Plan, Step};
pub use run::{Outcome, Violation, run, run_traced};
pub use shrink::shrink;
pub use tally::Tally;

#[cfg(doc)]
use model::Model;
