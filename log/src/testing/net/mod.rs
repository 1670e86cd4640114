//! Links between nodes and the connections over them.
//!
//! ```text
//!   outgoing ─▶ depart: stamps the time of arrival ─▶ in flight ─▶ arrive: waits for it, and while the link is cut ─▶ incoming
//! ```
//!
//! **Invariant**: a connection delivers in order and without gaps until it is lost. A cut link holds packets back; only
//! the keepalive turns that into a loss.
//!
//! **Invariant**: news travels no faster than packets. That a process died, a peer hung up or nobody listens is learned a
//! latency later; that a machine lost power, or a link was cut, only by a timeout.
use super::{
    LinkStats, lock,
    universe::{Death, Life, Universe},
};
use crate::{
    topic::NodeId,
    world::{Connection, Net, NetError, Purpose},
};
use corduroy_proto::v1::Packet;
use link::Link;
use openraft_rt::{AsyncRuntime as _, Instant as _};
use openraft_rt_sim::{SimInstant, SimRuntime};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, mpsc};
use wire::Wire;

mod link;
mod wire;

pub use link::SimLink;

/// Accepted connections nobody has taken yet; more are refused.
const ACCEPTED_CONNECTIONS: usize = 64;

struct Listener {
    life: Arc<Life>,
    accepted: mpsc::Sender<Connection>,
}

impl Listener {
    fn is_open(&self) -> bool {
        self.life.is_alive() && !self.accepted.is_closed()
    }
}

/// Every link, listener and connection.
#[derive(Default)]
pub(super) struct Network {
    /// Who was last seen at an address.
    addresses: BTreeMap<String, NodeId>,
    listeners: BTreeMap<String, Listener>,
    /// Links that are cut, with the number of the cut.
    cuts: BTreeMap<(NodeId, NodeId), u64>,
    next_cut: u64,
    healed: Arc<Notify>,
    wires: BTreeMap<u64, Wire>,
    next_wire: u64,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Pairs between which connections are accepted and carry nothing; the smaller node first.
    half_open: BTreeSet<(NodeId, NodeId)>,
    /// Pairs between which connections are refused; the smaller node first.
    refused: BTreeSet<(NodeId, NodeId)>,
    /// Numbers for requests that come late, from the top: no caller gets that far.
    late_requests: u64,
}

impl Network {
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    fn wires_of(&self, node: NodeId) -> Vec<Wire> {
        self.wires.values().filter(|wire| wire.side_of(node).is_some()).cloned().collect()
    }

    /// Forgets everything, so that nothing keeps the simulation alive.
    pub(super) fn clear(&mut self) {
        *self = Network::default();
    }
}

impl Universe {
    /// Looks at one direction of a link.
    fn link<T>(&self, from: NodeId, to: NodeId, look: impl FnOnce(&mut Link) -> T) -> T {
        let mut network = lock(&self.network);
        let link = network
            .links
            .entry((from, to))
            .or_insert_with(|| Link::new(self.config.latency.clone(), self.stream(&format!("link/{from}/{to}"))));
        look(link)
    }

    pub(super) fn link_stats(&self, from: NodeId, to: NodeId) -> LinkStats {
        self.link(from, to, |link| link.stats)
    }

    /// How long the next packet over a link takes.
    fn latency(&self, from: NodeId, to: NodeId) -> Duration {
        self.link(from, to, Link::draw_latency)
    }

    pub(super) fn set_link(&self, from: NodeId, to: NodeId, quality: SimLink) {
        self.link(from, to, |link| link.quality = quality);
    }

    pub(super) fn reset(self: &Arc<Self>, a: NodeId, b: NodeId) {
        for wire in self.between(a, b) {
            self.link(a, b, |link| link.stats.reset += 1);
            self.lose(wire.id(), "connection reset by a stranger");
        }
    }

    pub(super) fn half_open(self: &Arc<Self>, a: NodeId, b: NodeId) {
        self.trace().event(format_args!("link {a} - {b} is half open"));
        lock(&self.network).half_open.insert((a.min(b), a.max(b)));
        for wire in self.between(a, b) {
            self.stick(&wire);
        }
    }

    pub(super) fn close_half_open(&self, which: impl Fn(NodeId, NodeId) -> bool) {
        lock(&self.network).half_open.retain(|(a, b)| !which(*a, *b));
    }

    pub(super) fn refuse(self: &Arc<Self>, a: NodeId, b: NodeId) {
        self.trace().event(format_args!("connections {a} - {b} are refused"));
        lock(&self.network).refused.insert((a.min(b), a.max(b)));
        self.reset(a, b);
    }

    pub(super) fn admit(&self, which: impl Fn(NodeId, NodeId) -> bool) {
        lock(&self.network).refused.retain(|(a, b)| !which(*a, *b));
    }

