//! Going through one segment file, batch by batch. A batch counts as a whole or not at all.
use super::{
    batch::BATCH_HEADER_LEN,
    footer::{Directory, segment_of},
    frame::{ALIGN, HEADER_LEN, Header, HeaderError, Kind, MAGIC, link, sum_header},
    payload::{BatchHeader, Mark, Position},
    segment::SEGMENT_HEADER_LEN,
};
use crate::{
    topic::{ClusterId, NodeId},
    world::DiskFile,
};
use std::io;

/// Bytes read at a time.
const WINDOW: usize = 1 << 20;
/// Likewise, of a footer: most directories fit.
pub(crate) const FOOTER_WINDOW: usize = 4 << 10;
/// To compare with: most of a segment's rest was never written.
static ZEROS: [u8; WINDOW] = [0; WINDOW];

/// Who wrote the frames that may be in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub segment: u64,
}

/// Why the scan does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What is at `offset` does not verify. Whether that is a torn tail or rot is for others to say.
    Damage {
        offset: u64,
        what: String,
    },
    /// What is there is intact, and another node's.
    Foreign {
        offset: u64,
        what: String,
    },
    /// What is there is intact, and newer than this build.
    Unknown {
        offset: u64,
        what: String,
    },
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

/// A frame of a verified batch.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it begins in the segment.
    pub offset: u64,
    pub header: Header,
    pub header_bytes: [u8; HEADER_LEN],
    /// Empty for entries.
    pub payload: Vec<u8>,
}

/// A batch of which every checksum, every length and every sequence number is right.
#[derive(Debug)]
pub(crate) struct Batch {
    pub header: BatchHeader,
    /// The frame of the header, then those it announces.
    pub frames: Vec<Found>,
}

impl Batch {
    /// Whether this is the footer of a segment.
    pub(crate) fn is_footer_of(&self, segment: u64) -> bool {
        self.frames
            .get(1)
            .is_some_and(|frame| frame.header.kind == Kind::Footer && segment_of(&frame.payload) == Some(segment))
    }
}

/// A footer, of which every checksum of what a start reads is right.
#[derive(Debug)]
pub(crate) struct FooterFound {
    pub directory: Directory,
    /// What its batch links to, and what the next batch must link to.
    pub batches: (u64, u64),
    /// Likewise, of footers.
    pub footers: (u64, u64),
}

/// What lies behind the last batch that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// The highest mark found there.
    pub mark: Option<Mark>,
    /// Whether nothing was ever written there.
    pub zeros: bool,
}

/// A position in a segment file.
#[derive(Debug)]
pub(crate) struct Scan<'a, F> {
    file: &'a F,
    len: u64,
    origin: Origin,
    /// Where the next batch begins.
    offset: u64,
    /// Number of the next frame.
    sequence: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Bytes read at a time.
    read: usize,
}

impl<'a, F: DiskFile> Scan<'a, F> {
    /// At the first batch.
    pub(crate) fn new(file: &'a F, origin: Origin, first_sequence: u64) -> io::Result<Self> {
        Self::at(file, origin, SEGMENT_HEADER_LEN, first_sequence, WINDOW)
    }

    /// At the batch at `offset`, whose header has the number `sequence`; reads at least `read` bytes at a time.
    pub(crate) fn at(file: &'a F, origin: Origin, offset: u64, sequence: u64, read: usize) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Scan { file, len, origin, offset, sequence, window: Vec::new(), window_at: 0, read })
    }

