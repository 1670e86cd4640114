//! Deciding: from inputs to batches, ahead of what is committed. Pure: no task, no clock, no network.
//!
//! - `ask`: one question to the rules.
//! - `letters`: what cannot be decided, and what waits behind it.
use super::{
    Refusal,
    commands::principal,
    service::{Fault, Input, Origin, PeerEvent, Place, Routes, Service, Ticket},
    state::State,
};
use bytes::Bytes;
use corduroy_log::{
    DecidedBatch, NewRecord, Record,
    config::Limits,
    topic::{PartitionId, Term},
    world::Timestamp,
};
use corduroy_proto::runtime::{self as pb, answer, step::Cause};
use prost::Message;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

mod ask;
mod letters;

pub(crate) use ask::{Decided, ask};
use ask::{answers, words};
use letters::identity;

/// About the bytes of events and answers of one batch: with so many it is full.
const FULL_BYTES: u64 = 256 << 10;
/// Inputs of one batch: with so many it is full.
const FULL_STEPS: usize = 1024;
/// How often an input may be put off.
const TRIES: u32 = 10;

/// The state a leader decides on, and the batch it is making.
///
/// **Invariant**: `head` is what a replica has that evolved everything of this leader so far: the same code takes the same steps.
pub(crate) struct Decider<S: Service> {
    service: Arc<S>,
    pub(crate) place: Place,
    head: State<S>,
    draft: Draft,
    /// Commands that were decided here and may not have evolved.
    decided: HashMap<Ticket, Open>,
    random: Box<dyn FnMut() -> u64 + Send>,
    /// Inputs whose facts could not be taken, with the words of the panic. They are kept when the head is taken anew: a draft may
    /// be lost before the dead letter that it holds is sealed.
    poison: VecDeque<(Cause, pb::Input, String)>,
    /// Bytes of an event, and of the events and answers of one input.
    limits: (u64, u64),
    /// How old an event of a peer may be when its turn comes.
    max_age: Option<Duration>,
}

/// A command that may not have evolved.
struct Open {
    fingerprint: u64,
    /// Whose it is, where a client chose the id.
    principal: Option<u64>,
}

/// A batch in the making.
#[derive(Default)]
struct Draft {
    time: Timestamp,
    steps: Vec<pb::Step>,
    events: Vec<NewRecord>,
    bytes: usize,
    /// The hash of the head before it.
    hash: Option<u64>,
    /// Commands it decides.
    commands: Vec<Ticket>,
}

/// What became of an input.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    /// It is in the draft.
    Yes,
    /// Its facts could not be taken: the head is of no use any more, and nothing that was not sealed counts. With the next head
    /// the input becomes a dead letter.
    Poison,
}

impl<S: Service> Decider<S> {
    pub(crate) fn new(
        service: Arc<S>,
        place: Place,
        head: State<S>,
        limits: &Limits,
        random: impl FnMut() -> u64 + Send + 'static,
    ) -> Self {
        Decider {
            service,
            place,
            head,
            draft: Draft::default(),
            decided: HashMap::new(),
            random: Box::new(random),
            poison: VecDeque::new(),
            limits: (limits.record_bytes, limits.batch_bytes / 4),
            max_age: None,
        }
    }

    /// Events of peers that are older in log time when their turn comes become dead letters.
    pub(crate) fn max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    pub(crate) fn head(&self) -> &State<S> {
        &self.head
    }

    /// Goes on from another state: the one all it has decided came to, or another leader's.
    pub(crate) fn replace_head(&mut self, head: State<S>) {
        self.head = head;
        self.draft = Draft::default();
        self.decided.clear();
    }

    /// The fingerprint of a command that was decided here lately.
    pub(crate) fn fingerprint(&self, id: &Ticket) -> Option<u64> {
        self.decided.get(id).map(|open| open.fingerprint)
    }

    /// How many commands were decided here lately.
    pub(crate) fn open(&self) -> u64 {
        self.decided.len() as u64
    }

    /// The commands of a principal that were decided here lately, of those whose ids clients chose.
    pub(crate) fn open_of(&self, principal: u64) -> impl Iterator<Item = &Ticket> {
        self.decided.iter().filter(move |(_, open)| open.principal == Some(principal)).map(|(id, _)| id)
    }

