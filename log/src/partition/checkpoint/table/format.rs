//! The bytes of a table's file. Pure: `docs/disk-format.md` has the tables.
use super::super::file::{FileError, Owner, check_owner, damaged, number, word};
use crate::topic::PartitionId;
use bytes::{Buf, Bytes};
use prost::encoding::{decode_varint, encode_varint};
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: [u8; 4] = *b"CDTB";
const END_MAGIC: [u8; 4] = *b"CDTE";
const VERSION: u8 = 1;
pub(super) const HEADER_LEN: usize = 68;
pub(super) const FOOTER_LEN: usize = 48;
/// A block is closed when it has so many bytes; a row is never divided.
pub(super) const BLOCK: usize = 4 << 10;
/// Nothing that is written comes near: a length beyond it is not believed.
const MAX_INDEX: u64 = 1 << 30;

/// Whose table it is, and which.
pub(super) fn header(owner: &Owner, partition: PartitionId, index: u64) -> [u8; HEADER_LEN] {
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend(MAGIC);
    header.extend([VERSION, 0, 0, 0]);
    header.extend(owner.cluster.0);
    header.extend(owner.node.to_le_bytes());
    header.extend(owner.incarnation);
    header.extend(partition.0.to_le_bytes());
    header.extend(index.to_le_bytes());
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header.try_into().expect("the table of the format is fixed")
}

pub(super) fn check_header(
    owner: &Owner,
    partition: PartitionId,
    index: u64,
    header: &[u8; HEADER_LEN],
) -> Result<(), FileError> {
    if header[0..4] != MAGIC || crc32c::crc32c(&header[..HEADER_LEN - 4]) != word(&header[HEADER_LEN - 4..]) {
        return damaged("the header of the table does not verify");
    }
    if header[4] != VERSION {
        return Err(FileError::Newer(header[4]));
    }
    check_owner(owner, partition, header)?;
    let found = number(header, 56);
    if found != index || header[5..8] != [0; 3] {
        return damaged(format!("the table is that of entry {found}, its name says {index}"));
    }
    Ok(())
}

/// The end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub rows: u64,
    /// Where the index begins, which is where the blocks end.
    pub index_at: u64,
    pub index_len: u64,
    /// Of the index, and so of everything: it has the checksums of all blocks.
    pub hash: u128,
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut footer = Vec::with_capacity(FOOTER_LEN);
        footer.extend(END_MAGIC);
        footer.extend(self.rows.to_le_bytes());
        footer.extend(self.index_at.to_le_bytes());
        footer.extend(self.index_len.to_le_bytes());
        footer.extend(self.hash.to_le_bytes());
        footer.extend(crc32c::crc32c(&footer).to_le_bytes());
        footer.try_into().expect("the table of the format is fixed")
    }

    /// Of a file of this length.
    pub(super) fn decode(footer: &[u8; FOOTER_LEN], len: u64) -> Result<Self, FileError> {
        if footer[0..4] != END_MAGIC || crc32c::crc32c(&footer[..FOOTER_LEN - 4]) != word(&footer[FOOTER_LEN - 4..]) {
            return damaged("the footer of the table does not verify");
        }
        let hash = u128::from_le_bytes(footer[28..44].try_into().expect("sixteen bytes"));
        let found =
            Footer { rows: number(footer, 4), index_at: number(footer, 12), index_len: number(footer, 20), hash };
        let ends = found.index_at.checked_add(found.index_len).and_then(|end| end.checked_add(FOOTER_LEN as u64));
        if ends != Some(len) || found.index_at < HEADER_LEN as u64 || found.index_len > MAX_INDEX {
            return damaged(format!("the table has {len} bytes, its footer is that of another length"));
        }
        Ok(found)
    }
}

/// Where a block is, and what must be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub at: u64,
    pub len: u32,
    pub crc: u32,
    /// Where its first key ends in [`Index::keys`].
    key_end: u32,
}

/// The blocks of a table, by their first keys. In memory it has some sixty bytes a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub blocks: Vec<Block>,
    keys: Vec<u8>,
    last: Vec<u8>,
}

impl Index {
    /// Adds the next block.
    pub(super) fn add(&mut self, first: &[u8], at: u64, block: &[u8]) {
        self.push(first, at, block.len() as u32, crc32c::crc32c(block));
    }

    fn push(&mut self, first: &[u8], at: u64, len: u32, crc: u32) {
        self.keys.extend_from_slice(first);
        self.blocks.push(Block { at, len, crc, key_end: self.keys.len() as u32 });
    }

    /// The last key of the last block.
    pub(super) fn end(&mut self, last: &[u8]) {
        self.last = last.to_vec();
    }

    /// Whether there is room for another key.
    pub(super) fn is_full(&self) -> bool {
        self.keys.len() as u64 > MAX_INDEX / 2
    }

    fn first(&self, block: usize) -> &[u8] {
        let start = block.checked_sub(1).map_or(0, |before| self.blocks[before].key_end as usize);
        &self.keys[start..self.blocks[block].key_end as usize]
    }

    /// The only block that can have a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        if key > &self.last[..] {
            return None;
        }
        self.at(key).checked_sub(1)
    }

    /// The block a walk from a key on begins with.
    pub(super) fn seek(&self, key: &[u8]) -> usize {
        self.at(key).saturating_sub(1)
    }

    /// How many blocks begin at or before a key.
    fn at(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.keys.len() + self.last.len() + 12 * self.blocks.len());
        for (number, block) in self.blocks.iter().enumerate() {
            bytes.extend(block.len.to_le_bytes());
            bytes.extend(block.crc.to_le_bytes());
            put(&mut bytes, self.first(number));
        }
        put(&mut bytes, &self.last);
        bytes
    }

    /// Of a table with this footer.
    pub(super) fn decode(mut bytes: Bytes, footer: &Footer) -> Result<Self, FileError> {
        if xxh3_128(&bytes) != footer.hash {
            return damaged("the index of the table does not verify");
        }
        let wrong = || FileError::Damaged("the index of the table is none, although it verifies".into());
        let (mut index, mut at) = (Index::default(), HEADER_LEN as u64);
        while at < footer.index_at {
            if bytes.remaining() < 8 {
                return Err(wrong());
            }
            let (len, crc) = (bytes.get_u32_le(), bytes.get_u32_le());
            let first = take(&mut bytes).ok_or_else(wrong)?;
            index.push(&first, at, len, crc);
            at += u64::from(len);
            if len == 0 || index.is_full() {
                return Err(wrong());
            }
        }
        index.end(&take(&mut bytes).ok_or_else(wrong)?);
        if at != footer.index_at || !bytes.is_empty() {
            return Err(wrong());
        }
        Ok(index)
    }
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    encode_varint(field.len() as u64, bytes);
    bytes.extend_from_slice(field);
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let len = decode_varint(bytes).ok()?;
    (len <= bytes.len() as u64).then(|| bytes.split_to(len as usize))
}

/// Appends a row to a block.
pub(super) fn put_row(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    put(block, key);
    put(block, value);
}

/// The next row of a block whose checksum fits; `None` behind the last one.
pub(super) fn take_row(block: &mut Bytes) -> Result<Option<(Bytes, Bytes)>, FileError> {
    if block.is_empty() {
        return Ok(None);
    }
    let row = take(block).and_then(|key| Some((key, take(block)?)));
    row.map(Some).ok_or_else(|| FileError::Damaged("a block has rows that are none, although it verifies".into()))
}
