//! Where the entries of a partition lie: in memory for the segment being written, for sealed segments in their footers,
//! from where the tables are loaded when somebody reads that far back.
//!
//! **Invariant**: what is kept in memory for a sealed segment does not grow with the entries in it. Loaded tables share one
//! budget per node ([`TableCache`]).
use super::{
    frame::{ALIGN, u32_at},
    payload::Position,
};
use crate::topic::PartitionId;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex},
};

/// Where an entry's frame lies in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Offset in the segment in units of the alignment.
    at: u32,
    len: u32,
}

impl Slot {
    /// Bytes of a slot in a footer.
    pub(crate) const LEN: usize = 8;

    pub(crate) fn new(offset: u64, len: u32) -> Self {
        Slot { at: u32::try_from(offset / ALIGN).expect("a segment is shorter than 32 GiB"), len }
    }

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.at.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Self {
        Slot { at: u32_at(bytes, 0), len: u32_at(bytes, 4) }
    }

    pub(crate) fn in_segment(self, segment: u64) -> Place {
        Place { segment, offset: u64::from(self.at) * ALIGN, len: self.len }
    }
}

/// Where an entry's frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: u64,
    pub offset: u64,
    /// Bytes of the payload.
    pub len: u32,
}

/// The slots of consecutive entries of one partition in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub first: u64,
    pub slots: Vec<Slot>,
}

impl Table {
    pub(crate) fn range(&self) -> Range<u64> {
        self.first..self.first + self.slots.len() as u64
    }

    pub(crate) fn get(&self, index: u64) -> Option<Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?).copied()
    }

    fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.slots.len() * Slot::LEN) as u64
    }
}

/// Where the table of a sealed segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a footer.
    Footer(Block),
    /// In memory, because the segment has no footer that verifies.
    Memory(Arc<Table>),
}

/// A table in a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub at: Position,
    /// Index of the first entry.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// CRC32C of the slots.
    pub crc: u32,
}

impl Block {
    pub(crate) fn range(&self) -> Range<u64> {
        self.first..self.first + u64::from(self.count)
    }
}

/// The entries of a partition that lie in one sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub segment: u64,
    /// Those still in the log; later truncations and purges cut it, the table stays as it is.
    pub range: Range<u64>,
    pub source: Source,
}

/// Where an entry on disk is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Place(Place),
    Sealed(&'a Extent),
}

/// Where the entries of a partition lie that are on disk, as of the last frame synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    sealed: VecDeque<Extent>,
    /// The segment being written, and those in it.
    segment: u64,
    active: Table,
}

impl Index {
    /// The entry follows those that are there.
    pub(crate) fn push(&mut self, segment: u64, index: u64, slot: Slot) {
        if self.active.slots.is_empty() {
            self.segment = segment;
            self.active.first = index;
        }
        assert_eq!(
            (segment, index),
            (self.segment, self.active.range().end),
            "entries reach the disk in order, and a segment is sealed before the next one is written"
        );
        self.active.slots.push(slot);
    }

