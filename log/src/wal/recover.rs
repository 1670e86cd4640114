//! Recovery: from the files to the state of every partition. Reads only; what has to change on disk is
//! [`Recovered::repair`]'s.
//!
//! Of a sealed segment it reads the footer; only the newest segment, and those without a footer that verifies, are gone
//! through frame by frame.
//!
//! The one decision that matters here is between *torn* and *rot*. A batch that does not verify in the newest segment,
//! with nothing behind it that says it was durable, is torn: nobody was ever told of it, and it is cut with everything
//! behind it. Whatever does not verify anywhere else was durable once: that is rot, and the node does not open. Cutting
//! there would lose what others count on. A footer alone is different: what it says is in the frames, too.
use super::{
    footer::{About, FOOTER_FRAMES},
    manifest::Held,
    payload::{Mark, Position},
    replay::{Files, NextFooter, Replay, ReplayError},
    scan::{Batch, FOOTER_WINDOW, FooterFound, Origin, Scan, Stop},
    segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentHeaderError, Segments, parse_name},
};
use crate::{
    error::OpenError,
    world::{Disk, DiskFile, Halt},
};
use std::{io, path::Path};

/// How much of sealed segments is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Footers, where they verify.
    Footers,
    /// Every frame, and footers are compared with them.
    Frames,
}

/// What the files say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub replay: Replay,
    pub(super) manifest: Held,
    /// The highest mark in the newest segment.
    pub(super) mark: Mark,
    pub(super) newest: Option<Newest>,
}

/// The segment with the highest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub number: u64,
    /// Where the last batch that counts ends.
    pub end: u64,
    /// Length of the file.
    pub len: u64,
    /// The WAL was closed in order: the last batch is a mark for everything before it, and nothing was written behind.
    pub closed: bool,
    /// Where its footer begins: the last batch is one, and the next segment was not made any more.
    pub footer: Option<u64>,
}

/// Reads what the WAL of a node says, and verifies what is read.
pub(crate) fn recover<D: Disk>(files: Files<'_, D>, depth: Depth) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery { files, depth, replay: Replay::new(), mark: Mark::default(), newest: None };
    let numbers = numbers(files.segments)?;
    let (disk, dir) = (files.segments.disk(), files.segments.data_dir());
    let manifest = Held::check(disk, dir, files.cluster, files.node, numbers.last().copied().unwrap_or(0))?;
    let mut previous = Mark::default();
    let mut header = numbers.first().map(|&number| recovery.header(number)).transpose()?;
    for (i, &number) in numbers.iter().enumerate() {
        let found = header.ok_or_else(|| corrupt(&files.segments.path(number), 0, "there is no header"))?;
        recovery.follows(i as u64 + 1, number, &found, previous)?;
        header = numbers.get(i + 1).map(|&next| recovery.header(next)).transpose()?;
        recovery.replay.first_sequence = found.first_sequence;
        let end = match &header {
            Some(next) => recovery.sealed(number, next)?,
            None => recovery.newest(number, found.footer)?,
        };
        previous = Mark { at: Position { segment: number, offset: end }, sequence: recovery.replay.sequence - 1 };
    }
    let Recovery { replay, mark, newest, .. } = recovery;
    Ok(Recovered { replay, manifest, mark, newest })
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

struct Recovery<'a, D: Disk> {
    files: Files<'a, D>,
    depth: Depth,
    replay: Replay,
    mark: Mark,
    newest: Option<Newest>,
}

/// Where the footer of a sealed segment is, and which frames it is about.
struct Sealed {
    about: About,
    /// Its batch.
    footer: Position,
    /// The batch is the last one of the segment, and not the first of the next one.
    last: bool,
}

