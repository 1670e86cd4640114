//! Rules by themselves, for tests: given these events, when this is asked, then that happens.
use super::{
    Refusal,
    decider::{Decided, again, ask},
    service::{Head, Input, Origin, PeerEvent, Place, Reply, Routes, Service, Ticket, Unreadable},
    state::State,
};
use bytes::Bytes;
use corduroy_log::world::Timestamp;
use corduroy_proto::runtime as pb;
use prost::Message;
use std::{fmt, time::Duration};

/// One partition of a service, without a log: what is decided has happened.
///
/// ```
/// use corduroy_node::{runtime::*, testing::Rules};
///
/// /// Counts.
/// struct Counter;
///
/// impl Service for Counter {
///     const NAME: &'static str = "counter";
///     type State = u64;
///     type Partition = ();
///     type Event = u64;
///     type Command = u64;
///     type Reply = u64;
///
///     fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
///         if *input.command == 0 {
///             return Err(Refusal::new("nothing", "adds nothing"));
///         }
///         cx.emit(input.key, *input.command);
///         cx.reply(head.get(input.key).unwrap_or_default() + input.command);
///         Ok(())
///     }
///
///     fn evolve(state: &mut Option<u64>, _key: &str, event: &u64, _at: At) {
///         *state = Some(state.unwrap_or_default() + event);
///     }
/// }
///
/// let mut rules = Rules::new(Counter).given("a", &[2, 3]);
/// let then = rules.when("a", &4);
/// assert_eq!((then.events(), then.reply()), (vec![4], Some(9)));
/// assert_eq!(rules.when("a", &0).refusal().unwrap().name(), "nothing");
/// assert_eq!(rules.state("a"), Some(9));
/// ```
pub struct Rules<S: Service> {
    service: S,
    place: Place,
    state: State<S>,
    now: Timestamp,
    random: u64,
    commands: u64,
}

/// What came of an input.
pub struct Then<S: Service> {
    ticket: Ticket,
    refusal: Option<Refusal>,
    events: Vec<(String, Bytes)>,
    answers: Vec<(Ticket, Result<S::Reply, Refusal>)>,
    deferred: bool,
    fault: Option<(&'static str, String)>,
    retry: Option<Duration>,
}

impl<S: Service> Rules<S> {
    /// The only partition of a service, in a cluster of nothing else.
    pub fn new(service: S) -> Self {
        let place = Place { partition: 0, partitions: 1, ..Place::default() };
        Rules { service, place, state: State::default(), now: Timestamp(1_000_000), random: 1, commands: 0 }
    }

    /// As another partition, or among other services.
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Log time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Sets log time, which timers do not notice: see [`Rules::wait`].
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// These have happened to an aggregate.
    pub fn given(mut self, key: &str, events: &[S::Event]) -> Self {
        self.state.begin(self.now);
        events.iter().for_each(|event| self.state.take_event(key, event));
        self
    }

    /// A client asks.
    pub fn when(&mut self, key: &str, command: &S::Command) -> Then<S> {
        self.commands += 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.commands.to_be_bytes());
        self.decide(key, command, Origin::Client { principal: "" }, 0, Some(Ticket(id)), &pb::Step::default())
    }

