//! Deciding: from inputs to batches, ahead of what is committed. Pure: no task, no clock, no network.
use super::{
    Refusal,
    service::{Decide, Head, Input, Origin, Outcome, PeerEvent, Place, Reply, Routes, Service, Ticket},
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
};

/// Events one input may emit.
const EVENTS: usize = 10_000;
/// About the bytes of events and answers of one batch: with so many it is full.
const FULL_BYTES: u64 = 256 << 10;
/// Inputs of one batch: with so many it is full.
const FULL_STEPS: usize = 1024;
/// Poisoned inputs that are remembered; each is met again at once.
const POISON: usize = 1024;
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
    /// Commands that were decided here and may not have evolved, with their fingerprints.
    decided: HashMap<Ticket, u64>,
    random: Box<dyn FnMut() -> u64 + Send>,
    /// Inputs whose facts could not be taken, with the words of the panic. They are kept when the head is taken anew: a draft may
    /// be lost before the dead letter that it holds is sealed.
    poison: VecDeque<(Cause, pb::Input, String)>,
    /// Bytes of an event, and of the events and answers of one input.
    limits: (u64, u64),
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

/// What an input comes to, before it is a step.
pub(crate) struct Decided<S: Service> {
    pub outcome: Outcome<S>,
    pub refusal: Option<Refusal>,
}

/// Asks the service, and nothing else.
pub(crate) fn ask<S: Service>(
    service: &S,
    head: &State<S>,
    place: &Place,
    now: Timestamp,
    random: &mut dyn FnMut() -> u64,
    ticket: Option<Ticket>,
    input: Input<'_, S>,
) -> Decided<S> {
    let mut cx = Decide { place, now, random, ticket, next_timer: head.next_timer(), outcome: Outcome::default() };
    let asked = catch_unwind(AssertUnwindSafe(|| service.decide(&Head { state: head }, input, &mut cx)));
    let mut outcome = cx.outcome;
    let refusal = match asked {
        Ok(Ok(())) => None,
        Ok(Err(refusal)) => {
            outcome = Outcome::default();
            Some(refusal)
        }
        Err(panic) => {
            outcome = Outcome { fault: Some(format!("a rule panicked: {}", words(&*panic))), ..Outcome::default() };
            None
        }
    };
    if outcome.events.len() > EVENTS {
        let fault = format!("{} events at once, at most {EVENTS} are allowed", outcome.events.len());
        outcome = Outcome { fault: Some(fault), ..Outcome::default() };
    }
    if outcome.fault.is_some() {
        outcome = Outcome { fault: outcome.fault, ..Outcome::default() };
    } else if outcome.retry.is_some() {
        outcome = Outcome { retry: outcome.retry, ..Outcome::default() };
    }
    Decided { outcome, refusal }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".into())
}

