//! Feeds: what a partition holds, on any node, also one that holds no replica of it.
//!
//! ```text
//!   Subscription ── a replica here ──▶ Partition::subscribe_batches
//!        │
//!        └── elsewhere ──▶ Line ══ FeedOpen, FeedCredit ══▶ serve ──▶ Partition::subscribe_batches of any replica
//!                            ◀═════════ FeedBatches ═══════╝
//! ```
//!
//! A *line* is a connection of its own, so that bulk stands in front of nothing else (R61). There is one to each
//! node that feeds this one, opened by the first feed and closed by the last. Batches travel as the log has them; their
//! checksums are verified here, and that each begins where the one before it ended.
//!
//! **Invariant**: a [`Subscription`] gives every record once and in order, whatever becomes of the nodes that feed it: the
//! offset is the whole state, and every replica holds the same at it. Nothing at or above the evolved offset of a replica
//! leaves it (R51).
//!
//! **Invariant**: a feed has at most `WINDOW` bytes of batches, and one answer, sent and not taken. What it has not been
//! asked for stays where it is.
//!
//! A replica that is cut off from its leader, or behind, says nothing for a while, like one of a quiet partition. A
//! subscription that hears nothing asks the others how far they are, and moves to one that is ahead.
//!
//! Deliberately absent: filters, and a choice of the replica. A subscriber of everything is what sagas need; a replica that is
//! near is a matter for those who place nodes.
mod line;

mod serve;

mod subscription;

pub use subscription::Subscription;

pub(crate) use line::Lines;
pub(crate) use serve::Feeder;

use crate::partition::{Consistency, PlacedBatch};
use corduroy_proto::v1::{self as pb, bounds_request};

/// Bytes of batches that may be on their way to a subscriber.
const WINDOW: u64 = 4 << 20;
/// About the bytes of batches in one message.
const MESSAGE: u64 = 256 << 10;
/// What a batch costs beside its bytes.
const BATCH: u64 = 64;

/// What batches cost of the window.
fn cost(batches: &[PlacedBatch]) -> u64 {
    batches.iter().map(|placed| placed.batch.bytes().len() as u64 + BATCH).sum()
}

/// How a question for the bounds of a partition says what it must see.
fn consistency_to_wire(consistency: Consistency) -> pb::BoundsRequest {
    let consistency = match consistency {
        Consistency::Linearizable => bounds_request::Consistency::Linearizable(true),
        Consistency::Stale => bounds_request::Consistency::Stale(true),
        Consistency::Session(offset) => bounds_request::Consistency::SessionOffset(offset),
    };
    pb::BoundsRequest { consistency: Some(consistency) }
}

/// What is not understood promises the most.
pub(crate) fn consistency_from_wire(request: &pb::BoundsRequest) -> Consistency {
    match request.consistency {
        Some(bounds_request::Consistency::Stale(_)) => Consistency::Stale,
        Some(bounds_request::Consistency::SessionOffset(offset)) => Consistency::Session(offset),
        _ => Consistency::Linearizable,
    }
}

#[cfg(test)]
mod tests;