    /// Gives the next batch its time, where it has none yet: a clock's, and not before what came last.
    pub(crate) fn begin(&mut self, clock: Timestamp) {
        if self.draft.steps.is_empty() {
            self.draft.time = clock.max(self.head.time());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.draft.steps.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.draft.bytes as u64 >= FULL_BYTES.min(self.limits.1) || self.draft.steps.len() >= FULL_STEPS
    }

    /// The batch, and with `hash` what the state was before it.
    pub(crate) fn seal(
        &mut self,
        term: Term,
        sequence: u64,
        sources: BTreeMap<PartitionId, Range<u64>>,
        hash: bool,
    ) -> (DecidedBatch, Vec<Ticket>) {
        if self.draft.steps.is_empty() {
            self.start();
        }
        let draft = std::mem::take(&mut self.draft);
        let state_hash = draft.hash.filter(|_| hash);
        let effects = pb::Effects { steps: draft.steps, state_hash }.encode_to_vec().into();
        let batch = DecidedBatch { term, sequence, time: draft.time, sources, effects, events: draft.events };
        (batch, draft.commands)
    }

    /// These have evolved: whoever asks for them finds them there.
    pub(crate) fn settled(&mut self, commands: &[Ticket]) {
        for command in commands {
            self.decided.remove(command);
        }
    }

    fn note(&mut self, cause: &pb::CommandCause) -> Option<Ticket> {
        let ticket = Ticket::from_bytes(&cause.id)?;
        let principal = cause.by_client.then(|| principal(&cause.principal));
        self.decided.insert(ticket, Open { fingerprint: cause.fingerprint, principal });
        self.start();
        self.draft.commands.push(ticket);
        Some(ticket)
    }

    /// The first step of a batch: everything below sees its time.
    fn start(&mut self) {
        if self.draft.hash.is_none() {
            self.draft.hash = Some(self.head.hash());
            self.head.begin(self.draft.time);
        }
    }

    /// Decides a client's command.
    pub(crate) fn command(&mut self, cause: pb::CommandCause, command: &Bytes) -> Taken {
        let ticket = self.note(&cause);
        let input = pb::Input { key: cause.key.clone(), command: command.clone(), ..pb::Input::default() };
        self.decide(Cause::Command(cause), &input, ticket, None)
    }

    /// Decides what an event of a peer comes to here.
    pub(crate) fn event(&mut self, source: &pb::SourceCause, record: &Record) -> Taken {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
        match self.route(source, key, &record.value) {
            Ok(routed) => {
                for (key, command) in routed {
                    let command = command.encode_to_vec().into();
                    let input = pb::Input { key, command, source: Some(source.clone()), ..pb::Input::default() };
                    if self.take(Cause::Source(source.clone()), input) == Taken::Poison {
                        return Taken::Poison;
                    }
                }
            }
            // Every partition of this service meets it; one of them keeps it.
            Err(why) if self.place.has(key) => {
                let input = pb::Input {
                    key: key.to_owned(),
                    source: Some(source.clone()),
                    event: record.value.clone(),
                    ..pb::Input::default()
                };
                self.bury(Cause::Source(source.clone()), input, "invalid", why, None);
            }
            Err(_) => {}
        }
        Taken::Yes
    }

    fn route(&self, source: &pb::SourceCause, key: &str, event: &Bytes) -> Result<Vec<(String, S::Command)>, String> {
        let mut routes = Routes::new(&self.place);
        let event = PeerEvent { source, key, event };
        match catch_unwind(AssertUnwindSafe(|| self.service.route(&event, &mut routes))) {
            Ok(Ok(())) => Ok(routes.commands),
            Ok(Err(unreadable)) => Err(unreadable.0),
            Err(panic) => Err(format!("a rule panicked: {}", words(&*panic))),
        }
    }

    /// Decides what a timer that is due asks for.
    pub(crate) fn timer(&mut self, timer: &pb::Timer) -> Taken {
        let input = pb::Input {
            key: timer.key.clone(),
            command: timer.command.clone(),
            source: timer.source.clone(),
            tries: timer.tries,
            ..pb::Input::default()
        };
        self.take(Cause::Timer(timer.id), input)
    }

    fn answer_only(&mut self, cause: Cause, ticket: Option<Ticket>, outcome: Result<(), Refusal>) -> Taken {
        let outcome = match outcome {
            Ok(()) => answer::Outcome::Reply(Bytes::new()),
            Err(refusal) => answer::Outcome::Refusal(refusal.0),
        };
        let answers = ticket.map(|id| pb::Answer { id: id.to_bytes(), outcome: Some(outcome), positions: Vec::new() });
        self.add(pb::Step { cause: Some(cause), answers: answers.into_iter().collect(), ..pb::Step::default() }, 64);
        Taken::Yes
    }

    fn decide(
        &mut self,
        cause: Cause,
        input: &pb::Input,
        ticket: Option<Ticket>,
        letter: Option<&pb::DeadLetter>,
    ) -> Taken {
        // One event may come to several commands, of which one is poison.
        let known = self.poison.iter().find(|(of, poison, _)| poison == input && *of == identity(&cause));
        if let Some(why) = known.map(|(.., why)| why.clone()) {
            self.bury(cause, input.clone(), "fault", why, letter);
            return Taken::Yes;
        }
        let command = match S::Command::decode(input.command.clone()) {
            Ok(command) => command,
            Err(error) => {
                self.bury(cause, input.clone(), "invalid", format!("not a command of {}: {error}", S::NAME), letter);
                return Taken::Yes;
            }
        };
        self.start();
        if let Some(why) = self.expired(&cause, input) {
            self.bury(cause, input.clone(), "expired", why, letter);
            return Taken::Yes;
        }
        let (now, key) = (self.draft.time, input.key.as_str());
        let principal = match &cause {
            Cause::Command(command) => command.principal.clone(),
            _ => String::new(),
        };
        let origin = match (&cause, &input.source) {
            (Cause::Command(_), _) => Origin::Client { principal: &principal },
            (_, Some(source)) => Origin::Peer(source),
            _ => Origin::Timer,
        };
        let asked = Input { key, command: &command, origin, tries: input.tries };
        // The caller of a redrive is told how that went, not what the command was once asked.
        let own = ticket.filter(|_| matches!(cause, Cause::Command(_)));
        let decided = ask(&*self.service, &self.head, &self.place, now, &mut *self.random, own, asked);
        let Decided { outcome, refusal } = decided;
        if let Some(Fault { reason, why }) = outcome.fault {
            self.bury(cause, input.clone(), reason, why, letter);
            return Taken::Yes;
        }
        if let Some(after) = outcome.retry {
            if matches!(cause, Cause::Redrive(_)) {
                // Its followers would go before it, and the caller would never hear of it.
                let why = format!("it is not possible yet: redrive it again, in {after:?} or later");
                self.bury(cause, input.clone(), "exhausted", why, letter);
                return Taken::Yes;
            }
            if input.tries + 1 >= TRIES {
                let why = format!("it was put off {TRIES} times");
                self.bury(cause, input.clone(), "exhausted", why, letter);
                return Taken::Yes;
            }
            let timer = again(input, now, after);
            let size = 64 + input.command.len();
            self.add(pb::Step { cause: Some(cause), timers: vec![timer], ..pb::Step::default() }, size);
            return Taken::Yes;
        }
        let mut step = pb::Step {
            events: outcome.events.len() as u32,
            timers: outcome.timers,
            cancelled: outcome.cancelled,
            ..pb::Step::default()
        };
        let record = |(key, event): &(String, S::Event)| NewRecord {
            key: Some(key.clone().into()),
            ..NewRecord::new(event.encode_to_vec())
        };
        let mut records: Vec<NewRecord> = outcome.events.iter().map(record).collect();
        let sizes = records.iter().map(|record| (record.value.len() + input.key.len()) as u64);
        let (largest, all) = sizes.fold((0, 0), |(largest, all), size| (largest.max(size), all + size));
        if largest > self.limits.0 || all > self.limits.1 {
            let (event, input_limit) = self.limits;
            let why = format!("{all} bytes of events, {largest} in one: at most {input_limit} and {event} are allowed");
            self.bury(cause, input.clone(), "fault", why, letter);
            return Taken::Yes;
        }
        // Facts first: answers may look at what they came to.
        let head = &mut self.head;
        let evolved = catch_unwind(AssertUnwindSafe(|| {
            outcome.events.iter().for_each(|(key, event)| head.take_event(key, event));
        }));
        if let Err(panic) = evolved {
            // Half of it is in the head.
            return self.poison(&cause, input, format!("a fact cannot be taken: {}", words(&*panic)));
        }
        let answered = answers(&self.head, own, outcome.answers, outcome.deferred, refusal, outcome.positions);
        step.answers = match answered {
            Ok(answers) => answers,
            Err(why) => return self.poison(&cause, input, why),
        };
        if let (Some(id), Cause::Redrive(_)) = (ticket, &cause) {
            let done = answer::Outcome::Reply(Bytes::new());
            step.answers.push(pb::Answer { id: id.to_bytes(), outcome: Some(done), positions: Vec::new() });
        }
        step.cause = Some(cause);
        let bytes = records.iter().map(|record| record.value.len() + 64).sum::<usize>() + 64;
        self.draft.events.append(&mut records);
        let bytes = bytes + step.answers.iter().map(Message::encoded_len).sum::<usize>();
        self.add(step, bytes);
        Taken::Yes
    }

    fn add(&mut self, step: pb::Step, bytes: usize) {
        self.start();
        self.head.take_step(&step);
        self.draft.bytes += bytes;
        self.draft.steps.push(step);
    }
}

/// The timer that has an input decided once more.
pub(crate) fn again(input: &pb::Input, now: Timestamp, after: Duration) -> pb::Timer {
    pb::Timer {
        id: 0,
        due: now.0.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        key: input.key.clone(),
        command: input.command.clone(),
        tries: input.tries + 1,
        source: input.source.clone(),
    }
}

#[cfg(test)]
mod tests;
