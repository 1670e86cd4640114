//! Following: what is new of each partition is taken, a little at a time.
use super::{InstantOf, Keeper, Next, Phase, SOON, Served, Stage, TICK, now};
use crate::{
    topic::PartitionId,
    view::{
        RebuildReason, Shown, View, ViewReader,
        change::{Change, Pending},
        feed::{Progress, Source, Trouble},
        judge::{Judgement, facts, judge},
        position::{POSITIONS, Position, scoped},
    },
    wal::Space,
    world::{Direction, StoreChange, StoreError, ViewStore as _, World},
};
use openraft_rt::Instant as _;
use std::{io, ops::Bound, time::Duration};

/// Bytes of entries taken in one step, and of changes applied at once.
const STEP_BYTES: u64 = 256 << 10;
/// Keys removed in one step.
const STEP_KEYS: usize = 1024;
/// How often what was applied is handed to the operating system: what a kill may lose is taken again.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a view may have what has not evolved here yet. After a restart that takes a leader, who says what is committed.
const EARLY: Duration = Duration::from_secs(30);
/// How long a part of the log that cannot be read is left alone.
const UNREADABLE: Duration = Duration::from_secs(5);
/// How long a store must have worked to be trusted like a new one.
const TRUSTED: Duration = Duration::from_secs(60);

impl<W: World> Keeper<W> {
    pub(super) fn forget_stages(&mut self) {
        self.served.values_mut().for_each(|served| served.stage = Stage::Unknown);
        self.board.write().slots.values_mut().for_each(|slot| slot.built = 0);
    }

    pub(super) fn follow(&mut self) -> Next {
        if let Some(gone) = self.doomed.first().copied() {
            if let Err(error) = self.forget(gone) {
                self.condemn_for(&error);
            }
            return Next::More;
        }
        if let Err((reason, why)) = self.admit() {
            self.condemn(reason, &why);
            return Next::More;
        }
        let idle = if self.reads.is_empty() { TICK } else { SOON };
        let paused = self.wal.disk_space().space != Space::Plenty;
        self.board.write().paused = paused;
        if paused {
            return Next::Idle(TICK);
        }
        match self.take_some() {
            Err(error) => {
                self.condemn_for(&error);
                Next::More
            }
            Ok(true) => Next::More,
            Ok(false) if matches!(self.phase, Phase::Building { .. }) && self.has_everything() => {
                self.finish();
                Next::More
            }
            Ok(false) => {
                self.rest();
                Next::Idle(idle)
            }
        }
    }

    /// Looks at the partitions that were not looked at yet.
    pub(super) fn admit(&mut self) -> Result<(), (RebuildReason, String)> {
        let due = |stage: &Stage<W>| match stage {
            Stage::Unknown | Stage::Early { .. } => true,
            Stage::Stuck { until, .. } => until.is_some_and(|until| until <= now::<W>()),
            Stage::At(_) => false,
        };
        for (id, served) in self.served.iter_mut().filter(|(_, served)| due(&served.stage)) {
            let since = match served.stage {
                Stage::Early { since } => since,
                _ => now::<W>(),
            };
            let (stage, trouble) = match look(&*self.view, &served.source, self.held.get(id)) {
                // It is looked at again at the next turn.
                Ok(None) => continue,
                Ok(Some((Judgement::Fits, progress))) => (Stage::At(progress), None),
                Ok(Some((Judgement::Early, _))) if since.elapsed() < EARLY => {
                    (Stage::Early { since }, Some("the view has more than has evolved here".to_owned()))
                }
                Ok(Some((Judgement::Early, _))) => {
                    let why = format!("{} has not evolved as far for {EARLY:?}", served.source.name);
                    return Err((RebuildReason::AheadOfEvolved, why));
                }
                Ok(Some((Judgement::Rebuild(reason, why), _))) => return Err((reason, why)),
                Err(error) => {
                    let until = Some(now::<W>() + UNREADABLE);
                    (Stage::Stuck { until, built: None }, Some(error.to_string()))
                }
            };
            if let Some(slot) = self.board.write().slots.get_mut(id) {
                slot.trouble = trouble;
                slot.stuck = matches!(stage, Stage::Stuck { .. });
                if let Stage::At(progress) = &stage {
                    slot.built = progress.built().unwrap_or(0);
                }
            }
            served.stage = stage;
        }
        Ok(())
    }

    /// Takes what is new of one partition after the other, until that is enough for one batch; says whether it was enough, so
    /// that there may be more.
    pub(super) fn take_some(&mut self) -> Result<bool, StoreError> {
        let mut pending = Pending::default();
        let mut moved: Vec<(PartitionId, Progress)> = Vec::new();
        let mut stuck = Vec::new();
        let mut bytes = 0;
        let mut enough = false;
        {
            let Some(store) = self.store() else { return Ok(false) };
            let behind = self.served.range((Bound::Excluded(self.turn), Bound::Unbounded));
            let upto = self.served.range((Bound::Unbounded, Bound::Included(self.turn)));
            for (id, Served { source, stage }) in behind.chain(upto) {
                let Stage::At(from) = stage else { continue };
                if source.ready() <= from.next() && from.built().is_some() {
                    continue;
                }
                let mut progress = from.clone();
                let left = STEP_BYTES.saturating_sub(bytes).max(1);
                match source.feed(&*self.view, store, &mut pending, &mut progress, left) {
                    Ok(taken) => bytes += taken,
                    Err(Trouble::Store(error)) => return Err(error),
                    Err(Trouble::Log(error)) => stuck.push((*id, error.to_string(), Some(now::<W>() + UNREADABLE))),
                    Err(Trouble::View(why)) => stuck.push((*id, why, None)),
                }
                moved.push((*id, progress));
                enough = bytes >= STEP_BYTES || pending.bytes() as u64 >= STEP_BYTES;
                if enough {
                    break;
                }
            }
        }
        let Some((last, _)) = moved.last() else { return Ok(false) };
        self.turn = *last;
        self.apply(pending, &moved)?;
        for (id, why, until) in stuck {
            tracing::error!(view = self.view.name(), partition = %id, why, "the view does not go on");
            self.stick(id, why, until);
        }
        Ok(enough)
    }

