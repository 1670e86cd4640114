//! What deliveries are found by, beside their orders.
use crate::runtime::IndexKey;
use corduroy_proto::delivery::{self as pb, Status};

/// Raise it when [`of`] says something else.
pub(super) const VERSION: u32 = 1;

/// The deliveries of a day, counted from 1970.
pub fn of_day(day: i64) -> IndexKey {
    IndexKey::new("day", day.to_string())
}

/// The deliveries in a state ([`state_name`]), in any case.
pub fn of_state(name: &str) -> IndexKey {
    IndexKey::new("state", name.to_ascii_lowercase())
}

/// What a state is called.
pub fn state_name(status: Status) -> &'static str {
    match status {
        Status::Unspecified => "requested",
        Status::Held => "held",
        Status::Refused => "refused",
        Status::Voided => "voided",
        Status::Scheduled => "scheduled",
        Status::Delivered => "delivered",
    }
}

/// The day of a delivery; none where no slot was held.
pub fn day_of(delivery: &pb::Delivery) -> Option<i64> {
    let status = delivery.status();
    let has_day = status != Status::Refused && (status != Status::Voided || delivery.day != 0);
    has_day.then_some(delivery.day)
}

pub(super) fn of(delivery: &pb::Delivery) -> Vec<IndexKey> {
    let state = of_state(state_name(delivery.status()));
    day_of(delivery).map(of_day).into_iter().chain([state]).collect()
}
