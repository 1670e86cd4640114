//! Two small services. A *till* adds up what is paid into it; a *ledger* reads the tills, and sets a timer for each thing it books.
//!
//! They check themselves, on every replica. Each event says what its decider took the sum for: a decider that went by a state it did
//! not have is caught where the sums come out right, too. Log time must not go back, and timers must fire when they are due and in
//! the order in which they are.
use corduroy_node::runtime::{At, Decide, Head, Input, PeerEvent, Refusal, Routes, Service, Unreadable};
use std::time::Duration;

/// What a till has taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sum {
    /// All amounts.
    #[prost(uint64, tag = "1")]
    pub paid: u64,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub times: u64,
    /// A decider took the sum for something else.
    #[prost(bool, tag = "3")]
    pub stale: bool,
    /// Log time of the last payment.
    #[prost(uint64, tag = "4")]
    pub last: u64,
    /// Log time has gone back.
    #[prost(bool, tag = "5")]
    pub backwards: bool,
}

/// Something was paid into a till.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Paid {
    /// So much.
    #[prost(uint64, tag = "1")]
    pub amount: u64,
    /// What the decider believed was there before.
    #[prost(uint64, tag = "2")]
    pub before: u64,
}

/// Pay something into a till.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pay {
    /// So much.
    #[prost(uint64, tag = "1")]
    pub amount: u64,
}

/// The service of tills.
#[derive(Clone, Copy, Debug, Default)]
pub struct Till;

/// Cannot be paid.
pub const FORBIDDEN: u64 = 13;
/// Makes a rule panic.
pub const POISON: u64 = 666;
/// Makes a fact that cannot be taken.
pub const POISON_FACT: u64 = 667;

impl Service for Till {
    const NAME: &'static str = "till";
    const PARTITIONS: u32 = 2;
    type State = Sum;
    type Partition = Sum;
    type Event = Paid;
    type Command = Pay;
    type Reply = Sum;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let (amount, before) = (input.command.amount, head.get(input.key).unwrap_or_default().paid);
        match amount {
            FORBIDDEN => return Err(Refusal::new("forbidden", "this is not taken").number("amount", 13)),
            POISON => panic!("a rule that cannot do this"),
            _ => {}
        }
        cx.emit(input.key, Paid { amount, before });
        let key = input.key.to_owned();
        cx.reply_with(move |head| head.get(&key).unwrap_or_default());
        Ok(())
    }

    fn evolve(state: &mut Option<Sum>, _key: &str, event: &Paid, at: At) {
        assert_ne!(event.amount, POISON_FACT, "a fact that cannot be taken");
        let sum = state.get_or_insert_default();
        sum.stale |= sum.paid != event.before;
        sum.take(event, at);
    }

    fn evolve_partition(partition: &mut Sum, _key: &str, event: &Paid, at: At) {
        partition.take(event, at);
    }
}

impl Sum {
    fn take(&mut self, event: &Paid, at: At) {
        (self.paid, self.times) = (self.paid + event.amount, self.times + 1);
        self.backwards |= at.time.0 < self.last;
        self.last = at.time.0;
    }
}

/// Something of a till was booked, or audited.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Booked {
    /// So much.
    #[prost(uint64, tag = "1")]
    pub amount: u64,
    /// It is what a timer said of it.
    #[prost(bool, tag = "2")]
    pub audited: bool,
    /// What the decider believed was booked before.
    #[prost(uint64, tag = "3")]
    pub before: u64,
    /// When that timer was due.
    #[prost(uint64, tag = "4")]
    pub due: u64,
}

/// What the ledger keeps of a till.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Page {
    /// All amounts.
    #[prost(uint64, tag = "1")]
    pub paid: u64,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub times: u64,
    /// How many of them a timer came for.
    #[prost(uint64, tag = "3")]
    pub audits: u64,
    /// A decider took the sum for something else.
    #[prost(bool, tag = "4")]
    pub stale: bool,
}

/// Timers of one partition of the ledger.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rota {
    /// When the one that fired last was due.
    #[prost(uint64, tag = "1")]
    pub due: u64,
    /// One fired before it was due, or after one that was due later.
    #[prost(bool, tag = "2")]
    pub disordered: bool,
}

/// The service of the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger;

impl Service for Ledger {
    const NAME: &'static str = "ledger";
    const LISTENS: &'static [&'static str] = &["till"];
    const PARTITIONS: u32 = 2;
    type State = Page;
    type Partition = Rota;
    type Event = Booked;
    type Command = Booked;
    type Reply = ();

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let before = head.get(input.key).unwrap_or_default().paid;
        if !input.command.audited {
            // Some that are set later are due earlier.
            let wait = Duration::from_millis(150 + input.command.amount % 5 * 80);
            let due = cx.now().0 + wait.as_micros() as u64;
            cx.after(wait, input.key, &Booked { audited: true, due, ..*input.command });
        }
        cx.emit(input.key, Booked { before, ..*input.command });
        Ok(())
    }

    fn evolve(state: &mut Option<Page>, _key: &str, event: &Booked, _at: At) {
        let page = state.get_or_insert_default();
        page.stale |= page.paid != event.before;
        if event.audited {
            page.audits += 1;
        } else {
            (page.paid, page.times) = (page.paid + event.amount, page.times + 1);
        }
    }

    fn evolve_partition(rota: &mut Rota, _key: &str, event: &Booked, at: At) {
        if event.audited {
            rota.disordered |= event.due < rota.due || event.due > at.time.0;
            rota.due = event.due;
        }
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let paid: Paid = event.decode()?;
        to.to(event.key, Booked { amount: paid.amount, ..Booked::default() });
        Ok(())
    }
}
