//! Events as they happen, to whoever waits for them.
//!
//! - `follow`: partitions of a topic as one stream. `position`: how far a reader is, as a text.
//! - `sse`: records of a topic as server-sent events.
//! - `socket`: notifications about orders over a WebSocket. `notices`: what they say.
//!
//! Only what is committed is told. A reader that was cut off says where it was, and goes on there.
mod follow;
mod notices;
mod position;
mod socket;
mod sse;

pub(super) use socket::notifications;
pub(super) use sse::topic;

use corduroy_log::RealLog;
use std::time::Duration;

/// How often it is looked whether the node stops.
const LOOK: Duration = Duration::from_millis(200);

/// Resolves when this node begins to stop: readers go on elsewhere.
async fn left(log: RealLog) {
    while !log.is_leaving() && !log.is_stopping() {
        tokio::time::sleep(LOOK).await;
    }
}
