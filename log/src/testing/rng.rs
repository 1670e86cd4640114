//! Randomness as a function of the seed: streams named after their use.
use super::lock;
use crate::world::Rng;
use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A generator (SplitMix64) whose start is a hash of the seed and a name, so that a new consumer shifts no other.
#[derive(Debug)]
pub(super) struct Stream(u64);

impl Stream {
    pub(super) fn named(seed: u64, name: &str) -> Self {
        Stream(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed))
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0. The bias of the remainder does not matter here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next_u64() & 1 == 1
    }

    /// A duration in the range, in whole nanoseconds.
    pub(super) fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let width = range.end().saturating_sub(*range.start());
        let width = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX - 1);
        *range.start() + Duration::from_nanos(self.below(width + 1))
    }
}

/// One incarnation's randomness: a function of the seed, the node and how often it was started.
#[derive(Clone, Debug)]
pub struct SimRng(Arc<Mutex<Stream>>);

impl SimRng {
    pub(super) fn new(stream: Stream) -> Self {
        SimRng(Arc::new(Mutex::new(stream)))
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        lock(&self.0).next_u64()
    }
}
