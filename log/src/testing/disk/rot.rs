//! Damage to what was durable.
use super::{
    content::{Content, SECTOR},
    directory::{Directory, Entry},
    platter::Platter,
};
use crate::testing::lock;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// A kind of damage to one file. Sectors are numbered from 0, of 512 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit is another one.
    FlipBit {
        /// Byte in the file.
        offset: u64,
        /// 0 to 7.
        bit: u8,
    },
    /// A sector reads as zeros.
    Zero {
        /// Which.
        sector: u64,
    },
    /// A sector reads as something nobody wrote.
    Garble {
        /// Which.
        sector: u64,
    },
    /// The last synced write of a sector was confirmed and never made.
    LostWrite {
        /// Which.
        sector: u64,
    },
    /// The last synced write of a sector went to another one.
    Misdirected {
        /// Where it belonged.
        from: u64,
        /// Where it is.
        to: u64,
    },
    /// The file ends early.
    Cut {
        /// Its length.
        len: u64,
    },
    /// The file is gone.
    Lost,
}

/// Damage that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotten {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub rot: Rot,
}

/// What was on a disk at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskImage(Vec<(PathBuf, Option<Vec<u8>>)>);

impl DiskImage {
    /// The files, with their content, by path.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.0.iter().filter_map(|(path, bytes)| Some((path.as_path(), bytes.as_deref()?)))
    }

    /// Gives a file of the copy another content. Does nothing where there is no such file.
    pub fn put(&mut self, path: &Path, content: Vec<u8>) {
        if let Some((_, Some(bytes))) = self.0.iter_mut().find(|(known, bytes)| known == path && bytes.is_some()) {
            *bytes = content;
        }
    }
}

impl Platter {
    pub(super) fn rot(&mut self, path: &Path, rot: Rot) -> io::Result<()> {
        let Entry::File(content) = self.entry(path)? else { return Err(io::ErrorKind::IsADirectory.into()) };
        if rot == Rot::Lost {
            let (parent, name) = self.parent(path)?;
            let mut parent = lock(&parent);
            parent.set(name, None);
            parent.sync_name(name);
        } else {
            let garble = self.rng.next_u64();
            lock(&content).rot(rot, garble)?;
        }
        self.faults.rotten.push(Rotten { path: path.to_owned(), rot });
        Ok(())
    }

    pub(super) fn copy(&self) -> DiskImage {
        let mut image = Vec::new();
        copy(&self.root, Path::new("/"), &mut image);
        DiskImage(image)
    }

    pub(super) fn restore(&mut self, image: &DiskImage) {
        self.root = Arc::default();
        for (path, bytes) in &image.0 {
            match bytes {
                None => self.create_dir_all(path).expect("a copied tree has a place for each of its folders"),
                Some(bytes) => {
                    let (parent, name) = self.parent(path).expect("folders come before what is in them");
                    let content = lock(&parent).create_file(name).expect("a copied tree has each name once");
                    lock(&content).fill(bytes);
                    lock(&parent).sync();
                }
            }
        }
    }
}

fn copy(directory: &Arc<Mutex<Directory>>, path: &Path, image: &mut Vec<(PathBuf, Option<Vec<u8>>)>) {
    let directory = lock(directory);
    for name in directory.list() {
        let path = path.join(&name);
        match directory.get(&name) {
            Some(Entry::File(content)) => image.push((path, Some(lock(content).bytes()))),
            Some(Entry::Directory(inner)) => {
                image.push((path.clone(), None));
                copy(inner, &path, image);
            }
            None => {}
        }
    }
}

impl Content {
    fn rot(&mut self, rot: Rot, garble: u64) -> io::Result<()> {
        let inside = |sector: u64| sector * SECTOR < self.len();
        let possible = match rot {
            Rot::FlipBit { offset, bit } => offset < self.len() && bit < 8,
            Rot::Zero { sector } | Rot::Garble { sector } | Rot::LostWrite { sector } => inside(sector),
            Rot::Misdirected { from, to } => inside(from) && inside(to) && from != to,
            Rot::Cut { len } => len < self.len(),
            Rot::Lost => false,
        };
        if !possible {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{rot:?} in a file of {} bytes", self.len()),
            ));
        }
        let changed = match rot {
            Rot::FlipBit { offset, bit } => self.damage(offset / SECTOR, |sector| {
                sector[(offset % SECTOR) as usize] ^= 1 << bit;
            }),
            Rot::Zero { sector } => self.damage(sector, |sector| sector.fill(0)),
            Rot::Garble { sector } => self.damage(sector, |sector| {
                let mut word = garble;
                for byte in sector {
                    word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    *byte = (word >> 56) as u8;
                }
            }),
            Rot::LostWrite { sector } => {
                let older = self.older(sector);
                self.damage(sector, |bytes| *bytes = older)
            }
            Rot::Misdirected { from, to } => {
                let (moved, older) = (self.durable(from), self.older(from));
                let left = self.damage(from, |bytes| *bytes = older);
                self.damage(to, |bytes| *bytes = moved) || left
            }
            Rot::Cut { len } => {
                self.cut(len);
                true
            }
            Rot::Lost => false,
        };
        if changed {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{rot:?} changes nothing")))
        }
    }
}
