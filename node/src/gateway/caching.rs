//! What callers, and caches on the way to them, may keep: entity tags, conditions on them, and for how long.
use super::{answer::Answer, problem::Problem};
use axum::http::{HeaderMap, HeaderName, header};
use std::fmt;
use xxhash_rust::xxh3::xxh3_128;

/// What a reply is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    /// Of something that has versions.
    pub(super) fn of_version(version: u64) -> Self {
        Tag(version.to_string())
    }

    /// Of what has none: of what it says.
    pub(super) fn of_content(answer: &Answer) -> Self {
        Tag(format!("{:032x}", xxh3_128(answer.body())))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The tags that a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// Whatever there is.
    Any,
    /// Without their quotes; weak ones are true.
    Of(Vec<(bool, String)>),
}

impl Tags {
    /// Those of a header; `None`: it is not there.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let malformed = || Problem::malformed(name.as_str(), "it is * or a list of tags such as \"3\"");
        let (mut tags, mut is_there) = (Vec::new(), false);
        for value in headers.get_all(name) {
            is_there = true;
            let text = value.to_str().map_err(|_| malformed())?.trim();
            if text == "*" {
                return Ok(Some(Tags::Any));
            }
            let mut rest = Some(text);
            while let Some(text) = rest {
                let (tag, behind) = first(text).ok_or_else(malformed)?;
                tags.push(tag);
                rest = behind;
            }
        }
        Ok(is_there.then_some(Tags::Of(tags)))
    }

    /// Whether what is there is among them, as far as reading it goes: weak ones count.
    fn have(&self, tag: &Tag) -> bool {
        match self {
            Tags::Any => true,
            Tags::Of(tags) => tags.iter().any(|(_, text)| *text == tag.0),
        }
    }

    /// The versions they mean, where something is to be changed: weak ones mean none.
    pub(super) fn versions(&self) -> Vec<u64> {
        match self {
            Tags::Any => Vec::new(),
            Tags::Of(tags) => {
                let strong = tags.iter().filter(|(weak, _)| !weak);
                let versions = strong.filter_map(|(_, text)| Some((text.parse().ok()?, text)));
                versions
                    .filter(|(version, text)| Tag::of_version(*version).0 == **text)
                    .map(|(version, _)| version)
                    .collect()
            }
        }
    }
}

/// The first tag of a list, and what is behind its comma.
fn first(list: &str) -> Option<((bool, String), Option<&str>)> {
    let (is_weak, rest) = list.strip_prefix("W/").map_or((false, list), |rest| (true, rest));
    let (text, behind) = rest.strip_prefix('"')?.split_once('"')?;
    let behind = behind.trim_start();
    let behind = if behind.is_empty() { None } else { Some(behind.strip_prefix(',')?.trim_start()) };
    Some(((is_weak, text.to_owned()), behind))
}

/// The answer to a read, for whoever may have it already. `seconds`: for how long it may be kept; `None`: not at all.
/// A caller that was told of more must not get what was kept for others.
pub(super) fn kept(answer: Answer, tag: &Tag, seconds: Option<u64>, headers: &HeaderMap) -> Result<Answer, Problem> {
    let control = seconds.map_or_else(|| "no-store".to_owned(), |seconds| format!("public, max-age={seconds}"));
    let answer = answer.header(header::ETAG, &tag.to_string()).header(header::CACHE_CONTROL, &control);
    let answer = answer.header(header::VARY, super::session::HEADER.as_str());
    let known = Tags::of(headers, &header::IF_NONE_MATCH)?;
    Ok(if known.is_some_and(|known| known.have(tag)) { answer.unchanged() } else { answer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        http::{HeaderValue, StatusCode},
        response::IntoResponse,
    };

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| _ = headers.append(name, HeaderValue::from_str(value).expect("a header")));
        headers
    }

    fn tags(values: &[&str]) -> Result<Option<Tags>, &'static str> {
        Tags::of(&headers(&header::IF_MATCH, values), &header::IF_MATCH).map_err(|problem| problem.name())
    }

    #[test]
    fn a_condition_is_a_list_of_tags() {
        assert_eq!(tags(&[]), Ok(None));
        assert_eq!(tags(&["*"]), Ok(Some(Tags::Any)));
        let list = tags(&[r#""3" ,W/"4","a,b""#, r#""05", "6""#]);
        let list = list.expect("it can be read").expect("it is there");
        assert_eq!(list.versions(), [3, 6], "no weak ones, and no others than versions");
        for text in ["3", "4", "a,b", "05", "6"] {
            assert!(list.have(&Tag(text.into())), "{text}");
        }
        assert!(!list.have(&Tag("7".into())));
        for wrong in ["", "3", "\"3", "\"3\",", "\"3\" \"4\"", "W/3", "w/\"3\""] {
            assert_eq!(tags(&[wrong]), Err("malformed"), "{wrong}");
        }
    }

    #[test]
    fn what_is_known_already_is_not_sent_again() {
        for (known, status) in [("\"2\"", StatusCode::OK), ("W/\"3\"", StatusCode::NOT_MODIFIED)] {
            let known = headers(&header::IF_NONE_MATCH, &[known]);
            let answer = kept(Answer::json(&3), &Tag::of_version(3), Some(70), &known).expect("it can be read");
            let response = answer.into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["etag"], "\"3\"");
            assert_eq!(response.headers()["cache-control"], "public, max-age=70");
            assert_eq!(response.headers()["vary"], "corduroy-session");
        }
        let fresh = kept(Answer::json(&3), &Tag::of_version(3), None, &HeaderMap::new()).expect("there is none");
        assert_eq!(fresh.into_response().headers()["cache-control"], "no-store");
    }

    #[test]
    fn lists_are_known_by_what_they_say() {
        let tag = |numbers: &[u8]| Tag::of_content(&Answer::json(&numbers));
        assert_eq!(tag(&[1, 2]), tag(&[1, 2]));
        assert_ne!(tag(&[1, 2]), tag(&[2, 1]));
    }
}
