//! Reading entries back from segments. Nothing is believed because it was right once: every read checks.
use super::{
    EntryKind, WalEntry,
    footer::decode_table,
    frame::{HEADER_LEN, Header, Kind, LogHash, frame_len},
    index::{Block, Extent, Found, Place, Slot, Source, Table},
    memory::{HashAt, Located},
    replay::Files,
    scan::{Found as FrameFound, Origin, Scan, Stop},
    segment::{SEGMENT_HEADER_LEN, SegmentHeader},
};
use crate::{
    topic::{LogId, PartitionId},
    world::{Disk, DiskFile},
};
use bytes::{Bytes, BytesMut};
use std::{collections::BTreeMap, io, sync::Arc};

/// Frames further apart than this are read one by one.
const MAX_GAP: u64 = 16 << 10;
/// Frames are read together up to about this many bytes.
const MAX_RUN: u64 = 1 << 20;

/// Reads frames of one partition.
#[derive(Debug)]
pub(crate) struct Reader<'a, D: Disk> {
    pub files: Files<'a, D>,
    pub partition: PartitionId,
}

impl<D: Disk> Reader<'_, D> {
    /// The entries up to about `max_bytes` of payload, at least one; those on disk read in as few pieces as their places
    /// allow.
    pub(crate) fn entries(&self, located: Vec<Located>, max_bytes: u64) -> io::Result<Vec<WalEntry>> {
        let mut run = Run { reader: self, entries: Vec::new(), cold: Vec::new(), left: max_bytes, full: false };
        for located in located {
            match located {
                Located::Hot(entry) => run.hot(entry)?,
                Located::Cold(id, place) => run.cold(id, place)?,
                Located::Sealed(extent, range, terms) => {
                    let table = self.table(&extent)?;
                    for index in range {
                        let term = terms.get(index).expect("every entry that was located has a term");
                        run.cold(LogId { term, index }, self.place(&extent, &table, index)?)?;
                        if run.full {
                            break;
                        }
                    }
                }
            }
            if run.full {
                break;
            }
        }
        run.finish()
    }

    /// The log hash, from memory or from the header of a frame.
    pub(crate) fn hash(&self, at: HashAt, index: u64) -> io::Result<LogHash> {
        let place = match at {
            HashAt::Known(hash) => return Ok(hash),
            HashAt::Frame(place) => place,
            HashAt::Sealed(extent) => self.locate(Found::Sealed(&extent), index)?,
        };
        let mut bytes = [0; HEADER_LEN];
        self.files.segments.reader(place.segment)?.read_exact_at(place.offset, &mut bytes)?;
        Ok(self.header(&bytes, place, index)?.hash)
    }

    /// Where an entry lies that the index knows of.
    pub(crate) fn locate(&self, found: Found<'_>, index: u64) -> io::Result<Place> {
        match found {
            Found::Place(place) => Ok(place),
            Found::Sealed(extent) => self.place(extent, &*self.table(extent)?, index),
        }
    }

    fn place(&self, extent: &Extent, table: &Table, index: u64) -> io::Result<Place> {
        let slot = table.get(index).ok_or_else(|| {
            let path = self.files.segments.path(extent.segment);
            let what = format!("{}: the table of {} has no entry {index}", path.display(), self.partition);
            io::Error::new(io::ErrorKind::InvalidData, what)
        });
        slot.map(|slot| slot.in_segment(extent.segment))
    }

    /// The table of a sealed segment, from memory or from its footer.
    fn table(&self, extent: &Extent) -> io::Result<Arc<Table>> {
        match &extent.source {
            Source::Memory(table) => Ok(table.clone()),
            Source::Footer(block) => {
                self.files.tables.get((extent.segment, self.partition), || self.load(extent.segment, block))
            }
        }
    }

    /// The table of a segment's entries, from its footer. Where that rotted nothing is lost: the frames say the same.
    fn load(&self, segment: u64, block: &Block) -> io::Result<Table> {
        let file = self.files.segments.reader(block.at.segment)?;
        let mut bytes = vec![0; block.count as usize * Slot::LEN];
        file.read_exact_at(block.at.offset, &mut bytes)?;
        if let Some(table) = decode_table(&bytes, block) {
            return Ok(table);
        }
        let path = self.files.segments.path(block.at.segment);
        let what =
            format!("{} at byte {}: the table of {} does not verify", path.display(), block.at.offset, self.partition);
        tracing::warn!(what, "the frames are read instead");
        let found = self.table_of_frames(segment, block)?;
        found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{what}, and neither do its frames")))
    }

    /// The same table from the frames it is about; the checksum a footer has of it says whether it is. `None`: it is not.
    fn table_of_frames(&self, segment: u64, block: &Block) -> io::Result<Option<Table>> {
        let Files { segments, cluster, node, .. } = self.files;
        let file = segments.reader(segment)?;
        let mut header = [0; SEGMENT_HEADER_LEN as usize];
        file.read_exact_at(0, &mut header)?;
        let Ok(header) = SegmentHeader::decode(&header) else { return Ok(None) };
        let mut scan = Scan::new(&*file, Origin { cluster, node, segment }, header.first_sequence)?;
        let mut slots = BTreeMap::new();
        loop {
            match scan.next_batch() {
                Ok(batch) => {
                    let ours = |frame: &&FrameFound| frame.header.partition == self.partition.0;
                    for FrameFound { offset, header, .. } in batch.frames.iter().filter(ours) {
                        if matches!(header.kind, Kind::Blank | Kind::Membership | Kind::Entry) {
                            // One that was taken back and appended again is where it was written last.
                            slots.insert(header.index, Slot::new(*offset, header.len).encode());
                        }
                    }
                }
                Err(Stop::Io(error)) => return Err(error),
                // The end of what was written, or damage: then the checksum does not fit.
                Err(_) => break,
            }
        }
        let bytes: Vec<u8> = slots.range(block.range()).flat_map(|(_, slot)| *slot).collect();
        Ok(decode_table(&bytes, block))
    }

    fn read_run(&self, run: &[(LogId, Place)], entries: &mut Vec<WalEntry>) -> io::Result<()> {
        let (Some(&(_, first)), Some(&(_, last))) = (run.first(), run.last()) else { return Ok(()) };
        let mut bytes = BytesMut::zeroed((end(last) - first.offset) as usize);
        self.files.segments.reader(first.segment)?.read_exact_at(first.offset, &mut bytes)?;
        let bytes = bytes.freeze();
        for &(id, place) in run {
            let at = (place.offset - first.offset) as usize;
            entries.push(self.entry(bytes.slice(at..at + frame_len(place.len.into()) as usize), id, place)?);
        }
        Ok(())
    }

    fn entry(&self, frame: Bytes, id: LogId, place: Place) -> io::Result<WalEntry> {
        let (head, _) = frame.split_first_chunk().expect("a frame is longer than its header");
        let header = self.header(head, place, id.index)?;
        let kind = match header.kind {
            Kind::Blank => EntryKind::Blank,
            Kind::Membership => EntryKind::Membership,
            Kind::Entry => EntryKind::Batch,
            kind => return Err(self.damaged(place, format!("expected entry {id}, found a frame of kind {kind:?}"))),
        };
        if header.term != id.term || header.len != place.len {
            return Err(self.damaged(
                place,
                format!(
                    "expected entry {id} of {} bytes, found term {} and {} bytes",
                    place.len, header.term, header.len
                ),
            ));
        }
        let payload = frame.slice(HEADER_LEN..HEADER_LEN + header.len as usize);
        if crc32c::crc32c(&payload) != header.crc {
            return Err(self.damaged(place, format!("the checksum of the payload of entry {id} does not match")));
        }
        Ok(WalEntry { id, kind, payload, crc: header.crc })
    }

    fn header(&self, bytes: &[u8; HEADER_LEN], place: Place, index: u64) -> io::Result<Header> {
        let header = Header::decode(bytes).map_err(|error| self.damaged(place, error.to_string()))?;
        let found = (header.cluster, header.node, header.segment, header.partition, header.index);
        let expected = (self.files.cluster, self.files.node, place.segment, self.partition.0, index);
        if found != expected {
            return Err(self.damaged(
                place,
                format!("expected (cluster, node, segment, partition, index) {expected:?}, found {found:?}"),
            ));
        }
        Ok(header)
    }

    fn damaged(&self, place: Place, what: String) -> io::Error {
        let path = self.files.segments.path(place.segment);
        io::Error::new(io::ErrorKind::InvalidData, format!("{} at byte {}: {what}", path.display(), place.offset))
    }
}

