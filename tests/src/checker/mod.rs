//! The log checker: was any record lost, doubled, reordered, invented, or shown too early?
//!
//! Deciding whether a history is linearizable is expensive in general. Here it is not: the log returns the offset of
//! every append, so the order of all records of a partition is *given*, and checking that the order is the right one
//! is a few sorts.
//!
//! ```text
//! dumps of every replica ──▶ FinalLogs ──▶ Checker ──▶ Report
//!                            rules 1 2 3 10   ▲          every violation: rule, partition, offset, ids
//! appends, reads (in any order) ──────────────┘
//!                            rules 1 4 5 6 7 8 9 11 12
//! ```
//!
//! The rules, by [`Rule`]:
//!
//! | # | broken when |
//! |---|---|
//! | 1 | two values for one offset, over acknowledgements, reads and all replicas |
//! | 2 | an id is in the logs more than once |
//! | 3 | offsets have a hole, repeat or go back |
//! | 4 | an acknowledged record is missing on a healthy replica |
//! | 5 | a refused record is in a log |
//! | 6 | a log holds a value that nobody sent |
//! | 7 | A was acknowledged before B was sent, but A is behind B |
//! | 8 | a linearizable read begun after an acknowledgement does not reach it |
//! | 9 | a session sees less than it saw before |
//! | 10 | replicas differ after settling |
//! | 11 | a read returned something that no final log holds |
//! | 12 | the run proves nothing: too few operations, or a fault that never fired |
//!
//! Appends with an unknown outcome may be in the log or not, but at most once.
//!
//! **Invariant**: the answer does not depend on the order in which appends and reads are handed in.
//!
//! **Invariant**: memory is bounded by the number of records, some 200 bytes for each, and does not depend on their
//! size: values are known by their hash. Of each rule at most [`Report::KEPT`] violations are kept, the others are
//! counted.
//!
//! Not judged: anything below the first offset a replica still keeps, and order between partitions, which is not
//! promised.

mod history;
mod violation;

mod final_logs;
mod judge;
mod order;
mod vacuity;

pub use final_logs::FinalLogs;
pub use history::{
    Append, Consistency, Entry, History, Moment, Outcome, Read, RecordId, Replica, SessionId, ValueHash,
};
pub use judge::{Checker, MalformedHistory, check};
pub use vacuity::{Expectation, Fault, Progress};
pub use violation::{Report, Rule, Violation};

#[cfg(test)]
mod tests;
