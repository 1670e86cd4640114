//! Orders as the routes show them. The fields are exactly those of the contract.
use super::{dates, money};
use crate::services::order::{order_ref, status_name, status_s1, status_s3, status_text, total};
use corduroy_proto::order as pb;
use pb::{Kind, Line, Status};
use serde::{Deserialize, Serialize};

/// What `/orders/find` answers.
#[derive(Debug, Serialize)]
pub(super) struct Found<'a> {
    order_id: &'a str,
    paid: bool,
    items: Vec<(&'a str, i64)>,
    user_id: &'a str,
    total_cost: i64,
    status: &'static str,
}

impl<'a> Found<'a> {
    pub(super) fn of(order: &'a pb::Order) -> Self {
        let (paid, status) = status_s1(order);
        let items = order.lines.iter().map(|line| (line.item.as_str(), line.quantity)).collect();
        Found { order_id: &order.id, paid, items, user_id: &order.customer, total_cost: total(order), status }
    }
}

/// An order in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    order_ref: String,
    customer_ref: &'a str,
    number_of_items: usize,
    status_name: &'static str,
}

impl<'a> Summary<'a> {
    pub(super) fn of(order: &'a pb::Order) -> Self {
        Summary {
            order_ref: order_ref(order.number),
            customer_ref: &order.customer,
            number_of_items: order.lines.len(),
            status_name: status_name(order),
        }
    }
}

/// An order as a value with its tax. Of one for items the tax is part of the prices, and nobody has said how much it
/// is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Valued<'a> {
    order_id: &'a str,
    order_ref: String,
    net_total: Option<String>,
    vat_rate: Option<u32>,
    grand_total: String,
    delivery_sent: bool,
    order_date: String,
}

impl<'a> Valued<'a> {
    pub(super) fn of(order: &'a pb::Order) -> Self {
        let value = order.kind() == Kind::Value;
        Valued {
            order_id: &order.id,
            order_ref: order_ref(order.number),
            net_total: value.then(|| money::show(order.net)),
            vat_rate: value.then_some(order.vat_bp),
            grand_total: money::show(order.gross),
            delivery_sent: order.status() == Status::Delivered,
            order_date: dates::show(order.order_date),
        }
    }
}

/// Everything about an order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail<'a> {
    order_id: &'a str,
    order_ref: String,
    customer_id: &'a str,
    kind: &'static str,
    status: &'static str,
    attempt: u32,
    last_refusal: Option<LastRefusal<'a>>,
    lines: Vec<DetailLine<'a>>,
    total: String,
    net_total: Option<String>,
    vat_rate: Option<u32>,
    grand_total: String,
    order_date: String,
    delivery_sent: bool,
    delivered_at: Option<String>,
    vouchers: Vec<Voucher<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailLine<'a> {
    item_id: &'a str,
    quantity: i64,
    price: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastRefusal<'a> {
    reason: &'a str,
    step: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    item_id: &'a str,
    requested: i64,
    available: i64,
}

#[derive(Debug, Serialize)]
struct Voucher<'a> {
    code: &'a str,
    strategy: &'a str,
    value: String,
}

impl<'a> Voucher<'a> {
    fn of(voucher: &'a pb::Voucher) -> Self {
        let pb::Voucher { code, strategy, value, .. } = voucher;
        Voucher { code, strategy, value: money::show(*value) }
    }
}

impl<'a> Detail<'a> {
    pub(super) fn of(order: &'a pb::Order) -> Self {
        let value = order.kind() == Kind::Value;
        let line = |line: &'a Line| DetailLine {
            item_id: &line.item,
            quantity: line.quantity,
            price: line.price.map(money::show),
        };
        Detail {
            order_id: &order.id,
            order_ref: order_ref(order.number),
            customer_id: &order.customer,
            kind: if value { "value" } else { "items" },
            status: status_text(order),
            attempt: order.attempt,
            last_refusal: order.last_refusal.as_ref().map(LastRefusal::of),
            lines: order.lines.iter().map(line).collect(),
            total: money::show(total(order)),
            net_total: value.then(|| money::show(order.net)),
            vat_rate: value.then_some(order.vat_bp),
            grand_total: money::show(order.gross),
            order_date: dates::show(order.order_date),
            delivery_sent: order.status() == Status::Delivered,
            delivered_at: (order.status() == Status::Delivered).then(|| dates::show(order.delivered_at)),
            vouchers: order.vouchers.iter().map(Voucher::of).collect(),
        }
    }
}

impl<'a> LastRefusal<'a> {
    fn of(refusal: &'a pb::Refusal) -> Self {
        let pb::Refusal { reason, step, item, requested, available, .. } = refusal;
        LastRefusal { reason, step, item_id: item, requested: *requested, available: *available }
    }
}

/// An order as its caller keeps it, with totals of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    pub order_id: String,
    pub customer_id: String,
    pub total_price: i64,
    pub total_quantity: i64,
    pub items: Vec<LedgerItem>,
    #[serde(default, skip_deserializing)]
    pub status: &'static str,
    /// Only asked.
    #[serde(default, skip_serializing)]
    pub delivery: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LedgerItem {
    pub product_id: String,
    /// Unknown as long as nobody has priced the line; a caller has to say it.
    #[serde(deserialize_with = "known")]
    pub price: Option<i64>,
    pub quantity: i64,
}

fn known<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(deserializer).map(Some)
}

impl Ledger {
    pub(super) fn of(order: &pb::Order) -> Self {
        let item =
            |line: &Line| LedgerItem { product_id: line.item.clone(), price: line.price, quantity: line.quantity };
        Ledger {
            order_id: order.id.clone(),
            customer_id: order.customer.clone(),
            total_price: total(order),
            total_quantity: order.lines.iter().fold(0, |sum, line| sum.saturating_add(line.quantity)),
            items: order.lines.iter().map(item).collect(),
            status: status_s3(order),
            delivery: None,
        }
    }
}
