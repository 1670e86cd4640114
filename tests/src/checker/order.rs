//! Operations compared with each other: order in time against order in the log.
//!
//! Each comparison is one sweep: walk through what began, in the order of beginnings, and keep the furthest offset
//! among what had ended by then.
use super::{
    history::{Consistency, Read, RecordId, SessionId},
    violation::{Report, Rule, Violation},
};
use std::collections::BTreeMap;

/// An acknowledged record. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) offset: u64,
    pub(super) id: RecordId,
}

/// What has to be in order in one partition.
#[derive(Debug, Default)]
pub(super) struct PartitionOrder {
    pub(super) acked: Vec<Acked>,
    /// Start, offset and id of records whose append had an unknown outcome and that are in the log.
    pub(super) unknown: Vec<(u64, u64, RecordId)>,
    /// Start and readable bound of linearizable reads.
    pub(super) linearizable: Vec<(u64, u64)>,
}

impl PartitionOrder {
    /// Two acknowledgements of one offset; rules 7 and 8.
    pub(super) fn judge(mut self, partition: u32, report: &mut Report) {
        self.acked.sort_by_key(|acked| (acked.offset, acked.id));
        for pair in self.acked.windows(2).filter(|pair| pair[0].offset == pair[1].offset) {
            report.add(Violation {
                rule: Rule::TwoValues,
                partition: Some(partition),
                offset: Some(pair[0].offset),
                ids: vec![pair[0].id, pair[1].id],
                detail: "both were acknowledged at this offset".into(),
            });
        }
        let acked_begins = self.acked.iter().map(|acked| (acked.start, acked.offset, acked.id));
        let mut begun: Vec<_> = acked_begins.chain(self.unknown.iter().copied()).collect();
        begun.sort_unstable();
        self.linearizable.sort_unstable();
        self.acked.sort_by_key(|acked| acked.end);

        let mut before = Furthest::new(&self.acked);
        for (start, offset, id) in begun {
            if let Some(first) = before.at(start).filter(|first| first.offset > offset) {
                report.add(Violation {
                    rule: Rule::Reordered,
                    partition: Some(partition),
                    offset: Some(offset),
                    ids: vec![first.id, id],
                    detail: format!(
                        "{} was acknowledged at offset {} before {id} was sent, which is at offset {offset}",
                        first.id, first.offset,
                    ),
                });
            }
        }
        let mut before = Furthest::new(&self.acked);
        for (start, bound) in self.linearizable {
            if let Some(first) = before.at(start).filter(|first| first.offset >= bound) {
                report.add(Violation {
                    rule: Rule::StaleRead,
                    partition: Some(partition),
                    offset: Some(first.offset),
                    ids: vec![first.id],
                    detail: format!("was acknowledged before a linearizable read began that ends at {bound}"),
                });
            }
        }
    }
}

/// The furthest offset acknowledged before a moment that only moves forward.
struct Furthest<'a> {
    by_end: std::iter::Peekable<std::slice::Iter<'a, Acked>>,
    furthest: Option<Acked>,
}

impl<'a> Furthest<'a> {
    fn new(by_end: &'a [Acked]) -> Self {
        Furthest { by_end: by_end.iter().peekable(), furthest: None }
    }

    fn at(&mut self, moment: u64) -> Option<Acked> {
        while let Some(acked) = self.by_end.next_if(|acked| acked.end < moment) {
            if self.furthest.is_none_or(|furthest| furthest.offset < acked.offset) {
                self.furthest = Some(*acked);
            }
        }
        self.furthest
    }
}

/// What a session knows to exist after a moment: offsets below `bound`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    end: u64,
    bound: u64,
}

impl Seen {
    pub(super) fn acked(end: u64, offset: u64) -> Self {
        Seen { end, bound: offset.saturating_add(1) }
    }
}

/// Rule 9, over all sessions and partitions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    seen: BTreeMap<(SessionId, u32), Vec<Seen>>,
    /// Start and readable bound of the reads that promise not to go back.
    reads: BTreeMap<(SessionId, u32), Vec<(u64, u64)>>,
}

impl Sessions {
    pub(super) fn saw(&mut self, session: SessionId, partition: u32, seen: Seen) {
        self.seen.entry((session, partition)).or_default().push(seen);
    }

    /// Every read shows its session something, the stale one too; but a stale one may show less afterwards.
    pub(super) fn read(&mut self, read: &Read) {
        let returned = read.records.last().map_or(0, |last| last.offset.saturating_add(1));
        let bound = read.end_offset.max(returned);
        self.saw(read.session, read.partition, Seen { end: read.end.0, bound });
        if read.consistency != Consistency::Stale {
            self.reads.entry((read.session, read.partition)).or_default().push((read.start.0, read.end_offset));
        }
    }

    pub(super) fn judge(mut self, report: &mut Report) {
        for ((session, partition), mut reads) in self.reads {
            let mut seen = self.seen.remove(&(session, partition)).unwrap_or_default();
            seen.sort_by_key(|seen| seen.end);
            reads.sort_unstable();
            let mut seen = seen.into_iter().peekable();
            let mut known = 0;
            for (start, bound) in reads {
                while let Some(earlier) = seen.next_if(|seen| seen.end < start) {
                    known = known.max(earlier.bound);
                }
                if bound < known {
                    report.add(Violation {
                        rule: Rule::SessionBackwards,
                        partition: Some(partition),
                        offset: Some(bound),
                        ids: Vec::new(),
                        detail: format!(
                            "session {} had seen everything below {known}, then read up to {bound}",
                            session.0
                        ),
                    });
                }
            }
        }
    }
}
