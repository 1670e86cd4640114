//! What this node knows of its own disk and clock and of the others', for whoever has to decide.
use super::{
    clocks::Clocks,
    judge::{Condition, Replica, lacks_room, must_be_silent},
};
use crate::{
    config::DiskPatience,
    topic::NodeId,
    wal::{DiskSpace, Space, Wal},
    world::{Clock, Timestamp, World},
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

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// See the module.
pub(crate) struct Vitals<W: World> {
    wal: Wal<W>,
    patience: DiskPatience,
    others: Mutex<BTreeMap<NodeId, Other>>,
    /// Whether any of them lacks room.
    somebody_full: AtomicBool,
    /// See [`Vitals::leave`].
    leaving: AtomicBool,
    /// When the disk was last seen to be overdue.
    overdue: Mutex<Option<InstantOf<W>>>,
    clock: W::Clock,
    clocks: Mutex<Clocks>,
    began: InstantOf<W>,
}

#[derive(Clone, Copy, Default)]
struct Other {
    connected: bool,
    condition: Condition,
}

impl<W: World> Vitals<W> {
    pub(crate) fn new(
        wal: Wal<W>,
        clock: W::Clock,
        patience: DiskPatience,
        others: impl Iterator<Item = NodeId>,
    ) -> Self {
        let others = others.map(|node| (node, Other::default())).collect();
        let somebody_full = AtomicBool::new(false);
        let (leaving, overdue) = (AtomicBool::new(false), Mutex::default());
        let (clocks, began) = (Mutex::default(), <InstantOf<W> as Instant>::now());
        Vitals { wal, patience, others: Mutex::new(others), somebody_full, leaving, overdue, clock, clocks, began }
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

    /// Whether it takes so many more bytes of entries from a leader: a full one does as long as there is
    /// room, so that what is under way can be finished, and a new leader begin.
    pub(crate) fn takes_entries(&self, bytes: u64) -> bool {
        self.space() < Space::Full || bytes <= self.wal.room()
    }

    /// How much room it has.
    pub(crate) fn disk_space(&self) -> DiskSpace {
        self.wal.disk_space()
    }

    /// What there is to say of this node.
    pub(crate) fn own(&self) -> Condition {
        let mut overdue = self.overdue.lock().expect("a copy");
        if self.waited().is_some_and(|waited| waited > self.patience.overdue) {
            *overdue = Some(<InstantOf<W> as Instant>::now());
        }
        let slow = overdue.is_some_and(|seen| seen.elapsed() < SLOW_FOR);
        let (leaving, clock_wrong) = (self.leaving.load(Ordering::Relaxed), !self.trusts_clock());
        Condition { space: self.space(), slow, leaving, clock_wrong }
    }

    /// What this node's wall clock shows.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far it is ahead of the median of its peers', in microseconds; see [`Clocks::ahead`].
    pub(crate) fn clock_ahead(&self) -> Option<i64> {
        self.clocks.lock().expect("bookkeeping does not panic").ahead(self.clock.now(), self.began.elapsed())
    }

    /// Whether it may be gone by: it is not known to be far from the others'.
    pub(crate) fn trusts_clock(&self) -> bool {
        !self.clocks.lock().expect("bookkeeping does not panic").is_wrong(self.clock.now(), self.began.elapsed())
    }

    /// A peer told what its clock shows.
    pub(crate) fn heard_clock(&self, peer: NodeId, wall: Timestamp) {
        self.clocks.lock().expect("bookkeeping does not panic").heard(peer, wall, self.began.elapsed());
    }

    /// This node is about to stop: nobody should hand it anything. `false`: it was said before.
    pub(crate) fn leave(&self) -> bool {
        !self.leaving.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Every other node, and whether nothing speaks against leading there.
    pub(crate) fn others_well(&self) -> Vec<(NodeId, bool)> {
        let others = self.others();
        others.iter().map(|(node, other)| (*node, other.connected && other.condition.is_well())).collect()
    }

    /// Whether this node must send neither heartbeats nor entries to a partition's other replicas now. Theirs are the
    /// disks that count: nobody else can take its lead.
    pub(crate) fn is_silent(&self, replicas: &[NodeId]) -> bool {
        let waited = self.waited();
        // Asked with every message: the others are looked at only when there is a reason.
        waited.is_some_and(|waited| waited > self.patience.overdue)
            && must_be_silent(waited, self.patience.overdue, &self.replicas(replicas))
    }

    /// Those of the other nodes that are in `of`.
    pub(crate) fn replicas(&self, of: &[NodeId]) -> Vec<Replica> {
        let others = self.others();
        let wanted = others.iter().filter(|(node, _)| of.contains(node));
        wanted
            .map(|(&node, &Other { connected, condition })| Replica { node, connected, condition, matched: 0 })
            .collect()
    }

    /// One of the nodes that keep a partition's appends from a majority of its replicas, for lack of room there.
    pub(crate) fn lacks_room(&self, replicas: &[NodeId]) -> Option<NodeId> {
        // Asked with every append: the others are looked at only when there is a reason.
        let reason = self.somebody_full.load(Ordering::Relaxed);
        reason.then(|| lacks_room(&self.replicas(replicas))).flatten()
    }

    /// The connection to a peer was made, or lost.
    pub(crate) fn connected(&self, peer: NodeId, connected: bool) {
        self.learn(peer, |other| other.connected = connected);
    }

    /// A peer told how it is.
    pub(crate) fn heard(&self, peer: NodeId, condition: Condition) {
        let before = self.learn(peer, |other| std::mem::replace(&mut other.condition, condition));
        if before != condition {
            tracing::info!(peer, ?condition, "a peer told how it is");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        testing::{Sim, SimWorld},
        topic::{ClusterId, LogId, PartitionId},
        wal::{EntryKind, WalEntry, WalOptions},
    };
    use bytes::Bytes;

    /// Node 1 of `nodes`; all others are connected and well.
    fn vitals(sim: &Sim, nodes: NodeId) -> (Wal<SimWorld>, Vitals<SimWorld>) {
        let options = WalOptions {
            dir: "/data".into(),
            cluster: ClusterId([3; 16]),
            node: 1,
            segment_bytes: 64 << 10,
            commit_bytes: 8 << 10,
            hot_tail_bytes: 0,
            hot_tail_total_bytes: 0,
            index_cache_bytes: 0,
            supply: None,
        };
        let wal = Wal::<SimWorld>::open(&sim.env(1).disk, options).expect("opens");
        let vitals = Vitals::new(wal.clone(), sim.env(1).clock, DiskPatience::default(), 2..=nodes);
        for node in 2..=nodes {
            vitals.connected(node, true);
        }
        (wal, vitals)
    }

    #[test]
    fn silence_is_judged_by_the_replicas_of_the_partition() {
        let sim = Sim::seed(1);
        sim.run(async {
            let inside = sim.clone();
            let judged = sim.spawn_on(1, async move {
                let (wal, vitals) = vitals(&inside, 7);
                vitals.heard(4, Condition { slow: true, ..Condition::default() });
                vitals.connected(5, false);
                assert!(!vitals.is_silent(&[1, 2, 3]), "the disk has nothing to do");
                inside.set_sync_delay(1, Duration::from_secs(5)..=Duration::from_secs(5));
                let id = LogId { term: 1, index: 0 };
                let entry = WalEntry { id, kind: EntryKind::Blank, payload: Bytes::new(), crc: 0 };
                wal.partition(PartitionId::new(1, 0)).append(vec![entry], Box::new(drop));
                inside.sleep(Duration::from_secs(1)).await;
                assert!(vitals.is_silent(&[1, 2, 3]), "2 and 3 can go on, whatever 4 and 5 do");
                assert!(!vitals.is_silent(&[1, 4, 5]), "4 and 5 cannot, whoever else could");
                assert!(!vitals.is_silent(&[1]), "there is nobody else");
            });
            judged.await.expect("the script ends");
        });
    }

    #[test]
    fn somebody_full_is_seen_as_long_as_it_is() {
        let sim = Sim::seed(2);
        sim.run(async {
            let inside = sim.clone();
            let judged = sim.spawn_on(1, async move {
                let (_wal, vitals) = vitals(&inside, 3);
                let full = Condition { space: Space::Full, ..Condition::default() };
                assert_eq!(vitals.lacks_room(&[1, 2, 3]), None);
                vitals.heard(2, full);
                assert_eq!(vitals.lacks_room(&[1, 2, 3]), None, "two of three have room");
                vitals.heard(3, full);
                assert_eq!(vitals.lacks_room(&[1, 2, 3]), Some(2));
                assert_eq!(vitals.lacks_room(&[1]), None);
                vitals.heard(2, Condition::default());
                assert_eq!(vitals.lacks_room(&[1, 2, 3]), None);
            });
            judged.await.expect("the script ends");
        });
    }
}
