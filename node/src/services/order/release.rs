//! The way back: an attempt has failed, and what it asked for is given back.
//!
//! It goes in the reverse order of the way there, and each step waits until the one before it is acknowledged: whoever
//! reads that the money is there again finds the stock there, too. What was asked is given back whether it was answered
//! or not; the participants keep in mind what was given back before it came.
use super::{refusals, work, work::Work};
use crate::services::Settings;
use corduroy_proto::order as pb;
use pb::{HoldStatus, Participant, Status, command::Command, event::Event};

/// In the order things are given back.
const STEPS: [Participant; 3] = [Participant::Delivery, Participant::Stock, Participant::Payment];

/// Ends an attempt that cannot come to its good end any more.
pub(super) fn fail(settings: &Settings, work: &mut Work<'_, '_>, refusal: pb::Refusal) {
    let Some(step) = step(&work.order) else { return reject(work, refusal) };
    work.cancel_timers();
    let timer = pb::AttemptTimer { incarnation: work.order.incarnation, attempt: work.order.attempt };
    let release_timer = work.after(settings.saga_release_wait, Command::ReleaseWait(timer));
    let attempt = Some(work.attempt());
    work.emit(Event::AttemptFailed(pb::AttemptFailed { attempt, refusal: Some(refusal), release_timer }));
    request(work, step);
}

/// What is to be given back next; `None`: nothing is held, and nothing can be held any more.
pub(super) fn step(order: &pb::Order) -> Option<Participant> {
    let open = |step: &Participant| order.holds.iter().any(|hold| hold.participant() == *step && is_open(hold));
    STEPS.into_iter().find(open)
}

/// Whether something may be held. One that was refused never will be, although it was never given back.
fn is_open(hold: &pb::Hold) -> bool {
    matches!(hold.status(), HoldStatus::Asked | HoldStatus::Held)
}

fn request(work: &mut Work<'_, '_>, step: Participant) {
    let stock = work.order.holds.iter().filter(|hold| hold.participant() == Participant::Stock && is_open(hold));
    let stock = stock.filter(|_| step == Participant::Stock);
    let stock_partitions = stock.map(|hold| hold.partition).collect();
    let request = pb::ReleaseRequested { attempt: Some(work.attempt()), stock_partitions };
    work.emit(match step {
        Participant::Delivery => Event::DeliveryReleaseRequested(request),
        Participant::Stock => Event::StockReleaseRequested(request),
        Participant::Payment => Event::PaymentReleaseRequested(request),
    });
}

/// Goes on when an answer has brought a step to its end.
pub(super) fn go_on(work: &mut Work<'_, '_>, before: Option<Participant>) {
    let next = step(&work.order);
    let Some(done) = before.filter(|_| next != before) else { return };
    let released = pb::Released { attempt: Some(work.attempt()) };
    work.emit(match done {
        Participant::Delivery => Event::DeliveryReleased(released),
        Participant::Stock => Event::StockReleased(released),
        Participant::Payment => Event::PaymentReleased(released),
    });
    match next {
        Some(next) => request(work, next),
        None => {
            let refusal = work.order.last_refusal.clone().unwrap_or_default();
            reject(work, refusal);
        }
    }
}

/// Nothing is held any more: the order is as open as before, or cancelled if somebody wants that.
fn reject(work: &mut Work<'_, '_>, refusal: pb::Refusal) {
    let before = work.order.clone();
    work.cancel_timers();
    work.rests_on_holds();
    let told = refusals::attempt_failed(&before, &refusal);
    let attempt = Some(work.attempt());
    let released = before.holds.iter().any(|hold| hold.status() == HoldStatus::Voided);
    work.emit(Event::CheckoutRejected(pb::CheckoutRejected { attempt, refusal: Some(refusal), released }));
    if before.cancelling {
        super::cancel::end(work);
    }
    work.refuse_to(&before.checkouts, &told);
    work.reply_to(&before.cancels);
}

/// An attempt has not come to its end in time.
pub(super) fn deadline(settings: &Settings, work: &mut Work<'_, '_>, timer: &pb::AttemptTimer) {
    if !work.is_of(timer) || work.order.status() != Status::Reserving {
        return;
    }
    let (reason, step) = ("checkout-timeout".to_owned(), current(&work.order).to_owned());
    fail(settings, work, pb::Refusal { reason, step, ..pb::Refusal::default() });
}

/// The step an attempt has got to.
pub(super) fn current(order: &pb::Order) -> &'static str {
    order.holds.last().map_or("payment", |hold| work::name(hold.participant()))
}

/// Somebody is silent: those who wait are told what is certain already.
pub(super) fn release_wait(work: &mut Work<'_, '_>, timer: &pb::AttemptTimer) {
    if !work.is_of(timer) || work.order.status() != Status::Releasing || work.order.checkouts.is_empty() {
        return;
    }
    let refusal = work.order.last_refusal.clone().unwrap_or_default();
    let refusal = refusals::attempt_failed(&work.order, &refusal).flag("releasePending", true);
    let callers = work.order.checkouts.clone();
    work.emit(Event::CallersTold(pb::CallersTold { order: work.key.to_owned() }));
    work.rests_on_holds();
    work.refuse_to(&callers, &refusal);
}