    fn between(&self, a: NodeId, b: NodeId) -> Vec<Wire> {
        let wires = lock(&self.network).wires_of(a);
        wires.into_iter().filter(|wire| wire.side_of(b).is_some()).collect()
    }

    /// Lets a connection carry nothing any more; the keepalive finds out.
    fn stick(self: &Arc<Self>, wire: &Wire) {
        wire.stick();
        let (universe, id) = (self.clone(), wire.id());
        self.start(async move {
            SimRuntime::sleep(universe.config.keepalive).await;
            universe.lose(id, "keepalive timed out");
        });
    }

    /// Delivers requests once more, later, over whatever connection there is then: as a sender that repeats itself, or a
    /// network that held them back past the end of their connection. Nobody waits for the answers.
    fn repeat(self: &Arc<Self>, from: NodeId, to: NodeId, mut packet: Packet) {
        packet.confirmed = 0;
        packet.messages.retain(link::may_come_late);
        if packet.messages.is_empty() {
            return;
        }
        let delay = self.link(from, to, Link::draw_lateness);
        let universe = self.clone();
        self.start(async move {
            SimRuntime::sleep(delay).await;
            universe.passable(from, to).await;
            let there = universe.between(from, to).into_iter().rev().find_map(|wire| wire.receiver_of(from));
            let Some(there) = there else { return };
            for message in &mut packet.messages {
                let mut network = lock(&universe.network);
                network.late_requests += 1;
                link::renumber(message, u64::MAX - network.late_requests);
            }
            universe.trace().detail(format_args!("packet {from} -> {to} once more"));
            // A connection that is full or over loses it.
            if there.try_send(packet).is_ok() {
                universe.link(from, to, |link| link.stats.late += 1);
            }
        });
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        lock(&self.network).is_cut(from, to)
    }

    /// Waits until a packet that has come to the end of its way may pass.
    async fn passable(&self, from: NodeId, to: NodeId) {
        if self.is_cut(from, to) {
            self.link(from, to, |link| link.stats.held += 1);
        }
        loop {
            let healed = lock(&self.network).healed.clone();
            // The one thread makes this free of races: nothing heals between the look and the wait.
            if !self.is_cut(from, to) {
                return;
            }
            healed.notified().await;
            SimRuntime::sleep(self.latency(from, to)).await;
        }
    }

    pub(super) fn cut(self: &Arc<Self>, from: NodeId, to: NodeId) {
        let (cut, wires) = {
            let mut network = lock(&self.network);
            if network.is_cut(from, to) {
                return;
            }
            network.next_cut += 1;
            let cut = network.next_cut;
            network.cuts.insert((from, to), cut);
            let both = |wire: &Wire| wire.side_of(to).is_some();
            (cut, network.wires_of(from).into_iter().filter(both).collect::<Vec<_>>())
        };
        self.trace().event(format_args!("link {from} -> {to} is cut"));
        for wire in wires {
            let universe = self.clone();
            self.start(async move {
                SimRuntime::sleep(universe.config.keepalive).await;
                let lasts = lock(&universe.network).cuts.get(&(from, to)) == Some(&cut);
                if lasts {
                    universe.lose(wire.id(), "keepalive timed out");
                }
            });
        }
    }

    pub(super) fn heal(&self, mut which: impl FnMut(NodeId, NodeId) -> bool) {
        let (healed, links) = {
            let mut network = lock(&self.network);
            let links: Vec<_> = network.cuts.keys().copied().filter(|(from, to)| which(*from, *to)).collect();
            for link in &links {
                network.cuts.remove(link);
            }
            (network.healed.clone(), links)
        };
        for (from, to) in links {
            self.trace().event(format_args!("link {from} -> {to} is mended"));
        }
        healed.notify_waiters();
    }

    /// Ends a connection on both sides at once.
    fn lose(self: &Arc<Self>, id: u64, reason: &str) {
        let Some(wire) = lock(&self.network).wires.remove(&id) else { return };
        self.trace().event(format_args!("{wire} is lost: {reason}"));
        wire.lose(self, reason);
    }

    /// Ends a connection when word of it has come from `from` to the other side.
    fn lose_later(self: &Arc<Self>, wire: &Wire, from: NodeId, reason: &'static str) {
        let (universe, id, to) = (self.clone(), wire.id(), wire.other(from));
        let latency = self.latency(from, to);
        let arrival = wire.arrival_after(from, latency);
        self.start(async move {
            SimRuntime::sleep_until(arrival).await;
            universe.passable(from, to).await;
            universe.lose(id, reason);
        });
    }

