//! Which events concern whom, and what they say of an account.
//!
//! What an order asks of its participants, and what it keeps for its own, is nobody's business: what comes of it is told.
use super::{Account, SEED};
use crate::{
    runtime::{PeerEvent, Routes, Unreadable},
    services::order::subjects,
};
use corduroy_proto::{
    account::{self as pb, command::Command, seed::What},
    order::{self, Kind, Status},
    payment, voucher,
};

/// Brings an event to the customer it concerns.
pub(super) fn route(event: &PeerEvent<'_>, to: &mut Routes<'_, Account>) -> Result<(), Unreadable> {
    let told = match event.topic() {
        "order" => from_order(event.decode()?)?,
        "payment" => from_payment(event.decode()?)?,
        "voucher" => from_voucher(event.decode()?)?,
        other => return Err(Unreadable(format!("nothing of {other} concerns a customer"))),
    };
    match told {
        // Whoever has no name has no account; with a slash it would be no key of a customer.
        Told::To(customer, _) if customer.is_empty() || customer.contains('/') => {}
        Told::To(customer, note) => {
            let source = event.source;
            let (topic, partition) = (source.topic.clone(), source.partition);
            let source = pb::Source { topic, partition, offset: source.offset, time: source.time };
            let note = pb::Note { source: Some(source), ..*note };
            to.to(customer, pb::Command { command: Some(Command::Note(note)) });
        }
        Told::ToAll(what, partitions) => {
            let seed = pb::Seed { what: Some(what), partition: event.source.partition, partitions };
            to.to_each(SEED, pb::Command { command: Some(Command::Seed(seed)) });
        }
        Told::ToNobody => {}
    }
    Ok(())
}

/// Whom an event concerns.
enum Told {
    To(String, Box<pb::Note>),
    /// Many at once, of a service with so many partitions.
    ToAll(What, u32),
    ToNobody,
}

impl Told {
    fn to(customer: String, note: pb::Note) -> Self {
        Told::To(customer, Box::new(note))
    }
}

/// What changes of an order.
#[derive(Default)]
struct Change {
    number: u64,
    status: Option<Status>,
    total: Option<i64>,
}

impl Change {
    fn none() -> Self {
        Change::default()
    }

    fn to(status: Status) -> Self {
        Change { status: Some(status), ..Change::default() }
    }
}

fn from_order(event: order::Event) -> Result<Told, Unreadable> {
    use order::event::Event;
    let event = event.event.ok_or_else(|| Unreadable("an event of order of no known kind".into()))?;
    let subjects = subjects::of(&event).iter().map(|subject| subject.name.to_owned()).collect();
    let told = |name: &str, customer: String, id: String, change: Change| {
        let Change { number, status, total } = change;
        let order = pb::OrderChange { id, number, status: status.map(Into::into), total };
        Told::to(customer, pb::Note { name: name.into(), subjects, order: Some(order), ..pb::Note::default() })
    };
    let of = |attempt: Option<order::Attempt>| {
        let attempt = attempt.ok_or_else(|| Unreadable("an event of order that names no attempt".into()))?;
        Ok::<_, Unreadable>((attempt.customer, attempt.order))
    };
    let (name, (customer, id), change) = match event {
        Event::Placed(placed) => {
            ("OrderPlaced", (placed.customer.clone(), placed.order.clone()), Change::placed(&placed))
        }
        Event::LineAdded(line) => ("LineAdded", (line.customer.clone(), line.order.clone()), Change::line(&line)),
        Event::LineRemoved(line) => ("LineRemoved", (line.customer.clone(), line.order.clone()), Change::line(&line)),
        Event::CheckoutStarted(started) => {
            let (number, total) = (started.number, Some(started.total));
            ("CheckoutStarted", of(started.attempt)?, Change { number, status: Some(Status::Reserving), total })
        }
        Event::PaymentSecured(secured) => ("PaymentSecured", of(secured.attempt)?, Change::none()),
        Event::PaymentDeclined(declined) => ("PaymentDeclined", of(declined.attempt)?, Change::none()),
        Event::StockSecured(secured) => ("StockSecured", of(secured.attempt)?, Change::none()),
        Event::StockDeclined(declined) => ("StockDeclined", of(declined.attempt)?, Change::none()),
        Event::DeliverySecured(secured) => ("DeliverySecured", of(secured.attempt)?, Change::none()),
        Event::DeliveryDeclined(declined) => ("DeliveryDeclined", of(declined.attempt)?, Change::none()),
        Event::Confirmed(confirmed) => ("OrderConfirmed", of(confirmed.attempt)?, Change::to(Status::Confirmed)),
        Event::AttemptFailed(failed) => ("AttemptFailed", of(failed.attempt)?, Change::to(Status::Releasing)),
        Event::DeliveryReleased(released) => ("DeliveryReleased", of(released.attempt)?, Change::none()),
        Event::StockReleased(released) => ("StockReleased", of(released.attempt)?, Change::none()),
        Event::PaymentReleased(released) => ("PaymentReleased", of(released.attempt)?, Change::none()),
        Event::CheckoutRejected(rejected) => ("CheckoutRejected", of(rejected.attempt)?, Change::to(Status::Open)),
        Event::Delivered(delivered) => {
            ("OrderDelivered", (delivered.customer, delivered.order), Change::to(Status::Delivered))
        }
        Event::Completed(completed) => ("OrderCompleted", (completed.customer, completed.order), Change::none()),
        Event::Cancelled(cancelled) => {
            let (number, total) = (cancelled.number, Some(cancelled.total));
            let change = Change { number, status: Some(Status::Cancelled), total };
            ("OrderCancelled", (cancelled.customer, cancelled.order), change)
        }
        Event::Seeded(seeded) => return Ok(Told::ToAll(What::Orders(seeded.orders), seeded.partitions)),
        Event::Joined(_)
        | Event::StockRequested(_)
        | Event::DeliveryRequested(_)
        | Event::DeliveryReleaseRequested(_)
        | Event::StockReleaseRequested(_)
        | Event::PaymentReleaseRequested(_)
        | Event::AnswerNoted(_)
        | Event::CallersTold(_)
        // The voucher service tells of it.
        | Event::VoucherLinked(_) => return Ok(Told::ToNobody),
    };
    Ok(told(name, customer, id, change))
}

