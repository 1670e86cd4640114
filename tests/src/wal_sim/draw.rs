//! Randomness as a function of the seed.

/// A generator (SplitMix64) whose start is a hash of the seed and a name, so that a new consumer shifts no other.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn named(seed: u64, name: &str) -> Self {
        Draw(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed))
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// True once in `of` times.
    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(super) fn coin(&mut self) -> bool {
        self.one_in(2)
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Mostly small, at times up to `bound`, which is not 0.
    pub(super) fn small(&mut self, bound: u64) -> u64 {
        let bits = self.below(64 - u64::from(bound.leading_zeros()) + 1);
        self.below(bound.min(1 << bits))
    }
}
