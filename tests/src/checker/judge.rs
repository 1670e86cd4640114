//! Every append and every read against the final logs.
use super::{
    final_logs::FinalLogs,
    history::{Append, Consistency, History, Outcome, Read, RecordId},
    order::{Acked, PartitionOrder, Seen, Sessions},
    vacuity::{Coverage, Expectation},
    violation::{Report, Rule, Violation},
};
use std::collections::{BTreeMap, HashSet};

/// A history that cannot have happened: the test that wrote it is broken, not the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHistory {
    /// Ids are given out once.
    #[error("record {0} was sent twice by the test itself")]
    IdSentTwice(RecordId),
    /// Time goes forward.
    #[error("an operation of session {session} ended at {end}, before it began at {start}")]
    EndsBeforeStart {
        /// Its session.
        session: u32,
        /// Nanoseconds.
        start: u64,
        /// Nanoseconds.
        end: u64,
    },
}

/// Judges a run that is in memory.
///
/// # Errors
/// [`MalformedHistory`] when the history is not one.
pub fn check(history: &History, expected: Expectation) -> Result<Report, MalformedHistory> {
    let mut logs = FinalLogs::new();
    for replica in &history.replicas {
        logs.add(replica);
    }
    let mut checker = Checker::new(logs, expected);
    for append in &history.appends {
        checker.append(append)?;
    }
    for read in &history.reads {
        checker.read(read)?;
    }
    Ok(checker.finish())
}

/// Judges a run operation by operation.
///
/// **Invariant**: what depends on a single operation is judged when it is handed in; what compares operations with
/// each other waits for [`Checker::finish`], and keeps only times and offsets until then.
#[derive(Debug)]
pub struct Checker {
    logs: FinalLogs,
    coverage: Coverage,
    /// Ids that were sent and are in no log; those that are in one are marked there.
    absent: HashSet<RecordId>,
    orders: BTreeMap<u32, PartitionOrder>,
    sessions: Sessions,
}

impl Checker {
    /// A checker for a run that ended with these logs.
    pub fn new(logs: FinalLogs, expected: Expectation) -> Self {
        let coverage = Coverage::new(expected);
        Checker { logs, coverage, absent: HashSet::new(), orders: BTreeMap::new(), sessions: Sessions::default() }
    }

    /// Takes in one append.
    ///
    /// # Errors
    /// [`MalformedHistory`]; the checker must then be thrown away.
    pub fn append(&mut self, append: &Append) -> Result<(), MalformedHistory> {
        well_ordered(append.session.0, append.start.0, append.end.0)?;
        let found = self.claim(append)?;
        self.coverage.append(append);
        let report = &mut self.logs.report;
        match append.outcome {
            Outcome::Acked { partition, offset } => {
                report.acked += 1;
                self.acked(append, partition, offset);
            }
            Outcome::Refused => {
                report.refused += 1;
                if let Some((partition, offset)) = found {
                    report.add(Violation {
                        rule: Rule::RefusedButPresent,
                        partition: Some(partition),
                        offset: Some(offset),
                        ids: vec![append.id],
                        detail: "was refused and is in the log".into(),
                    });
                }
            }
            Outcome::Unknown => {
                report.unknown += 1;
                if let Some((partition, offset)) = found {
                    report.unknown_present += 1;
                    // It got in after all: then it must not have got in before what had been acknowledged earlier.
                    let order = self.orders.entry(partition).or_default();
                    order.unknown.push((append.start.0, offset, append.id));
                }
            }
        }
        Ok(())
    }

    /// Marks the record as sent by somebody, and says where it is.
    fn claim(&mut self, append: &Append) -> Result<Option<(u32, u64)>, MalformedHistory> {
        let twice = Err(MalformedHistory::IdSentTwice(append.id));
        let Some(found) = self.logs.ids.get_mut(&append.id) else {
            return if self.absent.insert(append.id) { Ok(None) } else { twice };
        };
        if std::mem::replace(&mut found.sent, true) {
            return twice;
        }
        let found = *found;
        if found.value != append.value {
            self.logs.report.add(Violation {
                rule: Rule::Phantom,
                partition: Some(found.partition),
                offset: Some(found.offset),
                ids: vec![append.id],
                detail: "the log holds another value under this id than was sent".into(),
            });
        }
        Ok(Some((found.partition, found.offset)))
    }

