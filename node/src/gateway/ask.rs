//! A request while it is answered: what it says, what was done for it, and what it was told of the log.
//!
//! Reads are as fresh as the caller wants; those a mutation needs for itself see everything.
use super::{
    answer::Answer,
    consistency::{self, Freshness, Served},
    idempotency::{self, Key},
    problem::Problem,
    session::{self, Session},
};
use crate::{
    node::NodeServices,
    runtime::{Answered, At, CommandError, CommandOptions, Found, FoundPage, IndexKey, Service, Ticket, partition_of},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request, ws::WebSocketUpgrade},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use corduroy_log::{Consistency, RealLog, error::LogError, world::Timestamp};
use corduroy_proto::runtime::{Position, QueryAnswer, query_call};
use prost::Message;
use serde::de::DeserializeOwned;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long a read waits for a service that has not read yet what its caller was told, and how often it looks.
const CATCHES_UP: Duration = Duration::from_secs(2);
const LOOKS: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Ask {
    services: NodeServices,
    method: Method,
    path: String,
    params: Vec<(String, String)>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    /// Of a caller that wants a WebSocket.
    upgrade: Mutex<Option<WebSocketUpgrade>>,
    body: Bytes,
    fresh: Freshness,
    served: Arc<Served>,
    session: Session,
    /// Only of mutations.
    key: OnceLock<Key>,
    done: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    seen: Session,
    /// Log time of what is oldest among what was read, and of what is newest.
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    commands: usize,
    replays: usize,
}

