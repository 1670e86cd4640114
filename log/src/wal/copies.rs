//! Small files that must not be lost, in three numbered copies each (R17).
//!
//! A change writes all copies, one after the other, each by side file, sync, rename, sync of the folder. Two equal copies
//! win. Two intact copies of one directory, one number apart: a change was interrupted after the first copy, and the older
//! one holds, since a change counts only once all three copies have it. Anything else is damage. A copy that cannot be read
//! is not needed where the other two are equal.
//!
//! **Invariant**: a process that changes what is kept has first written what it read to all copies. A change interrupted
//! behind another one that was would leave three copies that all differ. That they look equal says nothing: what an earlier
//! process wrote may so far exist in the page cache alone.
use super::{recover::io_error, supply::is_out_of_space};
use crate::{
    error::OpenError,
    world::{Disk, DiskFile},
};
use std::{io, path::Path};

/// What is kept in three copies.
pub(crate) trait Copied: Copy + PartialEq {
    /// What it is, for a person.
    const WHAT: &'static str;
    /// The names of the copies in the data directory.
    const NAMES: [&'static str; 3];
    /// Bytes of a copy.
    const LEN: usize;

    /// The bytes of a copy.
    fn encode(&self) -> Vec<u8>;
    /// Reads a copy of [`Copied::LEN`] bytes; `None` where its checksum or its form is wrong.
    fn decode(bytes: &[u8]) -> Option<Self>;
    /// Number of the change, from 1.
    fn revision(&self) -> u64;
    /// Whether one can have been changed into the other.
    fn is_kin_of(&self, other: &Self) -> bool;
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// No copy at all.
    Absent,
    /// The first copy of the first change, and nothing else: its making was interrupted.
    Unfinished,
    /// Copies, but no two that agree.
    Damaged(String),
}

/// The copy that holds.
pub(crate) fn read<T: Copied, D: Disk>(disk: &D, dir: &Path) -> Result<Result<T, Missing>, OpenError> {
    let mut present = 0;
    let mut intact = Vec::new();
    let mut unreadable = None;
    for name in T::NAMES {
        let path = dir.join(name);
        if !disk.exists(&path).map_err(io_error("cannot look for", &path))? {
            continue;
        }
        present += 1;
        match read_file(disk, &path, T::LEN) {
            // What a copy does not say in full is not believed: reserved bytes are zero.
            Ok(bytes) => intact.extend(T::decode(&bytes).filter(|copy| copy.encode() == bytes)),
            Err(error) => unreadable = Some(error),
        }
    }
    if let Some(held) = twin(&intact) {
        return Ok(Ok(held));
    }
    // The others do not make up for it: of two that differ it may equal the newer one.
    if let Some(error) = unreadable {
        return Err(error);
    }
    if let Some(held) = older(&intact) {
        return Ok(Ok(held));
    }
    Ok(Err(match (present, intact.as_slice()) {
        (0, _) => Missing::Absent,
        (1, [only]) if only.revision() == 1 => Missing::Unfinished,
        _ => Missing::Damaged(format!(
            "{}: of the three copies of the {} {present} exist, {} are intact, and no two agree",
            dir.display(),
            T::WHAT,
            intact.len()
        )),
    }))
}

/// Writes all copies, each completely before the next is touched; `written` is called after each. Durable when it returns;
/// an error must halt the node.
pub(crate) fn write<T: Copied, D: Disk>(disk: &D, dir: &Path, copy: &T, written: &mut dyn FnMut()) -> io::Result<()> {
    for name in T::NAMES {
        let (path, side) = (dir.join(name), dir.join(format!("{name}.new")));
        if disk.exists(&side)? {
            disk.remove_file(&side)?;
        }
        match write_aside(disk, &side, copy) {
            Ok(()) => disk.rename(&side, &path)?,
            // A node must start on a full disk, too (R66). One copy that is torn is as good as one that is missing: the
            // other two are equal, or one change apart.
            Err(error) if is_out_of_space(&error) && disk.exists(&path)? => {
                if disk.exists(&side)? {
                    disk.remove_file(&side)?;
                }
                let file = disk.open(&path)?;
                file.write_all_at(0, &[&copy.encode()])?;
                file.sync_all()?;
            }
            Err(error) => return Err(error),
        }
        disk.sync_dir(dir)?;
        written();
    }
    Ok(())
}

/// Whether a file in the data directory is a copy, or was to become one.
pub(crate) fn is_copy<T: Copied>(name: &str) -> bool {
    T::NAMES.contains(&name.strip_suffix(".new").unwrap_or(name))
}

/// The one of the intact copies that is there twice.
fn twin<T: Copied>(copies: &[T]) -> Option<T> {
    copies.iter().find(|a| copies.iter().filter(|b| a == b).count() >= 2).copied()
}

/// The older one of two intact copies with one change between them.
fn older<T: Copied>(copies: &[T]) -> Option<T> {
    let [a, b] = copies else { return None };
    let (older, newer) = if a.revision() < b.revision() { (a, b) } else { (b, a) };
    let one_apart = older.revision().checked_add(1) == Some(newer.revision());
    (one_apart && older.is_kin_of(newer)).then_some(*older)
}

fn write_aside<T: Copied, D: Disk>(disk: &D, side: &Path, copy: &T) -> io::Result<()> {
    let file = disk.create_new(side)?;
    file.write_all_at(0, &[&copy.encode()])?;
    file.sync_all()
}

/// A small file as a whole; cut short where it is longer than any copy.
fn read_file<D: Disk>(disk: &D, path: &Path, longest: usize) -> Result<Vec<u8>, OpenError> {
    let read = || {
        let file = disk.open_read(path)?;
        let len = file.len()?.min(longest as u64 + 1);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    };
    read().map_err(io_error("cannot read", path))
}
