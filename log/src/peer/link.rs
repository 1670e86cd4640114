//! The links to the peers: each connects, greets, and connects again.
//!
//! A peer has two: one for consensus, whose messages are small, and one for entries, which may be many. So votes and
//! heartbeats never wait behind what a follower is being sent (R61). Where something is built on the log that calls its like
//! on other nodes, there is a third one for that.
use super::{
    handshake::{Directory, Rejected},
    outbox::Outbox,
    session::Session,
};
use crate::{
    cluster::Hosted,
    config::NodeAddress,
    health::{Condition, Processes, Vitals},
    topic::{NodeId, PartitionId},
    world::{Connection, Halt, Net, NetError, Purpose, Tasks, Timestamp, World},
};
use corduroy_proto::v1::{
    Packet, PeerMessage, ProcessesGone, Refusal, Refused, peer_message::Body, peer_request, peer_response,
};
use futures::StreamExt;
use openraft_rt::{AsyncRuntime, Instant, Select2};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Pause before the second attempt to connect after one that failed; doubles up to `RETRY_MAX`. Short at first: it is how
/// the end of a process is told from the end of a connection.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(320);
/// A connection that lasted for longer was one: another is tried at once when it is lost. Links that come and go are tried no
/// more often than others.
const LASTING: Duration = RETRY_MAX;
/// Bound on connecting and on greeting, each.
const GREETING: Duration = Duration::from_secs(3);

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// Why a peer did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("no connection to node {0}")]
    NotConnected(NodeId),
    #[error("nothing is sent to node {0} while this node's own disk does not answer")]
    Silent(NodeId),
    #[error("the connection to node {0} was lost before the answer came")]
    Lost(NodeId),
    #[error("node {0} did not answer within {1:?}")]
    Timeout(NodeId, Duration),
    #[error("node {0} answered something else than was asked")]
    Confused(NodeId),
    #[error("node {0}: {1}")]
    Unavailable(NodeId, String),
}

/// The links to all other nodes.
pub(crate) struct Peers<W: World> {
    links: BTreeMap<NodeId, Arc<Link<W>>>,
    /// Those for entries.
    bulk: BTreeMap<NodeId, Arc<Link<W>>>,
    /// Those for calls of what is built on the log, where anything is.
    calls: BTreeMap<NodeId, Arc<Link<W>>>,
}

/// A link to one peer, for one purpose.
pub(crate) struct Link<W: World> {
    to: NodeAddress,
    purpose: Purpose,
    net: W::Net,
    directory: Arc<Directory<W>>,
    vitals: Arc<Vitals<W>>,
    processes: Arc<Processes<W>>,
    /// Whose replication goes on when there is a connection. It outlives no log: partitions hold the links.
    hosted: Weak<Hosted<W>>,
    state: Mutex<State>,
    changed: Notify,
    /// Ends the pause before the next attempt.
    now: Notify,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// The peer has welcomed this boot of this node at least once.
    greeted: bool,
    /// Why there is no connection, for people.
    trouble: Option<String>,
    /// The process that welcomed this node last.
    run: Option<u64>,
}

/// Why an attempt to connect failed.
pub(crate) struct Trouble {
    /// For people.
    pub(crate) text: String,
    /// Nobody listens there.
    refused: bool,
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Trouble { text, refused: false }
    }
}

impl From<NetError> for Trouble {
    fn from(error: NetError) -> Self {
        Trouble { text: error.to_string(), refused: matches!(error, NetError::Refused(_)) }
    }
}

