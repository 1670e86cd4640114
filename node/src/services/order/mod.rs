//! The order service: orders, and the saga of their checkout.
//!
//! ```text
//!   value order:  ──place──▶ Confirmed ──deliver──▶ Delivered              (Confirmed ──cancel──▶ Cancelled)
//!   item order:   ──place──▶ Open ──checkout──▶ Reserving ──all held──▶ Confirmed ──deliver──▶ Delivered
//!                             ▲                     │ refused, deadline or cancel
//!                             └────rejected──── Releasing ──cancel was asked──▶ Cancelled
//!                 Open ──cancel──▶ Cancelled
//! ```
//!
//! The saga is the order itself. It knows which participants were asked and what each has said, so whoever leads the
//! partition next goes on with it and asks nobody. Up to [`OrderConfirmed`](corduroy_proto::order::OrderConfirmed)
//! everything can be given back; after it everything will be posted.
//!
//! - `names`: orderRefs and the keys of aliases. `view`: what an order is called outside. `index`: what it is found by.
//! - `subjects`: what its events are called in notifications.
//! - `work`: an order while something is decided about it.
//! - `place`, `lines`, `deliver`, `seed`: what clients ask of an order; and what its delivery earns.
//! - `checkout`, `answers`, `release`, `cancel`: the saga, forward and back. `route`: what participants say.
//! - `evolve`: the fold. `refusals`: the ways to say no.
//!
//! **Invariant**: a new attempt begins only from Open, and an order is Open only while nothing is held for it.
mod answers;
mod cancel;
mod checkout;
mod deliver;
mod evolve;
mod index;
mod lines;
mod names;
mod place;
mod refusals;
mod release;
mod route;
mod seed;
pub mod subjects;
mod view;
mod work;

#[cfg(all(test, feature = "testing"))]
mod tests;

pub use index::{of_customer, of_status};
pub use lines::sum_or_max as total_of;
pub use names::{DUE, due_key, order_ref, parse_ref, partition_of_ref, ref_key};
pub use view::{status_name, status_s1, status_s3, status_text, status_word, step, total};
pub use work::name as participant_name;

use super::Settings;
use crate::runtime::{At, Decide, Head, IndexKey, Input, PeerEvent, Refusal, Routes, Service, Unreadable};
use corduroy_proto::order as pb;
use pb::{command::Command, event::Event};
use work::Work;

/// The rules. An aggregate is an order, by its id, or an alias that leads to one: by its number ([`ref_key`]), or as
/// one that is still to be delivered ([`due_key`]).
#[derive(Clone, Debug)]
pub struct Order {
    settings: Settings,
}

impl Order {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        Order { settings }
    }
}

impl Service for Order {
    const NAME: &'static str = "order";
    const LISTENS: &'static [&'static str] = &["payment", "stock", "delivery", "voucher"];
    const PARTITIONS: u32 = 4;
    const INDEX: u32 = index::VERSION;

    type State = pb::State;
    type Partition = pb::Partition;
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let settings = &self.settings;
        let Some(command) = &input.command.command else {
            cx.fault("a command of no kind that is known");
            return Ok(());
        };
        let order = match (command, work::find(head, input.key)) {
            (Command::Place(place), order) => return place::place(settings, head, input.key, place, order, cx),
            (Command::Seed(seed), _) => return seed::seed(head, seed, cx),
            (_, Some(order)) => order,
            // An order is never taken away: what is said of one that is not there is said of another incarnation.
            (Command::Answer(_) | Command::Deadline(_) | Command::ReleaseWait(_) | Command::LinkVoucher(_), None) => {
                return Ok(());
            }
            (_, None) => return Err(refusals::unknown_order(input.key)),
        };
        let mut work = Work::new(head, input.key, order, cx);
        match command {
            Command::AddLine(line) => lines::add(settings, &mut work, line)?,
            Command::RemoveLine(item) => lines::remove(&mut work, item)?,
            Command::Checkout(checkout) => checkout::checkout(settings, &mut work, checkout)?,
            Command::MarkDelivered(_) => deliver::deliver(settings, &mut work)?,
            Command::Cancel(_) => cancel::cancel(settings, &mut work)?,
            Command::Answer(answer) => answers::answer(settings, &mut work, answer),
            Command::Deadline(timer) => release::deadline(settings, &mut work, timer),
            Command::ReleaseWait(timer) => release::release_wait(&mut work, timer),
            Command::LinkVoucher(linked) => deliver::link(&mut work, linked),
            Command::Place(_) | Command::Seed(_) => {}
        }
        Ok(())
    }

    fn knows(event: &Self::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<Self::State>, key: &str, event: &Self::Event, at: At) {
        evolve::evolve(state, key, event, at);
    }

    fn evolve_partition(partition: &mut Self::Partition, _key: &str, event: &Self::Event, at: At) {
        evolve::partition(partition, event, at);
    }

    fn concerns<'e>(key: &'e str, event: &'e Self::Event) -> Vec<&'e str> {
        let aliases = match &event.event {
            Some(Event::Seeded(seeded)) => return seeded.replaced.iter().map(String::as_str).collect(),
            Some(Event::Placed(placed)) => [placed.ref_key.as_str(), &placed.due_key],
            Some(Event::Confirmed(confirmed)) => [confirmed.due_key.as_str(), ""],
            Some(Event::Delivered(delivered)) => [delivered.due_key.as_str(), ""],
            Some(Event::Cancelled(cancelled)) => [cancelled.due_key.as_str(), ""],
            _ => ["", ""],
        };
        std::iter::once(key).chain(aliases.into_iter().filter(|alias| !alias.is_empty())).collect()
    }

    fn seeded(partition: &Self::Partition, key: &str, stored: Option<&Self::State>) -> Option<Self::State> {
        seed::seeded(partition, key, stored)
    }

    fn index(_key: &str, state: &Self::State) -> Vec<IndexKey> {
        index::of(state)
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        route::route(event, to)
    }
}