    fn acked(&mut self, append: &Append, partition: u32, offset: u64) {
        let id = append.id;
        let acked = Acked { start: append.start.0, end: append.end.0, offset, id };
        self.orders.entry(partition).or_default().acked.push(acked);
        self.sessions.saw(append.session, partition, Seen::acked(append.end.0, offset));
        let place =
            |rule, ids, detail| Violation { rule, partition: Some(partition), offset: Some(offset), ids, detail };
        let Some(logs) = self.logs.partitions.get(&partition) else {
            let detail = "no replica of the partition was dumped".to_owned();
            return self.logs.report.add(place(Rule::Lost, vec![id], detail));
        };
        let other = logs.slots.get(&offset).filter(|slot| slot.id != Some(id));
        let lacking = logs.lacking(offset, id);
        if let Some(slot) = other {
            let ids = slot.id.into_iter().chain([id]).collect();
            let detail = format!("{id} was acknowledged here, a log holds another record");
            self.logs.report.add(place(Rule::TwoValues, ids, detail));
        }
        if !lacking.is_empty() {
            let detail = format!("was acknowledged and is missing on nodes {lacking:?}");
            self.logs.report.add(place(Rule::Lost, vec![id], detail));
        }
    }

    /// Takes in one answered read.
    ///
    /// # Errors
    /// [`MalformedHistory`]; the checker must then be thrown away.
    pub fn read(&mut self, read: &Read) -> Result<(), MalformedHistory> {
        well_ordered(read.session.0, read.start.0, read.end.0)?;
        self.logs.report.reads += 1;
        self.logs.report.records_read += read.records.len() as u64;
        self.coverage.read(read);
        self.read_records(read);
        if read.consistency == Consistency::Linearizable {
            let order = self.orders.entry(read.partition).or_default();
            order.linearizable.push((read.start.0, read.end_offset));
        }
        self.sessions.read(read);
        Ok(())
    }

    fn read_records(&mut self, read: &Read) {
        let partition = read.partition;
        let logs = self.logs.partitions.entry(partition).or_default();
        let report = &mut self.logs.report;
        let mut next = read.records.first().map_or(0, |first| first.offset);
        for entry in &read.records {
            let place = |rule, ids, detail| Violation {
                rule,
                partition: Some(partition),
                offset: Some(entry.offset),
                ids,
                detail,
            };
            if entry.offset != next {
                let detail = format!("a read returned offset {} where {next} belongs", entry.offset);
                let hole = place(Rule::Hole, entry.id.into_iter().collect(), detail);
                report.add(Violation { offset: Some(next), ..hole });
            }
            next = entry.offset.saturating_add(1);
            let ids = || entry.id.into_iter().collect();
            let mut found = false;
            for slot in logs.at(entry.offset) {
                found = true;
                if !slot.holds(entry) {
                    let both = slot.id.into_iter().chain(entry.id).collect();
                    let detail = "a read returned another record than a log holds".into();
                    report.add(place(Rule::TwoValues, both, detail));
                } else if slot.time != entry.time {
                    let detail = format!("a read returned log time {}, a log holds {}", entry.time, slot.time);
                    report.add(place(Rule::ReplicasDiffer, ids(), detail));
                }
            }
            if !found && (logs.replicas.is_empty() || logs.is_kept(entry.offset)) {
                let detail = "a read returned a record that is in no final log".into();
                report.add(place(Rule::PhantomRead, ids(), detail));
            }
        }
    }

    /// The verdict.
    pub fn finish(mut self) -> Report {
        self.logs.compare_ends();
        self.logs.find_phantoms();
        let mut report = std::mem::take(&mut self.logs.report);
        for (partition, order) in self.orders {
            order.judge(partition, &mut report);
        }
        self.sessions.judge(&mut report);
        report.records = self.logs.partitions.values().map(|logs| logs.slots.len() as u64).sum();
        self.coverage.judge(&self.logs, &mut report);
        report.violations.sort();
        report
    }
}

fn well_ordered(session: u32, start: u64, end: u64) -> Result<(), MalformedHistory> {
    if end < start { Err(MalformedHistory::EndsBeforeStart { session, start, end }) } else { Ok(()) }
}
