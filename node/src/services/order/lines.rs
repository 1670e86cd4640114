//! The lines of an order. They are appended and never merged, until they are reserved.
use super::{
    refusals,
    work::{Work, shown},
};
use crate::{runtime::Refusal, services::Settings};
use corduroy_proto::order as pb;
use pb::{Line, Status, event::Event};
use std::ops::RangeInclusive;

/// How many of an item a line may ask for.
const QUANTITY: RangeInclusive<i64> = 1..=1_000_000;

/// Adds a line. What its item costs was looked up by who asks, where it has a price.
pub(super) fn add(settings: &Settings, work: &mut Work<'_, '_>, line: &Line) -> Result<(), Refusal> {
    may_change(&work.order)?;
    check("line", line)?;
    let mut lines = work.order.lines.clone();
    lines.push(line.clone());
    check_all(settings, &lines)?;
    let changed = changed(work, line, &lines);
    work.emit(Event::LineAdded(changed));
    work.reply();
    Ok(())
}

/// Removes the newest line of an item.
pub(super) fn remove(work: &mut Work<'_, '_>, item: &str) -> Result<(), Refusal> {
    may_change(&work.order)?;
    let Some(newest) = newest(&work.order.lines, item) else { return Err(refusals::unknown_item(item)) };
    let mut lines = work.order.lines.clone();
    let line = lines.remove(newest);
    let changed = changed(work, &line, &lines);
    work.emit(Event::LineRemoved(changed));
    let shown = shown(work.key, false);
    work.cx.reply_with(move |head| pb::Reply { line: Some(line), ..shown(head) });
    Ok(())
}

/// What is told of a line, and of the order that has these lines with it.
fn changed(work: &Work<'_, '_>, line: &Line, lines: &[Line]) -> pb::LineChanged {
    pb::LineChanged {
        order: work.key.to_owned(),
        line: Some(line.clone()),
        customer: work.order.customer.clone(),
        number: work.order.number,
        total: sum_or_max(lines),
    }
}

fn may_change(order: &pb::Order) -> Result<(), Refusal> {
    match order.status() {
        Status::Open => Ok(()),
        Status::Reserving | Status::Releasing => Err(refusals::busy(order)),
        Status::Confirmed | Status::Delivered | Status::Cancelled => Err(refusals::closed(order)),
    }
}

/// Checks a line by itself.
pub(super) fn check(path: &str, line: &Line) -> Result<(), Refusal> {
    if !QUANTITY.contains(&line.quantity) {
        let reason = format!("{} is not from {} to {}", line.quantity, QUANTITY.start(), QUANTITY.end());
        return Err(refusals::rule(format!("{path}.quantity"), reason));
    }
    if line.price.is_some_and(|price| price < 0) {
        return Err(refusals::rule(format!("{path}.price"), "it is negative"));
    }
    Ok(())
}

/// Checks all lines of an order together.
pub(super) fn check_all(settings: &Settings, lines: &[Line]) -> Result<(), Refusal> {
    if lines.len() > settings.max_lines {
        return Err(refusals::rule("lines", format!("an order has at most {}", settings.max_lines)));
    }
    sum(lines).map(|_| ()).ok_or_else(too_much)
}

/// The order costs more than can be counted.
pub(super) fn too_much() -> Refusal {
    refusals::rule("total", "it is more than can be counted")
}

/// What lines cost; such without a price cost nothing yet. `None`: more than can be counted.
pub(super) fn sum(lines: &[Line]) -> Option<i64> {
    let mut costs = lines.iter().map(|line| line.quantity.checked_mul(line.price.unwrap_or(0)));
    costs.try_fold(0_i64, |sum, cost| sum.checked_add(cost?))
}

/// The same where a fact is taken: what was checked when it was decided cannot be refused.
pub fn sum_or_max(lines: &[Line]) -> i64 {
    sum(lines).unwrap_or(i64::MAX)
}

/// The newest line of an item.
pub(super) fn newest(lines: &[Line], item: &str) -> Option<usize> {
    lines.iter().rposition(|line| line.item == item)
}

/// What an item costs, of a list of prices.
pub(super) fn price_of(prices: &[Line], item: &str) -> Option<i64> {
    prices.iter().find(|line| line.item == item)?.price
}

/// The lines of one item and price as one line each, in the order of the first of them. Such that were quoted otherwise
/// stay apart, so that each price is checked.
pub(super) fn merge(lines: &[Line]) -> Vec<Line> {
    let mut merged: Vec<Line> = Vec::new();
    for line in lines {
        match merged.iter_mut().find(|other| other.item == line.item && other.price == line.price) {
            Some(other) => {
                other.quantity = other.quantity.saturating_add(line.quantity);
                other.quoted |= line.quoted;
            }
            None => merged.push(line.clone()),
        }
    }
    merged
}
