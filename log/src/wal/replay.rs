//! What frames mean: from verified batches, or from footers that stand for them, to the state of every partition.
//!
//! **Invariant**: a frame counts only where it fits what came before it: its link, its log hash, its index.
use super::{
    PeerIdentity,
    batch::{BATCH_HEADER_LEN, Chain},
    durable::Durable,
    footer::{About, FOOTER_FRAMES, FooterBuilder, Part, segment_of},
    frame::{BATCHES, FOOTERS, Kind, LogHash, PEERS, link, log_hash},
    index::{Slot, TableCache},
    payload::{decode_peer, decode_purge, decode_vote},
    read::Reader,
    scan::{FooterFound, Found},
    segment::{Links, Segments},
};
use crate::{
    topic::{ClusterId, LogId, NodeId, PartitionId},
    world::Disk,
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
};

/// What the frames so far amount to.
#[derive(Debug)]
pub(crate) struct Replay {
    pub partitions: BTreeMap<PartitionId, Durable>,
    pub peers: BTreeMap<NodeId, PeerIdentity>,
    pub chains: HashMap<u64, Chain>,
    /// Number of the next frame.
    pub sequence: u64,
    /// Number of the first frame of the segment that is gone through.
    pub first_sequence: u64,
    /// The footer that the next segment must begin with, where it was found out by going through the frames.
    pub carried: Option<Vec<u8>>,
    pub next_footer: NextFooter,
}

/// What the footer of a segment links to that is not gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextFooter {
    /// To the last one before the segment.
    Chain,
    /// To the one at the beginning of the segment, which is about the segment before.
    Link(u64),
    /// Likewise, and that one does not verify.
    Any,
}

/// Why a frame does not count.
#[derive(Debug)]
pub(crate) enum ReplayError {
    /// It does not fit, or what it builds on does not verify.
    Wrong(String),
    /// What it builds on cannot be read. That says nothing about the bytes.
    Io(io::Error),
}

impl From<String> for ReplayError {
    fn from(what: String) -> Self {
        ReplayError::Wrong(what)
    }
}

impl From<&str> for ReplayError {
    fn from(what: &str) -> Self {
        ReplayError::Wrong(what.into())
    }
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ReplayError::Wrong(error.to_string()),
            _ => ReplayError::Io(error),
        }
    }
}

/// Where the frames come from.
#[derive(Debug)]
pub(crate) struct Files<'a, D: Disk> {
    pub segments: &'a Segments<D>,
    pub tables: &'a TableCache,
    pub cluster: ClusterId,
    pub node: NodeId,
}

impl<D: Disk> Clone for Files<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Disk> Copy for Files<'_, D> {}

impl Replay {
    pub(crate) fn new() -> Self {
        Replay {
            partitions: BTreeMap::new(),
            peers: BTreeMap::new(),
            chains: HashMap::new(),
            sequence: 1,
            first_sequence: 1,
            carried: None,
            next_footer: NextFooter::Chain,
        }
    }

    pub(crate) fn links(&self) -> Links {
        Links { batches: self.chain(BATCHES).link, footers: self.chain(FOOTERS).link }
    }

    fn chain(&self, partition: u64) -> Chain {
        self.chains.get(&partition).copied().unwrap_or_default()
    }

    /// The footer of what was gone through.
    pub(crate) fn footer(&self, about: About) -> Vec<u8> {
        let mut footer = FooterBuilder::new(about, self.chain(PEERS).link, self.peers.values());
        for (&id, durable) in &self.partitions {
            footer.add(id, self.chain(id.0).link, durable);
        }
        footer.finish()
    }

    /// The segment that was gone through is a sealed one.
    pub(crate) fn seal(&mut self) {
        for durable in self.partitions.values_mut() {
            durable.index.seal(None);
        }
    }

    /// Takes a footer for the frames it is about, which are `about`. `last`: it is the last batch of its segment, and not
    /// the first of the next one.
    pub(crate) fn restore(&mut self, footer: FooterFound, about: About, last: bool) -> Result<(), String> {
        let FooterFound { directory, batches, footers } = footer;
        self.carried = None;
        if directory.about != about {
            return Err(format!("the footer is about {:?} instead of {about:?}", directory.about));
        }
        let before = match self.next_footer {
            NextFooter::Chain => Some(self.chain(FOOTERS).link),
            NextFooter::Link(link) => Some(link),
            NextFooter::Any => None,
        };
        if before.is_some_and(|before| footers.0 != before) {
            return Err("the footer does not link to the one before it".into());
        }
        let mut known = self.partitions.len();
        for Part { id, link, vote, committed, log, block } in directory.partitions {
            let hash = log.hash;
            let new = !self.partitions.contains_key(&id);
            let durable = self.partitions.entry(id).or_default();
            durable
                .restore(about.segment, vote, committed, log, block)
                .map_err(|what| format!("the footer does not fit for {id}: {what}"))?;
            self.chains.insert(id.0, Chain { link, hash });
            known -= usize::from(!new);
        }
        if known != 0 {
            return Err(format!("the footer misses {known} partitions"));
        }
        self.peers = directory.peers.into_iter().map(|peer| (peer.node, peer)).collect();
        self.chains.insert(PEERS, Chain { link: directory.peers_link, ..Chain::default() });
        if last {
            self.set_links(Links { batches: batches.1, footers: footers.1 });
            self.next_footer = NextFooter::Chain;
        } else {
            self.set_links(Links { batches: batches.0, footers: footers.0 });
            self.next_footer = NextFooter::Link(footers.1);
        }
        self.sequence = about.last_sequence + 1 + if last { FOOTER_FRAMES } else { 0 };
        Ok(())
    }

