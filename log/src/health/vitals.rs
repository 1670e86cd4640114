//! What this node knows of its own disk and of the others', for whoever has to decide.
use super::judge::{Condition, Replica, lacks_room, must_be_silent};
use crate::{
    config::DiskPatience,
    topic::NodeId,
    wal::{DiskSpace, Space, Wal},
    world::World,
};
use openraft_rt::{AsyncRuntime, Instant};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A disk counts as slow for this long after it was overdue: a slow disk has quick moments, and a node that told of each
/// would be led by chance.
const SLOW_FOR: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Vitals<W: World> {
    wal: Wal<W>,
    patience: DiskPatience,
    others: Mutex<BTreeMap<NodeId, Other>>,
    /// Whether any of them lacks room.
    somebody_full: AtomicBool,
    /// When the disk was last seen to be overdue.
    overdue: Mutex<Option<<W::Tasks as AsyncRuntime>::Instant>>,
}

#[derive(Clone, Copy, Default)]
struct Other {
    connected: bool,
    condition: Condition,
}

impl<W: World> Vitals<W> {
    pub(crate) fn new(wal: Wal<W>, patience: DiskPatience, others: impl Iterator<Item = NodeId>) -> Self {
        let others = others.map(|node| (node, Other::default())).collect();
        let somebody_full = AtomicBool::new(false);
        Vitals { wal, patience, others: Mutex::new(others), somebody_full, overdue: Mutex::default() }
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<NodeId, Other>> {
        self.others.lock().expect("bookkeeping does not panic")
    }

    pub(crate) fn patience(&self) -> DiskPatience {
        self.patience
    }

    /// How long the disk has been at work on the batch it has now.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.wal.at_work()
    }

    /// Whether this node's disk takes writes of clients.
    pub(crate) fn space(&self) -> Space {
        self.wal.space()
    }

    /// How much room it has.
    pub(crate) fn disk_space(&self) -> DiskSpace {
        self.wal.disk_space()
    }

    /// What there is to say of this node's disk.
    pub(crate) fn own(&self) -> Condition {
        let mut overdue = self.overdue.lock().expect("a copy");
        if self.waited().is_some_and(|waited| waited > self.patience.overdue) {
            *overdue = Some(<<W::Tasks as AsyncRuntime>::Instant as Instant>::now());
        }
        let slow = overdue.is_some_and(|seen| seen.elapsed() < SLOW_FOR);
        Condition { space: self.space(), slow }
    }

    /// Whether this node must send neither heartbeats nor entries now.
    pub(crate) fn is_silent(&self) -> bool {
        let waited = self.waited();
        // Asked with every message: the others are looked at only when there is a reason.
        waited.is_some_and(|waited| waited > self.patience.overdue)
            && must_be_silent(waited, self.patience.overdue, &self.replicas(None))
    }

    /// The other nodes, or those of them that are in `of`.
    pub(crate) fn replicas(&self, of: Option<&[NodeId]>) -> Vec<Replica> {
        let others = self.others();
        let wanted = others.iter().filter(|(node, _)| of.is_none_or(|of| of.contains(node)));
        wanted
            .map(|(&node, &Other { connected, condition })| Replica { node, connected, condition, matched: 0 })
            .collect()
    }

    /// One of the nodes that keep a partition's appends from a majority of its replicas, for lack of room there.
    pub(crate) fn lacks_room(&self, replicas: &[NodeId]) -> Option<NodeId> {
        // Asked with every append: the others are looked at only when there is a reason.
        let reason = self.somebody_full.load(Ordering::Relaxed);
        reason.then(|| lacks_room(&self.replicas(Some(replicas)))).flatten()
    }

    /// The connection to a peer was made, or lost.
    pub(crate) fn connected(&self, peer: NodeId, connected: bool) {
        self.learn(peer, |other| other.connected = connected);
    }

    /// A peer told of its disk.
    pub(crate) fn heard(&self, peer: NodeId, condition: Condition) {
        let before = self.learn(peer, |other| std::mem::replace(&mut other.condition, condition));
        if before != condition {
            tracing::info!(peer, ?condition, "a peer told of its disk");
        }
    }

    fn learn<T>(&self, peer: NodeId, change: impl FnOnce(&mut Other) -> T) -> T {
        let mut others = self.others();
        let told = change(others.entry(peer).or_default());
        let somebody_full = others.values().any(|other| other.condition.space == Space::Full);
        self.somebody_full.store(somebody_full, Ordering::Relaxed);
        told
    }
}
