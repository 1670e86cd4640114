//! One question to the rules of a service, whatever they do.
use crate::runtime::{
    Refusal,
    service::{Decide, Fault, Head, Input, Outcome, Place, Reply, Service, Ticket},
    state::State,
};
use corduroy_log::world::Timestamp;
use corduroy_proto::runtime::{self as pb, answer};
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Events one input may emit.
const EVENTS: usize = 10_000;

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
            outcome = faulty(format!("a rule panicked: {}", words(&*panic)));
            None
        }
    };
    if outcome.events.len() > EVENTS {
        outcome = faulty(format!("{} events at once, at most {EVENTS} are allowed", outcome.events.len()));
    }
    if outcome.fault.is_some() {
        outcome = Outcome { fault: outcome.fault, ..Outcome::default() };
    } else if outcome.retry.is_some() {
        outcome = Outcome { retry: outcome.retry, ..Outcome::default() };
    }
    Decided { outcome, refusal }
}

fn faulty<S: Service>(why: String) -> Outcome<S> {
    Outcome { fault: Some(Fault::new(why)), ..Outcome::default() }
}

/// What a panic said.
pub(super) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".into())
}

/// The answers an input comes to, from the head that has its facts.
pub(super) fn answers<S: Service>(
    head: &State<S>,
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
    let head = Head { state: head };
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
