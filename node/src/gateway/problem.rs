//! Refusals as RFC 9457 problems.
//!
//! - `kinds`: which there are.
mod kinds;

pub(super) use kinds::KINDS;

use crate::runtime::{CommandError, Refusal};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use corduroy_log::error::LogError;
use corduroy_proto::runtime::extra;
use kinds::Kind;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{fmt, time::Duration};

/// What goes wrong where a leader is lost is over within this, in seconds.
const RETRY_AFTER: u64 = 1;

/// A problem, and all there is to say about it.
#[derive(Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: &'static Kind,
    detail: String,
    instance: Option<String>,
    key: Option<String>,
    extras: Map<String, Value>,
    /// In so many seconds it may be otherwise.
    retry: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(flatten)]
    extras: &'a Map<String, Value>,
}

impl Problem {
    /// Of the kind with this name.
    pub(super) fn new(name: &str, detail: impl Into<String>) -> Self {
        let kind = Kind::named(name);
        let retry = kind.status == StatusCode::SERVICE_UNAVAILABLE || name == "order-busy";
        let retry = retry.then_some(RETRY_AFTER);
        let (detail, instance, key) = (detail.into(), None, None);
        let problem = Problem(Box::new(Inner { kind, detail, instance, key, extras: Map::new(), retry }));
        if kind.name == name { problem } else { problem.with("reason", name) }
    }

    /// What `path` says cannot be read.
    pub(super) fn malformed(path: &str, reason: impl Into<String>) -> Self {
        Problem::at("malformed", path, reason.into())
    }

    /// What `path` says is against a rule.
    pub(super) fn rule(path: &str, reason: impl Into<String>) -> Self {
        Problem::at("rule-violated", path, reason.into())
    }

    fn at(name: &str, path: &str, reason: String) -> Self {
        let detail = if path.is_empty() { reason.clone() } else { format!("{path}: {reason}") };
        Problem::new(name, detail).with("errors", json!([{ "path": path, "reason": reason }]))
    }

    /// There is nothing with this id.
    pub(super) fn unknown(what: &str, id: &str) -> Self {
        Problem::new(&format!("unknown-{what}"), format!("there is no {what} {id}")).with("id", id)
    }

    /// A reply of a service that lacks what it always has.
    pub(super) fn defect(what: &str) -> Self {
        tracing::error!(what, "a service answered what it should not");
        Problem::new("fault", format!("the answer of the service has no {what}"))
    }

    /// What a service said no for.
    pub(super) fn of_refusal(refusal: &Refusal) -> Self {
        let texts = |wanted: &str| {
            refusal.extras().find_map(|(name, value)| match value {
                extra::Value::Text(text) if name == wanted => Some(text.clone()),
                _ => None,
            })
        };
        if let (true, Some(path)) = (matches!(refusal.name(), "rule-violated" | "malformed"), texts("path")) {
            let reason = texts("reason").unwrap_or_else(|| refusal.detail().to_owned());
            return Problem::at(refusal.name(), &path, reason);
        }
        refusal.extras().fold(Problem::new(refusal.name(), refusal.detail()), |problem, (name, value)| match value {
            extra::Value::Text(text) => problem.with(name, text.as_str()),
            extra::Value::Number(number) => problem.with(name, *number),
            extra::Value::Flag(flag) => problem.with(name, *flag),
        })
    }

    /// Why a command that went to a partition has no good answer.
    pub(super) fn of_command(error: &CommandError, partition: &str) -> Self {
        match error {
            CommandError::Refused(refusal) => Problem::of_refusal(&refusal.value),
            CommandError::Mismatch => {
                Problem::new("idempotency-mismatch", "another request was sent with this idempotency key")
            }
            CommandError::Busy(why) => Problem::new("overloaded", why).with("partition", partition),
            CommandError::Quota(why, after) => {
                Problem::new("rate-limited", why).with("partition", partition).again_after(*after)
            }
            CommandError::NoQuorum(why) => Problem::new("no-quorum", why).with("partition", partition),
            CommandError::NoService(_) => Problem::new("no-quorum", error.to_string()).with("partition", partition),
            CommandError::Unknown(why) => Problem::new("outcome-unknown", why).with("partition", partition),
        }
    }

    /// Whether it is of this kind.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.0.kind.name == kind
    }

    /// Whether it is of this kind, and says nothing by this name.
    pub(super) fn is_without(&self, kind: &str, extra: &str) -> bool {
        self.is(kind) && !self.0.extras.contains_key(extra)
    }

    /// Why a partition did not answer a question.
    pub(super) fn of_read(error: &LogError, partition: &str) -> Self {
        Problem::new("no-quorum", error.to_string()).with("partition", partition)
    }

    /// With more to go on. What a service calls `status` is that of an order; a problem has one of its own.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let name = if name == "status" { "orderStatus" } else { name };
        self.0.extras.insert(name.to_owned(), value.into());
        self
    }

    /// With a time after which it may be otherwise.
    fn again_after(mut self, after: Duration) -> Self {
        self.0.retry = Some(after.as_secs().max(RETRY_AFTER));
        self
    }

    /// With the request's own words for what a service calls otherwise: paths that begin with `service`.
    pub(super) fn in_words_of(mut self, service: &str, request: &str) -> Self {
        let errors = self.0.extras.get_mut("errors").and_then(Value::as_array_mut);
        let paths = errors.into_iter().flatten().filter_map(|error| error.get_mut("path"));
        for path in paths {
            if let Some(rest) = path.as_str().and_then(|path| path.strip_prefix(service)) {
                let renamed = format!("{request}{rest}");
                self.0.detail = self.0.detail.replacen(&format!("{service}{rest}"), &renamed, 1);
                *path = Value::String(renamed);
            }
        }
        self
    }

    /// At this path, under this idempotency key.
    pub(super) fn during(mut self, path: &str, key: Option<&str>) -> Self {
        self.0.instance = Some(path.to_owned());
        self.0.key = key.map(str::to_owned);
        self
    }

    #[cfg(test)]
    pub(super) fn name(&self) -> &'static str {
        self.0.kind.name
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.name, self.0.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner { kind, detail, instance, key, extras, retry } = *self.0;
        let body = Body {
            r#type: format!("/problems/{}", kind.name),
            title: kind.title,
            status: kind.status.as_u16(),
            detail: &detail,
            instance: instance.as_deref(),
            idempotency_key: key.as_deref(),
            extras: &extras,
        };
        // Strings and maps with keys that are strings always can be.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let media = HeaderValue::from_static("application/problem+json");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media)]);
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        (kind.status, headers, body).into_response()
    }
}

/// The page of a kind of problem.
pub(super) fn page(name: &str) -> Option<Html<String>> {
    let Kind { name, status, title, cause, remedy } = kinds::find(name)?;
    Some(Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title></head>\n<body>\n\
         <h1>{title}</h1>\n<p><code>{name}</code>, status {}</p>\n<h2>Cause</h2>\n<p>{cause}</p>\n\
         <h2>Remedy</h2>\n<p>{remedy}</p>\n</body></html>\n",
        status.as_u16()
    )))
}

pub(super) async fn not_found(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}; try /, /livez, /readyz?verbose or /metrics", uri.path());
    Problem::new("not-found", detail).with("id", uri.path()).during(uri.path(), None).into_response()
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{method} is not possible on {}", uri.path());
    Problem::new("method-not-allowed", detail).during(uri.path(), None).into_response()
}

#[cfg(test)]
mod tests;
