//! What nodes say to each other.
//!
//! ```text
//!   raft::Network ──▶ Link (one per peer) ──▶ Outbox ══ packets ══▶ serve ──▶ Raft of the partition
//!        ▲              reconnects, greets                            │
//!        └──────────── Session: answers by id, acks by stream ◀═══════┘
//! ```
//!
//! Every node keeps two [`link`]s to every other, one of them for entries alone: connections it opens, greets on, and opens
//! again when they are lost. Its requests go out on them and their answers come back on them. Messages of all partitions
//! share a connection; the [`outbox`] packs what is waiting into one packet, so load makes packets larger instead of more
//! numerous.
//!
//! Replication uses *virtual streams*: opened, fed in order, answered cumulatively. Heartbeats of all groups are one message
//! ([`beats`]). Everything else is a request with an id and a deadline.
//!
//! **Invariant**: no message of Raft passes before both ends have agreed on cluster, node ids, incarnations and boot
//! epochs ([`handshake`]). Answers belong to the connection they came on: one from an earlier boot of a peer cannot
//! arrive, because its connection died with that boot.
//!
//! Bounds: a stream has at most 64 appends and 8 MiB unanswered, a connection takes entries while less than 8 MiB wait on
//! it, and a node takes entries while less than its budget of them is not yet on disk. Requests have deadlines, and a
//! connection has at most 4096 of them under way. `docs/architecture.md` has the table.
mod beats;
mod handshake;
mod link;
mod outbox;
mod server;
mod session;

pub(crate) use handshake::Directory;
pub(crate) use link::{Link, PeerError, Peers, call};
pub(crate) use outbox::{Outbox, append_size};
pub(crate) use server::{Serving, serve};
pub(crate) use session::AppendStream;
