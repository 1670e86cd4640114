//! Choices as a function of the seed.
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};
use std::{ops::RangeInclusive, time::Duration};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A stream of choices with a name, so that a new consumer shifts no other. ChaCha is specified: a seed means the same
/// run after an update of the library.
#[derive(Debug)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        Draw(ChaCha8Rng::seed_from_u64(xxh3_64_with_seed(name.as_bytes(), seed)))
    }

    /// A number below `bound`, which is not 0. The bias of the remainder does not matter here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// Short ones as often as long ones: every doubling is as likely as any other.
    pub(crate) fn scaled_millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        let doublings = (range.end() / range.start()).max(1).ilog2();
        let low = range.start() << self.within(0..=u64::from(doublings));
        self.millis(low.min(*range.end())..=(2 * low).min(*range.end()))
    }
}
