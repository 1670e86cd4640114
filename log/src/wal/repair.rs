//! Makes the files agree with what was recovered, durably, and gives the writer its place.
use super::{
    batch::{BATCH_HEADER_LEN, Encoded, Frame, Tail},
    footer::{About, Directory, FOOTER_FRAMES},
    frame::HEADER_LEN,
    manifest::Held,
    payload::{Mark, Position},
    recover::{Newest, Recovered, disk_failed, io_error},
    replay::Files,
    segment::{SEGMENT_HEADER_LEN, SegmentHeader, Segments, is_unfinished},
};
use crate::{
    error::OpenError,
    world::{Disk, DiskFile},
};
use std::io;

/// Bytes written again at a time.
const REWRITE: u64 = 1 << 20;

/// What the writer goes on with.
#[derive(Debug)]
pub(crate) struct Ready<F> {
    pub file: F,
    pub capacity: u64,
    pub tail: Tail,
    pub manifest: Held,
}

impl Recovered {
    /// Nothing of what was recovered counts before this has returned: bytes that verify may so far exist in the page cache
    /// alone.
    pub(crate) fn repair<D: Disk>(
        &mut self,
        files: Files<'_, D>,
        segment_bytes: u64,
    ) -> Result<Ready<D::File>, OpenError> {
        let segments = files.segments;
        let dir = segments.dir();
        remove_unfinished(segments)?;
        let Some(newest) = self.newest else {
            segments.disk().create_dir_all(dir).map_err(disk_failed("create", dir))?;
            return self.fresh(files, segment_bytes, Mark::default(), None);
        };
        // A crash may have come between a segment and its place in the manifest.
        self.note(segments, newest.number)?;
        let path = segments.path(newest.number);
        let file = segments.disk().open(&path).map_err(io_error("cannot open", &path))?;
        if !newest.closed && newest.len > newest.end {
            file.truncate(newest.end).map_err(disk_failed("cut", &path))?;
        }
        self.write_again(&file, newest).map_err(disk_failed("write", &path))?;
        file.sync_all().map_err(disk_failed("sync", &path))?;
        segments.disk().sync_dir(dir).map_err(disk_failed("sync", dir))?;
        let at = Position { segment: newest.number, offset: newest.end };
        let durable = Mark { at, sequence: self.replay.sequence - 1 };
        if newest.closed {
            let tail = self.tail(files, durable);
            return Ok(Ready { file, capacity: newest.len, tail, manifest: self.manifest });
        }
        self.fresh(files, segment_bytes, durable, newest.footer)
    }

    /// Begins a segment behind the newest one, which ends where `durable` says. Where that was cut before it had a footer,
    /// which would begin at `footer`, its footer goes into the fresh one, as the first batch and before the file has its
    /// name: a cut segment is not written to, and the next open finds the footer whatever happens to this one.
    fn fresh<D: Disk>(
        &mut self,
        files: Files<'_, D>,
        segment_bytes: u64,
        durable: Mark,
        footer: Option<u64>,
    ) -> Result<Ready<D::File>, OpenError> {
        let mut tail = self.tail(files, durable);
        let mut about = tail.about();
        let at = Position { segment: durable.at.segment + 1, offset: SEGMENT_HEADER_LEN };
        let mut header = SegmentHeader {
            cluster: files.cluster,
            node: files.node,
            number: at.segment,
            first_sequence: tail.sequence,
            previous: durable,
            footer: Position::default(),
            links: tail.links(),
        };
        (tail.at, tail.first_sequence) = (at, tail.sequence);
        let mut first = None;
        if let Some(offset) = footer {
            header.footer = Position { offset, ..durable.at };
            about = About { end: offset, last_sequence: about.last_sequence - FOOTER_FRAMES, ..about };
            self.seal(&self.replay.footer(about), header.footer);
        } else if durable.at.segment > 0 {
            header.footer = at;
            let payload = self.replay.footer(about);
            self.seal(&payload, at);
            first = Some(Encoded::new(&[Frame::footer(payload)], &mut tail));
        }
        let pieces = first.as_ref().map(Encoded::pieces).unwrap_or_default();
        let capacity = segment_bytes.max(tail.at.offset + SEGMENT_HEADER_LEN).next_multiple_of(SEGMENT_HEADER_LEN);
        let path = files.segments.path(at.segment);
        let file = files.segments.create(&header, capacity, &pieces).map_err(disk_failed("create", &path))?;
        self.note(files.segments, at.segment)?;
        if first.is_some() {
            tail.durable = Mark { at: tail.at, sequence: tail.sequence - 1 };
        }
        Ok(Ready { file, capacity, tail, manifest: self.manifest })
    }

    fn note<D: Disk>(&mut self, segments: &Segments<D>, newest: u64) -> Result<(), OpenError> {
        let dir = segments.data_dir();
        self.manifest.advance(segments.disk(), dir, newest).map_err(disk_failed("write the manifest in", dir))
    }

    /// Entries of the newest segment are found through its footer from now on, whose batch is at `at`.
    fn seal(&mut self, payload: &[u8], at: Position) {
        let payload_at = Position { offset: at.offset + BATCH_HEADER_LEN + HEADER_LEN as u64, ..at };
        for part in Directory::of_payload(payload, payload_at).partitions {
            self.replay.partitions.entry(part.id).or_default().index.seal(part.block);
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

    /// Behind everything that was recovered.
    fn tail<D: Disk>(&mut self, files: Files<'_, D>, durable: Mark) -> Tail {
        Tail {
            cluster: files.cluster,
            node: files.node,
            at: durable.at,
            sequence: self.replay.sequence,
            first_sequence: self.replay.first_sequence,
            chains: self.replay.chains.clone(),
            durable,
        }
    }
}

/// Removes what a crash left of a segment that was being made.
fn remove_unfinished<D: Disk>(segments: &Segments<D>) -> Result<(), OpenError> {
    let (disk, dir) = (segments.disk(), segments.dir());
    if !disk.exists(dir).map_err(io_error("cannot look for", dir))? {
        return Ok(());
    }
    for name in disk.list(dir).map_err(io_error("cannot list", dir))? {
        if is_unfinished(&name) {
            disk.remove_file(&dir.join(&name)).map_err(disk_failed("remove", &dir.join(&name)))?;
        }
    }
    Ok(())
}
