//! The aggregates of a partition, encoded, by key. What changed lately is in memory, the rest in the table of a checkpoint.
//!
//! ```text
//!   get ─▶ recent ─ not there ─▶ frozen ─ not there ─▶ table
//!   freeze:  recent becomes frozen, at once, and is written with the table it changes to a new one, elsewhere
//!   settle:  the new table takes the place of both
//! ```
//!
//! So the partition never stands still for a checkpoint, and memory is bounded by what changed since the last table. Clones
//! share everything: the head of a leader, and whoever walks over the state, keep what they were made from.
//!
//! **Invariant**: what is frozen is in no table and in no checkpoint until it is settled: until then every checkpoint writes a new
//! table. **Invariant**: `sum` is the sum of the hashes of all rows, whichever layer they are in.
use bytes::Bytes;
use corduroy_log::{FrozenTable, Table};
use imbl::OrdMap;
use std::{
    ops::{Bound, Deref},
    sync::Arc,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Aggregates {
    table: Option<Table>,
    frozen: Layer,
    /// The last time something was frozen. What was frozen before is part of it.
    freezes: u64,
    recent: Layer,
    sum: u64,
}

/// Changes that a checkpoint carries beside its table, rather than writing a new one, are an eighth of the table, but not more.
const CARRIED: u64 = 256 << 20;

/// Changes; `None`: it is no more.
#[derive(Clone, Default)]
struct Layer {
    rows: OrdMap<Arc<str>, Option<Arc<[u8]>>>,
    /// Of keys and values.
    bytes: u64,
}

/// An encoded aggregate.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Memory(Arc<[u8]>),
    Table(Bytes),
}

impl Deref for Row {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Row::Memory(bytes) => bytes,
            Row::Table(bytes) => bytes,
        }
    }
}

impl Layer {
    fn set(&mut self, key: Arc<str>, value: Option<Arc<[u8]>>) {
        let size = |value: &Option<Arc<[u8]>>| key.len() as u64 + value.as_ref().map_or(0, |value| value.len() as u64);
        let new = size(&value);
        let old = self.rows.get(&key).map_or(0, size);
        self.bytes = self.bytes + new - old;
        self.rows.insert(key, value);
    }

    fn get(&self, key: &str) -> Option<Option<Row>> {
        self.rows.get(key).map(|value| value.clone().map(Row::Memory))
    }

    /// From a key on.
    fn walk(&self, from: &str) -> impl Iterator<Item = (Arc<str>, Option<Row>)> + Send + use<> {
        let (rows, mut from) = (self.rows.clone(), Bound::Included(Arc::<str>::from(from)));
        std::iter::from_fn(move || {
            let (key, value) = rows.range((from.clone(), Bound::Unbounded)).next()?;
            from = Bound::Excluded(key.clone());
            Some((key.clone(), value.clone().map(Row::Memory)))
        })
    }
}

impl Aggregates {
    /// As a checkpoint has them; `sum` as it says.
    pub(crate) fn restore(table: Option<Table>, sum: u64) -> Self {
        Aggregates { table, sum, ..Aggregates::default() }
    }

    /// Puts in a row of a checkpoint; `false`: it was there. The sum has it already.
    pub(crate) fn restore_row(&mut self, key: &str, value: Option<&[u8]>) -> bool {
        let is_new = !self.recent.rows.contains_key(key);
        self.recent.set(key.into(), value.map(Into::into));
        is_new
    }

    /// Makes the sum of what is there.
    pub(crate) fn add_up(&mut self) {
        self.sum = self.walk("").fold(0, |sum, (key, row)| sum.wrapping_add(hash_of(&key, &row)));
    }

    pub(crate) fn get(&self, key: &str) -> Option<Row> {
        let found = self.recent.get(key).or_else(|| self.frozen.get(key));
        found.unwrap_or_else(|| self.table.as_ref()?.get(key.as_bytes()).map(Row::Table))
    }

