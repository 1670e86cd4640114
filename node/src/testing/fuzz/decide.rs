//! A leader and a replica of a service that does all a service may do, and some it should not.
use super::number;
use crate::runtime::{
    At, Decide, Decider, Evolver, Head, Input, PeerEvent, Place, Refusal, Replica, Routes, Service, Taken, Ticket,
    Unreadable,
};
use arbitrary::Unstructured;
use corduroy_log::{
    Evolving, Machine as _, Record,
    config::Limits,
    testing::{Folding, SimWorld},
    topic::LogId,
    world::Timestamp,
};
use corduroy_proto::runtime as pb;
use prost::Message as _;
use std::{collections::BTreeMap, panic, sync::Arc, time::Duration};

/// Adds up, for each key and for the partition, and does what its commands say beside it.
struct Wild;

/// A fact that cannot be taken.
const POISON: u64 = 13;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, PartialEq, prost::Message)]
struct Act {
    #[prost(uint64, tag = "1")]
    what: u64,
    #[prost(uint64, tag = "2")]
    amount: u64,
    #[prost(string, tag = "3")]
    other: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sum {
    #[prost(uint64, tag = "1")]
    sum: u64,
    #[prost(bytes = "vec", tag = "2")]
    waits: Vec<u8>,
}

/// An amount; with a command that waits for a later one.
#[derive(Clone, PartialEq, prost::Message)]
struct Added {
    #[prost(uint64, tag = "1")]
    amount: u64,
    #[prost(bytes = "vec", tag = "2")]
    waits: Vec<u8>,
}

impl Service for Wild {
    const NAME: &'static str = "wild";
    type State = Sum;
    type Partition = Sum;
    type Event = Added;
    type Command = Act;
    type Reply = Sum;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let Act { what, amount, other } = input.command;
        let add = |amount| Added { amount, waits: Vec::new() };
        match what {
            0 => return Err(Refusal::new("no", "it says no")),
            1 => panic!("a rule that fails"),
            2 => cx.emit(input.key, add(POISON)),
            3 => cx.fault("it gives up"),
            4 => cx.retry(Duration::from_secs(1)),
            5 => cx.cancel(*amount % 8),
            6 => drop(cx.after(
                Duration::from_secs(*amount % 4),
                other.as_str(),
                &Act { what: 7, ..input.command.clone() },
            )),
            8 => {
                if let Some(ticket) = cx.defer() {
                    cx.emit(input.key, Added { amount: 0, waits: ticket.0.to_vec() });
                }
            }
            9 => {
                let waits = head.get(input.key).unwrap_or_default().waits;
                if let Some(ticket) = Ticket::from_bytes(&waits) {
                    cx.emit(input.key, add(*amount % 100));
                    let key = input.key.to_owned();
                    cx.reply_to(ticket, move |head| head.get(&key).unwrap_or_default());
                }
            }
            10 => cx.reply_with(|_| panic!("an answer that fails")),
            _ => {
                // Several keys at once.
                cx.emit(input.key, add(*amount % 100));
                let drawn = cx.random() % 3;
                cx.emit(other.as_str(), add(drawn));
            }
        }
        Ok(())
    }

    fn evolve(state: &mut Option<Sum>, _: &str, event: &Added, _: At) {
        assert_ne!(event.amount, POISON, "a fact that cannot be taken");
        let sum = state.get_or_insert_default();
        (sum.sum, sum.waits) = (sum.sum + event.amount, event.waits.clone());
    }

    fn evolve_partition(partition: &mut Sum, _: &str, event: &Added, _: At) {
        partition.sum += event.amount;
    }

    /// An event comes to two commands.
    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let act: Act = event.decode()?;
        assert_ne!(act.amount, POISON, "a way that fails");
        to.to(event.key, act.clone());
        to.to(act.other.clone(), Act { what: 7, ..act });
        Ok(())
    }
}

/// A leader, what evolves, and what is still to come.
struct World<'a, 'b> {
    input: &'a mut Unstructured<'b>,
    leader: Decider<Wild>,
    replica: Arc<Replica<Wild, ()>>,
    machine: Evolver<SimWorld, Wild, ()>,
    now: u64,
    /// Numbers of commands, of events and of batches.
    commands: u64,
    events: u64,
    sequence: u64,
    index: u64,
}

