//! A map that can be copied at once and goes on changing: what a checkpoint of many entries is taken from.
//!
//! The entries are dealt out over shards by a byte of their key. A copy shares all shards; whoever changes one of them
//! next copies that shard, and only that, the first time.
use crate::producer::{KeyDigest, ProducerId};
use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

const SHARDS: usize = 256;

/// A key that says which shard it belongs to.
pub(super) trait Sharded {
    fn shard(&self) -> u8;
}

impl Sharded for ProducerId {
    fn shard(&self) -> u8 {
        // Ids need not be random in every byte.
        self.0.iter().fold(0, |mixed, byte| mixed ^ byte)
    }
}

impl Sharded for KeyDigest {
    fn shard(&self) -> u8 {
        self.0[0]
    }
}

impl Sharded for str {
    fn shard(&self) -> u8 {
        xxh3_64(self.as_bytes()) as u8
    }
}

impl Sharded for String {
    fn shard(&self) -> u8 {
        self.as_str().shard()
    }
}

/// See the module. Cloning costs a pointer per shard.
#[derive(Clone)]
pub(crate) struct Shards<K, V> {
    /// None at all while nothing was ever put here.
    shards: Vec<Arc<BTreeMap<K, V>>>,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Shards { shards: Vec::new(), len: 0 }
    }
}

impl<K, V> Shards<K, V> {
    /// All entries, in an order that depends on nothing but the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Shards<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for Shards<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Sharded + Ord + Clone, V: Clone> Shards<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get<Q: Sharded + Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(usize::from(key.shard()))?.get(key)
    }

    /// The entry, to be changed.
    pub(super) fn get_mut<Q: Sharded + Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // A look first: what is not there need not be copied.
        self.get(key)?;
        Arc::make_mut(self.shards.get_mut(usize::from(key.shard()))?).get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.shards.is_empty() {
            self.shards = vec![Arc::default(); SHARDS];
        }
        let shard = Arc::make_mut(&mut self.shards[usize::from(key.shard())]);
        self.len += usize::from(shard.insert(key, value).is_none());
    }

    pub(super) fn remove<Q: Sharded + Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let removed = Arc::make_mut(self.shards.get_mut(usize::from(key.shard()))?).remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }
}

impl<K: Sharded + Ord + Clone, V: Clone> FromIterator<(K, V)> for Shards<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut shards = Shards::default();
        entries.into_iter().for_each(|(key, value)| shards.insert(key, value));
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_what_it_was_while_the_map_goes_on() {
        let name = |n: u32| format!("cursor-{n}");
        let mut map: Shards<String, u32> = (0..1000).map(|n| (name(n), n)).collect();
        let copy = map.clone();
        *map.get_mut(&name(7)[..]).expect("it is there") = 70;
        assert_eq!(map.remove(&name(8)[..]), Some(8));
        assert_eq!(map.remove(&name(8)[..]), None);
        map.insert(name(1000), 1000);
        map.insert(name(9), 90);
        assert_eq!((map.len(), copy.len()), (1000, 1000));
        assert_eq!((map.get(&name(7)[..]), copy.get(&name(7)[..])), (Some(&70), Some(&7)));
        assert_eq!((map.get(&name(8)[..]), copy.get(&name(8)[..])), (None, Some(&8)));
        assert_eq!(copy.iter().map(|(_, n)| u64::from(*n)).sum::<u64>(), 999 * 1000 / 2);
        assert_eq!(copy, (0..1000).map(|n| (name(n), n)).collect());
    }

    #[test]
    fn what_is_only_looked_for_is_not_copied() {
        let mut map: Shards<String, u32> = (0..10).map(|n| (n.to_string(), n)).collect();
        let copy = map.clone();
        assert_eq!(map.get_mut("none"), None);
        assert_eq!(map.remove("none"), None);
        assert!(map.shards.iter().zip(&copy.shards).all(|(a, b)| Arc::ptr_eq(a, b)));
    }
}
