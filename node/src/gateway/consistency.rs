//! How fresh a read has to be: `?consistency=session`, the default, `linearizable` or `stale`.
use super::{problem::Problem, session::Session};
use axum::http::HeaderName;
use corduroy_log::Consistency;

/// How old what was read is.
pub(super) const AGE: HeaderName = HeaderName::from_static("corduroy-age-ms");
/// How far what was read reaches.
pub(super) const POSITION: HeaderName = HeaderName::from_static("corduroy-position");

/// What a caller wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Freshness {
    /// At least everything it was told about.
    #[default]
    Session,
    /// Everything anybody was told before it asked.
    Linearizable,
    /// What this node has, at once, even without a quorum.
    Stale,
}

impl Freshness {
    /// From the query.
    pub(super) fn read(text: Option<&str>) -> Result<Self, Problem> {
        match text {
            None | Some("session") => Ok(Freshness::Session),
            Some("linearizable") => Ok(Freshness::Linearizable),
            Some("stale") => Ok(Freshness::Stale),
            Some(_) => Err(Problem::malformed("consistency", "it is session, linearizable or stale")),
        }
    }

    /// What that means for a partition. Whoever has no token may have been told of anything.
    pub(super) fn of(self, session: &Session, topic: &str, partition: u32) -> Consistency {
        match (self, session.offset(topic, partition)) {
            (Freshness::Stale, _) => Consistency::Stale,
            (Freshness::Session, Some(offset)) => Consistency::Session(offset),
            (Freshness::Session, None) | (Freshness::Linearizable, _) => Consistency::Linearizable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corduroy_proto::runtime::Position;

    #[test]
    fn a_token_that_names_the_partition_is_enough_and_no_other() {
        let mut session = Session::default();
        session.see(&[Position { topic: "order".into(), partition: 2, offset: 9 }]);
        let of = |text, partition| Freshness::read(text).expect("it is one").of(&session, "order", partition);
        assert_eq!(of(None, 2), Consistency::Session(9));
        assert_eq!(of(Some("session"), 1), Consistency::Linearizable);
        assert_eq!(of(Some("linearizable"), 2), Consistency::Linearizable);
        assert_eq!(of(Some("stale"), 2), Consistency::Stale);
        assert_eq!(Freshness::read(Some("Stale")).expect_err("it is none").name(), "malformed");
    }
}
