//! The bytes of a checkpoint file. Pure: `docs/disk-format.md` has the table.
use crate::topic::{ClusterId, NodeId, PartitionId};
use bytes::Bytes;

const MAGIC: [u8; 4] = *b"CDCP";
const VERSION: u8 = 1;
/// Bytes before the table of chunk checksums.
pub(crate) const HEADER_LEN: usize = 96;
/// Bytes of a chunk; the last one is shorter.
pub(crate) const CHUNK: usize = 512 << 10;
/// No partition's own state is anywhere near this: a length beyond it is not believed, even under a matching checksum.
pub(super) const MAX_BODY: u64 = 1 << 30;

/// Whose data directory a checkpoint is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub incarnation: [u8; 16],
}

/// Why a file is not a checkpoint of this partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// It was one, or never was.
    #[error("{0}")]
    Damaged(String),
    /// Intact, and of another node, an earlier life of this one, or another partition.
    #[error("{0}")]
    Foreign(String),
    /// Intact, and written by a later version.
    #[error("format version {0} is newer than this build knows")]
    Newer(u8),
}

pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T, FileError> {
    Err(FileError::Damaged(what.into()))
}

/// Everything that comes before the body: the header and the checksums of the body's chunks.
pub(crate) fn head(owner: &Owner, partition: PartitionId, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEADER_LEN + 4 * body.len().div_ceil(CHUNK));
    head.extend(MAGIC);
    head.extend([VERSION, 0, 0, 0]);
    head.extend(owner.cluster.0);
    head.extend(owner.node.to_le_bytes());
    head.extend(owner.incarnation);
    head.extend(partition.0.to_le_bytes());
    head.extend((body.len() as u64).to_le_bytes());
    head.extend((CHUNK as u32).to_le_bytes());
    head.extend([0; 8]);
    head.extend(xxhash_rust::xxh3::xxh3_128(body).to_le_bytes());
    head.extend(crc32c::crc32c(&head).to_le_bytes());
    debug_assert_eq!(head.len(), HEADER_LEN, "the table of the format is fixed");
    for chunk in body.chunks(CHUNK) {
        head.extend(crc32c::crc32c(chunk).to_le_bytes());
    }
    head
}

/// How long the file is that begins with this header, which verifies as that of a checkpoint of this partition in this
/// data directory. Nothing larger need be read.
pub(crate) fn file_len(owner: &Owner, partition: PartitionId, header: &[u8; HEADER_LEN]) -> Result<u64, FileError> {
    let body = body_len(owner, partition, header)?;
    Ok(HEADER_LEN as u64 + table_len(body) as u64 + body as u64)
}

/// Bytes of the table of checksums of a body's chunks.
fn table_len(body: usize) -> usize {
    4 * body.div_ceil(CHUNK)
}

fn body_len(owner: &Owner, partition: PartitionId, header: &[u8; HEADER_LEN]) -> Result<usize, FileError> {
    if header[0..4] != MAGIC || crc32c::crc32c(&header[..HEADER_LEN - 4]) != word(&header[HEADER_LEN - 4..]) {
        return damaged("the header does not verify");
    }
    if header[4] != VERSION {
        return Err(FileError::Newer(header[4]));
    }
    check_owner(owner, partition, header)?;
    let (len, chunk) = (number(header, 56), word(&header[64..68]));
    if len > MAX_BODY || chunk as usize != CHUNK || header[5..8] != [0; 3] || header[68..76] != [0; 8] {
        return damaged(format!(
            "the header says {len} bytes in chunks of {chunk}, or its reserved bytes are not zero"
        ));
    }
    Ok(len as usize)
}

pub(super) fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The body of a file that verifies as a checkpoint of this partition in this data directory.
pub(crate) fn body(owner: &Owner, partition: PartitionId, file: &Bytes) -> Result<Bytes, FileError> {
    let Some((header, rest)) = file.split_first_chunk::<HEADER_LEN>() else {
        return damaged(format!("{} bytes are less than a header", file.len()));
    };
    let len = body_len(owner, partition, header)?;
    let table = table_len(len);
    if rest.len() != table + len {
        return damaged(format!("{} bytes follow the header, {} were written", rest.len(), table + len));
    }
    let body = file.slice(HEADER_LEN + table..);
    let chunks = rest[..table].chunks_exact(4).zip(body.chunks(CHUNK));
    if let Some(bad) = chunks.into_iter().position(|(crc, chunk)| crc32c::crc32c(chunk) != word(crc)) {
        return damaged(format!("chunk {bad} does not verify"));
    }
    if header[76..92] != xxhash_rust::xxh3::xxh3_128(&body).to_le_bytes() {
        return damaged("the whole does not verify, although each chunk does");
    }
    Ok(body)
}

/// Whether a header that verifies is of this partition in this data directory: every file here begins with the same fields.
pub(super) fn check_owner(owner: &Owner, partition: PartitionId, header: &[u8]) -> Result<(), FileError> {
    let id = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).expect("sixteen bytes");
    let found = Owner { cluster: ClusterId(id(8)), node: number(header, 24), incarnation: id(32) };
    if (found.cluster, found.node) != (owner.cluster, owner.node) {
        return Err(FileError::Foreign(format!(
            "belongs to node {} of cluster {}, this is node {} of cluster {}",
            found.node, found.cluster, owner.node, owner.cluster
        )));
    }
    if found.incarnation != owner.incarnation {
        return Err(FileError::Foreign(format!("belongs to an earlier data directory of node {}", owner.node)));
    }
    let found = PartitionId(number(header, 48));
    if found != partition {
        return Err(FileError::Foreign(format!("belongs to partition {found}, its name says {partition}")));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests/file.rs"]
mod tests;
