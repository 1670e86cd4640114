//! From anywhere to the leader of a key, and back; and questions, to any replica.
use super::{
    Refusal,
    aim::Aim,
    registry::Registry,
    service::{At, Service, Ticket, partition_of},
};
use bytes::Bytes;
use corduroy_log::{
    CallError as LineError, Consistency, Log, LogError,
    topic::NodeId,
    world::{Rng, Timestamp, World},
};
use corduroy_proto::runtime::{self as pb, answer, command_call, query_call, service_answer::Outcome, service_call};
use openraft_rt::{AsyncRuntime, Instant};
use prost::Message;
use std::{fmt, time::Duration};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Nothing happened, and for so long there is nobody who could do it.
const NO_QUORUM: Duration = Duration::from_millis(1500);
/// Bound on a question, but for [`NO_QUORUM`].
const QUESTION: Duration = Duration::from_secs(5);

/// A command, apart from what it says.
#[derive(Clone, Debug)]
pub struct CommandOptions {
    /// Its id: the same command that is sent again under it has one effect.
    pub id: Ticket,
    /// The client chose the id: it is remembered for longer.
    pub by_client: bool,
    /// What tells one content from another, where that is not what is sent; else 0.
    pub fingerprint: u64,
    /// Who asks.
    pub principal: String,
    /// For how long the answer is waited for.
    pub patience: Duration,
}

impl CommandOptions {
    /// A command with this id.
    pub fn new(id: Ticket) -> Self {
        CommandOptions {
            id,
            by_client: false,
            fingerprint: 0,
            principal: String::new(),
            patience: Duration::from_secs(30),
        }
    }
}

/// An answer, and what a read must have seen to see what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// Everything below these offsets.
    pub positions: Vec<pb::Position>,
    /// It is the answer of before: the command was sent again.
    pub replayed: bool,
}

/// Why a command has no answer, or a bad one.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandError {
    /// A business refusal: an answer, and final.
    Refused(Answered<Refusal>),
    /// Another command had this id.
    Mismatch,
    /// Nothing happened: too much is waiting there.
    Busy(String),
    /// Nothing happened: of this principal as many ids are remembered as may be. The first is forgotten after this time.
    Quota(String, Duration),
    /// Nothing happened: nobody leads that could do it.
    NoQuorum(String),
    /// It may have happened, or happen yet. Ask again under the same id.
    Unknown(String),
    /// There is no such service in this cluster.
    NoService(String),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Refused(refusal) => write!(f, "refused: {}", refusal.value),
            CommandError::Mismatch => f.write_str("another command had this id"),
            CommandError::Busy(why) => write!(f, "busy: {why}"),
            CommandError::Quota(why, _) => write!(f, "over the quota: {why}"),
            CommandError::NoQuorum(why) => write!(f, "no quorum: {why}"),
            CommandError::Unknown(why) => write!(f, "unknown outcome: {why}"),
            CommandError::NoService(name) => write!(f, "no service {name:?} in this cluster"),
        }
    }
}

impl std::error::Error for CommandError {}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// It.
    pub value: T,
    /// Everything below this was seen.
    pub position: pb::Position,
    /// Log time of what was seen last.
    pub time: Timestamp,
}

/// Speaks to the services of a cluster, from one of its nodes. Clones are the same.
pub struct Services<W: World> {
    registry: Registry<W>,
}

impl<W: World> Clone for Services<W> {
    fn clone(&self) -> Self {
        Services { registry: self.registry.clone() }
    }
}

impl<W: World> fmt::Debug for Services<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Services").field(&self.registry).finish()
    }
}

impl<W: World> Services<W> {
    /// Of a node with this registry.
    pub fn new(registry: &Registry<W>) -> Self {
        Services { registry: registry.clone() }
    }

    /// For how long callers wait for an answer, unless they say otherwise.
    pub fn patience(&self) -> Duration {
        self.registry.waits()
    }

    /// How many partitions a service has; `None`: there is no such service (yet).
    pub fn partitions(&self, service: &str) -> Option<u32> {
        let topics = self.registry.log().ok()?.topics();
        topics.iter().find(|topic| topic.name == service).map(|topic| topic.partitions.len() as u32)
    }

