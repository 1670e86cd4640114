//! The ways to say no, by the names clients know them by.
use super::view;
use crate::runtime::Refusal;
use corduroy_proto::order as pb;

pub(super) fn unknown_order(id: &str) -> Refusal {
    Refusal::new("unknown-order", format!("there is no order {id}")).text("id", id)
}

pub(super) fn unknown_item(id: &str) -> Refusal {
    Refusal::new("unknown-item", format!("no line of the order has item {id}")).text("id", id)
}

pub(super) fn id_conflict(id: &str) -> Refusal {
    Refusal::new("id-conflict", format!("there is another order {id}, with other content")).text("id", id)
}

/// What was asked is against a rule: `path` is the field, `reason` what is wrong with it.
pub(super) fn rule(path: impl Into<String>, reason: impl Into<String>) -> Refusal {
    Refusal::new("rule-violated", reason).text("path", path)
}

pub(super) fn busy(order: &pb::Order) -> Refusal {
    let detail = format!("attempt {} to check the order out is not over yet", order.attempt);
    Refusal::new("order-busy", detail).number("attempt", order.attempt.into())
}

pub(super) fn closed(order: &pb::Order) -> Refusal {
    let status = view::status_text(order);
    Refusal::new("order-closed", format!("the order is {status}")).text("status", status)
}

pub(super) fn not_deliverable(order: &pb::Order) -> Refusal {
    let status = view::status_text(order);
    Refusal::new("not-deliverable", format!("the order is {status}, and only confirmed ones are delivered"))
        .text("status", status)
}

/// A line has no price, and nobody knows one.
pub(super) fn item_missing(item: &str) -> Refusal {
    Refusal::new("item-missing", format!("there is no item {item}")).text("itemId", item)
}

/// An attempt of this kind was ended because its caller, or someone else, wanted that.
pub(super) fn checkout_cancelled(attempt: u32) -> Refusal {
    let detail = format!("attempt {attempt} to check the order out was cancelled");
    Refusal::new("checkout-cancelled", detail).number("attempt", attempt.into())
}

/// Why an attempt failed, to those who waited for it.
pub(super) fn attempt_failed(order: &pb::Order, refusal: &pb::Refusal) -> Refusal {
    let pb::Refusal { reason, step, item, requested, available, price, from_day, to_day } = refusal;
    let user = &order.customer;
    match reason.as_str() {
        "out-of-credit" => Refusal::new(reason, format!("user {user} has {available}, and needs {requested}"))
            .text("userId", user)
            .number("requested", *requested)
            .number("available", *available),
        "account-missing" => Refusal::new(reason, format!("there is no user {user}")).text("userId", user),
        "out-of-stock" => Refusal::new(reason, format!("of item {item} {requested} are wanted, {available} are there"))
            .text("itemId", item)
            .number("requested", *requested)
            .number("available", *available),
        "item-missing" => item_missing(item).number("price", *price),
        "price-changed" => Refusal::new(reason, format!("item {item} costs {price}, not what was quoted"))
            .text("itemId", item)
            .number("price", *price),
        "no-delivery-slot" => {
            let (from, to) = (date(*from_day), date(*to_day));
            Refusal::new(reason, format!("no day from {from} to {to} has room")).text("from", from).text("to", to)
        }
        "checkout-timeout" => {
            let detail = format!("attempt {} was not answered in time by {step}", order.attempt);
            Refusal::new(reason, detail).number("attempt", order.attempt.into()).text("step", step)
        }
        _ => checkout_cancelled(order.attempt),
    }
}

/// A day, counted from 1970-01-01, as a date.
fn date(day: i64) -> String {
    let date = jiff::Span::new().try_days(day).and_then(|days| jiff::civil::date(1970, 1, 1).checked_add(days));
    // No calendar has it.
    date.map_or_else(|_| format!("day {day}"), |date| date.to_string())
}
