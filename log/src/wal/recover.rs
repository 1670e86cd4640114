//! Recovery: from the files to the state of every partition. Reads only; what has to change on disk is
//! [`Recovered::repair`]'s.
//!
//! The one decision that matters here is between *torn* and *rot*. A batch that does not verify in the newest segment,
//! with nothing behind it that says it was durable, is torn: nobody was ever told of it, and it is cut with everything
//! behind it. Whatever does not verify anywhere else was durable once: that is rot, and the node does not open. Cutting
//! there would lose what others count on.
use super::{
    PeerIdentity,
    batch::{Chain, Tail},
    frame::{BATCHES, Kind, PEERS, link, log_hash},
    memory::{Slot, State},
    payload::{Mark, Position, decode_peer, decode_purge, decode_vote},
    read::Reader,
    scan::{Batch, Found, Origin, Scan, Stop},
    segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentHeaderError, Segments, is_unfinished, parse_name},
    supply::{self, Supply, is_out_of_space},
};
use crate::{
    error::OpenError,
    topic::{ClusterId, LogId, NodeId, PartitionId},
    world::{Disk, DiskFile, Halt},
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
};

/// Bytes written again at a time.
const REWRITE: u64 = 1 << 20;

/// What the files say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub partitions: BTreeMap<PartitionId, State>,
    pub peers: BTreeMap<NodeId, PeerIdentity>,
    chains: HashMap<u64, Chain>,
    /// Number of the next frame.
    sequence: u64,
    /// The highest mark.
    mark: Mark,
    newest: Option<Newest>,
}

/// The segment with the highest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest {
    number: u64,
    /// Where the last batch that counts ends.
    end: u64,
    /// Length of the file.
    len: u64,
    /// The WAL was closed in order: the last batch is a mark for everything before it, and nothing was written behind.
    closed: bool,
}

/// What the writer goes on with.
#[derive(Debug)]
pub(crate) struct Ready<F> {
    pub file: F,
    pub capacity: u64,
    pub tail: Tail,
}

/// Reads and verifies every frame there is.
pub(crate) fn recover<D: Disk>(
    segments: &Segments<D>,
    cluster: ClusterId,
    node: NodeId,
    hot_limit: u64,
) -> Result<Recovered, OpenError> {
    let mut replay = Replay {
        segments,
        cluster,
        node,
        hot_limit,
        recovered: Recovered {
            partitions: BTreeMap::new(),
            peers: BTreeMap::new(),
            chains: HashMap::new(),
            sequence: 1,
            mark: Mark::default(),
            newest: None,
        },
    };
    let numbers = numbers(segments)?;
    let mut previous = Mark::default();
    let mut header = numbers.first().map(|&number| replay.header(number)).transpose()?;
    for (i, &number) in numbers.iter().enumerate() {
        let expected =
            SegmentHeader { cluster, node, number: i as u64 + 1, first_sequence: replay.recovered.sequence, previous };
        // The name counts as well: what is in a file of another number would all look torn.
        if header != Some(expected) || number != expected.number {
            let found = header.map(|header| format!("{header:?}")).unwrap_or_default();
            return Err(corrupt(
                &segments.path(number),
                0,
                &format!("the segment does not follow what is before it: {found} instead of {expected:?}"),
            ));
        }
        let next = numbers.get(i + 1).map(|&next| replay.header(next)).transpose()?;
        let end = replay.segment(number, next.map(|next| next.previous))?;
        previous = Mark { at: Position { segment: number, offset: end }, sequence: replay.recovered.sequence - 1 };
        header = next;
    }
    Ok(replay.recovered)
}

/// The segments there are, in order.
fn numbers<D: Disk>(segments: &Segments<D>) -> Result<Vec<u64>, OpenError> {
    let dir = segments.dir();
    if !segments.disk().exists(dir).map_err(io_error("cannot look for", dir))? {
        return Ok(Vec::new());
    }
    let names = segments.disk().list(dir).map_err(io_error("cannot list", dir))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

struct Replay<'a, D: Disk> {
    segments: &'a Segments<D>,
    cluster: ClusterId,
    node: NodeId,
    hot_limit: u64,
    recovered: Recovered,
}

