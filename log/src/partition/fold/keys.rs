//! Where each key of a topic with a key index has its last record.
use super::{SnapshotError, Void, shards::Shards};
use crate::{
    batch::{Batch, KeyExpectation},
    producer::{KeyDigest, digest_of},
    topic::Offset,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a key in a checkpoint.
const ENCODED: usize = 24;

/// See the module. A partition without an index takes no batch that asks for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    last: Shards<KeyDigest, Offset>,
}

impl Keys {
    /// The offset of the key's last record.
    pub(crate) fn last(&self, key: &KeyDigest) -> Option<Offset> {
        self.last.get(key).copied()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.last.len()
    }

    pub(super) fn judge(&self, expected: &KeyExpectation) -> Result<(), Void> {
        let actual = self.last(&expected.key);
        if actual == expected.last { Ok(()) } else { Err(Void::Key { actual }) }
    }

    /// Notes the keys of a batch whose first record has offset `base`.
    pub(super) fn note(&mut self, batch: &Batch, base: Offset) {
        for (number, key) in batch.keys() {
            self.last.insert(digest_of(key), base + number);
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len() * ENCODED);
        for (key, last) in self.last.iter() {
            bytes.put_slice(&key.0);
            bytes.put_u64_le(*last);
        }
        bytes.freeze()
    }

    pub(super) fn restore(encoded: &[u8]) -> Result<Self, SnapshotError> {
        let keys = encoded.chunks_exact(ENCODED);
        if !keys.remainder().is_empty() {
            return Err(SnapshotError::Missing("whole keys"));
        }
        let key = |mut key: &[u8]| {
            let mut digest = KeyDigest::default();
            key.copy_to_slice(&mut digest.0);
            (digest, key.get_u64_le())
        };
        Ok(Keys { last: keys.map(key).collect() })
    }
}
