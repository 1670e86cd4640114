//! Changes of named cursors, as a batch holds them.
use super::{Batch, BatchError, BatchHeader, Conditions, Kind, layout};
use crate::{topic::Offset, world::Timestamp};
use bytes::{Buf, BufMut, BytesMut};

/// Bytes of a change before the name.
const FIXED: usize = 24;

/// One change of one cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CursorChange {
    /// Its consumer has done everything below the offset.
    Commit { name: String, offset: Offset, fence: u64 },
    /// A consumer takes it over: the fence goes up by one.
    Acquire { name: String },
    /// Nobody needs it any more.
    Delete { name: String },
}

impl CursorChange {
    pub(crate) fn name(&self) -> &str {
        match self {
            CursorChange::Commit { name, .. } | CursorChange::Acquire { name } | CursorChange::Delete { name } => name,
        }
    }

    /// Bytes it takes in a batch.
    pub(crate) fn len(&self) -> usize {
        FIXED + self.name().len()
    }
}

/// Seals changes as one batch, in order.
pub(crate) fn seal_cursors(changes: &[CursorChange], time: Timestamp) -> Batch {
    let header = BatchHeader {
        kind: Kind::Cursors,
        count: u32::try_from(changes.len()).expect("few changes make a batch"),
        time: time.0,
        conditions: Conditions::default(),
        decided: None,
    };
    let size = changes.iter().map(CursorChange::len).sum::<usize>() + header.len();
    let mut buffer = BytesMut::with_capacity(size);
    buffer.put_bytes(0, header.len());
    for change in changes {
        let (kind, offset, fence) = match change {
            CursorChange::Commit { offset, fence, .. } => (1, *offset, *fence),
            CursorChange::Acquire { .. } => (2, 0, 0),
            CursorChange::Delete { .. } => (3, 0, 0),
        };
        buffer.put_u8(kind);
        buffer.put_u8(0);
        buffer.put_u16_le(u16::try_from(change.name().len()).expect("names are checked"));
        buffer.put_u32_le(0);
        buffer.put_u64_le(offset);
        buffer.put_u64_le(fence);
        buffer.put_slice(change.name().as_bytes());
    }
    Batch::seal(header, buffer)
}

/// The changes of a batch of changes.
pub(super) fn decode(batch: &layout::Batch) -> Result<Vec<CursorChange>, BatchError> {
    let mut rest = batch.content();
    let mut changes = Vec::with_capacity(batch.header().count.min(65_536) as usize);
    for number in 0..batch.header().count {
        let short = || BatchError::Short(batch.bytes().len(), "cursor change");
        let mut fixed = rest.split_off(..FIXED).ok_or_else(short)?;
        let (kind, reserved) = (fixed.get_u8(), fixed.get_u8());
        let name_len = fixed.get_u16_le();
        if reserved != 0 || fixed.get_u32_le() != 0 {
            return Err(BatchError::Cursor(number, "reserved bits are set"));
        }
        let (offset, fence) = (fixed.get_u64_le(), fixed.get_u64_le());
        let name = rest.split_off(..usize::from(name_len)).ok_or_else(short)?;
        let name = str::from_utf8(name).map_err(|_| BatchError::Cursor(number, "the name is not UTF-8"))?.to_owned();
        changes.push(match (kind, offset, fence) {
            (1, offset, fence) => CursorChange::Commit { name, offset, fence },
            (2, 0, 0) => CursorChange::Acquire { name },
            (3, 0, 0) => CursorChange::Delete { name },
            _ => return Err(BatchError::Cursor(number, "of an unknown kind")),
        });
    }
    if rest.is_empty() { Ok(changes) } else { Err(BatchError::Trailing(rest.len())) }
}