    pub(super) fn stick(&mut self, id: PartitionId, why: String, until: Option<InstantOf<W>>) {
        if let Some(served) = self.served.get_mut(&id) {
            let built = if let Stage::At(progress) = &served.stage { progress.built() } else { None };
            served.stage = Stage::Stuck { until, built };
        }
        if let Some(slot) = self.board.write().slots.get_mut(&id) {
            (slot.trouble, slot.stuck) = (Some(why), true);
        }
    }

    /// Applies changes, and with them how far they reach (R42).
    pub(super) fn apply(&mut self, pending: Pending, moved: &[(PartitionId, Progress)]) -> Result<(), StoreError> {
        let positions: Vec<_> = moved.iter().filter_map(|(id, progress)| Some((*id, progress.position()?))).collect();
        let mut changes = pending.into_changes();
        changes.extend(positions.iter().map(|(id, position)| position.change(*id)));
        match &mut self.phase {
            Phase::Building { store } | Phase::Following { store, .. } => store.apply(changes)?,
            _ => return Ok(()),
        }
        self.dirty.get_or_insert_with(now::<W>);
        self.held.extend(positions);
        let mut board = self.board.write();
        for (id, progress) in moved {
            if let Some(served) = self.served.get_mut(id) {
                served.stage = Stage::At(progress.clone());
            }
            if let Some(slot) = board.slots.get_mut(id) {
                slot.built = progress.built().unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Whether nothing is left to take of any partition from which something can be taken.
    pub(super) fn has_everything(&self) -> bool {
        let whole = |served: &Served<W>| match &served.stage {
            Stage::At(progress) => progress.built().is_some() && served.source.ready() <= progress.next(),
            Stage::Stuck { .. } => true,
            Stage::Unknown | Stage::Early { .. } => false,
        };
        self.served.values().all(whole)
    }

    /// Removes a piece of what there is of a partition, and at last that there was one.
    pub(super) fn forget(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let (Some(position), Some(store)) = (self.held.get(&partition).cloned(), self.store()) else {
            self.doomed.remove(&partition);
            return Ok(());
        };
        let before = Pending::default();
        let mut change = Change::new(store, &before, partition, self.view.trees());
        let reader = ViewReader::new(store, partition);
        let everything = (Bound::Unbounded, Bound::Unbounded);
        for tree in self.view.trees() {
            for (key, _) in reader.range(tree, everything, Direction::Ascending, STEP_KEYS)? {
                change.delete(tree, &key)?;
            }
        }
        let (collected, sum) = change.finish();
        let mut pending = Pending::default();
        collected.join(&mut pending);
        if !pending.is_empty() {
            let progress = Progress { sum: position.sum.wrapping_add(sum), ..position.into() };
            return self.apply(pending, &[(partition, progress)]);
        }
        let gone = StoreChange { tree: POSITIONS, key: scoped(partition, &[]), value: None };
        if let Phase::Building { store } | Phase::Following { store, .. } = &mut self.phase {
            store.apply(vec![gone])?;
        }
        self.held.remove(&partition);
        self.doomed.remove(&partition);
        tracing::debug!(view = self.view.name(), %partition, "forgot a deleted partition");
        Ok(())
    }

    /// What there is time for when there is nothing else to do.
    pub(super) fn rest(&mut self) {
        if let Phase::Following { since, .. } = &self.phase
            && since.elapsed() >= TRUSTED
        {
            self.failures = 0;
        }
        if self.dirty.is_none_or(|since| since.elapsed() < FLUSH) {
            return;
        }
        self.dirty = None;
        let flushed = match &mut self.phase {
            Phase::Building { store } | Phase::Following { store, .. } => store.flush(),
            _ => Ok(()),
        };
        if let Err(error) = flushed {
            self.condemn_for(&error);
        }
    }
}

/// Where a view of a partition goes on, and whether it may; `None`: that is not known yet.
fn look<W: World>(
    view: &dyn View,
    source: &Source<W>,
    position: Option<&Position>,
) -> io::Result<Option<(Judgement, Progress)>> {
    let version = source.state_of(view).map(Shown::version);
    let Some(position) = position else {
        let start = match version {
            Some(version) => source.start_of_state(version)?,
            None => Some(source.start()?),
        };
        return Ok(start.map(|start| (Judgement::Fits, start)));
    };
    let judgement = match version {
        Some(version) if version != position.of_state.version => {
            let why = format!("another build wrote what it shows of {}", source.name);
            Judgement::Rebuild(RebuildReason::Version, why)
        }
        _ => judge(source.id, position, &facts(&source.log, position, source.evolved.next_index())?),
    };
    Ok(Some((judgement, position.clone().into())))
}
