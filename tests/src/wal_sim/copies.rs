//! What is kept in three copies: what they say, and damage to them. The rule is written from `docs/disk-format.md`, not from the
//! product's code.
use super::marks::{self, crc, half, word};
use corduroy_log::{
    testing::{DiskImage, Rot, Sim},
    topic::NodeId,
};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// Bytes of a copy.
const LEN: usize = 80;
/// Bytes of it that a half-written one has: the number of the change is among them, the checksum is not.
const HALF: usize = LEN / 2;

/// What there are three copies of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Whose directory it is, and how often it was opened.
    Identity,
    /// Which segments there must be.
    Manifest,
}

/// A kind of damage to copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyRot {
    /// One bit.
    Flip,
    /// The file ends early.
    Cut,
    /// The file is gone.
    Lost,
    /// The file is what it was before the last start.
    Stale,
    /// The first half is that of now, the second one that of before the last start.
    Half,
}

impl CopyRot {
    /// All of them.
    pub const ALL: [CopyRot; 5] = [CopyRot::Flip, CopyRot::Cut, CopyRot::Lost, CopyRot::Stale, CopyRot::Half];
}

impl Kept {
    /// Both.
    pub const ALL: [Kept; 2] = [Kept::Identity, Kept::Manifest];

    /// As it is called where a node refuses it, and in the names of its files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kept::Identity => "identity",
            Kept::Manifest => "manifest",
        }
    }

    fn magic(self) -> &'static [u8] {
        match self {
            Kept::Identity => b"CDID",
            Kept::Manifest => b"CDMF",
        }
    }

    /// Bytes that one copy and a later one of the same directory have in common: cluster and node, and of an identity the
    /// incarnation.
    fn kin(self) -> Range<usize> {
        match self {
            Kept::Identity => 16..56,
            Kept::Manifest => 16..40,
        }
    }

    fn path(self, nth: u64) -> PathBuf {
        Path::new("/data").join(format!("{}.{}", self.name(), nth + 1))
    }

    /// Whether a file is a copy of it, or what a crash left of one that was to be.
    pub(super) fn has(self, path: &Path) -> bool {
        let finished = if path.extension().is_some_and(|extension| extension == "new") {
            path.with_extension("")
        } else {
            path.into()
        };
        (0..3).any(|nth| self.path(nth) == finished)
    }

    /// What the files say that are there.
    fn copies(self, image: &DiskImage) -> Vec<&[u8]> {
        (0..3).filter_map(|nth| content(image, &self.path(nth))).collect()
    }

    /// Whether all three copies verify and are equal.
    pub(super) fn is_whole(self, image: &DiskImage) -> bool {
        let copies = self.copies(image);
        copies.len() == 3 && copies.iter().all(|copy| *copy == copies[0]) && self.verifies(copies[0])
    }

    fn verifies(self, bytes: &[u8]) -> bool {
        bytes.len() == LEN
            && bytes.starts_with(self.magic())
            && bytes[4] == 1
            && crc(&bytes[..LEN - 4]) == half(bytes, LEN - 4)
    }

    /// The copy that holds: two that are equal, or of two the older, where one change lies between them. `Ok(None)`: nothing was
    /// ever written whole.
    fn holds(self, image: &DiskImage) -> Result<Option<&[u8]>, ()> {
        let there = self.copies(image);
        let mut intact: Vec<&[u8]> = there.iter().copied().filter(|bytes| self.verifies(bytes)).collect();
        intact.sort_by_key(|bytes| revision(bytes));
        if let Some(pair) = intact.windows(2).find(|pair| pair[0] == pair[1]) {
            return Ok(Some(pair[0]));
        }
        match (there.len(), &intact[..]) {
            (0, _) => Ok(None),
            (1, [only]) if revision(only) == 1 => Ok(None),
            (_, [older, newer]) if revision(older) + 1 == revision(newer) && older[self.kin()] == newer[self.kin()] => {
                Ok(Some(older))
            }
            _ => Err(()),
        }
    }
}

/// Number of the change that a copy was written in.
fn revision(bytes: &[u8]) -> u64 {
    word(bytes, 8)
}

/// What a node must refuse to start for, if anything: copies that do not agree, and those that do not fit the segments there are.
pub(super) fn refused(image: &DiskImage) -> Option<Kept> {
    let name = marks::segments(image).last().and_then(|(path, _)| path.file_stem()?.to_str()?.parse().ok());
    let newest = name.unwrap_or(0);
    Kept::ALL.into_iter().find(|kept| match (kept, kept.holds(image)) {
        (_, Err(())) => true,
        (Kept::Identity, Ok(held)) => held.is_none() && newest > 0,
        (Kept::Manifest, Ok(held)) => {
            let noted = held.map_or(0, |bytes| word(bytes, 40));
            !(noted..=noted + 1).contains(&newest)
        }
    })
}

/// Damages copies of a node that is down. `which`: a bit for each of the three. One alone is made stale or half new: two stale ones
/// are an older copy of the directory, which nothing on the disk tells. `older`: the disk before the last start. `false` where
/// nothing is changed.
pub(super) fn inflict(
    sim: &Sim,
    node: NodeId,
    (kept, kind): (Kept, CopyRot),
    which: u8,
    noise: u64,
    older: &DiskImage,
) -> bool {
    let mut chosen = (0..3).filter(|nth| which & (1 << nth) != 0).map(|nth| kept.path(nth));
    let rot = match kind {
        CopyRot::Flip => Rot::FlipBit { offset: noise / 8 % LEN as u64, bit: (noise % 8) as u8 },
        CopyRot::Cut => Rot::Cut { len: noise % LEN as u64 },
        CopyRot::Lost => Rot::Lost,
        CopyRot::Stale | CopyRot::Half => {
            return chosen.next().is_some_and(|path| put_back(sim, node, &path, kind, older));
        }
    };
    chosen.filter(|path| sim.rot(node, path, rot).is_ok()).count() > 0
}

/// Gives a copy the content it had, or the second half of it.
fn put_back(sim: &Sim, node: NodeId, path: &Path, kind: CopyRot, older: &DiskImage) -> bool {
    let mut image = sim.copy_disk(node);
    let whole = |image| content(image, path).filter(|bytes| bytes.len() == LEN);
    let (Some(now), Some(before)) = (whole(&image), whole(older)) else { return false };
    let mixed = match kind {
        CopyRot::Half => [&now[..HALF], &before[HALF..]].concat(),
        _ => before.to_vec(),
    };
    let changes = mixed != now;
    if changes {
        image.put(path, mixed);
        sim.restore_disk(node, &image);
    }
    changes
}

fn content<'a>(image: &'a DiskImage, path: &Path) -> Option<&'a [u8]> {
    image.files().find(|(known, _)| *known == path).map(|(_, bytes)| bytes)
}
