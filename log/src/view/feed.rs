//! From a partition's log to the changes of a view.
use super::{
    View, ViewInput,
    change::{Change, Pending},
    position::Position,
};
use crate::{
    batch::Batch,
    partition::Evolved,
    topic::{LogId, Offset, PartitionId},
    wal::{EntryKind, LogHash, PartitionLog, WalEntry, log_hash},
    world::{StoreError, ViewStore, World},
};
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A partition, as views look at it.
pub(crate) struct Source<W: World> {
    pub id: PartitionId,
    /// `topic/partition`.
    pub name: String,
    pub topic: String,
    pub key_index: bool,
    pub evolved: Arc<Evolved>,
    pub log: PartitionLog<W>,
}

impl<W: World> Clone for Source<W> {
    fn clone(&self) -> Self {
        Source {
            id: self.id,
            name: self.name.clone(),
            topic: self.topic.clone(),
            key_index: self.key_index,
            evolved: self.evolved.clone(),
            log: self.log.clone(),
        }
    }
}

/// How far a partition has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub last: Option<LogId>,
    pub end: Offset,
    pub hash: LogHash,
    pub sum: u128,
}

impl From<Position> for Progress {
    fn from(Position { id, end, hash, sum }: Position) -> Self {
        Progress { last: Some(id), end, hash, sum }
    }
}

impl Progress {
    /// As it is kept; `None` while nothing was taken.
    pub(super) fn position(&self) -> Option<Position> {
        let Progress { last, end, hash, sum } = *self;
        last.map(|id| Position { id, end, hash, sum })
    }

    /// Index of the entry that comes next.
    pub(super) fn next(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }
}

/// Why a partition is taken no further.
pub(super) enum Trouble {
    /// The view's store: the view is over.
    Store(StoreError),
    /// The log cannot be read there.
    Log(io::Error),
    /// The view's own code panicked.
    View(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Log(error)
    }
}

impl<W: World> Source<W> {
    /// Where a view of it begins.
    pub(super) fn start(&self) -> io::Result<Progress> {
        let Some(purged) = self.log.purged() else { return Ok(Progress::default()) };
        let unknown = |what: String| io::Error::new(io::ErrorKind::NotFound, what);
        let begins = self.evolved.installed().filter(|mark| mark.index == purged.index + 1);
        let begins =
            begins.ok_or_else(|| unknown(format!("the log begins behind entry {purged}, at an unknown offset")))?;
        let hash = self.log.log_hash_at(purged.index)?;
        let hash = hash.ok_or_else(|| unknown(format!("no log hash is known after entry {purged}")))?;
        Ok(Progress { last: Some(purged), end: begins.offset, hash, sum: 0 })
    }

    /// One past the last entry that may be taken: it has evolved, and is on this node's disk. A view that is ahead of the
    /// disk would not fit the log that a power cut leaves.
    pub(super) fn ready(&self) -> u64 {
        let durable = self.log.last_durable().map_or(0, |id| id.index + 1);
        self.evolved.next_index().min(durable)
    }

    /// Takes entries, about `max_bytes` of them, and says how many bytes they had. `progress` is behind the last one whose
    /// changes are in `pending`, also after an error.
    pub(super) fn feed(
        &self,
        view: &dyn View,
        store: &dyn ViewStore,
        pending: &mut Pending,
        progress: &mut Progress,
        max_bytes: u64,
    ) -> Result<u64, Trouble> {
        let next = progress.next();
        let entries = self.log.entries(next..self.ready(), max_bytes)?;
        let voids = self.evolved.voids(next..next + entries.len() as u64);
        let mut bytes = 0;
        for (index, entry) in (next..).zip(entries) {
            if entry.id.index != index {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("entry {index} is not kept here")).into());
            }
            bytes += entry.payload.len() as u64;
            let taken = self.take(view, store, pending, progress, &entry, voids.binary_search(&index).is_ok());
            let (added, sum) = taken?;
            let hash = log_hash(&progress.hash, index, entry.id.term, entry.crc);
            let (end, sum) = (progress.end + added, progress.sum.wrapping_add(sum));
            *progress = Progress { last: Some(entry.id), end, hash, sum };
        }
        Ok(bytes)
    }

    /// Takes one entry; says how many records it adds, and how the sum changes.
    fn take(
        &self,
        view: &dyn View,
        store: &dyn ViewStore,
        pending: &mut Pending,
        progress: &Progress,
        entry: &WalEntry,
        is_void: bool,
    ) -> Result<(u64, u128), Trouble> {
        if entry.kind != EntryKind::Batch {
            return Ok((0, 0));
        }
        let batch = Batch::from_verified(entry.payload.clone(), entry.crc);
        let batch = batch
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("entry {}: {error}", entry.id)))?;
        let added = if is_void { 0 } else { batch.added(progress.end) };
        let input = ViewInput {
            partition: self.id,
            topic: &self.topic,
            key_index: self.key_index,
            index: entry.id.index,
            base: progress.end,
            added,
            batch: &batch,
        };
        let mut change = Change::new(store, pending, self.id, view.trees());
        let taken = catch_unwind(AssertUnwindSafe(|| view.take(&input, &mut change)));
        taken.map_err(|payload| {
            Trouble::View(format!("it panicked at entry {}: {}", entry.id, words(payload.as_ref())))
        })??;
        let (collected, sum) = change.finish();
        collected.join(pending);
        Ok((added, sum))
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
