//! From one segment to the next: the footer of the one, the first block of the other, and waiting where there is no room.
//!
//! **Invariant**: each step is durable before the next begins: footer, segment, manifest. The clock of those who watch the
//! disk begins anew with each, so that a disk is judged by its calls and not by how many a rotation needs.
use super::{
    batch::{BATCH_HEADER_LEN, Encoded, Frame},
    footer::{Directory, FooterBuilder, estimate, payload_of},
    frame::{PEERS, frame_len},
    payload::{Mark, Position},
    segment::{SEGMENT_HEADER_LEN, SegmentHeader},
    supply::{self, is_out_of_space},
    writer::{End, Shared, Stop, Writer},
};
use crate::world::{DiskFile, World};
use std::{io, mem};

impl<W: World> Writer<W> {
    /// Room to keep for the footer of the segment, with the batch that is to be written.
    pub(super) fn footer_len(&self) -> u64 {
        let peers = self.shared.peers.lock().expect("nothing panics while it holds the peers").len();
        let frames = self.tail.sequence - self.tail.first_sequence + self.batch.len() as u64;
        BATCH_HEADER_LEN + estimate(peers + 1, self.tail.chains.len() + self.batch.len(), frames)
    }

    /// The payload of the segment's footer, as the segment is.
    fn footer(&self) -> Vec<u8> {
        let peers = self.shared.peers.lock().expect("nothing panics while it holds the peers");
        let mut footer = FooterBuilder::new(self.tail.about(), self.tail.link(PEERS), peers.values());
        for (&id, core) in self.shared.partitions().iter() {
            // Others were asked for and have nothing on disk.
            if self.tail.chains.contains_key(&id.0) {
                footer.add(id, self.tail.link(id.0), core.lock().durable());
            }
        }
        footer.finish()
    }

    /// Entries of the segment are found through its footer from now on.
    fn find_through(&self, footer: &Directory) {
        let partitions = self.shared.partitions();
        for part in &footer.partitions {
            partitions[&part.id].lock().seal(part.block);
        }
    }

    /// Writes the footer of the segment, as its last batch.
    async fn seal(&mut self) -> Result<(), Stop> {
        let payload = self.footer();
        let at = self.tail.at;
        let end = at.offset + BATCH_HEADER_LEN + frame_len(payload.len() as u64);
        if end > self.capacity {
            self.when_there_is_room(|writer| writer.file.allocate(end)).await?;
            self.capacity = end;
        }
        let directory = Directory::of_payload(&payload, payload_of(at));
        let waiting = mem::replace(&mut self.batch, vec![Frame::footer(payload)]);
        let written = self.write_batch().await;
        self.batch = waiting;
        written?;
        self.find_through(&directory);
        self.end = End::Sealed(at);
        Ok(())
    }

    /// Goes on in a fresh segment with room for `len` bytes. Everything in the old one is durable. The footer of one that
    /// was cut is the first batch of the fresh one, written before that has its name: no crash leaves it without.
    pub(super) async fn rotate(&mut self, len: u64) -> Result<(), Stop> {
        if self.end == End::Open {
            self.seal().await?;
            self.at_work.begin();
        }
        let at = Position { segment: self.tail.at.segment + 1, offset: SEGMENT_HEADER_LEN };
        let carried = (self.end == End::Cut).then(|| self.footer());
        let header = SegmentHeader {
            cluster: self.tail.cluster,
            node: self.tail.node,
            number: at.segment,
            first_sequence: self.tail.sequence,
            previous: Mark { at: self.tail.at, sequence: self.tail.sequence - 1 },
            footer: if let End::Sealed(footer) = self.end { footer } else { at },
            links: self.tail.links(),
        };
        (self.tail.at, self.tail.first_sequence) = (at, self.tail.sequence);
        let directory = carried.as_ref().map(|payload| Directory::of_payload(payload, payload_of(at)));
        let first = carried.map(|payload| Encoded::new(&[Frame::footer(payload)], &mut self.tail));
        let pieces = first.as_ref().map(Encoded::pieces).unwrap_or_default();
        let need = len + self.tail.at.offset - SEGMENT_HEADER_LEN;
        let fresh = |writer: &mut Self| {
            let Shared { supply, segments, .. } = &*writer.shared;
            supply.fresh(segments, &header, &pieces, need)
        };
        (self.file, self.capacity) = self.when_there_is_room(fresh).await?;
        self.at_work.begin();
        // Before its first batch counts: a log without this segment is known to have lost it.
        let (segments, at_work) = (&self.shared.segments, &self.at_work);
        self.manifest.advance(segments.disk(), segments.data_dir(), at.segment, &mut || at_work.begin())?;
        self.end = End::Open;
        self.tail.durable = Mark { at: self.tail.at, sequence: self.tail.sequence - 1 };
        if let Some(directory) = directory {
            self.find_through(&directory);
        }
        let mut stats = self.shared.stats.lock().expect("nothing panics while it holds the statistics");
        stats.segment = at.segment;
        stats.durable_sequence = self.tail.durable.sequence;
        Ok(())
    }

    /// Waits while there is no room (R66): nothing of the batch has been written, so nothing is in doubt.
    async fn when_there_is_room<T>(&mut self, attempt: impl Fn(&mut Self) -> io::Result<T>) -> Result<T, Stop> {
        let shared = self.shared.clone();
        let supply = &shared.supply;
        loop {
            let error = match attempt(self) {
                Ok(done) => {
                    supply.set_blocked(false);
                    return Ok(done);
                }
                Err(error) if is_out_of_space(&error) => error,
                Err(error) => return Err(Stop::Failed(error)),
            };
            if self.shared.queue.is_closed() {
                return Err(Stop::NoRoom(error));
            }
            supply.set_blocked(true);
            self.at_work.rest();
            if !supply::look_passes::<W>().await {
                return Err(Stop::NoRoom(error));
            }
            self.at_work.begin();
        }
    }
}
