//! Damage to the files of a WAL.
use super::{
    fault::{Place, RotKind},
    marks,
};
use corduroy_log::{
    testing::{DiskImage, Rot, Sim},
    topic::NodeId,
};

const SECTOR: u64 = 512;
/// Bytes of a segment before its first frame.
const HEADER: u64 = 4096;

/// Does the damage. `false` where there is nothing it could change.
pub(super) fn inflict(sim: &Sim, node: NodeId, kind: RotKind, place: Place) -> bool {
    let image = sim.copy_disk(node);
    let segments = marks::segments(&image);
    let Some(newest) = segments.len().checked_sub(1) else { return false };
    let at = newest - (place.back as usize % segments.len());
    let (path, bytes) = segments[at];
    let end = marks::end(bytes).max(1);
    // Most of what is written is frames; the header is a place like any other once in a while.
    let from = if end > HEADER && !(place.noise / 8).is_multiple_of(8) { HEADER } else { 0 };
    let offset = (from + (end - from) * place.thousandth / 1000).min(end - 1);
    let sector = offset / SECTOR;
    let rot = match kind {
        RotKind::Flip => Rot::FlipBit { offset, bit: (place.noise % 8) as u8 },
        RotKind::Zero => Rot::Zero { sector },
        RotKind::Garble => Rot::Garble { sector },
        RotKind::LostWrite => Rot::LostWrite { sector },
        RotKind::Misdirected => Rot::Misdirected { from: sector, to: place.noise % end.div_ceil(SECTOR) },
        RotKind::Cut => Rot::Cut { len: offset },
        RotKind::Lost => Rot::Lost,
        RotKind::Swapped => return swap(sim, node, &image, at, place.noise as usize % segments.len()),
    };
    sim.rot(node, path, rot).is_ok()
}

/// Puts a segment of one past between those of another, where the two differ in it and in what counts of the segment before it.
/// `false` where there is none. (Where they do not differ before it, what follows it there follows it here as well. Where it holds the
/// footer of the segment before it, a start believes that footer, and does not read that segment.)
pub(super) fn transplant(sim: &Sim, node: NodeId, from: &DiskImage, into: &DiskImage, place: Place) -> bool {
    let pairs: Vec<_> = marks::segments(into).into_iter().zip(marks::segments(from)).collect();
    let counts_differ = |at: usize| {
        let ((_, ours), (_, theirs)) = pairs[at - 1];
        let end = marks::previous_end(pairs[at].1.1) as usize;
        ours.get(..end).zip(theirs.get(..end)).is_some_and(|(ours, theirs)| ours != theirs)
    };
    let differ = |at: usize| pairs[at].0.0 == pairs[at].1.0 && pairs[at].0.1 != pairs[at].1.1;
    let possible: Vec<usize> = (1..pairs.len())
        .filter(|&at| differ(at) && counts_differ(at) && !marks::holds_footer_of_previous(pairs[at].1.1))
        .collect();
    if possible.is_empty() {
        return false;
    }
    let (path, content) = pairs[possible[place.back as usize % possible.len()]].1;
    let mut mixed = into.clone();
    mixed.put(path, content.to_vec());
    sim.restore_disk(node, &mixed);
    true
}

/// Puts the content of one segment in place of another one's.
fn swap(sim: &Sim, node: NodeId, image: &DiskImage, to: usize, from: usize) -> bool {
    let segments = marks::segments(image);
    let (path, content) = (segments[to].0, segments[from].1.to_vec());
    if from == to || sim.is_alive(node) {
        return false;
    }
    let mut swapped = image.clone();
    swapped.put(path, content);
    sim.restore_disk(node, &swapped);
    true
}
