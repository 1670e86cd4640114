//! The services of a node, and their partitions.
use super::{
    call::{answer_call, unavailable},
    events, index,
    leader::{COMMANDS, Mail, lead},
    replica::{Evolver, Replica},
    service::Service,
};
use corduroy_log::{
    Calls, Config, Consistency, Log, LogError, Machine, Machines, NewTopic, topic::Format, world::World,
};
use corduroy_proto::runtime::{self as pb, query_call, service_answer::Outcome};
use futures::future::BoxFuture;
use openraft_rt::AsyncRuntime;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, oneshot};

/// Pause before it is tried again to make a topic.
const TOPICS: Duration = Duration::from_millis(100);
/// How long callers wait for an answer: longer than a checkout, what it gives back, and a leader that is lost meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
/// Default of [`Keep::changes`].
const CHANGES: u64 = 16 << 20;
/// Aggregates of one page.
const PAGE: u32 = 1000;

/// What a partition of a service remembers, and how much of it in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// For how long a command's id, in log time, where a client chose it.
    pub clients: Duration,
    /// Where a gateway did, for its own retries.
    pub gateways: Duration,
    /// How many ids that clients chose are remembered of each principal in a partition; with so many, new ones are refused. 0: any
    /// number.
    pub quota: u64,
    /// Bytes of aggregates that changed since a table of them was written; with more, and more than an eighth of that table, the
    /// next checkpoint writes a new one.
    pub changes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        let (clients, gateways) = (Duration::from_secs(24 * 3600), Duration::from_secs(600));
        Keep { clients, gateways, quota: 1_000_000, changes: CHANGES }
    }
}

/// One service on this node.
pub(crate) struct Host<W: World, S: Service> {
    pub(crate) service: Arc<S>,
    pub(crate) keep: Keep,
    pub(crate) max_age: Option<Duration>,
    partitions: u32,
    /// Those that are open here, as they were opened last.
    replicas: Mutex<BTreeMap<u32, Arc<Held<S>>>>,
    opened: Notify,
    log: Arc<OnceLock<Log<W>>>,
}

type Held<S> = (Arc<Replica<S, Mail>>, Arc<Semaphore>);

impl<W: World, S: Service> Host<W, S> {
    fn held(&self, partition: u32) -> Option<Arc<Held<S>>> {
        self.replicas.lock().expect("a map").get(&partition).cloned()
    }

    /// Whether a partition has not been opened anew since.
    pub(crate) fn is_current(&self, replica: &Arc<Replica<S, Mail>>) -> bool {
        self.held(replica.partition).is_some_and(|held| Arc::ptr_eq(&held.0, replica))
    }
}

/// What the rest of the node needs to know of a service.
pub(crate) trait AnyHost<W: World>: Send + Sync {
    fn name(&self) -> &'static str;
    fn partitions(&self) -> u32;
    fn listens(&self) -> &'static [&'static str];
    fn machine(&self, partition: u32) -> Box<dyn Machine>;
    /// Leads what can be led here.
    fn start(self: Arc<Self>, log: Log<W>);
    fn command(self: Arc<Self>, partition: u32, call: pb::CommandCall) -> BoxFuture<'static, pb::ServiceAnswer>;
    fn query(self: Arc<Self>, partition: u32, call: pb::QueryCall) -> BoxFuture<'static, pb::ServiceAnswer>;
    /// A hash of the state of each partition held here, with its end.
    #[cfg(feature = "testing")]
    fn hashes(&self) -> Vec<(u32, u64, u64)>;
    /// The commands each partition held here remembers.
    #[cfg(feature = "testing")]
    fn remembered(&self) -> Vec<(u32, Vec<pb::StoredCommand>)>;
}

