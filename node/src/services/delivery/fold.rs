//! The fold over what happened to the delivery of an order.
use crate::runtime::At;
use corduroy_proto::delivery::{self as pb, Status, event::Event};
use std::cmp::Ordering;

/// Attempts of one order, the earlier one first.
pub(super) fn rank(id: Option<&pb::HoldId>) -> (u64, u32) {
    id.map_or((0, 0), |id| (id.incarnation, id.attempt))
}

pub(super) fn evolve(state: &mut Option<pb::Delivery>, event: &Event, at: At) {
    let (hold, customer, day) = match event {
        Event::Held(slot) | Event::Scheduled(slot) | Event::Voided(slot) | Event::Delivered(slot) => {
            (&slot.hold, &slot.customer, slot.day)
        }
        Event::Refused(refused) => (&refused.hold, &refused.customer, 0),
    };
    // `None`: nothing of this attempt or a later one.
    let before = match state {
        Some(state) => match rank(state.hold.as_ref()).cmp(&rank(hold.as_ref())) {
            Ordering::Less => None,
            Ordering::Equal => Some(state.status()),
            Ordering::Greater => return,
        },
        None => None,
    };
    let after = match (event, before) {
        (Event::Held(_), None) => Status::Held,
        (Event::Refused(_), None) => Status::Refused,
        (Event::Voided(_), None | Some(Status::Held)) => Status::Voided,
        (Event::Scheduled(_), None | Some(Status::Held)) => Status::Scheduled,
        (Event::Delivered(_), Some(Status::Scheduled)) => Status::Delivered,
        _ => return,
    };
    let (hold, customer, at) = (hold.clone(), customer.clone(), at.time.0);
    *state = Some(pb::Delivery { customer, day, status: after.into(), hold, at });
}
