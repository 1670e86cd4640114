//! Stores on sled 0.34.
//!
//! sled writes by itself, on threads of its own, with less than POSIX asks for to be durable; after a power cut it may not
//! open, may panic, and may have lost what it had flushed. None of that matters here, as nothing counts on it, but for one
//! thing: it must not take the process with it. So every call is made where a panic ends, and a store that failed is let go
//! of on a thread that nobody waits for, since its destructor flushes, too.
//!
//! All trees are one of sled's, whose batches are atomic without a transaction: a key is the name of the tree, a zero byte,
//! and the key.
use crate::world::{Direction, Pair, StoreChange, StoreError, Tree, ViewStore, Views};
use std::{
    any::Any,
    fs, io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// What keeps the parts of a key apart; no tree has it in its name.
const END_OF_TREE: u8 = 0;
/// How long a store that was let go of may still be held by sled's own threads.
const RELEASE: Duration = Duration::from_secs(5);

/// The stores of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealViews;

/// An open store. `None` once it was closed.
#[derive(Debug)]
pub struct RealStore(Option<sled::Db>);

/// Calls sled, and goes on whatever it does.
fn contained<T>(what: &str, call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError::Failed(format!("{what}: {error}"))),
        Err(payload) => Err(StoreError::Panicked(format!("{what}: {}", words(payload.as_ref())))),
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!("{what} {}: {error}", path.display()))
}

fn configured(path: &Path, cache_bytes: u64) -> sled::Config {
    // The caller says when to flush: one flusher less that writes while the log syncs.
    sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None)
}

/// Opens what the configuration says, once sled has let go of it where it had it open a moment ago.
fn open(config: &sled::Config) -> Result<RealStore, StoreError> {
    let deadline = Instant::now() + RELEASE;
    loop {
        match contained("open", || config.open()) {
            Ok(db) => return Ok(RealStore(Some(db))),
            Err(StoreError::Failed(why)) if why.contains("could not acquire lock") && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
}

fn full_key(tree: Tree, key: &[u8]) -> Vec<u8> {
    [tree.as_bytes(), &[END_OF_TREE], key].concat()
}

/// Syncs a directory as far as it lets itself be synced: a name that does not last costs a rebuild.
fn sync_dir(dir: Option<&Path>) {
    if let Some(Ok(dir)) = dir.map(fs::File::open) {
        let _ = dir.sync_all();
    }
}

impl Views for RealViews {
    type Store = RealStore;

    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let read = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        match read() {
            Ok(mut names) => {
                names.sort_unstable();
                Ok(names)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed("list", dir, &error)),
        }
    }

    fn create(&self, path: &Path, cache_bytes: u64) -> Result<RealStore, StoreError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|error| failed("make", parent, &error))?;
        fs::create_dir(path).map_err(|error| failed("make", path, &error))?;
        sync_dir(Some(parent));
        open(&configured(path, cache_bytes).create_new(true))
    }

    fn open(&self, path: &Path, cache_bytes: u64) -> Result<RealStore, StoreError> {
        // sled would make what is missing.
        let file = path.join("db");
        fs::metadata(&file).map_err(|error| failed("open", &file, &error))?;
        open(&configured(path, cache_bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        if to.exists() {
            return Err(StoreError::Failed(format!("rename: {} is there already", to.display())));
        }
        fs::rename(from, to).map_err(|error| failed("rename", from, &error))?;
        sync_dir(to.parent());
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
            _ => Ok(()),
        }
    }
}

impl RealStore {
    fn db(&self) -> &sled::Db {
        self.0.as_ref().expect("only closing takes it, and consumes the store")
    }
}

impl ViewStore for RealStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = full_key(tree, key);
        Ok(contained("get", || self.db().get(&key))?.map(|value| value.to_vec()))
    }

    fn range(
        &self,
        tree: Tree,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let full = |bound: Bound<&[u8]>| bound.map(|key| full_key(tree, key));
        let from = match full(from) {
            Bound::Unbounded => Bound::Included(full_key(tree, &[])),
            bound => bound,
        };
        let to = match full(to) {
            Bound::Unbounded => Bound::Excluded([tree.as_bytes(), &[END_OF_TREE + 1]].concat()),
            bound => bound,
        };
        if is_empty(&from, &to) {
            return Ok(Vec::new());
        }
        let skipped = tree.len() + 1;
        contained("range", || {
            let pairs = self.db().range::<Vec<u8>, _>((from, to));
            let pair = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
                pair.map(|(key, value)| (key[skipped..].to_vec(), value.to_vec()))
            };
            match direction {
                Direction::Ascending => pairs.take(limit).map(pair).collect(),
                Direction::Descending => pairs.rev().take(limit).map(pair).collect(),
            }
        })
    }

    fn apply(&mut self, batch: Vec<StoreChange>) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for StoreChange { tree, key, value } in batch {
            match value {
                Some(value) => writes.insert(full_key(tree, &key), value),
                None => writes.remove(full_key(tree, &key)),
            }
        }
        contained("apply", || self.db().apply_batch(writes))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        contained("flush", || self.db().flush()).map(drop)
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.flush()?;
        let db = self.0.take();
        contained("close", || {
            drop(db);
            Ok(())
        })
    }
}

/// Whether no key lies between the bounds; sled does not take such a range.
fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

impl Drop for RealStore {
    fn drop(&mut self) {
        let Some(db) = self.0.take() else { return };
        // A destructor that hangs hangs alone. Without a thread for it the store stays in memory, which is as good.
        let let_go = move || {
            drop(contained("let go", || {
                drop(db);
                Ok(())
            }))
        };
        let _ = thread::Builder::new().name("view-store".to_owned()).spawn(let_go);
    }
}
