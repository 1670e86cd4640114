//! The account service: everything that concerns a customer, in one sequence.
//!
//! ```text
//!   order ────┐
//!   payment ──┼──▶ route: whom does it concern? ──▶ CustomerEvent {customer, seq, source, ...}
//!   voucher ──┘
//! ```
//!
//! A view of the customer that is itself a log: whoever reads it, whenever, sees the same events in the same order. The key is the
//! customer's id, which is also the id of its account with payment. Nobody waits for it, and it holds nothing.
//!
//! Of a customer it keeps the latest orders and where the latest events are; the events themselves are the records of its topic.
//! Customers and orders that are seeded are no events of anybody: a seed is a range that the partition keeps.
//!
//! - `route`: which events concern whom, and how. `fold`: what facts change. `seeds`: many at once.
//!
//! **Invariant**: `seq` counts the events of a customer from 1, without gaps (INV-20).
mod fold;
mod route;
mod seeds;

#[cfg(all(test, feature = "testing"))]
mod tests;

use crate::runtime::{At, Decide, Head, Input, Origin, PeerEvent, Refusal, Routes, Service, Unreadable};
use corduroy_proto::account::{self as pb, command::Command, event::Event, seed::What};
pub use fold::{EVENTS, ORDERS};

/// Characters of a name, or of how to reach somebody.
const MAX_TEXT: usize = 500;
/// What seeds are for: no customer has a slash.
const SEED: &str = "/seed";

/// The rules of the service; its keys are customer ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account;

impl Service for Account {
    const NAME: &'static str = "account";
    const LISTENS: &'static [&'static str] = &["order", "payment", "voucher"];
    const PARTITIONS: u32 = 4;

    type State = pb::Account;
    type Partition = pb::Partition;
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        match &input.command.command {
            Some(Command::Note(note)) => self::note(head, input.key, note, cx),
            Some(Command::Seed(seed)) => self::seed(seed, cx),
            Some(Command::SetProfile(profile)) => set_profile(head, input.key, profile, input.origin, cx)?,
            None => cx.fault("a command of no known kind"),
        }
        Ok(())
    }

    fn knows(event: &pb::Event) -> bool {
        match &event.event {
            Some(Event::Customer(_)) => true,
            Some(Event::Seeded(seed)) => seed.what.is_some(),
            None => false,
        }
    }

    fn evolve(state: &mut Option<pb::Account>, _key: &str, event: &pb::Event, at: At) {
        if let Some(Event::Customer(event)) = &event.event {
            fold::evolve(state, event, at);
        }
    }

    fn evolve_partition(partition: &mut pb::Partition, _key: &str, event: &pb::Event, at: At) {
        if let Some(Event::Seeded(seed)) = &event.event {
            seeds::add(partition, seed, at);
        }
    }

    fn concerns<'e>(key: &'e str, event: &'e pb::Event) -> Vec<&'e str> {
        match &event.event {
            Some(Event::Seeded(_)) => Vec::new(),
            _ => vec![key],
        }
    }

    fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::Account>) -> Option<pb::Account> {
        seeds::seeded(partition, key, stored)
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        route::route(event, to)
    }
}

/// Appends an event to a customer's sequence.
fn note(head: &Head<'_, Account>, customer: &str, note: &pb::Note, cx: &mut Decide<'_, Account>) {
    let account = head.get(customer).unwrap_or_default();
    let returned = (note.returned != 0).then(|| account.balance.saturating_add(note.returned));
    let event = pb::CustomerEvent {
        source: note.source.clone(),
        name: note.name.clone(),
        subjects: note.subjects.clone(),
        order: note.order.clone(),
        balance: note.balance.or(returned),
        voucher: note.voucher.clone(),
        ..next(customer, &account)
    };
    cx.emit(customer, pb::Event { event: Some(Event::Customer(event)) });
}

/// The next event of a customer, which says nothing yet.
fn next(customer: &str, account: &pb::Account) -> pb::CustomerEvent {
    pb::CustomerEvent { customer: customer.into(), seq: account.seq.saturating_add(1), ..pb::CustomerEvent::default() }
}

/// Whose they are has to be known to all who fold it.
fn seed(seed: &pb::Seed, cx: &mut Decide<'_, Account>) {
    let topic = match &seed.what {
        Some(What::Users(_)) => "payment",
        Some(What::Orders(_)) => "order",
        None => return cx.fault("a seed of no known kind"),
    };
    let looked_up = cx.place().peers.get(topic).copied().unwrap_or_default();
    let partitions = if seed.partitions == 0 { looked_up } else { seed.partitions };
    if partitions == 0 {
        return cx.fault(format!("nobody knows how many partitions {topic} has"));
    }
    let seed = pb::Seed { partitions, ..*seed };
    cx.emit(SEED, pb::Event { event: Some(Event::Seeded(seed)) });
}

fn set_profile(
    head: &Head<'_, Account>,
    customer: &str,
    profile: &pb::Profile,
    origin: Origin<'_>,
    cx: &mut Decide<'_, Account>,
) -> Result<(), Refusal> {
    if !matches!(origin, Origin::Client { .. }) {
        cx.fault("nobody but a client has a profile set");
        return Ok(());
    }
    for (path, text) in [("displayName", &profile.display_name), ("contact", &profile.contact)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT) {
            let reason = format!("it has more than {MAX_TEXT} characters");
            return Err(Refusal::new("rule-violated", reason).text("path", path));
        }
    }
    let unknown = || Refusal::new("unknown-user", "nothing has ever concerned this customer").text("id", customer);
    let account = head.get(customer).ok_or_else(unknown)?;
    // What changes nothing is no event.
    if account.profile.clone().unwrap_or_default() != *profile {
        let (name, profile) = ("ProfileChanged".to_owned(), Some(profile.clone()));
        let event = pb::CustomerEvent { name, profile, ..next(customer, &account) };
        cx.emit(customer, pb::Event { event: Some(Event::Customer(event)) });
    }
    cx.reply(pb::Reply { profile: Some(profile.clone()) });
    Ok(())
}
