//! The rules of trying again, as plain functions.
use crate::Error;
use std::time::Duration;

/// First and longest pause between attempts that had no better advice.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Repeating it is harmless, whatever became of the first attempt.
    Read,
    /// It may be repeated only when nothing of it happened.
    Write,
}

/// What to do after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this address at once.
    Follow(String),
    /// Ask another node after a pause.
    Elsewhere,
    /// Ask again after this time.
    After(Duration),
    /// Tell the caller.
    GiveUp,
}

/// The rule. `asked` is the address that gave the error.
pub(crate) fn next(error: &Error, kind: Kind, asked: &str) -> Step {
    match error {
        Error::NotLeader { leader_grpc: Some(leader), .. } if leader != asked => Step::Follow(leader.clone()),
        Error::NotHosted { replicas_grpc, .. } => match replicas_grpc.iter().find(|replica| *replica != asked) {
            Some(replica) => Step::Follow(replica.clone()),
            None => Step::Elsewhere,
        },
        Error::Busy { retry_after, .. } | Error::Full { retry_after, .. } => Step::After(*retry_after),
        Error::NotLeader { .. }
        | Error::Unreachable(_)
        | Error::Unavailable(_)
        | Error::Halted(_)
        | Error::PrecedingFailed(_)
        | Error::UnknownTopic(_) => Step::Elsewhere,
        Error::Lost(_) | Error::Timeout(_) if kind == Kind::Read => Step::Elsewhere,
        _ => Step::GiveUp,
    }
}

/// Growing pauses with jitter, so that many clients do not return in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff { pause: FIRST_PAUSE }
    }

    pub(crate) fn reset(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// The next pause: between half of the step and the step.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}
