//! What a partition's log is apart from its entries: where it begins and ends, their terms, the hash over all of them.
use super::frame::{LogHash, log_hash};
use crate::topic::LogId;
use std::{collections::VecDeque, ops::Range};

/// The terms of a run of entries, as (first index, term) of each change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms(VecDeque<(u64, u64)>);

impl Terms {
    pub(crate) fn push(&mut self, id: LogId) {
        if self.0.back().is_none_or(|&(_, term)| term != id.term) {
            self.0.push_back((id.index, id.term));
        }
    }

    pub(crate) fn get(&self, index: u64) -> Option<u64> {
        let after = self.0.partition_point(|&(first, _)| first <= index);
        Some(self.0[after.checked_sub(1)?].1)
    }

    pub(crate) fn truncate(&mut self, first_removed: u64) {
        while self.0.back().is_some_and(|&(first, _)| first >= first_removed) {
            self.0.pop_back();
        }
    }

    pub(crate) fn purge(&mut self, first_kept: u64) {
        while self.0.get(1).is_some_and(|&(first, _)| first <= first_kept) {
            self.0.pop_front();
        }
    }

    /// The changes of term from the first entry of `range` on, that entry's own term among them.
    pub(crate) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
        let from = self.0.partition_point(|&(first, _)| first <= range.start).saturating_sub(1);
        let Range { start, end } = range;
        let runs = self.0.range(from..).take_while(move |&&(first, _)| start < end && first < end);
        runs.map(move |&(first, term)| (first.max(start), term))
    }

    /// The terms of a part of the entries.
    pub(crate) fn part(&self, range: Range<u64>) -> Terms {
        Terms(self.within(range).collect())
    }
}

/// See the module. The log of an empty partition is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The last entry that is no longer kept, and the log hash after it.
    pub purged: Option<LogId>,
    pub purged_hash: LogHash,
    /// Index of the first entry, where none is purged.
    pub begins: u64,
    /// The last entry; where the log is empty, the last purged one.
    pub last: Option<LogId>,
    /// The log hash after it.
    pub hash: LogHash,
    pub terms: Terms,
}

impl Outline {
    /// Index of the first entry kept, or of the next one where there is none.
    pub(crate) fn first(&self) -> u64 {
        self.purged.map_or(self.begins, |id| id.index + 1)
    }

    /// Index the next entry must have, unless [`Outline::may_begin_anywhere`].
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(self.begins, |id| id.index + 1)
    }

    /// Whether the log has never had an entry that is still part of it: the next one says where it begins.
    pub(crate) fn may_begin_anywhere(&self) -> bool {
        self.last.is_none()
    }

    /// The log id at an index of the log, or at the last purged one.
    pub(crate) fn log_id(&self, index: u64) -> Option<LogId> {
        if self.purged.is_some_and(|id| id.index == index) {
            return self.purged;
        }
        let term = (self.first()..self.next()).contains(&index).then(|| self.terms.get(index))?;
        term.map(|term| LogId { term, index })
    }

    /// The log hash after the entry at `index`, where it is one of the few that are kept here.
    pub(crate) fn hash_at(&self, index: u64) -> Option<LogHash> {
        if self.purged.is_some_and(|id| id.index == index) {
            return Some(self.purged_hash);
        }
        if self.last.is_some_and(|id| id.index == index) {
            return Some(self.hash);
        }
        // Before the first entry of a log that did not begin at 0.
        (index + 1 == self.begins).then_some([0; 16])
    }

    /// Adds an entry whose payload has the checksum `crc`; the caller has checked that it follows.
    pub(crate) fn append(&mut self, id: LogId, crc: u32) {
        if self.may_begin_anywhere() {
            self.begins = id.index;
        }
        self.hash = log_hash(&self.hash, id.index, id.term, crc);
        self.last = Some(id);
        self.terms.push(id);
    }

    /// Removes the entries from `first_removed` on; `hash` is the log hash after the last one kept.
    pub(crate) fn truncate(&mut self, first_removed: u64, hash: LogHash) {
        self.last = first_removed.checked_sub(1).and_then(|index| self.log_id(index));
        self.terms.truncate(first_removed);
        self.hash = hash;
    }

    /// Forgets the entries up to `upto`; `hash` is the log hash after it. Where `upto` is beyond the last entry the log is
    /// empty afterwards and goes on behind it.
    pub(crate) fn purge(&mut self, upto: LogId, hash: LogHash) {
        let next = self.next();
        if upto.index >= next {
            self.last = Some(upto);
            self.hash = hash;
        }
        // A log without entries has no terms, however it came to be: its footer must not tell.
        if upto.index + 1 >= next {
            self.terms = Terms::default()
        } else {
            self.terms.purge(upto.index + 1)
        }
        self.purged = Some(upto);
        self.purged_hash = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: LogId = LogId { term: 1, index: 0 };

    #[test]
    fn a_log_that_is_purged_to_its_end_has_no_terms() {
        let mut log = Outline::default();
        log.append(FIRST, 7);
        let hash = log.hash;
        log.purge(FIRST, hash);
        assert_eq!((log.terms.clone(), log.last, log.log_id(0)), (Terms::default(), Some(FIRST), Some(FIRST)));
        log.append(LogId { term: 1, index: 1 }, 7);
        log.truncate(1, hash);
        assert_eq!((log.terms, log.last, log.hash), (Terms::default(), Some(FIRST), hash));
    }

    #[test]
    fn no_entries_have_no_terms() {
        let mut terms = Terms::default();
        terms.push(FIRST);
        assert_eq!(terms.within(1..1).count(), 0);
        assert_eq!(terms.within(1..2).collect::<Vec<_>>(), [(1, 1)]);
    }
}