    /// The services of this build, whether the cluster has them or not.
    pub fn names(&self) -> Vec<&'static str> {
        self.registry.names()
    }

    /// The log of this node.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the node starts.
    pub fn log(&self) -> Result<&Log<W>, LogError> {
        self.registry.log()
    }

    /// An id nobody else has, for a command whose caller chose none: a UUIDv7, so that what is made with it sorts by time.
    pub fn new_id(&self) -> Ticket {
        let Ok(log) = self.registry.log() else { return Ticket(uuid::Uuid::now_v7().into_bytes()) };
        let env = log.env();
        let millis = corduroy_log::world::Clock::now(&env.clock).0 / 1000;
        Ticket(uuid::Builder::from_unix_timestamp_millis(millis, &ten(env.rng.next_id())).into_uuid().into_bytes())
    }

    /// Has the leader of a key decide a command, and waits for the answer. A leader that is lost meanwhile does not matter: the
    /// command is sent to the next one, under its id.
    ///
    /// # Errors
    /// [`CommandError`]; all but `Refused` say whether it may be tried again.
    pub async fn command<S: Service>(
        &self,
        key: &str,
        command: &S::Command,
        options: &CommandOptions,
    ) -> Result<Answered<S::Reply>, CommandError> {
        let partitions = self.partitions(S::NAME).ok_or_else(|| CommandError::NoService(S::NAME.into()))?;
        self.command_to::<S>(partition_of(key, partitions), key, command, options).await
    }

    /// The same, to a partition by its number.
    ///
    /// # Errors
    /// As [`Services::command`].
    pub async fn command_to<S: Service>(
        &self,
        partition: u32,
        key: &str,
        command: &S::Command,
        options: &CommandOptions,
    ) -> Result<Answered<S::Reply>, CommandError> {
        let command = Bytes::from(command.encode_to_vec());
        let fingerprint = match options.fingerprint {
            0 => xxh3_64(&command),
            given => given,
        };
        let answered =
            self.send(S::NAME, partition, key, command_call::What::Command(command), fingerprint, options).await?;
        let value = S::Reply::decode(answered.value).map_err(|error| CommandError::Unknown(error.to_string()))?;
        Ok(Answered { value, positions: answered.positions, replayed: answered.replayed })
    }

    /// Runs a dead letter of a partition again. Answers when that has been decided; it may be a dead letter again, as which it is
    /// refused.
    ///
    /// # Errors
    /// As [`Services::command`]; `unknown-dead-letter`, `dead-letter-settled`.
    pub async fn redrive(
        &self,
        service: &str,
        partition: u32,
        letter: u64,
        options: &CommandOptions,
    ) -> Result<Answered<()>, CommandError> {
        let what = command_call::What::Redrive(letter);
        let answered = self.send(service, partition, "", what, letter.wrapping_add(1), options).await?;
        Ok(Answered { value: (), positions: answered.positions, replayed: answered.replayed })
    }

    /// Gives a dead letter up. What waits behind it goes on.
    ///
    /// # Errors
    /// As [`Services::redrive`].
    pub async fn discard(
        &self,
        service: &str,
        partition: u32,
        letter: u64,
        reason: &str,
        options: &CommandOptions,
    ) -> Result<Answered<()>, CommandError> {
        let fingerprint = xxh3_64(reason.as_bytes()) ^ letter.wrapping_add(1);
        let what = command_call::What::Discard(pb::DiscardCall { letter, reason: reason.into() });
        let answered = self.send(service, partition, "", what, fingerprint, options).await?;
        Ok(Answered { value: (), positions: answered.positions, replayed: answered.replayed })
    }

    async fn send(
        &self,
        service: &str,
        partition: u32,
        key: &str,
        what: command_call::What,
        fingerprint: u64,
        options: &CommandOptions,
    ) -> Result<Answered<Bytes>, CommandError> {
        let cause = pb::CommandCause {
            id: options.id.to_bytes(),
            fingerprint,
            expires: 0,
            principal: options.principal.clone(),
            by_client: options.by_client,
            key: key.to_owned(),
        };
        let call = pb::CommandCall { cause: Some(cause), what: Some(what), patience: 0 };
        let began = <<W::Tasks as AsyncRuntime>::Instant as Instant>::now();
        let (mut unknown, mut why) = (None, String::from("no node was asked"));
        let mut aim = Aim::default();
        loop {
            let left = options.patience.saturating_sub(began.elapsed());
            if left.is_zero() || (unknown.is_none() && began.elapsed() >= NO_QUORUM) {
                let name = format!("{service}/{partition}");
                return Err(match unknown {
                    Some(unknown) => CommandError::Unknown(format!("{name}: {unknown}")),
                    None => CommandError::NoQuorum(format!("{name}: {why}")),
                });
            }
            let node = match self.registry.log().and_then(|log| aim.next(log, service, partition)) {
                Ok(node) => node,
                Err(error) => return Err(CommandError::NoService(error.to_string())),
            };
            let call = pb::CommandCall { patience: left.as_micros() as u64, ..call.clone() };
            match self.ask(node, service, partition, service_call::What::Command(call), left).await {
                Outcome::Answered(pb::Answered { answer: Some(answer), replayed }) => {
                    let positions = answer.positions;
                    return match answer.outcome {
                        Some(answer::Outcome::Reply(value)) => Ok(Answered { value, positions, replayed }),
                        Some(answer::Outcome::Refusal(refusal)) => {
                            Err(CommandError::Refused(Answered { value: Refusal(refusal), positions, replayed }))
                        }
                        None => Err(CommandError::Unknown("an answer that says nothing".into())),
                    };
                }
                Outcome::Mismatch(_) => return Err(CommandError::Mismatch),
                // It may have happened when it was asked for before.
                Outcome::Busy(_) | Outcome::Quota(_) if unknown.is_some() => aim.missed(None),
                Outcome::Busy(why) => return Err(CommandError::Busy(why)),
                Outcome::Quota(after) => {
                    let why =
                        format!("{service}/{partition} remembers as many idempotency keys of this caller as it may");
                    return Err(CommandError::Quota(why, Duration::from_micros(after)));
                }
                Outcome::NotLeader(hint) => {
                    why = format!("node {node} does not lead it");
                    aim.missed((hint != 0).then_some(hint));
                }
                Outcome::Unavailable(said) => {
                    why = said;
                    aim.missed(None);
                }
                Outcome::Unknown(said) => {
                    unknown = Some(said);
                    aim.missed(None);
                }
                Outcome::Answered(_) | Outcome::Query(_) => {
                    unknown = Some(format!("node {node} answered something else than was asked"));
                    aim.missed(None);
                }
            }
            let pause = aim.pause().min(left);
            <W::Tasks as AsyncRuntime>::sleep(pause).await;
        }
    }

    /// The state of an aggregate.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`]; [`LogError::Unavailable`] when no replica could say in time.
    pub async fn get<S: Service>(
        &self,
        key: &str,
        consistency: Consistency,
    ) -> Result<Found<Option<S::State>>, LogError> {
        let partitions = self.partitions(S::NAME).ok_or_else(|| LogError::UnknownTopic(S::NAME.into()))?;
        let partition = partition_of(key, partitions);
        let found = self.query(S::NAME, partition, query_call::What::Get(key.to_owned()), consistency).await?;
        let state = |aggregate: &pb::StoredAggregate| S::State::decode(aggregate.state.clone()).map_err(unreadable);
        let value = found.value.aggregates.first().map(state).transpose()?;
        Ok(Found { value, position: found.position, time: found.time })
    }

    /// Aggregates of a partition by key, those that begin with `prefix`, behind `after`. With whether there are more.
    ///
    /// # Errors
    /// As [`Services::get`].
    pub async fn scan<S: Service>(
        &self,
        partition: u32,
        prefix: &str,
        after: &str,
        limit: u32,
        consistency: Consistency,
    ) -> Result<Found<(Vec<(String, S::State)>, bool)>, LogError> {
        let scan = pb::ScanCall { prefix: prefix.into(), after: after.into(), limit };
        let found = self.query(S::NAME, partition, query_call::What::Scan(scan), consistency).await?;
        let state = |aggregate: &pb::StoredAggregate| {
            Ok((aggregate.key.clone(), S::State::decode(aggregate.state.clone()).map_err(unreadable)?))
        };
        let aggregates = found.value.aggregates.iter().map(state).collect::<Result<_, LogError>>()?;
        Ok(Found { value: (aggregates, found.value.more), position: found.position, time: found.time })
    }

    /// The events of a partition at these offsets, in order: of many, as many as go into one answer.
    ///
    /// # Errors
    /// As [`Services::get`].
    pub async fn events<S: Service>(
        &self,
        partition: u32,
        offsets: Vec<u64>,
        consistency: Consistency,
    ) -> Result<Found<Vec<(At, S::Event)>>, LogError> {
        let what = query_call::What::Events(pb::EventsCall { offsets });
        let found = self.query(S::NAME, partition, what, consistency).await?;
        let event = |stored: &pb::StoredEvent| {
            let at = At { offset: stored.offset, time: Timestamp(stored.time) };
            Ok((at, S::Event::decode(stored.event.clone()).map_err(unreadable)?))
        };
        let value = found.value.events.iter().map(event).collect::<Result<_, LogError>>()?;
        Ok(Found { value, position: found.position, time: found.time })
    }

    /// What a partition keeps beside its aggregates.
    ///
    /// # Errors
    /// As [`Services::get`].
    pub async fn partition_state<S: Service>(
        &self,
        partition: u32,
        consistency: Consistency,
    ) -> Result<Found<S::Partition>, LogError> {
        let found = self.query(S::NAME, partition, query_call::What::Partition(true), consistency).await?;
        let value = S::Partition::decode(found.value.partition.clone()).map_err(unreadable)?;
        Ok(Found { value, position: found.position, time: found.time })
    }

    /// Asks a partition anything.
    ///
    /// # Errors
    /// As [`Services::get`].
    pub async fn query(
        &self,
        service: &str,
        partition: u32,
        what: query_call::What,
        consistency: Consistency,
    ) -> Result<Found<pb::QueryAnswer>, LogError> {
        let consistency = match consistency {
            Consistency::Linearizable => query_call::Consistency::Linearizable(true),
            Consistency::Stale => query_call::Consistency::Stale(true),
            Consistency::Session(offset) => query_call::Consistency::Session(offset),
        };
        let call = pb::QueryCall { consistency: Some(consistency), what: Some(what) };
        let began = <<W::Tasks as AsyncRuntime>::Instant as Instant>::now();
        let mut why = String::from("no node was asked");
        let mut aim = Aim::here_first();
        while began.elapsed() < NO_QUORUM {
            let node = self.registry.log().and_then(|log| aim.next(log, service, partition))?;
            match self.ask(node, service, partition, service_call::What::Query(call.clone()), QUESTION).await {
                Outcome::Query(answer) => {
                    let position = pb::Position { topic: service.into(), partition, offset: answer.end };
                    return Ok(Found { position, time: Timestamp(answer.time), value: answer });
                }
                Outcome::Unavailable(said) | Outcome::Unknown(said) | Outcome::Busy(said) => why = said,
                _ => why = format!("node {node} answered something else than was asked"),
            }
            aim.missed(None);
            <W::Tasks as AsyncRuntime>::sleep(aim.pause()).await;
        }
        Err(LogError::Unavailable(format!("{service}/{partition}: {why}")))
    }

    async fn ask(
        &self,
        node: NodeId,
        service: &str,
        partition: u32,
        what: service_call::What,
        patience: Duration,
    ) -> Outcome {
        let log = match self.registry.log() {
            Ok(log) => log,
            Err(error) => return Outcome::Unavailable(error.to_string()),
        };
        let call = pb::ServiceCall { service: service.to_owned(), partition, what: Some(what) };
        if node == log.node() {
            return perform(&self.registry, call).await.outcome.unwrap_or(Outcome::Unavailable("nothing".into()));
        }
        // The node that is asked gives up a little before.
        let patience = patience + Duration::from_millis(100);
        match log.call(node, call.encode_to_vec().into(), patience).await {
            Ok(answer) => match pb::ServiceAnswer::decode(answer) {
                Ok(pb::ServiceAnswer { outcome: Some(outcome) }) => outcome,
                Ok(_) => Outcome::Unknown(format!("node {node} answered nothing")),
                Err(error) => Outcome::Unknown(format!("node {node}: {error}")),
            },
            Err(LineError::NotTaken(why)) => Outcome::Unavailable(why),
            Err(LineError::NoAnswer(why)) => Outcome::Unknown(why),
        }
    }
}

