//! The footer of a sealed segment: what its frames amount to, so that a start need not read them.
//!
//! ```text
//! payload of the frame:  directory                                   │ table │ table │ ...
//!                        head · peers · partitions, each with its    │ the places of a partition's
//!                        terms in this segment and where its table is │ entries in this segment
//! ```
//!
//! A start reads the directory alone; tables are loaded when somebody reads that far back. Both have checksums of their
//! own, because neither reader sees the whole payload. `docs/disk-format.md` has the byte tables.
//!
//! **Invariant**: the bytes are a function of what the frames before say. A scan of these frames makes the same footer.
use super::{
    PeerIdentity,
    batch::BATCH_HEADER_LEN,
    durable::Durable,
    frame::{HEADER_LEN, id_at, u32_at, u64_at},
    index::{Block, Slot, Table},
    outline::{Outline, Terms},
    payload::{PEER_LEN, Position, decode_peer, encode_peer},
};
use crate::topic::{LogId, PartitionId, Vote};

/// Frames of a footer's batch: its header and the footer.
pub(crate) const FOOTER_FRAMES: u64 = 2;
const HEAD_LEN: usize = 56;
const PART_LEN: usize = 152;
const RUN_LEN: usize = 16;
/// Behind a directory: its checksum, and zeros.
const CRC_LEN: usize = 8;

const VOTE: u8 = 1;
const VOTE_COMMITTED: u8 = 2;
const COMMITTED: u8 = 4;
const PURGED: u8 = 8;
const LAST: u8 = 16;
const KNOWN: u8 = VOTE | VOTE_COMMITTED | COMMITTED | PURGED | LAST;

/// Which frames a footer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub segment: u64,
    /// Offset in the segment where the last of its batches ends.
    pub end: u64,
    /// Numbers of the first and the last frame; where there is none, the last is the one before the first.
    pub first_sequence: u64,
    pub last_sequence: u64,
}

/// Puts a footer together.
#[derive(Debug)]
pub(crate) struct FooterBuilder {
    directory: Vec<u8>,
    tables: Vec<u8>,
    partitions: u32,
}

impl FooterBuilder {
    pub(crate) fn new<'a>(
        about: About,
        peers_link: u64,
        peers: impl ExactSizeIterator<Item = &'a PeerIdentity>,
    ) -> Self {
        let mut directory = Vec::new();
        for number in [about.segment, about.end, about.first_sequence, about.last_sequence, peers_link] {
            directory.extend(number.to_le_bytes());
        }
        directory.extend(u32::try_from(peers.len()).expect("a cluster has few nodes").to_le_bytes());
        directory.resize(HEAD_LEN, 0);
        for peer in peers {
            directory.extend(encode_peer(peer));
        }
        FooterBuilder { directory, tables: Vec::new(), partitions: 0 }
    }

    /// Adds a partition; in the order of their ids.
    pub(crate) fn add(&mut self, id: PartitionId, link: u64, durable: &Durable) {
        let Durable { vote, committed, log, index } = durable;
        let table = index.active();
        let slots: Vec<u8> = table.slots.iter().flat_map(|slot| slot.encode()).collect();
        let runs: Vec<(u64, u64)> = log.terms.within(table.range()).collect();
        let flag = |bit: u8, set: bool| if set { bit } else { 0 };
        let mut part = [0; PART_LEN];
        part[0..8].copy_from_slice(&id.0.to_le_bytes());
        part[8..16].copy_from_slice(&link.to_le_bytes());
        part[16..32].copy_from_slice(&log.hash);
        part[32] = flag(VOTE, vote.is_some())
            | flag(VOTE_COMMITTED, vote.is_some_and(|vote| vote.committed))
            | flag(COMMITTED, committed.is_some())
            | flag(PURGED, log.purged.is_some())
            | flag(LAST, log.last.is_some());
        part[36..40].copy_from_slice(&u32::try_from(runs.len()).expect("fewer than entries").to_le_bytes());
        let vote = vote.unwrap_or_default();
        part[40..48].copy_from_slice(&vote.term.to_le_bytes());
        part[48..56].copy_from_slice(&vote.node.to_le_bytes());
        put_log_id(&mut part[56..72], *committed);
        put_log_id(&mut part[72..88], log.purged);
        part[88..104].copy_from_slice(&log.purged_hash);
        put_log_id(&mut part[104..120], log.last);
        part[120..128].copy_from_slice(&log.begins.to_le_bytes());
        if !table.slots.is_empty() {
            let count = u32::try_from(table.slots.len()).expect("a segment holds fewer entries than bytes");
            part[128..136].copy_from_slice(&table.first.to_le_bytes());
            part[136..140].copy_from_slice(&count.to_le_bytes());
            part[140..144].copy_from_slice(&crc32c::crc32c(&slots).to_le_bytes());
            part[144..152].copy_from_slice(&(self.tables.len() as u64).to_le_bytes());
        }
        self.directory.extend(part);
        for (first, term) in runs {
            self.directory.extend(first.to_le_bytes());
            self.directory.extend(term.to_le_bytes());
        }
        self.tables.extend(slots);
        self.partitions += 1;
    }

    /// The payload.
    pub(crate) fn finish(self) -> Vec<u8> {
        let FooterBuilder { mut directory, tables, partitions } = self;
        let len = u32::try_from(directory.len() + CRC_LEN).expect("a directory is bounded by the partitions of a node");
        directory[44..48].copy_from_slice(&partitions.to_le_bytes());
        directory[48..52].copy_from_slice(&len.to_le_bytes());
        directory.extend(crc32c::crc32c(&directory).to_le_bytes());
        directory.extend([0; 4]);
        directory.extend(tables);
        directory
    }
}