impl<D: Disk> Replay<'_, D> {
    fn header(&self, number: u64) -> Result<SegmentHeader, OpenError> {
        let path = self.segments.path(number);
        let mut bytes = [0; SEGMENT_HEADER_LEN as usize];
        let file = self.segments.reader(number).map_err(io_error("cannot open", &path))?;
        match file.read_exact_at(0, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(corrupt(&path, 0, "the file is shorter than a segment header"));
            }
            Err(error) => return Err(io_error("cannot read", &path)(error)),
        }
        let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
            SegmentHeaderError::Damaged => corrupt(&path, 0, "the segment header does not verify"),
            SegmentHeaderError::Version(version) => OpenError::Halt(Halt::UnknownEntry(format!(
                "{}: segment format version {version}, which this build does not know",
                path.display()
            ))),
        })?;
        if (header.cluster, header.node) != (self.cluster, self.node) {
            return Err(OpenError::Halt(Halt::WrongIdentity(format!(
                "{} was written by node {} of cluster {}, this is node {} of cluster {}",
                path.display(),
                header.node,
                header.cluster,
                self.node,
                self.cluster
            ))));
        }
        Ok(header)
    }

    /// Goes through one segment. `sealed`: where the next segment says it ends. Gives the end.
    fn segment(&mut self, number: u64, sealed: Option<Mark>) -> Result<u64, OpenError> {
        let path = self.segments.path(number);
        let file = self.segments.reader(number).map_err(io_error("cannot open", &path))?;
        let origin = Origin { cluster: self.cluster, node: self.node, segment: number };
        let mut scan = Scan::new(&*file, origin, self.recovered.sequence).map_err(io_error("cannot read", &path))?;
        let mut closed = false;
        let damage = loop {
            let begin = scan.offset();
            if sealed.is_some_and(|end| begin >= end.at.offset) {
                return Ok(begin);
            }
            match scan.next_batch() {
                Ok(batch) => {
                    closed =
                        batch.frames.len() == 1 && batch.header.mark.at == Position { segment: number, offset: begin };
                    // Marks only grow: each states what the writer knew when it wrote the batch.
                    self.recovered.mark = batch.header.mark;
                    self.batch(&path, number, batch)?;
                }
                Err(Stop::Damage { offset, what }) => break corrupt(&path, offset, &what),
                Err(Stop::Foreign { offset, what }) => {
                    let detail = format!("{} at byte {offset}: {what}", path.display());
                    return Err(OpenError::Halt(Halt::WrongIdentity(detail)));
                }
                Err(Stop::Unknown { offset, what }) => {
                    let detail = format!("{} at byte {offset}: {what}", path.display());
                    return Err(OpenError::Halt(Halt::UnknownEntry(detail)));
                }
                Err(Stop::Io(error)) => return Err(io_error("cannot read", &path)(error)),
            }
        };
        if sealed.is_some() {
            return Err(damage);
        }
        let end = scan.offset();
        let rest = scan.rest().map_err(io_error("cannot read", &path))?;
        if rest.mark.is_some_and(|mark| mark.at > Position { segment: number, offset: end }) {
            return Err(damage);
        }
        self.recovered.newest = Some(Newest { number, end, len: scan.file_len(), closed: closed && rest.zeros });
        Ok(end)
    }

    fn batch(&mut self, path: &Path, segment: u64, batch: Batch) -> Result<(), OpenError> {
        for frame in batch.frames {
            self.frame(segment, &frame).map_err(|what| corrupt(path, frame.offset, &what))?;
            self.recovered.sequence += 1;
        }
        Ok(())
    }

    /// Follows one verified frame: checks what ties it to those before it, and does what it says.
    fn frame(&mut self, segment: u64, frame: &Found) -> Result<(), String> {
        let header = &frame.header;
        let chain = self.recovered.chains.get(&header.partition).copied().unwrap_or_default();
        if header.link != chain.link {
            return Err(format!("frame {} does not link to the one before it in its partition", header.sequence));
        }
        let hash = match (header.kind, header.partition) {
            (Kind::BatchHeader, BATCHES) => chain.hash,
            (Kind::Peer, PEERS) => {
                let peer = decode_peer(&frame.payload).ok_or("the peer's identity has the wrong form")?;
                self.recovered.peers.insert(peer.node, peer);
                chain.hash
            }
            (Kind::BatchHeader | Kind::Peer, _) | (_, BATCHES | PEERS) => {
                return Err(format!("a frame of kind {:?} in partition {:#x}", header.kind, header.partition));
            }
            _ => self.partition_frame(segment, frame, chain)?,
        };
        if header.hash != hash {
            return Err(format!("the log hash of frame {} does not match", header.sequence));
        }
        self.recovered.chains.insert(header.partition, Chain { link: link(&frame.header_bytes), hash });
        Ok(())
    }

    /// Gives the log hash the frame must carry.
    fn partition_frame(&mut self, segment: u64, frame: &Found, chain: Chain) -> Result<[u8; 16], String> {
        let header = &frame.header;
        let id = LogId { term: header.term, index: header.index };
        let partition = PartitionId(header.partition);
        let hot_limit = self.hot_limit;
        let state = self.recovered.partitions.entry(partition).or_insert_with(|| State::new(hot_limit));
        let reader = Reader { segments: self.segments, cluster: self.cluster, node: self.node, partition };
        let (first, next) = (state.first(), state.next());
        match header.kind {
            Kind::Blank | Kind::Membership | Kind::Entry => {
                if id.index != next && !state.may_begin_anywhere() {
                    return Err(format!("entry {id} follows {:?}", state.last()));
                }
                let hash = log_hash(&chain.hash, id.index, id.term, header.crc);
                state.recover_entry(id, hash, Slot::new(segment, frame.offset, header.len));
                Ok(hash)
            }
            Kind::Vote => {
                let vote = decode_vote(&frame.payload).ok_or("the vote has the wrong form")?;
                state.vote_written(vote);
                Ok(chain.hash)
            }
            Kind::Committed => {
                state.set_committed(id);
                Ok(chain.hash)
            }
            Kind::Truncate => {
                if !(first..=next).contains(&id.index) {
                    return Err(format!("a truncation from {} on in a log of {first}..{next}", id.index));
                }
                let hash = match id.index.checked_sub(1) {
                    Some(kept) => reader.hash(state.hash_at(kept), kept).map_err(|error| error.to_string())?,
                    None => [0; 16],
                };
                state.recover_truncate(id.index, hash);
                Ok(hash)
            }
            Kind::Purge => {
                let upto_hash = decode_purge(&frame.payload).ok_or("the purge has the wrong form")?;
                if id.index + 1 < first {
                    return Err(format!("a purge up to {id} in a log of {first}..{next}"));
                }
                let known = if id.index < next && id.index + 1 > first {
                    Some(reader.hash(state.hash_at(id.index), id.index).map_err(|error| error.to_string())?)
                } else {
                    None
                };
                if known.is_some_and(|known| known != upto_hash) {
                    return Err(format!("the log hash at {id} is not the one the purge recorded"));
                }
                state.recover_purge(id, upto_hash);
                Ok(state.hash())
            }
            Kind::BatchHeader | Kind::Peer => Err(format!("a frame of kind {:?} in {partition}", header.kind)),
        }
    }
}