pub(super) fn unreadable(error: prost::DecodeError) -> LogError {
    LogError::Unavailable(format!("a state that cannot be read: {error}"))
}

fn ten(random: [u8; 16]) -> [u8; 10] {
    let mut ten = [0; 10];
    ten.copy_from_slice(&random[..10]);
    ten
}

/// The id of a command whose client chose a key: the key itself where that is a UUID, else made of it, of whom and of for which
/// service.
pub fn id_of_key(principal: &str, service: &str, key: &str) -> Ticket {
    if let Ok(uuid) = uuid::Uuid::try_parse(key) {
        return Ticket(uuid.into_bytes());
    }
    let mut content = Vec::with_capacity(principal.len() + service.len() + key.len() + 2);
    for part in [principal, service] {
        content.extend_from_slice(part.as_bytes());
        content.push(0);
    }
    content.extend_from_slice(key.as_bytes());
    Ticket(uuid::Uuid::new_v8(xxh3_128(&content).to_be_bytes()).into_bytes())
}

/// A call of another node.
pub(super) async fn answer_call<W: World>(registry: Registry<W>, call: Bytes) -> Result<Bytes, String> {
    let call = pb::ServiceCall::decode(call).map_err(|error| format!("not a call: {error}"))?;
    Ok(perform(&registry, call).await.encode_to_vec().into())
}

async fn perform<W: World>(registry: &Registry<W>, call: pb::ServiceCall) -> pb::ServiceAnswer {
    let Some(host) = registry.host(&call.service).cloned() else {
        return unavailable(format!("this node has no service {:?}", call.service));
    };
    match call.what {
        Some(service_call::What::Command(command)) => host.command(call.partition, command).await,
        Some(service_call::What::Query(query)) => host.query(call.partition, query).await,
        None => unavailable("a call that asks nothing".into()),
    }
}

pub(super) fn unavailable(why: String) -> pb::ServiceAnswer {
    pb::ServiceAnswer { outcome: Some(Outcome::Unavailable(why)) }
}
