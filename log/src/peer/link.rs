//! One link per peer: connects, greets, and connects again.
use super::{
    handshake::{Directory, Rejected},
    outbox::Outbox,
    session::Session,
};
use crate::{
    config::NodeAddress,
    health::{Condition, Vitals},
    topic::{NodeId, PartitionId},
    world::{Connection, Halt, Net, NetError, Purpose, Tasks, World},
};
use corduroy_proto::v1::{Packet, PeerMessage, Refusal, Refused, peer_message::Body, peer_request, peer_response};
use futures::StreamExt;
use openraft_rt::{AsyncRuntime, Select2};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Pause before the second attempt to connect; doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(320);
/// Bound on connecting and on greeting, each.
const GREETING: Duration = Duration::from_secs(3);

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
}

/// The link to one peer.
pub(crate) struct Link<W: World> {
    to: NodeAddress,
    net: W::Net,
    directory: Arc<Directory<W>>,
    vitals: Arc<Vitals<W>>,
    state: Mutex<State>,
    changed: Notify,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// The peer has welcomed this boot of this node at least once.
    greeted: bool,
    /// Why there is no connection, for people.
    trouble: Option<String>,
}

impl<W: World> Peers<W> {
    /// Starts a link to every node but this one.
    pub(crate) fn start(
        net: &W::Net,
        directory: &Arc<Directory<W>>,
        vitals: &Arc<Vitals<W>>,
        nodes: &[NodeAddress],
    ) -> Arc<Self> {
        let others = nodes.iter().filter(|node| node.id != directory.me());
        let links = others.map(|node| (node.id, Link::start(net, directory, vitals, node.clone())));
        Arc::new(Peers { links: links.collect() })
    }

    pub(crate) fn link(&self, node: NodeId) -> Option<&Arc<Link<W>>> {
        self.links.get(&node)
    }

    /// The peers, and why each has no connection (`None`: it has one).
    pub(crate) fn health(&self) -> Vec<(NodeId, Option<String>)> {
        self.links.iter().map(|(id, link)| (*id, link.trouble())).collect()
    }

    /// Tells every peer how this node's disk is.
    pub(crate) fn announce(&self, condition: Condition) {
        for session in self.links.values().filter_map(|link| link.session()) {
            session.tell(condition);
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
        for link in self.links.values() {
            link.stopped.store(true, Ordering::Release);
            if let Some(session) = link.state().session.take() {
                session.close();
            }
            link.changed.notify_waiters();
        }
    }
}

impl<W: World> Link<W> {
    fn start(net: &W::Net, directory: &Arc<Directory<W>>, vitals: &Arc<Vitals<W>>, to: NodeAddress) -> Arc<Self> {
        let link = Arc::new(Link {
            to,
            net: net.clone(),
            directory: directory.clone(),
            vitals: vitals.clone(),
            state: Mutex::default(),
            changed: Notify::new(),
            stopped: AtomicBool::new(false),
        });
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
        let mut pause = RETRY_MIN;
        while !self.stopped.load(Ordering::Acquire) {
            let trouble = match call::<W>(&self.net, &self.directory, &self.to, Purpose::Consensus).await {
                Ok(connection) => {
                    pause = RETRY_MIN;
                    self.converse(connection).await
                }
                Err(trouble) => trouble,
            };
            tracing::debug!(peer = self.peer(), %trouble, "no connection to peer");
            self.state().trouble = Some(trouble);
            <W::Tasks as AsyncRuntime>::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Uses the connection until it is lost.
    async fn converse(&self, connection: Connection) -> String {
        let Connection { outgoing, mut incoming } = connection;
        let session = Session::new(Outbox::start::<W>(outgoing, self.directory.clone()));
        {
            let mut state = self.state();
            state.session = Some(session.clone());
            state.greeted = true;
            state.trouble = None;
        }
        session.tell(self.vitals.own());
        self.vitals.connected(self.peer(), true);
        self.changed.notify_waiters();
        tracing::info!(peer = self.peer(), address = %self.to.peer, "connected to peer");
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
                    other => tracing::warn!(peer = self.peer(), ?other, "peer sent what only a caller may"),
                }
            }
        };
        self.state().session = None;
        self.vitals.connected(self.peer(), false);
        session.close();
        self.changed.notify_waiters();
        tracing::info!(peer = self.peer(), %trouble, "connection to peer lost");
        trouble
    }
}

/// Opens a connection and greets. An error says, for people, why not.
pub(crate) async fn call<W: World>(
    net: &W::Net,
    directory: &Directory<W>,
    to: &NodeAddress,
    purpose: Purpose,
) -> Result<Connection, String> {
    let peer = to.id;
    let timeout = <W::Tasks as AsyncRuntime>::timeout(GREETING, net.connect(&to.peer, purpose));
    let mut connection =
        timeout.await.map_err(|_| String::from("connecting timed out"))?.map_err(|error| error.to_string())?;
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
            Ok(()) => Ok(connection),
            Err(Rejected::Refused(refused)) => {
                tracing::error!(peer, address = %to.peer, detail = %refused.detail, "peer is not who it should be");
                Err(refused.detail)
            }
            Err(Rejected::Disk(error)) => Err(error.to_string()),
        },
        Ok(Body::Refused(refused)) => Err(refused_by(directory, peer, refused)),
        Ok(_) => Err("answered the greeting with something else".into()),
        Err(error) => Err(error.to_string()),
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