impl Change {
    fn placed(placed: &order::OrderPlaced) -> Self {
        let (status, total) = match placed.kind() {
            Kind::Value => (Status::Confirmed, placed.gross),
            Kind::Items => (Status::Open, crate::services::order::total_of(&placed.lines)),
        };
        Change { number: placed.number, status: Some(status), total: Some(total) }
    }

    fn line(line: &order::LineChanged) -> Self {
        Change { number: line.number, status: None, total: Some(line.total) }
    }
}

fn from_payment(event: payment::Event) -> Result<Told, Unreadable> {
    use payment::event::Event;
    let is = |name: &str, user: String, balance: i64| {
        Told::to(user, pb::Note { name: name.into(), balance: Some(balance), ..pb::Note::default() })
    };
    Ok(match event.event.ok_or_else(|| Unreadable("an event of payment of no known kind".into()))? {
        Event::Opened(opened) => is("AccountOpened", opened.user, 0),
        Event::FundsAdded(funds) => is("FundsAdded", funds.user, funds.available),
        Event::PaidDirect(funds) => is("PaidDirect", funds.user, funds.available),
        Event::Held(held) => is("PaymentHeld", held.user, held.available),
        Event::Refused(refused) => is("PaymentHoldRefused", refused.user, refused.available),
        // It was taken from the balance when it was held.
        Event::Posted(posted) => {
            Told::to(posted.user, pb::Note { name: "PaymentPosted".into(), ..pb::Note::default() })
        }
        Event::Voided(voided) => {
            let (name, returned) = ("PaymentVoided".into(), voided.amount);
            Told::to(voided.user, pb::Note { name, returned, ..pb::Note::default() })
        }
        Event::Seeded(seeded) => Told::ToAll(What::Users(pb::Users { users: seeded.users, money: seeded.money }), 0),
    })
}

fn from_voucher(event: voucher::Event) -> Result<Told, Unreadable> {
    use voucher::event::Event;
    let told = |name: &str, customer: String, voucher: pb::Voucher| {
        Told::to(customer, pb::Note { name: name.into(), voucher: Some(voucher), ..pb::Note::default() })
    };
    Ok(match event.event.ok_or_else(|| Unreadable("an event of voucher of no known kind".into()))? {
        Event::Issued(issued) => {
            let voucher = pb::Voucher { code: issued.code, value: issued.value, redeemed: false };
            told("VoucherIssued", issued.customer, voucher)
        }
        Event::Redeemed(redeemed) => {
            let voucher = pb::Voucher { code: redeemed.code, value: redeemed.value, redeemed: true };
            told("VoucherRedeemed", redeemed.customer, voucher)
        }
    })
}
