//! The stock service: items, how many are free, and what is set aside for orders.
//!
//! ```text
//!   order ──StockRequested──▶ hold: all lines in this partition, or none ──post──▶ gone: sold
//!                              │ └─refused─┐                          └──void──▶ voided: free again
//!          void before its hold ──────────┴──────────▶ (kept for a day: a hold that comes late is refused)
//! ```
//!
//! Items are aggregates by their ids, holds by `hold/{order}/{incarnation}/{attempt}`, which no id can be. One event of a
//! hold changes it and all its items. A void is always answered, whatever there was: the order waits for it.
//!
//! - `holds`: what is decided about holds.
//! - `fold`: what facts change.
mod fold;
mod holds;

#[cfg(all(test, feature = "testing"))]
mod tests;

use crate::runtime::{At, Decide, Head, Input, PeerEvent, Refusal, Routes, Service, Unreadable};
use corduroy_proto::{
    order::{self, event::Event as OrderEvent},
    stock::{self as pb, command::Command, event::Event, state},
};

/// What an event is emitted for that concerns many items.
const SEED: &str = "seed";

/// The rules of the service; its keys are item ids, and those of holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stock;

impl Service for Stock {
    const NAME: &'static str = "stock";
    const LISTENS: &'static [&'static str] = &["order"];
    const PARTITIONS: u32 = 4;

    type State = pb::State;
    type Partition = pb::Partition;
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let item = input.key;
        match &input.command.command {
            Some(Command::Create(create)) => {
                self::create(item, head, create.price, cx)?;
                reply(cx, item);
            }
            Some(Command::Seed(seed)) => {
                not_negative("stock", seed.stock)?;
                not_negative("price", seed.price)?;
                let (items, stock, price) = (seed.items, seed.stock, seed.price);
                emit(cx, SEED, Event::Seeded(pb::ItemsSeeded { items, stock, price }));
                cx.reply(pb::Reply::default());
            }
            Some(Command::Add(amount)) => {
                add(item, &known(item, head)?, *amount, cx)?;
                reply(cx, item);
            }
            Some(Command::Subtract(amount)) => {
                subtract(item, &known(item, head)?, *amount, cx)?;
                reply(cx, item);
            }
            Some(Command::Hold(request)) => holds::hold(head, request, cx),
            Some(Command::Post(id)) => holds::post(head, id, cx),
            Some(Command::Void(id)) => holds::void(head, id, cx),
            Some(Command::Forget(id)) => holds::forget(head, id, cx),
            None => cx.fault("a command of no known kind"),
        }
        Ok(())
    }

    fn knows(event: &pb::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<pb::State>, key: &str, event: &pb::Event, _at: At) {
        if let Some(event) = &event.event {
            fold::evolve(state, key, event);
        }
    }

    fn evolve_partition(partition: &mut pb::Partition, _key: &str, event: &pb::Event, at: At) {
        if let Some(Event::Seeded(seeded)) = &event.event {
            fold::add_seed(partition, seeded, at);
        }
    }

    fn concerns<'e>(key: &'e str, event: &'e pb::Event) -> Vec<&'e str> {
        let lines: &[pb::Line] = match &event.event {
            Some(Event::Seeded(_)) => return Vec::new(),
            Some(Event::Held(held)) => &held.lines,
            Some(Event::Posted(settled) | Event::Voided(settled)) => &settled.lines,
            _ => &[],
        };
        lines.iter().map(|line| line.item.as_str()).chain([key]).collect()
    }

    fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::State>) -> Option<pb::State> {
        fold::seeded(partition, key, stored)
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        // What comes behind a dead letter of an order waits, and nothing else: not its items.
        let mut tell = |partition, id: &pb::HoldId, command| {
            to.to_partition(partition, &id.order, pb::Command { command: Some(command) });
        };
        match event.decode::<order::Event>()?.event {
            Some(OrderEvent::StockRequested(requested)) => {
                let id = hold_of(requested.attempt)?;
                for part in requested.parts {
                    let lines = part.lines.into_iter().map(line_of).collect();
                    tell(part.partition, &id, Command::Hold(pb::HoldRequest { id: Some(id.clone()), lines }));
                }
            }
            Some(OrderEvent::Confirmed(confirmed)) => {
                let id = hold_of(confirmed.attempt)?;
                confirmed.stock_partitions.iter().for_each(|at| tell(*at, &id, Command::Post(id.clone())));
            }
            Some(OrderEvent::StockReleaseRequested(release)) => {
                let id = hold_of(release.attempt)?;
                release.stock_partitions.iter().for_each(|at| tell(*at, &id, Command::Void(id.clone())));
            }
            Some(OrderEvent::Seeded(seeded)) => {
                for ended in seeded.ended {
                    let id = hold_of(ended.attempt)?;
                    ended.stock_partitions.iter().for_each(|at| tell(*at, &id, Command::Void(id.clone())));
                }
            }
            Some(_) => {}
            None => return Err(Unreadable("an event of order of no known kind".into())),
        }
        Ok(())
    }
}

