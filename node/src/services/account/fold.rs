//! The fold over what happened to customers.
use crate::runtime::At;
use corduroy_proto::account::{self as pb};

/// Orders, and vouchers, that are kept of a customer: of more, the latest.
pub const ORDERS: usize = 200;
/// Events of a customer of which it is kept where they are: of more, the latest.
pub const EVENTS: usize = 1024;

pub(super) fn evolve(state: &mut Option<pb::Account>, event: &pb::CustomerEvent, at: At) {
    let account = state.get_or_insert_default();
    account.seq = event.seq;
    account.offsets.push(at.offset);
    keep_latest(&mut account.offsets, EVENTS);
    account.balance = event.balance.unwrap_or(account.balance);
    if let Some(profile) = &event.profile {
        account.profile = Some(profile.clone());
    }
    if let Some(voucher) = &event.voucher {
        match account.vouchers.iter_mut().find(|known| known.code == voucher.code) {
            Some(known) => known.redeemed = voucher.redeemed,
            None => account.vouchers.push(voucher.clone()),
        }
        keep_latest(&mut account.vouchers, ORDERS);
    }
    if let Some(change) = &event.order {
        change_order(account, change);
    }
    // Seeds that came before are in it.
    account.seed = account.seed.max(at.offset.saturating_add(1));
}

fn change_order(account: &mut pb::Account, change: &pb::OrderChange) {
    let known = account.orders.iter().rposition(|order| order.id == change.id);
    if known.is_none() {
        account.orders.push(pb::Order { id: change.id.clone(), ..pb::Order::default() });
        keep_latest(&mut account.orders, ORDERS);
    }
    let order = match known {
        Some(place) => account.orders.get_mut(place),
        None => account.orders.last_mut(),
    };
    if let Some(order) = order {
        order.number = if change.number == 0 { order.number } else { change.number };
        order.status = change.status.unwrap_or(order.status);
        order.total = change.total.unwrap_or(order.total);
    }
}

fn keep_latest<T>(all: &mut Vec<T>, most: usize) {
    if let Some(more) = all.len().checked_sub(most).filter(|more| *more > 0) {
        all.drain(..more);
    }
}
