//! Makes the files agree with what was recovered, durably, and gives the writer its place.
use super::{
    batch::Tail,
    footer::{About, Directory, FOOTER_FRAMES, payload_of},
    manifest::Held,
    payload::{Mark, Position},
    recover::{Newest, Recovered, disk_failed, io_error},
    replay::Files,
    segment::{Links, SEGMENT_HEADER_LEN, SegmentHeader, Segments, is_unfinished},
    supply::{self, Supply},
    writer::End,
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
    pub end: End,
    pub manifest: Held,
}

impl Recovered {
    /// Nothing of what was recovered counts before this has returned: bytes that verify may so far exist in the page cache
    /// alone. A segment that was cut stays as it is: the writer begins the next one when it has something to write.
    pub(crate) fn repair<D: Disk>(
        &mut self,
        files: Files<'_, D>,
        supply: &Supply,
    ) -> Result<Ready<D::File>, OpenError> {
        let segments = files.segments;
        let dir = segments.dir();
        remove_unfinished(segments)?;
        segments.disk().create_dir_all(dir).map_err(disk_failed("create", dir))?;
        supply.open(segments).map_err(io_error("cannot look at", dir))?;
        let Some(newest) = self.newest else { return self.first(files, supply) };
        let path = segments.path(newest.number);
        let file = segments.disk().open(&path).map_err(io_error("cannot open", &path))?;
        if !newest.closed && newest.len > newest.end {
            file.truncate(newest.end).map_err(disk_failed("cut", &path))?;
        }
        self.write_again(&file, newest).map_err(disk_failed("write", &path))?;
        file.sync_all().map_err(disk_failed("sync", &path))?;
        segments.disk().sync_dir(dir).map_err(disk_failed("sync", dir))?;
        // A crash may have come between a segment and its place in the manifest. Only now: before, a power cut could still
        // take the name of the segment away.
        self.note(segments, newest.number)?;
        let at = Position { segment: newest.number, offset: newest.end };
        let tail = self.tail(files, Mark { at, sequence: self.replay.sequence - 1 });
        let footer = newest.footer.map(|offset| Position { offset, ..at });
        let end = match footer {
            _ if newest.closed => End::Open,
            None => End::Cut,
            Some(footer) => {
                self.find_through(&tail, footer);
                End::Sealed(footer)
            }
        };
        let capacity = if newest.closed { newest.len } else { newest.end };
        Ok(Ready { file, capacity, tail, end, manifest: self.manifest })
    }

    /// The first segment of all.
    fn first<D: Disk>(&mut self, files: Files<'_, D>, supply: &Supply) -> Result<Ready<D::File>, OpenError> {
        let at = Position { segment: 1, offset: SEGMENT_HEADER_LEN };
        let header = SegmentHeader {
            cluster: files.cluster,
            node: files.node,
            number: at.segment,
            first_sequence: self.replay.sequence,
            previous: Mark::default(),
            footer: Position::default(),
            links: Links::default(),
        };
        let path = files.segments.path(at.segment);
        let fresh = supply.fresh(files.segments, &header, &[], 0);
        let (file, capacity) = fresh.map_err(disk_failed("create", &path))?;
        self.note(files.segments, at.segment)?;
        let tail = self.tail(files, Mark { at, ..Mark::default() });
        Ok(Ready {
            file,
            capacity,
            tail: Tail { durable: Mark::default(), ..tail },
            end: End::Open,
            manifest: self.manifest,
        })
    }

    fn note<D: Disk>(&mut self, segments: &Segments<D>, newest: u64) -> Result<(), OpenError> {
        let dir = segments.data_dir();
        self.manifest
            .advance(segments.disk(), dir, newest, &mut || ())
            .map_err(disk_failed("write the manifest in", dir))
    }

    /// Entries of the newest segment are found through its footer, which is what was compared with the frames.
    fn find_through(&mut self, tail: &Tail, footer: Position) {
        let about = tail.about();
        let about = About { end: footer.offset, last_sequence: about.last_sequence - FOOTER_FRAMES, ..about };
        let payload = self.replay.footer(about);
        for part in Directory::of_payload(&payload, payload_of(footer)).partitions {
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
        if is_unfinished(&name) || supply::is_unfinished(&name) {
            disk.remove_file(&dir.join(&name)).map_err(disk_failed("remove", &dir.join(&name)))?;
        }
    }
    Ok(())
}
