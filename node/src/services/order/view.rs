//! What an order is called by the interfaces of the reference systems.
use corduroy_proto::order as pb;
use pb::{HoldStatus, Participant, Status};

/// Whether it is paid, and whether anything can still become of it: the words of the first interface.
pub fn status_s1(order: &pb::Order) -> (bool, &'static str) {
    match order.status() {
        Status::Open | Status::Reserving | Status::Releasing => (false, "pending"),
        Status::Confirmed | Status::Delivered => (true, "completed"),
        Status::Cancelled => (false, "completed"),
    }
}

/// The words of the second interface.
pub fn status_name(order: &pb::Order) -> &'static str {
    match order.status() {
        Status::Open => "New",
        Status::Reserving | Status::Releasing => "Pending",
        Status::Confirmed => "Placed",
        Status::Delivered => "Fulfilled",
        Status::Cancelled => "Cancelled",
    }
}

/// The words of the third interface, where an order that was tried in vain is not what it was before.
pub fn status_s3(order: &pb::Order) -> &'static str {
    match order.status() {
        Status::Open if order.last_refusal.is_some() => "ROLLED_BACK",
        Status::Reserving if stock_is_held(order) => "RESERVED",
        Status::Open | Status::Reserving | Status::Releasing => "PENDING",
        Status::Confirmed | Status::Delivered => "COMPLETE",
        Status::Cancelled => "CANCELLED",
    }
}

/// Its status as it is, for problems and detail views.
pub fn status_text(order: &pb::Order) -> &'static str {
    status_word(order.status())
}

/// The same of a status by itself.
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Open => "open",
        Status::Reserving => "reserving",
        Status::Releasing => "releasing",
        Status::Confirmed => "confirmed",
        Status::Delivered => "delivered",
        Status::Cancelled => "cancelled",
    }
}

/// What it costs: its lines, or net and tax. A line without a price counts nothing until the checkout prices it.
pub fn total(order: &pb::Order) -> i64 {
    order.gross
}

/// Whether each partition of stock that was asked holds its lines.
pub(super) fn stock_is_held(order: &pb::Order) -> bool {
    let mut holds = order.holds.iter().filter(|hold| hold.participant() == Participant::Stock).peekable();
    holds.peek().is_some() && holds.all(|hold| hold.status() == HoldStatus::Held)
}

/// Where the running attempt is: the participant whose answer it waits for. `None`: none is running.
pub fn step(order: &pb::Order) -> Option<Participant> {
    let of = |status| move |hold: &&pb::Hold| hold.status() == status;
    let open = match order.status() {
        Status::Reserving => order.holds.iter().find(of(HoldStatus::Asked)),
        // Back in reverse.
        Status::Releasing => {
            order.holds.iter().rev().find(|hold| matches!(hold.status(), HoldStatus::Held | HoldStatus::Asked))
        }
        Status::Open | Status::Confirmed | Status::Delivered | Status::Cancelled => None,
    };
    open.map(pb::Hold::participant)
}