    /// What the network makes of the end of a node.
    pub(super) fn node_died(self: &Arc<Self>, life: &Arc<Life>, death: Death) {
        let node = life.node;
        let wires = lock(&self.network).wires_of(node);
        for wire in wires {
            // What the process had not handed to its operating system is gone with it.
            wire.stop_sending(self, node);
            match death {
                Death::Process => self.lose_later(&wire, node, "connection reset by peer"),
                Death::Power => {
                    let universe = self.clone();
                    self.start(async move {
                        SimRuntime::sleep(universe.config.keepalive).await;
                        universe.lose(wire.id(), "keepalive timed out");
                    });
                }
            }
        }
        let closed: Vec<_> = {
            let mut network = lock(&self.network);
            let gone = |listener: &Listener| Arc::ptr_eq(&listener.life, life);
            let addresses: Vec<_> =
                network.listeners.iter().filter(|(_, l)| gone(l)).map(|(address, _)| address.clone()).collect();
            addresses.iter().filter_map(|address| network.listeners.remove(address)).collect()
        };
        drop(closed);
    }

    /// A machine that is back knows nothing of its connections and says so.
    pub(super) fn node_restarted(self: &Arc<Self>, node: NodeId) {
        let wires = lock(&self.network).wires_of(node);
        for wire in wires {
            self.lose_later(&wire, node, "connection reset by peer");
        }
    }
}

/// How one incarnation of a node reaches others. Addresses are any strings; who listens at one has it.
#[derive(Clone)]
pub struct SimNet {
    universe: Arc<Universe>,
    life: Arc<Life>,
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimNet").field(&self.life).finish()
    }
}

impl SimNet {
    pub(super) fn new(universe: Arc<Universe>, life: Arc<Life>) -> Self {
        SimNet { universe, life }
    }

    /// Hands the other end to whoever listens.
    fn accept(&self, address: &str) -> Result<(Connection, Wire), NetError> {
        let listener = {
            let network = lock(&self.universe.network);
            let listener = network.listeners.get(address).filter(|listener| listener.is_open());
            listener.map(|listener| (listener.life.clone(), listener.accepted.clone()))
        };
        let refused = || NetError::Refused(format!("{address}: connection refused"));
        let (there, accepted) = listener.ok_or_else(refused)?;
        let (near, far, wire) = wire::connect(&self.universe, self.life.clone(), there);
        // Here no lock is held: a connection nobody takes is dropped.
        match accepted.try_send(far) {
            Ok(()) => Ok((near, wire)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(refused()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(NetError::Unreachable(format!("{address}: too many new connections")))
            }
        }
    }
}

impl Net for SimNet {
    async fn connect(&self, address: &str, purpose: Purpose) -> Result<Connection, NetError> {
        let unreachable = |why: &str| NetError::Unreachable(format!("{address}: {why}"));
        let (universe, here) = (&self.universe, self.life.node);
        if !self.life.is_alive() {
            return Err(unreachable("this node is dead"));
        }
        let there = lock(&universe.network).addresses.get(address).copied();
        let Some(there) = there else {
            SimRuntime::sleep(universe.latency(here, here)).await;
            return Err(NetError::Refused(format!("{address}: nobody ever listened there")));
        };
        let silent = universe.is_cut(here, there) || universe.is_cut(there, here) || !universe.is_responsive(there);
        for (from, to) in [(here, there), (there, here)] {
            if universe.is_cut(from, to) {
                universe.link(from, to, |link| link.stats.unanswered += 1);
            }
        }
        if silent {
            SimRuntime::sleep(universe.config.connect_timeout).await;
            return Err(unreachable("timed out"));
        }
        SimRuntime::sleep(universe.latency(here, there)).await;
        let refused = lock(&universe.network).refused.contains(&(here.min(there), here.max(there)));
        let accepted = match refused {
            true => Err(NetError::Refused(format!("{address}: refused on the way"))),
            false => self.accept(address),
        };
        universe.link(here, there, |link| link.stats.refused += u64::from(refused));
        SimRuntime::sleep(universe.latency(there, here)).await;
        let (connection, wire) = accepted?;
        if lock(&universe.network).half_open.contains(&(here.min(there), here.max(there))) {
            universe.stick(&wire);
        }
        universe.trace().event(format_args!("{} is connected to {there} for {purpose:?}", self.life));
        Ok(connection)
    }

    async fn listen(&self, address: &str) -> io::Result<mpsc::Receiver<Connection>> {
        if !self.life.is_alive() {
            return Err(io::Error::other(format!("{:?} is dead", self.life)));
        }
        let (accepted, connections) = mpsc::channel(ACCEPTED_CONNECTIONS);
        let listener = Listener { life: self.life.clone(), accepted };
        let replaced = {
            let mut network = lock(&self.universe.network);
            if network.listeners.get(address).is_some_and(Listener::is_open) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            network.addresses.insert(address.to_owned(), self.life.node);
            network.listeners.insert(address.to_owned(), listener)
        };
        drop(replaced);
        Ok(connections)
    }
}

/// The later of a time and now plus a latency.
fn arrival(latency: Duration, not_before: SimInstant) -> SimInstant {
    (SimInstant::now() + latency).max(not_before)
}
