//! How fresh a read has to be: `?consistency=session`, `linearizable` or `stale`. Without it, `session`; at some routes
//! what this node has is enough for callers without a token, if it is not older than what it has answered before.
use super::{problem::Problem, session::Session};
use axum::http::HeaderName;
use corduroy_log::Consistency;
use corduroy_proto::runtime::Position;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How old what was read is.
pub(super) const AGE: HeaderName = HeaderName::from_static("corduroy-age-ms");
/// How far what was read reaches.
pub(super) const POSITION: HeaderName = HeaderName::from_static("corduroy-position");

/// What this node has answered since it was started, where it answers from what it has.
///
/// A replica that is started again knows of what it had evolved only as much as was marked on its disk: so the first
/// answer asks a majority, and no later one is older than those before it.
#[derive(Debug, Default)]
pub(super) struct Served(Mutex<Session>);

impl Served {
    /// It has answered from there.
    pub(super) fn see(&self, position: &Position) {
        self.seen().see(std::slice::from_ref(position));
    }

    fn seen(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Freshness {
    /// At least everything it was told about.
    #[default]
    Session,
    /// Everything anybody was told before it asked.
    Linearizable,
    /// What this node has, but at least everything they were told about, and everything anybody was told here. The default
    /// of routes that say so.
    Nearby,
    /// What this node has, at once, even without a quorum.
    Stale,
}

impl Freshness {
    /// From the query; what is usual where it says nothing.
    pub(super) fn read(text: Option<&str>, usual: Freshness) -> Result<Self, Problem> {
        match text {
            None => Ok(usual),
            Some("session") => Ok(Freshness::Session),
            Some("linearizable") => Ok(Freshness::Linearizable),
            Some("stale") => Ok(Freshness::Stale),
            Some(_) => Err(Problem::malformed("consistency", "it is session, linearizable or stale")),
        }
    }

    /// What that means for a partition. Whoever has no token may have been told of anything.
    pub(super) fn of(self, session: &Session, served: &Served, topic: &str, partition: u32) -> Consistency {
        match (self, session.offset(topic, partition)) {
            (Freshness::Stale, _) => Consistency::Stale,
            (Freshness::Nearby, told) => match served.seen().offset(topic, partition) {
                Some(offset) => Consistency::Session(told.unwrap_or(0).max(offset)),
                None => Consistency::Linearizable,
            },
            (Freshness::Session, Some(offset)) => Consistency::Session(offset),
            (Freshness::Session, None) | (Freshness::Linearizable, _) => Consistency::Linearizable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_token_that_names_the_partition_is_enough_and_no_other() {
        let mut session = Session::default();
        session.see(&[Position { topic: "order".into(), partition: 2, offset: 9 }]);
        let read = |text| Freshness::read(text, Freshness::Session);
        let served = Served::default();
        let of = |text, partition| read(text).expect("it is one").of(&session, &served, "order", partition);
        assert_eq!(of(None, 2), Consistency::Session(9));
        assert_eq!(of(Some("session"), 1), Consistency::Linearizable);
        assert_eq!(of(Some("linearizable"), 2), Consistency::Linearizable);
        assert_eq!(of(Some("stale"), 2), Consistency::Stale);
        assert_eq!(read(Some("Stale")).expect_err("it is none").name(), "malformed");
    }
    #[test]
    fn what_is_nearby_is_newer_than_anything_told_here_or_to_the_caller() {
        let (mut session, served) = (Session::default(), Served::default());
        let at = |offset| Position { topic: "order".into(), partition: 2, offset };
        session.see(&[at(9)]);
        let nearby = Freshness::read(None, Freshness::Nearby).expect("it is one");
        let of = |session: &Session| nearby.of(session, &served, "order", 2);
        assert_eq!(of(&session), Consistency::Linearizable, "it may have answered more before it was started again");
        served.see(&at(7));
        assert_eq!((of(&session), of(&Session::default())), (Consistency::Session(9), Consistency::Session(7)));
        served.see(&at(12));
        served.see(&at(11));
        assert_eq!((of(&session), of(&Session::default())), (Consistency::Session(12), Consistency::Session(12)));
        let other = nearby.of(&session, &served, "order", 1);
        assert_eq!(other, Consistency::Linearizable, "that is another partition");
    }
}
