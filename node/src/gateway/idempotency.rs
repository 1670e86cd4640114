//! Idempotency keys: by them a request that is sent again, through whatever node, has one effect and one answer.
//!
//! A key becomes the id of a command, by which the partition that decides it remembers its answer. Keys that a client
//! chose are remembered for longer than those a gateway made.
use super::problem::Problem;
use crate::runtime::{Ticket, id_of_key};
use axum::http::{HeaderMap, HeaderName, Method};
use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

pub(super) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The answer is the one of before.
pub(super) const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// Characters of a key.
const MAX: usize = 255;

/// The key of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    text: String,
    by_client: bool,
}

impl Key {
    /// That of a request; `None`: it has none.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Problem::malformed("Idempotency-Key", "there are two"));
        }
        // What is no text is refused for its characters.
        Key::given(value.to_str().unwrap_or("\n")).map(Some)
    }

    /// One that a client chose.
    pub(super) fn given(text: &str) -> Result<Self, Problem> {
        if text.is_empty() || text.len() > MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::malformed("Idempotency-Key", "it has 1 to 255 visible ASCII characters"));
        }
        Ok(Key { text: text.to_owned(), by_client: true })
    }

    /// One that was made here.
    pub(super) fn made(id: Ticket) -> Self {
        Key { text: text_of(id), by_client: false }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_by_client(&self) -> bool {
        self.by_client
    }

    /// The id of the command it stands for, at a service. Of a key that was made here it is what it was made of.
    pub(super) fn id(&self, service: &str) -> Ticket {
        id_of_key("", service, &self.text)
    }
}

/// An id as a text: also that of what a command makes.
pub(super) fn text_of(id: Ticket) -> String {
    Uuid::from_bytes(id.0).to_string()
}

/// The id of one of several commands that a request comes to.
pub(super) fn derived(id: Ticket, part: &str) -> Ticket {
    let content = [&id.0, part.as_bytes()].concat();
    Ticket(Uuid::new_v8(xxh3_128(&content).to_be_bytes()).into_bytes())
}

/// Random bits that are the same for the same id.
pub(super) fn seed_of(id: Ticket) -> u64 {
    xxh3_64(&id.0)
}

/// Tells one request from another that has the same key. Never 0.
pub(super) fn fingerprint(method: &Method, path: &str, body: &[u8]) -> u64 {
    let content = [method.as_str().as_bytes(), b"\0", path.as_bytes(), b"\0", body].concat();
    xxh3_64(&content).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn key(values: &[&[u8]]) -> Result<Option<Key>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).expect("a header"));
        }
        Key::of(&headers)
    }

    #[test]
    fn a_key_is_visible_ascii() {
        assert_eq!(key(&[]).expect("none is fine"), None);
        let longest = "k".repeat(255);
        for good in ["a", "!~", &longest] {
            let key = key(&[good.as_bytes()]).expect("it is one").expect("it is there");
            assert_eq!((key.text(), key.is_by_client()), (good, true));
        }
        for bad in [&b""[..], b"a b", "\u{e4}".as_bytes(), b"\t", "k".repeat(256).as_bytes()] {
            assert_eq!(key(&[bad]).expect_err("it is none").name(), "malformed");
        }
        assert_eq!(key(&[b"a", b"b"]).expect_err("which one?").name(), "malformed");
    }

    #[test]
    fn a_key_that_was_made_here_is_the_id_and_can_be_sent_again() {
        let id = Ticket(Uuid::now_v7().into_bytes());
        let made = Key::made(id);
        assert_eq!(made.id("order"), id);
        assert!(!made.is_by_client());
        let again = Key::given(made.text()).expect("it is one");
        assert_eq!(again.id("order"), id, "whoever repeats it with the key that was returned means the same");
    }

    #[test]
    fn ids_of_parts_are_stable_and_differ() {
        let id = Key::given("mine").expect("it is one").id("order");
        assert_eq!(derived(id, "1"), derived(id, "1"));
        assert_ne!(derived(id, "1"), derived(id, "2"));
        assert_ne!(id, Key::given("mine").expect("it is one").id("stock"));
        assert_eq!(text_of(id).len(), 36);
    }

    #[test]
    fn another_request_has_another_fingerprint() {
        let print = fingerprint(&Method::POST, "/order", b"{}");
        assert_ne!(print, 0);
        assert_ne!(print, fingerprint(&Method::DELETE, "/order", b"{}"));
        assert_ne!(print, fingerprint(&Method::POST, "/orders", b"{}"));
        assert_ne!(print, fingerprint(&Method::POST, "/order", b"{ }"));
    }
}
