//! The task that finds a successor for leaders whose process is gone.
//!
//! ```text
//!   link: lost, refused ─▶ Processes ─▶ peers are told ─▶ theirs come in ─▶ a majority of a group's voters says so
//!                                                              │
//!        lift the lease of the dead leader's vote ◀────────────┘
//!        ask for votes (with pre-vote), in turns, again and again ──▶ another leader
//! ```
//!
//! Safety rests on Raft alone. What is taken away is the wait: voters refuse votes while they believe that their leader
//! lives (its lease), and a dead one would be believed in for half a second. The lease is lifted by a request to transfer
//! the lead to *nobody*: naming a node would let it skip the pre-vote, and one suspicious node could depose a leader that
//! lives.
//!
//! **Invariant**: on one node's word nothing happens: a lease lifted on one voter changes nothing for the others.
use super::{
    Processes,
    gone::Witnesses,
    succession::{Campaign, turn},
};
use crate::{
    cluster::Hosted,
    partition::Partition,
    peer::Peers,
    raft,
    topic::{NodeId, PartitionId},
    world::World,
};
use corduroy_proto::v1::LastLog;
use openraft_rt::AsyncRuntime;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often a group without leader is looked at.
const LOOK: Duration = Duration::from_millis(5);

struct Failover<W: World> {
    me: NodeId,
    processes: Arc<Processes<W>>,
    peers: Arc<Peers<W>>,
    hosted: Arc<Hosted<W>>,
    campaigns: BTreeMap<PartitionId, Campaign>,
}

/// Acts on what is known of processes until the node stops.
pub(crate) async fn fail_over<W: World>(
    me: NodeId,
    processes: Arc<Processes<W>>,
    peers: Arc<Peers<W>>,
    hosted: Arc<Hosted<W>>,
) {
    let mut failover = Failover { me, processes, peers, hosted, campaigns: BTreeMap::new() };
    loop {
        failover.processes.changed().await;
        failover.look().await;
        while !failover.campaigns.is_empty() {
            let changed = failover.processes.changed();
            // Whichever comes first: what it finds is the same.
            <W::Tasks as AsyncRuntime>::timeout(LOOK, changed).await.ok();
            failover.look().await;
        }
    }
}

/// When to ask, and by whose word.
struct Turn {
    /// The process that is gone.
    run: u64,
    witnesses: Witnesses,
    turn: u32,
}

impl<W: World> Failover<W> {
    async fn look(&mut self) {
        let partitions = self.hosted.all();
        if let Some(word) = self.processes.speak(|node| logs_led_by(&partitions, node)) {
            self.peers.tell_gone(&word);
        }
        let mut campaigns = std::mem::take(&mut self.campaigns);
        for partition in partitions {
            let before = campaigns.remove(&partition.id());
            if let Some(campaign) = self.pursue(&partition, before).await {
                self.campaigns.insert(partition.id(), campaign);
            }
        }
    }

    /// Does what follows for one partition.
    async fn pursue(&self, partition: &Partition<W>, before: Option<Campaign>) -> Option<Campaign> {
        let (vote, now) = (partition.vote(), self.processes.now());
        let mut campaign = match before {
            Some(Campaign { dead, run, .. }) if self.processes.is_back(dead.node, run) => return None,
            Some(campaign) if campaign.is_over(vote, now) => {
                tracing::info!(partition = %partition.name(), ?vote, "the search for a leader is over");
                return None;
            }
            Some(campaign) => campaign,
            None => self.begin(partition).await?,
        };
        let dead = campaign.dead.node;
        if campaign.asks(vote, now, || Some(self.turn(partition, dead)?.turn)) {
            partition.ask_for_votes().await;
        }
        Some(campaign)
    }

    /// Where the leader's process is gone by a majority's word, and this was not acted on yet.
    async fn begin(&self, partition: &Partition<W>) -> Option<Campaign> {
        let dead = partition.vote();
        if !dead.committed || dead.node == self.me || partition.is_lifted(dead) {
            return None;
        }
        let Turn { run, witnesses, turn } = self.turn(partition, dead.node)?;
        tracing::warn!(partition = %partition.name(), leader = dead.node, term = dead.term, witnesses = ?witnesses.keys(), turn, "the leader's process is gone");
        partition.lift_lease(dead).await;
        Some(Campaign::new(dead, run, turn, self.processes.now()))
    }

    /// This node's turn to succeed a leader whose process is gone by a majority's word.
    fn turn(&self, partition: &Partition<W>, dead: NodeId) -> Option<Turn> {
        let replicas = partition.replicas();
        let (run, witnesses) = self.processes.witnesses(dead, replicas, partition.id())?;
        let turn = turn(self.me, partition.last(), dead, &witnesses, replicas);
        Some(Turn { run, witnesses, turn })
    }
}

/// How far the log reaches of the partitions a node leads.
fn logs_led_by<W: World>(partitions: &[Partition<W>], node: NodeId) -> Vec<LastLog> {
    let led = partitions.iter().filter(|partition| partition.vote().node == node);
    led.map(|partition| LastLog {
        partition: partition.id().0,
        last_log_id: partition.last().map(raft::log_id_to_wire),
    })
    .collect()
}
