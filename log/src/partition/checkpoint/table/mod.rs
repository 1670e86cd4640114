//! The table of a checkpoint: rows of a machine's state that are too many to be kept in memory, in a file of their own,
//! sorted by key, in blocks with checksums, read where they are asked for.
//!
//! ```text
//!   header │ block │ block │ ... │ index: length, checksum and first key of each block │ footer
//!                                   └── in memory, some sixty bytes a block
//! ```
//!
//! **Invariant** (R3): a file with a table's name is complete, was synced, and all of it was read back.
//! **Invariant** (R18): nothing is handed out of a block whose checksum is not the index's. A table that cannot be read is set
//! aside, kept as evidence, and the node halts: its next start goes by another checkpoint, or by the log.
mod format;
mod write;

pub(super) use write::{verify, write};

use self::format::{FOOTER_LEN, Footer, HEADER_LEN, Index, take_row};
use super::file::{FileError, Owner};
use crate::{
    topic::PartitionId,
    world::{DiskFile, Halt},
};
use bytes::Bytes;
use corduroy_proto::v1::TableRef;
use std::{fmt, io, sync::Arc};

/// Rows of a [`Machine`](crate::Machine)'s state that are in a file, as the last checkpoint that wrote them left them: keys and
/// values, ascending by key. It never changes. Clones are the same table.
///
/// Reading blocks for as long as a read of a few KiB takes. What cannot be read ends the node, which then starts from an older
/// checkpoint or from the log; in the simulated world, where the call returns, nothing is found.
#[derive(Clone)]
pub struct Table(Arc<Opened>);

struct Opened {
    file: Box<dyn ReadAt>,
    index: Index,
    reference: TableRef,
    failed: Failed,
}

/// What to do about a table that cannot be read.
pub(super) type Failed = Box<dyn Fn(Halt) + Send + Sync>;

trait ReadAt: Send + Sync {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl<F: DiskFile> ReadAt for F {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        DiskFile::read_exact_at(self, offset, buffer)
    }
}

/// Why a table cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    File(#[from] FileError),
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("reference", &self.0.reference).finish_non_exhaustive()
    }
}

/// By what they are, not by where: a table that was written again is another one.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Table {
    /// Opens the table of an entry's checkpoint. The blocks are verified when they are read.
    pub(super) fn open<F: DiskFile>(
        file: F,
        owner: &Owner,
        partition: PartitionId,
        index: u64,
        failed: Failed,
    ) -> Result<Self, OpenError> {
        let len = file.len()?;
        if len < (HEADER_LEN + FOOTER_LEN) as u64 {
            return Err(FileError::Damaged(format!("{len} bytes are less than an empty table")).into());
        }
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(0, &mut header)?;
        format::check_header(owner, partition, index, &header)?;
        let mut footer = [0; FOOTER_LEN];
        file.read_exact_at(len - FOOTER_LEN as u64, &mut footer)?;
        let footer = Footer::decode(&footer, len)?;
        let mut encoded = vec![0; footer.index_len as usize];
        file.read_exact_at(footer.index_at, &mut encoded)?;
        let blocks = Index::decode(encoded.into(), &footer)?;
        let hash = Bytes::copy_from_slice(&footer.hash.to_le_bytes());
        let reference = TableRef { index, rows: footer.rows, bytes: len, hash };
        Ok(Table(Arc::new(Opened { file: Box::new(file), index: blocks, reference, failed })))
    }

    /// How a checkpoint names it.
    pub(crate) fn reference(&self) -> &TableRef {
        &self.0.reference
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.0.reference.rows
    }

    /// How many bytes its file has.
    pub fn bytes(&self) -> u64 {
        self.0.reference.bytes
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        let block = self.0.index.find(key)?;
        let found = self.block(block).and_then(|mut rows| {
            while let Some((found, value)) = take_row(&mut rows)? {
                if found == key {
                    return Ok(Some(value));
                }
                if found > key {
                    break;
                }
            }
            Ok(None)
        });
        found.unwrap_or_else(|error| {
            self.fail(error);
            None
        })
    }

    /// The rows from a key on, ascending.
    pub fn range(&self, from: &[u8]) -> impl Iterator<Item = (Bytes, Bytes)> + Send + use<> {
        let from = Bytes::copy_from_slice(from);
        let rows = Rows { table: self.clone(), next: self.0.index.seek(&from), block: Bytes::new() };
        rows.skip_while(move |(key, _)| *key < from)
    }

    /// A block that verifies.
    fn block(&self, number: usize) -> Result<Bytes, OpenError> {
        let block = &self.0.index.blocks[number];
        let mut bytes = vec![0; block.len as usize];
        self.0.file.read_exact_at(block.at, &mut bytes)?;
        if crc32c::crc32c(&bytes) != block.crc {
            return Err(FileError::Damaged(format!("block {number}, at byte {}, does not verify", block.at)).into());
        }
        Ok(bytes.into())
    }

    fn fail(&self, error: OpenError) {
        let halt = match &error {
            OpenError::Io(_) => Halt::DiskFailed,
            OpenError::File(_) => Halt::Corrupt,
        };
        (self.0.failed)(halt(format!("the table of the checkpoint of entry {}: {error}", self.0.reference.index)));
    }
}

/// A table of these rows in a new file of a node that is none.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn table_of<F: DiskFile>(file: F, rows: impl Iterator<Item = (Bytes, Bytes)>) -> io::Result<Table> {
    let (cluster, partition) = (crate::topic::ClusterId([0; 16]), PartitionId::new(1, 0));
    let owner = Owner { cluster, node: 1, incarnation: [0; 16] };
    write(&file, &owner, partition, 1, rows)?;
    Table::open(file, &owner, partition, 1, Box::new(drop)).map_err(io::Error::other)
}

/// Walks over a table.
struct Rows {
    table: Table,
    /// The block behind this one.
    next: usize,
    block: Bytes,
}

impl Iterator for Rows {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match take_row(&mut self.block) {
                Ok(Some(row)) => return Some(row),
                Ok(None) if self.next == self.table.0.index.blocks.len() => return None,
                Ok(None) => match self.table.block(self.next) {
                    Ok(block) => (self.block, self.next) = (block, self.next + 1),
                    Err(error) => {
                        self.table.fail(error);
                        return None;
                    }
                },
                Err(error) => {
                    self.table.fail(error.into());
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "../tests/table.rs"]
mod tests;
