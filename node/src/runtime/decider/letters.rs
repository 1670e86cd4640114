//! Inputs that cannot be decided, and those that wait behind them: dead letters and what is parked (R58).
use super::{Decider, Taken};
use crate::runtime::{
    Refusal,
    service::{Service, Ticket},
};
use corduroy_proto::runtime::{self as pb, answer, step::Cause};
use prost::Message;
use std::time::Duration;

/// Poisoned inputs that are remembered; each is met again at once.
const POISON: usize = 1024;

/// What tells an input from others when it comes again: a command then expires later.
pub(super) fn identity(cause: &Cause) -> Cause {
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

    /// Input that waits its turn behind dead letters of its key, where the service says so.
    pub(super) fn take(&mut self, cause: Cause, input: pb::Input) -> Taken {
        if S::PARKS && self.head.is_blocked(&input.key) {
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

    /// Why it is too late for an event whose turn has come. What is redriven is wanted all the same, and what was tried before was
    /// in time.
    pub(super) fn expired(&self, cause: &Cause, input: &pb::Input) -> Option<String> {
        let max_age =
            self.max_age.filter(|_| matches!(cause, Cause::Source(_) | Cause::Parked(_)) && input.tries == 0)?;
        let source = input.source.as_ref()?;
        let age = Duration::from_micros(self.draft.time.0.saturating_sub(source.time));
        (age > max_age).then(|| format!("the event was {age:?} old when its turn came, at most {max_age:?} is allowed"))
    }

    pub(super) fn poison(&mut self, cause: &Cause, input: &pb::Input, why: String) -> Taken {
        if self.poison.len() == POISON {
            self.poison.pop_front();
        }
        self.poison.push_back((identity(cause), input.clone(), why));
        Taken::Poison
    }

    /// Makes a dead letter of an input.
    pub(super) fn bury(
        &mut self,
        cause: Cause,
        input: pb::Input,
        reason: &str,
        error: String,
        before: Option<&pb::DeadLetter>,
    ) {
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
}
