//! Segment files: their names, their first block, how one comes into being, and open handles to read from.
use super::{
    frame::{id_at, u32_at, u64_at},
    payload::{Mark, Position},
    supply::is_out_of_space,
};
use crate::{
    topic::{ClusterId, NodeId},
    world::{Disk, DiskFile},
};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Bytes before the first batch of a segment.
pub(crate) const SEGMENT_HEADER_LEN: u64 = 4096;
const SEGMENT_MAGIC: [u8; 4] = *b"CDWS";
const SEGMENT_VERSION: u8 = 1;
/// Handles kept open for reading. More segments than this are read by opening them again.
const MAX_OPEN: usize = 64;

/// The first block of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub number: u64,
    /// Number of the first frame in this segment.
    pub first_sequence: u64,
    /// Where the segment before this one ends, and its last frame. All zeros for segment 1. Everything up to there was
    /// durable before this segment was made, so whatever does not verify there is damage.
    pub previous: Mark,
    /// Where the batch of the footer of the segment before this one begins: in that segment, as its last batch, or in this
    /// one, as the first. All zeros for segment 1.
    pub footer: Position,
    /// What the first frames of this segment link to.
    pub links: Links,
}

/// Where the chains stand that a damaged footer would break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub batches: u64,
    pub footers: u64,
}

/// Why a block is not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeaderError {
    Damaged,
    Version(u8),
    /// Something is where nothing is defined.
    Reserved,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN as usize] {
        let mut bytes = [0; SEGMENT_HEADER_LEN as usize];
        bytes[0..4].copy_from_slice(&SEGMENT_MAGIC);
        bytes[4] = SEGMENT_VERSION;
        bytes[8..24].copy_from_slice(&self.cluster.0);
        bytes[24..32].copy_from_slice(&self.node.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous.at.segment.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.previous.at.offset.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.previous.sequence.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.footer.segment.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.footer.offset.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.links.batches.to_le_bytes());
        bytes[96..104].copy_from_slice(&self.links.footers.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_LEN as usize]) -> Result<SegmentHeader, SegmentHeaderError> {
        if bytes[0..4] != SEGMENT_MAGIC || crc32c::crc32c(&bytes[..4092]) != u32_at(bytes, 4092) {
            return Err(SegmentHeaderError::Damaged);
        }
        if bytes[4] != SEGMENT_VERSION {
            return Err(SegmentHeaderError::Version(bytes[4]));
        }
        let header = SegmentHeader {
            cluster: ClusterId(id_at(bytes, 8)),
            node: u64_at(bytes, 24),
            number: u64_at(bytes, 32),
            first_sequence: u64_at(bytes, 40),
            previous: Mark {
                at: Position { segment: u64_at(bytes, 48), offset: u64_at(bytes, 56) },
                sequence: u64_at(bytes, 64),
            },
            footer: Position { segment: u64_at(bytes, 72), offset: u64_at(bytes, 80) },
            links: Links { batches: u64_at(bytes, 88), footers: u64_at(bytes, 96) },
        };
        if header.encode() == *bytes { Ok(header) } else { Err(SegmentHeaderError::Reserved) }
    }
}

/// The folder of the segments in a data directory.
pub(crate) fn wal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("wal")
}

fn file_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number in a segment's file name; `None` for any other name.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Whether a file is what a crash left of a segment that was being made. It never held a frame.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".new").is_some_and(|name| parse_name(name).is_some())
}

/// The segment files of one node.
#[derive(Debug)]
pub(crate) struct Segments<D: Disk> {
    disk: D,
    dir: PathBuf,
    /// Most recently opened last.
    open: Mutex<VecDeque<(u64, Arc<D::File>)>>,
}

impl<D: Disk> Segments<D> {
    /// Over the `wal` folder of a data directory.
    pub(crate) fn new(disk: D, data_dir: &Path) -> Self {
        Segments { disk, dir: wal_dir(data_dir), open: Mutex::default() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.parent().expect("the folder of the segments is in the data directory")
    }

    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(file_name(number))
    }

    /// Makes a segment of `len` bytes with a first batch, given in pieces, or ready for it.
    ///
    /// The order is the promise: the file is complete and synced under a side name, takes its name, and the folder is
    /// synced, before anyone may write a frame to it. So a file with a segment's name always has a header, and a frame
    /// never sits in a file whose name a power cut can take away. Where there is no room nothing is left behind.
    pub(crate) fn create(&self, header: &SegmentHeader, len: u64, first: &[&[u8]]) -> io::Result<D::File> {
        let side = self.path(header.number).with_extension("seg.new");
        let file = self.complete(&side, len, &[&[&header.encode()[..]], first].concat())?;
        self.name(&side, header.number)?;
        Ok(file)
    }

    /// Makes a durable file under a name that does not count yet; removes what is there of it where there is no room.
    pub(crate) fn complete(&self, side: &Path, len: u64, begin: &[&[u8]]) -> io::Result<D::File> {
        let file = self.disk.create_new(side)?;
        let fill = || {
            file.allocate(len)?;
            if !begin.is_empty() {
                file.write_all_at(0, begin)?;
            }
            file.sync_all()
        };
        match fill() {
            Ok(()) => Ok(file),
            Err(error) if is_out_of_space(&error) => {
                self.disk.remove_file(side)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a complete file the name of a segment, durably. No error of this is one of space: from here on it counts.
    pub(crate) fn name(&self, side: &Path, number: u64) -> io::Result<()> {
        let named = self.disk.rename(side, &self.path(number)).and_then(|()| self.disk.sync_dir(&self.dir));
        named.map_err(|error| io::Error::other(format!("naming segment {number}: {error}")))
    }

    /// A handle to read a segment by.
    pub(crate) fn reader(&self, number: u64) -> io::Result<Arc<D::File>> {
        let mut open = self.open.lock().expect("nothing panics while it holds the handles");
        if let Some((_, file)) = open.iter().find(|(open, _)| *open == number) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.disk.open_read(&self.path(number))?);
        if open.len() == MAX_OPEN {
            open.pop_front();
        }
        open.push_back((number, file.clone()));
        Ok(file)
    }
}
