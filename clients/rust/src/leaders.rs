//! Finding leaders: whoever lacks one waits here, and while anybody waits the nodes are asked.
//!
//! One task per topic asks for all partitions of it at once, in short rounds: `between_rounds` says how short. A node that
//! does not answer delays no other, and is not asked again before it has answered or been given up.
use crate::{
    Client, Error,
    client::route,
    retry::between_rounds,
    routes::{Leader, Lost, NodeEndpoint, Topology},
};
use corduroy_proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Bound on one answer.
const ANSWER: Duration = Duration::from_millis(500);
/// After this time all nodes are asked, not only those that are known to hold replicas.
const ANYBODY: Duration = Duration::from_millis(500);

/// Who waits, by topic. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Searches(Arc<Mutex<HashMap<String, Search>>>);

/// The search for leaders of one topic.
#[derive(Debug)]
struct Search {
    /// By partition, how many wait.
    wanted: BTreeMap<u32, usize>,
    /// When the last one began to wait: rounds are short again.
    since: Instant,
    /// What each node answered last, in this search, if that was an error.
    said: HashMap<String, Error>,
    /// Nodes that have answered, or were given up, at least once.
    asked: BTreeSet<String>,
}

impl Searches {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Search>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits. Dropping it ends that.
struct Waiting {
    client: Client,
    topic: String,
    partition: u32,
}

impl Waiting {
    /// Begins to wait; starts the search if nobody did.
    fn begin(client: &Client, topic: &str, partition: u32) -> Self {
        let mut searches = client.searches().lock();
        let mut begun = false;
        let search = searches.entry(topic.to_owned()).or_insert_with(|| {
            begun = true;
            let (said, asked) = (HashMap::new(), BTreeSet::new());
            Search { wanted: BTreeMap::new(), since: Instant::now(), said, asked }
        });
        search.since = Instant::now();
        if search.wanted.is_empty() {
            // What was said to others who have gone is old.
            search.said.clear();
            search.asked.clear();
        }
        *search.wanted.entry(partition).or_default() += 1;
        drop(searches);
        if begun {
            tokio::spawn(search_for(client.clone(), topic.to_owned()));
        }
        Waiting { client: client.clone(), topic: topic.to_owned(), partition }
    }

    /// Why there will be no leader: every node was asked, and those that answered say that there is no such topic.
    fn hopeless(&self) -> Option<Error> {
        let endpoints = self.client.routes().endpoints();
        let searches = self.client.searches().lock();
        let search = searches.get(&self.topic)?;
        let asked = endpoints.iter().all(|endpoint| search.asked.contains(endpoint));
        let mut unknown = None;
        for endpoint in &endpoints {
            match search.said.get(endpoint) {
                Some(error @ Error::UnknownTopic(_)) => unknown = Some(error.clone()),
                Some(Error::Unreachable(_) | Error::Lost(_) | Error::Timeout(_)) => {}
                _ => return None,
            }
        }
        unknown.filter(|_| asked)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut searches = self.client.searches().lock();
        let Some(search) = searches.get_mut(&self.topic) else { return };
        if let Some(count) = search.wanted.get_mut(&self.partition) {
            *count -= 1;
            if *count == 0 {
                search.wanted.remove(&self.partition);
            }
        }
    }
}

impl Client {
    /// Who leads a partition; after a loss, who does instead, or again. Waits as long as nobody does.
    ///
    /// # Errors
    /// `UnknownTopic` when all nodes say so, `PartitionOutOfRange`.
    pub(crate) async fn find_leader(&self, topic: &str, partition: u32, lost: Option<&Lost>) -> Result<Leader, Error> {
        if let Some(leader) = self.routes().leader(topic, partition, lost) {
            return Ok(leader);
        }
        let waiting = Waiting::begin(self, topic, partition);
        loop {
            let changed = self.routes().changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(leader) = self.routes().leader(topic, partition, lost) {
                return Ok(leader);
            }
            self.check_partition(topic, partition)?;
            if let Some(error) = waiting.hopeless() {
                return Err(error);
            }
            changed.await;
        }
    }

    /// As [`Client::find_leader`], within a time. What is said when it is over is what the nodes said.
    pub(crate) async fn find_leader_by(
        &self,
        deadline: Instant,
        topic: &str,
        partition: u32,
        lost: Option<&Lost>,
    ) -> Result<Leader, Error> {
        let found = tokio::time::timeout_at(deadline, self.find_leader(topic, partition, lost)).await;
        found.unwrap_or_else(|_| Err(self.no_leader(topic, partition)))
    }