    /// The footer whose batch is at `offset`. Reads its directory and not its tables.
    pub(crate) fn footer(file: &'a F, origin: Origin, offset: u64, sequence: u64) -> Result<FooterFound, Stop> {
        let mut scan = Self::at(file, origin, offset, sequence, FOOTER_WINDOW)?;
        let batch = scan.frame(offset, sequence)?;
        let batch_header = (batch.header.kind == Kind::BatchHeader).then(|| BatchHeader::decode(&batch.payload));
        let at = offset + BATCH_HEADER_LEN;
        let (header, header_bytes) = scan.header(at, sequence + 1)?;
        let announced = batch_header.flatten().is_some_and(|batch| {
            (batch.frames, batch.headers_crc) == (1, sum_header(0, &header_bytes))
                && u64::from(batch.bytes) == header.frame_len()
        });
        if header.kind != Kind::Footer || !announced {
            return Err(damage(offset, "this is not the batch of a footer"));
        }
        let directory = scan.directory(at + HEADER_LEN as u64, header.len.into())?;
        Ok(FooterFound {
            directory,
            batches: (batch.header.link, link(&batch.header_bytes)),
            footers: (header.link, link(&header_bytes)),
        })
    }

    /// The directory at the beginning of a footer's payload of `len` bytes.
    fn directory(&mut self, offset: u64, len: u64) -> Result<Directory, Stop> {
        let segment = self.origin.segment;
        let head = self.bytes(offset, Directory::HEAD_LEN as u64)?.and_then(|head| head.first_chunk());
        let directory_len = head.map(Directory::len).filter(|&directory| directory <= len);
        let bytes = match directory_len {
            Some(directory_len) => self.bytes(offset, directory_len)?,
            None => None,
        };
        let decoded = bytes.and_then(|bytes| Directory::decode(bytes, Position { segment, offset }, len));
        decoded.ok_or_else(|| damage(offset, "the directory of the footer does not verify"))
    }

    /// Where the next batch begins, which is where the last one ended.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the file.
    pub(crate) fn file_len(&self) -> u64 {
        self.len
    }

    /// The next batch.
    pub(crate) fn next_batch(&mut self) -> Result<Batch, Stop> {
        let begin = self.offset;
        let first = self.frame(begin, self.sequence)?;
        if first.header.kind != Kind::BatchHeader {
            return Err(damage(
                begin,
                format!("a batch header was expected, this is a frame of kind {:?}", first.header.kind),
            ));
        }
        let header = BatchHeader::decode(&first.payload)
            .ok_or_else(|| damage(begin, "the payload of the batch header has the wrong form"))?;
        let mut frames = vec![first];
        let mut offset = begin + BATCH_HEADER_LEN;
        let end = offset + u64::from(header.bytes);
        let mut headers_crc = 0;
        for _ in 0..header.frames {
            let frame = self.frame(offset, self.sequence + frames.len() as u64)?;
            headers_crc = sum_header(headers_crc, &frame.header_bytes);
            offset += frame.header.frame_len();
            frames.push(frame);
        }
        if offset != end || headers_crc != header.headers_crc {
            return Err(damage(begin, "the frames are not those the batch header announces"));
        }
        self.offset = end;
        self.sequence += frames.len() as u64;
        Ok(Batch { header, frames })
    }

    /// Looks through everything from the current position to the end of the file.
    pub(crate) fn rest(&mut self) -> io::Result<Rest> {
        let mut rest = Rest { mark: None, zeros: true };
        let mut offset = self.offset;
        while offset < self.len {
            let window = self.window(offset)?;
            let here = window.len() as u64;
            if window != &ZEROS[..window.len()] {
                rest.zeros = false;
                let chunks = window.chunks(ALIGN as usize).zip((offset..).step_by(ALIGN as usize));
                let found: Vec<u64> = chunks.filter(|(chunk, _)| chunk.starts_with(&MAGIC)).map(|(_, at)| at).collect();
                for at in found {
                    rest.mark = rest.mark.into_iter().chain(self.mark_at(at)?).max_by_key(|mark| mark.at);
                }
            }
            offset += here;
        }
        Ok(rest)
    }

