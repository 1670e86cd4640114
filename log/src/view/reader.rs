//! What reads see of a view.
use super::position::{decode, scoped, unseal};
use crate::{
    topic::PartitionId,
    world::{Direction, Pair, StoreError, Tree, ViewStore},
};
use bincode::Decode;
use std::ops::Bound;

/// One partition's part of a view, between two batches. Everything that is read is verified.
pub struct ViewReader<'a> {
    store: &'a dyn ViewStore,
    partition: PartitionId,
}

impl std::fmt::Debug for ViewReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewReader").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl<'a> ViewReader<'a> {
    pub(super) fn new(store: &'a dyn ViewStore, partition: PartitionId) -> Self {
        ViewReader { store, partition }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The store's: hand them on.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = scoped(self.partition, key);
        let stored = self.store.get(tree, &key)?;
        stored.map(|stored| Ok(unseal(tree, &key, stored)?.0)).transpose()
    }

    /// At most `limit` keys of a range with their values, in order, from the end that `direction` says on.
    ///
    /// # Errors
    /// As [`ViewReader::get`].
    pub fn range(
        &self,
        tree: Tree,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let full = |bound: Bound<&[u8]>| bound.map(|key| scoped(self.partition, key));
        let from = match full(from) {
            Bound::Unbounded => Bound::Included(scoped(self.partition, &[])),
            bound => bound,
        };
        let to = match full(to) {
            Bound::Unbounded => match self.partition.0.checked_add(1) {
                Some(next) => Bound::Excluded(scoped(PartitionId(next), &[])),
                None => Bound::Unbounded,
            },
            bound => bound,
        };
        let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        let pairs = self.store.range(tree, range, direction, limit)?;
        let pair = |(mut key, stored): Pair| {
            let value = unseal(tree, &key, stored)?.0;
            Ok((key.split_off(8), value))
        };
        pairs.into_iter().map(pair).collect()
    }

    /// The value of a pair of a range, decoded.
    ///
    /// # Errors
    /// As [`ViewReader::get`].
    pub fn decode<T: Decode<()>>(&self, tree: Tree, value: &[u8]) -> Result<T, StoreError> {
        decode(tree, value)
    }
}
