//! The fold of an order: what a fact changes, on every replica alike.
use super::{lines, names, seed};
use crate::runtime::At;
use bytes::Bytes;
use corduroy_proto::order as pb;
use pb::{Hold, HoldStatus, Kind, Participant, Status, event::Event, state::State};

/// Offsets an order remembers of its events: more than most have in their lives.
const HISTORY: usize = 64;

/// Takes a fact into an aggregate.
pub(super) fn evolve(state: &mut Option<pb::State>, key: &str, event: &pb::Event, at: At) {
    let Some(event) = &event.event else { return };
    if key.starts_with(names::REF) || key.starts_with(names::DUE) {
        return alias(state, event);
    }
    match event {
        Event::Seeded(_) => *state = None,
        Event::Placed(_) => {
            let mut order = pb::Order::default();
            take(&mut order, event, at);
            *state = Some(pb::State { state: Some(State::Order(order)) });
        }
        _ => {
            if let Some(pb::State { state: Some(State::Order(order)) }) = state {
                take(order, event, at);
            }
        }
    }
}

/// Orders that are made, and such that are to be delivered, get their aliases; others lose them.
fn alias(state: &mut Option<pb::State>, event: &Event) {
    let order = match event {
        Event::Placed(placed) => Some(placed.order.clone()),
        Event::Confirmed(confirmed) => confirmed.attempt.as_ref().map(|attempt| attempt.order.clone()),
        _ => None,
    };
    *state = order.map(|order| pb::State { state: Some(State::Alias(order)) });
}

/// Takes a fact into an order.
pub(super) fn take(order: &mut pb::Order, event: &Event, at: At) {
    match event {
        Event::Placed(placed) => *order = new(placed, at),
        Event::LineAdded(changed) => {
            order.lines.extend(changed.line.clone());
            order.gross = lines::sum_or_max(&order.lines);
        }
        Event::LineRemoved(changed) => {
            if let Some(line) = changed.line.as_ref().and_then(|line| lines::newest(&order.lines, &line.item)) {
                order.lines.remove(line);
            }
            order.gross = lines::sum_or_max(&order.lines);
        }
        Event::CheckoutStarted(started) => start(order, started, at),
        Event::Joined(joined) => {
            order.checkouts.extend(some(&joined.checkout));
            order.cancels.extend(some(&joined.cancel));
            order.cancelling |= joined.cancelling;
        }
        Event::PaymentSecured(e) => {
            said(order, Participant::Payment, e.partition, HoldStatus::Held, e.position);
        }
        Event::PaymentDeclined(e) => {
            said(order, Participant::Payment, e.partition, HoldStatus::Refused, e.position);
        }
        Event::StockRequested(requested) => {
            let asked = |part: &pb::StockPart| Hold {
                partition: part.partition,
                lines: part.lines.clone(),
                ..asked(Participant::Stock)
            };
            order.holds.extend(requested.parts.iter().map(asked));
        }
        Event::StockSecured(e) => said(order, Participant::Stock, e.partition, HoldStatus::Held, e.position),
        Event::StockDeclined(e) => said(order, Participant::Stock, e.partition, HoldStatus::Refused, e.position),
        Event::DeliveryRequested(_) => order.holds.push(asked(Participant::Delivery)),
        Event::DeliverySecured(e) => {
            said(order, Participant::Delivery, e.partition, HoldStatus::Held, e.position);
        }
        Event::DeliveryDeclined(e) => {
            said(order, Participant::Delivery, e.partition, HoldStatus::Refused, e.position);
        }
        Event::AnswerNoted(e) => said(order, e.participant(), e.partition, e.status(), e.position),
        Event::Confirmed(_) => end(order, Status::Confirmed),
        Event::AttemptFailed(failed) => {
            order.set_status(Status::Releasing);
            order.last_refusal = failed.refusal.clone();
            (order.deadline_timer, order.release_timer) = (0, failed.release_timer);
        }
        Event::CallersTold(_) => order.checkouts.clear(),
        Event::CheckoutRejected(rejected) => {
            end(order, Status::Open);
            order.last_refusal = rejected.refusal.clone();
        }
        Event::Delivered(delivered) => {
            order.set_status(Status::Delivered);
            order.delivered_at = delivered.delivered_at;
        }
        Event::VoucherLinked(linked) => order.vouchers.extend(linked.voucher.clone()),
        Event::Completed(_) => order.completed = true,
        Event::Cancelled(_) => end(order, Status::Cancelled),
        // They say what is asked of participants, and that it came to its end: the answers changed the holds.
        Event::DeliveryReleaseRequested(_)
        | Event::StockReleaseRequested(_)
        | Event::PaymentReleaseRequested(_)
        | Event::DeliveryReleased(_)
        | Event::StockReleased(_)
        | Event::PaymentReleased(_)
        | Event::Seeded(_) => {}
    }
    if order.history.len() >= HISTORY {
        order.history.remove(0);
    }
    order.history.push(at.offset);
}

