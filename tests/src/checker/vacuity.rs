//! Rule 12: a run that did nothing breaks no promise, and proves none.
use super::{
    final_logs::FinalLogs,
    history::{Append, Moment, Outcome, Read},
    violation::{Report, Rule, Violation},
};

/// How much of the run must have worked while a fault lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A majority stayed alive: appends sent during the fault must have been acknowledged during it.
    Throughout,
    /// Nobody was left: appends must have worked before and after.
    BeforeAndAfter,
}

/// A fault that was put into the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For messages.
    pub name: String,
    /// When it began.
    pub start: Moment,
    /// When it was over: the process is back, or the run has ended.
    pub end: Moment,
    /// Whether the test saw that it happened (the process gone, stopped, or replaced).
    pub fired: bool,
    /// What must have worked meanwhile.
    pub progress: Progress,
}

/// What a run must contain to mean anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// At least so many acknowledged appends.
    pub acked: u64,
    /// At least so many answered reads.
    pub reads: u64,
    /// Exactly so many partitions in the dumps.
    pub partitions: usize,
    /// At least so many healthy replicas of each partition.
    pub replicas: usize,
    /// Of 100 appends outside all faults, at least so many acknowledged.
    pub percent_acked_outside_faults: u64,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// What the run has contained so far.
#[derive(Debug)]
pub(super) struct Coverage {
    expected: Expectation,
    acked: u64,
    reads: u64,
    outside: u64,
    outside_acked: u64,
    around: Vec<Around>,
}

/// Acknowledged appends before, during and after a fault.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    before: u64,
    during: u64,
    after: u64,
}

impl Coverage {
    pub(super) fn new(expected: Expectation) -> Self {
        let around = vec![Around::default(); expected.faults.len()];
        Coverage { expected, acked: 0, reads: 0, outside: 0, outside_acked: 0, around }
    }

    pub(super) fn append(&mut self, append: &Append) {
        let acked = matches!(append.outcome, Outcome::Acked { .. });
        self.acked += u64::from(acked);
        let faults = &self.expected.faults;
        if faults.iter().all(|fault| append.end < fault.start || append.start > fault.end) {
            self.outside += 1;
            self.outside_acked += u64::from(acked);
        }
        for (fault, around) in faults.iter().zip(&mut self.around).filter(|_| acked) {
            around.before += u64::from(append.end < fault.start);
            around.during += u64::from(append.start >= fault.start && append.end <= fault.end);
            around.after += u64::from(append.start > fault.end);
        }
    }

    pub(super) fn read(&mut self, _: &Read) {
        self.reads += 1;
    }

    pub(super) fn judge(&self, logs: &FinalLogs, report: &mut Report) {
        let mut fail = |partition, detail: String| {
            report.add(Violation { rule: Rule::Vacuous, partition, offset: None, ids: Vec::new(), detail });
        };
        let expected = &self.expected;
        if self.acked < expected.acked {
            fail(None, format!("{} appends were acknowledged, at least {} were expected", self.acked, expected.acked));
        }
        if self.reads < expected.reads {
            fail(None, format!("{} reads were answered, at least {} were expected", self.reads, expected.reads));
        }
        if self.outside_acked * 100 < self.outside * expected.percent_acked_outside_faults {
            let (acked, all) = (self.outside_acked, self.outside);
            fail(None, format!("outside of faults only {acked} of {all} appends were acknowledged"));
        }
        let dumped = logs.partitions.values().filter(|partition| !partition.replicas.is_empty()).count();
        if dumped != expected.partitions {
            fail(None, format!("{dumped} partitions were dumped, {} were expected", expected.partitions));
        }
        for (&partition, replicas) in &logs.partitions {
            let healthy = replicas.replicas.iter().filter(|replica| replica.healthy).count();
            if healthy < expected.replicas {
                let detail = format!("{healthy} healthy replicas were dumped, {} were expected", expected.replicas);
                fail(Some(partition), detail);
            }
        }
        for (fault, around) in expected.faults.iter().zip(&self.around) {
            let name = &fault.name;
            if !fault.fired {
                fail(None, format!("the fault \"{name}\" never fired"));
            }
            let during = fault.progress == Progress::Throughout;
            for (when, count, needed) in
                [("before", around.before, true), ("during", around.during, during), ("after", around.after, true)]
            {
                if needed && count == 0 {
                    fail(None, format!("no append was acknowledged {when} the fault \"{name}\""));
                }
            }
        }
    }
}
