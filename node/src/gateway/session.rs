//! The session token: how much of each partition its bearer was told about.
//!
//! It is a hint and no proof: what it names makes a read wait, and what it does not name is read from the leader. So a
//! token that cannot be read, or has lost positions to its bound, costs a little time and loses no promise.
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use corduroy_proto::runtime as pb;
use prost::Message;
use std::collections::BTreeMap;

pub(super) const HEADER: HeaderName = HeaderName::from_static("corduroy-session");

/// Partitions a token names.
const MAX_POSITIONS: usize = 64;
/// Characters of a token that is read.
const MAX_TEXT: usize = 8 * 1024;
/// Characters of the name of a topic.
const MAX_TOPIC: usize = 64;

#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(message, repeated, tag = "1")]
    positions: Vec<pb::Position>,
}

/// See the module. The offsets are those behind the last event that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session(BTreeMap<(String, u32), u64>);

impl Session {
    /// The token of a request; empty if there is none that can be read.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut session = Session::default();
        for value in headers.get_all(HEADER) {
            session.read(value.as_bytes());
        }
        session
    }

    fn read(&mut self, text: &[u8]) {
        if text.len() > MAX_TEXT {
            return;
        }
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return };
        let Ok(encoded) = Encoded::decode(&bytes[..]) else { return };
        self.see(&encoded.positions);
    }

    /// Of each partition, the larger offset counts.
    pub(super) fn see(&mut self, positions: &[pb::Position]) {
        for position in positions.iter().filter(|position| position.topic.len() <= MAX_TOPIC) {
            let key = (position.topic.clone(), position.partition);
            if self.0.len() >= MAX_POSITIONS && !self.0.contains_key(&key) {
                continue;
            }
            let offset = self.0.entry(key).or_default();
            *offset = position.offset.max(*offset);
        }
    }

    /// This one, and where another was further.
    pub(super) fn merged(mut self, other: &Session) -> Self {
        self.see(&other.positions());
        self
    }

    /// How far a read of a partition has to be, if anybody was told of it.
    pub(super) fn offset(&self, topic: &str, partition: u32) -> Option<u64> {
        self.0.get(&(topic.to_owned(), partition)).copied()
    }

    /// What it says of these topics.
    pub(super) fn of_topics(&self, topics: &[&str]) -> Vec<pb::Position> {
        self.positions().into_iter().filter(|position| topics.contains(&position.topic.as_str())).collect()
    }

    /// `topic/partition:offset`, of each partition.
    pub(super) fn shown(&self) -> String {
        let shown = self.0.iter().map(|((topic, partition), offset)| format!("{topic}/{partition}:{offset}"));
        shown.collect::<Vec<_>>().join(", ")
    }

    fn positions(&self) -> Vec<pb::Position> {
        let position = |((topic, partition), offset): (&(String, u32), &u64)| pb::Position {
            topic: topic.clone(),
            partition: *partition,
            offset: *offset,
        };
        self.0.iter().map(position).collect()
    }

    /// As a header; none for one that names nothing.
    pub(super) fn to_header(&self) -> Option<HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        let text = URL_SAFE_NO_PAD.encode(Encoded { positions: self.positions() }.encode_to_vec());
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(positions: &[(&str, u32, u64)]) -> Session {
        let mut session = Session::default();
        let position = |(topic, partition, offset): &(&str, u32, u64)| pb::Position {
            topic: (*topic).into(),
            partition: *partition,
            offset: *offset,
        };
        session.see(&positions.iter().map(position).collect::<Vec<_>>());
        session
    }

    fn there_and_back(session: &Session) -> Session {
        let header = session.to_header().expect("it names something");
        Session::of(&HeaderMap::from_iter([(HEADER, header)]))
    }

    #[test]
    fn a_token_says_what_it_was_made_of() {
        let made = session(&[("order", 0, 7), ("stock", 3, u64::MAX)]);
        assert_eq!(there_and_back(&made), made);
        assert_eq!(made.offset("stock", 3), Some(u64::MAX));
        assert_eq!(made.offset("stock", 2), None);
        assert_eq!(made.shown(), "order/0:7, stock/3:18446744073709551615");
        assert_eq!(Session::default().to_header(), None);
    }

    #[test]
    fn the_larger_offset_of_a_partition_wins() {
        let merged = session(&[("order", 0, 7), ("order", 1, 2)]).merged(&session(&[("order", 0, 5), ("order", 1, 3)]));
        assert_eq!(merged, session(&[("order", 0, 7), ("order", 1, 3)]));
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        for text in ["", "?", "AAAA", &"A".repeat(MAX_TEXT + 4)] {
            let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_str(text).expect("visible"))]);
            assert_eq!(Session::of(&headers), Session::default(), "{text:.10}");
        }
    }

    #[test]
    fn a_token_is_bounded() {
        let names: Vec<String> = (0..500).map(|number| format!("{number:0>60}")).collect();
        let positions: Vec<_> = names.iter().map(|name| (name.as_str(), 1, u64::MAX)).collect();
        let made = session(&positions);
        assert_eq!(made.0.len(), MAX_POSITIONS);
        assert!(made.to_header().expect("it names something").len() <= MAX_TEXT);
        assert_eq!(there_and_back(&made), made);
        assert_eq!(session(&[(&"x".repeat(65), 0, 1)]), Session::default());
    }
}
