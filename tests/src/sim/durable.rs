//! What the disks say, read as a power cut at this moment would leave them, and with the code that reads data directories
//! offline: what is committed is durable on a majority, and no durable entry is of a later term than the durable vote.
use super::{tally::Event, violation::Invariant, watch::Watch};
use corduroy_log::{
    topic::{LogId, PartitionId},
    wal::read_offline,
};
use std::{collections::BTreeMap, path::Path};

impl Watch {
    /// Reads every disk as a power cut at this moment would leave it.
    pub(super) fn read_disks(&mut self) {
        self.run.seen().tally.note(Event::DisksRead, 1);
        let mut holders: BTreeMap<PartitionId, usize> = BTreeMap::new();
        // What was durable on a damaged disk cannot be told any more.
        let mut unreadable = None;
        for node in self.run.cluster.nodes() {
            let disk = self.run.sim().durable_disk(node);
            let wal = match read_offline(&disk, Path::new("/data")) {
                Ok(wal) => wal,
                Err(_) if self.run.seen().is_damaged(node) => {
                    unreadable = Some(node);
                    continue;
                }
                Err(error) => {
                    let what = format_args!("what is durable on node {node} does not verify: {error}");
                    self.run.fail(Invariant::Durable, what);
                    continue;
                }
            };
            for found in wal.partitions() {
                let name = || self.partitions.get(&found.id).map_or("a new partition", |group| &group.name);
                let voted = found.vote.map_or(0, |vote| vote.term);
                if found.last.is_some_and(|last| last.term > voted) {
                    self.run.fail(
                        Invariant::Durable,
                        format_args!(
                            "{} on node {node}: entry {:?} is durable, the durable vote is {:?}",
                            name(),
                            found.last,
                            found.vote
                        ),
                    );
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
            let maybe = unreadable.is_some_and(|node| group.voters.contains(&node));
            let holders = holders.get(id).copied().unwrap_or(0) + usize::from(maybe);
            if !group.committed.is_empty() && holders <= group.voters.len() / 2 {
                self.run.fail(
                    Invariant::Durable,
                    format_args!(
                        "{}: entry {} of term {:?} is committed, and durable on {holders} of {} replicas",
                        group.name,
                        group.committed.len() - 1,
                        group.committed.last(),
                        group.voters.len()
                    ),
                );
            }
        }
    }
}
