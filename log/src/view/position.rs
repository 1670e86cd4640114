//! What the machinery keeps beside the trees of a view, and how values are protected.
use crate::{
    topic::{LogId, Offset, PartitionId},
    wal::LogHash,
    world::{StoreChange, StoreError, Tree, ViewStore},
};
use bincode::{Decode, Encode, config::Configuration};
use xxhash_rust::xxh3::xxh3_128;

/// What a store is: one key.
const ABOUT: Tree = "_about";
/// How far each partition has been built.
pub(super) const POSITIONS: Tree = "_positions";
/// Form of what the machinery writes. Raised when it changes.
const MACHINERY: u32 = 2;
/// Bytes of a hash in front of each value.
const SEAL: usize = 8;

const ENCODING: Configuration = bincode::config::standard();

/// A value in the encoding of views.
pub(super) fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, ENCODING).expect("there is memory for what is in memory")
}

pub(super) fn decode<T: Decode<()>>(tree: Tree, bytes: &[u8]) -> Result<T, StoreError> {
    match bincode::decode_from_slice(bytes, ENCODING) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok((_, read)) => {
            Err(StoreError::Damaged(format!("a value of {tree} has {} bytes, {read} were due", bytes.len())))
        }
        Err(error) => Err(StoreError::Damaged(format!("a value of {tree} does not decode: {error}"))),
    }
}

/// A hash over a value and its place.
fn hash_of(tree: Tree, key: &[u8], value: &[u8]) -> u128 {
    let mut bytes = Vec::with_capacity(tree.len() + key.len() + value.len() + 9);
    bytes.extend_from_slice(tree.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    xxh3_128(&bytes)
}

/// A value as it is stored, and its hash.
pub(super) fn seal(tree: Tree, key: &[u8], value: &[u8]) -> (Vec<u8>, u128) {
    let hash = hash_of(tree, key, value);
    let mut stored = Vec::with_capacity(SEAL + value.len());
    stored.extend_from_slice(&hash.to_le_bytes()[..SEAL]);
    stored.extend_from_slice(value);
    (stored, hash)
}

/// A value as it was before it was stored, and its hash.
pub(super) fn unseal(tree: Tree, key: &[u8], mut stored: Vec<u8>) -> Result<(Vec<u8>, u128), StoreError> {
    let damaged = || StoreError::Damaged(format!("a value of {tree} is not the one of its key"));
    if stored.len() < SEAL {
        return Err(damaged());
    }
    let value = stored.split_off(SEAL);
    let hash = hash_of(tree, key, &value);
    if hash.to_le_bytes()[..SEAL] == stored { Ok((value, hash)) } else { Err(damaged()) }
}

/// The key of what belongs to a partition.
pub(super) fn scoped(partition: PartitionId, key: &[u8]) -> Vec<u8> {
    [&partition.0.to_be_bytes(), key].concat()
}

/// The partition of a key that is [`scoped`].
pub(super) fn scope_of(key: &[u8]) -> Result<PartitionId, StoreError> {
    let id = key.first_chunk().ok_or_else(|| StoreError::Damaged("a key that belongs to no partition".into()))?;
    Ok(PartitionId(u64::from_be_bytes(*id)))
}

/// How far a partition has been built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The last entry taken.
    pub id: LogId,
    /// Where the partition ends behind it.
    pub end: Offset,
    /// The log hash after it.
    pub hash: LogHash,
    /// Of the hashes of all the partition has in the trees of the view.
    pub sum: u128,
    /// Of views of states.
    pub of_state: OfState,
}

/// How far a view of a state is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct OfState {
    /// Version of what it shows.
    pub version: u32,
    /// One past the last entry of which it may show something.
    pub shows: u64,
    /// The last key that the walk has taken, while it lasts: empty at first.
    pub walk: Option<Vec<u8>>,
}

/// As it is stored.
#[derive(Encode, Decode)]
struct Stored {
    term: u64,
    index: u64,
    end: u64,
    hash: [u8; 16],
    sum: u128,
    of_state: OfState,
}

impl Position {
    /// The change that states it.
    pub(super) fn change(&self, partition: PartitionId) -> StoreChange {
        let Position { id: LogId { term, index }, end, hash, sum, .. } = *self;
        let of_state = self.of_state.clone();
        let key = scoped(partition, &[]);
        let (value, _) = seal(POSITIONS, &key, &encode(&Stored { term, index, end, hash, sum, of_state }));
        StoreChange { tree: POSITIONS, key, value: Some(value) }
    }

    pub(super) fn decode(key: &[u8], stored: Vec<u8>) -> Result<Self, StoreError> {
        let (value, _) = unseal(POSITIONS, key, stored)?;
        let Stored { term, index, end, hash, sum, of_state } = decode(POSITIONS, &value)?;
        Ok(Position { id: LogId { term, index }, end, hash, sum, of_state })
    }
}

/// The change that says which form a store has.
pub(super) fn about(version: u32) -> StoreChange {
    let (value, _) = seal(ABOUT, &[], &encode(&(MACHINERY, version)));
    StoreChange { tree: ABOUT, key: Vec::new(), value: Some(value) }
}

/// Whether a store has the form that this build writes.
pub(super) fn has_version(store: &dyn ViewStore, version: u32) -> Result<bool, StoreError> {
    let Some(stored) = store.get(ABOUT, &[])? else { return Ok(false) };
    Ok(decode::<(u32, u32)>(ABOUT, &unseal(ABOUT, &[], stored)?.0)? == (MACHINERY, version))
}
