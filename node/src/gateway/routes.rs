//! Routes that say what they are: one table is served, and described at `/openapi.json`.
use super::{
    answer::Answer,
    ask::Ask,
    consistency::{Freshness, Served},
    problem,
    problem::Problem,
};
use crate::node::NodeServices;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use futures::future::BoxFuture;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Bytes of a body.
const MAX_BODY: usize = 1024 * 1024;

type Handler = Arc<dyn Fn(Arc<Ask>) -> BoxFuture<'static, Result<Answer, Problem>> + Send + Sync>;

/// What a successful answer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Success {
    pub status: StatusCode,
    /// JSON, as it may be; empty: there is no body.
    pub example: &'static str,
    pub says: &'static str,
}

/// A method of a path.
#[derive(Clone)]
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    handler: Handler,
    /// What the query may say beside how fresh a read has to be.
    pub query: &'static [(&'static str, &'static str)],
    /// JSON, as it may be.
    pub body: Option<&'static str>,
    pub successes: Vec<Success>,
    /// The problems that are its own, by name.
    pub problems: &'static [&'static str],
    /// What it answers is no JSON but this.
    pub media: Option<&'static str>,
    /// Headers that it knows beside those all do: name and meaning.
    pub headers: &'static [(&'static str, &'static str)],
    /// How fresh a read has to be that says nothing of it.
    pub usual: Freshness,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Route {
    pub(super) fn new<F>(
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: impl Fn(Arc<Ask>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |ask| Box::pin(handler(ask)));
        let (query, headers, body, media) = (&[][..], &[][..], None, None);
        let (successes, problems, usual) = (Vec::new(), &[][..], Freshness::Session);
        Route { method, path, summary, handler, query, body, successes, problems, media, headers, usual }
    }

    /// What the query may say: name and meaning.
    pub(super) fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Route { query, ..self }
    }

    /// Takes JSON, such as this.
    pub(super) fn body(self, example: &'static str) -> Self {
        Route { body: Some(example), ..self }
    }

    /// Answers this, such as here.
    pub(super) fn gives(mut self, status: StatusCode, says: &'static str, example: &'static str) -> Self {
        self.successes.push(Success { status, example, says });
        self
    }

    /// May refuse like this.
    pub(super) fn refuses(self, problems: &'static [&'static str]) -> Self {
        Route { problems, ..self }
    }

    /// What its own headers say: name and meaning.
    pub(super) fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Route { headers, ..self }
    }

    /// What the node has that is asked is enough for callers that name nothing newer.
    pub(super) fn nearby(self) -> Self {
        Route { usual: Freshness::Nearby, ..self }
    }

    /// Answers no JSON.
    pub(super) fn media(self, media: &'static str) -> Self {
        Route { media: Some(media), ..self }
    }
}

/// Serves a table.
pub(super) fn router(services: &NodeServices, table: Vec<Route>) -> Router {
    let (mut paths, served) = (BTreeMap::<&'static str, MethodRouter>::new(), Arc::new(Served::default()));
    for route in table {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else {
            unreachable!("{route:?} has a method that HTTP knows");
        };
        let (services, served, handler, usual) = (services.clone(), served.clone(), route.handler, route.usual);
        let serve = on(filter, move |request: Request| {
            serve(services.clone(), served.clone(), handler.clone(), usual, request)
        });
        let methods = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, methods.merge(serve));
    }
    let router = paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router.method_not_allowed_fallback(problem::method_not_allowed).layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn serve(
    services: NodeServices,
    served: Arc<Served>,
    handler: Handler,
    usual: Freshness,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    match Ask::read(services, request, usual, served).await {
        Ok(ask) => {
            let ask = Arc::new(ask);
            let outcome = handler(ask.clone()).await;
            ask.finish(outcome)
        }
        Err(problem) => problem.during(&path, None).into_response(),
    }
}
