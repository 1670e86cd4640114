//! Checking out: how an attempt begins, and how it comes to its good end.
use super::{lines, names, refusals, work, work::Work};
use crate::{
    runtime::{Refusal, partition_of},
    services::Settings,
};
use corduroy_proto::order as pb;
use pb::{HoldStatus, Line, Participant, Status, command::Command, event::Event};
use std::collections::BTreeMap;

/// Begins an attempt, or joins the one that is running.
pub(super) fn checkout(settings: &Settings, work: &mut Work<'_, '_>, asked: &pb::Checkout) -> Result<(), Refusal> {
    match work.order.status() {
        Status::Cancelled => return Err(refusals::closed(&work.order)),
        Status::Releasing => return Err(refusals::busy(&work.order)),
        Status::Confirmed | Status::Delivered => work.cx.reply_with(work::shown(work.key, true)),
        Status::Reserving if asked.r#async => work.reply(),
        Status::Reserving => {
            if let Some(ticket) = work.cx.defer() {
                let (order, checkout) = (work.key.to_owned(), ticket.to_bytes());
                work.emit(Event::Joined(pb::CallerJoined { order, checkout, ..pb::CallerJoined::default() }));
            }
        }
        Status::Open => {
            start(settings, work, &asked.prices, !asked.r#async)?;
            // Without lines it is over already.
            if asked.r#async || work.order.status() == Status::Confirmed {
                work.reply();
            }
        }
    }
    Ok(())
}

/// Begins an attempt of an open order; who asks gets its outcome if it `waits`, or has to be answered.
pub(super) fn start(settings: &Settings, work: &mut Work<'_, '_>, prices: &[Line], waits: bool) -> Result<(), Refusal> {
    let timeout = if waits { settings.saga_timeout } else { settings.saga_async_timeout };
    let attempt = pb::Attempt { attempt: work.order.attempt.saturating_add(1), ..work.attempt() };
    if work.order.lines.is_empty() {
        let number = work.order.number;
        let started = pb::CheckoutStarted { attempt: Some(attempt), number, ..pb::CheckoutStarted::default() };
        work.emit(Event::CheckoutStarted(started));
        confirm(settings, work);
        return Ok(());
    }
    let mut priced = work.order.lines.clone();
    let mut used: BTreeMap<&str, i64> = BTreeMap::new();
    for (line, asked) in priced.iter_mut().zip(&work.order.lines).filter(|(line, _)| line.price.is_none()) {
        let price = lines::price_of(prices, &asked.item).ok_or_else(|| refusals::item_missing(&asked.item))?;
        if price < 0 {
            return Err(refusals::rule("prices", format!("that of item {} is negative", asked.item)));
        }
        line.price = Some(price);
        used.insert(&asked.item, price);
    }
    let total = lines::sum(&priced).ok_or_else(lines::too_much)?;
    let price = |(item, price): (&str, i64)| Line { item: item.to_owned(), price: Some(price), ..Line::default() };
    let prices = used.into_iter().map(price).collect();
    let caller = if waits { work.cx.defer() } else { None };
    let timer = pb::AttemptTimer { incarnation: attempt.incarnation, attempt: attempt.attempt };
    let deadline_timer = work.after(timeout, Command::Deadline(timer));
    let micros = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
    work.emit(Event::CheckoutStarted(pb::CheckoutStarted {
        attempt: Some(attempt),
        total,
        lines: lines::merge(&priced),
        deadline: work.cx.now().0.saturating_add(micros),
        caller: caller.map(|ticket| ticket.to_bytes()).unwrap_or_default(),
        deadline_timer,
        prices,
        number: work.order.number,
    }));
    Ok(())
}

/// Asks all partitions of stock at once. `false`: nobody knows how many there are.
pub(super) fn request_stock(work: &mut Work<'_, '_>) -> bool {
    let Some(partitions) = work.cx.place().peers.get("stock").copied().filter(|partitions| *partitions > 0) else {
        return false;
    };
    let mut parts: BTreeMap<u32, Vec<Line>> = BTreeMap::new();
    for line in lines::merge(&work.order.lines) {
        parts.entry(partition_of(&line.item, partitions)).or_default().push(line);
    }
    let parts = parts.into_iter().map(|(partition, lines)| pb::StockPart { partition, lines }).collect();
    let attempt = Some(work.attempt());
    work.emit(Event::StockRequested(pb::StockRequested { attempt, parts }));
    true
}

/// Goes on from the stock that is held: to the delivery, where slots are scarce, or to the end.
pub(super) fn after_stock(settings: &Settings, work: &mut Work<'_, '_>) {
    if settings.delivery_capacity.is_some() && work.order.needs_delivery {
        let attempt = Some(work.attempt());
        work.emit(Event::DeliveryRequested(pb::DeliveryRequested { attempt }));
    } else {
        confirm_if_held(settings, work);
    }
}

/// Confirms the order if everything it asked for is held.
pub(super) fn confirm_if_held(settings: &Settings, work: &mut Work<'_, '_>) {
    if work.order.holds.iter().all(|hold| hold.status() == HoldStatus::Held) {
        confirm(settings, work);
    }
}

/// The pivot: from here on everything will be posted.
fn confirm(settings: &Settings, work: &mut Work<'_, '_>) {
    let before = work.order.clone();
    let stock = before.holds.iter().filter(|hold| hold.participant() == Participant::Stock);
    work.cancel_timers();
    work.rests_on_holds();
    let delivery = ships(&before) && settings.delivers;
    work.emit(Event::Confirmed(pb::OrderConfirmed {
        attempt: Some(work::attempt(&before)),
        total: before.gross,
        gross: before.gross,
        order_date: before.order_date,
        payment: !before.holds.is_empty(),
        stock_partitions: stock.map(|hold| hold.partition).collect(),
        delivery,
        due_key: names::due_key(before.order_date, work.key),
        slot_held: before.holds.iter().any(|hold| hold.participant() == Participant::Delivery),
    }));
    if !ships(&before) {
        let (order, customer) = (work.key.to_owned(), before.customer.clone());
        work.emit(Event::Completed(pb::OrderCompleted { order, customer }));
    }
    work.reply_to(&before.checkouts);
    let closed = refusals::closed(&work.order);
    work.refuse_to(&before.cancels, &closed);
}

/// Whether there is something to bring to somebody.
pub(super) fn ships(order: &pb::Order) -> bool {
    order.needs_delivery && !order.lines.is_empty()
}
