//! Using a voucher, which can be done once.
use super::Voucher;
use crate::runtime::{Decide, Head, Refusal};
use corduroy_log::world::Timestamp;
use corduroy_proto::voucher as pb;
use pb::{event::Event, state::State};

/// Whether its time is over.
pub fn is_expired(voucher: &pb::Voucher, now: Timestamp) -> bool {
    voucher.expires_at != 0 && voucher.expires_at <= now.0 && voucher.redeemed_at == 0
}

/// `alias` is the key that a code has.
pub(super) fn redeem(
    head: &Head<'_, Voucher>,
    alias: &str,
    request: &pb::Redeem,
    cx: &mut Decide<'_, Voucher>,
) -> Result<(), Refusal> {
    let code = super::code::shown(alias);
    let unknown = || Refusal::new("unknown-voucher", format!("there is no voucher {code}")).text("id", code);
    let key = match head.get(alias).and_then(|state| state.state) {
        Some(State::Alias(key)) => key,
        Some(State::Voucher(_)) | None => return Err(unknown()),
    };
    let voucher = find(head, &key).ok_or_else(unknown)?;
    let no = |name: &str, why: &str| Refusal::new(name, format!("voucher {code} {why}")).text("code", code);
    if voucher.redeemed_at != 0 {
        return Err(no("voucher-redeemed", "was redeemed before"));
    }
    // Who has the code and says no name is believed to be the one it was given to.
    if !voucher.customer.is_empty() && !request.customer.is_empty() && voucher.customer != request.customer {
        return Err(no("voucher-owner", "was issued to another customer"));
    }
    if is_expired(&voucher, cx.now()) {
        return Err(no("voucher-expired", "has expired"));
    }
    let by = if request.customer.is_empty() { voucher.customer.clone() } else { request.customer.clone() };
    let (order, customer, value) = (request.order.clone(), voucher.customer, voucher.value);
    let redeemed = pb::VoucherRedeemed { code: code.to_owned(), by, order, customer, value };
    cx.emit(&key, pb::Event { event: Some(Event::Redeemed(redeemed)) });
    cx.reply_with(move |head| pb::Reply { voucher: find(head, &key) });
    Ok(())
}

fn find(head: &Head<'_, Voucher>, key: &str) -> Option<pb::Voucher> {
    match head.get(key)?.state? {
        State::Voucher(voucher) => Some(voucher),
        State::Alias(_) => None,
    }
}
