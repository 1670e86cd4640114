//! What earns a voucher: a table of names and pure functions.
use crate::runtime::Unreadable;
use corduroy_proto::{order, voucher as pb};
use pb::Kind;

/// Says what an order earns. Which strategies look at orders is a setting (`voucher.strategies`).
#[derive(Clone, Copy, Debug)]
pub struct Strategy {
    /// Its name; part of the identity of vouchers, so it stays.
    pub name: &'static str,
    /// Looks at an order. Pure: it may be asked about the same order again.
    pub decide: fn(&pb::Facts) -> Verdict,
}

/// What a strategy says of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It earns nothing.
    None,
    /// A voucher of so many cents, or basis points.
    Voucher(Kind, i64),
    /// It cannot be said yet. It is asked again a few times (`voucher.retry`).
    Later,
}

/// Five for a delivered order of a hundred or more, tax included.
pub const LARGE_DELIVERED: &str = "Order.Large-Delivered-Five-Euro";

/// All there are.
pub const STRATEGIES: [Strategy; 1] = [Strategy { name: LARGE_DELIVERED, decide: large_delivered }];

fn large_delivered(order: &pb::Facts) -> Verdict {
    if order.delivered && order.gross >= 10_000 { Verdict::Voucher(Kind::Absolute, 500) } else { Verdict::None }
}

/// What strategies may look at, of an order that was delivered.
pub(super) fn facts(delivered: &order::OrderDelivered) -> Result<pb::Facts, Unreadable> {
    if delivered.order.is_empty() {
        return Err(Unreadable("a delivered order without an id".into()));
    }
    Ok(pb::Facts {
        order: delivered.order.clone(),
        incarnation: delivered.incarnation,
        customer: delivered.customer.clone(),
        net: delivered.net,
        vat_bp: delivered.vat_bp,
        gross: delivered.gross,
        order_date: delivered.order_date,
        delivered: true,
    })
}
