//! One connection: two directions, each carried by a task that sends and a task that delivers.
use super::{arrival, link::Link};
use crate::{
    testing::{
        lock,
        tasks::Task,
        universe::{Life, Universe},
    },
    topic::NodeId,
    world::{Connection, NetError},
};
use bytes::Bytes;
use corduroy_proto::{packet, v1::Packet};
use futures::{StreamExt as _, stream};
use openraft_rt::{AsyncRuntime as _, Instant as _, Select2};
use openraft_rt_sim::{SimInstant, SimRuntime};
use prost::Message as _;
use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Packets queued at either end before a sender waits.
const QUEUED_PACKETS: usize = 64;
/// Packets on their way.
const PACKETS_IN_FLIGHT: usize = 256;

/// A connection, as the network keeps it. Clones are the same one.
#[derive(Clone)]
pub(super) struct Wire(Arc<Inner>);

struct Inner {
    id: u64,
    /// Who called, and who was called.
    lives: [Arc<Life>; 2],
    /// What each side sends; index 0 is the caller's.
    directions: [Direction; 2],
    lost: Mutex<Option<String>>,
    /// It carries nothing any more, and nobody knows yet.
    stuck: AtomicBool,
    /// Where what the caller sends comes out.
    callee_receives: Mutex<Option<mpsc::WeakSender<Packet>>>,
    tasks: Mutex<Vec<(Side, Role, Arc<Task>)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Caller = 0,
    Callee = 1,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Departs,
    Arrives,
}

struct Direction {
    state: Mutex<DirectionState>,
}

struct DirectionState {
    /// When the last packet sent so far arrives: later ones do not overtake it.
    last_arrival: SimInstant,
    /// When the line is free for the next packet.
    free: SimInstant,
    /// The sender has hung up and the receiver knows.
    closed: bool,
}

/// What is on its way: the bytes of a packet, or that there will be no more.
type Flying = (SimInstant, Option<Bytes>);

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} ({} to {})", self.0.id, self.0.lives[0], self.0.lives[1])
    }
}

impl Wire {
    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn side_of(&self, node: NodeId) -> Option<Side> {
        [Side::Caller, Side::Callee].into_iter().find(|side| self.life(*side).node == node)
    }

    /// The node at the other end. (Of a node's connection to itself, that is the node.)
    pub(super) fn other(&self, node: NodeId) -> NodeId {
        self.side_of(node).map_or(node, |side| self.life(side.other()).node)
    }

    fn life(&self, side: Side) -> &Arc<Life> {
        &self.0.lives[side as usize]
    }

    fn direction(&self, sender: Side) -> &Direction {
        &self.0.directions[sender as usize]
    }

    /// When something `node` sends now arrives: behind what it sent before.
    pub(super) fn arrival_after(&self, node: NodeId, latency: Duration) -> SimInstant {
        match self.side_of(node) {
            Some(side) => self.stamp(side, latency, Duration::ZERO),
            None => SimInstant::now() + latency,
        }
    }

    fn stamp(&self, sender: Side, latency: Duration, transmission: Duration) -> SimInstant {
        let mut state = lock(&self.direction(sender).state);
        state.free = arrival(transmission, state.free + transmission);
        state.last_arrival = (state.free + latency).max(state.last_arrival);
        state.last_arrival
    }

    pub(super) fn stick(&self) {
        self.0.stuck.store(true, Ordering::Relaxed);
    }

    /// Where what `caller` sends as the caller of this connection comes out.
    pub(super) fn receiver_of(&self, caller: NodeId) -> Option<mpsc::Sender<Packet>> {
        let usable = self.life(Side::Caller).node == caller && !self.0.stuck.load(Ordering::Relaxed);
        usable.then(|| lock(&self.0.callee_receives).as_ref()?.upgrade())?
    }

    /// Drops what the node has queued and not sent.
    pub(super) fn stop_sending(&self, universe: &Arc<Universe>, node: NodeId) {
        let tasks = lock(&self.0.tasks).clone();
        for (side, role, task) in tasks {
            if self.life(side).node == node && role == Role::Departs {
                task.cancel(universe);
            }
        }
    }

    /// Makes sends fail and receives end, on both sides.
    pub(super) fn lose(&self, universe: &Arc<Universe>, reason: &str) {
        *lock(&self.0.lost) = Some(reason.to_owned());
        let tasks = std::mem::take(&mut *lock(&self.0.tasks));
        for (_, _, task) in tasks {
            task.cancel(universe);
        }
    }

    /// Takes what one side sends.
    async fn depart(
        self,
        universe: Arc<Universe>,
        side: Side,
        mut outgoing: mpsc::Receiver<Packet>,
        flight: mpsc::Sender<Flying>,
    ) {
        let (from, to) = (self.life(side).node, self.life(side.other()).node);
        loop {
            let bytes = outgoing.recv().await.map(|packet| Bytes::from(packet.encode_to_vec()));
            let last = bytes.is_none();
            let len = bytes.as_ref().map_or(0, Bytes::len);
            let (latency, transmission) = universe.link(from, to, |link| (link.draw_latency(), link.transmission(len)));
            let at = self.stamp(side, latency, transmission);
            if flight.send((at, bytes)).await.is_err() || last {
                return;
            }
        }
    }

