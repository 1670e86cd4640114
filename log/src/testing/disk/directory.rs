//! Names: what lookups see, and what would be left after a power cut.
use super::content::Content;
use crate::testing::{lock, rng::Stream};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    File(Arc<Mutex<Content>>),
    Directory(Arc<Mutex<Directory>>),
}

/// What a name stood for when its directory was last synced, and since. `None`: the name was not there.
#[derive(Debug, Default)]
struct Name {
    durable: Option<Entry>,
    /// Oldest first; the last one is the present.
    since: Vec<Option<Entry>>,
}

impl Name {
    fn present(&self) -> Option<&Entry> {
        self.since.last().unwrap_or(&self.durable).as_ref()
    }

    fn settle(&mut self, on: usize) {
        // 0 is the durable one.
        if let Some(index) = on.checked_sub(1) {
            self.durable = self.since.swap_remove(index);
        }
        self.since.clear();
    }
}

/// A directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    names: BTreeMap<String, Name>,
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.names.get(name)?.present()
    }

    pub(super) fn set(&mut self, name: &str, entry: Option<Entry>) {
        self.names.entry(name.to_owned()).or_default().since.push(entry);
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.names.iter().filter(|(_, name)| name.present().is_some()).map(|(text, _)| text.clone()).collect()
    }

    pub(super) fn create_file(&mut self, name: &str) -> io::Result<Arc<Mutex<Content>>> {
        if self.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Mutex::new(Content::default()));
        self.set(name, Some(Entry::File(content.clone())));
        Ok(content)
    }

    /// A directory with what is durable in this one.
    pub(super) fn durable(&self) -> Self {
        let copy = |entry: &Entry| match entry {
            Entry::File(content) => Entry::File(Arc::new(Mutex::new(lock(content).durable_copy()))),
            Entry::Directory(directory) => Entry::Directory(Arc::new(Mutex::new(lock(directory).durable()))),
        };
        let durable = |(text, name): (&String, &Name)| {
            let name = Name { durable: name.durable.as_ref().map(copy), since: Vec::new() };
            name.durable.is_some().then(|| (text.clone(), name))
        };
        Directory { names: self.names.iter().filter_map(durable).collect() }
    }

    /// Makes the present names durable.
    pub(super) fn sync(&mut self) {
        self.settle(|name| name.since.len());
    }

    /// Makes one name durable as it is.
    pub(super) fn sync_name(&mut self, name: &str) {
        if let Some(name) = self.names.get_mut(name) {
            name.settle(name.since.len());
        }
        self.names.retain(|_, name| name.durable.is_some() || !name.since.is_empty());
    }

    /// The bytes its files take, in whole blocks.
    pub(super) fn used(&self, block: u64) -> u64 {
        let of = |name: &Name| match name.present() {
            Some(Entry::File(content)) => lock(content).len().next_multiple_of(block),
            Some(Entry::Directory(directory)) => lock(directory).used(block),
            None => 0,
        };
        self.names.values().map(of).sum()
    }

    /// Leaves each name at its durable state or at any later one, and goes on with what is left. `whole`: bytes that the device
    /// writes whole or not at all. Says how many sectors were not synced.
    pub(super) fn lose_power(&mut self, rng: &mut Stream, whole: u64) -> u64 {
        self.settle(|name| match name.since.len() as u64 {
            0 => 0,
            changes => rng.below(changes + 1) as usize,
        });
        let mut lose = |name: &Name| match &name.durable {
            Some(Entry::File(content)) => lock(content).lose_power(rng, whole),
            Some(Entry::Directory(directory)) => lock(directory).lose_power(rng, whole),
            None => 0,
        };
        self.names.values().map(&mut lose).sum()
    }

    fn settle(&mut self, mut choose: impl FnMut(&Name) -> usize) {
        self.names.retain(|_, name| {
            let on = choose(name);
            name.settle(on);
            name.durable.is_some()
        });
    }
}
