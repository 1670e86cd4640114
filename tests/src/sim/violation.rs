//! What must hold, and that it did not.
use crate::checker::Rule;
use std::fmt;

/// What must hold. The shrinker keeps what breaks the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// No code of the product panics.
    NoPanic,
    /// Nodes start and come together.
    Start,
    /// One node leads a partition in a term.
    OneLeader,
    /// What one replica knows to be committed, no other knows otherwise.
    EqualLogs,
    /// Term, vote and commit never go back, and a node votes once in a term.
    NothingGoesBack,
    /// No group stops that was not made to.
    GroupsRun,
    /// No node halts that was not made to, and one that was says why.
    Halts,
    /// A fault does to its victim what it is to do.
    FaultsWork,
    /// What is committed is durable on a majority, and no entry is of a later term than the vote on the same disk.
    Durable,
    /// What was damaged is refused as it is, or nothing is missing of what was committed there.
    Damage,
    /// Clients get what they asked for: no gap in a subscription, a conditional append at its offset or nowhere.
    Answers,
    /// A majority that is healed leads, serves, agrees and is ready in time.
    Liveness,
    /// All replicas agree once everybody is well.
    Settling,
    /// What is found by key and by time is what the logs hold, and all replicas' views hold the same.
    Views,
    /// A rule of the log checker.
    Log(Rule),
    /// The run is worth something.
    Vacuous,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Where and how, in a sentence.
    pub detail: String,
}

impl Violation {
    pub(super) fn new(invariant: Invariant, detail: impl fmt::Display) -> Self {
        Violation { invariant, detail: detail.to_string() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

/// The first thing that was wrong ends a run.
pub(super) type Verdict = Result<(), Violation>;
