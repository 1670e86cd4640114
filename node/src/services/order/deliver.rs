//! Marking an order as delivered, and the vouchers that earns.
use super::{
    checkout, names, refusals,
    work::{Work, shown},
};
use crate::{runtime::Refusal, services::Settings};
use corduroy_proto::order as pb;
use pb::{Kind, Status, event::Event};

/// Marks an order as delivered; twice is once. The prices of items contain the tax, and nobody has said how much it is:
/// such an order is delivered with its total as net and gross, and the tax of its day.
pub(super) fn deliver(settings: &Settings, work: &mut Work<'_, '_>) -> Result<(), Refusal> {
    match work.order.status() {
        // It was done before, and is told apart: whoever asked for the next one to deliver asks for another.
        Status::Delivered => {
            work.cx.reply_with(shown(work.key, true));
            return Ok(());
        }
        Status::Confirmed => {
            let order = work.order.clone();
            let (net, vat_bp) = match order.kind() {
                Kind::Value => (order.net, order.vat_bp),
                Kind::Items => (order.gross, settings.vat_bp(order.order_date)),
            };
            work.emit(Event::Delivered(pb::OrderDelivered {
                number: order.number,
                net,
                vat_bp,
                gross: order.gross,
                order_date: order.order_date,
                delivered_at: work.cx.now().0,
                incarnation: order.incarnation,
                needs_delivery: checkout::ships(&order),
                attempt: order.attempt,
                due_key: names::due_key(order.order_date, work.key),
                order: order.id,
                customer: order.customer.clone(),
            }));
            if !order.completed {
                let (order, customer) = (work.key.to_owned(), order.customer);
                work.emit(Event::Completed(pb::OrderCompleted { order, customer }));
            }
        }
        _ => return Err(refusals::not_deliverable(&work.order)),
    }
    work.reply();
    Ok(())
}

/// Notes a voucher on the order that has earned it, once.
pub(super) fn link(work: &mut Work<'_, '_>, linked: &pb::Linked) {
    let Some(voucher) = &linked.voucher else { return };
    let is_known = work.order.vouchers.iter().any(|known| known.code == voucher.code);
    if work.order.incarnation == linked.incarnation && !is_known {
        work.emit(Event::VoucherLinked(linked.clone()));
    }
}
