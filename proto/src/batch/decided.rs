//! What a decided batch has beside its events: how far it takes its sources, and its effects.
use super::Batch;
use bytes::{Buf, BufMut, Bytes};

/// How far a source was read: a batch that states it counts only where the partition had come to `from`, and takes it to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAdvance {
    /// Raw id of the partition that was read.
    pub partition: u64,
    /// The first offset that was looked at.
    pub from: u64,
    /// The first one that was not.
    pub to: u64,
}

impl SourceAdvance {
    /// Writes it.
    pub fn encode(&self, mut into: impl BufMut) {
        into.put_u64_le(self.partition);
        into.put_u64_le(self.from);
        into.put_u64_le(self.to);
    }
}

impl Batch {
    /// The sources it advances; none where it was not decided.
    pub fn sources(&self) -> impl Iterator<Item = SourceAdvance> {
        let mut rest = &self.bytes[self.header.len()..];
        let count = self.header.decided.map_or(0, |decided| decided.sources);
        (0..count).map(move |_| SourceAdvance {
            partition: rest.get_u64_le(),
            from: rest.get_u64_le(),
            to: rest.get_u64_le(),
        })
    }

    /// What goes with its events, which only the service knows to read; empty where it was not decided.
    pub fn effects(&self) -> Bytes {
        let end = self.records_begin();
        let len = self.header.decided.map_or(0, |decided| decided.effects as usize);
        self.bytes.slice(end - len..end)
    }
}
