//! Consensus invariants, looked at every few virtual milliseconds.
//!
//! - One leader per term and partition.
//! - Logs are equal up to what is committed: each replica's committed entries are those the first replica committed.
//! - Term, durable vote and commit never go back; a node votes once in a term.
//! - No group stops and no node halts that was not made to.
//! - A node whose log was damaged has everything that was committed and durable on it, or does not run.
//! - What is newly committed is durable on a majority: by the word of the WALs, and where that does not do, by the disks.
use super::{
    damage,
    run::Run,
    tally::Event,
    violation::{Invariant, Verdict, Violation},
};
use corduroy_log::{
    Log,
    testing::{Probe, SimWorld},
    topic::{LogId, NodeId, PartitionId, Term, Vote},
};
use std::{collections::BTreeMap, sync::Arc};

/// Every so many looks the partitions of a node are listed again.
const RELIST: u64 = 16;

/// What was seen of the cluster so far.
pub(super) struct Watch {
    pub(super) run: Arc<Run>,
    looks: u64,
    nodes: BTreeMap<NodeId, Watched>,
    pub(super) partitions: BTreeMap<PartitionId, Group>,
    votes: BTreeMap<(NodeId, PartitionId), Vote>,
    /// The last entry each replica was seen to have on disk.
    durable: BTreeMap<(NodeId, PartitionId), LogId>,
}

/// One boot of a node.
struct Watched {
    boot_epoch: u64,
    /// The segment it was writing when it was last listed, and what it had written until then.
    segment: u64,
    bytes: u64,
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
pub(super) struct Group {
    pub(super) name: String,
    pub(super) voters: Vec<NodeId>,
    leaders: BTreeMap<Term, NodeId>,
    /// The term of each entry that was ever seen committed.
    pub(super) committed: Vec<Term>,
    /// How many of them were found to be durable on a majority.
    majority: usize,
}

impl Watch {
    pub(super) fn new(run: &Arc<Run>) -> Self {
        Watch {
            run: run.clone(),
            looks: 0,
            nodes: BTreeMap::new(),
            partitions: BTreeMap::new(),
            votes: BTreeMap::new(),
            durable: BTreeMap::new(),
        }
    }

    /// Counts what was seen, in the end.
    pub(super) fn count(&self) {
        let led_by = |group: &Group| group.leaders.values().collect::<std::collections::BTreeSet<_>>().len();
        let (leaders, committed) = self.partitions.values().fold((0, 0), |(leaders, committed), group| {
            (leaders + group.leaders.len(), committed + group.committed.len())
        });
        let moved = self.partitions.values().filter(|group| led_by(group) > 1).count();
        let tally = &mut self.run.seen().tally;
        tally.note(Event::Leadership, leaders as u64);
        tally.note(Event::Committed, committed as u64);
        tally.note(Event::Moved, moved as u64);
    }

    /// Looks at every replica that runs.
    pub(super) fn look(&mut self) {
        self.looks += 1;
        let run = self.run.clone();
        for node in run.cluster.nodes() {
            let Some(log) = run.cluster.log(node) else {
                let Some(halt) = run.sim().halted(node) else { continue };
                let (may_halt, damaged, lost) = {
                    let seen = run.seen();
                    (seen.may_halt.contains(&node), seen.is_damaged(node), seen.is_lost(node))
                };
                if damaged && !lost && !may_halt {
                    damage::refused(&run, node, &halt, None);
                } else if !damaged && !may_halt {
                    run.fail(Invariant::Halts, format_args!("node {node} halts, and nothing was done to it: {halt}"));
                }
                continue;
            };
            let known = self.nodes.get(&node).is_some_and(|watched| watched.boot_epoch == log.boot_epoch());
            if !known || self.looks.is_multiple_of(RELIST) {
                self.list(node, &log);
            }
            let Some(mut watched) = self.nodes.remove(&node) else { continue };
            for (probe, replica) in &mut watched.replicas {
                if let Err(Violation { invariant, detail }) = self.look_at(node, probe, replica) {
                    run.fail(invariant, format_args!("{} on node {node}: {detail}", probe.name()));
                }
            }
            self.nodes.insert(node, watched);
        }
        // A node that died since, or was not listed yet, has more than was seen of it: the disks know.
        if !self.is_on_majorities() {
            self.read_disks();
        }
    }

    /// Whether everything newly committed was seen to be durable on a majority. It is not asked for again.
    fn is_on_majorities(&mut self) -> bool {
        let mut all = true;
        for (id, group) in &mut self.partitions {
            let newly = std::mem::replace(&mut group.majority, group.committed.len()) < group.committed.len();
            let Some(&term) = group.committed.last().filter(|_| newly) else { continue };
            let newest = LogId { term, index: group.committed.len() as u64 - 1 };
            let has = |voter: &&NodeId| {
                let last = self.durable.get(&(**voter, *id));
                last.is_some_and(|last| last.index >= newest.index && last.term >= newest.term)
            };
            all &= group.voters.iter().filter(has).count() > group.voters.len() / 2;
        }
        all
    }

    /// Lists the partitions of every node that runs.
    pub(super) fn list_all(&mut self) {
        for node in self.run.cluster.nodes() {
            if let Some(log) = self.run.cluster.log(node) {
                self.list(node, &log);
            }
        }
    }

