//! Frames on their way to the disk: what producers ask for, and the bytes of one write.
use super::{
    EntryKind, PeerIdentity, WalEntry,
    footer::About,
    frame::{BATCHES, FOOTERS, HEADER_LEN, Header, Kind, LogHash, PEERS, frame_len, link, sum_header},
    memory::{Core, Hot},
    payload::{BatchHeader, Mark, Position},
    segment::Links,
};
use crate::topic::{ClusterId, LogId, NodeId, Vote};
use bytes::Bytes;
use std::{collections::HashMap, io, sync::Arc};

/// Called once: with `Ok` when everything asked for is on disk.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What a producer asks the writer for.
pub(crate) enum Op {
    Append {
        core: Arc<Core>,
        entries: Vec<Hot>,
        done: Done,
    },
    Vote {
        core: Arc<Core>,
        vote: Vote,
        done: Done,
    },
    Truncate {
        core: Arc<Core>,
        first_removed: u64,
        hash: LogHash,
        done: Done,
    },
    Purge {
        core: Arc<Core>,
        upto: LogId,
        upto_hash: LogHash,
        hash: LogHash,
        done: Done,
    },
    Committed {
        core: Arc<Core>,
        id: LogId,
    },
    Peer {
        peer: PeerIdentity,
        done: Done,
    },
    /// The writer's own alarm: has anything been written since it was set?
    Alarm,
}

impl Op {
    /// Tells whoever waits that it will not happen.
    pub(crate) fn fail(self, error: io::Error) {
        match self {
            Op::Append { done, .. }
            | Op::Vote { done, .. }
            | Op::Truncate { done, .. }
            | Op::Purge { done, .. }
            | Op::Peer { done, .. } => done(Err(error)),
            Op::Committed { .. } | Op::Alarm => {}
        }
    }
}

/// What a frame changes, once it is on disk.
pub(crate) enum Change {
    Entry(EntryKind, LogHash),
    Vote(Vote),
    Truncate(LogHash),
    /// The log hash after the frame, and that after the last entry purged.
    Purge(LogHash, LogHash),
    Committed,
    Peer(PeerIdentity),
    Footer,
}

/// A frame that does not know its place yet.
pub(crate) struct Frame {
    /// `None` for what belongs to no partition.
    pub core: Option<Arc<Core>>,
    pub change: Change,
    pub id: LogId,
    pub payload: Bytes,
    pub crc: u32,
}

impl Frame {
    pub(super) fn new(core: Option<Arc<Core>>, change: Change, id: LogId, payload: Bytes) -> Self {
        let crc = crc32c::crc32c(&payload);
        Frame { core, change, id, payload, crc }
    }

    pub(super) fn entry(core: Arc<Core>, Hot { entry, hash }: Hot) -> Self {
        let WalEntry { id, kind, payload, crc } = entry;
        Frame { core: Some(core), change: Change::Entry(kind, hash), id, payload, crc }
    }

    pub(crate) fn committed(core: Arc<Core>, id: LogId) -> Self {
        Frame::new(Some(core), Change::Committed, id, Bytes::new())
    }

    pub(crate) fn footer(payload: Vec<u8>) -> Self {
        Frame::new(None, Change::Footer, LogId::default(), payload.into())
    }

    pub(crate) fn len(&self) -> u64 {
        frame_len(self.payload.len() as u64)
    }

    pub(super) fn partition(&self) -> u64 {
        match &self.core {
            Some(core) => core.id().0,
            None if matches!(self.change, Change::Footer) => FOOTERS,
            None => PEERS,
        }
    }

    fn content(&self) -> Content<'_> {
        let hash = match self.change {
            Change::Entry(_, hash) | Change::Truncate(hash) | Change::Purge(hash, _) => Some(hash),
            Change::Vote(_) | Change::Committed | Change::Peer(_) | Change::Footer => None,
        };
        Content { kind: self.kind(), id: self.id, payload: &self.payload, crc: self.crc, hash }
    }

    fn kind(&self) -> Kind {
        match self.change {
            Change::Entry(EntryKind::Blank, _) => Kind::Blank,
            Change::Entry(EntryKind::Membership, _) => Kind::Membership,
            Change::Entry(EntryKind::Batch, _) => Kind::Entry,
            Change::Vote(_) => Kind::Vote,
            Change::Truncate(_) => Kind::Truncate,
            Change::Purge(..) => Kind::Purge,
            Change::Committed => Kind::Committed,
            Change::Peer(_) => Kind::Peer,
            Change::Footer => Kind::Footer,
        }
    }
}

/// Where a partition's chains stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub link: u64,
    pub hash: LogHash,
}

/// The place of the next frame, in the file and in the chains.
#[derive(Debug)]
pub(crate) struct Tail {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Where the next batch begins.
    pub at: Position,
    /// Number of the next frame.
    pub sequence: u64,
    /// Number of the first frame of the segment being written.
    pub first_sequence: u64,
    /// By raw partition id; those of frames that belong to none among them.
    pub chains: HashMap<u64, Chain>,
    /// The highest position known durable.
    pub durable: Mark,
}

