//! What the bytes of a WAL still say of how far it was durable: written from `docs/disk-format.md`, not from the product's code.
use corduroy_log::testing::DiskImage;
use std::path::Path;

const HEADER_LEN: usize = 112;
const BATCH_HEADER: u8 = 1;

/// "Everything up to here is durable": segment, offset in it, sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
}

impl Mark {
    fn at(bytes: &[u8], at: usize) -> Mark {
        Mark { segment: word(bytes, at), offset: word(bytes, at + 8), sequence: word(bytes, at + 16) }
    }
}

/// The segments of a disk, oldest first.
pub(crate) fn segments(image: &DiskImage) -> Vec<(&Path, &[u8])> {
    image.files().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

/// The highest mark that can be read: in the headers of batches, and in the header of the newest segment.
pub(crate) fn highest(image: &DiskImage) -> Mark {
    let mut highest = Mark::default();
    for (_, bytes) in segments(image) {
        if bytes.len() >= 4096 && crc(&bytes[..4092]) == half(bytes, 4092) && bytes.starts_with(b"CDWS") {
            highest = highest.max(Mark::at(bytes, 48));
        }
        for mark in batches(bytes) {
            highest = highest.max(mark);
        }
    }
    highest
}

/// Where the segment before this one ends, as this one's header says.
pub(crate) fn previous_end(bytes: &[u8]) -> u64 {
    Mark::at(bytes, 48).offset
}

/// Whether the footer of the segment before this one is in this one, as this one's header says: that one was cut.
pub(crate) fn holds_footer_of_previous(bytes: &[u8]) -> bool {
    word(bytes, 72) == word(bytes, 32)
}

/// Where what was written in a segment ends, as far as its intact frames say.
pub(crate) fn end(bytes: &[u8]) -> u64 {
    let last = bytes.iter().rposition(|&byte| byte != 0);
    last.map_or(0, |last| last as u64 + 1)
}

fn batches(bytes: &[u8]) -> impl Iterator<Item = Mark> + '_ {
    (4096..bytes.len().saturating_sub(HEADER_LEN + 40)).step_by(8).filter_map(|at| {
        let frame = &bytes[at..];
        let intact = frame.starts_with(b"CDWF")
            && frame[5] == BATCH_HEADER
            && crc(&frame[..108]) == half(frame, 108)
            && crc(&frame[HEADER_LEN..HEADER_LEN + 40]) == half(frame, 76);
        intact.then(|| Mark::at(frame, HEADER_LEN))
    })
}

pub(super) fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(super) fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
