//! Many orders at once: one event, from which each partition makes the orders that are its own.
//!
//! An order of a seed is worked out when it is asked for, and stored when something happens to it. Every partition
//! numbers all of them, its own and the others', so that a number says which order it is of.
use super::{Order, names, refusals, work};
use crate::runtime::{At, Decide, Head, Refusal, partition_of};
use corduroy_proto::order as pb;
use pb::{Line, Participant, Status, event::Event, state::State};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What the event is emitted for. It changes the aggregates it names, and this is none.
const KEY: &str = "seed";

/// Makes orders "0" to n-1 new, whatever was there. Attempts that are running end here, and their participants give
/// back what they hold when they read of it.
pub(super) fn seed(head: &Head<'_, Order>, seed: &pb::Seed, cx: &mut Decide<'_, Order>) -> Result<(), Refusal> {
    for (path, is) in [("items", seed.items), ("users", seed.users)] {
        if is == 0 {
            return Err(refusals::rule(path, "there has to be one"));
        }
    }
    if seed.price < 0 {
        return Err(refusals::rule("price", "it is negative"));
    }
    let (partition, partitions) = (cx.place().partition, cx.place().partitions);
    let first = head.partition().counter;
    let last = first.checked_add(seed.orders);
    if last.and_then(|last| names::number(last, partition, partitions)).is_none() {
        return Err(refusals::rule("orders", "there are not so many numbers"));
    }
    let (mut ended, mut replaced) = (Vec::new(), Vec::new());
    // Those ids begin with digits.
    for (key, state) in (0..10).flat_map(|digit| head.scan(&digit.to_string()).collect::<Vec<_>>()) {
        let Some(State::Order(order)) = state.state else { continue };
        if names::decimal(&key).is_none_or(|number| number >= seed.orders) {
            continue;
        }
        if matches!(order.status(), Status::Reserving | Status::Releasing) {
            ended.push(end(&order, cx));
        }
        replaced.push(names::ref_key(order.number));
        if order.status() == Status::Confirmed {
            replaced.push(names::due_key(order.order_date, &key));
        }
        replaced.push(key);
    }
    let pb::Seed { orders, items, users, price, seed } = *seed;
    let seeded = pb::OrdersSeeded { orders, items, users, price, seed, ended, replaced, partition, partitions, first };
    cx.emit(KEY, pb::Event { event: Some(Event::Seeded(seeded)) });
    cx.reply(pb::Reply::default());
    Ok(())
}

/// An attempt whose order is no more.
fn end(order: &pb::Order, cx: &mut Decide<'_, Order>) -> pb::EndedAttempt {
    work::cancel_timers(order, cx);
    work::rests_on_holds(order, cx);
    work::refuse_to(&order.checkouts, &refusals::checkout_cancelled(order.attempt), cx);
    work::refuse_to(&order.cancels, &refusals::unknown_order(&order.id), cx);
    let stock = order.holds.iter().filter(|hold| hold.participant() == Participant::Stock);
    pb::EndedAttempt {
        attempt: Some(work::attempt(order)),
        stock_partitions: stock.map(|hold| hold.partition).collect(),
        delivery: order.holds.iter().any(|hold| hold.participant() == Participant::Delivery),
    }
}

/// Takes a seed into what the partition keeps.
pub(super) fn take(partition: &mut pb::Partition, seeded: &pb::OrdersSeeded, at: At) {
    // All of those are made new by this one.
    partition.seeds.retain(|range| range.orders > seeded.orders);
    partition.seeds.push(pb::Range {
        offset: at.offset,
        orders: seeded.orders,
        items: seeded.items,
        users: seeded.users,
        price: seeded.price,
        seed: seeded.seed,
        first: seeded.first,
        time: at.time.0,
        partition: seeded.partition,
        partitions: seeded.partitions,
    });
    partition.counter = partition.counter.saturating_add(seeded.orders);
}

/// The state that a seed gives to a key, where nothing has happened to it since.
pub(super) fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::State>) -> Option<pb::State> {
    if partition.seeds.is_empty() {
        return None;
    }
    if let Some(number) = key.strip_prefix(names::REF).and_then(names::decimal) {
        // Numbers are given once: one that is stored is another's.
        return if stored.is_none() { alias(partition, number) } else { None };
    }
    let index = names::decimal(key)?;
    let range = newest(partition, index)?;
    if let Some(pb::State { state: Some(State::Order(order)) }) = stored
        && order.incarnation >= range.offset
    {
        return None;
    }
    let order = is_here(range, key).then(|| order(range, index, key)).flatten()?;
    Some(pb::State { state: Some(State::Order(order)) })
}

/// The last seed that made an order new.
fn newest(partition: &pb::Partition, index: u64) -> Option<&pb::Range> {
    partition.seeds.iter().rev().find(|range| index < range.orders)
}

fn is_here(range: &pb::Range, key: &str) -> bool {
    partition_of(key, range.partitions.max(1)) == range.partition
}

fn alias(partition: &pb::Partition, number: u64) -> Option<pb::State> {
    let found = partition.seeds.iter().find_map(|range| {
        let counter = names::counter(number, range.partition, range.partitions)?;
        let index = counter.checked_sub(range.first).filter(|index| *index < range.orders)?;
        Some((range, index))
    });
    let (range, index) = found?;
    let key = index.to_string();
    let counts = is_here(range, &key) && newest(partition, index).is_some_and(|newest| newest.offset == range.offset);
    counts.then_some(pb::State { state: Some(State::Alias(key)) })
}

fn order(range: &pb::Range, index: u64, key: &str) -> Option<pb::Order> {
    let line = |draw| {
        let item = random(range, index, draw).checked_rem(range.items)?.to_string();
        Some(Line { item, quantity: 1, price: Some(range.price), quoted: false })
    };
    Some(pb::Order {
        id: key.to_owned(),
        incarnation: range.offset,
        number: names::number(range.first.checked_add(index)?, range.partition, range.partitions)?,
        customer: random(range, index, 0).checked_rem(range.users)?.to_string(),
        gross: range.price.saturating_mul(2),
        order_date: range.time,
        lines: vec![line(1)?, line(2)?],
        needs_delivery: true,
        ..pb::Order::default()
    })
}

/// The same for everybody who asks.
fn random(range: &pb::Range, index: u64, draw: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    bytes[8..].copy_from_slice(&draw.to_le_bytes());
    xxh3_64_with_seed(&bytes, range.seed)
}
