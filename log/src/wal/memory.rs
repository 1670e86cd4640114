//! What is known in memory of one partition: where its log begins and ends, where its entries are found, and the newest
//! entries themselves.
//!
//! Two clocks run here. *Logically* the log changes when the caller asks: an append is visible and a truncation has
//! happened before either is on disk. *Physically* it changes when the writer has synced the frame. Frames of a partition are
//! written in the order of the calls, so the physical state, [`Durable`], is a past logical state.
//!
//! **Invariant**: an entry leaves the hot tail only after it is on disk and no truncation of it is under way, so every
//! entry of the logical log is in the hot tail or behind a slot that means this very entry.
use super::{
    WalEntry,
    durable::Durable,
    frame::{HEADER_LEN, LogHash},
    index::{Block, Extent, Found, Place, Slot},
    outline::{Outline, Terms},
};
use crate::topic::{LogId, PartitionId, Vote};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// What an entry costs in the hot tail beside its payload.
const HOT_OVERHEAD: u64 = 96;

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

/// How much may be hot. Bytes.
#[derive(Clone, Debug)]
pub(crate) struct HotBudget {
    pub per_partition: u64,
    pub per_node: u64,
    /// Over all partitions.
    pub used: Arc<AtomicU64>,
}

impl HotBudget {
    pub(crate) fn new(per_partition: u64, per_node: u64) -> Self {
        HotBudget { per_partition, per_node, used: Arc::default() }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.per_node
    }

    /// How many bytes the hot tails may keep, the largest first to give, so that all together have room again: an eighth
    /// more than needed, so that this is asked seldom.
    pub(crate) fn level(&self, mut tails: Vec<u64>) -> u64 {
        tails.sort_unstable();
        let mut left = self.per_node - self.per_node / 8;
        let mut above = tails.len() as u64;
        for tail in tails {
            if tail.saturating_mul(above) > left {
                break;
            }
            left -= tail;
            above -= 1;
        }
        left.checked_div(above).unwrap_or(u64::MAX)
    }
}

/// Where to find the log hash after an entry.
#[derive(Debug)]
pub(crate) enum HashAt {
    Known(LogHash),
    /// In the header of the frame here.
    Frame(Place),
    /// In the header of a frame of a sealed segment.
    Sealed(Extent),
}

impl From<Found<'_>> for HashAt {
    fn from(found: Found<'_>) -> Self {
        match found {
            Found::Place(place) => HashAt::Frame(place),
            Found::Sealed(extent) => HashAt::Sealed(extent.clone()),
        }
    }
}

/// Entries to be read: in memory, or on disk.
#[derive(Clone, Debug)]
pub(crate) enum Located {
    Hot(WalEntry),
    Cold(LogId, Place),
    /// The part of a sealed segment's entries with these indexes and terms.
    Sealed(Extent, Range<u64>, Terms),
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
    budget: HotBudget,
    durable: Durable,
    committed: Option<LogId>,
    log: Outline,
    /// The newest entries, ending with the last.
    hot: VecDeque<Hot>,
    hot_bytes: u64,
    /// Truncations asked for and not yet on disk, and the lowest index any of them removed: slots from there on may mean
    /// entries that are no longer in the log.
    truncating: u32,
    truncating_from: u64,
}

impl State {
    /// What recovery found, logical and physical at once, nothing hot.
    pub(crate) fn new(durable: Durable, budget: HotBudget) -> Self {
        State {
            budget,
            committed: durable.committed,
            log: durable.log.clone(),
            durable,
            hot: VecDeque::new(),
            hot_bytes: 0,
            truncating: 0,
            truncating_from: 0,
        }
    }

    pub(crate) fn durable(&self) -> &Durable {
        &self.durable
    }

    pub(crate) fn log(&self) -> &Outline {
        &self.log
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.durable.vote
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(crate) fn hot_bytes(&self) -> u64 {
        self.hot_bytes
    }

    /// Entries from this index on are read from memory.
    pub(crate) fn hot_start(&self) -> u64 {
        self.log.next() - self.hot.len() as u64
    }

    fn hot_at(&self, index: u64) -> Option<&Hot> {
        self.hot.get(usize::try_from(index.checked_sub(self.hot_start())?).ok()?)
    }

    /// The part of `range` that is in the log, up to about `max_bytes`, but at least one entry of it. How long entries in
    /// sealed segments are is not known here: they count as their headers, so that a page far back does not look through
    /// everything that came since.
    pub(crate) fn locate(&self, range: Range<u64>, max_bytes: u64) -> Vec<Located> {
        let (mut index, end) = (range.start.max(self.log.first()), range.end.min(self.log.next()));
        let mut found = Vec::new();
        let mut bytes = 0;
        while index < end {
            let (located, len) = match self.hot_at(index) {
                Some(hot) => (Located::Hot(hot.entry.clone()), hot.entry.payload.len() as u64),
                None => match self.found(index) {
                    Found::Place(place) => {
                        let id = self.log.log_id(index).expect("the index is between the first and the next");
                        (Located::Cold(id, place), place.len.into())
                    }
                    Found::Sealed(extent) => {
                        let most = (max_bytes.saturating_sub(bytes) / HEADER_LEN as u64).max(1);
                        let part_end = end.min(extent.range.end).min(self.hot_start()).min(self.settled());
                        let part = index..part_end.min(index.saturating_add(most));
                        index = part.end - 1;
                        let len = (part.end - part.start) * HEADER_LEN as u64;
                        (Located::Sealed(extent.clone(), part.clone(), self.log.terms.part(part)), len)
                    }
                },
            };
            bytes += len;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(located);
            index += 1;
        }
        found
    }

    fn found(&self, index: u64) -> Found<'_> {
        let found = self.durable.index.get(index).filter(|_| index < self.settled());
        found.unwrap_or_else(|| {
            panic!(
                "entry {index} is neither in memory (from {}) nor on disk (before {})",
                self.hot_start(),
                self.settled()
            )
        })
    }

