//! What the checker found.
use super::history::RecordId;
use std::{collections::BTreeMap, fmt};

/// A promise that can be broken. The discriminant is the rule's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Two values for one offset.
    TwoValues = 1,
    /// An id more than once.
    Doubled = 2,
    /// A hole in the offsets.
    Hole = 3,
    /// An acknowledged record is missing.
    Lost = 4,
    /// A refused record is present.
    RefusedButPresent = 5,
    /// A value nobody sent.
    Phantom = 6,
    /// Order contradicts time.
    Reordered = 7,
    /// A linearizable read that is not.
    StaleRead = 8,
    /// A session that goes backwards.
    SessionBackwards = 9,
    /// Replicas differ after settling.
    ReplicasDiffer = 10,
    /// A read of something that is in no final log.
    PhantomRead = 11,
    /// A run that proves nothing.
    Vacuous = 12,
}

impl Rule {
    /// All rules, in order.
    pub const ALL: [Rule; 12] = [
        Rule::TwoValues,
        Rule::Doubled,
        Rule::Hole,
        Rule::Lost,
        Rule::RefusedButPresent,
        Rule::Phantom,
        Rule::Reordered,
        Rule::StaleRead,
        Rule::SessionBackwards,
        Rule::ReplicasDiffer,
        Rule::PhantomRead,
        Rule::Vacuous,
    ];
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which one.
    pub rule: Rule,
    /// Where, as far as it has a place.
    pub partition: Option<u32>,
    /// At which offset, as far as it has one.
    pub offset: Option<u64>,
    /// The records it is about.
    pub ids: Vec<RecordId>,
    /// What was seen, in a sentence.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} ({:?})", self.rule as u8, self.rule)?;
        if let Some(partition) = self.partition {
            write!(f, " partition {partition}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " offset {offset}")?;
        }
        for id in &self.ids {
            write!(f, " {id}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// The verdict on a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Broken promises, by rule and place; of each rule at most [`Report::KEPT`].
    pub violations: Vec<Violation>,
    /// How many there were of each rule, kept or not.
    pub counts: BTreeMap<Rule, u64>,
    /// Appends that were acknowledged.
    pub acked: u64,
    /// Appends that were refused.
    pub refused: u64,
    /// Appends with an unknown outcome.
    pub unknown: u64,
    /// Of those, the ones that are in the log.
    pub unknown_present: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Records these returned.
    pub records_read: u64,
    /// Different records in the final logs.
    pub records: u64,
}

impl Report {
    /// How many violations of one rule are kept.
    pub const KEPT: u64 = 100;

    /// True when no promise was broken.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Panics with every violation in the message, unless the run was clean.
    ///
    /// # Panics
    /// When a promise was broken.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }

    pub(super) fn add(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.rule).or_default();
        *count += 1;
        if *count <= Self::KEPT {
            self.violations.push(violation);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} acknowledged, {} refused, {} unknown ({} of them present), {} records in the logs, {} reads of {} records",
            self.acked, self.refused, self.unknown, self.unknown_present, self.records, self.reads, self.records_read,
        )?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        for (rule, count) in &self.counts {
            if *count > Self::KEPT {
                writeln!(f, "  ... rule {} ({rule:?}) {} times in all", *rule as u8, count)?;
            }
        }
        write!(f, "{}", if self.is_clean() { "no violation" } else { "VIOLATED" })
    }
}