fn hold_of(attempt: Option<order::Attempt>) -> Result<pb::HoldId, Unreadable> {
    let attempt = attempt.ok_or_else(|| Unreadable("an event of order that names no attempt".into()))?;
    Ok(pb::HoldId { order: attempt.order, incarnation: attempt.incarnation, attempt: attempt.attempt })
}

/// A price that the order was given by nobody but this service is not checked.
fn line_of(line: order::Line) -> pb::Line {
    let price = line.price.filter(|_| line.quoted);
    pb::Line { item: line.item, quantity: line.quantity, price, seed: 0 }
}

fn create(item: &str, head: &Head<'_, Stock>, price: i64, cx: &mut Decide<'_, Stock>) -> Result<(), Refusal> {
    not_negative("price", price)?;
    if item.contains('/') {
        return Err(rule_violated("id", "it has a slash"));
    }
    if item_of(head, item).is_none() {
        emit(cx, item, Event::Created(pb::ItemCreated { item: item.into(), price }));
    }
    Ok(())
}

fn add(item: &str, state: &pb::Item, amount: i64, cx: &mut Decide<'_, Stock>) -> Result<(), Refusal> {
    not_negative("amount", amount)?;
    // What is free is never more than what was added: that is the sum that can overflow.
    if state.added.checked_add(amount).is_none() {
        return Err(rule_violated("amount", "it is more than can be counted"));
    }
    if amount > 0 {
        let free = state.free.saturating_add(amount);
        emit(cx, item, Event::Added(pb::Moved { item: item.into(), amount, free }));
    }
    Ok(())
}

fn subtract(item: &str, state: &pb::Item, amount: i64, cx: &mut Decide<'_, Stock>) -> Result<(), Refusal> {
    not_negative("amount", amount)?;
    if amount > state.free {
        let refusal = Refusal::new("out-of-stock", "there is less of it");
        return Err(refusal.text("itemId", item).number("requested", amount).number("available", state.free));
    }
    if amount > 0 {
        let free = state.free.saturating_sub(amount);
        emit(cx, item, Event::Subtracted(pb::Moved { item: item.into(), amount, free }));
    }
    Ok(())
}

fn item_of(head: &Head<'_, Stock>, key: &str) -> Option<pb::Item> {
    match head.get(key)?.state? {
        state::State::Item(item) => Some(item),
        state::State::Hold(_) => None,
    }
}

fn known(item: &str, head: &Head<'_, Stock>) -> Result<pb::Item, Refusal> {
    item_of(head, item).ok_or_else(|| Refusal::new("unknown-item", "there is no such item").text("id", item))
}

fn emit(cx: &mut Decide<'_, Stock>, key: &str, event: Event) {
    cx.emit(key, pb::Event { event: Some(event) });
}

/// The item once it has happened.
fn reply(cx: &mut Decide<'_, Stock>, item: &str) {
    let key = item.to_owned();
    cx.reply_with(move |head| {
        let pb::Item { free, price, .. } = item_of(head, &key).unwrap_or_default();
        pb::Reply { item: key, free, price }
    });
}

fn not_negative(path: &str, amount: i64) -> Result<(), Refusal> {
    if amount < 0 { Err(rule_violated(path, "it is negative")) } else { Ok(()) }
}

/// `path` is the field, the detail says what is wrong with it.
fn rule_violated(path: &str, reason: &str) -> Refusal {
    Refusal::new("rule-violated", reason).text("path", path)
}