    /// Goes on where the chains stand according to the header of the next segment.
    pub(crate) fn set_links(&mut self, links: Links) {
        self.chains.insert(BATCHES, Chain { link: links.batches, ..Chain::default() });
        self.chains.insert(FOOTERS, Chain { link: links.footers, ..Chain::default() });
    }

    /// Follows one verified frame: checks what ties it to those before it, and does what it says.
    pub(crate) fn frame<D: Disk>(
        &mut self,
        files: Files<'_, D>,
        segment: u64,
        frame: &Found,
    ) -> Result<(), ReplayError> {
        let header = &frame.header;
        let chain = self.chain(header.partition);
        if header.link != chain.link {
            let what = format!("frame {} does not link to the one before it in its partition", header.sequence);
            return Err(what.into());
        }
        let hash = match (header.kind, header.partition) {
            (Kind::BatchHeader, BATCHES) => chain.hash,
            (Kind::Peer, PEERS) => {
                let peer = decode_peer(&frame.payload).ok_or("the peer's identity has the wrong form")?;
                self.peers.insert(peer.node, peer);
                chain.hash
            }
            (Kind::Footer, FOOTERS) => {
                self.compare(segment, frame)?;
                chain.hash
            }
            (Kind::BatchHeader | Kind::Peer | Kind::Footer, _) | (_, BATCHES | PEERS | FOOTERS) => {
                return Err(format!("a frame of kind {:?} in partition {:#x}", header.kind, header.partition).into());
            }
            _ => self.partition_frame(files, segment, frame, chain)?,
        };
        if header.hash != hash {
            return Err(format!("the log hash of frame {} does not match", header.sequence).into());
        }
        self.chains.insert(header.partition, Chain { link: link(&frame.header_bytes), hash });
        self.sequence += 1;
        Ok(())
    }

    /// Compares a footer with the frames it is about, where these were gone through.
    fn compare(&mut self, segment: u64, frame: &Found) -> Result<(), String> {
        let expected = if segment_of(&frame.payload) == Some(segment) {
            let about = About {
                segment,
                end: frame.offset.saturating_sub(BATCH_HEADER_LEN),
                first_sequence: self.first_sequence,
                last_sequence: frame.header.sequence.saturating_sub(FOOTER_FRAMES),
            };
            Some(self.footer(about))
        } else {
            self.carried.take()
        };
        match expected {
            Some(expected) if expected != frame.payload => {
                Err(format!("the footer in frame {} does not say what the frames before it do", frame.header.sequence))
            }
            _ => Ok(()),
        }
    }

    /// Gives the log hash the frame must carry.
    fn partition_frame<D: Disk>(
        &mut self,
        files: Files<'_, D>,
        segment: u64,
        frame: &Found,
        chain: Chain,
    ) -> Result<LogHash, ReplayError> {
        let header = &frame.header;
        let id = LogId { term: header.term, index: header.index };
        let partition = PartitionId(header.partition);
        let durable = self.partitions.entry(partition).or_default();
        let reader = Reader { files, partition };
        let hash_after = |durable: &Durable, index| {
            let at = durable.hash_at(index).ok_or_else(|| ReplayError::Wrong(format!("there is no entry {index}")))?;
            reader.hash(at, index).map_err(ReplayError::from)
        };
        let (first, next) = (durable.log.first(), durable.log.next());
        if id.index == u64::MAX {
            return Err(format!("no log has an index {}", id.index).into());
        }
        match header.kind {
            Kind::Blank | Kind::Membership | Kind::Entry => {
                if id.index != next && !durable.log.may_begin_anywhere() {
                    return Err(format!("entry {id} follows {:?}", durable.log.last).into());
                }
                durable.entry(id, header.crc, segment, Slot::new(frame.offset, header.len));
                Ok(log_hash(&chain.hash, id.index, id.term, header.crc))
            }
            Kind::Vote => {
                durable.vote = Some(decode_vote(&frame.payload).ok_or("the vote has the wrong form")?);
                Ok(chain.hash)
            }
            Kind::Committed => {
                durable.committed = Some(id);
                Ok(chain.hash)
            }
            Kind::Truncate => {
                if !(first..=next).contains(&id.index) {
                    return Err(format!("a truncation from {} on in a log of {first}..{next}", id.index).into());
                }
                let hash = id.index.checked_sub(1).map_or(Ok([0; 16]), |kept| hash_after(durable, kept))?;
                durable.truncate(id.index, hash);
                Ok(hash)
            }
            Kind::Purge => {
                let upto_hash = decode_purge(&frame.payload).ok_or("the purge has the wrong form")?;
                if id.index + 1 < first {
                    return Err(format!("a purge up to {id} in a log of {first}..{next}").into());
                }
                let inside = id.index < next && id.index + 1 > first;
                if inside && hash_after(durable, id.index)? != upto_hash {
                    return Err(format!("the log hash at {id} is not the one the purge recorded").into());
                }
                durable.purge(id, upto_hash);
                Ok(durable.log.hash)
            }
            Kind::BatchHeader | Kind::Peer | Kind::Footer => {
                Err(format!("a frame of kind {:?} in {partition}", header.kind).into())
            }
        }
    }
}