    fn list(&mut self, node: NodeId, log: &Log<SimWorld>) {
        let (boot_epoch, stats) = (log.boot_epoch(), log.wal_stats());
        let before = self.nodes.remove(&node).filter(|watched| watched.boot_epoch == boot_epoch);
        let (segment, bytes) = before.as_ref().map_or((stats.segment, 0), |watched| (watched.segment, watched.bytes));
        let mut known: BTreeMap<PartitionId, Replica> = before
            .map(|watched| watched.replicas.iter().map(|(probe, replica)| (probe.id(), *replica)).collect())
            .unwrap_or_default();
        let mut seen = self.run.seen();
        seen.tally.note(Event::Rotation, stats.segment - segment);
        let much = 2 * self.run.settings.limits.segment_bytes;
        if bytes <= much && stats.bytes > much {
            seen.tally.note(Event::Outgrown, 1);
        }
        let mut replicas = Vec::new();
        for partition in log.partitions() {
            let group = self.partitions.entry(partition.id()).or_default();
            if group.voters.is_empty() {
                group.name = partition.name();
                group.voters = partition.info().replicas;
            }
            let replica = known.remove(&partition.id());
            let probe = Probe::new(partition);
            if replica.is_none() && probe.restored().is_some() {
                seen.tally.note(Event::Restored, 1);
            }
            replicas.push((probe, replica.unwrap_or_default()));
        }
        drop(seen);
        self.nodes.insert(node, Watched { boot_epoch, segment: stats.segment, bytes: stats.bytes, replicas });
    }

    fn look_at(&mut self, node: NodeId, probe: &Probe, replica: &mut Replica) -> Verdict {
        let wrong = |invariant, what: String| Err(Violation::new(invariant, what));
        let glimpse = probe.look();
        let group = self.partitions.entry(probe.id()).or_default();
        if let Some(term) = glimpse.leads {
            let leader = *group.leaders.entry(term).or_insert_with(|| {
                self.run.sim().trace(format_args!("node {node} leads {} in term {term}", probe.name()));
                node
            });
            if leader != node {
                return wrong(Invariant::OneLeader, format!("node {leader} leads in term {term}, too"));
            }
        }
        if glimpse.term < replica.term {
            let what = format!("the term went back from {} to {}", replica.term, glimpse.term);
            return wrong(Invariant::NothingGoesBack, what);
        }
        replica.term = glimpse.term;
        if let Some(last) = probe.last_durable() {
            self.durable.insert((node, probe.id()), last);
        }
        let vote = probe.vote();
        if let (None, Some(before)) = (vote, self.votes.get(&(node, probe.id()))) {
            return wrong(Invariant::NothingGoesBack, format!("the durable vote was {before:?} and is gone"));
        }
        if let Some(vote) = vote {
            let before = *self.votes.entry((node, probe.id())).or_insert(vote);
            let twice = vote.term == before.term && vote.node != before.node && !vote.committed;
            if vote.term < before.term || twice {
                let what = format!("the durable vote was {before:?} and is {vote:?}");
                return wrong(Invariant::NothingGoesBack, what);
            }
            self.votes.insert((node, probe.id()), vote);
        }
        if let Some(damaged) = self.run.seen().damaged.as_ref().filter(|damaged| damaged.node == node)
            && let Some(had) = damaged.must_have(probe.id(), |index| group.committed.get(index as usize).copied())
            && probe.last().is_none_or(|last| last.index < had.index)
        {
            let what = format!("its log was damaged and opened, and ends with {:?} before {had}", probe.last());
            return wrong(Invariant::Damage, what);
        }
        if glimpse.committed < replica.committed {
            let what = format!("the commit went back from {:?} to {:?}", replica.committed, glimpse.committed);
            return wrong(Invariant::NothingGoesBack, what);
        }
        let Some(committed) = glimpse.committed else { return Ok(()) };
        let next = replica.committed.map_or(0, |id| id.index + 1);
        for index in next..=committed.index {
            // What was purged cannot be compared any more.
            let Some(id) = probe.log_id(index) else { continue };
            match group.committed.get(index as usize) {
                Some(term) if *term != id.term => {
                    let what = format!("entry {id} is committed, and another replica committed {index}@{term}");
                    return wrong(Invariant::EqualLogs, what);
                }
                Some(_) => {}
                None if group.committed.len() as u64 == index => group.committed.push(id.term),
                None => {
                    let seen = group.committed.len();
                    let what = format!("entry {id} is committed, and of {seen} entries before it one was never seen");
                    return wrong(Invariant::EqualLogs, what);
                }
            }
        }
        replica.committed = Some(committed);
        // A group that was closed with its topic stops, too; it is not hosted any more then.
        let hosted = || {
            let log = self.run.cluster.log(node);
            log.is_some_and(|log| log.partitions().iter().any(|partition| partition.id() == probe.id()))
        };
        let damaged = self.run.seen().is_damaged(node);
        if glimpse.stopped && !damaged && self.run.sim().is_alive(node) && hosted() {
            return wrong(Invariant::GroupsRun, "the group has stopped".into());
        }
        Ok(())
    }
}