    /// Puts one in the place of another, which was [`Aggregates::get`].
    pub(crate) fn replace(&mut self, key: &str, before: Option<&Row>, after: Option<Vec<u8>>) {
        if let Some(before) = before {
            self.sum = self.sum.wrapping_sub(hash_of(key, before));
        }
        if let Some(after) = &after {
            self.sum = self.sum.wrapping_add(hash_of(key, after));
        }
        if after.is_none() && self.table.is_none() && self.frozen.rows.is_empty() {
            // Nothing below that it would have to hide.
            self.recent.bytes -= before.map_or(0, |before| (key.len() + before.len()) as u64);
            self.recent.rows.remove(key);
        } else if after.is_some() || before.is_some() {
            self.recent.set(key.into(), after.map(Into::into));
        }
    }

    /// All from a key on, ascending.
    pub(crate) fn walk(&self, from: &str) -> impl Iterator<Item = (Arc<str>, Row)> + Send + use<> {
        let key =
            |key: &Bytes| Arc::from(std::str::from_utf8(key).expect("keys are text, and their checksum was verified"));
        let row = move |(found, row): (Bytes, Bytes)| (key(&found), Some(Row::Table(row)));
        let table = self.table.as_ref().map(|table| table.range(from.as_bytes()).map(row));
        let below = overlaid(self.frozen.walk(from), table.into_iter().flatten());
        overlaid(self.recent.walk(from), below).filter_map(|(key, row)| Some((key, row?)))
    }

    /// The sum of the hashes of all.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// The table beneath.
    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// What is in memory and in no table, and will be in none: what a checkpoint has of them beside a table.
    pub(crate) fn recent(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<[u8]>>)> {
        self.recent.rows.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// For a checkpoint. Where more than `limit` bytes have changed, and more than an eighth of the table, there will be a new
    /// table: so what is written over and over is a constant share of what changes.
    pub(crate) fn freeze(&mut self, limit: u64) -> FrozenTable {
        let carried = (self.table.as_ref().map_or(0, Table::bytes) / 8).min(CARRIED);
        if self.frozen.rows.is_empty() && self.recent.bytes < limit.max(carried).max(1) {
            return self.table.clone().map_or(FrozenTable::None, FrozenTable::Same);
        }
        self.freezes += 1;
        if self.frozen.rows.is_empty() {
            self.frozen = std::mem::take(&mut self.recent);
        } else {
            // A table that was to be could not be written.
            for (key, value) in std::mem::take(&mut self.recent).rows {
                self.frozen.set(key, value);
            }
        }
        let row = |(key, row): (Arc<str>, Row)| {
            let value = match row {
                Row::Memory(value) => Bytes::from_owner(value),
                Row::Table(value) => value,
            };
            (Bytes::copy_from_slice(key.as_bytes()), value)
        };
        FrozenTable::New(self.freezes, Box::new(self.walk("").map(row)))
    }

    /// What was frozen then is in this table. Gives away what it takes the place of; the table itself where more was frozen since,
    /// so that what is frozen is not all in it.
    pub(crate) fn settle(&mut self, freeze: u64, table: Table) -> impl Send + use<> {
        if freeze != self.freezes {
            return (Layer::default(), Some(table));
        }
        (std::mem::take(&mut self.frozen), self.table.replace(table))
    }
}

/// The hash of a key with its value.
pub(crate) fn hash_of(key: &str, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key.as_bytes()))
}

/// Two walks as one: where both have a key, the upper counts.
fn overlaid<V: Send>(
    upper: impl Iterator<Item = (Arc<str>, V)> + Send,
    lower: impl Iterator<Item = (Arc<str>, V)> + Send,
) -> impl Iterator<Item = (Arc<str>, V)> + Send {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    std::iter::from_fn(move || match (upper.peek(), lower.peek()) {
        (Some((above, _)), Some((below, _))) if above == below => {
            lower.next();
            upper.next()
        }
        (Some((above, _)), Some((below, _))) if below < above => lower.next(),
        (None, Some(_)) => lower.next(),
        (Some(_), _) | (None, None) => upper.next(),
    })
}

#[cfg(test)]
mod tests;
