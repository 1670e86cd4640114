//! The bytes of one file: what reads see, and what would be left after a power cut.
use crate::testing::rng::Stream;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

/// The unit of change: what a device writes whole or not at all is a small multiple of this.
pub(super) const SECTOR: u64 = 512;
/// The unit of storage in memory; pages of zeros are not stored.
const PAGE: u64 = 4096;

pub(super) type Sector = [u8; SECTOR as usize];

/// A file.
///
/// **Invariant**: `undo` holds exactly the sectors whose present content is not durable, with their durable content.
///
/// **Invariant**: bytes at and after `len` are zero.
#[derive(Debug, Default)]
pub(super) struct Content {
    len: u64,
    durable_len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    undo: BTreeMap<u64, Box<Sector>>,
    /// What was durable before the last sync of a sector, where that is not zeros.
    before: BTreeMap<u64, Box<Sector>>,
    /// Sectors a failed sync was to write. The kernel takes them for clean: no later sync writes them.
    forgotten: BTreeSet<u64>,
    syncs_begun: u64,
    last_sync_done: u64,
}

/// What a sync makes durable when it ends: the content at its beginning.
#[derive(Debug)]
pub(super) struct Sync {
    number: u64,
    len: u64,
    sectors: Vec<(u64, Box<Sector>)>,
}