/// What tells an input from others when it comes again: a command then expires later.
fn identity(cause: &Cause) -> Cause {
    let timeless = |cause: &pb::CommandCause| pb::CommandCause { expires: 0, ..cause.clone() };
    match cause {
        Cause::Command(command) => Cause::Command(timeless(command)),
        Cause::Redrive(redrive) => {
            Cause::Redrive(pb::Redrive { letter: redrive.letter, command: redrive.command.as_ref().map(timeless) })
        }
        other => other.clone(),
    }
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
        }
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
        self.decided.get(id).copied()
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
        self.decided.insert(ticket, cause.fingerprint);
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

    /// Decides the first input that waits behind nothing any more. `None`: there is none.
    pub(crate) fn unparked(&mut self) -> Option<Taken> {
        let input = self.head.unparked()?;
        Some(self.rerun(Cause::Parked(input.key.clone()), &input, None, None))
    }

    /// Runs a dead letter again. The answer tells how that went.
    pub(crate) fn redrive(&mut self, cause: pb::CommandCause, letter: u64) -> Taken {
        let ticket = self.note(&cause);
        match self.head.letter(letter).cloned() {
            Some(found) => {
                let input = found.input.clone().unwrap_or_default();
                let redrive = Cause::Redrive(pb::Redrive { letter, command: Some(cause) });
                self.rerun(redrive, &input, ticket, Some(&found))
            }
            None => {
                let refusal = self.no_letter(letter);
                self.answer_only(Cause::Command(cause), ticket, Err(refusal))
            }
        }
    }

    /// Gives a dead letter up.
    pub(crate) fn discard(&mut self, cause: pb::CommandCause, letter: u64, reason: String) -> Taken {
        let ticket = self.note(&cause);
        if self.head.letter(letter).is_none() {
            let refusal = self.no_letter(letter);
            return self.answer_only(Cause::Command(cause), ticket, Err(refusal));
        }
        let discard = Cause::Discard(pb::Discard { letter, reason, command: Some(cause) });
        self.answer_only(discard, ticket, Ok(()))
    }

    fn no_letter(&self, letter: u64) -> Refusal {
        if letter < self.head.next_letter() && letter > 0 {
            Refusal::new("dead-letter-settled", "it was redriven or discarded before").text("state", "gone")
        } else {
            Refusal::new("unknown-dead-letter", "there is no such dead letter").number("id", letter as i64)
        }
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

    /// Input that waits its turn behind dead letters of its key.
    fn take(&mut self, cause: Cause, input: pb::Input) -> Taken {
        if self.head.is_blocked(&input.key) {
            self.add(pb::Step { cause: Some(cause), parks: Some(input), ..pb::Step::default() }, 128);
            return Taken::Yes;
        }
        self.decide(cause, &input, None, None)
    }

    /// An input of before, perhaps one that could not be routed then.
    fn rerun(
        &mut self,
        cause: Cause,
        input: &pb::Input,
        ticket: Option<Ticket>,
        letter: Option<&pb::DeadLetter>,
    ) -> Taken {
        if input.event.is_empty() {
            return self.decide(cause, input, ticket, letter);
        }
        let source = input.source.clone().unwrap_or_default();
        match self.route(&source, &input.key, &input.event) {
            Ok(routed) => {
                // The first command has the place of the event; what it came to else waits behind it.
                let mut inputs = routed.into_iter().map(|(key, command)| pb::Input {
                    key,
                    command: command.encode_to_vec().into(),
                    source: Some(source.clone()),
                    ..pb::Input::default()
                });
                let Some(first) = inputs.next() else { return self.answer_only(cause, ticket, Ok(())) };
                let rest: Vec<_> = inputs.collect();
                if self.decide(cause, &first, ticket, letter) == Taken::Poison {
                    return Taken::Poison;
                }
                for input in rest {
                    if self.take(Cause::Source(source.clone()), input) == Taken::Poison {
                        return Taken::Poison;
                    }
                }
                Taken::Yes
            }
            Err(why) => {
                self.bury(cause, input.clone(), "invalid", why, letter);
                Taken::Yes
            }
        }
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
        if let Some(why) = outcome.fault {
            self.bury(cause, input.clone(), "fault", why, letter);
            return Taken::Yes;
        }
        if let Some(after) = outcome.retry {
            if input.tries + 1 >= TRIES {
                let why = format!("it was put off {TRIES} times");
                self.bury(cause, input.clone(), "exhausted", why, letter);
                return Taken::Yes;
            }
            let due = now.0.saturating_add(after.as_micros() as u64);
            let timer = pb::Timer {
                id: 0,
                due,
                key: input.key.clone(),
                command: input.command.clone(),
                tries: input.tries + 1,
                source: input.source.clone(),
            };
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
        let answered = self.answers(own, outcome.answers, outcome.deferred, refusal, outcome.positions);
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

    fn poison(&mut self, cause: &Cause, input: &pb::Input, why: String) -> Taken {
        if self.poison.len() == POISON {
            self.poison.pop_front();
        }
        self.poison.push_back((identity(cause), input.clone(), why));
        Taken::Poison
    }

    fn answers(
        &mut self,
        own: Option<Ticket>,
        answers: Vec<(Ticket, Reply<S>)>,
        deferred: bool,
        refusal: Option<Refusal>,
        positions: Vec<pb::Position>,
    ) -> Result<Vec<pb::Answer>, String> {
        let mut replies = answers;
        match (own, refusal) {
            (Some(ticket), Some(refusal)) => replies.push((ticket, Reply::No(refusal))),
            (Some(ticket), None) if !deferred && !replies.iter().any(|(other, _)| *other == ticket) => {
                replies.push((ticket, Reply::Now(S::Reply::default())));
            }
            _ => {}
        }
        let head = Head { state: &self.head };
        let made = catch_unwind(AssertUnwindSafe(|| {
            let answer = |(ticket, reply): (Ticket, Reply<S>)| {
                let outcome = match reply {
                    Reply::Now(reply) => answer::Outcome::Reply(reply.encode_to_vec().into()),
                    Reply::Later(reply) => answer::Outcome::Reply(reply(&head).encode_to_vec().into()),
                    Reply::No(refusal) => answer::Outcome::Refusal(refusal.0),
                };
                pb::Answer { id: ticket.to_bytes(), outcome: Some(outcome), positions: positions.clone() }
            };
            replies.into_iter().map(answer).collect()
        }));
        made.map_err(|panic| format!("an answer panicked: {}", words(&*panic)))
    }

    /// Makes a dead letter of an input.
    fn bury(&mut self, cause: Cause, input: pb::Input, reason: &str, error: String, before: Option<&pb::DeadLetter>) {
        self.start();
        let ticket = match &cause {
            Cause::Command(command) => Ticket::from_bytes(&command.id),
            Cause::Redrive(redrive) => redrive.command.as_ref().and_then(|command| Ticket::from_bytes(&command.id)),
            _ => None,
        };
        let id = before.map_or(0, |letter| letter.id);
        let shown = if id == 0 { self.head.next_letter() } else { id };
        let refusal = Refusal::new("fault", format!("it cannot be done, and is kept as dead letter {shown}: {error}"))
            .number("deadLetter", shown as i64);
        let answers = ticket.map(|id| pb::Answer {
            id: id.to_bytes(),
            outcome: Some(answer::Outcome::Refusal(refusal.0)),
            positions: Vec::new(),
        });
        let now = self.draft.time.0;
        let letter = pb::DeadLetter {
            id,
            input: Some(input),
            reason: reason.into(),
            error,
            redriven: before.map_or(0, |letter| letter.redriven + 1),
            first: before.map_or(now, |letter| letter.first),
            last: now,
        };
        let size = letter.encoded_len() + 64;
        let step = pb::Step {
            cause: Some(cause),
            answers: answers.into_iter().collect(),
            dead_letter: Some(letter),
            ..pb::Step::default()
        };
        self.add(step, size);
    }

    fn add(&mut self, step: pb::Step, bytes: usize) {
        self.start();
        self.head.take_step(&step);
        self.draft.bytes += bytes;
        self.draft.steps.push(step);
    }
}

#[cfg(test)]
mod tests;
