//! Damage to what was durable in a node's WAL, and what must come of it.
//!
//! Only what is below a durable mark is damaged: behind the last one nothing tells damage from a torn write, as
//! `docs/disk-format.md` says. One node of a run at most, so that every partition keeps a majority without it. The node
//! either opens with everything that was committed there, or refuses with the name of the damage, and then for good.
use super::{run::Run, tally::Event, violation::Invariant};
use crate::wal_sim::marks;
use corduroy_log::{
    testing::{DiskImage, Rot},
    topic::{LogId, NodeId, PartitionId, Term},
    wal::read_offline,
    world::Halt,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const SECTOR: u64 = 512;
/// Bytes of a segment before its first frame.
const HEADER: u64 = 4096;

/// A node whose WAL was damaged.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) node: NodeId,
    /// Of each partition, what was durable before: the last entry, and the last one noted as committed.
    pub(super) had: BTreeMap<PartitionId, (Option<LogId>, Option<LogId>)>,
    /// It refused to open, and stays down.
    pub(super) refused: bool,
}

/// Damages the WAL of a node, at a place and in a way that are a function of `noise`. Does nothing where there is nothing
/// to damage yet.
pub(super) fn inflict(run: &Run, node: NodeId, noise: u64) {
    let sim = run.sim();
    let image = sim.durable_image(node);
    let segments = durable_segments(&image);
    let before = read_offline(&sim.durable_disk(node), Path::new("/data"));
    let had = before.map(|wal| wal.partitions().iter().map(|had| (had.id, (had.last, had.committed))).collect());
    for attempt in 0..8 {
        let noise = xxhash_rust::xxh3::xxh3_64_with_seed(&noise.to_le_bytes(), attempt);
        let Some((path, rot)) = choose(&segments, noise) else { continue };
        if sim.rot(node, &path, rot).is_ok() {
            // Damaged a second time, it must have what it had before the first.
            let damaged = Damaged { node, had: had.unwrap_or_default(), refused: false };
            run.seen().damaged.get_or_insert(damaged);
            return;
        }
    }
}

/// The segments, newest first, and how many bytes of each a mark says are durable.
fn durable_segments(image: &DiskImage) -> Vec<(PathBuf, u64)> {
    let mark = marks::highest(image);
    let number = |path: &Path| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let durable = |(path, bytes): (&Path, &[u8])| {
        let end = match number(path)?.cmp(&mark.segment) {
            std::cmp::Ordering::Less => marks::end(bytes),
            // Whole sectors: behind the mark comes the batch that says it.
            std::cmp::Ordering::Equal => mark.offset / SECTOR * SECTOR,
            std::cmp::Ordering::Greater => return None,
        };
        (end > HEADER).then(|| (path.to_owned(), end))
    };
    marks::segments(image).into_iter().rev().filter_map(durable).collect()
}

fn choose(segments: &[(PathBuf, u64)], noise: u64) -> Option<(PathBuf, Rot)> {
    let mut left = noise;
    let mut draw = |bound: u64| {
        let drawn = left % bound;
        left /= bound;
        drawn
    };
    // The newest two are what a start reads; what is older is read by those who ask for it.
    let back = if draw(2) == 0 { 0 } else { draw(segments.len().max(1) as u64) };
    let (path, end) = segments.get(back as usize)?;
    let from = if draw(8) == 0 { 0 } else { HEADER };
    let offset = from + draw(end - from);
    let sector = offset / SECTOR;
    let rot = match draw(5) {
        0 => Rot::FlipBit { offset, bit: draw(8) as u8 },
        1 => Rot::Zero { sector },
        2 => Rot::Garble { sector },
        3 => Rot::LostWrite { sector },
        _ => Rot::Misdirected { from: sector, to: draw(end.div_ceil(SECTOR)) },
    };
    Some((path.clone(), rot))
}

/// A damaged node did not open, or halted when it had opened: it must say where, and stays down. `before`: its disk, where
/// nothing can have been written since.
pub(super) fn refused(run: &Run, node: NodeId, halt: &Halt, before: Option<&DiskImage>) {
    let fail = |what: &str| run.fail(Invariant::Damage, format_args!("node {node} {what}: {halt}"));
    run.sim().trace(format_args!("node {node} refuses its log: {halt}"));
    if !matches!(halt, Halt::Corrupt(_)) || !halt.detail().contains("/data/wal/") {
        fail("is damaged, and does not say where");
    }
    let after = run.sim().copy_disk(node);
    if before.is_some_and(|before| marks::segments(before) != marks::segments(&after)) {
        fail("refused its log, and changed it");
    }
    run.cluster.kill(node);
    let mut seen = run.seen();
    seen.tally.note(Event::RotRefused, 1);
    if let Some(damaged) = &mut seen.damaged {
        damaged.refused = true;
    }
}

impl Damaged {
    /// The last entry of a partition that was committed and durable here before the damage: it must be here still.
    /// `term_of` knows the terms of committed entries.
    pub(super) fn must_have(&self, partition: PartitionId, term_of: impl Fn(u64) -> Option<Term>) -> Option<LogId> {
        let (last, committed) = self.had.get(&partition)?;
        last.filter(|last| term_of(last.index) == Some(last.term)).or(*committed)
    }
}