impl Tail {
    /// What the next frame of a partition links to.
    pub(crate) fn link(&self, partition: u64) -> u64 {
        self.chains.get(&partition).map_or(0, |chain| chain.link)
    }

    /// What the next batch and the next footer link to.
    pub(crate) fn links(&self) -> Links {
        Links { batches: self.link(BATCHES), footers: self.link(FOOTERS) }
    }

    /// The frames of the segment so far.
    pub(crate) fn about(&self) -> About {
        About {
            segment: self.at.segment,
            end: self.at.offset,
            first_sequence: self.first_sequence,
            last_sequence: self.sequence - 1,
        }
    }

    /// The header of a frame, linked to the one before it in its partition.
    fn header(&mut self, sequence: u64, partition: u64, frame: &Content<'_>) -> [u8; HEADER_LEN] {
        let chain = self.chains.entry(partition).or_default();
        chain.hash = frame.hash.unwrap_or(chain.hash);
        let header = Header {
            kind: frame.kind,
            cluster: self.cluster,
            node: self.node,
            segment: self.at.segment,
            sequence,
            partition,
            term: frame.id.term,
            index: frame.id.index,
            len: u32::try_from(frame.payload.len()).expect("payloads are bounded far below 4 GiB"),
            crc: frame.crc,
            link: chain.link,
            hash: chain.hash,
        };
        let bytes = header.encode();
        chain.link = link(&bytes);
        bytes
    }
}

/// What a header says of its frame apart from its place.
struct Content<'a> {
    kind: Kind,
    id: LogId,
    payload: &'a [u8],
    crc: u32,
    /// The log hash after the frame, where the frame changes it.
    hash: Option<LogHash>,
}

/// Bytes of a batch header's frame.
pub(crate) const BATCH_HEADER_LEN: u64 = frame_len(BatchHeader::LEN as u64);

/// Payloads at least this long are written from where they are; shorter ones are copied, which costs less than another
/// buffer in the write.
const GATHER_FROM: usize = 2048;

/// The bytes of one batch, gathered but not copied together.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Headers, small payloads and padding.
    own: Vec<u8>,
    /// Large payloads, each with its place in `own`.
    foreign: Vec<(usize, Bytes)>,
    /// Where each frame begins in its segment; the batch header is not among them.
    pub offsets: Vec<u64>,
    /// Bytes of the whole batch.
    pub len: u64,
}

impl Encoded {
    /// Encodes a batch where the tail stands, and moves the tail behind it. No frames make a mark.
    pub(crate) fn new(frames: &[Frame], tail: &mut Tail) -> Self {
        let mut encoded = Encoded {
            own: vec![0; BATCH_HEADER_LEN as usize],
            foreign: Vec::new(),
            offsets: Vec::new(),
            len: BATCH_HEADER_LEN,
        };
        let mut headers_crc = 0;
        for (frame, sequence) in frames.iter().zip(tail.sequence + 1..) {
            encoded.offsets.push(tail.at.offset + encoded.len);
            let header = tail.header(sequence, frame.partition(), &frame.content());
            headers_crc = sum_header(headers_crc, &header);
            encoded.push(&header, &frame.payload);
        }
        encoded.put_batch_header(frames.len(), headers_crc, tail);
        tail.sequence += 1 + frames.len() as u64;
        tail.at.offset += encoded.len;
        encoded
    }

    fn push(&mut self, header: &[u8; HEADER_LEN], payload: &Bytes) {
        self.own.extend_from_slice(header);
        if payload.len() >= GATHER_FROM {
            self.foreign.push((self.own.len(), payload.clone()));
        } else {
            self.own.extend_from_slice(payload);
        }
        let len = frame_len(payload.len() as u64);
        let padding = len as usize - HEADER_LEN - payload.len();
        self.own.resize(self.own.len() + padding, 0);
        self.len += len;
    }

    fn put_batch_header(&mut self, frames: usize, headers_crc: u32, tail: &mut Tail) {
        let payload = BatchHeader {
            mark: tail.durable,
            frames: u32::try_from(frames).expect("a batch is bounded in bytes, and so in frames"),
            bytes: u32::try_from(self.len - BATCH_HEADER_LEN).expect("a batch is bounded far below 4 GiB"),
            headers_crc,
        }
        .encode();
        let crc = crc32c::crc32c(&payload);
        let content = Content { kind: Kind::BatchHeader, id: LogId::default(), payload: &payload, crc, hash: None };
        let header = tail.header(tail.sequence, BATCHES, &content);
        self.own[..HEADER_LEN].copy_from_slice(&header);
        self.own[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(&payload);
    }

    /// The bytes in order, as few pieces as there are large payloads.
    pub(crate) fn pieces(&self) -> Vec<&[u8]> {
        let mut pieces = Vec::with_capacity(2 * self.foreign.len() + 1);
        let mut from = 0;
        for (at, payload) in &self.foreign {
            pieces.push(&self.own[from..*at]);
            pieces.push(payload);
            from = *at;
        }
        pieces.push(&self.own[from..]);
        pieces
    }
}
