//! Randomness for identities and jitter.
use std::fmt;

/// A source of random bits. In the simulated world its stream is a function of the seed and the node.
pub trait Rng: Clone + fmt::Debug + Send + Sync + 'static {
    /// The next 64 bits.
    fn next_u64(&self) -> u64;

    /// Sixteen random bytes: an identity nobody else has.
    fn next_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        id[8..].copy_from_slice(&self.next_u64().to_le_bytes());
        id
    }
}
