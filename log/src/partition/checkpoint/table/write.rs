//! Writes a table, and reads all of it back.
use super::{
    OpenError, Owner, Table,
    format::{BLOCK, Footer, Index, header, put_row, take_row},
};
use crate::{topic::PartitionId, world::DiskFile};
use bytes::Bytes;
use std::io;
use xxhash_rust::xxh3::xxh3_128;

/// Handed to the file at once.
const PIECE: usize = 1 << 20;

/// Writes the rows, which ascend by key, to an empty file. Not synced.
pub(in super::super) fn write<F: DiskFile>(
    file: &F,
    owner: &Owner,
    partition: PartitionId,
    index: u64,
    rows: impl Iterator<Item = (Bytes, Bytes)>,
) -> io::Result<()> {
    let mut piece = header(owner, partition, index).to_vec();
    let (mut written, mut count, mut blocks) = (0, 0, Index::default());
    let (mut block, mut first, mut last) = (Vec::with_capacity(2 * BLOCK), Bytes::new(), None::<Bytes>);
    let mut close = |piece: &mut Vec<u8>, block: &mut Vec<u8>, first: &Bytes, written: &mut u64| {
        blocks.add(first, *written + piece.len() as u64, block);
        piece.append(block);
        if piece.len() >= PIECE {
            file.write_all_at(*written, &[piece])?;
            *written += piece.len() as u64;
            piece.clear();
        }
        match blocks.is_full() {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "a table has too many keys")),
            false => Ok(()),
        }
    };
    for (key, value) in rows {
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("row {count} is not behind the one before"),
            ));
        }
        if block.is_empty() {
            first = key.clone();
        }
        put_row(&mut block, &key, &value);
        (count, last) = (count + 1, Some(key));
        if block.len() >= BLOCK {
            close(&mut piece, &mut block, &first, &mut written)?;
        }
    }
    if !block.is_empty() {
        close(&mut piece, &mut block, &first, &mut written)?;
    }
    blocks.end(&last.unwrap_or_default());
    let encoded = blocks.encode();
    let index_at = written + piece.len() as u64;
    let footer = Footer { rows: count, index_at, index_len: encoded.len() as u64, hash: xxh3_128(&encoded) };
    file.write_all_at(written, &[&piece, &encoded, &footer.encode()])
}

/// Reads all blocks: their checksums, the order of their keys, and how many rows they have.
pub(in super::super) fn verify(table: &Table) -> Result<(), OpenError> {
    let wrong = |what: &str| super::FileError::Damaged(what.into());
    let (mut count, mut last) = (0, None::<Bytes>);
    for number in 0..table.0.index.blocks.len() {
        let mut block = table.block(number)?;
        while let Some((key, _)) = take_row(&mut block)? {
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(wrong("its rows are not in the order of their keys").into());
            }
            (count, last) = (count + 1, Some(key));
        }
    }
    if count != table.rows() {
        return Err(wrong("it has another number of rows than it says").into());
    }
    Ok(())
}
