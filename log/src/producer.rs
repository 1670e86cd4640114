//! Who appends: what tells a repetition from a new append, and one key from another.
pub use corduroy_proto::batch::{ProducerId, ProducerStamp};

pub(crate) use corduroy_proto::batch::KeyDigest;

/// What stands for a key where many are kept.
pub(crate) fn digest_of(key: &[u8]) -> KeyDigest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
    KeyDigest(digest)
}