    /// Delivers what one side sent.
    async fn arrive(
        self,
        universe: Arc<Universe>,
        side: Side,
        mut flight: mpsc::Receiver<Flying>,
        incoming: mpsc::Sender<Packet>,
    ) {
        let (sender, receiver) = (self.life(side), self.life(side.other()));
        loop {
            let flying = match SimRuntime::select2(flight.recv(), incoming.closed()).await {
                Select2::First(Some(flying)) => flying,
                // The sender died with packets queued: the reset that tells so is on its way.
                Select2::First(None) => return std::future::pending().await,
                Select2::Second(()) => break,
            };
            let (at, bytes) = flying;
            SimRuntime::sleep_until(at).await;
            universe.passable(sender.node, receiver.node).await;
            if self.0.stuck.load(Ordering::Relaxed) {
                universe.link(sender.node, receiver.node, |link| link.stats.swallowed += 1);
                return std::future::pending().await;
            }
            let Some(bytes) = bytes else {
                return self.closed(&universe, side);
            };
            {
                let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
                let id = self.0.id;
                universe.trace().detail(format_args!("packet {sender} -> {receiver} ({id}) {hash:016x}"));
            }
            let packet = match packet::decode(bytes) {
                Ok(packet) => packet,
                Err(error) => return universe.lose(self.0.id, &error.to_string()),
            };
            if side == Side::Caller && universe.link(sender.node, receiver.node, Link::draw_repeat) {
                universe.repeat(sender.node, receiver.node, packet.clone());
            }
            if incoming.send(packet).await.is_err() {
                break;
            }
        }
        // Nobody takes packets any more. A live process says so; a dead one's fate is the network's business.
        if receiver.is_alive() {
            universe.lose_later(&self, receiver.node, "closed by peer");
        }
        while flight.recv().await.is_some() {}
        std::future::pending().await
    }

    /// The receiver of a direction has learned that the sender hung up.
    fn closed(&self, universe: &Arc<Universe>, side: Side) {
        lock(&self.direction(side).state).closed = true;
        if lock(&self.direction(side.other()).state).closed {
            lock(&universe.network).wires.remove(&self.0.id);
        }
    }

    /// One side's end of the connection.
    fn end(&self, outgoing: mpsc::Sender<Packet>, incoming: mpsc::Receiver<Packet>) -> Connection {
        let wire = self.clone();
        let incoming = stream::unfold((Some(incoming), wire), |(incoming, wire)| async move {
            let mut incoming = incoming?;
            match incoming.recv().await {
                Some(packet) => Some((Ok(packet), (Some(incoming), wire))),
                None => {
                    let lost = lock(&wire.0.lost).clone()?;
                    Some((Err(NetError::Lost(lost)), (None, wire)))
                }
            }
        });
        Connection { outgoing, incoming: incoming.fuse().boxed() }
    }
}

/// Makes a connection and returns the caller's end and the callee's.
pub(super) fn connect(
    universe: &Arc<Universe>,
    caller: Arc<Life>,
    callee: Arc<Life>,
) -> (Connection, Connection, Wire) {
    let id = {
        let mut network = lock(&universe.network);
        network.next_wire += 1;
        network.next_wire
    };
    let now = SimInstant::now();
    let direction = || Direction { state: Mutex::new(DirectionState { last_arrival: now, free: now, closed: false }) };
    let wire = Wire(Arc::new(Inner {
        id,
        lives: [caller, callee],
        directions: [direction(), direction()],
        lost: Mutex::default(),
        stuck: AtomicBool::new(false),
        callee_receives: Mutex::default(),
        tasks: Mutex::default(),
    }));
    lock(&universe.network).wires.insert(id, wire.clone());

    let carry = |side: Side| {
        let (outgoing, queued) = mpsc::channel(QUEUED_PACKETS);
        let (flight, landing) = mpsc::channel(PACKETS_IN_FLIGHT);
        let (delivered, incoming) = mpsc::channel(QUEUED_PACKETS);
        if side == Side::Caller {
            *lock(&wire.0.callee_receives) = Some(delivered.downgrade());
        }
        let departs = universe.start(wire.clone().depart(universe.clone(), side, queued, flight));
        let arrives = universe.start(wire.clone().arrive(universe.clone(), side, landing, delivered));
        lock(&wire.0.tasks).extend([(side, Role::Departs, departs), (side, Role::Arrives, arrives)]);
        (outgoing, incoming)
    };
    let (caller_sends, callee_receives) = carry(Side::Caller);
    let (callee_sends, caller_receives) = carry(Side::Callee);
    let near = wire.end(caller_sends, caller_receives);
    let far = wire.end(callee_sends, callee_receives);
    (near, far, wire)
}