/// About how many bytes a footer's frame has.
pub(crate) fn estimate(peers: usize, partitions: usize, entries: u64) -> u64 {
    // One change of term for each partition: what is beyond that, the file grows by.
    let directory = HEAD_LEN + CRC_LEN + peers * PEER_LEN + partitions * (PART_LEN + RUN_LEN);
    super::frame::frame_len(directory as u64 + entries * Slot::LEN as u64)
}

/// What a footer says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub id: PartitionId,
    pub link: u64,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    /// With the terms of the entries in this segment alone.
    pub log: Outline,
    /// Where the table of these entries is, if there are any.
    pub block: Option<Block>,
}

/// What a footer says, apart from its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub about: About,
    pub peers_link: u64,
    pub peers: Vec<PeerIdentity>,
    pub partitions: Vec<Part>,
}

impl Directory {
    /// Bytes to read before the length of the directory is known.
    pub(crate) const HEAD_LEN: usize = HEAD_LEN;

    /// Bytes of the directory, as its first [`Directory::HEAD_LEN`] bytes claim.
    pub(crate) fn len(head: &[u8; HEAD_LEN]) -> u64 {
        u32_at(head, 48).into()
    }

    /// The directory of a payload that was just made.
    pub(crate) fn of_payload(payload: &[u8], at: Position) -> Directory {
        let head = payload.first_chunk().expect("a footer has a head");
        let directory = payload.get(..Directory::len(head) as usize);
        let decoded = directory.and_then(|bytes| Directory::decode(bytes, at, payload.len() as u64));
        decoded.expect("a footer reads as it was written")
    }

    /// Reads a directory, which begins at `at` a payload of `payload` bytes. `None` where it does not verify.
    pub(crate) fn decode(bytes: &[u8], at: Position, payload: u64) -> Option<Directory> {
        let (covered, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_LEN)?)?;
        let intact = crc[..4] == crc32c::crc32c(covered).to_le_bytes() && crc[4..] == [0; 4];
        let (head, rest) = covered.split_first_chunk::<HEAD_LEN>().filter(|_| intact)?;
        if Directory::len(head) != bytes.len() as u64 || u32_at(head, 52) != 0 {
            return None;
        }
        let tables = Tables { at, directory: bytes.len() as u64, payload };
        let mut rest = Bytes(rest);
        let peers: Option<Vec<_>> = (0..u32_at(head, 40)).map(|_| decode_peer(rest.take(PEER_LEN)?)).collect();
        let partitions: Option<Vec<_>> = (0..u32_at(head, 44)).map(|_| part(&mut rest, &tables)).collect();
        let about = About {
            segment: u64_at(head, 0),
            end: u64_at(head, 8),
            first_sequence: u64_at(head, 16),
            last_sequence: u64_at(head, 24),
        };
        let directory = Directory { about, peers_link: u64_at(head, 32), peers: peers?, partitions: partitions? };
        let ordered = directory.partitions.is_sorted_by(|a, b| a.id < b.id);
        (rest.0.is_empty() && ordered).then_some(directory)
    }
}