/// Entries on their way to a reader, in order.
struct Run<'a, D: Disk> {
    reader: &'a Reader<'a, D>,
    entries: Vec<WalEntry>,
    /// To be read together, behind those.
    cold: Vec<(LogId, Place)>,
    left: u64,
    full: bool,
}

impl<D: Disk> Run<'_, D> {
    fn hot(&mut self, entry: WalEntry) -> io::Result<()> {
        if self.takes(entry.payload.len() as u64) {
            self.flush()?;
            self.entries.push(entry);
        }
        Ok(())
    }

    fn cold(&mut self, id: LogId, place: Place) -> io::Result<()> {
        if !self.takes(place.len.into()) {
            return Ok(());
        }
        if !self.cold.last().is_none_or(|&(_, last)| joins(self.cold[0].1, last, place)) {
            self.flush()?;
        }
        self.cold.push((id, place));
        Ok(())
    }

    fn takes(&mut self, bytes: u64) -> bool {
        let none_yet = self.entries.is_empty() && self.cold.is_empty();
        self.full = bytes > self.left && !none_yet;
        self.left = self.left.saturating_sub(bytes);
        !self.full
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader.read_run(&self.cold, &mut self.entries)?;
        self.cold.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<WalEntry>> {
        self.flush()?;
        Ok(self.entries)
    }
}

/// Whether the next frame is read together with a run that begins with `first` and ends with `last`.
fn joins(first: Place, last: Place, next: Place) -> bool {
    let gap = next.offset.checked_sub(end(last));
    next.segment == first.segment && gap.is_some_and(|gap| gap <= MAX_GAP) && end(next) - first.offset <= MAX_RUN
}

fn end(place: Place) -> u64 {
    place.offset + frame_len(place.len.into())
}
