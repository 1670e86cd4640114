//! The calling side of one connection: requests waiting for answers, streams waiting for acks.
use super::{
    beats::{BeatId, Beats},
    outbox::Outbox,
};
use crate::{health::Condition, topic::PartitionId, wal::Space, world::Timestamp};
use corduroy_proto::v1::{
    AppendAck, AppendBatch, AppendClose, AppendOpen, ClockReading, DiskSpace, Heartbeat, HeartbeatAcks, NodeCondition,
    PeerRequest, PeerResponse, ProcessesGone, peer_message::Body, peer_request, peer_response,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// Lives as long as its connection. When it is closed, every waiter learns that its answer will not come.
#[derive(Debug)]
pub(crate) struct Session {
    outbox: Outbox,
    next: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: BTreeMap<u64, oneshot::Sender<peer_response::Body>>,
    streams: BTreeMap<u64, mpsc::UnboundedSender<AppendAck>>,
    beats: Beats,
}

impl Session {
    pub(crate) fn new(outbox: Outbox) -> Arc<Self> {
        Arc::new(Session { outbox, next: AtomicU64::new(1), waiting: Mutex::new(Some(Waiting::default())) })
    }

    /// Runs `change` on the waiters, unless the session is closed.
    fn with<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        self.waiting.lock().expect("bookkeeping does not panic").as_mut().map(change)
    }

    /// Sends a request. The receiver fails when the connection is lost. `None`: it is lost already.
    pub(crate) fn request(&self, partition: PartitionId, body: peer_request::Body) -> Option<Pending<'_>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.with(|waiting| waiting.requests.insert(id, sender))?;
        let sent = self.outbox.send(Body::Request(PeerRequest { id, partition: partition.0, body: Some(body) }));
        sent.then_some(Pending { session: self, id, answer })
    }

    /// Opens a replication stream. `None`: the connection is lost.
    pub(crate) fn open_append(self: &Arc<Self>, partition: PartitionId) -> Option<AppendStream> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, acks) = mpsc::unbounded_channel();
        self.with(|waiting| waiting.streams.insert(id, sender))?;
        let sent = self.outbox.send(Body::AppendOpen(AppendOpen { stream: id, partition: partition.0 }));
        sent.then(|| AppendStream { session: self.clone(), id, acks })
    }

    /// Says how this node is.
    pub(crate) fn tell(&self, condition: Condition) {
        let space = match condition.space {
            Space::Plenty => DiskSpace::Plenty,
            Space::Low => DiskSpace::Low,
            Space::Full => DiskSpace::Full,
        };
        let Condition { slow, leaving, clock_wrong, .. } = condition;
        self.outbox.send(Body::Condition(NodeCondition { space: space.into(), slow, leaving, clock_wrong }));
    }

    /// Says what this node's clock shows.
    pub(crate) fn tell_time(&self, wall: Timestamp) {
        self.outbox.send(Body::Clock(ClockReading { time: wall.0 }));
    }

    /// Says which processes of other nodes are gone.
    pub(crate) fn tell_gone(&self, gone: ProcessesGone) {
        self.outbox.send(Body::Gone(gone));
    }

    /// Sends a heartbeat, now or with the others that are held. `None`: the connection is lost.
    pub(crate) fn beat(&self, beat: Heartbeat) -> Option<PendingBeat<'_>> {
        let (sender, answer) = oneshot::channel();
        let (id, message) = self.with(|waiting| waiting.beats.push(beat, sender))?;
        let sent = message.is_none_or(|message| self.outbox.send(Body::Heartbeats(message)));
        sent.then_some(PendingBeat { session: self, id, answer })
    }

    /// Holds heartbeats back until there are so many, or until [`Session::let_beats_go`].
    pub(crate) fn hold_beats(&self, count: usize) {
        self.with(|waiting| waiting.beats.hold(count));
    }

    /// Sends what was held back.
    pub(crate) fn let_beats_go(&self) {
        if let Some(message) = self.with(|waiting| waiting.beats.let_go()).flatten() {
            self.outbox.send(Body::Heartbeats(message));
        }
    }

    /// Gives answers to those who sent heartbeats.
    pub(crate) fn beats_answered(&self, acks: HeartbeatAcks) {
        self.with(|waiting| waiting.beats.answered(acks));
    }

    /// Gives an answer to whoever waits for it; nobody waits any more after a deadline.
    pub(crate) fn answered(&self, response: PeerResponse) {
        let waiter = self.with(|waiting| waiting.requests.remove(&response.id)).flatten();
        if let (Some(waiter), Some(body)) = (waiter, response.body) {
            waiter.send(body).ok();
        }
    }

    /// Gives an ack to its stream.
    pub(crate) fn acked(&self, ack: AppendAck) {
        let stream = self.with(|waiting| waiting.streams.get(&ack.stream).cloned()).flatten();
        if let Some(stream) = stream {
            stream.send(ack).ok();
        }
    }

    /// The connection is gone.
    pub(crate) fn close(&self) {
        self.waiting.lock().expect("bookkeeping does not panic").take();
    }
}

/// A request on its way. Dropping it forgets the request.
pub(crate) struct Pending<'s> {
    session: &'s Session,
    id: u64,
    answer: oneshot::Receiver<peer_response::Body>,
}

impl Pending<'_> {
    /// The answer; `None` when the connection was lost before it came.
    pub(crate) async fn answer(mut self) -> Option<peer_response::Body> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.session.with(|waiting| waiting.requests.remove(&self.id));
    }
}

/// A heartbeat on its way. Dropping it forgets the heartbeat.
pub(crate) struct PendingBeat<'s> {
    session: &'s Session,
    id: BeatId,
    answer: oneshot::Receiver<AppendAck>,
}

impl PendingBeat<'_> {
    /// The answer; `None` when the connection was lost before it came.
    pub(crate) async fn answer(mut self) -> Option<AppendAck> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for PendingBeat<'_> {
    fn drop(&mut self) {
        self.session.with(|waiting| waiting.beats.forget(self.id));
    }
}

/// A replication stream of one partition. Dropping it closes it at both ends.
pub(crate) struct AppendStream {
    session: Arc<Session>,
    id: u64,
    acks: mpsc::UnboundedReceiver<AppendAck>,
}

impl AppendStream {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Sends an append. `false`: the connection is lost.
    pub(crate) fn send(&self, append: AppendBatch) -> bool {
        self.session.outbox.send(Body::Append(append))
    }

    /// Ready when the connection has room for an append. That it is lost shows in the acks.
    pub(crate) fn poll_room(&self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.session.outbox.poll_room(cx)
    }

    /// The next ack, as a future or by polling. `None`: the connection is lost.
    pub(crate) fn poll_ack(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<AppendAck>> {
        self.acks.poll_recv(cx)
    }
}

impl Drop for AppendStream {
    fn drop(&mut self) {
        if self.session.with(|waiting| waiting.streams.remove(&self.id)).is_some() {
            self.session.outbox.send(Body::AppendClose(AppendClose { stream: self.id }));
        }
    }
}
