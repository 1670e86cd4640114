//! The delivery service: when an order is to be delivered.
//!
//! ```text
//!   none ──hold──▶ held ──schedule──▶ scheduled ──deliver──▶ delivered
//!    │ └─refused    └──void──▶ voided        ▲
//!    └──schedule (nobody asked: any day has room)
//! ```
//!
//! The key is the order, the state that of its last attempt: what comes of an earlier one is late and changes nothing. A
//! void is always answered, whatever there was: the order waits for it.
//!
//! - `slots`: which days have room.
//! - `fold`: what facts change. `index`: what a delivery is found by.
mod fold;
mod index;
mod slots;

#[cfg(all(test, feature = "testing"))]
mod tests;

use crate::{
    runtime::{At, Decide, Head, IndexKey, Input, PeerEvent, Refusal, Routes, Service, Unreadable},
    services::Settings,
};
use corduroy_proto::{
    delivery::{self as pb, Status, command::Command, event::Event},
    order::{self, event::Event as OrderEvent},
};
pub use index::{day_of, of_day, of_state, state_name};
use slots::Room;

/// The rules of the service; its keys are order ids.
#[derive(Clone, Debug)]
pub struct Delivery {
    settings: Settings,
}

impl Delivery {
    /// With the capacity these say.
    pub fn new(settings: Settings) -> Self {
        Delivery { settings }
    }
}

impl Service for Delivery {
    const NAME: &'static str = "delivery";
    const LISTENS: &'static [&'static str] = &["order"];
    /// The places of a day are counted in one.
    const PARTITIONS: u32 = 1;
    const INDEX: u32 = index::VERSION;

    type State = pb::Delivery;
    type Partition = pb::Partition;
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let state = head.get(input.key);
        match &input.command.command {
            Some(Command::Hold(request)) => match &request.id {
                Some(id) => self.hold(head, Asked::new(input.key, id, state), &request.customer, cx),
                None => cx.fault("a hold without an id"),
            },
            Some(Command::Schedule(request)) => match &request.id {
                Some(id) => self.schedule(head, Asked::new(input.key, id, state), &request.customer, cx),
                None => cx.fault("a delivery without an id"),
            },
            Some(Command::Void(id)) => void(Asked::new(input.key, id, state), cx),
            Some(Command::Deliver(id)) => deliver(Asked::new(input.key, id, state), cx),
            None => cx.fault("a command of no known kind"),
        }
        Ok(())
    }

    fn knows(event: &pb::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<pb::Delivery>, _key: &str, event: &pb::Event, at: At) {
        if let Some(event) = &event.event {
            fold::evolve(state, event, at);
        }
    }

    fn evolve_partition(partition: &mut pb::Partition, _key: &str, event: &pb::Event, at: At) {
        if let Some(event) = &event.event {
            slots::count(partition, event, at.time);
        }
    }

    fn index(_key: &str, delivery: &pb::Delivery) -> Vec<IndexKey> {
        index::of(delivery)
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let mut tell = |order: String, command| to.to(order, pb::Command { command: Some(command) });
        let request = |id, customer| pb::Request { id: Some(id), customer };
        match event.decode::<order::Event>()?.event {
            Some(OrderEvent::DeliveryRequested(requested)) => {
                let (id, customer) = hold_of(requested.attempt)?;
                tell(id.order.clone(), Command::Hold(request(id, customer)));
            }
            Some(OrderEvent::Confirmed(confirmed)) if confirmed.delivery => {
                let (id, customer) = hold_of(confirmed.attempt)?;
                tell(id.order.clone(), Command::Schedule(request(id, customer)));
            }
            Some(OrderEvent::DeliveryReleaseRequested(release)) => {
                let (id, _) = hold_of(release.attempt)?;
                tell(id.order.clone(), Command::Void(id));
            }
            Some(OrderEvent::Delivered(delivered)) if delivered.needs_delivery => {
                let (order, incarnation, attempt) = (delivered.order, delivered.incarnation, delivered.attempt);
                tell(order.clone(), Command::Deliver(pb::HoldId { order, incarnation, attempt }));
            }
            Some(OrderEvent::Seeded(seeded)) => {
                for ended in seeded.ended.into_iter().filter(|ended| ended.delivery) {
                    let (id, _) = hold_of(ended.attempt)?;
                    tell(id.order.clone(), Command::Void(id));
                }
            }
            Some(_) => {}
            None => return Err(Unreadable("an event of order of no known kind".into())),
        }
        Ok(())
    }
}

