//! The view of states: where to find what machines keep, by places that they name.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `places` | a place, a key of the state | nothing |
//! | `keys` | a key of the state | its places, sorted |
//!
//! A machine folds the log already, and says of each key of its state at which places it is to be found. So the log is only asked
//! what was touched; what there is of it now is asked of the state, and what there was before is in `keys`. That takes no queue: a
//! view that lags reads on in the log. One that is new walks over the state instead, and reads on from the entry at which the walk
//! began: what the walk saw too early or too late was touched behind it. It needs nothing that was purged.
//!
//! *Between*, a view shows of some keys what they came to a little later: of what was asked before the last entry that had evolved.
//! How far that is stands in its position; it is not read where less has evolved, as after a power cut.
use super::{Change, View, ViewInput, ViewReader};
use crate::world::{Direction, StoreError, Tree};
use std::ops::Bound;

/// The name of the view.
pub(crate) const NAME: &str = "states";

const PLACES: Tree = "places";
const KEYS: Tree = "keys";

/// Keys that a walk looks at in one step.
const PIECE: usize = 256;

/// A key of a machine's state, and the places at which it is found.
pub type Placed = (Vec<u8>, Vec<Vec<u8>>);

/// The state of a [`Machine`](crate::Machine), for the view of it.
///
/// The places of a key follow from what the state has of the key, and from nothing else; what changes that is a batch that says so
/// ([`Shown::touched`]). No place begins with another one.
pub trait Shown: Send + Sync {
    /// Raise it when places change: what an older build has left is then built anew.
    fn version(&self) -> u32;
    /// The keys whose places a batch may have changed.
    fn touched(&self, input: &ViewInput<'_>) -> Vec<Vec<u8>>;
    /// These keys with their places, as the state is now; with none where there is no such key.
    fn places(&self, keys: Vec<Vec<u8>>) -> Vec<Placed>;
    /// The keys behind one, in order, at most so many, with their places as the state is now.
    fn walk(&self, after: Option<&[u8]>, limit: usize) -> Vec<Placed>;
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct States;

impl View for States {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn trees(&self) -> &'static [Tree] {
        &[PLACES, KEYS]
    }

    fn wants(&self, _topic: &str) -> bool {
        true
    }

    fn is_of_states(&self) -> bool {
        true
    }

    fn take(&self, input: &ViewInput<'_>, change: &mut Change<'_>) -> Result<(), StoreError> {
        let Some(state) = input.state.filter(|_| input.added() > 0) else { return Ok(()) };
        let mut touched = state.touched(input);
        touched.sort_unstable();
        touched.dedup();
        show(state.places(touched), change)
    }
}

/// Takes a piece of a state, behind a key (empty: from its beginning). Where to go on; `None`: that was all.
pub(super) fn walk(state: &dyn Shown, after: &[u8], change: &mut Change<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    let piece = state.walk(Some(after).filter(|after| !after.is_empty()), PIECE);
    let last = (piece.len() == PIECE).then(|| piece.last().map(|(key, _)| key.clone())).flatten();
    show(piece, change)?;
    Ok(last)
}

fn show(keys: Vec<Placed>, change: &mut Change<'_>) -> Result<(), StoreError> {
    for (key, mut now) in keys {
        now.sort_unstable();
        now.dedup();
        let before: Vec<Vec<u8>> = change.get_as(KEYS, &key)?.unwrap_or_default();
        if now == before {
            continue;
        }
        for place in before.iter().filter(|place| now.binary_search(place).is_err()) {
            change.delete(PLACES, &[place, &key[..]].concat())?;
        }
        for place in now.iter().filter(|place| before.binary_search(place).is_err()) {
            change.put(PLACES, &[place, &key[..]].concat(), Vec::new())?;
        }
        if now.is_empty() {
            change.delete(KEYS, &key)?;
        } else {
            change.put_as(KEYS, &key, &now)?;
        }
    }
    Ok(())
}

/// The keys at a place, behind one (empty: all), in order.
pub(crate) fn at(
    reader: &ViewReader<'_>,
    place: &[u8],
    after: &[u8],
    limit: usize,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let (from, to) = ([place, after].concat(), behind(place));
    let from = if after.is_empty() { Bound::Included(&from[..]) } else { Bound::Excluded(&from[..]) };
    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let pairs = reader.range(PLACES, (from, to), Direction::Ascending, limit)?;
    Ok(pairs.into_iter().map(|(mut key, _)| key.split_off(place.len())).collect())
}

/// The least of what comes behind all that begins so; `None`: nothing does.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut behind = prefix[..=last].to_vec();
    behind[last] += 1;
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_prefix_is_behind_all_that_begin_so() {
        for (prefix, expected) in
            [(&b"ab"[..], Some(&b"ac"[..])), (b"a\xff", Some(b"b")), (b"\xff\xff", None), (b"", None)]
        {
            assert_eq!(behind(prefix).as_deref(), expected, "{prefix:?}");
        }
    }
}
