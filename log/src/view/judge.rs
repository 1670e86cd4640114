//! Whether what a store holds of a partition fits the partition's log. Pure.
use super::{RebuildReason, position::Position};
use crate::{
    topic::{LogId, PartitionId},
    wal::{LogHash, PartitionLog},
    world::World,
};
use std::io;

/// What the log says of the entry a view ends with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// The last entry that is not kept any more.
    pub purged: Option<u64>,
    /// The entry with the view's index.
    pub found: Option<LogId>,
    /// The log hash after that entry.
    pub hash: Option<LogHash>,
    /// One past the last entry that has evolved.
    pub evolved: u64,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The view goes on behind its position.
    Fits,
    /// The log has the entry, and it has not evolved here yet, as after a restart: nothing is served or taken until it has.
    Early,
    /// It is built anew.
    Rebuild(RebuildReason, String),
}

pub(super) fn judge(partition: PartitionId, position: &Position, facts: &Facts) -> Judgement {
    let Facts { purged, found, hash, evolved } = *facts;
    let Position { id, .. } = position;
    let rebuild = |reason, why: String| Judgement::Rebuild(reason, format!("partition {partition}: {why}"));
    if purged.is_some_and(|purged| id.index < purged) {
        return rebuild(
            RebuildReason::BehindPurge,
            format!("it ends with entry {id}, the log begins behind {purged:?}"),
        );
    }
    match found {
        None => rebuild(RebuildReason::AheadOfLog, format!("it ends with entry {id}, which the log does not have")),
        Some(found) if found != *id || hash != Some(position.hash) => rebuild(
            RebuildReason::OtherLog,
            format!("it ends with entry {id} of another log, this one has {found} there"),
        ),
        Some(_) if id.index >= evolved || position.of_state.shows > evolved => Judgement::Early,
        Some(_) => Judgement::Fits,
    }
}

/// Asks the log.
pub(super) fn facts<W: World>(log: &PartitionLog<W>, position: &Position, evolved: u64) -> io::Result<Facts> {
    let index = position.id.index;
    let hash = log.log_hash_at(index)?;
    Ok(Facts { purged: log.purged().map(|id| id.index), found: log.log_id(index), hash, evolved })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::position::OfState;

    const OF_STATE: OfState = OfState { version: 1, shows: 8, walk: None };
    const POSITION: Position =
        Position { id: LogId { term: 2, index: 7 }, end: 5, hash: [3; 16], sum: 0, of_state: OF_STATE };

    fn fitting() -> Facts {
        Facts { purged: None, found: Some(POSITION.id), hash: Some(POSITION.hash), evolved: 8 }
    }

    fn judged(facts: Facts) -> Judgement {
        judge(PartitionId::new(1, 0), &POSITION, &facts)
    }

    fn reason(facts: Facts) -> Option<RebuildReason> {
        match judged(facts) {
            Judgement::Rebuild(reason, _) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_view_fits_the_log_that_has_its_last_entry_with_its_hash() {
        assert_eq!(judged(fitting()), Judgement::Fits);
        assert_eq!(judged(Facts { purged: Some(7), ..fitting() }), Judgement::Fits, "it has all that is gone");
    }

    #[test]
    fn a_view_whose_last_entry_has_not_evolved_yet_waits() {
        assert_eq!(judged(Facts { evolved: 7, ..fitting() }), Judgement::Early);
        assert_eq!(judged(Facts { evolved: 0, ..fitting() }), Judgement::Early);
    }

    #[test]
    fn a_view_that_shows_what_has_not_evolved_yet_waits() {
        let further = Position { of_state: OfState { shows: 10, ..OF_STATE }, ..POSITION };
        let judged = |evolved| judge(PartitionId::new(1, 0), &further, &Facts { evolved, ..fitting() });
        assert_eq!((judged(9), judged(10)), (Judgement::Early, Judgement::Fits));
    }

    #[test]
    fn a_view_of_anything_else_is_built_anew() {
        let other_term = Facts { found: Some(LogId { term: 3, index: 7 }), ..fitting() };
        assert_eq!(reason(other_term), Some(RebuildReason::OtherLog));
        assert_eq!(reason(Facts { hash: Some([4; 16]), ..fitting() }), Some(RebuildReason::OtherLog));
        assert_eq!(reason(Facts { found: None, hash: None, ..fitting() }), Some(RebuildReason::AheadOfLog));
        assert_eq!(reason(Facts { purged: Some(8), ..fitting() }), Some(RebuildReason::BehindPurge));
        // Also where it has not evolved: what is wrong does not become right by waiting.
        assert_eq!(reason(Facts { hash: None, evolved: 0, ..fitting() }), Some(RebuildReason::OtherLog));
    }
}
