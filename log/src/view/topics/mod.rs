//! The view of topics: where in the log a time begins, and where a key has its records.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `times` | log time (8, big-endian), offset (8, big-endian) | index of the entry |
//! | `pace` | none | time of the last key of `times`, and bytes since |
//! | `keys` | digest of the key (16), offset of the last record with it in its batch (8, big-endian) | index of the entry, offset of its first record |
//!
//! `times` is coarse: one place a second or MiB, whichever comes first. From there on the headers of the batches say. `keys`
//! is kept for topics with a key index, with one place per key and batch; what is read there is compared with the key.
use super::{Change, View, ViewInput, ViewReader};
use crate::{
    producer::{KeyDigest, digest_of},
    topic::Offset,
    world::{Direction, Pair, StoreError, Timestamp, Tree},
};
use bincode::{Decode, Encode};
use std::{collections::BTreeMap, ops::Bound, time::Duration};

/// The name of the view.
pub(crate) const NAME: &str = "topics";

const TIMES: Tree = "times";
const PACE: Tree = "pace";
const KEYS: Tree = "keys";

/// Between two places in `times`.
const TIME_APART: Duration = Duration::from_secs(1);
const BYTES_APART: u64 = 1 << 20;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topics;

/// Since the last place in `times`.
#[derive(Clone, Copy, Debug, Default, Encode, Decode)]
struct Pace {
    time: u64,
    bytes: u64,
}

/// A place in the log: an entry, and where the partition ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub index: u64,
    pub base: Offset,
}

impl View for Topics {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn trees(&self) -> &'static [Tree] {
        &[TIMES, PACE, KEYS]
    }

    fn wants(&self, _topic: &str) -> bool {
        true
    }

    fn take(&self, input: &ViewInput<'_>, change: &mut Change<'_>) -> Result<(), StoreError> {
        note_time(input, change)?;
        if input.key_index() { note_keys(input, change) } else { Ok(()) }
    }
}

/// Batches without records count, too: a search would have to pass them all.
fn note_time(input: &ViewInput<'_>, change: &mut Change<'_>) -> Result<(), StoreError> {
    let time = input.time().0;
    let pace: Option<Pace> = change.get_as(PACE, &[])?;
    let mut pace = match pace {
        Some(pace) if pace.bytes < BYTES_APART && time.saturating_sub(pace.time) < TIME_APART.as_micros() as u64 => {
            pace
        }
        _ => {
            let key = [time.to_be_bytes(), input.base().to_be_bytes()].concat();
            change.put_as(TIMES, &key, &input.index())?;
            Pace { time, bytes: 0 }
        }
    };
    pace.bytes += input.bytes();
    change.put_as(PACE, &[], &pace)
}

fn note_keys(input: &ViewInput<'_>, change: &mut Change<'_>) -> Result<(), StoreError> {
    let last: BTreeMap<KeyDigest, Offset> = input.keys().map(|(offset, key)| (digest_of(key), offset)).collect();
    for (key, offset) in last {
        change.put_as(KEYS, &key_at(&key, offset), &(input.index(), input.base()))?;
    }
    Ok(())
}

fn key_at(key: &KeyDigest, offset: Offset) -> Vec<u8> {
    [&key.0[..], &offset.to_be_bytes()].concat()
}

/// The last number of a key of a tree.
fn last_number(tree: Tree, key: &[u8]) -> Result<u64, StoreError> {
    let short = || StoreError::Damaged(format!("a key of {tree} is too short"));
    Ok(u64::from_be_bytes(*key.last_chunk().ok_or_else(short)?))
}

/// Where to begin to look for the first record at or after a time: everything before is older. `None`: at the beginning.
pub(crate) fn before(reader: &ViewReader<'_>, time: Timestamp) -> Result<Option<Place>, StoreError> {
    let to = time.0.to_be_bytes();
    let older = reader.range(TIMES, (Bound::Unbounded, Bound::Excluded(&to)), Direction::Descending, 1)?;
    let place = |(key, value): &Pair| Ok(Place { base: last_number(TIMES, key)?, index: reader.decode(TIMES, value)? });
    older.first().map(place).transpose()
}

/// The batches below the offset `end` with records of a key at or behind `from`, in order, at most `limit`, each with the offset
/// of the last of these records.
pub(crate) fn of_key(
    reader: &ViewReader<'_>,
    key: &KeyDigest,
    from: Offset,
    end: Offset,
    limit: usize,
) -> Result<Vec<(Offset, Place)>, StoreError> {
    let (from, to) = (key_at(key, from), key_at(key, end));
    let pairs = reader.range(KEYS, (Bound::Included(&from), Bound::Excluded(&to)), Direction::Ascending, limit)?;
    let place = |(key, value): &Pair| {
        let (index, base) = reader.decode(KEYS, value)?;
        Ok((last_number(KEYS, key)?, Place { index, base }))
    };
    pairs.iter().map(place).collect()
}