impl Ask {
    /// Takes a request as it is; what it says is read by whoever needs it. `usual`: how fresh a read has to be that says
    /// nothing of it, on a node that has served this.
    pub(super) async fn read(
        services: NodeServices,
        request: Request,
        usual: Freshness,
        served: Arc<Served>,
    ) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let params = RawPathParams::from_request_parts(&mut parts, &()).await;
        let params = params.map_err(|rejection| Problem::malformed("path", rejection.to_string()))?;
        let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|rejection| Problem::malformed("query", rejection.body_text()))?;
        let headers = parts.headers.clone();
        let upgrade = Mutex::new(WebSocketUpgrade::from_request_parts(&mut parts, &()).await.ok());
        let body = Bytes::from_request(Request::from_parts(parts, body), &()).await;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new("too-large", "a body has at most 1 MiB"),
            _ => Problem::malformed("body", rejection.body_text()),
        })?;
        let session = Session::of(&headers);
        let (fresh, key, done) = (Freshness::Linearizable, OnceLock::new(), Mutex::default());
        let ask =
            Ask { services, method, path, params, query, headers, upgrade, body, fresh, served, session, key, done };
        if ask.mutates() {
            if let Some(given) = Key::of(&ask.headers)? {
                ask.key.get_or_init(|| given);
            }
            return Ok(ask);
        }
        let fresh = Freshness::read(ask.query("consistency"), usual)?;
        Ok(Ask { fresh, ..ask })
    }

    fn mutates(&self) -> bool {
        !self.method.is_safe()
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path, as the routes have it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// A part of the path.
    pub(super) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    /// What the query says last of this.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The way to a WebSocket, once; `None`: the caller wants none.
    pub(super) fn upgrade(&self) -> Option<WebSocketUpgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A header, where it is a text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All of the query.
    pub(super) fn queries(&self) -> &[(String, String)] {
        &self.query
    }

    /// The headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The time, in microseconds: by the clock of this machine, but never before the log time of what was read.
    pub(super) fn now(&self) -> u64 {
        self.done().newest.map_or(0, |newest| newest.0).max(clock())
    }

    /// How fresh a read of a partition has to be.
    fn consistency<S: Service>(&self, partition: u32) -> Consistency {
        self.fresh.of(&self.session, &self.served, S::NAME, partition)
    }

    /// Whether a read of a partition sees everything anybody was told.
    pub(super) fn is_newest<S: Service>(&self, partition: u32) -> bool {
        self.consistency::<S>(partition) == Consistency::Linearizable
    }

    /// The body, as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut json = serde_json::Deserializer::from_slice(&self.body);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let path = if matches!(path.as_str(), "." | "?") { "" } else { &path };
            Problem::malformed(path, error.inner().to_string())
        })?;
        json.end().map_err(|error| Problem::malformed("", error.to_string()))?;
        Ok(read)
    }

    /// The same where no body says that everything is as usual.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// The caller does not want to wait.
    pub(super) fn prefers_async(&self) -> bool {
        let values = self.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let mut preferences = values.flat_map(|value| value.split([',', ';']));
        preferences.any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
    }

    /// The idempotency key: the caller's, or one that is made now and stays.
    pub(super) fn key(&self) -> &Key {
        self.key.get_or_init(|| Key::made(self.services.new_id()))
    }

    /// The key of a request that has none in its header but says one elsewhere.
    pub(super) fn key_or(&self, text: &str) -> Result<(), Problem> {
        let given = Key::given(text)?;
        self.key.get_or_init(|| given);
        Ok(())
    }

    /// How many partitions a service has.
    pub(super) fn partitions<S: Service>(&self) -> Result<u32, Problem> {
        let none = || Problem::new("no-quorum", "this node does not know yet where the service is");
        self.services.partitions(S::NAME).filter(|count| *count > 0).ok_or_else(|| none().with("partition", S::NAME))
    }

    /// The partition of a key.
    pub(super) fn partition_of<S: Service>(&self, key: &str) -> Result<u32, Problem> {
        Ok(partition_of(key, self.partitions::<S>()?))
    }

    /// Has a command decided, by the key of the request.
    pub(super) async fn command<S: Service>(&self, key: &str, command: &S::Command) -> Result<S::Reply, Problem> {
        self.command_in::<S>(self.partition_of::<S>(key)?, key, command).await
    }

    /// The same where the key does not say which partition it is in.
    pub(super) async fn command_in<S: Service>(
        &self,
        partition: u32,
        key: &str,
        command: &S::Command,
    ) -> Result<S::Reply, Problem> {
        let answered = self.command_as::<S>(self.key().id(S::NAME), partition, key, command).await;
        let answered = answered.map_err(|error| Problem::of_command(&error, &shown::<S>(partition)))?;
        Ok(answered.value)
    }

    /// Has one of several commands decided, by an id of its own.
    pub(super) async fn command_as<S: Service>(
        &self,
        id: Ticket,
        partition: u32,
        key: &str,
        command: &S::Command,
    ) -> Result<Answered<S::Reply>, CommandError> {
        let options = self.options(id);
        self.told(self.services.command_to::<S>(partition, key, command, &options).await)
    }

    fn options(&self, id: Ticket) -> CommandOptions {
        CommandOptions {
            by_client: self.key().is_by_client(),
            fingerprint: idempotency::fingerprint(&self.method, &self.path, &self.body),
            patience: self.services.patience(),
            ..CommandOptions::new(id)
        }
    }

    /// Has a dead letter of a partition run again.
    pub(super) async fn redrive(&self, id: Ticket, at: &Place<'_>, letter: u64) -> Result<Answered<()>, CommandError> {
        self.told(self.services.redrive(at.service, at.partition, letter, &self.options(id)).await)
    }

    /// Gives a dead letter of a partition up.
    pub(super) async fn discard(
        &self,
        id: Ticket,
        at: &Place<'_>,
        letter: u64,
        reason: &str,
    ) -> Result<Answered<()>, CommandError> {
        self.told(self.services.discard(at.service, at.partition, letter, reason, &self.options(id)).await)
    }

    /// What came of a command becomes part of the reply.
    fn told<T>(&self, answered: Result<Answered<T>, CommandError>) -> Result<Answered<T>, CommandError> {
        let mut done = self.done();
        done.commands += 1;
        let (positions, replayed) = match &answered {
            Ok(answered) => (&answered.positions[..], answered.replayed),
            Err(CommandError::Refused(refusal)) => (&refusal.positions[..], refusal.replayed),
            Err(_) => (&[][..], false),
        };
        positions.iter().for_each(|position| self.served.see(position));
        done.seen.see(positions);
        done.replays += usize::from(replayed);
        drop(done);
        answered
    }

    /// The state of an aggregate.
    pub(super) async fn get<S: Service>(&self, key: &str) -> Result<Option<S::State>, Problem> {
        self.get_in::<S>(self.partition_of::<S>(key)?, key).await
    }

    /// The same where the key does not say which partition it is in.
    pub(super) async fn get_in<S: Service>(&self, partition: u32, key: &str) -> Result<Option<S::State>, Problem> {
        let answer = self.look(&Place { service: S::NAME, partition }, query_call::What::Get(key.to_owned())).await?;
        let state = answer.aggregates.first().map(|found| S::State::decode(found.state.clone())).transpose();
        state.map_err(|_| Problem::defect("state that can be read"))
    }

    /// Aggregates of a partition, behind a key; and whether there are more.
    pub(super) async fn scan<S: Service>(
        &self,
        partition: u32,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<(String, S::State)>, bool), Problem> {
        let consistency = self.consistency::<S>(partition);
        let found = self.services.scan::<S>(partition, prefix, after, limit, consistency).await;
        self.saw::<S, _>(partition, found)
    }

    /// Aggregates of a partition that are found by something else than their key, behind a key; of about `limit` that are looked at.
    pub(super) async fn find<S: Service>(
        &self,
        partition: u32,
        by: &IndexKey,
        after: &str,
        limit: u32,
    ) -> Result<FoundPage<S::State>, Problem> {
        let consistency = self.consistency::<S>(partition);
        let found = self.services.find::<S>(partition, by, after, limit, consistency).await;
        self.saw::<S, _>(partition, found)
    }

    /// What a partition keeps beside its aggregates.
    pub(super) async fn partition_state<S: Service>(&self, partition: u32) -> Result<S::Partition, Problem> {
        let consistency = self.consistency::<S>(partition);
        self.saw::<S, _>(partition, self.services.partition_state::<S>(partition, consistency).await)
    }

    /// The partitions of all services there are, or of one.
    pub(super) fn places<'s>(&self, service: Option<&'s str>) -> Vec<Place<'s>> {
        let names: Vec<&'s str> = match service {
            Some(service) => vec![service].into_iter().filter(|name| self.services.names().contains(name)).collect(),
            None => self.services.names(),
        };
        let of = |service| {
            (0..self.services.partitions(service).unwrap_or(0)).map(move |partition| Place { service, partition })
        };
        names.into_iter().flat_map(of).collect()
    }

    /// Asks a partition of any service.
    pub(super) async fn look(&self, at: &Place<'_>, what: query_call::What) -> Result<QueryAnswer, Problem> {
        let consistency = self.fresh.of(&self.session, &self.served, at.service, at.partition);
        let found = self.services.query(at.service, at.partition, what, consistency).await;
        self.saw_of(&at.to_string(), found)
    }

    /// The log of this node.
    pub(super) fn log(&self) -> Result<&RealLog, Problem> {
        self.services.log().map_err(|error| Problem::new("no-quorum", error.to_string()))
    }

    /// The events of a partition at these offsets, in order: of many, the first of them.
    pub(super) async fn events<S: Service>(
        &self,
        partition: u32,
        offsets: Vec<u64>,
    ) -> Result<Vec<(At, S::Event)>, Problem> {
        let seen = offsets.last().map_or(0, |last| last.saturating_add(1));
        // They are known to be there: whoever has them may say what they are.
        let consistency = match self.fresh {
            Freshness::Stale => Consistency::Stale,
            Freshness::Nearby | Freshness::Session | Freshness::Linearizable => Consistency::Session(seen),
        };
        self.saw::<S, _>(partition, self.services.events::<S>(partition, offsets, consistency).await)
    }

    /// How far a partition has read its sources.
    pub(super) async fn read_by<S: Service>(&self, partition: u32) -> Result<Vec<Position>, Problem> {
        let answer = self.look(&Place { service: S::NAME, partition }, query_call::What::Sources(true)).await?;
        Ok(answer.sources)
    }

    /// Waits until a partition has read of its sources what the caller was told of them.
    pub(super) async fn caught_up<S: Service>(&self, partition: u32) -> Result<(), Problem> {
        let told = match self.fresh {
            Freshness::Stale => Vec::new(),
            Freshness::Nearby | Freshness::Session | Freshness::Linearizable => self.session.of_topics(S::LISTENS),
        };
        let began = Instant::now();
        while !told.is_empty() {
            let read = self.read_by::<S>(partition).await?;
            let has = |told: &&Position| {
                let mut of_this =
                    read.iter().filter(|read| (&read.topic, read.partition) == (&told.topic, told.partition));
                told.offset == 0 || of_this.any(|read| read.offset >= told.offset)
            };
            let Some(missing) = told.iter().find(|told| !has(told)) else { break };
            if began.elapsed() >= CATCHES_UP {
                let detail =
                    format!("what the session token says of {}/{} is not read yet", missing.topic, missing.partition);
                return Err(Problem::new("no-quorum", detail).with("partition", shown::<S>(partition)));
            }
            tokio::time::sleep(LOOKS).await;
        }
        Ok(())
    }

    /// The end of a partition.
    pub(super) async fn end<S: Service>(&self, partition: u32) -> Result<Position, Problem> {
        let answer = self.look(&Place { service: S::NAME, partition }, query_call::What::Sources(true)).await?;
        Ok(Position { topic: S::NAME.into(), partition, offset: answer.end })
    }

    fn saw<S: Service, T>(&self, partition: u32, found: Result<Found<T>, LogError>) -> Result<T, Problem> {
        self.saw_of(&shown::<S>(partition), found)
    }

    fn saw_of<T>(&self, partition: &str, found: Result<Found<T>, LogError>) -> Result<T, Problem> {
        let found = found.map_err(|error| Problem::of_read(&error, partition))?;
        if self.fresh != Freshness::Stale {
            self.served.see(&found.position);
        }
        let mut done = self.done();
        done.seen.see(&[found.position]);
        done.oldest = Some(done.oldest.map_or(found.time, |oldest| oldest.min(found.time)));
        done.newest = done.newest.max(Some(found.time));
        Ok(found.value)
    }

    /// The reply to it, with what every reply says.
    pub(super) fn finish(&self, outcome: Result<Answer, Problem>) -> Response {
        let mut headers = HeaderMap::new();
        let key = self.mutates().then(|| self.key().text());
        if let Some(value) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.insert(idempotency::HEADER, value);
        }
        let done = self.done();
        if done.commands > 0 && done.commands == done.replays {
            headers.insert(idempotency::REPLAY, HeaderValue::from_static("true"));
        }
        if matches!(self.fresh, Freshness::Stale | Freshness::Nearby)
            && let Some(oldest) = done.oldest
        {
            headers.insert(consistency::AGE, HeaderValue::from(age(oldest)));
            insert(&mut headers, consistency::POSITION, &done.seen.shown());
        }
        headers.extend(done.seen.clone().merged(&self.session).to_header().map(|token| (session::HEADER, token)));
        drop(done);
        match outcome {
            Ok(answer) => (headers, answer).into_response(),
            Err(problem) => (headers, problem.during(&self.path, key)).into_response(),
        }
    }
}

/// A partition of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'s> {
    pub service: &'s str,
    pub partition: u32,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.partition)
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// In milliseconds, by the clock of this machine.
fn age(time: Timestamp) -> u64 {
    clock().saturating_sub(time.0) / 1000
}

/// Microseconds since 1970, by the clock of this machine.
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// How a partition is named.
pub(super) fn shown<S: Service>(partition: u32) -> String {
    format!("{}/{partition}", S::NAME)
}
