//! A node's stores, their past, and what becomes of them.
use super::ViewDamage;
use crate::{
    testing::{rng::Stream, universe::Death},
    world::{StoreChange, StoreError},
};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    path::{Path, PathBuf},
};

/// Batches a death may still take away.
const RECENT: usize = 24;
/// Batches between two pictures of what a store was like.
const PICTURE: u64 = 16;

/// Tree and key.
type Key = (String, Vec<u8>);
pub(in crate::testing) type Content = BTreeMap<Key, Vec<u8>>;

/// A store.
#[derive(Clone, Debug, Default)]
pub(super) struct Vessel {
    /// Without the recent batches.
    settled: Content,
    recent: VecDeque<Vec<StoreChange>>,
    /// With them.
    live: Content,
    /// Of the recent batches, those a kill may take: they are in the process alone.
    unflushed: usize,
    batches: u64,
    picture: Option<Content>,
    is_open: bool,
    opens: bool,
}

fn change(content: &mut Content, batch: &[StoreChange]) {
    for StoreChange { tree, key, value } in batch {
        let key = ((*tree).to_owned(), key.clone());
        match value {
            Some(value) => drop(content.insert(key, value.clone())),
            None => drop(content.remove(&key)),
        }
    }
}

/// Whether no key lies between the bounds.
pub(super) fn is_empty<K: Ord>(from: &Bound<K>, to: &Bound<K>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}

impl Vessel {
    fn new() -> Self {
        Vessel { opens: true, is_open: true, ..Vessel::default() }
    }

    pub(super) fn content(&self) -> &Content {
        &self.live
    }

    pub(super) fn apply(&mut self, batch: Vec<StoreChange>) {
        change(&mut self.live, &batch);
        self.recent.push_back(batch);
        self.unflushed += 1;
        self.batches += 1;
        if self.recent.len() > RECENT {
            let oldest = self.recent.pop_front().expect("there are more than none");
            change(&mut self.settled, &oldest);
            self.unflushed = self.unflushed.min(self.recent.len());
        }
        if self.batches % PICTURE == 1 {
            self.picture = Some(self.live.clone());
        }
    }

    pub(super) fn flush(&mut self) {
        self.unflushed = 0;
    }

    /// Keeps those of the recent batches for which `keep` says so, and forgets that there were others.
    fn keep(&mut self, mut keep: impl FnMut(usize) -> bool) -> bool {
        let before = self.live.clone();
        for (nth, batch) in std::mem::take(&mut self.recent).into_iter().enumerate() {
            if keep(nth) {
                change(&mut self.settled, &batch);
            }
        }
        self.replace(self.settled.clone());
        self.live != before
    }

    fn replace(&mut self, content: Content) -> bool {
        let differs = self.live != content;
        self.recent.clear();
        self.unflushed = 0;
        self.settled = content.clone();
        self.live = content;
        differs
    }

    fn damage(&mut self, damage: ViewDamage, rng: &mut Stream, other: Option<&Content>) -> bool {
        let recent = self.recent.len();
        match damage {
            ViewDamage::LoseLast if recent > 0 => {
                let kept = rng.below(recent as u64) as usize;
                self.keep(|nth| nth < kept)
            }
            ViewDamage::LoseSome if recent > 1 => {
                let lost = rng.below(recent as u64 - 1) as usize;
                self.keep(|nth| nth != lost && (nth + 1 == recent || rng.below(4) > 0))
            }
            ViewDamage::FlipBit if !self.live.is_empty() => {
                let mut content = self.live.clone();
                flip(&mut content, rng);
                self.replace(content)
            }
            ViewDamage::Unopenable => std::mem::replace(&mut self.opens, false),
            ViewDamage::Older => self.picture.clone().is_some_and(|picture| self.replace(picture)),
            ViewDamage::OfAnother => other.cloned().is_some_and(|other| self.replace(other)),
            _ => false,
        }
    }
}

/// Flips a bit of a key or a value.
fn flip(content: &mut Content, rng: &mut Stream) {
    let nth = rng.below(content.len() as u64) as usize;
    let (key, mut value) =
        content.iter().nth(nth).map(|(key, value)| (key.clone(), value.clone())).expect("below its length");
    content.remove(&key);
    let (tree, mut key) = key;
    let hit = if value.is_empty() || (!key.is_empty() && rng.coin()) { &mut key } else { &mut value };
    if !hit.is_empty() {
        let at = rng.below(hit.len() as u64) as usize;
        hit[at] ^= 1 << rng.below(8);
    }
    content.insert((tree, key), value);
}

/// All stores of a node.
#[derive(Debug)]
pub(in crate::testing) struct Shelf {
    stores: BTreeMap<PathBuf, Vessel>,
    rng: Stream,
    spared: bool,
    one_in: Option<u64>,
    damages: BTreeMap<ViewDamage, u64>,
}

