//! What is known in memory of one partition: where its log begins and ends, where each entry lies on disk, and the newest
//! entries themselves.
//!
//! Two clocks run here. *Logically* the log changes when the caller asks: an append is visible and a truncation has
//! happened before either is on disk. *Physically* it changes when the writer has synced the frame. Frames are written in
//! the order of the calls, so the physical state is a past logical state; [`Slots`] belongs to it alone.
//!
//! **Invariant**: an entry leaves the hot tail only after it is on disk and no truncation of it is under way, so every
//! entry of the logical log is in the hot tail or behind a slot that means this very entry.
use super::{
    WalEntry,
    frame::{LogHash, log_hash},
};
use crate::topic::{LogId, PartitionId, Vote};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

/// What an entry costs in the hot tail beside its payload.
const HOT_OVERHEAD: u64 = 96;

/// Where an entry's frame lies. Twelve bytes, because there is one for every entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    segment: u32,
    /// Offset in the segment in units of the alignment.
    at: u32,
    len: u32,
}

impl Slot {
    pub(crate) fn new(segment: u64, offset: u64, len: u32) -> Self {
        Slot {
            segment: u32::try_from(segment).expect("four billion segments are exabytes"),
            at: u32::try_from(offset / super::frame::ALIGN).expect("a segment is shorter than 32 GiB"),
            len,
        }
    }

    pub(crate) fn segment(self) -> u64 {
        self.segment.into()
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.at) * super::frame::ALIGN
    }

    /// Bytes of the payload.
    pub(crate) fn len(self) -> u32 {
        self.len
    }
}

/// Where the entries lie that are on disk, as of the last frame synced.
#[derive(Debug, Default)]
struct Slots {
    first: u64,
    slots: VecDeque<Slot>,
}

impl Slots {
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn push(&mut self, index: u64, slot: Slot) {
        if self.slots.is_empty() {
            self.first = index;
        }
        assert_eq!(index, self.end(), "entries reach the disk in order of their index");
        self.slots.push_back(slot);
    }

    fn get(&self, index: u64) -> Option<Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?).copied()
    }

    fn truncate(&mut self, first_removed: u64) {
        let keep = first_removed.saturating_sub(self.first);
        self.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    fn purge(&mut self, first_kept: u64) {
        let gone = first_kept.saturating_sub(self.first).min(self.slots.len() as u64);
        self.slots.drain(..gone as usize);
        self.first += gone;
    }
}

/// The terms of a run of entries, as (first index, term) of each change.
#[derive(Debug, Default)]
struct Terms(VecDeque<(u64, u64)>);

impl Terms {
    fn push(&mut self, id: LogId) {
        if self.0.back().is_none_or(|&(_, term)| term != id.term) {
            self.0.push_back((id.index, id.term));
        }
    }

    fn get(&self, index: u64) -> Option<u64> {
        let after = self.0.partition_point(|&(first, _)| first <= index);
        Some(self.0[after.checked_sub(1)?].1)
    }

    fn truncate(&mut self, first_removed: u64) {
        while self.0.back().is_some_and(|&(first, _)| first >= first_removed) {
            self.0.pop_back();
        }
    }

    fn purge(&mut self, first_kept: u64) {
        while self.0.get(1).is_some_and(|&(first, _)| first <= first_kept) {
            self.0.pop_front();
        }
    }
}

/// An entry in memory, with the log hash after it.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    pub entry: WalEntry,
    pub hash: LogHash,
}

impl Hot {
    fn cost(&self) -> u64 {
        self.entry.payload.len() as u64 + HOT_OVERHEAD
    }
}

/// Where to find the log hash after an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HashAt {
    Known(LogHash),
    /// In the header of the frame here.
    Frame(Slot),
}

