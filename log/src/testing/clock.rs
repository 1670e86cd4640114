//! A node's wall clock: virtual time, plus what the test set it off by.
use super::trace;
use crate::world::{Clock, Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Where wall clocks stand when a run begins: 2026-01-01T00:00:00Z.
const START_MICROS: u64 = 1_767_225_600_000_000;

/// A node's wall clock. It survives restarts, as a machine's does.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    offset_micros: Arc<AtomicI64>,
}

impl SimClock {
    pub(super) fn set_offset(&self, micros: i64) {
        self.offset_micros.store(micros, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let virtual_micros = trace::elapsed().as_micros() as u64;
        let offset = self.offset_micros.load(Ordering::Relaxed);
        Timestamp((START_MICROS + virtual_micros).saturating_add_signed(offset))
    }
}
