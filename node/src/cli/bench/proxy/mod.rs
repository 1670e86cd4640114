//! A TCP proxy that can lose its cable: what goes between two processes, held or cut at will, without root.
//!
//! ```text
//!   caller ──connect──▶ listener ──connect──▶ target
//!          ══ forth ══▶   pump    ══════════▶
//!          ◀══════════    pump    ◀══ back ══
//!                          └ held: what was read stays here, what follows stays with its sender
//! ```
//!
//! *Held* is what a cut cable does to bytes: they are neither delivered nor refused, and come when the cable is whole
//! again, the end of a connection included. Each direction is held by itself. *Reset* ends every connection at once, as
//! a box in the middle does that lost its table.
//!
//! A proxy must not hide that its target is gone. When the target ends a connection or refuses one, the proxy looks, and
//! refuses connections, too, until the target takes them again.
//!
//! **Invariant**: bytes are passed on in order, none is lost and none comes twice, whatever is held in between.
//!
//! **Invariant**: what waits here is bounded: one buffer per direction of a connection.
//!
//! Left out: while a direction is held, this machine's kernel still acknowledges what the sender wrote, and a connection
//! that is opened meanwhile is accepted and then silent. Over a real cable neither would be so. A node notices both by its
//! own deadlines, which are the same for either.
mod listener;

mod pump;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{sync::watch, task::JoinHandle};

/// One of the two directions through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From who connects to the target.
    Forth,
    /// From the target back.
    Back,
}

/// A proxy for one target. Dropping it ends every connection.
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

/// What the proxy and its connections share.
struct Shared {
    target: SocketAddr,
    forth: Lane,
    back: Lane,
    /// Counts resets; a connection ends when it changes.
    resets: watch::Sender<u64>,
    connections: AtomicU64,
    reset: AtomicU64,
    /// Whether the target takes connections, as far as is known.
    target_is_there: watch::Sender<bool>,
    /// Whether the proxy does, and how often it has ceased to.
    listening: watch::Sender<(bool, u64)>,
}

/// One direction.
struct Lane {
    held: watch::Sender<bool>,
    passed_bytes: AtomicU64,
    held_bytes: AtomicU64,
}

/// What went through one direction so far. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Delivered.
    pub(super) passed: u64,
    /// Taken while the direction was held; delivered afterwards, or lost with its connection.
    pub(super) held: u64,
}

impl Proxy {
    /// Listens on a port of this machine for connections to `target`.
    pub(super) async fn listen(port: u16, target: SocketAddr) -> io::Result<Self> {
        let listener = listener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            forth: Lane::new(),
            back: Lane::new(),
            resets: watch::Sender::new(0),
            connections: AtomicU64::new(0),
            reset: AtomicU64::new(0),
            target_is_there: watch::Sender::new(true),
            listening: watch::Sender::new((true, 0)),
        });
        let listening = tokio::spawn(listener::serve(listener, shared.clone()));
        Ok(Proxy { address, shared, listening })
    }

    /// The port to connect to.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Holds one direction.
    pub(super) fn hold(&self, way: Way) {
        self.shared.lane(way).held.send_replace(true);
    }

    /// Lets one direction go on, with what was held first.
    pub(super) fn release(&self, way: Way) {
        self.shared.lane(way).held.send_replace(false);
    }

    /// Resets all connections there are.
    pub(super) fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }

    /// What went through one direction.
    pub(super) fn traffic(&self, way: Way) -> Traffic {
        let lane = self.shared.lane(way);
        Traffic { passed: lane.passed_bytes.load(Ordering::Relaxed), held: lane.held_bytes.load(Ordering::Relaxed) }
    }

    /// How many connections were reset by [`Proxy::reset`].
    pub(super) fn connections_reset(&self) -> u64 {
        self.shared.reset.load(Ordering::Relaxed)
    }

    /// How many connections were made through it.
    #[cfg(test)]
    fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are tasks of this one, and end with it.
        self.listening.abort();
    }
}

impl Shared {
    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Forth => &self.forth,
            Way::Back => &self.back,
        }
    }
}

impl Lane {
    fn new() -> Self {
        Lane { held: watch::Sender::new(false), passed_bytes: AtomicU64::new(0), held_bytes: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests;