impl Recovered {
    /// Makes the files agree with what was recovered, durably, and gives the writer its place. Nothing of what was
    /// recovered counts before this has returned: bytes that verify may so far exist in the page cache alone.
    pub(crate) fn repair<D: Disk>(
        &mut self,
        segments: &Segments<D>,
        cluster: ClusterId,
        node: NodeId,
        supply: &Supply,
    ) -> Result<Ready<D::File>, OpenError> {
        let dir = segments.dir();
        self.remove_unfinished(segments)?;
        segments.disk().create_dir_all(dir).map_err(disk_failed("create", dir))?;
        supply.open(segments).map_err(io_error("cannot look at", dir))?;
        let mut durable = Mark::default();
        let mut cut = None;
        if let Some(newest) = self.newest {
            let path = segments.path(newest.number);
            let file = segments.disk().open(&path).map_err(io_error("cannot open", &path))?;
            if !newest.closed && newest.len > newest.end {
                file.truncate(newest.end).map_err(disk_failed("cut", &path))?;
            }
            self.write_again(&file, newest).map_err(disk_failed("write", &path))?;
            file.sync_all().map_err(disk_failed("sync", &path))?;
            segments.disk().sync_dir(dir).map_err(disk_failed("sync", dir))?;
            let at = Position { segment: newest.number, offset: newest.end };
            durable = Mark { at, sequence: self.sequence - 1 };
            if newest.closed {
                return Ok(Ready { file, capacity: newest.len, tail: self.tail(cluster, node, at, durable) });
            }
            cut = Some(file);
        }
        let number = durable.at.segment + 1;
        let header = SegmentHeader { cluster, node, number, first_sequence: self.sequence, previous: durable };
        let path = segments.path(number);
        match (supply.fresh(segments, &header, 0), cut) {
            (Ok((file, capacity)), _) => {
                let at = Position { segment: number, offset: SEGMENT_HEADER_LEN };
                Ok(Ready { file, capacity, tail: self.tail(cluster, node, at, durable) })
            }
            // A full disk is no reason not to open (R66): the writer stands at the end of the cut segment as behind a
            // full one, and waits for room when it has something to write.
            (Err(error), Some(file)) if is_out_of_space(&error) => {
                supply.set_blocked(true);
                let tail = self.tail(cluster, node, durable.at, durable);
                Ok(Ready { file, capacity: durable.at.offset, tail })
            }
            (Err(error), _) => Err(disk_failed("create", &path)(error)),
        }
    }

