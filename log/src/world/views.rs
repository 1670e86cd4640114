//! Stores of views: ordered keys and values that can always be made again.
use std::{fmt, ops::Bound, path::Path};

/// Why a store did not do what it was asked. The answer is always the same: give it up, and build the view anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It says that it cannot.
    #[error("{0}")]
    Failed(String),
    /// It panicked. The panic went no further.
    #[error("panicked: {0}")]
    Panicked(String),
    /// What it gave is not what it was given.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// The name of a tree of a store: up to 32 of a-z and `_`.
pub type Tree = &'static str;

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// From which end of a range to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the least key on.
    Ascending,
    /// From the greatest key on.
    Descending,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreChange {
    /// Where.
    pub tree: Tree,
    /// Of which key.
    pub key: Vec<u8>,
    /// The value from now on; `None`: there is none.
    pub value: Option<Vec<u8>>,
}

/// Makes, finds and removes stores. Each is a directory of its own.
///
/// **Contract.** Nothing that is kept here is evidence of anything. After a kill or a power cut a store may be missing, not
/// open, be as it was long ago, lack any batch, hold damaged keys and values, or come from elsewhere. Whoever opens one
/// verifies it. What does hold, without a crash: batches are atomic and seen at once, keys are in order, what was closed
/// opens as it was. Nothing panics: implementations contain what they use. Every call may block; callers are on a thread
/// of their own.
pub trait Views: Clone + fmt::Debug + Send + Sync + 'static {
    /// An open store.
    type Store: ViewStore;

    /// The names in a directory, sorted; none where the directory is missing.
    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError>;
    /// Makes an empty store, and the directories above it. Fails where there is something already. `cache_bytes` of memory
    /// may be spent on what was read.
    fn create(&self, path: &Path, cache_bytes: u64) -> Result<Self::Store, StoreError>;
    /// Opens a store. Fails where there is none, and where it is open already.
    fn open(&self, path: &Path, cache_bytes: u64) -> Result<Self::Store, StoreError>;
    /// Gives a store that is not open another name, which nothing has.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError>;
    /// Removes a store with all it holds, be it a store or what is left of one. What is not there is removed.
    fn remove(&self, path: &Path) -> Result<(), StoreError>;
}

/// An open store. Dropping it gives it up: what was not flushed may be lost.
pub trait ViewStore: fmt::Debug + Send + 'static {
    /// The value of a key.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// At most `limit` of the pairs in a range, from the end that `direction` says on.
    fn range(
        &self,
        tree: Tree,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;
    /// Applies all changes or none; of two to one key the later one holds.
    fn apply(&mut self, batch: Vec<StoreChange>) -> Result<(), StoreError>;
    /// Hands everything that was applied to the operating system, so that a kill of the process need not lose it.
    fn flush(&mut self) -> Result<(), StoreError>;
    /// Flushes it and lets go of it: it may be renamed, removed or opened again when this returns.
    fn close(self) -> Result<(), StoreError>
    where
        Self: Sized;
}
