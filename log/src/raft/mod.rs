//! The openraft glue, and nothing else.
//!
//! ```text
//!   partition ──▶ Raft ──▶ LogStore ──▶ wal::PartitionLog      entries, votes, committed marks: one ordered writer
//!                  │  └──▶ StateMachine ──▶ partition::Evolved  the fold that gives batches their offsets
//!                  └─────▶ Network ──▶ peer::Peers              virtual streams on the connections between nodes
//! ```
//!
//! openraft's types are named here only; the rest of the crate sees the aliases below and our own `LogId` and `Vote`.
//!
//! Settings that are a matter of safety, not of taste (`config`): one leader per term (`leader_id_std`); restarted leaders
//! do not resume (`enable_leader_restore = false`: they could reuse a log id whose entry was lost with an unsynced tail);
//! pre-vote and the quorum-loss probe on; no lease reads; openraft never purges by itself.
mod config;
mod convert;
mod log_store;
mod network;
mod state_machine;
mod types;
mod window;

pub(crate) use config::{APPEND_ENTRIES, config};
pub(crate) use convert::{from_log_id, from_vote, to_append_request, to_log_id, to_vote, transfer_request};
pub(crate) use convert::{heartbeat_request, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
pub(crate) use log_store::LogStore;
pub(crate) use network::Network;
pub(crate) use state_machine::{StateMachine, pass_turn};
pub(crate) use types::{Applied, Metrics, Raft, RaftConfig, TypeConfig};

#[cfg(test)]
mod tests;
