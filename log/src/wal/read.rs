//! Reading entries back from segments. Nothing is believed because it was right once: every read checks.
use super::{
    EntryKind, WalEntry,
    frame::{HEADER_LEN, Header, Kind, LogHash, frame_len},
    memory::{HashAt, Located, Slot},
    segment::Segments,
};
use crate::{
    topic::{ClusterId, LogId, NodeId, PartitionId},
    world::{Disk, DiskFile},
};
use bytes::{Bytes, BytesMut};
use std::io;

/// Frames further apart than this are read one by one.
const MAX_GAP: u64 = 16 << 10;
/// Frames are read together up to about this many bytes.
const MAX_RUN: u64 = 1 << 20;

/// Reads frames of one partition.
#[derive(Debug)]
pub(crate) struct Reader<'a, D: Disk> {
    pub segments: &'a Segments<D>,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub partition: PartitionId,
}

impl<D: Disk> Reader<'_, D> {
    /// The entries, those on disk read in as few pieces as their places allow.
    pub(crate) fn entries(&self, located: Vec<Located>) -> io::Result<Vec<WalEntry>> {
        let mut entries = Vec::with_capacity(located.len());
        let mut run: Vec<(LogId, Slot)> = Vec::new();
        for located in located {
            match located {
                Located::Cold(id, slot) => {
                    if !run.last().is_none_or(|&(_, last)| joins(run[0].1, last, slot)) {
                        self.read_run(&run, &mut entries)?;
                        run.clear();
                    }
                    run.push((id, slot));
                }
                Located::Hot(entry) => {
                    self.read_run(&run, &mut entries)?;
                    run.clear();
                    entries.push(entry);
                }
            }
        }
        self.read_run(&run, &mut entries)?;
        Ok(entries)
    }

    /// The log hash, from memory or from the header of a frame.
    pub(crate) fn hash(&self, at: HashAt, index: u64) -> io::Result<LogHash> {
        match at {
            HashAt::Known(hash) => Ok(hash),
            HashAt::Frame(slot) => {
                let mut bytes = [0; HEADER_LEN];
                self.segments.reader(slot.segment())?.read_exact_at(slot.offset(), &mut bytes)?;
                let header = self.header(&bytes, slot, index)?;
                Ok(header.hash)
            }
        }
    }

    fn read_run(&self, run: &[(LogId, Slot)], entries: &mut Vec<WalEntry>) -> io::Result<()> {
        let (Some(&(_, first)), Some(&(_, last))) = (run.first(), run.last()) else { return Ok(()) };
        let mut bytes = BytesMut::zeroed((end(last) - first.offset()) as usize);
        self.segments.reader(first.segment())?.read_exact_at(first.offset(), &mut bytes)?;
        let bytes = bytes.freeze();
        for &(id, slot) in run {
            let at = (slot.offset() - first.offset()) as usize;
            entries.push(self.entry(bytes.slice(at..at + frame_len(slot.len().into()) as usize), id, slot)?);
        }
        Ok(())
    }

    fn entry(&self, frame: Bytes, id: LogId, slot: Slot) -> io::Result<WalEntry> {
        let (head, _) = frame.split_first_chunk().expect("a frame is longer than its header");
        let header = self.header(head, slot, id.index)?;
        let kind = match header.kind {
            Kind::Blank => EntryKind::Blank,
            Kind::Membership => EntryKind::Membership,
            Kind::Entry => EntryKind::Batch,
            kind => return Err(self.damaged(slot, format!("expected entry {id}, found a frame of kind {kind:?}"))),
        };
        if header.term != id.term || header.len != slot.len() {
            return Err(self.damaged(
                slot,
                format!(
                    "expected entry {id} of {} bytes, found term {} and {} bytes",
                    slot.len(),
                    header.term,
                    header.len
                ),
            ));
        }
        let payload = frame.slice(HEADER_LEN..HEADER_LEN + header.len as usize);
        if crc32c::crc32c(&payload) != header.crc {
            return Err(self.damaged(slot, format!("the checksum of the payload of entry {id} does not match")));
        }
        Ok(WalEntry { id, kind, payload, crc: header.crc })
    }

    fn header(&self, bytes: &[u8; HEADER_LEN], slot: Slot, index: u64) -> io::Result<Header> {
        let header = Header::decode(bytes).map_err(|error| self.damaged(slot, error.to_string()))?;
        let found = (header.cluster, header.node, header.segment, header.partition, header.index);
        let expected = (self.cluster, self.node, slot.segment(), self.partition.0, index);
        if found != expected {
            return Err(self.damaged(
                slot,
                format!("expected (cluster, node, segment, partition, index) {expected:?}, found {found:?}"),
            ));
        }
        Ok(header)
    }

    fn damaged(&self, slot: Slot, what: String) -> io::Error {
        let path = self.segments.path(slot.segment());
        io::Error::new(io::ErrorKind::InvalidData, format!("{} at byte {}: {what}", path.display(), slot.offset()))
    }
}

/// Whether the next frame is read together with a run that begins with `first` and ends with `last`.
fn joins(first: Slot, last: Slot, next: Slot) -> bool {
    let gap = next.offset().checked_sub(end(last));
    next.segment() == first.segment() && gap.is_some_and(|gap| gap <= MAX_GAP) && end(next) - first.offset() <= MAX_RUN
}

fn end(slot: Slot) -> u64 {
    slot.offset() + frame_len(slot.len().into())
}
