//! What vouchers are found by, beside their codes.
use crate::runtime::IndexKey;
use corduroy_proto::voucher as pb;
use pb::state::State;

/// Raise it when [`of`] says something else.
pub(super) const VERSION: u32 = 1;

/// The vouchers of a customer.
pub fn of_customer(customer: &str) -> IndexKey {
    IndexKey::new("customer", customer)
}

/// The vouchers an order earned.
pub fn of_order(order: &str) -> IndexKey {
    IndexKey::new("order", order)
}

/// Those that are redeemed, or are not.
pub fn of_use(redeemed: bool) -> IndexKey {
    IndexKey::new("redeemed", redeemed.to_string())
}

pub(super) fn of(state: &pb::State) -> Vec<IndexKey> {
    match &state.state {
        Some(State::Voucher(voucher)) => {
            let redeemed = voucher.redeemed_at != 0;
            vec![of_customer(&voucher.customer), of_order(&voucher.order), of_use(redeemed)]
        }
        Some(State::Alias(_)) | None => Vec::new(),
    }
}
