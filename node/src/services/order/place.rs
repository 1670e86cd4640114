//! Placing an order: for a net amount, or for items. It touches nothing but its own partition (INV-8).
use super::{Order, checkout, lines, names, refusals, work, work::Work};
use crate::{
    runtime::{Decide, Head, Refusal},
    services::{Settings, settings},
};
use corduroy_proto::order as pb;
use pb::{Kind, Line, event::Event};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

/// Places an order; with the same content again it is the same order. Content is a guard for good: longer than any
/// command is remembered.
pub(super) fn place(
    settings: &Settings,
    head: &Head<'_, Order>,
    key: &str,
    place: &pb::Place,
    before: Option<pb::Order>,
    cx: &mut Decide<'_, Order>,
) -> Result<(), Refusal> {
    let content = content(place);
    if let Some(before) = before {
        if before.content != content {
            return Err(refusals::id_conflict(key));
        }
        cx.reply_with(work::shown(key, false));
        return Ok(());
    }
    let order_date = place.order_date.unwrap_or(cx.now().0);
    let (vat_bp, gross) = check(settings, key, place, order_date)?;
    let here = cx.place();
    let Some(number) = names::number(head.partition().counter, here.partition, here.partitions) else {
        cx.fault("there are no more numbers for orders");
        return Ok(());
    };
    let value = place.kind() == Kind::Value;
    let mut work = Work::new(head, key, pb::Order::default(), cx);
    work.emit(Event::Placed(pb::OrderPlaced {
        order: key.to_owned(),
        number,
        customer: place.customer.clone(),
        kind: place.kind,
        net: if value { place.net } else { 0 },
        vat_bp,
        order_date,
        lines: place.lines.clone(),
        needs_delivery: place.needs_delivery && !value,
        content,
        gross,
        ref_key: names::ref_key(number),
        due_key: if value { names::due_key(order_date, key) } else { String::new() },
    }));
    if place.checkout && !value {
        checkout::start(settings, &mut work, &place.prices, false)?;
    }
    work.reply();
    Ok(())
}

/// The tax, and what it comes to with it; nothing of both for items, whose prices contain it.
fn check(settings: &Settings, key: &str, place: &pb::Place, order_date: u64) -> Result<(u32, i64), Refusal> {
    // A slash would make it an alias.
    if key.is_empty() || key.contains('/') {
        return Err(refusals::rule("id", "it is empty, or contains a slash"));
    }
    if place.kind() == Kind::Items {
        for (at, line) in place.lines.iter().enumerate() {
            lines::check(&format!("lines[{at}]"), line)?;
        }
        lines::check_all(settings, &place.lines)?;
        return Ok((0, 0));
    }
    if place.net < 0 {
        return Err(refusals::rule("net", "it is negative"));
    }
    if !place.lines.is_empty() {
        return Err(refusals::rule("lines", "an order for an amount has none"));
    }
    let vat_bp = settings.vat_bp(order_date);
    Ok((vat_bp, settings::gross(place.net, vat_bp).ok_or_else(lines::too_much)?))
}

/// A fingerprint of what the caller has said. Prices that were looked up for it are not of its making, and may be
/// others the next time.
fn content(place: &pb::Place) -> u64 {
    let line = |line: &Line| Line { price: line.price.filter(|_| line.quoted), ..line.clone() };
    let said = pb::Place {
        customer: place.customer.clone(),
        kind: place.kind,
        net: place.net,
        lines: place.lines.iter().map(line).collect(),
        needs_delivery: place.needs_delivery,
        ..pb::Place::default()
    };
    xxh3_64(&said.encode_to_vec())
}
