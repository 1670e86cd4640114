//! How long the disk has not answered: one that hangs says nothing itself, so others look at the clock (R25).
use crate::world::World;
use openraft_rt::{AsyncRuntime, Instant};
use std::{sync::Mutex, time::Duration};

/// Since when the disk has been at work on what the writer gave it last: a batch, or one of the steps of a rotation.
pub(crate) struct AtWork<W: World>(Mutex<Option<InstantOf<W>>>);

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

impl<W: World> Default for AtWork<W> {
    fn default() -> Self {
        AtWork(Mutex::default())
    }
}

impl<W: World> AtWork<W> {
    fn set(&self, since: Option<InstantOf<W>>) {
        *self.0.lock().expect("a copy") = since;
    }

    /// It has something to do; where it had, that is done.
    pub(crate) fn begin(&self) {
        self.set(Some(InstantOf::<W>::now()));
    }

    /// It has nothing to do.
    pub(crate) fn rest(&self) {
        self.set(None);
    }

    /// How long it has been at work; `None`: it is not.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        (*self.0.lock().expect("a copy")).map(|since| since.elapsed())
    }
}