impl<W: World, S: Service> AnyHost<W> for Host<W, S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn listens(&self) -> &'static [&'static str] {
        S::LISTENS
    }

    fn machine(&self, partition: u32) -> Box<dyn Machine> {
        let replica = Arc::new(Replica::new(partition, self.keep.changes));
        let held = (replica.clone(), Arc::new(Semaphore::new(COMMANDS)));
        self.replicas.lock().expect("a map").insert(partition, Arc::new(held));
        self.opened.notify_one();
        Box::new(Evolver::<W, S, Mail>::new(replica))
    }

    fn start(self: Arc<Self>, log: Log<W>) {
        drop(<W::Tasks as AsyncRuntime>::spawn(async move {
            let mut led: BTreeMap<u32, Arc<Replica<S, Mail>>> = BTreeMap::new();
            while !log.is_stopping() {
                let held: Vec<_> = self.replicas.lock().expect("a map").values().cloned().collect();
                for replica in held.into_iter().map(|held| held.0.clone()) {
                    if led.get(&replica.partition).is_none_or(|led| !Arc::ptr_eq(led, &replica)) {
                        led.insert(replica.partition, replica.clone());
                        drop(<W::Tasks as AsyncRuntime>::spawn(lead(self.clone(), replica, log.clone())));
                    }
                }
                self.opened.notified().await;
            }
        }));
    }

    fn command(self: Arc<Self>, partition: u32, call: pb::CommandCall) -> BoxFuture<'static, pb::ServiceAnswer> {
        Box::pin(async move {
            let not_leader = || {
                let leader =
                    self.log.get().and_then(|log| log.holders(S::NAME, partition).ok()).and_then(|found| found.0);
                let leader = leader.filter(|leader| self.log.get().is_none_or(|log| log.node() != *leader));
                pb::ServiceAnswer { outcome: Some(Outcome::NotLeader(leader.unwrap_or_default())) }
            };
            let Some(held) = self.held(partition) else { return not_leader() };
            let Ok(place) = held.1.clone().try_acquire_owned() else {
                let why = format!("{}/{partition}: {COMMANDS} commands wait", S::NAME);
                return pb::ServiceAnswer { outcome: Some(Outcome::Busy(why)) };
            };
            let patience = Duration::from_micros(call.patience);
            let (waiter, answer) = oneshot::channel();
            if held.0.post(Mail::Command { call, waiter, place }).is_err() {
                return not_leader();
            }
            match <W::Tasks as AsyncRuntime>::timeout(patience, answer).await {
                Ok(Ok(mut answer)) => {
                    if let Some(Outcome::Answered(answered)) = &mut answer.outcome
                        && let Some(own) = answered.answer.as_mut().and_then(|answer| answer.positions.last_mut())
                    {
                        (own.topic, own.partition) = (S::NAME.into(), partition);
                    }
                    answer
                }
                Ok(Err(_)) => unknown(format!("{}/{partition} is led elsewhere before it answered", S::NAME)),
                Err(_) => unknown(format!("{}/{partition} has not answered within {patience:?}", S::NAME)),
            }
        })
    }

    fn query(self: Arc<Self>, partition: u32, call: pb::QueryCall) -> BoxFuture<'static, pb::ServiceAnswer> {
        Box::pin(async move {
            let Some(log) = self.log.get() else { return unavailable("this node is starting".into()) };
            let consistency = match call.consistency {
                Some(query_call::Consistency::Stale(_)) => Consistency::Stale,
                Some(query_call::Consistency::Session(offset)) => Consistency::Session(offset),
                Some(query_call::Consistency::Linearizable(_)) | None => Consistency::Linearizable,
            };
            if let Some(query_call::What::Find(find)) = call.what {
                let limit = page(find.limit);
                let found = async {
                    let here = log.partition(S::NAME, partition)?;
                    let keys = index::keys(&here, &find, limit, consistency).await?;
                    // Only now: it may have been opened anew.
                    let held = self.held(partition).ok_or(LogError::Unavailable("it is not held here".into()))?;
                    Ok::<_, LogError>(index::answer(&held.0, &find, limit, keys))
                };
                return match found.await {
                    Ok(answer) => pb::ServiceAnswer { outcome: Some(Outcome::Query(answer)) },
                    Err(error) => unavailable(error.to_string()),
                };
            }
            if let Some(query_call::What::Events(events)) = call.what {
                let found =
                    async { events::at(&log.partition(S::NAME, partition)?, &events.offsets, consistency).await };
                return match found.await {
                    Ok(answer) => pb::ServiceAnswer { outcome: Some(Outcome::Query(answer)) },
                    Err(error) => unavailable(error.to_string()),
                };
            }
            let reached = async { log.partition(S::NAME, partition)?.offsets(consistency).await };
            if let Err(error) = reached.await {
                return unavailable(error.to_string());
            }
            let Some(held) = self.held(partition) else { return unavailable("it is not held here".into()) };
            let sources = log.partition(S::NAME, partition).map(|here| here.sources()).unwrap_or_default();
            let mut answer = look(&held.0, call.what);
            if answer.sources.len() == 1 {
                answer.sources = named(log, sources);
            }
            pb::ServiceAnswer { outcome: Some(Outcome::Query(answer)) }
        })
    }

    #[cfg(feature = "testing")]
    fn hashes(&self) -> Vec<(u32, u64, u64)> {
        let held: Vec<_> = self.replicas.lock().expect("a map").values().cloned().collect();
        held.iter().map(|held| held.0.look(|state| (held.0.partition, state.end(), state.hash()))).collect()
    }

    #[cfg(feature = "testing")]
    fn remembered(&self) -> Vec<(u32, Vec<pb::StoredCommand>)> {
        let held: Vec<_> = self.replicas.lock().expect("a map").values().cloned().collect();
        held.iter().map(|held| (held.0.partition, held.0.commands(|commands| commands.frozen()()))).collect()
    }
}