impl<W: World> Peers<W> {
    /// Starts the links to every node but this one.
    pub(crate) fn start(
        net: &W::Net,
        directory: &Arc<Directory<W>>,
        vitals: &Arc<Vitals<W>>,
        processes: &Arc<Processes<W>>,
        hosted: &Arc<Hosted<W>>,
        nodes: &[NodeAddress],
        calls: bool,
    ) -> Arc<Self> {
        let links = |purpose| {
            let others = nodes.iter().filter(|node| node.id != directory.me()).cloned();
            let link = |to: NodeAddress| {
                let (net, directory, vitals) = (net.clone(), directory.clone(), vitals.clone());
                let (processes, hosted) = (processes.clone(), Arc::downgrade(hosted));
                let (state, changed, now) = (Mutex::default(), Notify::new(), Notify::new());
                let stopped = AtomicBool::new(false);
                Link { to, purpose, net, directory, vitals, processes, hosted, state, changed, now, stopped }
            };
            others.map(|to| (to.id, Link::start(link(to)))).collect()
        };
        let calls = if calls { links(Purpose::Calls) } else { BTreeMap::new() };
        Arc::new(Peers { links: links(Purpose::Consensus), bulk: links(Purpose::Bulk), calls })
    }

    /// The link for everything but entries.
    pub(crate) fn link(&self, node: NodeId) -> Option<&Arc<Link<W>>> {
        self.links.get(&node)
    }

    /// The link for entries.
    pub(crate) fn bulk(&self, node: NodeId) -> Option<&Arc<Link<W>>> {
        self.bulk.get(&node)
    }

    /// The link for calls.
    pub(crate) fn calls(&self, node: NodeId) -> Option<&Arc<Link<W>>> {
        self.calls.get(&node)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Link<W>>> {
        self.links.values().chain(self.bulk.values()).chain(self.calls.values())
    }

    /// A peer called, so it is there: connections to it need not wait for their next attempt.
    pub(crate) fn called(&self, node: NodeId) {
        for link in self.all().filter(|link| link.peer() == node && link.session().is_none()) {
            link.now.notify_one();
        }
    }

    /// The peers, and why each has no connection (`None`: it has one).
    pub(crate) fn health(&self) -> Vec<(NodeId, Option<String>)> {
        self.links.iter().map(|(id, link)| (*id, link.trouble())).collect()
    }

    /// Why entries cannot be sent to a peer, where other things can.
    pub(crate) fn bulk_trouble(&self, node: NodeId) -> Option<String> {
        self.bulk.get(&node)?.trouble()
    }

    /// Tells every peer how this node is.
    pub(crate) fn announce(&self, condition: Condition) {
        for session in self.links.values().filter_map(|link| link.session()) {
            session.tell(condition);
        }
    }

    /// Tells every peer what this node's clock shows.
    pub(crate) fn tell_time(&self, wall: Timestamp) {
        for session in self.links.values().filter_map(|link| link.session()) {
            session.tell_time(wall);
        }
    }

    /// Tells every peer which processes are gone.
    pub(crate) fn tell_gone(&self, gone: &ProcessesGone) {
        for session in self.links.values().filter_map(|link| link.session()) {
            session.tell_gone(gone.clone());
        }
    }

    /// Holds heartbeats to each peer back until there are so many; see [`Peers::let_beats_go`].
    pub(crate) fn hold_beats(&self, counts: &BTreeMap<NodeId, usize>) {
        for (node, count) in counts {
            if let Some(session) = self.links.get(node).and_then(|link| link.session()) {
                session.hold_beats(*count);
            }
        }
    }

    /// Sends the heartbeats that are held back.
    pub(crate) fn let_beats_go(&self) {
        for session in self.links.values().filter_map(|link| link.session()) {
            session.let_beats_go();
        }
    }

    /// Resolves when every peer has welcomed this node once.
    pub(crate) async fn all_greeted(&self) {
        for link in self.links.values() {
            link.wait(|state| state.greeted).await;
        }
    }

    /// Closes the links for good.
    pub(crate) fn stop(&self) {
        for link in self.all() {
            link.stopped.store(true, Ordering::Release);
            if let Some(session) = link.state().session.take() {
                session.close();
            }
            link.changed.notify_waiters();
        }
    }
}

impl<W: World> Link<W> {
    fn start(link: Self) -> Arc<Self> {
        let link = Arc::new(link);
        drop(<W::Tasks as AsyncRuntime>::spawn(link.clone().run()));
        link
    }

    /// The peer this link leads to.
    pub(crate) fn peer(&self) -> NodeId {
        self.to.id
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("bookkeeping does not panic")
    }

