//! The world this crate runs in: the real one. The only place that names it.
use corduroy_log::world::{Env, real::RealWorld};

/// The log of a node.
pub(crate) type Log = corduroy_log::log::Log<RealWorld>;

/// A partition of it.
pub(crate) type Partition = corduroy_log::partition::Partition<RealWorld>;

/// Files, sockets, clock and randomness of this process.
pub(crate) fn environment() -> Env<RealWorld> {
    Env::real()
}