/// An entry to be read: in memory, or on disk.
#[derive(Clone, Debug)]
pub(crate) enum Located {
    Hot(WalEntry),
    Cold(LogId, Slot),
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Core {
    id: PartitionId,
    state: Mutex<State>,
}

impl Core {
    pub(crate) fn new(id: PartitionId, state: State) -> Arc<Self> {
        Arc::new(Core { id, state: Mutex::new(state) })
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.id
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic that left a partition half changed must not be built on")
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    hot_limit: u64,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    purged_hash: LogHash,
    last: Option<LogId>,
    /// Index of the first entry, where none is purged.
    begins: u64,
    hash: LogHash,
    terms: Terms,
    /// The newest entries, ending with `last`.
    hot: VecDeque<Hot>,
    hot_bytes: u64,
    slots: Slots,
    /// Truncations asked for and not yet on disk, and the lowest index any of them removed: slots from there on may mean
    /// entries that are no longer in the log.
    truncating: u32,
    truncating_from: u64,
}

impl State {
    /// An empty log whose hot tail keeps about `hot_limit` bytes.
    pub(crate) fn new(hot_limit: u64) -> Self {
        State {
            hot_limit,
            vote: None,
            committed: None,
            purged: None,
            purged_hash: [0; 16],
            last: None,
            begins: 0,
            hash: [0; 16],
            terms: Terms::default(),
            hot: VecDeque::new(),
            hot_bytes: 0,
            slots: Slots::default(),
            truncating: 0,
            truncating_from: 0,
        }
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// The last entry; where the log is empty, the last purged one.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(crate) fn hash(&self) -> LogHash {
        self.hash
    }

    /// Index of the first entry kept, or of the next one where there is none.
    pub(crate) fn first(&self) -> u64 {
        self.purged.map_or(self.begins, |id| id.index + 1)
    }

    /// Index the next entry must have, unless [`State::may_begin_anywhere`].
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(self.begins, |id| id.index + 1)
    }

    /// Whether the log has never had an entry that is still part of it: the next one says where it begins.
    pub(crate) fn may_begin_anywhere(&self) -> bool {
        self.last.is_none()
    }

    pub(crate) fn log_id(&self, index: u64) -> Option<LogId> {
        if self.purged.is_some_and(|id| id.index == index) {
            return self.purged;
        }
        let term = (self.first()..self.next()).contains(&index).then(|| self.terms.get(index))?;
        term.map(|term| LogId { term, index })
    }

    fn hot_start(&self) -> u64 {
        self.next() - self.hot.len() as u64
    }

    fn hot_at(&self, index: u64) -> Option<&Hot> {
        self.hot.get(usize::try_from(index.checked_sub(self.hot_start())?).ok()?)
    }

    /// The part of `range` that is in the log, up to about `max_bytes`, but at least one entry of it.
    pub(crate) fn locate(&self, range: Range<u64>, max_bytes: u64) -> Vec<Located> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in range.start.max(self.first())..range.end.min(self.next()) {
            let (located, len) = match self.hot_at(index) {
                Some(hot) => (Located::Hot(hot.entry.clone()), hot.entry.payload.len() as u64),
                None => {
                    let slot = self.slot(index);
                    let id = self.log_id(index).expect("the index is between the first and the next");
                    (Located::Cold(id, slot), slot.len().into())
                }
            };
            bytes += len;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(located);
        }
        found
    }

    fn slot(&self, index: u64) -> Slot {
        let slot = self.slots.get(index).filter(|_| index < self.settled());
        slot.unwrap_or_else(|| {
            panic!(
                "entry {index} is neither in memory (from {}) nor on disk ({}..{})",
                self.hot_start(),
                self.slots.first,
                self.slots.end()
            )
        })
    }

    /// Entries before this index are on disk and will stay in the log as far as it is known.
    fn settled(&self) -> u64 {
        if self.truncating == 0 { self.slots.end() } else { self.slots.end().min(self.truncating_from) }
    }

    /// Where the log hash after the entry at `index` is found; `index` is in the log or the last purged one.
    pub(crate) fn hash_at(&self, index: u64) -> HashAt {
        if self.purged.is_some_and(|id| id.index == index) {
            return HashAt::Known(self.purged_hash);
        }
        if self.last.is_some_and(|id| id.index == index) {
            return HashAt::Known(self.hash);
        }
        if index + 1 == self.begins {
            // Before the first entry of a log that did not begin at 0.
            return HashAt::Known([0; 16]);
        }
        match self.hot_at(index) {
            Some(hot) => HashAt::Known(hot.hash),
            None => HashAt::Frame(self.slot(index)),
        }
    }

