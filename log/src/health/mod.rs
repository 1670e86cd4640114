//! What a node does about itself and about the others: a disk that is full, slow, or does not answer any more; a process
//! that is gone; a leader that is not heard of; a clock that is wrong.
//!
//! ```text
//!   wal: space, time at work ──▶ Vitals ◀── what peers say of theirs (peer::server)
//!      clocks: pure ───────────────┤       and what their clocks show
//!          judge: pure ────────────┼──▶ silent?   gate of raft::network: neither heartbeats nor entries
//!                                  │
//!          watch: a task ──────────┴──▶ tells peers · hands leaderships over · stops campaigning · halts
//!
//!   links: lost, refused ────────▶ Processes ◀── whom peers found gone (peer::server)
//!                                  │
//!          gone, succession: pure ─┤
//!          failover: a task ───────┴──▶ tells peers · lifts leases · asks for votes
//!
//!          pulse: a task ─────────────▶ heartbeats of all groups · clocks of those that hear of no leader
//! ```
//!
//! A leader whose disk hangs is as bad as a dead one and looks alive: its heartbeats need no disk. So it falls silent (R25)
//! and followers elect another. A leader whose disk is full cannot take appends, so it asks a replica that can to lead
//! (R66). One whose clock is far from the others' does so, too: its clock is the time of what it appends (R55). A leader whose process ended is succeeded as soon as a majority has noticed (R26), not after a timeout.
//!
//! **Invariant**: nobody gives up a lead that nobody better could take. Where every disk is slow or full, leaders stay,
//! and reads go on.
//! **Invariant**: the tasks run on the runtime, never on the WAL's thread: that one may be stuck in the kernel.
mod budget;

mod clocks;
mod judge;

mod vitals;

mod watch;

mod gone;
mod succession;

mod processes;

mod failover;

mod pulse;

pub(crate) use budget::{Budget, Share};
pub(crate) use failover::fail_over;
pub(crate) use judge::Condition;
pub(crate) use processes::Processes;
pub(crate) use pulse::pulse;
pub(crate) use vitals::Vitals;
pub(crate) use watch::watch;
