//! Stores of views that keep nothing of what the seam does not promise.
//!
//! ```text
//!   SimViews, SimStore ── one incarnation's handles; they fail when it is dead
//!        ▼
//!   Shelf ── stores by path, what they were once, and what happens to them when the node dies
//! ```
//!
//! A store is what was applied to it while its node lives. When the node dies something is drawn: nothing happens, the last
//! batches are lost, some of the recent ones are, a bit flips, it does not open any more, it is as it was long ago, or as the
//! same store of another node, which may have come further. A test can order each of these
//! ([`Sim::damage_views`]), and let operations fail or panic while the node runs ([`Sim::trouble_views`]).
//!
//! **Invariant**: what is drawn comes from a stream of its own, so that it shifts nothing else.
use super::{
    Sim, lock,
    universe::{Life, Universe},
};
use crate::{
    topic::NodeId,
    world::{Direction, Pair, StoreChange, StoreError, Tree, ViewStore, Views},
};
use shelf::Vessel;
use std::{
    fmt,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

mod shelf;

pub(super) use shelf::{Content, Shelf};

/// What may happen to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ViewDamage {
    /// It lacks some of the last batches.
    LoseLast,
    /// It lacks some of the recent batches, but has later ones.
    LoseSome,
    /// A bit of a key or a value flipped.
    FlipBit,
    /// It does not open any more.
    Unopenable,
    /// It is as it was some time ago.
    Older,
    /// It is as the same store of another node, the one that came furthest.
    OfAnother,
    /// It is gone.
    Removed,
}

impl ViewDamage {
    /// Everything that may happen.
    pub const ALL: [ViewDamage; 7] = [
        ViewDamage::LoseLast,
        ViewDamage::LoseSome,
        ViewDamage::FlipBit,
        ViewDamage::Unopenable,
        ViewDamage::Older,
        ViewDamage::OfAnother,
        ViewDamage::Removed,
    ];
}

/// A node's stores, as one incarnation of the node has them.
#[derive(Clone)]
pub struct SimViews {
    universe: Arc<Universe>,
    life: Arc<Life>,
    shelf: Arc<Mutex<Shelf>>,
}

impl fmt::Debug for SimViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimViews").field(&self.life).finish()
    }
}

impl SimViews {
    pub(super) fn new(universe: Arc<Universe>, life: Arc<Life>, shelf: Arc<Mutex<Shelf>>) -> Self {
        SimViews { universe, life, shelf }
    }

    /// The shelf, unless the node is dead or this operation is one that fails.
    fn shelf(&self) -> Result<MutexGuard<'_, Shelf>, StoreError> {
        if !self.life.is_alive() {
            return Err(StoreError::Failed(format!("{:?} is dead", self.life)));
        }
        let mut shelf = lock(&self.shelf);
        shelf.trouble()?;
        Ok(shelf)
    }

    fn store(&self, path: &Path) -> SimStore {
        self.universe.trace().detail(format_args!("{} opens the store {}", self.life, path.display()));
        SimStore { views: self.clone(), path: path.to_owned() }
    }
}

impl Views for SimViews {
    type Store = SimStore;

    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        Ok(self.shelf()?.names(dir))
    }

    fn create(&self, path: &Path, _cache_bytes: u64) -> Result<SimStore, StoreError> {
        self.shelf()?.create(path)?;
        Ok(self.store(path))
    }

    fn open(&self, path: &Path, _cache_bytes: u64) -> Result<SimStore, StoreError> {
        self.shelf()?.open(path)?;
        Ok(self.store(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.shelf()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.shelf()?.remove(path);
        Ok(())
    }
}

/// An open store.
pub struct SimStore {
    views: SimViews,
    path: PathBuf,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimStore").field(&self.path).finish()
    }
}

impl SimStore {
    fn with<T>(&self, work: impl FnOnce(&mut Vessel) -> T) -> Result<T, StoreError> {
        let mut shelf = self.views.shelf()?;
        shelf.vessel(&self.path).map(work)
    }
}

impl ViewStore for SimStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|vessel| vessel.content().get(&(tree.to_owned(), key.to_vec())).cloned())
    }

    fn range(
        &self,
        tree: Tree,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let full = |bound: Bound<&[u8]>| bound.map(|key| (tree.to_owned(), key.to_vec()));
        let from = match full(from) {
            Bound::Unbounded => Bound::Included((tree.to_owned(), Vec::new())),
            bound => bound,
        };
        let to = match full(to) {
            Bound::Unbounded => Bound::Excluded((format!("{tree}\0"), Vec::new())),
            bound => bound,
        };
        if shelf::is_empty(&from, &to) {
            return Ok(Vec::new());
        }
        self.with(|vessel| {
            let pairs = vessel.content().range((from, to)).map(|((_, key), value)| (key.clone(), value.clone()));
            match direction {
                Direction::Ascending => pairs.take(limit).collect(),
                Direction::Descending => pairs.rev().take(limit).collect(),
            }
        })
    }

    fn apply(&mut self, batch: Vec<StoreChange>) -> Result<(), StoreError> {
        self.with(|vessel| vessel.apply(batch))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.with(Vessel::flush)
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.flush()
    }
}

impl Drop for SimStore {
    fn drop(&mut self) {
        // That of an earlier life was closed by its death.
        if self.views.life.is_alive() {
            lock(&self.views.shelf).release(&self.path);
        }
    }
}

/// What happens to stores of views.
impl Sim {
    /// Does something to every store of a node, be it running or not. Says to how many it made a difference.
    pub fn damage_views(&self, node: NodeId, damage: ViewDamage) -> u64 {
        self.trace(format_args!("views of node {node}: {damage:?}"));
        self.universe().damage_views(node, damage)
    }

    /// Lets one in so many operations on a node's stores fail or panic from now on; `None`: no more of that.
    pub fn trouble_views(&self, node: NodeId, one_in: Option<u64>) {
        lock(&self.universe().shelf(node)).set_trouble(one_in);
    }

    /// Whether something may happen to a node's stores when it dies; it may unless told otherwise.
    pub fn spare_views(&self, node: NodeId, spare: bool) {
        lock(&self.universe().shelf(node)).set_spared(spare);
    }

    /// The names of a node's stores, sorted.
    pub fn view_names(&self, node: NodeId) -> Vec<String> {
        lock(&self.universe().shelf(node)).all_names()
    }

    /// How many pairs there are in a node's stores.
    pub fn view_pairs(&self, node: NodeId) -> u64 {
        lock(&self.universe().shelf(node)).pairs()
    }

    /// What has happened to the stores of a node, by kind; [`Sim::trouble_views`] is not in it.
    pub fn view_damages(&self, node: NodeId) -> Vec<(ViewDamage, u64)> {
        lock(&self.universe().shelf(node)).damages()
    }
}
