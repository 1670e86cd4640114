//! What nodes say to each other.
//!
//! ```text
//!   raft::Network ──▶ Link (one per peer) ──▶ Outbox ══ packets ══▶ serve ──▶ Raft of the partition
//!        ▲              reconnects, greets                            │
//!        └──────────── Session: answers by id, acks by stream ◀═══════┘
//! ```
//!
//! Every node keeps one [`link`] to every other: a connection it opens, greets on, and opens again when it is lost. Its
//! requests go out on it and their answers come back on it. Messages of all partitions share the connection; the
//! [`outbox`] packs what is waiting into one packet, so load makes packets larger instead of more numerous.
//!
//! Replication uses *virtual streams*: opened, fed in order, answered cumulatively. Everything else is a request with an
//! id and a deadline.
//!
//! **Invariant**: no message of Raft passes before both ends have agreed on cluster, node ids, incarnations and boot
//! epochs ([`handshake`]). Answers belong to the connection they came on: one from an earlier boot of a peer cannot
//! arrive, because its connection died with that boot.
//!
//! Queues here have no bound of their own. What waits in them is bounded by what openraft keeps in flight: 64 appends of
//! at most 256 KiB (or one entry) per stream, and one request per vote, read or proposal.
mod handshake;
mod link;
mod outbox;
mod server;
mod session;

pub(crate) use handshake::Directory;
pub(crate) use link::{Link, PeerError, Peers};
pub(crate) use server::serve;
pub(crate) use session::AppendStream;