impl Sync {
    /// How many sectors it writes, and a hash over them, for the trace.
    pub(super) fn summary(&self) -> (usize, u64) {
        let hash = self
            .sectors
            .iter()
            .fold(self.len, |hash, (at, sector)| xxhash_rust::xxh3::xxh3_64_with_seed(sector.as_slice(), hash ^ at));
        (self.sectors.len(), hash)
    }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.copy_out(offset, buffer);
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.touch(sector);
        }
        self.copy_in(offset, bytes);
        self.len = self.len.max(end);
    }

    pub(super) fn extend(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub(super) fn truncate(&mut self, len: u64) {
        let written: Vec<u64> = self.pages.range(len / PAGE..).map(|(page, _)| *page).collect();
        for page in written {
            let from = len.max(page * PAGE);
            let zeros = [0; PAGE as usize];
            for sector in from / SECTOR..(page + 1) * PAGE / SECTOR {
                self.touch(sector);
            }
            self.copy_in(from, &zeros[..((page + 1) * PAGE - from) as usize]);
        }
        self.len = len;
    }

    pub(super) fn begin_sync(&mut self) -> Sync {
        self.syncs_begun += 1;
        let dirty = self.undo.keys().filter(|sector| !self.forgotten.contains(sector));
        let sectors = dirty.map(|sector| (*sector, Box::new(self.sector(*sector)))).collect();
        Sync { number: self.syncs_begun, len: self.len, sectors }
    }

    /// How much a sync has to write.
    pub(super) fn bytes_of(sync: &Sync) -> u64 {
        sync.sectors.len() as u64 * SECTOR
    }

    pub(super) fn finish_sync(&mut self, sync: Sync) {
        if sync.number < self.last_sync_done {
            // One that began later ended before; it wrote all of this, or something newer.
            return;
        }
        self.last_sync_done = sync.number;
        self.durable_len = sync.len;
        for (at, written) in sync.sectors {
            let before =
                if self.sector(at) == *written { self.undo.remove(&at) } else { self.undo.insert(at, written) };
            match before.filter(|sector| **sector != [0; SECTOR as usize]) {
                Some(before) => drop(self.before.insert(at, before)),
                None => drop(self.before.remove(&at)),
            }
        }
    }

    pub(super) fn fail_sync(&mut self, sync: Sync) {
        self.forgotten.extend(sync.sectors.into_iter().map(|(at, _)| at));
    }

    /// A file with what is durable of this one.
    pub(super) fn durable_copy(&self) -> Self {
        let mut copy =
            Content { len: self.len, durable_len: self.durable_len, pages: self.pages.clone(), ..Content::default() };
        for (at, old) in &self.undo {
            copy.copy_in(at * SECTOR, old.as_slice());
        }
        copy.len = self.durable_len;
        copy.zero_the_rest();
        copy
    }

    /// Decides what of the unsynced content is left, and says how many sectors that was about. `whole`: bytes that the device
    /// writes whole or not at all.
    pub(super) fn lose_power(&mut self, rng: &mut Stream, whole: u64) -> u64 {
        let unsynced = self.undo.len() as u64;
        let mut decided = None;
        for (at, old) in std::mem::take(&mut self.undo) {
            let unit = at * SECTOR / whole;
            let lost = match decided {
                Some((known, lost)) if known == unit => lost,
                _ => rng.coin(),
            };
            decided = Some((unit, lost));
            if lost || self.forgotten.contains(&at) {
                self.copy_in(at * SECTOR, old.as_slice());
            }
        }
        self.forgotten.clear();
        if self.durable_len != self.len && rng.coin() {
            self.len = self.durable_len;
        }
        self.durable_len = self.len;
        self.zero_the_rest();
        // A sync that was under way is over with its node; should its end still come, it is an old one.
        self.last_sync_done = self.syncs_begun + 1;
        self.syncs_begun = self.last_sync_done;
        unsynced
    }

    /// Everything that is read.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.copy_out(0, &mut bytes);
        bytes
    }

    /// Makes this all there is, durably.
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        *self = Content::default();
        self.copy_in(0, bytes);
        self.len = bytes.len() as u64;
        self.durable_len = self.len;
    }

    /// The durable content of a sector.
    pub(super) fn durable(&self, sector: u64) -> Sector {
        self.undo.get(&sector).map_or_else(|| self.sector(sector), |durable| **durable)
    }

    /// The durable content of a sector before its last sync.
    pub(super) fn older(&self, sector: u64) -> Sector {
        self.before.get(&sector).map_or([0; SECTOR as usize], |before| **before)
    }

    /// Changes the durable content of a sector, inside the file; says whether that made a difference. What was not synced
    /// stays what is read.
    pub(super) fn damage(&mut self, sector: u64, change: impl FnOnce(&mut Sector)) -> bool {
        let before = self.durable(sector);
        let mut after = before;
        change(&mut after);
        match self.undo.get_mut(&sector) {
            Some(durable) => **durable = after,
            None => {
                let inside = (self.len - sector * SECTOR).min(SECTOR) as usize;
                after[inside..].fill(0);
                self.copy_in(sector * SECTOR, &after);
            }
        }
        after != before
    }

    /// Cuts the file, durably.
    pub(super) fn cut(&mut self, len: u64) {
        self.len = self.len.min(len);
        self.durable_len = self.durable_len.min(len);
        let kept = len.div_ceil(SECTOR);
        self.undo.split_off(&kept);
        self.before.split_off(&kept);
        self.zero_the_rest();
    }

    /// As [`Content::read`], with what was durable before the last sync of each sector.
    pub(super) fn read_older(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(offset, buffer)?;
        let end = offset + buffer.len() as u64;
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let older = self.older(sector);
            for (at, byte) in (sector * SECTOR..).zip(older) {
                if (offset..end).contains(&at) {
                    buffer[(at - offset) as usize] = byte;
                }
            }
        }
        Ok(())
    }

    fn zero_the_rest(&mut self) {
        let _beyond = self.pages.split_off(&self.len.div_ceil(PAGE));
        if let Some(last) = self.pages.get_mut(&(self.len / PAGE)) {
            last[(self.len % PAGE) as usize..].fill(0);
        }
    }

    fn touch(&mut self, sector: u64) {
        self.forgotten.remove(&sector);
        if !self.undo.contains_key(&sector) {
            let durable = Box::new(self.sector(sector));
            self.undo.insert(sector, durable);
        }
    }

    fn sector(&self, sector: u64) -> Sector {
        let mut content = [0; SECTOR as usize];
        self.copy_out(sector * SECTOR, &mut content);
        content
    }

    fn copy_out(&self, mut offset: u64, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            let start = (offset % PAGE) as usize;
            let count = buffer.len().min(PAGE as usize - start);
            let (part, rest) = buffer.split_at_mut(count);
            match self.pages.get(&(offset / PAGE)) {
                Some(page) => part.copy_from_slice(&page[start..start + count]),
                None => part.fill(0),
            }
            offset += count as u64;
            buffer = rest;
        }
    }

    fn copy_in(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let start = (offset % PAGE) as usize;
            let count = bytes.len().min(PAGE as usize - start);
            let (part, rest) = bytes.split_at(count);
            let page = self.pages.entry(offset / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[start..start + count].copy_from_slice(part);
            offset += count as u64;
            bytes = rest;
        }
    }
}