    /// The mark of the batch header at `offset`, if there is one.
    fn mark_at(&mut self, offset: u64) -> io::Result<Option<Mark>> {
        let origin = self.origin;
        let Some(bytes) = self.bytes(offset, BATCH_HEADER_LEN)? else { return Ok(None) };
        let (head, payload) =
            bytes.split_first_chunk::<HEADER_LEN>().expect("a batch header is longer than a frame header");
        let Ok(header) = Header::decode(head) else { return Ok(None) };
        let payload = &payload[..BatchHeader::LEN];
        let ours = Origin { cluster: header.cluster, node: header.node, segment: header.segment } == origin;
        let intact = header.kind == Kind::BatchHeader && ours && crc32c::crc32c(payload) == header.crc;
        Ok(BatchHeader::decode(payload).filter(|_| intact).map(|batch| batch.mark))
    }

    /// The frame at `offset`, which must have the number `sequence`.
    fn frame(&mut self, offset: u64, sequence: u64) -> Result<Found, Stop> {
        let (header, header_bytes) = self.header(offset, sequence)?;
        let Some(rest) = self.bytes(offset + HEADER_LEN as u64, header.frame_len() - HEADER_LEN as u64)? else {
            return Err(damage(offset, format!("the file ends inside frame {sequence}")));
        };
        let (payload, padding) = rest.split_at(header.len as usize);
        if crc32c::crc32c(payload) != header.crc {
            return Err(damage(offset, format!("the checksum of the payload of frame {sequence} does not match")));
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Err(damage(offset, format!("there is something behind the payload of frame {sequence}")));
        }
        // Checked, and not looked at again: recovery wants to know where entries are, not what they say.
        let payload = if header.kind.is_entry() { Vec::new() } else { payload.to_vec() };
        Ok(Found { offset, header, header_bytes, payload })
    }

    /// The header of that frame.
    fn header(&mut self, offset: u64, sequence: u64) -> Result<(Header, [u8; HEADER_LEN]), Stop> {
        let origin = self.origin;
        let Some(bytes) = self.bytes(offset, HEADER_LEN as u64)? else {
            return Err(damage(offset, "the file ends where a frame header should be"));
        };
        let header_bytes: [u8; HEADER_LEN] = bytes.try_into().expect("as many bytes as were asked for");
        let header = Header::decode(&header_bytes).map_err(|error| match error {
            HeaderError::Unknown { .. } => Stop::Unknown { offset, what: error.to_string() },
            HeaderError::Zeros | HeaderError::Magic | HeaderError::Crc | HeaderError::Length(_) => {
                damage(offset, error.to_string())
            }
        })?;
        if (header.cluster, header.node) != (origin.cluster, origin.node) {
            let what = format!("the frame was written by node {} of cluster {}", header.node, header.cluster);
            return Err(Stop::Foreign { offset, what });
        }
        if header.segment != origin.segment {
            return Err(damage(offset, format!("the frame belongs to segment {}", header.segment)));
        }
        if header.sequence != sequence {
            return Err(damage(offset, format!("frame {sequence} was expected, this is frame {}", header.sequence)));
        }
        Ok((header, header_bytes))
    }

    /// `len` bytes from `offset` on; `None` where the file ends before.
    fn bytes(&mut self, offset: u64, len: u64) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len).filter(|&end| end <= self.len) else { return Ok(None) };
        if offset < self.window_at || end > self.window_at + self.window.len() as u64 {
            let want = (len.max(self.read as u64)).min(self.len - offset) as usize;
            self.window.resize(want, 0);
            self.window_at = offset;
            if let Err(error) = self.file.read_exact_at(offset, &mut self.window) {
                self.window.clear();
                return Err(error);
            }
        }
        let from = (offset - self.window_at) as usize;
        Ok(Some(&self.window[from..from + len as usize]))
    }

    /// Up to a window of bytes from `offset` on, which is inside the file.
    fn window(&mut self, offset: u64) -> io::Result<&[u8]> {
        let len = (WINDOW as u64).min(self.len - offset);
        Ok(self.bytes(offset, len)?.unwrap_or_default())
    }
}

fn damage(offset: u64, what: impl Into<String>) -> Stop {
    Stop::Damage { offset, what: what.into() }
}
