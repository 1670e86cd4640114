//! The fold over what happened to items and holds.
//!
//! **Invariant**: free + held + sold = added, each at least 0, and `held` is the sum of the lines of holds that were taken
//! of this seed of the item.
use super::{Event, holds::key_of};
use crate::runtime::At;
use corduroy_proto::stock::{
    self as pb,
    state::State::{Hold, Item},
};

/// Of an event of a hold, its key and those of its items come here, one after the other.
pub(super) fn evolve(state: &mut Option<pb::State>, key: &str, event: &Event) {
    let before = state.take().and_then(|state| state.state);
    let after = match (event_hold(event), before) {
        (Some(id), before) if key_of(id) == key => {
            let before = before.and_then(|state| if let Hold(hold) = state { Some(hold) } else { None });
            hold_after(before, event).map(Hold)
        }
        (_, Some(Item(item))) => Some(Item(item_after(item, key, event))),
        (_, Some(Hold(hold))) => Some(Hold(hold)),
        (_, None) => match event {
            Event::Created(created) => Some(Item(pb::Item { price: created.price, ..pb::Item::default() })),
            _ => None,
        },
    };
    *state = after.map(|state| pb::State { state: Some(state) });
}

fn event_hold(event: &Event) -> Option<&pb::HoldId> {
    match event {
        Event::Held(held) => held.hold.as_ref(),
        Event::Refused(refused) => refused.hold.as_ref(),
        Event::Posted(settled) | Event::Voided(settled) => settled.hold.as_ref(),
        Event::Forgotten(id) => Some(id),
        Event::Created(_) | Event::Seeded(_) | Event::Added(_) | Event::Subtracted(_) => None,
    }
}

fn hold_after(before: Option<pb::Hold>, event: &Event) -> Option<pb::Hold> {
    let voided = pb::Hold { lines: Vec::new(), voided: true };
    match (event, before) {
        (Event::Held(held), None) => Some(pb::Hold { lines: held.lines.clone(), voided: false }),
        (Event::Refused(_), None) | (Event::Voided(_), _) => Some(voided),
        (Event::Posted(_), before) => before.filter(|hold| hold.voided),
        (Event::Forgotten(_), before) => before.filter(|hold| !hold.voided),
        (_, before) => before,
    }
}

fn item_after(mut item: pb::Item, key: &str, event: &Event) -> pb::Item {
    let line_of = |lines: &[pb::Line], seed| {
        let line = lines.iter().find(|line| line.item == key && line.seed == seed);
        line.map_or(0, |line| line.quantity)
    };
    let (free, held, sold, added) = match event {
        Event::Added(moved) => (moved.amount, 0, 0, moved.amount),
        Event::Subtracted(moved) => (moved.amount.saturating_neg(), 0, 0, moved.amount.saturating_neg()),
        Event::Held(event) => {
            let quantity = line_of(&event.lines, item.seed);
            (quantity.saturating_neg(), quantity, 0, 0)
        }
        Event::Posted(event) => {
            let quantity = line_of(&event.lines, item.seed);
            (0, quantity.saturating_neg(), quantity, 0)
        }
        Event::Voided(event) => {
            let quantity = line_of(&event.lines, item.seed);
            (quantity, quantity.saturating_neg(), 0, 0)
        }
        Event::Created(_) | Event::Seeded(_) | Event::Refused(_) | Event::Forgotten(_) => return item,
    };
    item.free = item.free.saturating_add(free);
    item.held = item.held.saturating_add(held);
    item.sold = item.sold.saturating_add(sold);
    item.added = item.added.saturating_add(added);
    item
}

/// Seeds that a later one covers completely count nowhere any more: so the ranges get shorter from one to the next.
pub(super) fn add_seed(partition: &mut pb::Partition, seeded: &pb::ItemsSeeded, at: At) {
    let (items, stock, price) = (seeded.items, seeded.stock, seeded.price);
    partition.seeds.retain(|range| range.items > items);
    if items > 0 {
        partition.seeds.push(pb::Range { offset: at.offset, items, stock, price });
    }
}

/// What the newest seed of an item gives, unless something has happened to it since.
pub(super) fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::State>) -> Option<pb::State> {
    let number = number_of(key)?;
    let range = partition.seeds.iter().rev().find(|range| number < range.items)?;
    // From 1: an item that was created has 0.
    let seed = range.offset.saturating_add(1);
    if let Some(pb::State { state: Some(Item(item)) }) = stored
        && item.seed >= seed
    {
        return None;
    }
    let (price, stock) = (range.price, range.stock);
    let item = pb::Item { price, free: stock, added: stock, seed, ..pb::Item::default() };
    Some(pb::State { state: Some(Item(item)) })
}

/// Of a key that is one, as a seed writes it.
fn number_of(key: &str) -> Option<u64> {
    let plain = key == "0" || !key.starts_with(['0', '+']);
    plain.then(|| key.parse().ok())?
}