/// See the module of targets.
pub fn decide(data: &[u8]) {
    quietly(|| {
        let mut input = Unstructured::new(data);
        let replica = Arc::new(Replica::new(0, 0));
        let place = Place { partition: 0, partitions: 1, ..Place::default() };
        let limits = Limits { record_bytes: 256, batch_bytes: 4096, ..Limits::default() };
        let max_age = (number(&mut input, 2) == 1).then_some(Duration::from_secs(5));
        let mut drawn = 0;
        let draw = move || {
            drawn += 1;
            drawn
        };
        let leader = Decider::new(Arc::new(Wild), place, replica.state(), &limits, draw).max_age(max_age);
        let machine = Evolver::new(replica.clone());
        let (now, commands, events, sequence, index) = (10_000_000, 0, 0, 0, 0);
        let mut world = World { input: &mut input, leader, replica, machine, now, commands, events, sequence, index };
        for _ in 0..number(world.input, 40) {
            world.batch();
        }
    });
}

impl World<'_, '_> {
    fn batch(&mut self) {
        self.now += number(self.input, 3) as u64 * 1_000_000;
        self.leader.begin(Timestamp(self.now));
        for _ in 0..1 + number(self.input, 6) {
            if self.one() == Taken::Poison {
                // As a leader does: what was not sealed is lost.
                self.leader.replace_head(self.replica.state());
                self.leader.begin(Timestamp(self.now));
            }
        }
        let (batch, commands) = self.leader.seal(1, self.sequence, BTreeMap::new(), true);
        if number(self.input, 5) == 0 {
            // Its leader was deposed: it is void, and nobody evolves it.
            self.leader.replace_head(self.replica.state());
        } else {
            let id = LogId { term: 1, index: self.index + 1 };
            let sealed = Folding::decided(&batch);
            self.machine.evolve(Evolving { id, base: self.replica.state().end(), batch: &sealed });
            self.leader.settled(&commands);
            (self.index, self.sequence) = (id.index, self.sequence + 1);
        }
        let (state, head) = (self.replica.state(), self.leader.head());
        assert_eq!((state.hash(), state.end()), (head.hash(), head.end()), "what evolved is not what was decided");
        let sum: u64 = state.scan("", None).map(|(_, state)| state.sum).sum();
        assert_eq!(sum, state.partition().sum, "something was taken in part");
        for (key, inputs) in state.parked() {
            assert!(!inputs.is_empty() && state.is_blocked(key));
        }
    }

    fn act(&mut self) -> Act {
        let what = number(self.input, 14) as u64;
        Act { what, amount: number(self.input, 200) as u64, other: self.key().into() }
    }

    fn key(&mut self) -> &'static str {
        KEYS[number(self.input, KEYS.len())]
    }

    /// Some of the input's own bytes, which may mean nothing.
    fn bytes(&mut self) -> Vec<u8> {
        let len = number(self.input, 16).min(self.input.len());
        self.input.bytes(len).unwrap_or_default().to_vec()
    }

    fn encoded(&mut self) -> Vec<u8> {
        if number(self.input, 8) == 0 { self.bytes() } else { self.act().encode_to_vec() }
    }

    fn cause(&mut self) -> pb::CommandCause {
        self.commands += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.commands.to_le_bytes());
        let (key, expires) = (self.key().into(), self.now + 60_000_000);
        pb::CommandCause { id: Ticket(id).to_bytes(), fingerprint: 1, expires, key, ..pb::CommandCause::default() }
    }

    /// One input, as a leader meets them.
    fn one(&mut self) -> Taken {
        match number(self.input, 8) {
            0 => self.leader.unparked().unwrap_or(Taken::Yes),
            1 => match self.leader.head().due(Timestamp(self.now)) {
                Some(timer) => self.leader.timer(&timer),
                None => Taken::Yes,
            },
            2 => {
                let (cause, letter) = (self.cause(), number(self.input, 6) as u64);
                self.leader.redrive(cause, letter)
            }
            3 => {
                let (cause, letter) = (self.cause(), number(self.input, 6) as u64);
                self.leader.discard(cause, letter, "why not".into())
            }
            4 | 5 => {
                let (offset, time) = (self.events, self.now.saturating_sub(number(self.input, 10) as u64 * 1_000_000));
                self.events += 1;
                let (key, value) = (Some(self.key().into()), self.encoded().into());
                let record = Record { offset, time: Timestamp(time), key, headers: Vec::new(), value };
                let source = pb::SourceCause { topic: "peer".into(), partition: 0, offset, time };
                self.leader.event(&source, &record)
            }
            _ => {
                let (cause, command) = (self.cause(), self.encoded().into());
                self.leader.command(cause, &command)
            }
        }
    }
}

/// Rules that fail are caught, and are not worth a line each. A promise that is broken still ends the run with its words.
fn quietly(run: impl FnOnce() + panic::UnwindSafe) {
    thread_local!(static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = panic::catch_unwind(run);
    QUIET.set(false);
    if let Err(panic) = outcome {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        panic!("{}", words.unwrap_or_default());
    }
}
