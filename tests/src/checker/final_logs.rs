//! The final content of all replicas, as one log per partition, and what is wrong with it in itself.
use super::{
    history::{Entry, RecordId, Replica, ValueHash},
    violation::{Report, Rule, Violation},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the replicas hold in the end. Build it replica by replica, then hand it to a
/// [`Checker`](super::Checker).
///
/// **Invariant**: an id in any replica is in `ids`; an entry of any replica is in `slots` or, where it contradicts
/// the one found there first, in `others`.
#[derive(Debug, Default)]
pub struct FinalLogs {
    pub(super) partitions: BTreeMap<u32, PartitionLogs>,
    pub(super) ids: HashMap<RecordId, Found>,
    pub(super) report: Report,
}

/// The replicas of one partition, laid over each other.
#[derive(Debug, Default)]
pub(super) struct PartitionLogs {
    pub(super) replicas: Vec<ReplicaBounds>,
    pub(super) slots: BTreeMap<u64, Slot>,
    /// Entries that contradict the slot at their offset.
    pub(super) others: BTreeMap<u64, Vec<Slot>>,
}

/// One replica, without its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaBounds {
    pub(super) node: u64,
    pub(super) healthy: bool,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A record and the replicas that hold it: bit i stands for the i-th replica of the partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) id: Option<RecordId>,
    pub(super) value: ValueHash,
    pub(super) time: u64,
    pub(super) holders: u32,
}

impl Slot {
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        self.id == entry.id && self.value == entry.value
    }
}

/// Where an id was found first, and whether somebody sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) value: ValueHash,
    pub(super) sent: bool,
}

impl FinalLogs {
    /// No replica yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a replica that is in memory.
    pub fn add(&mut self, replica: &Replica) {
        let Replica { node, partition, healthy, start_offset, ref records } = *replica;
        self.add_records(node, partition, healthy, start_offset, records.iter().copied());
    }

    /// Takes in a replica record by record, in the order of its log. `start_offset` is the first offset it keeps.
    ///
    /// # Panics
    /// When a partition is given more than 32 replicas.
    pub fn add_records(
        &mut self,
        node: u64,
        partition: u32,
        healthy: bool,
        start_offset: u64,
        records: impl IntoIterator<Item = Entry>,
    ) {
        let logs = self.partitions.entry(partition).or_default();
        let bit = logs.replicas.len();
        assert!(bit < 32, "partition {partition} has more than 32 replicas");
        let bounds = ReplicaBounds { node, healthy, start: start_offset, end: start_offset };
        logs.replicas.push(bounds);
        let mut next = start_offset;
        for entry in records {
            if entry.offset != next {
                self.report.add(Violation {
                    rule: Rule::Hole,
                    partition: Some(partition),
                    offset: Some(next),
                    ids: entry.id.into_iter().collect(),
                    detail: format!("node {node} has offset {} where {next} belongs", entry.offset),
                });
            }
            next = entry.offset.saturating_add(1);
            self.add_entry(partition, bit, entry);
        }
        // The entry above made the partition, and the replica is its last one.
        if let Some(bounds) = self.partitions.get_mut(&partition).and_then(|logs| logs.replicas.last_mut()) {
            bounds.end = next;
        }
    }

    fn add_entry(&mut self, partition: u32, bit: usize, entry: Entry) {
        let holder = 1 << bit;
        let new = Slot { id: entry.id, value: entry.value, time: entry.time, holders: holder };
        let logs = self.partitions.entry(partition).or_default();
        let node = logs.replicas[bit].node;
        let mut held = false;
        let mut contradicted = None;
        for slot in logs.at_mut(entry.offset) {
            if !slot.holds(&entry) {
                contradicted = Some(slot.id);
                continue;
            }
            held = true;
            slot.holders |= holder;
            if slot.time != entry.time {
                self.report.add(Violation {
                    rule: Rule::ReplicasDiffer,
                    partition: Some(partition),
                    offset: Some(entry.offset),
                    ids: entry.id.into_iter().collect(),
                    detail: format!("log time is {} on one replica and {} on node {node}", slot.time, entry.time),
                });
            }
        }
        if let Some(other) = contradicted {
            self.report.add(Violation {
                rule: Rule::TwoValues,
                partition: Some(partition),
                offset: Some(entry.offset),
                ids: other.into_iter().chain(entry.id).collect(),
                detail: format!("node {node} holds another record than a replica before it"),
            });
        }
        if held {
            return;
        }
        match contradicted {
            Some(_) => logs.others.entry(entry.offset).or_default().push(new),
            None => drop(logs.slots.insert(entry.offset, new)),
        }
        self.note_id(partition, node, &entry);
    }