    // What the caller asks for.

    /// Takes entries into the log. Gives them back with the log hash after each.
    pub(crate) fn append(&mut self, partition: PartitionId, entries: Vec<WalEntry>) -> Vec<Hot> {
        let mut hot = Vec::with_capacity(entries.len());
        for entry in entries {
            if self.may_begin_anywhere() {
                self.begins = entry.id.index;
            }
            assert_eq!(
                entry.id.index,
                self.next(),
                "partition {partition}: appended entry {} does not follow {:?}",
                entry.id,
                self.last
            );
            self.hash = log_hash(&self.hash, entry.id.index, entry.id.term, entry.crc);
            self.last = Some(entry.id);
            self.terms.push(entry.id);
            let entry = Hot { entry, hash: self.hash };
            self.hot_bytes += entry.cost();
            self.hot.push_back(entry.clone());
            hot.push(entry);
        }
        hot
    }

    pub(crate) fn set_committed(&mut self, id: LogId) {
        self.committed = Some(id);
    }

    /// Removes the entries from `first_removed` on; `hash` is the log hash after the last one kept.
    pub(crate) fn truncate(&mut self, first_removed: u64, hash: LogHash) {
        let gone = self.next().saturating_sub(first_removed).min(self.hot.len() as u64);
        for gone in self.hot.drain(self.hot.len() - gone as usize..) {
            self.hot_bytes -= gone.cost();
        }
        self.set_end(first_removed, hash);
        self.truncating_from =
            if self.truncating == 0 { first_removed } else { self.truncating_from.min(first_removed) };
        self.truncating += 1;
    }

    fn set_end(&mut self, first_removed: u64, hash: LogHash) {
        self.last = first_removed.checked_sub(1).and_then(|index| self.log_id(index));
        self.terms.truncate(first_removed);
        self.hash = hash;
    }

    /// Forgets the entries up to `upto`; `hash` is the log hash after it. Where `upto` is beyond the last entry the log is
    /// empty afterwards and goes on behind it.
    pub(crate) fn purge(&mut self, upto: LogId, hash: LogHash) {
        while self.hot.front().is_some_and(|hot| hot.entry.id.index <= upto.index) {
            let gone = self.hot.pop_front().expect("the hot tail is not empty");
            self.hot_bytes -= gone.cost();
        }
        if upto.index >= self.next() {
            self.terms = Terms::default();
            self.last = Some(upto);
            self.hash = hash;
        } else {
            self.terms.purge(upto.index + 1);
        }
        self.purged = Some(upto);
        self.purged_hash = hash;
    }

    // What the writer reports, after the sync.

    pub(crate) fn entry_written(&mut self, index: u64, slot: Slot) {
        self.slots.push(index, slot);
        self.evict();
    }

    pub(crate) fn truncate_written(&mut self, first_removed: u64) {
        self.slots.truncate(first_removed);
        self.truncating = self.truncating.checked_sub(1).expect("a truncation is written once");
        self.evict();
    }

    pub(crate) fn purge_written(&mut self, upto: LogId) {
        self.slots.purge(upto.index + 1);
    }

    pub(crate) fn vote_written(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }

    fn evict(&mut self) {
        while self.hot_bytes > self.hot_limit && !self.hot.is_empty() && self.hot_start() < self.settled() {
            let gone = self.hot.pop_front().expect("the hot tail is not empty");
            self.hot_bytes -= gone.cost();
        }
    }

    // What recovery finds: logical and physical at once, nothing hot.

    pub(crate) fn recover_entry(&mut self, id: LogId, hash: LogHash, slot: Slot) {
        if self.may_begin_anywhere() {
            self.begins = id.index;
        }
        self.last = Some(id);
        self.terms.push(id);
        self.hash = hash;
        self.slots.push(id.index, slot);
    }

    pub(crate) fn recover_truncate(&mut self, first_removed: u64, hash: LogHash) {
        self.set_end(first_removed, hash);
        self.slots.truncate(first_removed);
    }

    pub(crate) fn recover_purge(&mut self, upto: LogId, hash: LogHash) {
        self.purge(upto, hash);
        self.slots.purge(upto.index + 1);
    }
}