/// Where the payload of a footer is whose batch is at `at`.
pub(crate) fn payload_of(at: Position) -> Position {
    Position { offset: at.offset + BATCH_HEADER_LEN + HEADER_LEN as u64, ..at }
}

/// The segment a footer is about, be the rest as it may.
pub(crate) fn segment_of(payload: &[u8]) -> Option<u64> {
    payload.get(..8).map(|bytes| u64_at(bytes, 0))
}

/// The table a directory pointed to. `None` where it does not verify.
pub(crate) fn decode_table(bytes: &[u8], block: &Block) -> Option<Table> {
    let (slots, rest) = bytes.as_chunks();
    let intact = rest.is_empty() && slots.len() == block.count as usize && crc32c::crc32c(bytes) == block.crc;
    intact.then(|| Table { first: block.first, slots: slots.iter().map(Slot::decode).collect() })
}

/// Where the tables lie.
struct Tables {
    /// Where the payload begins.
    at: Position,
    directory: u64,
    payload: u64,
}

impl Tables {
    /// The table at an offset among them; `None` where it is not inside.
    fn block(&self, offset: u64, first: u64, count: u32, crc: u32) -> Option<Block> {
        let begin = self.directory.checked_add(offset)?;
        let end = begin.checked_add(u64::from(count) * Slot::LEN as u64)?;
        let at = Position { offset: self.at.offset + begin, ..self.at };
        (end <= self.payload && first.checked_add(count.into()).is_some()).then_some(Block { at, first, count, crc })
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

fn part(bytes: &mut Bytes<'_>, tables: &Tables) -> Option<Part> {
    let part = bytes.take(PART_LEN)?;
    // What it says where nothing is defined may change what the rest means: the frames are read instead.
    if part[32] & !KNOWN != 0 || part[33..36] != [0; 3] {
        return None;
    }
    let has = |bit: u8| part[32] & bit != 0;
    let log_id = |at: usize, bit: u8| has(bit).then(|| LogId { term: u64_at(part, at), index: u64_at(part, at + 8) });
    if [56, 72, 104].into_iter().any(|at| u64_at(part, at + 8) == u64::MAX) {
        return None;
    }
    let vote = Vote { term: u64_at(part, 40), node: u64_at(part, 48), committed: has(VOTE_COMMITTED) };
    let count = u32_at(part, 136);
    let block = match count {
        0 => None,
        _ => Some(tables.block(u64_at(part, 144), u64_at(part, 128), count, u32_at(part, 140))?),
    };
    let mut terms = Terms::default();
    for _ in 0..u32_at(part, 36) {
        let run = bytes.take(RUN_LEN)?;
        terms.push(LogId { index: u64_at(run, 0), term: u64_at(run, 8) });
    }
    Some(Part {
        id: PartitionId(u64_at(part, 0)),
        link: u64_at(part, 8),
        vote: has(VOTE).then_some(vote),
        committed: log_id(56, COMMITTED),
        log: Outline {
            purged: log_id(72, PURGED),
            purged_hash: id_at(part, 88),
            begins: u64_at(part, 120),
            last: log_id(104, LAST),
            hash: id_at(part, 16),
            terms,
        },
        block,
    })
}

fn put_log_id(bytes: &mut [u8], id: Option<LogId>) {
    let id = id.unwrap_or_default();
    bytes[0..8].copy_from_slice(&id.term.to_le_bytes());
    bytes[8..16].copy_from_slice(&id.index.to_le_bytes());
}
