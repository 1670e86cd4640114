//! Cancelling an order. There is no way back from what is paid.
use super::{names, refusals, release, work::Work};
use crate::{runtime::Refusal, services::Settings};
use corduroy_proto::order as pb;
use pb::{Kind, Status, event::Event};

/// Cancels an order, or ends the running attempt first: the answer comes when it is cancelled.
pub(super) fn cancel(settings: &Settings, work: &mut Work<'_, '_>) -> Result<(), Refusal> {
    match (work.order.status(), work.order.kind()) {
        (Status::Open, _) | (Status::Confirmed, Kind::Value) => {
            end(work);
            work.reply();
        }
        (Status::Cancelled, _) => work.reply(),
        (Status::Confirmed | Status::Delivered, _) => return Err(refusals::closed(&work.order)),
        (Status::Reserving, _) => {
            join(work);
            let (reason, step) = ("checkout-cancelled".to_owned(), release::current(&work.order).to_owned());
            release::fail(settings, work, pb::Refusal { reason, step, ..pb::Refusal::default() });
        }
        (Status::Releasing, _) => join(work),
    }
    Ok(())
}

fn join(work: &mut Work<'_, '_>) {
    let cancel = work.cx.defer().map(|ticket| ticket.to_bytes()).unwrap_or_default();
    let order = work.key.to_owned();
    work.emit(Event::Joined(pb::CallerJoined { order, cancel, cancelling: true, ..pb::CallerJoined::default() }));
}

/// The order is cancelled.
pub(super) fn end(work: &mut Work<'_, '_>) {
    let order_date = work.order.order_date;
    let due = work.order.status() == Status::Confirmed;
    work.emit(Event::Cancelled(pb::OrderCancelled {
        order: work.key.to_owned(),
        reason: "asked for".to_owned(),
        order_date,
        due_key: if due { names::due_key(order_date, work.key) } else { String::new() },
        customer: work.order.customer.clone(),
        number: work.order.number,
        total: work.order.gross,
    }));
}
