//! What a node does about its own disk: one that is full, slow, or does not answer any more.
//!
//! ```text
//!   wal: space, time at work ──▶ Vitals ◀── what peers say of theirs (peer::server)
//!                                  │
//!          judge: pure ────────────┼──▶ silent?   gate of raft::network: neither heartbeats nor entries
//!                                  │
//!          watch: a task ──────────┴──▶ tells peers · hands leaderships over · stops campaigning · halts
//! ```
//!
//! A leader whose disk hangs is as bad as a dead one and looks alive: its heartbeats need no disk. So it falls silent (R25)
//! and followers elect another. A leader whose disk is full cannot take appends, so it asks a replica that can to lead
//! (R66).
//!
//! **Invariant**: nobody gives up a lead that nobody better could take. Where every disk is slow or full, leaders stay,
//! and reads go on.
//! **Invariant**: the watch runs on the runtime, never on the WAL's thread: that one may be stuck in the kernel.
mod budget;

mod judge;

mod vitals;

mod watch;

pub(crate) use budget::{Budget, Share};
pub(crate) use judge::Condition;
pub(crate) use vitals::Vitals;
pub(crate) use watch::watch;