    pub(crate) fn get(&self, index: u64) -> Option<Found<'_>> {
        if let Some(slot) = self.active.get(index) {
            return Some(Found::Place(slot.in_segment(self.segment)));
        }
        let extent = self.sealed.get(self.sealed.partition_point(|extent| extent.range.end <= index))?;
        extent.range.contains(&index).then_some(Found::Sealed(extent))
    }

    pub(crate) fn truncate(&mut self, first_removed: u64) {
        let keep = first_removed.saturating_sub(self.active.first);
        self.active.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        while self.sealed.back().is_some_and(|extent| extent.range.start >= first_removed) {
            self.sealed.pop_back();
        }
        if let Some(last) = self.sealed.back_mut() {
            last.range.end = last.range.end.min(first_removed);
        }
    }

    pub(crate) fn purge(&mut self, first_kept: u64) {
        let gone = first_kept.saturating_sub(self.active.first).min(self.active.slots.len() as u64);
        self.active.slots.drain(..gone as usize);
        self.active.first += gone;
        while self.sealed.front().is_some_and(|extent| extent.range.end <= first_kept) {
            self.sealed.pop_front();
        }
        if let Some(first) = self.sealed.front_mut() {
            first.range.start = first.range.start.max(first_kept);
        }
    }

    /// The entries in the segment being written.
    pub(crate) fn active(&self) -> &Table {
        &self.active
    }

    /// The segment being written becomes a sealed one.
    pub(crate) fn seal(&mut self, source: Option<Block>) {
        let table = std::mem::take(&mut self.active);
        let range = table.range();
        if !range.is_empty() {
            let source = source.map_or_else(|| Source::Memory(Arc::new(table)), Source::Footer);
            self.sealed.push_back(Extent { segment: self.segment, range, source });
        }
    }

    /// A sealed segment that was not read. Says whether its entries follow those that are there.
    #[must_use]
    pub(crate) fn push_sealed(&mut self, segment: u64, block: Block) -> bool {
        let follows = self.range().is_none_or(|there| there.end == block.first);
        self.sealed.push_back(Extent { segment, range: block.range(), source: Source::Footer(block) });
        follows
    }

    /// The entries there are; `None` where there is none.
    pub(crate) fn range(&self) -> Option<Range<u64>> {
        let active = Some(self.active.range()).filter(|range| !range.is_empty());
        let first = self.sealed.front().map(|extent| &extent.range).or(active.as_ref())?;
        let last = active.as_ref().or(self.sealed.back().map(|extent| &extent.range))?;
        Some(first.start..last.end)
    }
}

/// The tables that were loaded last, of all partitions.
///
/// **Invariant**: they are within the budget, or one.
#[derive(Debug)]
pub(crate) struct TableCache {
    budget: u64,
    loaded: Mutex<Loaded>,
}

/// A segment's number and a partition.
type TableId = (u64, PartitionId);

#[derive(Debug, Default)]
struct Loaded {
    tables: BTreeMap<TableId, (u64, Arc<Table>)>,
    /// By the time of last use.
    used: BTreeMap<u64, TableId>,
    clock: u64,
    bytes: u64,
}

impl TableCache {
    pub(crate) fn new(budget: u64) -> Self {
        TableCache { budget, loaded: Mutex::default() }
    }

    /// The table, loaded where it is not there. Two that miss at the same time both load: that is harmless.
    pub(crate) fn get<E>(&self, id: TableId, load: impl FnOnce() -> Result<Table, E>) -> Result<Arc<Table>, E> {
        if let Some(table) = self.lock().touch(id) {
            return Ok(table);
        }
        let table = Arc::new(load()?);
        self.lock().insert(id, table.clone(), self.budget);
        Ok(table)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().expect("nothing panics while it holds the tables")
    }

    /// Their bytes, and how many they are.
    #[cfg(test)]
    pub(crate) fn loaded(&self) -> (u64, usize) {
        let loaded = self.lock();
        (loaded.bytes, loaded.tables.len())
    }
}

impl Loaded {
    fn touch(&mut self, id: TableId) -> Option<Arc<Table>> {
        let (used, table) = self.tables.get_mut(&id)?;
        self.clock += 1;
        self.used.remove(used);
        self.used.insert(self.clock, id);
        *used = self.clock;
        Some(table.clone())
    }

    fn insert(&mut self, id: TableId, table: Arc<Table>, budget: u64) {
        self.clock += 1;
        self.bytes += table.bytes();
        if let Some((used, old)) = self.tables.insert(id, (self.clock, table)) {
            self.used.remove(&used);
            self.bytes -= old.bytes();
        }
        self.used.insert(self.clock, id);
        while self.bytes > budget && self.tables.len() > 1 {
            let (_, oldest) = self.used.pop_first().expect("every table was used once");
            let (_, table) = self.tables.remove(&oldest).expect("a table that was used is there");
            self.bytes -= table.bytes();
        }
    }
}
