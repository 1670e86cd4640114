//! Consensus invariants, looked at every few virtual milliseconds.
//!
//! - One leader per term and partition.
//! - Logs are equal up to what is committed: each replica's committed entries are those the first replica committed.
//! - Term, durable vote and commit never go back; a node votes once in a term.
//! - No group stops and no node halts that was not made to.
//! - What is committed is in the durable logs of a majority, and no durable entry is of a later term than the durable
//!   vote: read from the disk model as a power cut would leave it, not from memory.
use super::run::Run;
use corduroy_log::{
    testing::Probe,
    topic::{LogId, NodeId, PartitionId, Term, Vote},
    wal::read_offline,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Every so many looks the partitions of a node are listed again.
const RELIST: u64 = 16;

/// What was seen of the cluster so far.
pub(super) struct Watch {
    run: Arc<Run>,
    looks: u64,
    nodes: BTreeMap<NodeId, Watched>,
    partitions: BTreeMap<PartitionId, Group>,
    votes: BTreeMap<(NodeId, PartitionId), Vote>,
    /// How often the disks were read.
    pub(super) disk_checks: u64,
}

/// One boot of a node.
struct Watched {
    boot_epoch: u64,
    replicas: Vec<(Probe, Replica)>,
}

/// One replica in one boot.
#[derive(Clone, Copy, Default)]
struct Replica {
    term: Term,
    committed: Option<LogId>,
}

/// One partition, over all nodes and boots.
#[derive(Default)]
struct Group {
    name: String,
    voters: Vec<NodeId>,
    leaders: BTreeMap<Term, NodeId>,
    /// The term of each entry that was ever seen committed.
    committed: Vec<Term>,
}

impl Watch {
    pub(super) fn new(run: &Arc<Run>) -> Self {
        Watch {
            run: run.clone(),
            looks: 0,
            nodes: BTreeMap::new(),
            partitions: BTreeMap::new(),
            votes: BTreeMap::new(),
            disk_checks: 0,
        }
    }

    /// Terms that had a leader, over all partitions.
    pub(super) fn leaders(&self) -> usize {
        self.partitions.values().map(|group| group.leaders.len()).sum()
    }

    /// Partitions that were led by more than one node over time.
    pub(super) fn moved(&self) -> usize {
        let moved = |group: &&Group| {
            let mut nodes: Vec<_> = group.leaders.values().collect();
            nodes.sort_unstable();
            nodes.dedup();
            nodes.len() > 1
        };
        self.partitions.values().filter(moved).count()
    }

    /// Entries seen committed, over all partitions.
    pub(super) fn committed(&self) -> usize {
        self.partitions.values().map(|group| group.committed.len()).sum()
    }

    /// Looks at every replica that runs.
    pub(super) fn look(&mut self) {
        self.looks += 1;
        let run = self.run.clone();
        for node in run.cluster.nodes() {
            let Some(log) = run.cluster.log(node) else {
                if let Some(halt) = run.sim().halted(node)
                    && !run.seen().may_halt.contains(&node)
                {
                    run.fail(format_args!("node {node} halts, and nothing was done to it: {halt}"));
                }
                continue;
            };
            let known = self.nodes.get(&node).is_some_and(|watched| watched.boot_epoch == log.boot_epoch());
            if !known || self.looks.is_multiple_of(RELIST) {
                self.list(node, log.boot_epoch(), log.partitions());
            }
            let Some(mut watched) = self.nodes.remove(&node) else { continue };
            for (probe, replica) in &mut watched.replicas {
                if let Err(what) = self.look_at(node, probe, replica) {
                    run.fail(format_args!("{} on node {node}: {what}", probe.name()));
                }
            }
            self.nodes.insert(node, watched);
        }
    }

    fn list(
        &mut self,
        node: NodeId,
        boot_epoch: u64,
        partitions: Vec<corduroy_log::Partition<corduroy_log::testing::SimWorld>>,
    ) {
        let before = self.nodes.remove(&node).filter(|watched| watched.boot_epoch == boot_epoch);
        let mut known: BTreeMap<PartitionId, Replica> = before
            .map(|watched| watched.replicas.iter().map(|(probe, replica)| (probe.id(), *replica)).collect())
            .unwrap_or_default();
        let mut replicas = Vec::new();
        for partition in partitions {
            let group = self.partitions.entry(partition.id()).or_default();
            if group.voters.is_empty() {
                group.name = partition.name();
                group.voters = partition.info().replicas;
            }
            let replica = known.remove(&partition.id()).unwrap_or_default();
            replicas.push((Probe::new(partition), replica));
        }
        self.nodes.insert(node, Watched { boot_epoch, replicas });
    }

    fn look_at(&mut self, node: NodeId, probe: &Probe, replica: &mut Replica) -> Result<(), String> {
        let glimpse = probe.look();
        let group = self.partitions.entry(probe.id()).or_default();
        if let Some(term) = glimpse.leads {
            let leader = *group.leaders.entry(term).or_insert_with(|| {
                self.run.sim().trace(format_args!("node {node} leads {} in term {term}", probe.name()));
                node
            });
            if leader != node {
                return Err(format!("node {leader} leads in term {term}, too"));
            }
        }
        if glimpse.term < replica.term {
            return Err(format!("the term went back from {} to {}", replica.term, glimpse.term));
        }
        replica.term = glimpse.term;
        if let Some(vote) = probe.vote() {
            let before = *self.votes.entry((node, probe.id())).or_insert(vote);
            let twice = vote.term == before.term && vote.node != before.node && !vote.committed;
            if vote.term < before.term || twice {
                return Err(format!("the durable vote was {before:?} and is {vote:?}"));
            }
            self.votes.insert((node, probe.id()), vote);
        }
        if glimpse.committed < replica.committed {
            return Err(format!("the commit went back from {:?} to {:?}", replica.committed, glimpse.committed));
        }
        let Some(committed) = glimpse.committed else { return Ok(()) };
        let next = replica.committed.map_or(0, |id| id.index + 1);
        for index in next..=committed.index {
            // What was purged cannot be compared any more.
            let Some(id) = probe.log_id(index) else { continue };
            match group.committed.get(index as usize) {
                Some(term) if *term != id.term => {
                    return Err(format!("entry {id} is committed, and another replica committed {index}@{term}"));
                }
                Some(_) => {}
                None if group.committed.len() as u64 == index => group.committed.push(id.term),
                None => {
                    return Err(format!(
                        "entry {id} is committed, and of {} entries before it one was never seen",
                        group.committed.len()
                    ));
                }
            }
        }
        replica.committed = Some(committed);
        // A group that was closed with its topic stops, too; it is not hosted any more then.
        let hosted = || {
            let log = self.run.cluster.log(node);
            log.is_some_and(|log| log.partitions().iter().any(|partition| partition.id() == probe.id()))
        };
        if glimpse.stopped && self.run.sim().is_alive(node) && hosted() {
            return Err("the group has stopped".into());
        }
        Ok(())
    }

    /// Reads every disk as a power cut at this moment would leave it.
    pub(super) fn read_disks(&mut self) {
        self.disk_checks += 1;
        let mut holders: BTreeMap<PartitionId, usize> = BTreeMap::new();
        for node in self.run.cluster.nodes() {
            let disk = self.run.sim().durable_disk(node);
            let wal = match read_offline(&disk, Path::new("/data")) {
                Ok(wal) => wal,
                Err(error) => {
                    self.run.fail(format_args!("what is durable on node {node} does not verify: {error}"));
                    continue;
                }
            };
            for found in wal.partitions() {
                let name = || self.partitions.get(&found.id).map_or("a new partition", |group| &group.name);
                let voted = found.vote.map_or(0, |vote| vote.term);
                if found.last.is_some_and(|last| last.term > voted) {
                    self.run.fail(format_args!(
                        "{} on node {node}: entry {:?} is durable, the durable vote is {:?}",
                        name(),
                        found.last,
                        found.vote
                    ));
                }
                let Some(group) = self.partitions.get(&found.id) else { continue };
                let Some(last) = group.committed.len().checked_sub(1) else { continue };
                let newest = LogId { term: group.committed[last], index: last as u64 };
                let entry = wal.entries(found.id, newest.index..newest.index + 1, 1);
                let purged = found.purged.is_some_and(|purged| purged.index >= newest.index);
                if purged || entry.is_ok_and(|entries| entries.first().is_some_and(|entry| entry.id == newest)) {
                    *holders.entry(found.id).or_default() += 1;
                }
            }
        }
        for (id, group) in &self.partitions {
            let holders = holders.get(id).copied().unwrap_or(0);
            if !group.committed.is_empty() && holders <= group.voters.len() / 2 {
                self.run.fail(format_args!(
                    "{}: entry {} of term {:?} is committed, and durable on {holders} of {} replicas",
                    group.name,
                    group.committed.len() - 1,
                    group.committed.last(),
                    group.voters.len()
                ));
            }
        }
    }
}
