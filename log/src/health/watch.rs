//! The task that looks and acts.
use super::{
    Vitals,
    judge::{Condition, Unfit, may_campaign, successor},
};
use crate::{
    cluster::Hosted,
    partition::Partition,
    peer::Peers,
    topic::PartitionId,
    world::{Halt, Tasks, World},
};
use openraft_rt::{AsyncRuntime, Instant};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often it looks: a fraction of what counts as overdue.
const LOOK: Duration = Duration::from_millis(100);
/// How often peers are told again while something is wrong.
const REPEAT: Duration = Duration::from_secs(1);
/// Until a lead that was not taken is offered again.
const OFFER: Duration = Duration::from_secs(2);
/// How often peers are told what this node's clock shows.
const TELL_TIME: Duration = Duration::from_secs(1);
/// Without a leader for so long, a group takes one that is unwell.
const LONG: Duration = Duration::from_secs(10);
/// Leads offered at a time: elections of many groups at once would wait for each other's votes.
const OFFERS: usize = 32;

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

struct Watch<W: World> {
    vitals: Arc<Vitals<W>>,
    peers: Arc<Peers<W>>,
    hosted: Arc<Hosted<W>>,
    /// What peers were told last, and when.
    told: (Condition, InstantOf<W>),
    /// When each lead was offered.
    offered: BTreeMap<PartitionId, InstantOf<W>>,
    /// Since when groups have no leader, as far as this node knows; while something is wrong.
    without: BTreeMap<PartitionId, InstantOf<W>>,
    /// Something was wrong at the last look.
    unwell: bool,
    /// When peers were last told what this node's clock shows.
    told_time: InstantOf<W>,
}

/// Watches this node's disk and clock until the node stops.
pub(crate) async fn watch<W: World>(vitals: Arc<Vitals<W>>, peers: Arc<Peers<W>>, hosted: Arc<Hosted<W>>) {
    let now = <InstantOf<W> as Instant>::now();
    let (told, offered, without) = ((Condition::default(), now), BTreeMap::new(), BTreeMap::new());
    let mut watch = Watch { vitals, peers, hosted, told, offered, without, unwell: false, told_time: now };
    loop {
        <W::Tasks as AsyncRuntime>::sleep(LOOK).await;
        let patience = watch.vitals.patience();
        let waited = watch.vitals.waited().unwrap_or_default();
        if waited > patience.failed {
            W::Tasks::halt(Halt::DiskFailed(format!(
                "the disk has been at work on one write for {waited:.1?}, more than {:?}",
                patience.failed
            )));
            return;
        }
        watch.look(waited > patience.stuck).await;
    }
}

impl<W: World> Watch<W> {
    async fn look(&mut self, stuck: bool) {
        if self.told_time.elapsed() >= TELL_TIME {
            self.peers.tell_time(self.vitals.wall());
            self.told_time = <InstantOf<W> as Instant>::now();
        }
        let own = self.vitals.own();
        if own.clock_wrong != self.told.0.clock_wrong {
            let ahead_micros = self.vitals.clock_ahead();
            if own.clock_wrong {
                tracing::error!(ahead_micros, "the clock of this node is far from the others': it does not lead");
            } else {
                tracing::info!(ahead_micros, "the clock of this node is right again");
            }
        }
        if own != self.told.0 || !own.is_well() && self.told.1.elapsed() > REPEAT {
            self.peers.announce(own);
            self.told = (own, <InstantOf<W> as Instant>::now());
        }
        // Once more after all is well again: to campaign again.
        if self.unwell || !own.is_well() {
            self.unwell = !own.is_well();
            self.tend(own, stuck).await;
        }
    }

    /// Does for every partition what follows.
    async fn tend(&mut self, own: Condition, stuck: bool) {
        if own.leaving {
            return;
        }
        let me = Unfit { space: own.space, stuck, clock_wrong: own.clock_wrong };
        if own.is_well() {
            self.without.clear();
        }
        let mut offers = 0;
        for partition in self.hosted.all() {
            let mut others = self.vitals.replicas(partition.replicas());
            let long_without = self.is_long_without(&partition);
            partition.set_campaigning(may_campaign(own, &others, long_without));
            if offers == OFFERS || self.offered.get(&partition.id()).is_some_and(|when| when.elapsed() < OFFER) {
                continue;
            }
            let Some(matched) = partition.matched() else { continue };
            for other in &mut others {
                other.connected &= matched.contains_key(&other.node);
                other.matched = matched.get(&other.node).copied().unwrap_or_default();
            }
            if let Some(to) = successor(me, &others) {
                offers += 1;
                self.offered.insert(partition.id(), <InstantOf<W> as Instant>::now());
                self.offer(&partition, to, me).await;
            }
        }
    }

    fn is_long_without(&mut self, partition: &Partition<W>) -> bool {
        let heard = partition.since_heard().is_some_and(|ago| ago < LONG);
        if heard || partition.leads().is_some() {
            self.without.remove(&partition.id());
            return false;
        }
        self.without.entry(partition.id()).or_insert_with(<InstantOf<W> as Instant>::now).elapsed() > LONG
    }

    async fn offer(&self, partition: &Partition<W>, to: u64, me: Unfit) {
        tracing::warn!(partition = %partition.name(), to, space = ?me.space, stuck = me.stuck, clock_wrong = me.clock_wrong, "handing over the lead");
        partition.hand_over(to).await;
    }
}