    /// A peer tells. What it comes to here, in order; each is decided after the one before it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn tell(
        &mut self,
        topic: &str,
        partition: u32,
        offset: u64,
        key: &str,
        event: &impl Message,
    ) -> Result<Vec<Then<S>>, Unreadable> {
        let source = pb::SourceCause { topic: topic.into(), partition, offset, time: self.now.0 };
        let event: Bytes = event.encode_to_vec().into();
        let commands = {
            let mut routes = Routes::new(&self.place);
            self.service.route(&PeerEvent { source: &source, key, event: &event }, &mut routes)?;
            routes.commands
        };
        let mut thens = Vec::new();
        for (key, command) in commands {
            thens.push(self.decide(&key, &command, Origin::Peer(&source), 0, None, &pb::Step::default()));
        }
        Ok(thens)
    }

    /// Time passes, and timers that come due are decided, in order.
    pub fn wait(&mut self, duration: Duration) -> Vec<Then<S>> {
        let until = Timestamp(self.now.0 + duration.as_micros() as u64);
        let mut thens = Vec::new();
        while let Some(timer) = self.state.due(until) {
            self.now = self.now.max(Timestamp(timer.due));
            let fired = pb::Step { cause: Some(pb::step::Cause::Timer(timer.id)), ..pb::Step::default() };
            let command = S::Command::decode(timer.command.clone()).expect("it was encoded");
            thens.push(self.decide(&timer.key, &command, Origin::Timer, timer.tries, None, &fired));
        }
        self.now = until;
        thens
    }

    /// The state of an aggregate.
    pub fn state(&self, key: &str) -> Option<S::State> {
        self.state.get(key)
    }

    /// All aggregates that events have named.
    pub fn states(&self) -> Vec<(String, S::State)> {
        self.state.scan("", None).collect()
    }

    /// What the partition keeps.
    pub fn partition(&self) -> &S::Partition {
        self.state.partition()
    }

    /// Timers that are set.
    pub fn timers(&self) -> usize {
        self.state.timers().count()
    }

    /// A hash of everything.
    pub fn hash(&self) -> u64 {
        self.state.hash()
    }

    /// The state as it is when it was stored and restored.
    pub fn restored(mut self) -> Self {
        self.state = State::decode(&self.state.encode(), None).expect("it was stored");
        self
    }

    fn decide(
        &mut self,
        key: &str,
        command: &S::Command,
        origin: Origin<'_>,
        tries: u32,
        ticket: Option<Ticket>,
        step: &pb::Step,
    ) -> Then<S> {
        let random = &mut self.random;
        // SplitMix64: as good as any for tests.
        let mut draw = move || {
            *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let input = Input { key, command, origin, tries };
        let decided = ask(&self.service, &self.state, &self.place, self.now, &mut draw, ticket, input);
        let Decided { outcome, refusal } = decided;
        self.state.begin(self.now);
        for (key, event) in &outcome.events {
            self.state.take_event(key, event);
        }
        let head = Head { state: &self.state };
        let answer = |reply| match reply {
            Reply::Now(reply) => Ok(reply),
            Reply::Later(reply) => Ok(reply(&head)),
            Reply::No(refusal) => Err(refusal),
        };
        let answers = outcome.answers.into_iter().map(|(ticket, reply)| (ticket, answer(reply))).collect();
        let mut timers = outcome.timers;
        if let Some(after) = outcome.retry {
            let source = match origin {
                Origin::Peer(source) => Some(source.clone()),
                Origin::Client { .. } | Origin::Timer => None,
            };
            let command = command.encode_to_vec().into();
            let input = pb::Input { key: key.to_owned(), command, source, tries, ..pb::Input::default() };
            timers.push(again(&input, self.now, after));
        }
        let step = pb::Step { timers, cancelled: outcome.cancelled, ..step.clone() };
        self.state.take_step(&step);
        Then {
            ticket: ticket.unwrap_or(Ticket([0; 16])),
            refusal,
            events: outcome.events.iter().map(|(key, event)| (key.clone(), event.encode_to_vec().into())).collect(),
            answers,
            deferred: outcome.deferred,
            fault: outcome.fault.map(|fault| (fault.reason, fault.why)),
            retry: outcome.retry,
        }
    }
}

impl<S: Service> Then<S> {
    /// What happened, in order.
    pub fn events(&self) -> Vec<S::Event> {
        self.keyed_events().into_iter().map(|(_, event)| event).collect()
    }

    /// The same, with the keys.
    pub fn keyed_events(&self) -> Vec<(String, S::Event)> {
        let decode = |bytes: &Bytes| S::Event::decode(bytes.clone()).expect("it was encoded");
        self.events.iter().map(|(key, bytes)| (key.clone(), decode(bytes))).collect()
    }

    /// The answer to what was asked.
    pub fn reply(&self) -> Option<S::Reply> {
        self.answer_to(self.ticket)?.ok()
    }

    /// Why it was refused.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.clone().or_else(|| self.answer_to(self.ticket)?.err())
    }

    /// The answer to an earlier command that was deferred.
    pub fn answer_to(&self, ticket: Ticket) -> Option<Result<S::Reply, Refusal>> {
        self.answers.iter().find(|(other, _)| *other == ticket).map(|(_, answer)| answer.clone())
    }

    /// The command, where its answer comes later.
    pub fn deferred(&self) -> Option<Ticket> {
        self.deferred.then_some(self.ticket)
    }

    /// Why it became a dead letter.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_ref().map(|(_, why)| why.as_str())
    }

    /// As what kind of dead letter: `fault` or `exhausted`.
    pub fn fault_reason(&self) -> Option<&'static str> {
        self.fault.as_ref().map(|(reason, _)| *reason)
    }

    /// After what time it comes again.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }
}

impl<S: Service> fmt::Debug for Then<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Then")
            .field("refusal", &self.refusal)
            .field("events", &self.keyed_events())
            .field("answers", &self.answers)
            .field("deferred", &self.deferred)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
