//! What a view changes, collected until it is applied in one batch with how far it reaches.
use super::position::{decode, encode, scoped, seal, unseal};
use crate::{
    topic::PartitionId,
    world::{StoreChange, StoreError, Tree, ViewStore},
};
use bincode::{Decode, Encode};
use std::collections::{BTreeMap, btree_map::Entry};

/// Value of a key before it is stored, with its hash; `None`: there is none.
type New = Option<(Vec<u8>, u128)>;

/// Changes of several partitions that are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    new: BTreeMap<(Tree, Vec<u8>), New>,
    bytes: usize,
}

impl Pending {
    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty()
    }

    /// As changes of a store.
    pub(super) fn into_changes(self) -> Vec<StoreChange> {
        let change = |((tree, key), new): ((Tree, Vec<u8>), New)| {
            let value = new.map(|(value, _)| seal(tree, &key, &value).0);
            StoreChange { tree, key, value }
        };
        self.new.into_iter().map(change).collect()
    }

    fn put(&mut self, tree: Tree, key: Vec<u8>, new: New) {
        const OVERHEAD: usize = 100;
        let value = new.as_ref().map_or(0, |(value, _)| value.len());
        match self.new.entry((tree, key)) {
            Entry::Occupied(mut held) => {
                self.bytes += value;
                held.insert(new);
            }
            Entry::Vacant(free) => {
                self.bytes += OVERHEAD + free.key().1.len() + value;
                free.insert(new);
            }
        }
    }
}

/// What a [`View`](super::View) makes of a batch. It sees what it has put, also in earlier batches.
///
/// Keys and values belong to the partition of the batch, and to a tree of the view. They are small: sled keeps values above
/// some kilobytes apart.
pub struct Change<'a> {
    store: &'a dyn ViewStore,
    before: &'a Pending,
    partition: PartitionId,
    trees: &'a [Tree],
    own: Pending,
    /// How the sum of the partition's hashes changes.
    sum: u128,
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl<'a> Change<'a> {
    pub(super) fn new(
        store: &'a dyn ViewStore,
        before: &'a Pending,
        partition: PartitionId,
        trees: &'a [Tree],
    ) -> Self {
        Change { store, before, partition, trees, own: Pending::default(), sum: 0 }
    }

    /// What it came to: the changes, and by how much the sum of the partition has changed.
    pub(super) fn finish(self) -> (Collected, u128) {
        (Collected(self.own), self.sum)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The store's: hand them on.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.look(tree, scoped(self.partition, key))?.1.map(|(value, _)| value))
    }

    /// The value of a key, decoded.
    ///
    /// # Errors
    /// As [`Change::get`].
    pub fn get_as<T: Decode<()>>(&self, tree: Tree, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(tree, key)?.map(|value| decode(tree, &value)).transpose()
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// As [`Change::get`].
    pub fn put(&mut self, tree: Tree, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        self.replace(tree, key, Some(value))
    }

    /// Gives a key an encoded value.
    ///
    /// # Errors
    /// As [`Change::get`].
    pub fn put_as<T: Encode>(&mut self, tree: Tree, key: &[u8], value: &T) -> Result<(), StoreError> {
        self.put(tree, key, encode(value))
    }

    /// Takes a key away, with its value.
    ///
    /// # Errors
    /// As [`Change::get`].
    pub fn delete(&mut self, tree: Tree, key: &[u8]) -> Result<(), StoreError> {
        self.replace(tree, key, None)
    }

    fn replace(&mut self, tree: Tree, key: &[u8], value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let (key, old) = self.look(tree, scoped(self.partition, key))?;
        self.sum = self.sum.wrapping_sub(old.map_or(0, |(_, hash)| hash));
        let new = value.map(|value| {
            let (_, hash) = seal(tree, &key, &value);
            (value, hash)
        });
        self.sum = self.sum.wrapping_add(new.as_ref().map_or(0, |(_, hash)| *hash));
        self.own.put(tree, key, new);
        Ok(())
    }

    fn look(&self, tree: Tree, key: Vec<u8>) -> Result<(Vec<u8>, New), StoreError> {
        assert!(self.trees.contains(&tree), "the view has no tree {tree:?}, only {:?}", self.trees);
        let place = (tree, key);
        if let Some(new) = self.own.new.get(&place).or_else(|| self.before.new.get(&place)) {
            return Ok((place.1, new.clone()));
        }
        let stored = self.store.get(tree, &place.1)?;
        let value = stored.map(|stored| unseal(tree, &place.1, stored)).transpose()?;
        Ok((place.1, value))
    }
}

/// The changes of one batch.
pub(super) struct Collected(Pending);

impl Collected {
    /// Adds them to those before.
    pub(super) fn join(self, pending: &mut Pending) {
        for ((tree, key), new) in self.0.new {
            pending.put(tree, key, new);
        }
    }
}
