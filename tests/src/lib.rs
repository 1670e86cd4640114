//! What holds Corduroy to its promises: checkers over what clients saw and what the disks kept.
//!
//! The checkers know nothing about how the log works. They are given what a run looked like from outside (every
//! append with its outcome, every read, and the final content of every replica) and say which promise was broken,
//! where, and by which records. The same checker judges simulated clusters, real processes, and its own planted
//! violations.
//!
//! Begin at [`checker`]; [`wal_sim`] runs storage and recovery of one node from seeds, [`sim`] the log of a whole cluster, and
//! [`shop_sim`] services on it.

pub mod checker;
pub mod mutations;
pub mod seeds;
pub mod shop_sim;
pub mod sim;
pub mod wal_sim;