fn hold_of(attempt: Option<order::Attempt>) -> Result<(pb::HoldId, String), Unreadable> {
    let attempt = attempt.ok_or_else(|| Unreadable("an event of order that names no attempt".into()))?;
    let id = pb::HoldId { order: attempt.order, incarnation: attempt.incarnation, attempt: attempt.attempt };
    Ok((id, attempt.customer))
}

/// What one attempt wants, and what there is.
struct Asked<'a> {
    key: &'a str,
    id: &'a pb::HoldId,
    then: Then,
}

/// What the state of an order's delivery says to an attempt.
enum Then {
    /// Nothing yet.
    First,
    /// An earlier attempt is there; it may still hold a slot.
    Newer(pb::Delivery),
    /// It is this one's.
    Same(pb::Delivery),
    /// A later attempt is there.
    Late,
}

impl<'a> Asked<'a> {
    fn new(key: &'a str, id: &'a pb::HoldId, state: Option<pb::Delivery>) -> Self {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let then = match state {
            None => Then::First,
            Some(state) => match fold::rank(Some(id)).cmp(&fold::rank(state.hold.as_ref())) {
                Less => Then::Late,
                Equal => Then::Same(state),
                Greater => Then::Newer(state),
            },
        };
        Asked { key, id, then }
    }

    fn slot(&self, customer: &str, day: i64, counted: bool) -> pb::Slot {
        pb::Slot { hold: Some(self.id.clone()), customer: customer.into(), day, counted }
    }

    fn emit(&self, event: Event, cx: &mut Decide<'_, Delivery>) {
        cx.emit(self.key, pb::Event { event: Some(event) });
    }

    /// An order has given back what an earlier attempt held before it asks again. Should it not have, the slot is not lost.
    fn release_earlier(&self, cx: &mut Decide<'_, Delivery>) {
        if let Then::Newer(earlier) = &self.then
            && earlier.status() == Status::Held
        {
            let (hold, customer) = (earlier.hold.clone(), earlier.customer.clone());
            self.emit(Event::Voided(pb::Slot { hold, customer, day: earlier.day, counted: true }), cx);
        }
    }
}

impl Delivery {
    /// A refusal is an event: the order reads it.
    fn hold(&self, head: &Head<'_, Self>, asked: Asked<'_>, customer: &str, cx: &mut Decide<'_, Self>) {
        let room = Room::new(&self.settings, cx.now(), head.partition());
        let day = match &asked.then {
            Then::First | Then::Newer(_) => room.first_free().ok_or("no-delivery-slot"),
            Then::Same(state) => match state.status() {
                Status::Held | Status::Scheduled | Status::Delivered => return,
                Status::Unspecified | Status::Refused | Status::Voided => Err("voided"),
            },
            Then::Late => Err("voided"),
        };
        asked.release_earlier(cx);
        let event = match day {
            Ok(day) => Event::Held(asked.slot(customer, day, true)),
            Err(reason) => {
                let (from, to) = room.days();
                let (hold, customer, reason) = (Some(asked.id.clone()), customer.into(), reason.into());
                Event::Refused(pb::SlotRefused { hold, customer, from, to, reason })
            }
        };
        asked.emit(event, cx);
    }

    /// Of a confirmed order: it cannot be refused any more.
    fn schedule(&self, head: &Head<'_, Self>, asked: Asked<'_>, customer: &str, cx: &mut Decide<'_, Self>) {
        let slot = match &asked.then {
            Then::First | Then::Newer(_) => {
                let room = Room::new(&self.settings, cx.now(), head.partition());
                asked.slot(customer, room.for_certain(), true)
            }
            Then::Same(state) if state.status() == Status::Held => asked.slot(customer, state.day, false),
            Then::Same(_) | Then::Late => return,
        };
        asked.release_earlier(cx);
        asked.emit(Event::Scheduled(slot), cx);
    }
}

/// Is answered, whatever there was.
fn void(asked: Asked<'_>, cx: &mut Decide<'_, Delivery>) {
    asked.release_earlier(cx);
    let slot = match &asked.then {
        Then::Same(state) => asked.slot(&state.customer, state.day, state.status() == Status::Held),
        Then::First | Then::Newer(_) | Then::Late => asked.slot("", 0, false),
    };
    asked.emit(Event::Voided(slot), cx);
}

fn deliver(asked: Asked<'_>, cx: &mut Decide<'_, Delivery>) {
    if let Then::Same(state) = &asked.then
        && state.status() == Status::Scheduled
    {
        asked.emit(Event::Delivered(asked.slot(&state.customer, state.day, false)), cx);
    }
}
