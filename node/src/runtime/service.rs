//! What the author of a service writes.
//!
//! ```text
//!   a client's command ─┐
//!   a peer's event ─▶ route ─▶ decide (leader, on its head state) ─▶ events, answer, timers: ONE entry of the log
//!   a due timer ────────┘                                                 └─▶ evolve (every replica)
//! ```
use super::{Refusal, index::IndexKey, state::State};
use bytes::Bytes;
use corduroy_log::{topic::Format, world::Timestamp};
use corduroy_proto::runtime as pb;
use prost::Message;
use std::{collections::BTreeMap, time::Duration};

/// The rules for one kind of aggregate: an order, an account, an item. The keys of a service are spread over its partitions; what
/// has the same partition is decided by one leader, one after the other.
///
/// `decide` runs on the leader alone and may refuse; what it emits are facts. `evolve` folds facts on every replica and cannot
/// refuse any. `route` says which of one's own aggregates an event of a peer concerns.
///
/// The methods that have no `self` must come to the same on every replica, today and in a year: no clock, no randomness, no I/O, no
/// floats, no iteration over unordered maps. Settings are `self`'s, and may change from one start to the next: only `decide` and
/// `route` see them.
pub trait Service: Send + Sync + Sized + 'static {
    /// Its name, and the name of its topic.
    const NAME: &'static str;
    /// The services whose events it wants ([`Service::route`]).
    const LISTENS: &'static [&'static str] = &[];
    /// How many partitions its topic gets when it is made, unless the node is told otherwise.
    const PARTITIONS: u32 = 4;
    /// Whether inputs of peers and timers wait behind a dead letter of their key. `false`: they go on, for what comes to the same in
    /// whatever order.
    const PARKS: bool = true;
    /// Raise it when [`Service::index`] says something else than before: what was kept is then made anew. 0: it is not asked.
    const INDEX: u32 = 0;

    /// Of one aggregate.
    type State: Message + Default + Clone + std::fmt::Debug;
    /// What a partition keeps beside its aggregates: counters, ranges. `()`: nothing.
    type Partition: Message + Default + Clone + std::fmt::Debug;
    /// A fact. What is in the log for good: fields may be added, never changed.
    type Event: Message + Default + Clone + std::fmt::Debug;
    /// What it is asked to do, by clients, by itself (timers) and by [`Service::route`].
    type Command: Message + Default + Clone + std::fmt::Debug;
    /// What a command is answered.
    type Reply: Message + Default + Clone + std::fmt::Debug;

    /// Decides what an input comes to. `Err`: a business refusal, nothing happened.
    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal>;

    /// Takes a fact into the state of an aggregate; `None` before the first one, and whenever it is no more.
    fn evolve(state: &mut Option<Self::State>, key: &str, event: &Self::Event, at: At);

    /// Whether this build knows the fact. One that a later build has emitted is never passed over: the node halts
    /// (`UNKNOWN_ENTRY`), and goes on where it was when it is started with a build that knows it.
    fn knows(_event: &Self::Event) -> bool {
        true
    }

    /// Takes a fact into what the partition keeps.
    fn evolve_partition(_partition: &mut Self::Partition, _key: &str, _event: &Self::Event, _at: At) {}

    /// The aggregates a fact changes: the one it was emitted for, unless it says otherwise.
    fn concerns<'e>(key: &'e str, _event: &'e Self::Event) -> Vec<&'e str> {
        vec![key]
    }

    /// For services that make many aggregates at once, as a range in what the partition keeps: the state the range gives to a key,
    /// where that counts and not what is stored (`stored`).
    fn seeded(_partition: &Self::Partition, _key: &str, _stored: Option<&Self::State>) -> Option<Self::State> {
        None
    }

    /// What an aggregate is to be found by beside its key ([`Services::find`](super::Services::find)), from its state alone. Whatever
    /// changes that is a fact that concerns the aggregate. Not asked of aggregates that only a range has ([`Service::seeded`]).
    fn index(_key: &str, _state: &Self::State) -> Vec<IndexKey> {
        Vec::new()
    }

    /// Says which of its aggregates an event of a peer concerns, and as what command. An error makes the event a dead letter.
    fn route(&self, _event: &PeerEvent<'_>, _to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        Ok(())
    }
}

/// Where an event stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Its offset.
    pub offset: u64,
    /// Its log time.
    pub time: Timestamp,
}

/// The state of a partition as the leader will have it once everything it has decided is committed.
pub struct Head<'a, S: Service> {
    pub(super) state: &'a State<S>,
}