    /// The open connection.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.state().session.clone()
    }

    fn trouble(&self) -> Option<String> {
        let state = self.state();
        match (&state.session, &state.trouble) {
            (Some(_), _) => None,
            (None, Some(trouble)) => Some(trouble.clone()),
            (None, None) => Some("connecting".into()),
        }
    }

    async fn wait(&self, ready: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if ready(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Asks the peer; the answer comes within `deadline` or not at all.
    pub(crate) async fn request(
        &self,
        partition: PartitionId,
        body: peer_request::Body,
        deadline: Duration,
    ) -> Result<peer_response::Body, PeerError> {
        let session = self.session().ok_or(PeerError::NotConnected(self.peer()))?;
        let pending = session.request(partition, body).ok_or(PeerError::NotConnected(self.peer()))?;
        let answer = <W::Tasks as AsyncRuntime>::timeout(deadline, pending.answer()).await;
        match answer.map_err(|_| PeerError::Timeout(self.peer(), deadline))? {
            None => Err(PeerError::Lost(self.peer())),
            Some(peer_response::Body::Unavailable(why)) => Err(PeerError::Unavailable(self.peer(), why)),
            Some(body) => Ok(body),
        }
    }

    async fn run(self: Arc<Self>) {
        let (mut pause, mut hurried) = (Duration::ZERO, None);
        while !self.stopped.load(Ordering::Acquire) {
            let trouble = match call::<W>(&self.net, &self.directory, &self.to, self.purpose).await {
                Ok((connection, run)) => {
                    let began = <InstantOf<W> as Instant>::now();
                    let trouble = self.converse(connection, run).await;
                    if began.elapsed() > LASTING {
                        pause = Duration::ZERO;
                    }
                    trouble
                }
                Err(trouble) => {
                    self.suspect(&trouble);
                    trouble.text
                }
            };
            tracing::debug!(peer = self.peer(), purpose = ?self.purpose, %trouble, "no connection to peer");
            self.state().trouble = Some(trouble);
            self.rest(pause, &mut hurried).await;
            pause = (pause * 2).clamp(RETRY_MIN, RETRY_MAX);
        }
    }

    /// Waits before the next attempt, until the peer calls. Two nodes whose connections come and go must not hurry each other
    /// on and on, so that counts once in a while.
    async fn rest(&self, pause: Duration, hurried: &mut Option<InstantOf<W>>) {
        if hurried.is_some_and(|last| last.elapsed() < RETRY_MAX) {
            <W::Tasks as AsyncRuntime>::sleep(pause).await;
        } else if <W::Tasks as AsyncRuntime>::timeout(pause, self.now.notified()).await.is_ok() {
            *hurried = Some(<InstantOf<W> as Instant>::now());
        }
    }

    /// The process that was there is gone, if nobody listens any more. One connection to it tells that: the one that is
    /// always there.
    fn suspect(&self, trouble: &Trouble) {
        let run = self.state().run;
        if let Some(run) = run.filter(|_| trouble.refused && self.purpose == Purpose::Consensus) {
            self.processes.refused(self.peer(), run);
        }
    }

    /// Uses the connection until it is lost.
    async fn converse(&self, connection: Connection, run: u64) -> String {
        let Connection { outgoing, mut incoming } = connection;
        let session = Session::new(Outbox::start::<W>(outgoing, self.directory.clone()));
        {
            let mut state = self.state();
            state.session = Some(session.clone());
            state.greeted = true;
            state.trouble = None;
            state.run = Some(run);
        }
        if self.purpose == Purpose::Consensus {
            session.tell(self.vitals.own());
            session.tell_time(self.vitals.wall());
            session.tell_gone(self.processes.word());
            self.vitals.connected(self.peer(), true);
            self.processes.met(self.peer(), run);
        }
        self.changed.notify_waiters();
        tracing::info!(peer = self.peer(), address = %self.to.peer, purpose = ?self.purpose, "connected to peer");
        if self.purpose == Purpose::Bulk {
            for partition in self.hosted.upgrade().map(|hosted| hosted.all()).unwrap_or_default() {
                partition.replicate_now(self.peer());
            }
        }
        let stopped = self.wait(|_| self.stopped.load(Ordering::Acquire));
        let mut stopped = std::pin::pin!(stopped);
        let trouble = loop {
            let packet = match <W::Tasks as AsyncRuntime>::select2(&mut stopped, incoming.next()).await {
                Select2::First(()) => break "this node stops".into(),
                Select2::Second(None) => break "closed by the peer".into(),
                Select2::Second(Some(Err(error))) => break error.to_string(),
                Select2::Second(Some(Ok(packet))) => packet,
            };
            self.directory.note(self.peer(), packet.confirmed);
            for body in packet.messages.into_iter().filter_map(|message| message.body) {
                match body {
                    Body::AppendAck(ack) => session.acked(ack),
                    Body::Response(response) => session.answered(response),
                    Body::HeartbeatAcks(acks) => session.beats_answered(acks),
                    other => tracing::warn!(peer = self.peer(), ?other, "peer sent what only a caller may"),
                }
            }
        };
        self.state().session = None;
        if self.purpose == Purpose::Consensus {
            self.vitals.connected(self.peer(), false);
        }
        session.close();
        self.changed.notify_waiters();
        tracing::info!(peer = self.peer(), purpose = ?self.purpose, %trouble, "connection to peer lost");
        trouble
    }
}

/// Opens a connection and greets. Returns the process at the other end, too.
pub(crate) async fn call<W: World>(
    net: &W::Net,
    directory: &Directory<W>,
    to: &NodeAddress,
    purpose: Purpose,
) -> Result<(Connection, u64), Trouble> {
    let peer = to.id;
    let timeout = <W::Tasks as AsyncRuntime>::timeout(GREETING, net.connect(&to.peer, purpose));
    let mut connection = timeout.await.map_err(|_| String::from("connecting timed out"))??;
    let hello = PeerMessage { body: Some(Body::Hello(directory.hello(peer))) };
    connection
        .outgoing
        .send(Packet { messages: vec![hello], confirmed: 0 })
        .await
        .map_err(|_| String::from("closed while greeting"))?;
    let answer = <W::Tasks as AsyncRuntime>::timeout(GREETING, connection.incoming.next()).await;
    let answer = answer.map_err(|_| String::from("no answer to the greeting"))?;
    match first_message(answer) {
        Ok(Body::Welcome(welcome)) => match directory.check_welcome(peer, &welcome).await {
            Ok(()) => Ok((connection, welcome.run)),
            Err(Rejected::Refused(refused)) => {
                tracing::error!(peer, address = %to.peer, detail = %refused.detail, "peer is not who it should be");
                Err(refused.detail.into())
            }
            Err(Rejected::Disk(error)) => Err(error.to_string().into()),
        },
        Ok(Body::Refused(refused)) => Err(refused_by(directory, peer, refused).into()),
        Ok(_) => Err(String::from("answered the greeting with something else").into()),
        Err(error) => Err(error.to_string().into()),
    }
}

/// The peer will not have us. When our own data is to blame, this node must stop.
fn refused_by<W: World>(directory: &Directory<W>, peer: NodeId, refused: Refused) -> String {
    let detail = format!("node {peer} refuses this node: {}", refused.detail);
    match refused.refusal() {
        Refusal::WrongIncarnation | Refusal::RolledBack => {
            directory.mark_lost(&detail);
            <W::Tasks as Tasks>::halt(Halt::DataLoss(detail.clone()))
        }
        _ => tracing::error!(peer, %detail, "refused"),
    }
    detail
}

/// The one message of a greeting.
pub(super) fn first_message(packet: Option<Result<Packet, NetError>>) -> Result<Body, NetError> {
    let mut messages = packet.unwrap_or_else(|| Err(NetError::Lost("closed while greeting".into())))?.messages;
    let only = if messages.len() == 1 { messages.pop().and_then(|message| message.body) } else { None };
    only.ok_or_else(|| NetError::Lost("the first packet is not a greeting".into()))
}
