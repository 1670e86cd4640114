//! From a partition's log to the changes of a view.
use super::{
    Shown, View, ViewInput,
    change::{Change, Collected, Pending},
    position::{OfState, Position},
    states,
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
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Pieces of a state that are taken at once.
const PIECES: usize = 4;

/// A partition, as views look at it.
pub(crate) struct Source<W: World> {
    pub id: PartitionId,
    /// `topic/partition`.
    pub name: String,
    pub topic: String,
    pub key_index: bool,
    pub evolved: Arc<Evolved>,
    pub log: PartitionLog<W>,
    /// The state that a machine folds from it.
    pub state: Option<Arc<dyn Shown>>,
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
            state: self.state.clone(),
        }
    }
}

/// How far a partition has been taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub last: Option<LogId>,
    pub end: Offset,
    pub hash: LogHash,
    pub sum: u128,
    pub of_state: OfState,
}

impl From<Position> for Progress {
    fn from(Position { id, end, hash, sum, of_state }: Position) -> Self {
        Progress { last: Some(id), end, hash, sum, of_state }
    }
}

impl Progress {
    /// As it is kept; `None` while nothing was taken.
    pub(super) fn position(&self) -> Option<Position> {
        let Progress { last, end, hash, sum, .. } = *self;
        last.map(|id| Position { id, end, hash, sum, of_state: self.of_state.clone() })
    }

    /// Below which offset it has everything; `None`: it is still walking.
    pub(super) fn built(&self) -> Option<Offset> {
        self.of_state.walk.is_none().then_some(self.end)
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
        Ok(Progress { last: Some(purged), end: begins.offset, hash, ..Progress::default() })
    }

    /// Where a view of its state begins: at the last entry that has evolved, with a walk over the state. `None`: not yet, as this
    /// node's disk does not have that entry.
    pub(super) fn start_of_state(&self, version: u32) -> io::Result<Option<Progress>> {
        let (last, end) = self.evolved.standing();
        let Some(last) = last else {
            // There is no state yet: the log has all of it.
            let of_state = OfState { version, ..OfState::default() };
            return Ok(self.log.purged().is_none().then(|| Progress { of_state, ..Progress::default() }));
        };
        if self.ready() <= last.index {
            return Ok(None);
        }
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no log hash is known after entry {last}"));
        let hash = self.log.log_hash_at(last.index)?.ok_or_else(unknown)?;
        let of_state = OfState { version, shows: 0, walk: Some(Vec::new()) };
        Ok(Some(Progress { last: Some(last), end, hash, sum: 0, of_state }))
    }

    /// The state, for a view of it.
    pub(super) fn state_of(&self, view: &dyn View) -> Option<&dyn Shown> {
        self.state.as_deref().filter(|_| view.is_of_states())
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
        if let Some(state) = self.state_of(view)
            && !self.walk(view, state, store, pending, progress)?
        {
            // More than is done at once.
            return Ok(max_bytes);
        }
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
            progress.end += added;
            progress.sum = progress.sum.wrapping_add(sum);
            (progress.last, progress.hash) = (Some(entry.id), hash);
            self.note_shown(view, progress);
        }
        Ok(bytes)
    }

    /// Takes a few pieces of what is left of the state; whether nothing is left.
    fn walk(
        &self,
        view: &dyn View,
        state: &dyn Shown,
        store: &dyn ViewStore,
        pending: &mut Pending,
        progress: &mut Progress,
    ) -> Result<bool, Trouble> {
        for _ in 0..PIECES {
            let Some(after) = progress.of_state.walk.clone() else { return Ok(true) };
            let walk = |change: &mut Change<'_>| states::walk(state, &after, change);
            let (behind, collected, sum) = self.changed(view, store, pending, format_args!("on its walk"), walk)?;
            collected.join(pending);
            progress.sum = progress.sum.wrapping_add(sum);
            progress.of_state.walk = behind;
            self.note_shown(view, progress);
        }
        Ok(progress.of_state.walk.is_none())
    }

    /// What it has taken of a state is at most as new as the state is now.
    fn note_shown(&self, view: &dyn View, progress: &mut Progress) {
        if view.is_of_states() {
            progress.of_state.shows = self.evolved.standing().0.map_or(0, |last| last.index + 1);
        }
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
            state: self.state.as_deref(),
        };
        let at = format_args!("at entry {}", entry.id);
        let ((), collected, sum) = self.changed(view, store, pending, at, |change| view.take(&input, change))?;
        collected.join(pending);
        Ok((added, sum))
    }

    /// Has the view change something, and contains its panics.
    fn changed<T>(
        &self,
        view: &dyn View,
        store: &dyn ViewStore,
        before: &Pending,
        at: fmt::Arguments<'_>,
        take: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Collected, u128), Trouble> {
        let mut change = Change::new(store, before, self.id, view.trees());
        let taken = catch_unwind(AssertUnwindSafe(|| take(&mut change)));
        let panicked = |payload: Box<dyn Any + Send>| format!("it panicked {at}: {}", words(payload.as_ref()));
        let value = taken.map_err(|payload| Trouble::View(panicked(payload)))??;
        let (collected, sum) = change.finish();
        Ok((value, collected, sum))
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