impl<S: Service> Head<'_, S> {
    /// The state of an aggregate of this partition.
    pub fn get(&self, key: &str) -> Option<S::State> {
        self.state.get(key)
    }

    /// What the partition keeps.
    pub fn partition(&self) -> &S::Partition {
        self.state.partition()
    }

    /// The aggregates an event has named whose keys begin so, in the order of their keys.
    pub fn scan(&self, prefix: &str) -> impl Iterator<Item = (String, S::State)> {
        self.state.scan(prefix, None)
    }
}

/// What is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, S: Service> {
    /// The aggregate; where `route` named none, the key it is parked by.
    pub key: &'a str,
    /// What is asked.
    pub command: &'a S::Command,
    /// By whom.
    pub origin: Origin<'a>,
    /// How often [`Decide::retry`] put it off.
    pub tries: u32,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A client; empty: nobody in particular.
    Client {
        /// Who it says it is.
        principal: &'a str,
    },
    /// An event of a peer.
    Peer(&'a pb::SourceCause),
    /// A timer.
    Timer,
}

/// An event of another service.
#[derive(Clone, Copy, Debug)]
pub struct PeerEvent<'a> {
    /// Where it stands, and when it was decided.
    pub source: &'a pb::SourceCause,
    /// The key it was emitted for.
    pub key: &'a str,
    /// As it is in the log.
    pub event: &'a Bytes,
}

impl PeerEvent<'_> {
    /// The service it is from.
    pub fn topic(&self) -> &str {
        &self.source.topic
    }

    /// The event, as one of the service it is from.
    ///
    /// # Errors
    /// It is none.
    pub fn decode<E: Message + Default>(&self) -> Result<E, Unreadable> {
        E::decode(self.event.clone()).map_err(|error| Unreadable(format!("not an event of {}: {error}", self.topic())))
    }

    /// Everything in its partition up to and with it.
    pub fn position(&self) -> pb::Position {
        pb::Position {
            topic: self.source.topic.clone(),
            partition: self.source.partition,
            offset: self.source.offset + 1,
        }
    }
}

/// Why an event cannot be routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Where this partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub partition: u32,
    /// How many its service has.
    pub partitions: u32,
    /// How many the other services of the cluster have.
    pub peers: BTreeMap<String, u32>,
    /// What every node of the cluster knows.
    pub format: Format,
}

impl Place {
    /// Whether a key belongs to this partition.
    pub fn has(&self, key: &str) -> bool {
        partition_of(key, self.partitions) == self.partition
    }
}

/// The partition of a key.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    corduroy_client::partition_for_key(key.as_bytes(), partitions)
}

/// Collects what an event of a peer comes to, here.
pub struct Routes<'a, S: Service> {
    pub(super) place: &'a Place,
    pub(super) commands: Vec<(String, S::Command)>,
}

impl<'a, S: Service> Routes<'a, S> {
    /// Of a partition.
    pub fn new(place: &'a Place) -> Self {
        Routes { place, commands: Vec::new() }
    }

    /// To one of the service's aggregates.
    pub fn to(&mut self, key: impl Into<String>, command: S::Command) {
        let key = key.into();
        if self.place.has(&key) {
            self.commands.push((key, command));
        }
    }

    /// To one of the service's partitions. What comes later with the same key waits while this is a dead letter.
    pub fn to_partition(&mut self, partition: u32, key: impl Into<String>, command: S::Command) {
        if self.place.partition == partition {
            self.commands.push((key.into(), command));
        }
    }

    /// To each of the service's partitions. What comes later with the same key waits while this is a dead letter.
    pub fn to_each(&mut self, key: impl Into<String>, command: S::Command) {
        self.commands.push((key.into(), command));
    }

    /// What was collected for this partition.
    pub fn taken(&self) -> &[(String, S::Command)] {
        &self.commands
    }
}

/// Names a command that is answered later, by [`Decide::reply_to`]. Keep it in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub [u8; 16]);

impl Ticket {
    /// For an event.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// From an event.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Ticket(bytes.try_into().ok()?))
    }
}