fn new(placed: &pb::OrderPlaced, at: At) -> pb::Order {
    let mut order = pb::Order {
        id: placed.order.clone(),
        incarnation: at.offset,
        number: placed.number,
        customer: placed.customer.clone(),
        kind: placed.kind,
        net: placed.net,
        vat_bp: placed.vat_bp,
        gross: placed.gross,
        order_date: placed.order_date,
        lines: placed.lines.clone(),
        needs_delivery: placed.needs_delivery,
        content: placed.content,
        ..pb::Order::default()
    };
    match placed.kind() {
        Kind::Items => order.gross = lines::sum_or_max(&order.lines),
        Kind::Value => order.set_status(Status::Confirmed),
    }
    order
}

fn start(order: &mut pb::Order, started: &pb::CheckoutStarted, at: At) {
    order.since = at.time.0;
    order.attempt = started.attempt.as_ref().map_or(order.attempt, |attempt| attempt.attempt);
    order.set_status(Status::Reserving);
    order.last_refusal = None;
    order.checkouts = some(&started.caller).into_iter().collect();
    (order.deadline, order.deadline_timer) = (started.deadline, started.deadline_timer);
    for line in order.lines.iter_mut().filter(|line| line.price.is_none()) {
        line.price = lines::price_of(&started.prices, &line.item);
    }
    order.gross = started.total;
    // An order without lines asks nobody for anything.
    order.holds = if order.lines.is_empty() { Vec::new() } else { vec![asked(Participant::Payment)] };
}

/// Nobody waits any more. The holds stay: they tell how it came to this.
fn end(order: &mut pb::Order, status: Status) {
    order.set_status(status);
    order.checkouts.clear();
    order.cancels.clear();
    (order.deadline, order.deadline_timer, order.release_timer) = (0, 0, 0);
    order.cancelling = false;
}

fn asked(participant: Participant) -> Hold {
    Hold { participant: participant.into(), status: HoldStatus::Asked.into(), ..Hold::default() }
}

/// What a participant has said of its hold.
fn said(order: &mut pb::Order, participant: Participant, partition: u32, status: HoldStatus, position: u64) {
    if let Some(hold) = order.holds.iter_mut().find(|hold| is_of(hold, participant, partition)) {
        hold.set_status(status);
        (hold.partition, hold.position) = (partition, position);
    }
}

/// Whether a hold is one of a participant's. Only stock is asked for several; where the others are is known when they
/// answer.
pub(super) fn is_of(hold: &Hold, participant: Participant, partition: u32) -> bool {
    hold.participant() == participant && (participant != Participant::Stock || hold.partition == partition)
}

fn some(ticket: &Bytes) -> Option<Bytes> {
    (!ticket.is_empty()).then(|| ticket.clone())
}

/// Takes a fact into what the partition keeps.
pub(super) fn partition(partition: &mut pb::Partition, event: &pb::Event, at: At) {
    match &event.event {
        Some(Event::Placed(_)) => partition.counter = partition.counter.saturating_add(1),
        Some(Event::Seeded(seeded)) => seed::take(partition, seeded, at),
        _ => {}
    }
    partition.end = at.offset.saturating_add(1);
}
