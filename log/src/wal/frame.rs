//! The header every frame begins with, and nothing about what frames mean together.
//!
//! `docs/disk-format.md` has the byte table; the golden tests keep both honest.
use crate::topic::{ClusterId, NodeId};
use std::fmt;

/// Bytes of a frame header.
pub(crate) const HEADER_LEN: usize = 112;
/// The first four bytes of every frame.
pub(crate) const MAGIC: [u8; 4] = *b"CDWF";
/// The only frame format there is so far.
pub(crate) const VERSION: u8 = 1;
/// The "partition" of batch headers.
pub(crate) const BATCHES: u64 = u64::MAX;
/// The "partition" of what is known of peers. Not that of the batch headers: a batch header holds a checksum of the
/// headers that follow, so none of them may link to it.
pub(crate) const PEERS: u64 = u64::MAX - 1;
/// The "partition" of the footers of sealed segments, and the lowest that is none.
pub(crate) const FOOTERS: u64 = u64::MAX - 2;
/// Frames begin at multiples of this; what follows a payload up to there is zeros.
pub(crate) const ALIGN: u64 = 8;
/// Largest payload of one frame. A header that claims more is not believed, whatever its checksum.
pub(crate) const MAX_PAYLOAD: u64 = 1 << 30;

/// A running hash over a partition's entries: equal on every replica that holds the same log up to the same index.
pub type LogHash = [u8; 16];

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Begins a group of frames that were written together; alone, a mark.
    BatchHeader = 1,
    /// The entry a leader begins its term with.
    Blank = 2,
    /// A membership entry.
    Membership = 3,
    /// An entry that carries a batch of records.
    Entry = 4,
    /// A vote.
    Vote = 5,
    /// Entries from an index on are no longer part of the log.
    Truncate = 6,
    /// Entries up to an index are no longer kept.
    Purge = 7,
    /// Entries up to here are known to be committed.
    Committed = 8,
    /// What this node knows of a peer.
    Peer = 10,
    /// What a sealed segment amounts to.
    Footer = 11,
}

impl Kind {
    fn from_u8(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::BatchHeader,
            2 => Kind::Blank,
            3 => Kind::Membership,
            4 => Kind::Entry,
            5 => Kind::Vote,
            6 => Kind::Truncate,
            7 => Kind::Purge,
            8 => Kind::Committed,
            10 => Kind::Peer,
            11 => Kind::Footer,
            _ => return None,
        })
    }

    /// Whether frames of this kind are entries of a partition's log.
    pub(crate) fn is_entry(self) -> bool {
        matches!(self, Kind::Blank | Kind::Membership | Kind::Entry)
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub cluster: ClusterId,
    pub node: NodeId,
    /// The segment this frame was written to; finds frames that ended up in the wrong file.
    pub segment: u64,
    /// Number of the frame in the life of the node, from 1, without gaps.
    pub sequence: u64,
    /// Raw partition id, [`BATCHES`], [`PEERS`] or [`FOOTERS`].
    pub partition: u64,
    pub term: u64,
    pub index: u64,
    /// Bytes of the payload, without padding.
    pub len: u32,
    /// CRC32C of the payload.
    pub crc: u32,
    /// [`link`] of the previous frame of the same partition in this WAL, 0 for its first.
    pub link: u64,
    /// Log hash of the partition after this frame.
    pub hash: LogHash,
}

/// Why bytes are not a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Nothing was ever written here.
    Zeros,
    Magic,
    Crc,
    Length(u32),
    /// Intact, but of a format or kind this build does not know: not damage.
    Unknown {
        what: &'static str,
        value: u64,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Zeros => write!(f, "there are zeros where a frame header should be"),
            HeaderError::Magic => write!(f, "there is no frame header"),
            HeaderError::Crc => write!(f, "the checksum of the frame header does not match"),
            HeaderError::Length(len) => write!(f, "the frame header claims a payload of {len} bytes"),
            HeaderError::Unknown { what, value } => {
                write!(f, "the frame has {what} {value}, which this build does not know")
            }
        }
    }
}