    /// Resolves when somebody else leads, in a later term: for those whose leader is silent.
    pub(crate) async fn newer_leader(&self, topic: &str, partition: u32, than: &Leader) -> Leader {
        let _waiting = Waiting::begin(self, topic, partition);
        loop {
            let changed = self.routes().changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(leader) = self.routes().newer_leader(topic, partition, than) {
                return leader;
            }
            changed.await;
        }
    }

    fn check_partition(&self, topic: &str, partition: u32) -> Result<(), Error> {
        match self.routes().partitions(topic) {
            Some(count) if partition >= count => Err(Error::PartitionOutOfRange(format!(
                "topic {topic:?} has partitions 0..{count}, there is no partition {partition}"
            ))),
            _ => Ok(()),
        }
    }

    /// That nobody leads, and what the nodes have to say to that.
    fn no_leader(&self, topic: &str, partition: u32) -> Error {
        let searches = self.searches().lock();
        let said = searches.get(topic).map(|search| search.said.clone()).unwrap_or_default();
        drop(searches);
        let endpoints = self.routes().endpoints();
        let texts: Vec<String> = endpoints.iter().filter_map(|e| Some(said.get(e)?.to_string())).collect();
        let reached = endpoints.iter().any(|endpoint| !matches!(said.get(endpoint), Some(Error::Unreachable(_))));
        let text = match texts.is_empty() {
            true => format!("{topic}/{partition} has no leader"),
            false => format!("{topic}/{partition} has no leader: {}", texts.join("; ")),
        };
        if reached { Error::Unavailable(text) } else { Error::Unreachable(texts.join("; ")) }
    }

    /// Asks one node for the nodes, and the partitions of a topic.
    pub(crate) async fn ask_topology(&self, address: &str, topic: &str, patience: Duration) -> Result<Topology, Error> {
        let mut node = self.pool().log(address)?;
        let request = v1::MetadataRequest { topic: topic.to_owned() };
        let answer = match timeout(patience, node.metadata(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Err(Error::from_status(&status, address)),
            Err(_) => return Err(Error::Timeout(format!("{address} did not answer within {patience:?}"))),
        };
        let topology = Topology {
            nodes: answer.nodes.into_iter().map(|n| NodeEndpoint { id: n.id, grpc: n.grpc }).collect(),
            partitions: answer.partitions.into_iter().map(route).collect(),
        };
        self.routes().learn(topic, &topology, address);
        Ok(topology)
    }
}

/// Asks as long as anybody waits.
async fn search_for(client: Client, topic: String) {
    let mut asking: JoinSet<(String, Result<(), Error>)> = JoinSet::new();
    let mut under_way: BTreeSet<String> = BTreeSet::new();
    loop {
        let Some((wanted, asked_for)) = still_wanted(&client, &topic) else { return };
        for address in candidates(&client, &topic, &wanted, asked_for) {
            if under_way.insert(address.clone()) {
                let (client, topic) = (client.clone(), topic.clone());
                asking.spawn(async move {
                    let answer = client.ask_topology(&address, &topic, ANSWER).await;
                    (address, answer.map(drop))
                });
            }
        }
        let round = sleep(between_rounds(asked_for));
        tokio::pin!(round);
        loop {
            tokio::select! {
                () = &mut round => break,
                Some(Ok((address, answer))) = asking.join_next() => {
                    under_way.remove(&address);
                    note(&client, &topic, address, answer);
                }
            }
        }
    }
}

/// The partitions that are waited for, and for how long; `None` ends the search.
fn still_wanted(client: &Client, topic: &str) -> Option<(BTreeSet<u32>, Duration)> {
    let mut searches = client.searches().lock();
    let search = searches.get(topic)?;
    if search.wanted.is_empty() {
        searches.remove(topic);
        return None;
    }
    Some((search.wanted.keys().copied().collect(), search.since.elapsed()))
}

/// Whom to ask.
fn candidates(client: &Client, topic: &str, wanted: &BTreeSet<u32>, asked_for: Duration) -> BTreeSet<String> {
    let mut candidates = client.routes().replicas(topic, wanted);
    if candidates.is_empty() || asked_for > ANYBODY {
        candidates.extend(client.routes().endpoints());
    }
    candidates
}

/// What a node said, for those who must give up.
fn note(client: &Client, topic: &str, address: String, answer: Result<(), Error>) {
    let mut searches = client.searches().lock();
    if let Some(search) = searches.get_mut(topic) {
        search.asked.insert(address.clone());
        match answer {
            Ok(()) => search.said.remove(&address),
            Err(error) => search.said.insert(address, error),
        };
    }
    drop(searches);
    client.routes().changed.notify_waiters();
}