/// How far sources were read, by the names of their topics.
fn named<W: World>(log: &Log<W>, sources: Vec<(corduroy_log::topic::PartitionId, u64)>) -> Vec<pb::Position> {
    let topics = log.topics();
    let position = |(source, offset): (corduroy_log::topic::PartitionId, u64)| {
        let topic = topics.iter().find(|topic| topic.id == source.topic())?.name.clone();
        Some(pb::Position { topic, partition: source.partition(), offset })
    };
    sources.into_iter().filter_map(position).collect()
}

fn unknown(why: String) -> pb::ServiceAnswer {
    pb::ServiceAnswer { outcome: Some(Outcome::Unknown(why)) }
}

/// Dead letters, and timers, of one answer: those that are there first, and those that are due first.
const LETTERS: usize = 1000;
const TIMERS: usize = 10_000;

/// How many aggregates, where so many are asked for.
fn page(limit: u32) -> usize {
    (if limit == 0 { PAGE } else { limit.min(10 * PAGE) }) as usize
}

/// Answers a question from the state as it is. To that for sources it gives one, which stands for all.
fn look<S: Service>(replica: &Replica<S, Mail>, what: Option<query_call::What>) -> pb::QueryAnswer {
    use prost::Message as _;
    // A copy, which is cheap: evolving does not wait for a walk.
    let state = replica.state();
    let stored = |(key, state): (String, S::State)| pb::StoredAggregate {
        key,
        state: state.encode_to_vec().into(),
        removed: false,
    };
    let mut answer = pb::QueryAnswer { end: state.end(), time: state.time().0, ..pb::QueryAnswer::default() };
    match what {
        Some(query_call::What::Get(key)) => {
            answer.aggregates = state.get(&key).map(|found| stored((key, found))).into_iter().collect();
        }
        Some(query_call::What::Scan(scan)) => {
            let limit = page(scan.limit);
            let after = Some(scan.after.as_str()).filter(|after| !after.is_empty());
            let mut found = state.scan(&scan.prefix, after).map(stored);
            answer.aggregates = found.by_ref().take(limit).collect();
            answer.more = found.next().is_some();
        }
        Some(query_call::What::Partition(_)) => answer.partition = state.partition().encode_to_vec().into(),
        Some(query_call::What::Letters(_)) => {
            answer.letters = state.letters().take(LETTERS).cloned().collect();
            answer.more = state.letters().nth(LETTERS).is_some();
            let parked = |(key, inputs): (&str, &imbl::Vector<Arc<pb::Input>>)| pb::ParkedInputs {
                key: key.to_owned(),
                // How many there are is what is asked.
                inputs: inputs.iter().map(|_| pb::Input::default()).collect(),
            };
            answer.parked = state.parked().map(parked).collect();
        }
        Some(query_call::What::Timers(_)) => {
            answer.timers = state.timers().take(TIMERS).cloned().collect();
            answer.more = state.timers().nth(TIMERS).is_some();
        }
        Some(query_call::What::Sources(_)) => answer.sources = vec![pb::Position::default()],
        // One waits for a view, the other reads the log.
        Some(query_call::What::Find(_) | query_call::What::Events(_)) | None => {}
    }
    answer
}

/// The services a node is started with. Clones are the same registry; one is for one start of a node.
pub struct Registry<W: World> {
    hosts: BTreeMap<&'static str, Arc<dyn AnyHost<W>>>,
    keep: Keep,
    max_ages: BTreeMap<&'static str, Duration>,
    patience: Duration,
    format: Format,
    /// Those this node carries.
    carried: Arc<OnceLock<Vec<&'static str>>>,
    log: Arc<OnceLock<Log<W>>>,
}

impl<W: World> Clone for Registry<W> {
    fn clone(&self) -> Self {
        Registry {
            hosts: self.hosts.clone(),
            keep: self.keep,
            max_ages: self.max_ages.clone(),
            patience: self.patience,
            format: self.format,
            carried: self.carried.clone(),
            log: self.log.clone(),
        }
    }
}

impl<W: World> Default for Registry<W> {
    fn default() -> Self {
        Registry {
            hosts: BTreeMap::new(),
            keep: Keep::default(),
            max_ages: BTreeMap::new(),
            patience: PATIENCE,
            format: Format::FIRST,
            carried: Arc::default(),
            log: Arc::default(),
        }
    }
}

