//! What a request is answered when all is well.
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// A status, headers and a body.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Content,
}

/// What is answered.
#[derive(Debug)]
enum Content {
    Whole(Vec<u8>),
    /// It comes as it comes.
    Stream(Body),
}

impl Answer {
    /// Done, and this came of it.
    pub(super) fn json(value: &impl Serialize) -> Self {
        // What is answered are structs of texts, numbers and lists.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Answer::of("application/json", body)
    }

    /// A page.
    pub(super) fn html(text: String) -> Self {
        Answer::of("text/html; charset=utf-8", text.into_bytes())
    }

    fn of(kind: &'static str, body: Vec<u8>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        Answer { status: StatusCode::OK, headers, body: Content::Whole(body) }
    }

    /// As it is: a stream, or the beginning of another protocol.
    pub(super) fn raw(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: Content::Stream(body) }
    }

    /// It was made, and is found there.
    pub(super) fn created(self, location: &str) -> Self {
        Answer { status: StatusCode::CREATED, ..self.header(header::LOCATION, location) }
    }

    /// Done, or begun; what came of it is found there.
    pub(super) fn begun(location: &str) -> Self {
        Answer::nothing().accepted_at(location)
    }

    /// The same, with what there is to say already.
    pub(super) fn accepted_at(self, location: &str) -> Self {
        Answer { status: StatusCode::ACCEPTED, ..self.header(header::LOCATION, location) }
    }

    /// It has begun as the caller preferred, and goes on there.
    pub(super) fn accepted(location: &str) -> Self {
        Answer::begun(location).header(HeaderName::from_static("preference-applied"), "respond-async")
    }

    /// It is done, and there is nothing to say about it.
    pub(super) fn nothing() -> Self {
        Answer { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Content::Whole(Vec::new()) }
    }

    /// The caller has it already.
    pub(super) fn unchanged(mut self) -> Self {
        self.headers.remove(header::CONTENT_TYPE);
        Answer { status: StatusCode::NOT_MODIFIED, body: Content::Whole(Vec::new()), ..self }
    }

    /// What it says; nothing of what comes as it comes.
    pub(super) fn body(&self) -> &[u8] {
        match &self.body {
            Content::Whole(body) => body,
            Content::Stream(_) => &[],
        }
    }

    /// With a header; what cannot be in one is left out.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self.body {
            Content::Whole(body) => body.into(),
            Content::Stream(body) => body,
        };
        (self.status, self.headers, body).into_response()
    }
}