impl<D: Disk> Recovery<'_, D> {
    fn header(&self, number: u64) -> Result<SegmentHeader, OpenError> {
        let path = self.files.segments.path(number);
        let mut bytes = [0; SEGMENT_HEADER_LEN as usize];
        let file = self.files.segments.reader(number).map_err(io_error("cannot open", &path))?;
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
            SegmentHeaderError::Reserved => OpenError::Halt(Halt::UnknownEntry(format!(
                "{}: the segment header says something where this build knows nothing",
                path.display()
            ))),
        })?;
        if (header.cluster, header.node) != (self.files.cluster, self.files.node) {
            return Err(OpenError::Halt(Halt::WrongIdentity(format!(
                "{} was written by node {} of cluster {}, this is node {} of cluster {}",
                path.display(),
                header.node,
                header.cluster,
                self.files.node,
                self.files.cluster
            ))));
        }
        Ok(header)
    }

    /// Checks that a segment is the one that comes next.
    fn follows(&self, number: u64, name: u64, found: &SegmentHeader, previous: Mark) -> Result<(), OpenError> {
        let expected = SegmentHeader {
            cluster: self.files.cluster,
            node: self.files.node,
            number,
            first_sequence: self.replay.sequence,
            previous,
            footer: found.footer,
            links: self.replay.links(),
        };
        if *found == expected && name == number {
            return Ok(());
        }
        let what =
            format!("the segment does not follow what is before it: {found:?} in file {name} instead of {expected:?}");
        Err(corrupt(&self.files.segments.path(name), 0, &what))
    }

    /// Takes a sealed segment by its footer or by its frames. `next` says where it ends, which is given.
    fn sealed(&mut self, number: u64, next: &SegmentHeader) -> Result<u64, OpenError> {
        let path = self.files.segments.path(number);
        let sealed = self.ends(number, next).ok_or_else(|| {
            corrupt(
                &self.files.segments.path(next.number),
                0,
                "the header says what cannot be of the segment before it",
            )
        })?;
        if self.depth == Depth::Footers {
            let at = sealed.footer;
            match self.footer(at, next) {
                Ok(footer) => {
                    let restored = self.replay.restore(footer, sealed.about, sealed.last);
                    restored.map_err(|what| corrupt(&self.files.segments.path(at.segment), at.offset, &what))?;
                    return Ok(next.previous.at.offset);
                }
                Err(Stop::Damage { offset, what }) => tracing::warn!(
                    segment = %path.display(), offset, what,
                    "the footer of the segment does not verify; its frames are read instead"
                ),
                Err(stop) => return Err(refuse(&self.files.segments.path(at.segment), stop)),
            }
        }
        self.frames(number, next, &sealed)
    }

    /// What the header of the next segment says of one, `None` where it cannot be.
    fn ends(&self, number: u64, next: &SegmentHeader) -> Option<Sealed> {
        let (end, footer) = (next.previous, next.footer);
        if end.at.segment != number || end.at.offset < SEGMENT_HEADER_LEN {
            return None;
        }
        let (end_of_frames, frames_behind) = match footer {
            Position { segment, offset }
                if segment == number && offset >= SEGMENT_HEADER_LEN && offset < end.at.offset =>
            {
                (offset, FOOTER_FRAMES)
            }
            Position { segment, offset: SEGMENT_HEADER_LEN } if segment == next.number => (end.at.offset, 0),
            _ => return None,
        };
        let about = About {
            segment: number,
            end: end_of_frames,
            first_sequence: self.replay.first_sequence,
            last_sequence: end.sequence.checked_sub(frames_behind)?,
        };
        let last = frames_behind > 0;
        (about.last_sequence + 1 >= about.first_sequence).then_some(Sealed { about, footer, last })
    }

    /// Reads the directory of a footer.
    fn footer(&self, at: Position, next: &SegmentHeader) -> Result<FooterFound, Stop> {
        let file = self.files.segments.reader(at.segment)?;
        let origin = self.origin(at.segment);
        if at.segment == next.number {
            // In the newest segment it may be torn, and then be cut: all of it must verify, or nothing counts on it.
            Scan::at(&*file, origin, at.offset, next.first_sequence, FOOTER_WINDOW)?.next_batch()?;
            return Scan::footer(&*file, origin, at.offset, next.first_sequence);
        }
        Scan::footer(&*file, origin, at.offset, (next.previous.sequence + 1).saturating_sub(FOOTER_FRAMES))
    }

    /// Goes through a sealed segment. Gives its end.
    fn frames(&mut self, number: u64, next: &SegmentHeader, sealed: &Sealed) -> Result<u64, OpenError> {
        let path = self.files.segments.path(number);
        let file = self.files.segments.reader(number).map_err(io_error("cannot open", &path))?;
        let mut scan =
            Scan::new(&*file, self.origin(number), self.replay.sequence).map_err(io_error("cannot read", &path))?;
        while scan.offset() < sealed.about.end {
            let batch = scan.next_batch().map_err(|stop| refuse(&path, stop))?;
            self.batch(&path, number, batch)?;
        }
        if sealed.last {
            match scan.next_batch() {
                Ok(batch) => self.batch(&path, number, batch)?,
                Err(Stop::Damage { offset, what }) => {
                    tracing::warn!(
                        segment = %path.display(), offset, what,
                        "the footer of the segment does not verify; all its other frames do"
                    );
                    self.replay.sequence += FOOTER_FRAMES;
                    self.replay.set_links(next.links);
                    self.replay.seal();
                    self.replay.carried = None;
                    self.replay.next_footer = NextFooter::Chain;
                    return Ok(next.previous.at.offset);
                }
                Err(stop) => return Err(refuse(&path, stop)),
            }
        }
        let carried = !sealed.last;
        self.replay.carried = carried.then(|| self.replay.footer(sealed.about));
        self.replay.seal();
        self.replay.next_footer = if carried { NextFooter::Any } else { NextFooter::Chain };
        Ok(scan.offset())
    }

    /// Goes through the newest segment as far as it verifies, and says whether what is behind is torn. Gives its end.
    fn newest(&mut self, number: u64, footer_before: Position) -> Result<u64, OpenError> {
        let path = self.files.segments.path(number);
        let file = self.files.segments.reader(number).map_err(io_error("cannot open", &path))?;
        let mut scan =
            Scan::new(&*file, self.origin(number), self.replay.sequence).map_err(io_error("cannot read", &path))?;
        let (mut closed, mut footer) = (false, None);
        let damage = loop {
            let begin = scan.offset();
            match scan.next_batch() {
                Ok(batch) => {
                    closed =
                        batch.frames.len() == 1 && batch.header.mark.at == Position { segment: number, offset: begin };
                    footer = batch.is_footer_of(number).then_some(begin);
                    // Marks only grow: each states what the writer knew when it wrote the batch.
                    self.mark = batch.header.mark;
                    self.batch(&path, number, batch)?;
                }
                Err(Stop::Damage { offset, what }) => break corrupt(&path, offset, &what),
                Err(stop) => return Err(refuse(&path, stop)),
            }
        };
        let end = scan.offset();
        // That footer was durable before the file had its name.
        if end == SEGMENT_HEADER_LEN && footer_before.segment == number {
            return Err(damage);
        }
        let rest = scan.rest().map_err(io_error("cannot read", &path))?;
        if rest.mark.is_some_and(|mark| mark.at > Position { segment: number, offset: end }) {
            return Err(damage);
        }
        self.newest = Some(Newest { number, end, len: scan.file_len(), closed: closed && rest.zeros, footer });
        Ok(end)
    }

    fn batch(&mut self, path: &Path, segment: u64, batch: Batch) -> Result<(), OpenError> {
        for frame in batch.frames {
            self.replay.frame(self.files, segment, &frame).map_err(|error| match error {
                ReplayError::Wrong(what) => corrupt(path, frame.offset, &what),
                ReplayError::Io(error) => io_error("cannot read", self.files.segments.dir())(error),
            })?;
        }
        Ok(())
    }

    fn origin(&self, segment: u64) -> Origin {
        Origin { cluster: self.files.cluster, node: self.files.node, segment }
    }
}

/// Why a segment that cannot be cut refuses to open.
fn refuse(path: &Path, stop: Stop) -> OpenError {
    let at = |offset: u64, what: String| format!("{} at byte {offset}: {what}", path.display());
    match stop {
        Stop::Damage { offset, what } => corrupt(path, offset, &what),
        Stop::Foreign { offset, what } => OpenError::Halt(Halt::WrongIdentity(at(offset, what))),
        Stop::Unknown { offset, what } => OpenError::Halt(Halt::UnknownEntry(at(offset, what))),
        Stop::Io(error) => io_error("cannot read", path)(error),
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
