//! What participants say of their holds.
use super::{checkout, evolve, release, view, work::Work};
use crate::services::Settings;
use corduroy_proto::order as pb;
use pb::{HoldStatus, Participant, Status, event::Event};
use std::time::Duration;

/// An answer after which a service is to be asked that is not known is taken up again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Takes an answer. One of another attempt, and one that says nothing new, changes nothing.
pub(super) fn answer(settings: &Settings, work: &mut Work<'_, '_>, answer: &pb::HoldAnswer) {
    let order = &work.order;
    if order.incarnation != answer.incarnation || order.attempt != answer.attempt {
        return;
    }
    let hold = order.holds.iter().find(|hold| evolve::is_of(hold, answer.participant(), answer.partition));
    let Some(before) = hold.map(|hold| hold.status()) else { return };
    match (before, answer.status()) {
        (HoldStatus::Asked, HoldStatus::Held | HoldStatus::Refused | HoldStatus::Voided)
        | (HoldStatus::Held, HoldStatus::Voided) => {}
        // A hold that was refused or voided stays so.
        _ => return,
    }
    match (order.status(), answer.status()) {
        (Status::Reserving, HoldStatus::Held) => held(settings, work, answer),
        (Status::Reserving, HoldStatus::Refused) => refused(settings, work, answer),
        (Status::Releasing, _) => {
            let step = release::step(&work.order);
            note(work, answer);
            release::go_on(work, step);
        }
        // Nobody gives back what was not asked back: such an order shows it, and no rule goes on from it. An attempt
        // that misses a hold so cannot confirm, and ends at its deadline.
        _ => note(work, answer),
    }
}

fn note(work: &mut Work<'_, '_>, answer: &pb::HoldAnswer) {
    let pb::HoldAnswer { participant, partition, status, position, .. } = *answer;
    let attempt = Some(work.attempt());
    work.emit(Event::AnswerNoted(pb::AnswerNoted { attempt, participant, partition, status, position }));
}

fn held(settings: &Settings, work: &mut Work<'_, '_>, answer: &pb::HoldAnswer) {
    let (attempt, partition, position) = (Some(work.attempt()), answer.partition, answer.position);
    match answer.participant() {
        Participant::Payment => {
            let available = answer.available;
            work.emit(Event::PaymentSecured(pb::PaymentSecured { attempt, available, partition, position }));
            if !checkout::request_stock(work) {
                // Not yet, as far as this leader has looked: a cluster is just being started.
                work.cx.retry(LOOK_AGAIN);
            }
        }
        Participant::Stock => {
            let stock = work.order.holds.iter().filter(|hold| hold.participant() == Participant::Stock);
            let mut others = stock.filter(|hold| hold.partition != partition);
            let all = others.all(|hold| hold.status() == HoldStatus::Held);
            work.emit(Event::StockSecured(pb::StockSecured { attempt, partition, position, all }));
            if view::stock_is_held(&work.order) {
                checkout::after_stock(settings, work);
            }
        }
        Participant::Delivery => {
            work.emit(Event::DeliverySecured(pb::DeliverySecured { attempt, position, partition }));
            checkout::confirm_if_held(settings, work);
        }
    }
}

fn refused(settings: &Settings, work: &mut Work<'_, '_>, answer: &pb::HoldAnswer) {
    let (attempt, partition, position) = (Some(work.attempt()), answer.partition, answer.position);
    let refusal = answer.refusal.clone().unwrap_or_default();
    let available = refusal.available;
    work.emit(match answer.participant() {
        Participant::Payment => Event::PaymentDeclined(pb::PaymentDeclined { attempt, available, partition, position }),
        Participant::Stock => {
            let item = refusal.item.clone();
            Event::StockDeclined(pb::StockDeclined { attempt, partition, position, item, available })
        }
        Participant::Delivery => {
            let (from_day, to_day) = (refusal.from_day, refusal.to_day);
            Event::DeliveryDeclined(pb::DeliveryDeclined { attempt, position, from_day, to_day, partition })
        }
    });
    release::fail(settings, work, refusal);
}