impl Header {
    /// The bytes of this header.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        // 6..8: flags, none defined.
        bytes[8..24].copy_from_slice(&self.cluster.0);
        bytes[24..32].copy_from_slice(&self.node.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.segment.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.partition.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.term.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.index.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.len.to_le_bytes());
        bytes[76..80].copy_from_slice(&self.crc.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.link.to_le_bytes());
        bytes[88..104].copy_from_slice(&self.hash);
        // 104..108: reserved.
        let crc = crc32c::crc32c(&bytes[..108]);
        bytes[108..112].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header. Believes nothing in it, its length least of all, before its checksum matches.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Header, HeaderError> {
        if bytes[0..4] != MAGIC {
            return Err(if bytes.iter().all(|&b| b == 0) { HeaderError::Zeros } else { HeaderError::Magic });
        }
        if crc32c::crc32c(&bytes[..108]) != u32_at(bytes, 108) {
            return Err(HeaderError::Crc);
        }
        if bytes[4] != VERSION {
            return Err(HeaderError::Unknown { what: "format version", value: bytes[4].into() });
        }
        let kind = Kind::from_u8(bytes[5]).ok_or(HeaderError::Unknown { what: "kind", value: bytes[5].into() })?;
        let flags = u16::from_le_bytes([bytes[6], bytes[7]]);
        if flags != 0 {
            return Err(HeaderError::Unknown { what: "flags", value: flags.into() });
        }
        if u32_at(bytes, 104) != 0 {
            return Err(HeaderError::Unknown { what: "reserved bits", value: u32_at(bytes, 104).into() });
        }
        let len = u32_at(bytes, 72);
        if u64::from(len) > MAX_PAYLOAD {
            return Err(HeaderError::Length(len));
        }
        Ok(Header {
            kind,
            cluster: ClusterId(id_at(bytes, 8)),
            node: u64_at(bytes, 24),
            segment: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            partition: u64_at(bytes, 48),
            term: u64_at(bytes, 56),
            index: u64_at(bytes, 64),
            len,
            crc: u32_at(bytes, 76),
            link: u64_at(bytes, 80),
            hash: id_at(bytes, 88),
        })
    }

    /// Bytes the whole frame takes in a segment.
    pub(crate) fn frame_len(&self) -> u64 {
        frame_len(self.len.into())
    }
}

/// Bytes a frame with a payload of `payload` bytes takes in a segment: header, payload, zeros up to the alignment.
pub(crate) const fn frame_len(payload: u64) -> u64 {
    (HEADER_LEN as u64 + payload).next_multiple_of(ALIGN)
}

/// What ties a frame to the one before it in the same partition: a hash of that one's header, which holds the checksum
/// of its payload and its own link.
pub(crate) fn link(previous: &[u8; HEADER_LEN]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(previous)
}

/// Goes on with the checksum that a batch header has over the headers of its frames. Leaves out the checksum each of them ends
/// with: a CRC over bytes and their own CRC is the same for all bytes.
pub(crate) fn sum_header(sum: u32, header: &[u8; HEADER_LEN]) -> u32 {
    crc32c::crc32c_append(sum, &header[..HEADER_LEN - 4])
}

/// The log hash after an entry.
pub(crate) fn log_hash(previous: &LogHash, index: u64, term: u64, crc: u32) -> LogHash {
    let mut bytes = [0; 36];
    bytes[0..16].copy_from_slice(previous);
    bytes[16..24].copy_from_slice(&index.to_le_bytes());
    bytes[24..32].copy_from_slice(&term.to_le_bytes());
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes()
}

/// Little-endian `u32` at a position the caller knows to be inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes is four bytes long"))
}

/// Little-endian `u64` at a position the caller knows to be inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes is eight bytes long"))
}

/// Sixteen bytes at a position the caller knows to be inside.
pub(crate) fn id_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes[at..at + 16].try_into().expect("a slice of sixteen bytes is sixteen bytes long")
}
