//! How a run ends.
use super::super::tally::Tally;
use std::fmt;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, in the same words each time.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened in it.
    pub tally: Tally,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Where a promise was broken: the last events, oldest first.
    pub events: Vec<String>,
    /// Disk operations of all lives of the node.
    pub operations: u64,
    /// Most disk operations of a recovery that went through.
    pub longest_recovery: u64,
}

/// Why a run does not go on.
pub(super) enum Stop {
    /// Damage was refused and nothing is there to go on with.
    Over,
    /// A promise was broken.
    Violation(Violation),
}

pub(super) fn broken<T>(invariant: &'static str, detail: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Violation(Violation { invariant, detail: detail.to_string() }))
}
