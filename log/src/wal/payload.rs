//! Payloads the WAL itself reads. Entries' payloads are the business of those who append them.
use super::{
    PeerIdentity,
    frame::{LogHash, id_at, u32_at, u64_at},
};
use crate::topic::Vote;

/// A place in the WAL: a byte of a segment file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Segment number, from 1.
    pub segment: u64,
    /// Bytes from the start of the segment file.
    pub offset: u64,
}

/// "Everything before `at`, that is, up to and including frame `sequence`, is durable."
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub at: Position,
    /// Number of the last durable frame; 0 when there is none.
    pub sequence: u64,
}

/// What the frame that begins a batch says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// The highest position known durable when the batch was written.
    pub mark: Mark,
    /// Frames that follow; 0 for a mark alone.
    pub frames: u32,
    /// Bytes of the frames that follow, padding included.
    pub bytes: u32,
    /// CRC32C over the headers of the frames that follow, in order, without the checksum each ends with.
    pub headers_crc: u32,
}

impl BatchHeader {
    pub(crate) const LEN: usize = 40;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..8].copy_from_slice(&self.mark.at.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mark.at.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.mark.sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.frames.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.headers_crc.to_le_bytes());
        // 36..40: reserved.
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<BatchHeader> {
        (bytes.len() == Self::LEN && u32_at(bytes, 36) == 0).then(|| BatchHeader {
            mark: Mark {
                at: Position { segment: u64_at(bytes, 0), offset: u64_at(bytes, 8) },
                sequence: u64_at(bytes, 16),
            },
            frames: u32_at(bytes, 24),
            bytes: u32_at(bytes, 28),
            headers_crc: u32_at(bytes, 32),
        })
    }
}

const VOTE_LEN: usize = 24;

/// Term, node, and whether the vote is committed.
pub(crate) fn encode_vote(vote: &Vote) -> [u8; VOTE_LEN] {
    let mut bytes = [0; VOTE_LEN];
    bytes[0..8].copy_from_slice(&vote.term.to_le_bytes());
    bytes[8..16].copy_from_slice(&vote.node.to_le_bytes());
    bytes[16] = vote.committed.into();
    bytes
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Option<Vote> {
    if bytes.len() != VOTE_LEN || bytes[16] > 1 || bytes[17..] != [0; 7] {
        return None;
    }
    Some(Vote { term: u64_at(bytes, 0), node: u64_at(bytes, 8), committed: bytes[16] == 1 })
}

/// The log hash after the last purged entry: where the hash chain of what is kept begins.
pub(crate) fn decode_purge(bytes: &[u8]) -> Option<LogHash> {
    bytes.try_into().ok()
}

pub(crate) const PEER_LEN: usize = 40;

pub(crate) fn encode_peer(peer: &PeerIdentity) -> [u8; PEER_LEN] {
    let mut bytes = [0; PEER_LEN];
    bytes[0..8].copy_from_slice(&peer.node.to_le_bytes());
    bytes[8..24].copy_from_slice(&peer.incarnation);
    bytes[24..32].copy_from_slice(&peer.boot_epoch.to_le_bytes());
    bytes[32..40].copy_from_slice(&peer.confirmed.to_le_bytes());
    bytes
}

pub(crate) fn decode_peer(bytes: &[u8]) -> Option<PeerIdentity> {
    (bytes.len() == PEER_LEN).then(|| PeerIdentity {
        node: u64_at(bytes, 0),
        incarnation: id_at(bytes, 8),
        boot_epoch: u64_at(bytes, 24),
        confirmed: u64_at(bytes, 32),
    })
}
