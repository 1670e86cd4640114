//! Verifies a whole store, piece by piece: every value is the one of its key, and each partition has what it should have.
use super::position::{POSITIONS, Position, scope_of, unseal};
use crate::{
    topic::PartitionId,
    world::{Direction, StoreError, Tree, ViewStore},
};
use std::{collections::BTreeMap, ops::Bound};

/// Pairs looked at in one step.
const PIECE: usize = 2048;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Number of the tree, and the last key seen of it.
    tree: usize,
    last: Option<Vec<u8>>,
    sums: BTreeMap<PartitionId, u128>,
    pub(super) pairs: u64,
}

/// The positions of a store.
pub(super) type Positions = BTreeMap<PartitionId, Position>;

impl Scan {
    /// Looks at the next piece; the positions when there is nothing left to look at.
    ///
    /// # Errors
    /// What the store says, or that it is damaged.
    pub(super) fn step(&mut self, store: &dyn ViewStore, trees: &[Tree]) -> Result<Option<Positions>, StoreError> {
        let Some(&tree) = trees.get(self.tree) else { return self.finish(store).map(Some) };
        let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let pairs = store.range(tree, (from, Bound::Unbounded), Direction::Ascending, PIECE)?;
        self.pairs += pairs.len() as u64;
        let more = pairs.len() == PIECE;
        self.last = None;
        for (key, stored) in pairs {
            let (_, hash) = unseal(tree, &key, stored)?;
            let sum = self.sums.entry(scope_of(&key)?).or_default();
            *sum = sum.wrapping_add(hash);
            self.last = Some(key);
        }
        if !more {
            (self.tree, self.last) = (self.tree + 1, None);
        }
        Ok(None)
    }

    fn finish(&mut self, store: &dyn ViewStore) -> Result<Positions, StoreError> {
        let positions = positions(store)?;
        for (partition, sum) in &self.sums {
            let expected = positions.get(partition).map_or(0, |position| position.sum);
            if *sum != expected {
                return Err(StoreError::Damaged(format!("what there is of partition {partition} is not what was put")));
            }
        }
        let lost =
            positions.iter().find(|(partition, position)| position.sum != 0 && !self.sums.contains_key(partition));
        match lost {
            Some((partition, _)) => Err(StoreError::Damaged(format!("there is nothing left of partition {partition}"))),
            None => Ok(positions),
        }
    }
}

/// All positions. There are as many as partitions.
fn positions(store: &dyn ViewStore) -> Result<Positions, StoreError> {
    let pairs = store.range(POSITIONS, (Bound::Unbounded, Bound::Unbounded), Direction::Ascending, usize::MAX)?;
    pairs.into_iter().map(|(key, stored)| Ok((scope_of(&key)?, Position::decode(&key, stored)?))).collect()
}
