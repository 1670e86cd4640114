//! Services in your own process.
//!
//! A service is rules for one kind of aggregate ([`Service`]): what a command comes to, what a fact changes, which facts of other
//! services concern it. The runtime does the rest:
//!
//! ```text
//!   Caller ──▶ the partition's leader (call) ──▶ mailbox ─┐
//!   topics of peers ──▶ feed, by cursor ──────────────────┤──▶ leader ──▶ Decider (head state) ──▶ decided batch ──▶ log
//!   timers that are due ──────────────────────────────────┘                                            │
//!   answers ◀── Replica: evolves what counts, on every node ◀──────────────────────────────────────────┘
//! ```
//!
//! Events, answers, timers, dead letters and how far peers were read are one entry of the log: it counts as a whole or not at all
//! ([`corduroy_log::DecidedBatch`]). So there is no outbox, no table of messages seen, and nothing to repair after a crash.
//!
//! - `service`, `refusal`: what authors of services hold in their hands.
//! - `state`, `aggregates`, `commands`: the fold over a partition's log. Pure, but for reading the table of a checkpoint.
//! - `decider`: from inputs to batches. Pure.
//! - `replica`: a partition's state on this node, and who waits for what becomes of it.
//! - `leader`, `feed`: the task of a partition that is led here.
//! - `call`: from anywhere to the leader, and back. `aim`: whom to ask for it.
//! - `index`: finding aggregates otherwise than by key. `events`: reading facts, where a state says which.
//! - `registry`: the services of a node.
mod refusal;
mod service;

mod aggregates;
mod commands;
mod state;

mod decider;
mod time;

mod replica;

mod feed;
mod leader;

mod aim;
mod call;
mod events;
mod index;
mod registry;

pub use corduroy_log::Consistency;

pub use call::{Answered, CommandError, CommandOptions, Found, Services, id_of_key};
pub use index::{FoundPage, IndexKey};
pub use registry::{Keep, Registry};

pub use refusal::Refusal;
pub use service::{
    At, Decide, Head, Input, Origin, PeerEvent, Place, Routes, Service, Ticket, Unreadable, partition_of,
};

#[cfg(feature = "testing")]
pub(crate) use {
    decider::{Decider, Taken},
    registry::AnyHost,
    replica::{Evolver, Replica},
};
#[cfg(feature = "testing")]
pub(crate) mod rules;
