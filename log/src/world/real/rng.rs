//! Randomness from the thread's generator, which the operating system seeds.
use crate::world::Rng;

/// Cryptographically strong random bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealRng;

impl Rng for RealRng {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}
