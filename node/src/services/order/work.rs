//! An order while something is decided about it.
use super::Order;
use crate::runtime::{At, Decide, Head, Refusal, Ticket};
use bytes::Bytes;
use corduroy_proto::{order as pb, runtime};
use pb::{Participant, command::Command, event::Event};
use std::time::Duration;

/// One decision about one order. What was emitted has been taken by `order` already: the same code as on every replica.
pub(super) struct Work<'w, 'd> {
    pub order: pb::Order,
    pub key: &'w str,
    /// The offset of the next event.
    end: u64,
    pub cx: &'w mut Decide<'d, Order>,
}

impl<'w, 'd> Work<'w, 'd> {
    pub fn new(head: &Head<'_, Order>, key: &'w str, order: pb::Order, cx: &'w mut Decide<'d, Order>) -> Self {
        Work { order, key, end: head.partition().end, cx }
    }

    /// Emits a fact about the order.
    pub fn emit(&mut self, event: Event) {
        let at = At { offset: self.end, time: self.cx.now() };
        super::evolve::take(&mut self.order, &event, at);
        self.end += 1;
        self.cx.emit(self.key, pb::Event { event: Some(event) });
    }

    /// Which attempt is running.
    pub fn attempt(&self) -> pb::Attempt {
        attempt(&self.order)
    }

    /// Whether a timer is of this attempt.
    pub fn is_of(&self, timer: &pb::AttemptTimer) -> bool {
        self.order.incarnation == timer.incarnation && self.order.attempt == timer.attempt
    }

    /// Sets a timer for an attempt.
    pub fn after(&mut self, duration: Duration, command: Command) -> u64 {
        self.cx.after(duration, self.key, &pb::Command { command: Some(command) })
    }

    /// Takes the timers of the attempt back.
    pub fn cancel_timers(&mut self) {
        cancel_timers(&self.order, self.cx);
    }

    /// Answers with the order as it is after this.
    pub fn reply(&mut self) {
        self.cx.reply_with(shown(self.key, false));
    }

    /// Answers commands that waited with the order as it is after this.
    pub fn reply_to(&mut self, tickets: &[Bytes]) {
        for ticket in tickets.iter().filter_map(|ticket| Ticket::from_bytes(ticket)) {
            self.cx.reply_to(ticket, shown(self.key, false));
        }
    }

    /// Refuses commands that waited.
    pub fn refuse_to(&mut self, tickets: &[Bytes], refusal: &Refusal) {
        refuse_to(tickets, refusal, self.cx);
    }

    /// What is answered now rests on what participants have said.
    pub fn rests_on_holds(&mut self) {
        rests_on_holds(&self.order, self.cx);
    }
}

/// Which attempt of an order is running.
pub(super) fn attempt(order: &pb::Order) -> pb::Attempt {
    pb::Attempt {
        order: order.id.clone(),
        incarnation: order.incarnation,
        attempt: order.attempt,
        customer: order.customer.clone(),
    }
}

/// The order with an id.
pub(super) fn find(head: &Head<'_, Order>, key: &str) -> Option<pb::Order> {
    match head.get(key)?.state? {
        pb::state::State::Order(order) => Some(order),
        pb::state::State::Alias(_) => None,
    }
}

/// An answer that shows the order.
pub(super) fn shown(key: &str, already_paid: bool) -> impl FnOnce(&Head<'_, Order>) -> pb::Reply + Send + 'static {
    let key = key.to_owned();
    move |head| pb::Reply { order: find(head, &key), already_paid, ..pb::Reply::default() }
}

pub(super) fn cancel_timers(order: &pb::Order, cx: &mut Decide<'_, Order>) {
    for timer in [order.deadline_timer, order.release_timer] {
        if timer != 0 {
            cx.cancel(timer);
        }
    }
}

pub(super) fn refuse_to(tickets: &[Bytes], refusal: &Refusal, cx: &mut Decide<'_, Order>) {
    for ticket in tickets.iter().filter_map(|ticket| Ticket::from_bytes(ticket)) {
        cx.refuse_to(ticket, refusal.clone());
    }
}

pub(super) fn rests_on_holds(order: &pb::Order, cx: &mut Decide<'_, Order>) {
    // Position 0: it has not answered.
    for hold in order.holds.iter().filter(|hold| hold.position > 0) {
        let topic = name(hold.participant()).to_owned();
        cx.rests_on(runtime::Position { topic, partition: hold.partition, offset: hold.position });
    }
}

/// The topic of a participant, and the name of its step.
pub fn name(participant: Participant) -> &'static str {
    match participant {
        Participant::Payment => "payment",
        Participant::Stock => "stock",
        Participant::Delivery => "delivery",
    }
}