    /// Remembers where an id is; finds ids that are in two places, and records without one.
    fn note_id(&mut self, partition: u32, node: u64, entry: &Entry) {
        let Some(id) = entry.id else {
            return self.report.add(Violation {
                rule: Rule::Phantom,
                partition: Some(partition),
                offset: Some(entry.offset),
                ids: Vec::new(),
                detail: format!("node {node} holds a record without an id"),
            });
        };
        let here = Found { partition, offset: entry.offset, value: entry.value, sent: false };
        let first = *self.ids.entry(id).or_insert(here);
        if (first.partition, first.offset) != (partition, entry.offset) {
            self.report.add(Violation {
                rule: Rule::Doubled,
                partition: Some(partition),
                offset: Some(entry.offset),
                ids: vec![id],
                detail: format!("is also at offset {} of partition {}", first.offset, first.partition),
            });
        }
    }

    /// Compares the healthy replicas' ends. The entries were compared while they came in.
    pub(super) fn compare_ends(&mut self) {
        for (&partition, logs) in &self.partitions {
            let healthy = || logs.replicas.iter().filter(|replica| replica.healthy);
            let ends: BTreeSet<u64> = healthy().map(|replica| replica.end).collect();
            let (Some(&least), Some(&most)) = (ends.first(), ends.last()) else { continue };
            if least != most {
                let each: Vec<String> = healthy().map(|r| format!("node {} ends at {}", r.node, r.end)).collect();
                self.report.add(Violation {
                    rule: Rule::ReplicasDiffer,
                    partition: Some(partition),
                    offset: Some(least),
                    ids: Vec::new(),
                    detail: each.join(", "),
                });
            }
        }
    }

    /// Records nobody sent, once every append has been seen.
    pub(super) fn find_phantoms(&mut self) {
        let mut phantoms: Vec<_> = self.ids.iter().filter(|(_, found)| !found.sent).map(|(id, f)| (*id, *f)).collect();
        phantoms.sort_by_key(|(id, _)| *id);
        for (id, found) in phantoms {
            self.report.add(Violation {
                rule: Rule::Phantom,
                partition: Some(found.partition),
                offset: Some(found.offset),
                ids: vec![id],
                detail: "nobody sent this record".into(),
            });
        }
    }
}

impl PartitionLogs {
    /// All records found at an offset: one, unless replicas contradict each other.
    pub(super) fn at(&self, offset: u64) -> impl Iterator<Item = &Slot> {
        self.slots.get(&offset).into_iter().chain(self.others.get(&offset).into_iter().flatten())
    }

    fn at_mut(&mut self, offset: u64) -> impl Iterator<Item = &mut Slot> {
        self.slots.get_mut(&offset).into_iter().chain(self.others.get_mut(&offset).into_iter().flatten())
    }

    /// Nodes that should hold `id` at `offset` and do not.
    pub(super) fn lacking(&self, offset: u64, id: RecordId) -> Vec<u64> {
        let holders = self.at(offset).filter(|slot| slot.id == Some(id)).fold(0, |mask, slot| mask | slot.holders);
        let lacks = |(bit, replica): (usize, &ReplicaBounds)| {
            (replica.healthy && replica.start <= offset && holders & (1 << bit) == 0).then_some(replica.node)
        };
        self.replicas.iter().enumerate().filter_map(lacks).collect()
    }

    /// True where some replica should still keep this offset.
    pub(super) fn is_kept(&self, offset: u64) -> bool {
        self.replicas.iter().any(|replica| replica.start <= offset)
    }
}
