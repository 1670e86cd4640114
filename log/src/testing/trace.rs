//! What happened, as a hash and as the last events in words.
use openraft_rt_sim::SimInstant;
use std::{collections::VecDeque, fmt::Write as _, time::Duration};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Events kept in words, for the message of a failed run.
const KEPT_EVENTS: usize = 200;

/// Takes every event in words, as it happens.
pub(super) type Listener = Box<dyn FnMut(&str) + Send>;

/// Virtual time since the run began; zero outside of [`super::Sim::run`].
pub(super) fn elapsed() -> Duration {
    SimInstant::try_now().map_or(Duration::ZERO, SimInstant::elapsed_since_start)
}

/// The history of a run.
#[derive(Default)]
pub(super) struct Trace {
    hash: u64,
    recent: VecDeque<String>,
    milestones: VecDeque<String>,
    scratch: String,
    listener: Option<Listener>,
}

impl Trace {
    /// Adds an event in words.
    pub(super) fn event(&mut self, event: std::fmt::Arguments<'_>) {
        self.detail(event);
        if self.milestones.len() == KEPT_EVENTS {
            self.milestones.pop_front();
        }
        self.milestones.extend(self.recent.back().cloned());
    }

    /// Adds one of those events of which there are thousands: packets and syncs.
    pub(super) fn detail(&mut self, event: std::fmt::Arguments<'_>) {
        if self.recent.len() == KEPT_EVENTS {
            self.scratch = self.recent.pop_front().unwrap_or_default();
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        // Writing to a String cannot fail.
        let _ = write!(text, "{:.6}s {event}", elapsed().as_secs_f64());
        self.hash = xxh3_64_with_seed(text.as_bytes(), self.hash);
        self.add(elapsed().as_nanos() as u64);
        if let Some(listener) = &mut self.listener {
            listener(&text);
        }
        self.recent.push_back(text);
    }

    pub(super) fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// The last events without the details among them.
    pub(super) fn milestones(&self) -> Vec<String> {
        self.milestones.iter().cloned().collect()
    }

    /// Adds a number that only the hash needs.
    pub(super) fn add(&mut self, number: u64) {
        self.hash = xxh3_64_with_seed(&number.to_le_bytes(), self.hash);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn recent(&self) -> Vec<String> {
        self.recent.iter().cloned().collect()
    }
}
