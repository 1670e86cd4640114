//! Who appends: what tells a repetition from a new append, and one key from another.
use std::fmt;

/// A producer, for as long as its appends are to be told from repetitions. Chosen by the producer, at random.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub [u8; 16]);

/// As a UUID is written.
impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a producer says of an append so that repeating it is harmless.
///
/// A producer numbers the records it appends to one partition, from 0. A partition takes from it the record that comes
/// next and no other: one it has is answered with the offset it got, one too far is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Who.
    pub producer: ProducerId,
    /// Which life of it. A higher one fences the lower ones off, and numbers from 0 again.
    pub epoch: u32,
    /// Number of the first record.
    pub sequence: u64,
}

/// What stands for a key where many are kept: 16 bytes of its BLAKE3 hash, which nobody finds a second key for.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest(pub [u8; 16]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}
