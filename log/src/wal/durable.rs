//! What the frames on disk say of one partition. Recovery folds them as it reads them, the writer as it has synced them;
//! both by the functions here, so a footer that the writer wrote says what a scan of the same frames would find.
use super::{
    frame::LogHash,
    index::{Block, Index, Slot},
    memory::HashAt,
    outline::{Outline, Terms},
};
use crate::topic::{LogId, Vote};

/// See the module. A partition without frames is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub log: Outline,
    pub index: Index,
}

impl Durable {
    /// An entry, which follows.
    pub(crate) fn entry(&mut self, id: LogId, crc: u32, segment: u64, slot: Slot) {
        self.log.append(id, crc);
        self.index.push(segment, id.index, slot);
    }

    pub(crate) fn truncate(&mut self, first_removed: u64, hash: LogHash) {
        self.log.truncate(first_removed, hash);
        self.index.truncate(first_removed);
    }

    pub(crate) fn purge(&mut self, upto: LogId, hash: LogHash) {
        self.log.purge(upto, hash);
        self.index.purge(upto.index + 1);
    }

    /// Where the log hash after the entry at `index` is found.
    pub(crate) fn hash_at(&self, index: u64) -> Option<HashAt> {
        let known = self.log.hash_at(index).map(HashAt::Known);
        known.or_else(|| self.index.get(index).map(HashAt::from))
    }

    /// Takes over what a footer says at the end of a segment: `log` with the terms of those entries alone that lie in this
    /// segment, which are those of `block`. Says what does not fit to the segments before.
    pub(crate) fn restore(
        &mut self,
        segment: u64,
        vote: Option<Vote>,
        committed: Option<LogId>,
        log: Outline,
        block: Option<Block>,
    ) -> Result<(), String> {
        let (first, next) = (log.first(), log.next());
        // What the segment removed of those before it: everything from its own first entry on, or from the end of the log.
        let cut = block.map_or(next, |block| block.first);
        self.index.truncate(cut);
        self.index.purge(first);
        let mut terms = std::mem::take(&mut self.log.terms);
        terms.truncate(cut);
        if let Some(block) = block {
            for (index, term) in log.terms.within(block.range()) {
                terms.push(LogId { term, index });
            }
            if !self.index.push_sealed(segment, block) {
                return Err(format!("entries from {} on do not follow those before them", block.first));
            }
        }
        self.index.purge(first);
        terms.purge(first);
        if first >= next {
            terms = Terms::default();
        }
        *self = Durable { vote, committed, log: Outline { terms, ..log }, index: std::mem::take(&mut self.index) };
        self.check(first, next)
    }

    /// Every entry of the log has a place and a term.
    fn check(&self, first: u64, next: u64) -> Result<(), String> {
        let indexed = self.index.range().unwrap_or(next..next);
        let last = next.checked_sub(1).and_then(|last| self.log.log_id(last));
        if indexed != (first.min(next)..next) || self.log.last != last {
            return Err(format!("entries {indexed:?} for a log {first}..{next} that ends with {:?}", self.log.last));
        }
        Ok(())
    }
}
