//! The network between the nodes of a bench: a proxy per ordered pair, so that each way of each link can be cut.
//!
//! ```text
//!            node i ── its requests ──▶ proxy (i, j) ──▶ peer port of node j
//!            node i ◀── j's answers ─── proxy (i, j) ◀── node j
//! ```
//!
//! A node connects to every other one, so what i sends to j goes two ways: forth through (i, j), and back through (j, i).
//! To cut the direction i to j is to hold both. Clients may go through proxies of their own, one per node.
use super::proxy::{Proxy, Traffic, Way};
use crate::cli::{
    exit::Failure,
    up::layout::{Layout, unused_ports},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// All proxies of a cluster.
pub(super) struct Mesh {
    between: BTreeMap<(u64, u64), Proxy>,
    /// Those of the clients, by node; none where clients go straight.
    clients: BTreeMap<u64, Proxy>,
}

impl Mesh {
    /// Puts proxies between the nodes of a layout, and tells each node the ports of its own.
    pub(super) async fn weave(layout: &mut Layout, with_clients: bool) -> Result<Self, Failure> {
        let members = layout.members.clone();
        // The nodes' own ports are unused, too, as long as no node runs.
        let mut ports = unused_ports().filter(|port| !members.iter().any(|member| member.uses(*port)));
        let mut mesh = Mesh { between: BTreeMap::new(), clients: BTreeMap::new() };
        if with_clients {
            for to in &members {
                mesh.clients.insert(to.id, proxy(&mut ports, to.grpc).await?);
            }
        }
        for from in &members {
            let mut seen = members.clone();
            for to in &mut seen {
                if to.id != from.id {
                    let proxy = proxy(&mut ports, to.peer).await?;
                    to.peer = proxy.port();
                    mesh.between.insert((from.id, to.id), proxy);
                }
                // Nodes send clients to each other.
                if let Some(proxy) = mesh.clients.get(&to.id) {
                    to.grpc = proxy.port();
                }
            }
            layout.tell(from.id, &seen)?;
        }
        Ok(mesh)
    }

    /// Where a client finds a node, if it is to go through a proxy.
    pub(super) fn grpc_of(&self, node: u64) -> Option<String> {
        self.clients.get(&node).map(|proxy| format!("127.0.0.1:{}", proxy.port()))
    }

    /// All directions from or to a node: (from, to).
    pub(super) fn directions(&self) -> Vec<(u64, u64)> {
        self.between.keys().copied().collect()
    }

    /// Cuts one direction: nothing that `from` sends reaches `to`.
    pub(super) fn cut(&self, from: u64, to: u64) {
        self.halves(from, to).for_each(|(proxy, way)| proxy.hold(way));
    }

    /// Cuts a node off from the clients, both ways. `false`: clients do not go through proxies.
    pub(super) fn cut_clients(&self, node: u64) -> bool {
        let proxy = self.clients.get(&node);
        proxy.into_iter().for_each(|proxy| [Way::Forth, Way::Back].iter().for_each(|way| proxy.hold(*way)));
        proxy.is_some()
    }

    /// Makes everything whole again.
    pub(super) fn heal(&self) {
        for proxy in self.between.values().chain(self.clients.values()) {
            proxy.release(Way::Forth);
            proxy.release(Way::Back);
        }
    }

    /// Resets every connection between a node and the others.
    pub(super) fn reset(&self, node: u64) {
        self.between.iter().filter(|((from, to), _)| *from == node || *to == node).for_each(|(_, proxy)| proxy.reset());
    }

    /// What `from` has sent to `to` so far.
    pub(super) fn traffic(&self, from: u64, to: u64) -> Traffic {
        let halves = self.halves(from, to).map(|(proxy, way)| proxy.traffic(way));
        halves.fold(Traffic::default(), |a, b| Traffic { passed: a.passed + b.passed, held: a.held + b.held })
    }

    /// What the clients and a node have sent each other, both ways.
    pub(super) fn client_traffic(&self, node: u64) -> Traffic {
        let proxies = self.clients.get(&node).into_iter();
        let both = proxies.flat_map(|proxy| [Way::Forth, Way::Back].map(|way| proxy.traffic(way)));
        both.fold(Traffic::default(), |a, b| Traffic { passed: a.passed + b.passed, held: a.held + b.held })
    }

    /// How many connections were reset.
    pub(super) fn connections_reset(&self) -> u64 {
        self.between.values().map(Proxy::connections_reset).sum()
    }

    /// The two proxies that carry one direction.
    fn halves(&self, from: u64, to: u64) -> impl Iterator<Item = (&Proxy, Way)> {
        let there = self.between.get(&(from, to)).map(|proxy| (proxy, Way::Forth));
        let back = self.between.get(&(to, from)).map(|proxy| (proxy, Way::Back));
        there.into_iter().chain(back)
    }
}

async fn proxy(ports: &mut impl Iterator<Item = u16>, target: u16) -> Result<Proxy, Failure> {
    let none = || Failure::start("no free port was found from 10000 to 30000");
    let port = ports.next().ok_or_else(none)?;
    let listening = Proxy::listen(port, SocketAddr::from(([127, 0, 0, 1], target))).await;
    listening.map_err(|error| Failure::start(format!("a proxy cannot listen on port {port}: {error}")))
}
