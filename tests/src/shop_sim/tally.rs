//! What happened, in numbers: a run in which nothing happens proves nothing.
use super::plan::Kind;
use std::{collections::BTreeMap, fmt};

/// So many seeds together must have seen everything at least once.
pub const MANY: u64 = 30;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A fault was done, and was felt.
    Fault(Kind),
    /// A node that was to die had commands under way in its cluster.
    Interrupted,
    /// A command was answered.
    Answered,
    /// The outcome of a command stayed unknown.
    Unknown,
    /// A command was sent again, elsewhere, and got the answer it had.
    Repeated,
    /// A command was sent twice at once, to two nodes, and got one answer.
    Doubled,
    /// Another command under an id that was used was turned away.
    Mismatched,
    /// A till refused something.
    Forbidden,
    /// A timer fired.
    Audited,
    /// An order was confirmed.
    Confirmed,
    /// A checkout was refused for want of money.
    OutOfCredit,
    /// A checkout was refused for want of pieces.
    OutOfStock,
    /// A checkout came to its deadline.
    TimedOut,
    /// An order was cancelled.
    Cancelled,
    /// A replica was restored from a checkpoint.
    Restored,
    /// What was decided before was proposed again, and did not count.
    Void,
}

impl Event {
    /// What happens whatever the load is.
    const ALWAYS: [Event; 6] =
        [Event::Interrupted, Event::Answered, Event::Repeated, Event::Mismatched, Event::Restored, Event::Void];
    /// What happens with tills.
    const TILLS: [Event; 3] = [Event::Doubled, Event::Forbidden, Event::Audited];
    /// What happens with checkouts.
    const CHECKOUT: [Event; 4] = [Event::Confirmed, Event::OutOfCredit, Event::OutOfStock, Event::Cancelled];
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Event, u64>);

impl Tally {
    pub(super) fn note(&mut self, event: Event, times: u64) {
        *self.0.entry(event).or_default() += times;
    }

    /// How often something happened.
    pub fn of(&self, event: Event) -> u64 {
        self.0.get(&event).copied().unwrap_or_default()
    }

    /// Faults of all kinds.
    pub fn faults(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.of(Event::Fault(kind))).sum()
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Tally) {
        for (event, times) in &other.0 {
            self.note(*event, *times);
        }
    }

    /// What has to happen in many runs together, and did not.
    pub fn missing(&self, loads: &[super::Load]) -> Vec<Event> {
        let mut expected: Vec<Event> = Event::ALWAYS.into();
        expected.extend(Kind::ALL.into_iter().map(Event::Fault));
        for load in loads {
            match load {
                super::Load::Tills => expected.extend(Event::TILLS),
                super::Load::Checkout => expected.extend(Event::CHECKOUT),
            }
        }
        expected.retain(|event| self.of(*event) == 0);
        expected
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (event, times) in &self.0 {
            writeln!(f, "{times:>8}  {event:?}")?;
        }
        Ok(())
    }
}
