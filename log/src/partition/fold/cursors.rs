//! Named cursors: how far consumers that keep no state of their own have come.
use super::shards::Shards;
use crate::{batch::CursorChange, topic::Offset, world::Timestamp};
use corduroy_proto::v1 as pb;

/// Cursors a partition keeps. Part of the format: replicas must refuse alike.
const CURSORS: usize = 100_000;

/// How far a consumer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// It has done everything below this offset.
    pub offset: Offset,
    /// Who may commit: whoever gives this fence, or a higher one, which is the fence from then on.
    pub fence: u64,
    /// Log time of the last change.
    pub time: Timestamp,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorVerdict {
    /// The cursor after it.
    Changed(Cursor),
    /// There is none of that name any more.
    Deleted,
    /// Somebody else has taken the cursor over.
    Fenced { fence: u64 },
    /// The offset is beyond the end of the partition.
    Beyond { end: Offset },
    /// The partition keeps no more cursors.
    TooMany { limit: usize },
}

/// Applies a change to the cursors of a partition that ends at `end`, at log time `now`.
pub(super) fn change(
    cursors: &mut Shards<String, Cursor>,
    change: CursorChange,
    end: Offset,
    now: Timestamp,
) -> CursorVerdict {
    let known = cursors.get(change.name()).copied();
    if known.is_none() && cursors.len() >= CURSORS && !matches!(change, CursorChange::Delete { .. }) {
        return CursorVerdict::TooMany { limit: CURSORS };
    }
    let current = known.unwrap_or(Cursor { offset: 0, fence: 0, time: now });
    let (name, changed) = match change {
        CursorChange::Commit { fence, .. } if fence < current.fence => {
            return CursorVerdict::Fenced { fence: current.fence };
        }
        CursorChange::Commit { offset, .. } if offset > end => return CursorVerdict::Beyond { end },
        CursorChange::Commit { name, offset, fence } => (name, Cursor { offset, fence, time: now }),
        CursorChange::Acquire { name } => {
            (name, Cursor { fence: current.fence.saturating_add(1), time: now, ..current })
        }
        CursorChange::Delete { name } => {
            cursors.remove(&name);
            return CursorVerdict::Deleted;
        }
    };
    cursors.insert(name, changed);
    CursorVerdict::Changed(changed)
}

pub(super) fn encode((name, cursor): (&String, &Cursor)) -> pb::CursorState {
    pb::CursorState { name: name.clone(), offset: cursor.offset, fence: cursor.fence, time: cursor.time.0 }
}

pub(super) fn restore(encoded: &[pb::CursorState]) -> Shards<String, Cursor> {
    let cursor = |encoded: &pb::CursorState| {
        let pb::CursorState { name, offset, fence, time } = encoded.clone();
        (name, Cursor { offset, fence, time: Timestamp(time) })
    };
    encoded.iter().map(cursor).collect()
}