impl<W: World> fmt::Debug for Registry<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hosts.keys()).finish()
    }
}

impl<W: World> Registry<W> {
    /// For how long ids of commands are remembered, of services that are added from here on.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// An event of a peer that is older than this in log time when its turn comes at a service becomes a dead letter (`expired`),
    /// which can be redriven. Of a service that is added from here on; without it events are never too old.
    pub fn max_age(mut self, service: &'static str, max_age: Duration) -> Self {
        self.max_ages.insert(service, max_age);
        self
    }

    /// For how long callers wait for an answer, unless they say otherwise.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The latest format of events that the services of this build know ([`Decide::format`](super::Decide::format)).
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    pub(super) fn waits(&self) -> Duration {
        self.patience
    }

    /// Adds a service, whose topic gets as many partitions as it says.
    pub fn service<S: Service>(self, service: S) -> Self {
        self.service_with(service, S::PARTITIONS)
    }

    /// Adds a service, whose topic gets so many partitions when it is made.
    pub fn service_with<S: Service>(mut self, service: S, partitions: u32) -> Self {
        let host: Arc<dyn AnyHost<W>> = Arc::new(Host::<W, S> {
            service: Arc::new(service),
            keep: self.keep,
            max_age: self.max_ages.get(S::NAME).copied(),
            partitions,
            replicas: Mutex::default(),
            opened: Notify::new(),
            log: self.log.clone(),
        });
        self.hosts.insert(S::NAME, host);
        self
    }

    /// The names of its services.
    pub fn names(&self) -> Vec<&'static str> {
        self.hosts.keys().copied().collect()
    }

    /// Whether a topic is one of a service that this node carries, which alone may append to it.
    pub fn owns(&self, topic: &str) -> bool {
        self.carried().any(|name| name == topic)
    }

    /// The topics a service listens to.
    pub(crate) fn listens(&self, service: &str) -> &'static [&'static str] {
        self.hosts.get(service).map_or(&[], |host| host.listens())
    }

    /// The services this node carries.
    pub(crate) fn carried(&self) -> impl Iterator<Item = &'static str> {
        self.carried.get().into_iter().flatten().copied()
    }

    pub(crate) fn host(&self, service: &str) -> Option<&Arc<dyn AnyHost<W>>> {
        self.hosts.get(service)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Arc<dyn AnyHost<W>>> {
        self.hosts.values()
    }

    /// The log, once it is open.
    pub(crate) fn log(&self) -> Result<&Log<W>, LogError> {
        self.log.get().ok_or_else(|| LogError::Unavailable("this node is starting".into()))
    }

    /// Has a log that is about to be opened keep the states of these services, and answer calls for them.
    pub fn install(&self, config: &mut Config) {
        config.format = self.format;
        if self.hosts.is_empty() {
            return;
        }
        let carried: BTreeMap<_, _> = self
            .hosts
            .iter()
            .filter(|(name, _)| carries(&config.services, name))
            .map(|(name, host)| (*name, host.clone()))
            .collect();
        if self.carried.set(carried.keys().copied().collect()).is_err() {
            unreachable!("a registry is for one start of a node");
        }
        if !carried.is_empty() {
            config.machines = Machines::new(move |topic, id| Some(carried.get(topic)?.machine(id.partition())));
        }
        let registry = self.clone();
        config.calls = Calls::new(move |call| Box::pin(answer_call(registry.clone(), call)));
    }

    /// Makes the topics that are missing, and leads what can be led here, until the log stops.
    pub fn start(&self, log: &Log<W>) {
        if self.log.set(log.clone()).is_err() {
            unreachable!("a registry is for one start of a node");
        }
        for host in self.hosts.values().filter(|host| self.owns(host.name())) {
            host.clone().start(log.clone());
            let (name, partitions) = (host.name(), host.partitions());
            drop(<W::Tasks as AsyncRuntime>::spawn(make_topic(log.clone(), name, partitions)));
        }
    }
}

/// Whether a node that was told to carry these services carries one.
fn carries(services: &[String], name: &str) -> bool {
    services.is_empty() || services.iter().any(|service| service == name)
}

async fn make_topic<W: World>(log: Log<W>, name: &'static str, partitions: u32) {
    while !log.is_stopping() && !log.topics().iter().any(|topic| topic.name == name) {
        let new = NewTopic { service: Some(name.into()), ..NewTopic::new(name, partitions) };
        match log.create_topic(new).await {
            Ok(_) | Err(LogError::TopicExists(_)) => return,
            Err(error) => tracing::debug!(topic = name, %error, "the topic is not there yet"),
        }
        <W::Tasks as AsyncRuntime>::sleep(TOPICS).await;
    }
}
