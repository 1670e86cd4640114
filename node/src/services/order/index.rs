//! What orders are found by, beside their ids.
use super::view::status_name;
use crate::runtime::IndexKey;
use corduroy_proto::order::{self as pb, state::State};

/// Raise it when [`of`] says something else.
pub(super) const VERSION: u32 = 1;

/// The orders of a customer, who is written in any case.
pub fn of_customer(customer: &str) -> IndexKey {
    IndexKey::new("customer", customer.to_ascii_lowercase())
}

/// The orders with this name of a status ([`status_name`]), in any case.
pub fn of_status(name: &str) -> IndexKey {
    IndexKey::new("status", name.to_ascii_lowercase())
}

pub(super) fn of(state: &pb::State) -> Vec<IndexKey> {
    match &state.state {
        Some(State::Order(order)) => vec![of_customer(&order.customer), of_status(status_name(order))],
        Some(State::Alias(_)) | None => Vec::new(),
    }
}