type Later<S> = Box<dyn FnOnce(&Head<'_, S>) -> <S as Service>::Reply + Send>;

/// What a command is to be answered.
pub(super) enum Reply<S: Service> {
    Now(S::Reply),
    /// From the state as it is when the events have been taken.
    Later(Later<S>),
    No(Refusal),
}

/// Why an input is to be a dead letter.
#[derive(Debug)]
pub(super) struct Fault {
    /// Of those a dead letter may have.
    pub reason: &'static str,
    /// For people.
    pub why: String,
}

impl Fault {
    /// A defect, of the input or of the rules.
    pub fn new(why: String) -> Self {
        Fault { reason: "fault", why }
    }
}

/// What an input came to, as long as it is only that.
pub(super) struct Outcome<S: Service> {
    pub events: Vec<(String, S::Event)>,
    pub answers: Vec<(Ticket, Reply<S>)>,
    pub positions: Vec<pb::Position>,
    pub timers: Vec<pb::Timer>,
    pub cancelled: Vec<u64>,
    pub deferred: bool,
    pub retry: Option<Duration>,
    pub fault: Option<Fault>,
}

impl<S: Service> Default for Outcome<S> {
    fn default() -> Self {
        Outcome {
            events: Vec::new(),
            answers: Vec::new(),
            positions: Vec::new(),
            timers: Vec::new(),
            cancelled: Vec::new(),
            deferred: false,
            retry: None,
            fault: None,
        }
    }
}

/// What a decision may say. Nothing of it happens before `decide` returns, and nothing after it refused or called
/// [`Decide::fault`], [`Decide::exhaust`] or [`Decide::retry`].
pub struct Decide<'a, S: Service> {
    pub(super) place: &'a Place,
    pub(super) now: Timestamp,
    pub(super) random: &'a mut dyn FnMut() -> u64,
    pub(super) ticket: Option<Ticket>,
    pub(super) next_timer: u64,
    pub(super) outcome: Outcome<S>,
}

impl<S: Service> Decide<'_, S> {
    /// Log time: the one its events will have.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Random bits. What was made of them must be in an event.
    pub fn random(&mut self) -> u64 {
        (self.random)()
    }

    /// Where this is decided.
    pub fn place(&self) -> &Place {
        self.place
    }

    /// The format of events that every node of the cluster knows, from now on. An event of a kind that came with a later one must not
    /// be emitted: replicas and subscribers of an earlier build would halt.
    pub fn format(&self) -> Format {
        self.place.format
    }

    /// Emits a fact about an aggregate of this partition.
    pub fn emit(&mut self, key: impl Into<String>, event: S::Event) {
        self.outcome.events.push((key.into(), event));
    }

    /// Answers the command that is being decided.
    pub fn reply(&mut self, reply: S::Reply) {
        self.answer(self.ticket, Reply::Now(reply));
    }

    /// Answers it from the state as it is with what was decided.
    pub fn reply_with(&mut self, reply: impl FnOnce(&Head<'_, S>) -> S::Reply + Send + 'static) {
        self.answer(self.ticket, Reply::Later(Box::new(reply)));
    }

    /// The command that is being decided gets its answer later. `None`: it is none of a client's.
    pub fn defer(&mut self) -> Option<Ticket> {
        self.outcome.deferred = true;
        self.ticket
    }

    /// Answers a command that was deferred, from the state as it is with what was decided.
    pub fn reply_to(&mut self, ticket: Ticket, reply: impl FnOnce(&Head<'_, S>) -> S::Reply + Send + 'static) {
        self.answer(Some(ticket), Reply::Later(Box::new(reply)));
    }

    /// Refuses a command that was deferred.
    pub fn refuse_to(&mut self, ticket: Ticket, refusal: Refusal) {
        self.answer(Some(ticket), Reply::No(refusal));
    }

    fn answer(&mut self, ticket: Option<Ticket>, reply: Reply<S>) {
        self.outcome.answers.extend(ticket.map(|ticket| (ticket, reply)));
    }

    /// The answers rest on this: a read that has seen it sees their result.
    pub fn rests_on(&mut self, position: pb::Position) {
        self.outcome.positions.push(position);
    }

    /// Gives itself a command after so much log time. The timer is a fact: it survives everything the log survives.
    pub fn after(&mut self, duration: Duration, key: impl Into<String>, command: &S::Command) -> u64 {
        let id = self.next_timer + self.outcome.timers.len() as u64;
        let due = self.now.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        let command = command.encode_to_vec().into();
        self.outcome.timers.push(pb::Timer { id, due, key: key.into(), command, tries: 0, source: None });
        id
    }

    /// Takes a timer back. One that has fired is no matter.
    pub fn cancel(&mut self, timer: u64) {
        self.outcome.cancelled.push(timer);
    }

    /// Nothing happens now; the input comes again after so much log time. For what will be well by itself.
    pub fn retry(&mut self, after: Duration) {
        self.outcome.retry = Some(after);
    }

    /// It was put off often enough: nothing happens, and the input becomes a dead letter (`exhausted`).
    pub fn exhaust(&mut self, why: impl Into<String>) {
        self.outcome.fault = Some(Fault { reason: "exhausted", why: why.into() });
    }

    /// This cannot be decided, now or later: nothing happens, and the input becomes a dead letter.
    pub fn fault(&mut self, why: impl Into<String>) {
        self.outcome.fault = Some(Fault::new(why.into()));
    }
}
