//! What events of others are to orders: answers of holds, and vouchers.
use super::{Order, work};
use crate::runtime::{PeerEvent, Routes, Unreadable};
use corduroy_proto::{delivery, order as pb, payment, stock, voucher};
use pb::{HoldStatus, Participant, command::Command};

/// What a participant has said of a hold.
struct Said {
    participant: Participant,
    status: HoldStatus,
    /// Order, incarnation and attempt.
    hold: Option<(String, u64, u32)>,
    refusal: Option<pb::Refusal>,
    available: i64,
}

/// Brings what was said to the order it is said of.
pub(super) fn route(event: &PeerEvent<'_>, to: &mut Routes<'_, Order>) -> Result<(), Unreadable> {
    let said = match event.topic() {
        "payment" => from_payment(event.decode()?)?,
        "stock" => from_stock(event.decode()?)?,
        "delivery" => from_delivery(event.decode()?)?,
        "voucher" => return from_voucher(event.decode()?, to),
        other => return Err(Unreadable(format!("{other} is no participant"))),
    };
    let Some(Said { participant, status, hold, refusal, available }) = said else { return Ok(()) };
    let Some((order, incarnation, attempt)) = hold else {
        return Err(Unreadable(format!("an answer of {} without a hold", work::name(participant))));
    };
    let answer = pb::HoldAnswer {
        participant: participant.into(),
        partition: event.source.partition,
        incarnation,
        attempt,
        status: status.into(),
        position: event.position().offset,
        refusal,
        available,
    };
    to.to(order, pb::Command { command: Some(Command::Answer(answer)) });
    Ok(())
}

fn from_voucher(event: voucher::Event, to: &mut Routes<'_, Order>) -> Result<(), Unreadable> {
    use voucher::event::Event;
    match event.event {
        Some(Event::Issued(issued)) => {
            let relative = issued.kind() == voucher::Kind::Relative;
            let (code, strategy, value) = (issued.code, issued.strategy, issued.value);
            let voucher = Some(pb::Voucher { code, strategy, relative, value });
            let linked = pb::Linked { order: issued.order.clone(), incarnation: issued.incarnation, voucher };
            to.to(issued.order, pb::Command { command: Some(Command::LinkVoucher(linked)) });
            Ok(())
        }
        Some(Event::Redeemed(_)) => Ok(()),
        None => Err(Unreadable("an event of voucher of no kind that is known".into())),
    }
}

fn unknown(participant: Participant) -> Unreadable {
    Unreadable(format!("an event of {} of no kind that is known", work::name(participant)))
}

fn from_payment(event: payment::Event) -> Result<Option<Said>, Unreadable> {
    use payment::event::Event;
    let id = |hold: Option<payment::HoldId>| hold.map(|hold| (hold.order, hold.incarnation, hold.attempt));
    let said = |hold, status| Said::new(Participant::Payment, status, id(hold));
    Ok(Some(match event.event.ok_or_else(|| unknown(Participant::Payment))? {
        Event::Held(held) => Said { available: held.available, ..said(held.hold, HoldStatus::Held) },
        Event::Refused(refused) => said(refused.hold, HoldStatus::Refused).because(pb::Refusal {
            reason: refused.reason,
            requested: refused.amount,
            available: refused.available,
            ..pb::Refusal::default()
        }),
        Event::Voided(voided) => said(voided.hold, HoldStatus::Voided),
        Event::Opened(_) | Event::Seeded(_) | Event::FundsAdded(_) | Event::PaidDirect(_) | Event::Posted(_) => {
            return Ok(None);
        }
    }))
}

fn from_stock(event: stock::Event) -> Result<Option<Said>, Unreadable> {
    use stock::event::Event;
    let id = |hold: Option<stock::HoldId>| hold.map(|hold| (hold.order, hold.incarnation, hold.attempt));
    let said = |hold, status| Said::new(Participant::Stock, status, id(hold));
    Ok(Some(match event.event.ok_or_else(|| unknown(Participant::Stock))? {
        Event::Held(held) => said(held.hold, HoldStatus::Held),
        Event::Refused(refused) => said(refused.hold, HoldStatus::Refused).because(pb::Refusal {
            reason: refused.reason,
            item: refused.item,
            requested: refused.requested,
            available: refused.available,
            price: refused.price,
            ..pb::Refusal::default()
        }),
        Event::Voided(voided) => said(voided.hold, HoldStatus::Voided),
        Event::Created(_)
        | Event::Seeded(_)
        | Event::Added(_)
        | Event::Subtracted(_)
        | Event::Posted(_)
        | Event::Forgotten(_) => return Ok(None),
    }))
}

fn from_delivery(event: delivery::Event) -> Result<Option<Said>, Unreadable> {
    use delivery::event::Event;
    let id = |hold: Option<delivery::HoldId>| hold.map(|hold| (hold.order, hold.incarnation, hold.attempt));
    let said = |hold, status| Said::new(Participant::Delivery, status, id(hold));
    Ok(Some(match event.event.ok_or_else(|| unknown(Participant::Delivery))? {
        Event::Held(held) => said(held.hold, HoldStatus::Held),
        Event::Refused(refused) => said(refused.hold, HoldStatus::Refused).because(pb::Refusal {
            reason: refused.reason,
            from_day: refused.from,
            to_day: refused.to,
            ..pb::Refusal::default()
        }),
        Event::Voided(voided) => said(voided.hold, HoldStatus::Voided),
        Event::Scheduled(_) | Event::Delivered(_) => return Ok(None),
    }))
}

impl Said {
    fn new(participant: Participant, status: HoldStatus, hold: Option<(String, u64, u32)>) -> Self {
        Said { participant, status, hold, refusal: None, available: 0 }
    }

    fn because(self, refusal: pb::Refusal) -> Self {
        let step = work::name(self.participant).to_owned();
        Said { available: refusal.available, refusal: Some(pb::Refusal { step, ..refusal }), ..self }
    }
}
