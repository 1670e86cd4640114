//! The system's wall clock.
use crate::world::{Clock, Timestamp};
use std::time::{SystemTime, UNIX_EPOCH};

/// The system's wall clock, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as 1970: callers take the maximum with what they saw before.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
    }
}
