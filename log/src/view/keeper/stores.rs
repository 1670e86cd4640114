//! Stores: which one is taken up, how a new one comes to be, and when one is given up.
use super::{Keeper, Phase, StoreOf, now};
use crate::{
    view::{
        RebuildReason, ViewState,
        position::{about, has_version},
        scan::Scan,
    },
    world::{StoreError, ViewStore as _, Views as _, World},
};
use std::{path::Path, time::Duration};

/// Longest pause before a store that failed again and again is tried once more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl<W: World> Keeper<W> {
    pub(super) fn store(&self) -> Option<&StoreOf<W>> {
        match &self.phase {
            Phase::Building { store } | Phase::Following { store, .. } => Some(store),
            _ => None,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase<W>, state: ViewState) {
        self.phase = phase;
        self.board.write().state = state;
    }

    /// Takes up the newest store there is, and removes what else was left behind.
    pub(super) fn begin(&mut self) {
        let names = match self.views.list(&self.dir) {
            Ok(names) => names,
            Err(error) => return self.give_up(&error.to_string()),
        };
        let prefix = format!("{}.", self.view.name());
        let mut whole = Vec::new();
        for name in names {
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            let generation = rest.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
            self.generation = self.generation.max(generation.unwrap_or(0));
            match rest.parse::<u64>() {
                Ok(generation) => whole.push(generation),
                Err(_) => self.remove(&self.dir.join(&name)),
            }
        }
        let newest = whole.iter().max().copied();
        for older in whole.into_iter().filter(|generation| Some(*generation) != newest) {
            self.remove(&self.dir.join(format!("{prefix}{older}")));
        }
        match newest {
            Some(generation) => {
                self.path = self.dir.join(format!("{prefix}{generation}"));
                self.open();
            }
            None => {
                if !self.is_new {
                    self.count(RebuildReason::Missing, "there is none");
                }
                self.create();
            }
        }
    }

    pub(super) fn open(&mut self) {
        let opened = self.views.open(&self.path, self.cache_bytes);
        let opened = opened.and_then(|store| has_version(&store, self.view.version()).map(|fits| (store, fits)));
        match opened {
            Ok((store, true)) => self.enter(Phase::Verifying { store, scan: Scan::default() }, ViewState::Opening),
            Ok((store, false)) => {
                drop(store);
                self.condemn(RebuildReason::Version, "another build wrote it");
            }
            Err(error) => self.condemn(RebuildReason::Unopenable, &error.to_string()),
        }
    }

    /// Makes an empty store beside the place where it will be looked for.
    pub(super) fn create(&mut self) {
        self.generation += 1;
        self.path = self.dir.join(format!("{}.{}.new", self.view.name(), self.generation));
        self.held.clear();
        let made = self.views.create(&self.path, self.cache_bytes).and_then(|mut store| {
            store.apply(vec![about(self.view.version())])?;
            Ok(store)
        });
        match made {
            Ok(store) => self.enter(Phase::Building { store }, ViewState::Rebuilding),
            Err(error) => {
                let path = self.path.clone();
                self.remove(&path);
                self.give_up(&error.to_string());
            }
        }
    }

    pub(super) fn verify(&mut self) {
        let Phase::Verifying { store, scan } = &mut self.phase else { return };
        match scan.step(store, self.view.trees()) {
            Ok(None) => {}
            Err(error) => self.condemn_for(&error),
            Ok(Some(positions)) => {
                let pairs = scan.pairs;
                let Phase::Verifying { store, .. } = std::mem::replace(&mut self.phase, Phase::New) else { return };
                tracing::debug!(view = self.view.name(), pairs, partitions = positions.len(), "verified");
                self.held = positions;
                self.forget_stages();
                self.doom();
                self.enter(Phase::Following { store, since: now::<W>() }, ViewState::Following);
            }
        }
    }

    /// The new store has everything: it gets its name, under which it is opened and verified like any other.
    pub(super) fn finish(&mut self) {
        let Phase::Building { store } = std::mem::replace(&mut self.phase, Phase::New) else { return };
        self.dirty = None;
        let to = self.dir.join(format!("{}.{}", self.view.name(), self.generation));
        let renamed = store.close().and_then(|()| self.views.rename(&self.path, &to));
        match renamed {
            Ok(()) => {
                self.path = to;
                self.open();
            }
            Err(error) => self.condemn_for(&error),
        }
    }

    pub(super) fn condemn_for(&mut self, error: &StoreError) {
        let reason = match error {
            StoreError::Failed(_) => RebuildReason::Failed,
            StoreError::Panicked(_) => RebuildReason::Panicked,
            StoreError::Damaged(_) => RebuildReason::Damaged,
        };
        self.condemn(reason, &error.to_string());
    }

    /// Gives the store up, and has another one made.
    pub(super) fn condemn(&mut self, reason: RebuildReason, why: &str) {
        self.count(reason, why);
        // It may be written to, by threads nobody waits for, when its place is taken already: no two have one name.
        self.phase = Phase::New;
        self.dirty = None;
        let bad = self.dir.join(format!("{}.{}.bad", self.view.name(), self.generation));
        let moved = self.views.rename(&self.path, &bad).map(|()| bad);
        self.remove(&moved.unwrap_or_else(|_| self.path.clone()));
        self.held.clear();
        self.forget_stages();
        self.give_up(why);
    }

    /// Tries again with a new store, at once the first time.
    pub(super) fn give_up(&mut self, why: &str) {
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => Duration::from_secs(1 << (failures - 1).min(10)).min(LONGEST_PAUSE),
        };
        self.failures += 1;
        self.board.write().last = Some(why.to_owned());
        let state = if pause.is_zero() { ViewState::Rebuilding } else { ViewState::Failing };
        self.enter(Phase::Waiting { until: now::<W>() + pause }, state);
    }

    pub(super) fn count(&mut self, reason: RebuildReason, why: &str) {
        tracing::warn!(view = self.view.name(), %reason, why, "the view is built anew from the log");
        let mut board = self.board.write();
        *board.rebuilds.entry(reason).or_default() += 1;
        board.last = Some(format!("{reason}: {why}"));
    }

    /// What cannot be removed now is at the next start.
    pub(super) fn remove(&self, path: &Path) {
        if let Err(error) = self.views.remove(path) {
            tracing::warn!(view = self.view.name(), %error, "what is left of a view was not removed");
        }
    }
}
