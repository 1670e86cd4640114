//! What is decided about holds: one hold has all lines of an order in this partition.
use super::{Stock, emit, item_of};
use crate::runtime::{Decide, Head};
use corduroy_proto::stock::{self as pb, command::Command, event::Event, state};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

/// How long it is remembered that a hold was voided or refused.
const TOMBSTONE: Duration = Duration::from_secs(24 * 60 * 60);

/// The key of a hold. No item has it: their ids have no slash.
pub(super) fn key_of(id: &pb::HoldId) -> String {
    format!("hold/{}/{}/{}", id.order, id.incarnation, id.attempt)
}

fn hold_at(head: &Head<'_, Stock>, key: &str) -> Option<pb::Hold> {
    match head.get(key)?.state? {
        state::State::Hold(hold) => Some(hold),
        state::State::Item(_) => None,
    }
}

/// A refusal is an event: the order reads it.
pub(super) fn hold(head: &Head<'_, Stock>, request: &pb::HoldRequest, cx: &mut Decide<'_, Stock>) {
    let Some(id) = &request.id else { return cx.fault("a hold without an id") };
    let key = key_of(id);
    let partition = cx.place().partition;
    let decided = match hold_at(head, &key) {
        Some(hold) if hold.voided => Err(refused(&Wanted::default(), None, "voided")),
        Some(_) => return,
        None => match merged(&request.lines) {
            Some(wanted) => wanted.iter().map(|wanted| wanted.take(head)).collect(),
            None => return cx.fault("a line of no piece, or of more than can be counted"),
        },
    };
    match decided {
        Ok(lines) => emit(cx, &key, Event::Held(pb::StockHeld { hold: Some(id.clone()), lines, partition })),
        Err(refused) => {
            forget_later(head, &key, id, cx);
            let refused = pb::StockHoldRefused { hold: Some(id.clone()), partition, ..refused };
            emit(cx, &key, Event::Refused(refused));
        }
    }
}

pub(super) fn post(head: &Head<'_, Stock>, id: &pb::HoldId, cx: &mut Decide<'_, Stock>) {
    let key = key_of(id);
    if let Some(hold) = hold_at(head, &key).filter(|hold| !hold.voided) {
        let settled = settled(head, id, hold, cx);
        emit(cx, &key, Event::Posted(settled));
    }
}

/// Is answered, whatever there was.
pub(super) fn void(head: &Head<'_, Stock>, id: &pb::HoldId, cx: &mut Decide<'_, Stock>) {
    let key = key_of(id);
    forget_later(head, &key, id, cx);
    let settled = settled(head, id, hold_at(head, &key).unwrap_or_default(), cx);
    emit(cx, &key, Event::Voided(settled));
}

pub(super) fn forget(head: &Head<'_, Stock>, id: &pb::HoldId, cx: &mut Decide<'_, Stock>) {
    let key = key_of(id);
    if hold_at(head, &key).is_some_and(|hold| hold.voided) {
        emit(cx, &key, Event::Forgotten(id.clone()));
    }
}

/// For a hold that is to be voided now; one that is already has its timer.
fn forget_later(head: &Head<'_, Stock>, key: &str, id: &pb::HoldId, cx: &mut Decide<'_, Stock>) {
    if !hold_at(head, key).is_some_and(|hold| hold.voided) {
        cx.after(TOMBSTONE, key, &pb::Command { command: Some(Command::Forget(id.clone())) });
    }
}

/// The lines that move: an item that was seeded since has forgotten what was held of it.
fn settled(head: &Head<'_, Stock>, id: &pb::HoldId, hold: pb::Hold, cx: &Decide<'_, Stock>) -> pb::StockSettled {
    let moves = |line: &pb::Line| item_of(head, &line.item).is_some_and(|item| item.seed == line.seed);
    let lines = hold.lines.into_iter().filter(moves).collect();
    pb::StockSettled { hold: Some(id.clone()), lines, partition: cx.place().partition }
}

/// All lines of one item.
#[derive(Default)]
struct Wanted<'a> {
    item: &'a str,
    quantity: i64,
    prices: Vec<i64>,
}

/// One per item, in the order of their first lines. `None`: they cannot be had, whatever there is.
fn merged(lines: &[pb::Line]) -> Option<Vec<Wanted<'_>>> {
    let mut all: Vec<Wanted<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for line in lines {
        let place = match places.entry(line.item.as_str()) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                all.push(Wanted { item: &line.item, ..Wanted::default() });
                *place.insert(all.len() - 1)
            }
        };
        let wanted = all.get_mut(place)?;
        wanted.quantity = wanted.quantity.checked_add(line.quantity).filter(|_| line.quantity > 0)?;
        wanted.prices.extend(line.price);
    }
    Some(all)
}

impl Wanted<'_> {
    fn take(&self, head: &Head<'_, Stock>) -> Result<pb::Line, pb::StockHoldRefused> {
        let Some(item) = item_of(head, self.item) else { return Err(refused(self, None, "item-missing")) };
        if self.prices.iter().any(|price| *price != item.price) {
            return Err(refused(self, Some(&item), "price-changed"));
        }
        if self.quantity > item.free {
            return Err(refused(self, Some(&item), "out-of-stock"));
        }
        let price = self.prices.first().copied();
        Ok(pb::Line { item: self.item.into(), quantity: self.quantity, price, seed: item.seed })
    }
}

fn refused(wanted: &Wanted<'_>, item: Option<&pb::Item>, reason: &str) -> pb::StockHoldRefused {
    pb::StockHoldRefused {
        item: wanted.item.into(),
        requested: wanted.quantity,
        available: item.map_or(0, |item| item.free),
        price: item.map_or(0, |item| item.price),
        reason: reason.into(),
        ..pb::StockHoldRefused::default()
    }
}