impl Shelf {
    pub(in crate::testing) fn new(rng: Stream) -> Self {
        Shelf { stores: BTreeMap::new(), rng, spared: false, one_in: None, damages: BTreeMap::new() }
    }

    pub(super) fn set_spared(&mut self, spared: bool) {
        self.spared = spared;
    }

    pub(super) fn set_trouble(&mut self, one_in: Option<u64>) {
        self.one_in = one_in;
    }

    pub(super) fn damages(&self) -> Vec<(ViewDamage, u64)> {
        self.damages.iter().map(|(damage, times)| (*damage, *times)).collect()
    }

    /// Fails where this is one of the operations that do.
    pub(super) fn trouble(&mut self) -> Result<(), StoreError> {
        match self.one_in {
            Some(one_in) if self.rng.below(one_in) == 0 => Err(match self.rng.coin() {
                true => StoreError::Panicked("for a test".into()),
                false => StoreError::Failed("for a test".into()),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn names(&self, dir: &Path) -> Vec<String> {
        let inside = self.stores.keys().filter(|path| path.parent() == Some(dir));
        inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    pub(super) fn all_names(&self) -> Vec<String> {
        let names = self.stores.keys().filter_map(|path| path.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    pub(super) fn pairs(&self) -> u64 {
        self.stores.values().map(|vessel| vessel.live.len() as u64).sum()
    }

    pub(super) fn create(&mut self, path: &Path) -> Result<(), StoreError> {
        if self.stores.contains_key(path) {
            return Err(StoreError::Failed(format!("{} is there already", path.display())));
        }
        self.stores.insert(path.to_owned(), Vessel::new());
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<(), StoreError> {
        let vessel = self.stores.get_mut(path);
        let vessel = vessel.ok_or_else(|| StoreError::Failed(format!("{} is not there", path.display())))?;
        if !vessel.opens || vessel.is_open {
            return Err(StoreError::Failed(format!("{} does not open", path.display())));
        }
        vessel.is_open = true;
        Ok(())
    }

    pub(super) fn vessel(&mut self, path: &Path) -> Result<&mut Vessel, StoreError> {
        let vessel = self.stores.get_mut(path).filter(|vessel| vessel.is_open);
        vessel.ok_or_else(|| StoreError::Failed(format!("{} was taken away", path.display())))
    }

    pub(super) fn release(&mut self, path: &Path) {
        if let Some(vessel) = self.stores.get_mut(path) {
            vessel.is_open = false;
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), StoreError> {
        if self.stores.contains_key(to) {
            return Err(StoreError::Failed(format!("{} is there already", to.display())));
        }
        let closed = self.stores.get(from).is_some_and(|vessel| !vessel.is_open);
        let vessel = if closed { self.stores.remove(from) } else { None };
        let vessel = vessel.ok_or_else(|| StoreError::Failed(format!("{} cannot be renamed", from.display())))?;
        self.stores.insert(to.to_owned(), vessel);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.stores.remove(path);
    }

    /// What another node may get instead of its own.
    pub(in crate::testing) fn pictures(&self) -> BTreeMap<String, Content> {
        let name = |path: &Path| path.file_name().map(|name| family(&name.to_string_lossy()).to_owned());
        self.stores.iter().filter_map(|(path, vessel)| Some((name(path)?, vessel.live.clone()))).collect()
    }

    /// Does something to every store, and says to how many it made a difference. `others` are those of the node that came
    /// furthest, by the names they have without their generation.
    pub(in crate::testing) fn damage(&mut self, damage: ViewDamage, others: &BTreeMap<String, Content>) -> u64 {
        let mut hit = 0;
        if damage == ViewDamage::Removed {
            hit = self.stores.len() as u64;
            self.stores.clear();
        }
        for (path, vessel) in &mut self.stores {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            hit += u64::from(vessel.damage(damage, &mut self.rng, others.get(family(&name))));
        }
        *self.damages.entry(damage).or_default() += hit;
        hit
    }

    /// The node is gone.
    pub(in crate::testing) fn die(&mut self, death: Death, others: &BTreeMap<String, Content>) {
        self.stores.values_mut().for_each(|vessel| vessel.is_open = false);
        if self.spared {
            return;
        }
        if let Some(damage) = self.draw(death) {
            self.damage(damage, others);
        }
        // What the process had not handed over is gone with it.
        for vessel in self.stores.values_mut() {
            let kept = vessel.recent.len() - vessel.unflushed;
            vessel.keep(|nth| nth < kept);
        }
    }

    fn draw(&mut self, death: Death) -> Option<ViewDamage> {
        let (damages, of): (&[ViewDamage], u64) = match death {
            Death::Process => {
                (&[ViewDamage::LoseLast, ViewDamage::LoseSome, ViewDamage::FlipBit, ViewDamage::Unopenable], 12)
            }
            Death::Power => (&ViewDamage::ALL, 9),
        };
        damages.get(self.rng.below(of) as usize).copied()
    }
}

/// The name of a store without its generation.
fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
