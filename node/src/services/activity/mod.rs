//! The activity service: how much of what happened on which day.
//!
//! ```text
//!   order ──placed, seeded, completed, cancelled──▶ the day of the event's log time ──▶ ActivityCounted {day, type, n}
//! ```
//!
//! The key is a UTC day such as `2024-07-01`, the state its counters. A day is that on which the order was decided about, not that on
//! which it is counted: whoever counts later, or once more from the beginning, comes to the same numbers.
//!
//! Sums are the same in whatever order, so nothing waits behind what cannot be counted. That is kept as a dead letter: redriven, when
//! its type is counted, it counts on its own day.
//!
//! - `types`: what is counted. `days`: which day that is.
mod days;
mod types;

#[cfg(all(test, feature = "testing"))]
mod tests;

use crate::{
    runtime::{At, Decide, Head, Input, PeerEvent, Refusal, Routes, Service, Unreadable},
    services::Settings,
};
use corduroy_proto::{
    activity::{self as pb, command::Command, event::Event},
    order::{self, event::Event as OrderEvent},
};
pub use types::{ActivityType, TYPES, with_code, with_number};

/// The rules of the service; its keys are days.
#[derive(Clone, Debug)]
pub struct Activity {
    settings: Settings,
}

impl Activity {
    /// That counts the types these say.
    pub fn new(settings: Settings) -> Self {
        Activity { settings }
    }
}

impl Service for Activity {
    const NAME: &'static str = "activity";
    const LISTENS: &'static [&'static str] = &["order"];
    const PARTITIONS: u32 = 1;
    const PARKS: bool = false;

    type State = pb::Day;
    type Partition = ();
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, _head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        match &input.command.command {
            Some(Command::Count(count)) if self.counts(count.r#type) => {
                let counted = pb::ActivityCounted { day: input.key.into(), r#type: count.r#type, n: count.n };
                cx.emit(input.key, pb::Event { event: Some(Event::Counted(counted)) });
            }
            Some(Command::Count(count)) => {
                cx.fault(format!("activity type {} is none of those that are counted", types::shown(count.r#type)));
            }
            None => cx.fault("a command of no known kind"),
        }
        Ok(())
    }

    fn knows(event: &pb::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<pb::Day>, _key: &str, event: &pb::Event, _at: At) {
        let Some(Event::Counted(counted)) = &event.event else { return };
        let counters = &mut state.get_or_insert_default().counters;
        match counters.binary_search_by_key(&counted.r#type, |counter| counter.r#type) {
            Ok(place) => {
                if let Some(counter) = counters.get_mut(place) {
                    counter.quantity = counter.quantity.saturating_add(counted.n);
                }
            }
            Err(place) => counters.insert(place, pb::Counter { r#type: counted.r#type, quantity: counted.n }),
        }
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let (kind, n) = match event.decode::<order::Event>()?.event {
            Some(OrderEvent::Placed(_)) => (types::CREATED, 1),
            Some(OrderEvent::Seeded(seeded)) => (types::CREATED, share(&seeded)),
            Some(OrderEvent::Completed(_)) => (types::COMPLETED, 1),
            Some(OrderEvent::Cancelled(_)) => (types::CANCELLED, 1),
            Some(_) => return Ok(()),
            None => return Err(Unreadable("an event of order of no known kind".into())),
        };
        if n > 0 {
            let count = pb::Count { r#type: kind.number, n };
            to.to(days::of(event.source.time), pb::Command { command: Some(Command::Count(count)) });
        }
        Ok(())
    }
}

impl Activity {
    fn counts(&self, number: u32) -> bool {
        let known = types::with_number(number);
        known.is_some_and(|known| self.settings.activity_types.iter().any(|code| code == known.code))
    }
}

/// What one partition counts of the orders that all of them seed together. Which of them are its own only hashing each would tell;
/// the shares of all partitions are all of them.
fn share(seeded: &order::OrdersSeeded) -> u64 {
    let partitions = u64::from(seeded.partitions.max(1));
    let rest = u64::from(u64::from(seeded.partition) < seeded.orders % partitions);
    seeded.orders / partitions + rest
}
