//! The rules of trying again, as plain functions.
use crate::Error;
use std::time::Duration;

/// First and longest pause between attempts that had no better advice. Short: a new leader is there within milliseconds of
/// its election, and whoever asks is told in microseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It changes nothing.
    Read,
    /// It changes something, once, however often it is made.
    Idempotent,
    /// It may be repeated only when nothing of it happened.
    Once,
}

impl Kind {
    /// Whether repeating it is harmless, whatever became of the first attempt.
    pub(crate) fn may_repeat(self) -> bool {
        self != Kind::Once
    }

    /// The error to end with; `doubt`: an attempt may have done what was asked.
    pub(crate) fn conclude(self, error: Error, doubt: bool) -> Error {
        match (self, error) {
            (Kind::Read, error) => error,
            // A repetition is told before anything else is looked at: these say that there was none.
            (_, error @ (Error::OffsetMismatch { .. } | Error::KeyMismatch { .. } | Error::CursorFenced { .. })) => {
                error
            }
            (_, error @ (Error::UnknownOutcome(_) | Error::AlreadyAppended(_))) => error,
            (_, Error::Lost(text) | Error::Timeout(text)) => Error::UnknownOutcome(text),
            (_, error) if doubt => Error::UnknownOutcome(error.to_string()),
            (_, error) => error,
        }
    }
}

/// Whether the attempt that ended so may have done what was asked, or may still do it.
pub(crate) fn is_doubtful(error: &Error) -> bool {
    matches!(error, Error::Lost(_) | Error::Timeout(_) | Error::UnknownOutcome(_) | Error::Protocol(_))
}

/// What to do after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this address at once.
    Follow(String),
    /// Ask another node.
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
        Error::Lost(_) | Error::Timeout(_) | Error::UnknownOutcome(_) if kind.may_repeat() => Step::Elsewhere,
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
        jittered(pause)
    }
}

/// How long to wait between two rounds of asking who leads, when it has been asked for so long: short at first, when an
/// election is likely to be over soon, and never a large part of the time that has passed already.
pub(crate) fn between_rounds(asked_for: Duration) -> Duration {
    jittered((asked_for / 16).clamp(FIRST_PAUSE, LONGEST_PAUSE))
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