    /// Writes what lies behind the last mark once more, with the bytes it has. A sync that failed before the restart may
    /// have left these pages clean and unwritten: another sync alone would pass over them.
    fn write_again<F: DiskFile>(&self, file: &F, newest: Newest) -> io::Result<()> {
        let marked = if self.mark.at.segment == newest.number { self.mark.at.offset } else { SEGMENT_HEADER_LEN };
        let mut at = marked;
        while at < newest.end {
            let mut bytes = vec![0; (newest.end - at).min(REWRITE) as usize];
            file.read_exact_at(at, &mut bytes)?;
            file.write_all_at(at, &[&bytes])?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn tail(&mut self, cluster: ClusterId, node: NodeId, at: Position, durable: Mark) -> Tail {
        Tail { cluster, node, at, sequence: self.sequence, chains: std::mem::take(&mut self.chains), durable }
    }

    /// Removes what a crash left of a segment that was being made.
    fn remove_unfinished<D: Disk>(&self, segments: &Segments<D>) -> Result<(), OpenError> {
        let (disk, dir) = (segments.disk(), segments.dir());
        if !disk.exists(dir).map_err(io_error("cannot look for", dir))? {
            return Ok(());
        }
        for name in disk.list(dir).map_err(io_error("cannot list", dir))? {
            if is_unfinished(&name) || supply::is_unfinished(&name) {
                disk.remove_file(&dir.join(&name)).map_err(disk_failed("remove", &dir.join(&name)))?;
            }
        }
        Ok(())
    }
}

fn corrupt(path: &Path, offset: u64, what: &str) -> OpenError {
    OpenError::Halt(Halt::Corrupt(format!("{} at byte {offset}: {what}; nothing was changed", path.display())))
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { what, path: path.to_path_buf(), source }
}

pub(crate) fn disk_failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |error| OpenError::Halt(Halt::DiskFailed(format!("cannot {what} {}: {error}", path.display())))
}
