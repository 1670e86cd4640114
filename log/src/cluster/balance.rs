//! Leads that move on purpose: back to where they belong after a failure, and away from a node that stops.
//!
//! Both move leads by transfer, a few at a time: an election costs each voter a sync, and those of many groups at once would
//! wait for each other.
//!
//! **Invariant**: a lead is handed to a replica that is connected, well, answers, and has nearly all of the log. For balance
//! it moves to the front of the placement's order alone ([`super::spread`]).
use super::{
    Hosted,
    spread::{Calm, Candidate, better, heir},
};
use crate::{
    health::Vitals,
    partition::Partition,
    topic::{NodeId, PartitionId},
    world::World,
};
use openraft_rt::{AsyncRuntime, Instant};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often a node looks whether it leads what another should.
const ROUND: Duration = Duration::from_millis(500);
/// Leads it hands over in a round.
const PER_ROUND: usize = 4;
/// Until a lead that was not taken is offered again.
const OFFERED: Duration = Duration::from_secs(10);

/// Leads a node that stops hands over at a time.
const AT_A_TIME: usize = 16;
/// How long it waits for one to be taken before it offers it again, perhaps to another.
const TAKEN: Duration = Duration::from_millis(400);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(2);
/// After this it stops with the leads it still has.
const PATIENCE: Duration = Duration::from_secs(3);

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// What both need.
pub(crate) struct Leads<W: World> {
    me: NodeId,
    vitals: Arc<Vitals<W>>,
    hosted: Arc<Hosted<W>>,
}

impl<W: World> Leads<W> {
    pub(crate) fn new(me: NodeId, vitals: Arc<Vitals<W>>, hosted: Arc<Hosted<W>>) -> Self {
        Leads { me, vitals, hosted }
    }

    /// Moves leads to where the placement wants them, until the node stops.
    pub(crate) async fn balance(self: Arc<Self>) {
        let began = <InstantOf<W> as Instant>::now();
        let mut calm: BTreeMap<NodeId, Calm> = BTreeMap::new();
        let mut offered: BTreeMap<PartitionId, Duration> = BTreeMap::new();
        loop {
            <W::Tasks as AsyncRuntime>::sleep(ROUND).await;
            let now = began.elapsed();
            for (node, well) in self.vitals.others_well() {
                calm.entry(node).or_default().look(well, now);
            }
            offered.retain(|_, when| now - *when < OFFERED);
            // A node that is unwell has other rules to follow, and one that stops hands over everything.
            if !self.vitals.own().is_well() {
                continue;
            }
            let settled = |node| calm.get(&node).is_some_and(|calm| calm.is_settled(now));
            for (partition, to) in self.misplaced(&settled, &offered).into_iter().take(PER_ROUND) {
                tracing::info!(partition = %partition.name(), to, "handing over the lead, which belongs there");
                offered.insert(partition.id(), now);
                partition.hand_over(to).await;
            }
        }
    }

    /// What this node leads and another should.
    fn misplaced(
        &self,
        settled: &impl Fn(NodeId) -> bool,
        offered: &BTreeMap<PartitionId, Duration>,
    ) -> Vec<(Partition<W>, NodeId)> {
        let led = self.hosted.all().into_iter().filter(|partition| !offered.contains_key(&partition.id()));
        led.filter_map(|partition| {
            let candidates = self.candidates(&partition, settled)?;
            let to = better(self.me, partition.replicas(), &candidates, last_index(&partition))?;
            Some((partition, to))
        })
        .collect()
    }

    /// The other replicas of a partition that is led here.
    fn candidates(&self, partition: &Partition<W>, settled: &impl Fn(NodeId) -> bool) -> Option<Vec<Candidate>> {
        let matched = partition.matched()?;
        let others = self.vitals.replicas(partition.replicas()).into_iter();
        let candidates = others.map(|other| Candidate {
            node: other.node,
            well: other.connected && other.condition.is_well() && matched.contains_key(&other.node),
            settled: settled(other.node),
            matched: matched.get(&other.node).copied().unwrap_or_default(),
        });
        Some(candidates.collect())
    }

    /// Gives away everything this node leads, as far as somebody takes it in time.
    pub(crate) async fn give_away(&self) {
        let began = <InstantOf<W> as Instant>::now();
        let mut offered: BTreeMap<PartitionId, Duration> = BTreeMap::new();
        loop {
            let now = began.elapsed();
            let mut open = 0;
            for partition in self.hosted.all() {
                partition.set_campaigning(false);
                let Some(candidates) = self.candidates(&partition, &|_| true) else { continue };
                let Some(to) = heir(partition.replicas(), &candidates, last_index(&partition)) else { continue };
                open += 1;
                if open <= AT_A_TIME && offered.get(&partition.id()).is_none_or(|when| now - *when > TAKEN) {
                    offered.insert(partition.id(), now);
                    partition.hand_over(to).await;
                }
            }
            if open == 0 {
                tracing::info!(took = ?now, leads = offered.len(), "leads nothing any more that others could");
                return;
            }
            if now > PATIENCE {
                tracing::warn!(after = ?now, leads = open, "stops with leads that nobody took in time");
                return;
            }
            <W::Tasks as AsyncRuntime>::sleep(LOOK).await;
        }
    }
}

fn last_index<W: World>(partition: &Partition<W>) -> u64 {
    partition.last().map_or(0, |last| last.index)
}