    /// Entries before this index are on disk and will stay in the log as far as it is known.
    fn settled(&self) -> u64 {
        let next = self.durable.log.next();
        if self.truncating == 0 { next } else { next.min(self.truncating_from) }
    }

    /// Where the log hash after the entry at `index` is found; `index` is in the log or the last purged one.
    pub(crate) fn hash_at(&self, index: u64) -> HashAt {
        let known = self.log.hash_at(index).or_else(|| self.hot_at(index).map(|hot| hot.hash));
        known.map_or_else(|| self.found(index).into(), HashAt::Known)
    }

    // What the caller asks for.

    /// Takes entries into the log. Gives them back with the log hash after each.
    pub(crate) fn append(&mut self, partition: PartitionId, entries: Vec<WalEntry>) -> Vec<Hot> {
        let mut hot = Vec::with_capacity(entries.len());
        for entry in entries {
            assert!(
                entry.id.index == self.log.next() || self.log.may_begin_anywhere(),
                "partition {partition}: appended entry {} does not follow {:?}",
                entry.id,
                self.log.last
            );
            self.log.append(entry.id, entry.crc);
            let entry = Hot { entry, hash: self.log.hash };
            self.hot_bytes += entry.cost();
            self.budget.used.fetch_add(entry.cost(), Ordering::Relaxed);
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
        let gone = self.log.next().saturating_sub(first_removed).min(self.hot.len() as u64);
        for _ in 0..gone {
            let gone = self.hot.pop_back();
            self.cooled(gone);
        }
        self.log.truncate(first_removed, hash);
        self.truncating_from =
            if self.truncating == 0 { first_removed } else { self.truncating_from.min(first_removed) };
        self.truncating += 1;
    }

    /// Forgets the entries up to `upto`; `hash` is the log hash after it. Where `upto` is beyond the last entry the log is
    /// empty afterwards and goes on behind it.
    pub(crate) fn purge(&mut self, upto: LogId, hash: LogHash) {
        while self.hot.front().is_some_and(|hot| hot.entry.id.index <= upto.index) {
            let gone = self.hot.pop_front();
            self.cooled(gone);
        }
        self.log.purge(upto, hash);
    }

    // What the writer reports, after the sync.

    pub(crate) fn entry_written(&mut self, id: LogId, crc: u32, segment: u64, slot: Slot) {
        self.durable.entry(id, crc, segment, slot);
        self.evict(self.budget.per_partition);
    }

    pub(crate) fn truncate_written(&mut self, first_removed: u64, hash: LogHash) {
        self.durable.truncate(first_removed, hash);
        self.truncating = self.truncating.checked_sub(1).expect("a truncation is written once");
        self.evict(self.budget.per_partition);
    }

    pub(crate) fn purge_written(&mut self, upto: LogId, hash: LogHash) {
        self.durable.purge(upto, hash);
    }

    pub(crate) fn vote_written(&mut self, vote: Vote) {
        self.durable.vote = Some(vote);
    }

    pub(crate) fn committed_written(&mut self, id: LogId) {
        self.durable.committed = Some(id);
    }

    /// The segment being written is sealed; `block` says where its footer has this partition's table.
    pub(crate) fn seal(&mut self, block: Option<Block>) {
        self.durable.index.seal(block);
    }

    /// Drops the oldest of the hot tail that are on disk until it has at most `limit` bytes.
    pub(crate) fn evict(&mut self, limit: u64) {
        while self.hot_bytes > limit && !self.hot.is_empty() && self.hot_start() < self.settled() {
            let gone = self.hot.pop_front();
            self.cooled(gone);
        }
    }

    fn cooled(&mut self, gone: Option<Hot>) {
        let cost = gone.expect("the hot tail is not empty").cost();
        self.hot_bytes -= cost;
        self.budget.used.fetch_sub(cost, Ordering::Relaxed);
    }
}
