//! What was decided, out of the log again: for tests of what keeps it from counting twice.
use crate::{batch::DecidedBatch, partition::PlacedBatch, record::NewRecord};

/// The decided batch that a batch of the log is; `None` where nobody decided it.
pub fn decided_in(placed: &PlacedBatch) -> Option<DecidedBatch> {
    let batch = &placed.batch;
    let decided = batch.decided()?;
    let records = batch.decode(placed.base).ok()?;
    let event = |record: crate::record::Record| NewRecord {
        key: record.key,
        headers: record.headers,
        ..NewRecord::new(record.value)
    };
    Some(DecidedBatch {
        term: decided.term,
        sequence: decided.sequence,
        time: batch.time(),
        sources: batch.sources().collect(),
        effects: batch.effects(),
        events: records.into_iter().map(event).collect(),
    })
}
