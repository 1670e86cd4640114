//! The rules again, as slowly and as literally as they can be written: every pair is compared with every other.
use crate::checker::*;
use std::collections::BTreeSet;

/// A violation without its words: what both checkers must agree on. Rule 2 has no place of its own, since it is about
/// two; what it is about is the id.
pub type Finding = (Rule, Option<u32>, Option<u64>, Option<RecordId>);

/// What the fast checker found, in the same form.
pub fn findings(report: &Report) -> BTreeSet<Finding> {
    let form = |violation: &Violation| match violation.rule {
        Rule::Doubled | Rule::Lost | Rule::RefusedButPresent => {
            (violation.rule, None, None, violation.ids.first().copied())
        }
        Rule::Phantom if !violation.ids.is_empty() => (violation.rule, None, None, violation.ids.first().copied()),
        rule => (rule, violation.partition, violation.offset, None),
    };
    report.violations.iter().map(form).collect()
}

/// Everything that is broken, rules 1 to 11.
pub fn judge(history: &History) -> BTreeSet<Finding> {
    let mut found = BTreeSet::new();
    logs(history, &mut found);
    appends(history, &mut found);
    reads(history, &mut found);
    found
}

/// Every (partition, entry) of every replica.
fn entries(history: &History) -> impl Iterator<Item = (&Replica, &Entry)> {
    history.replicas.iter().flat_map(|replica| replica.records.iter().map(move |entry| (replica, entry)))
}

fn at(history: &History, partition: u32, offset: u64) -> impl Iterator<Item = (&Replica, &Entry)> {
    entries(history).filter(move |(replica, entry)| replica.partition == partition && entry.offset == offset)
}

fn logs(history: &History, found: &mut BTreeSet<Finding>) {
    for (replica, entry) in entries(history) {
        let partition = replica.partition;
        for (_, other) in at(history, partition, entry.offset) {
            if (other.id, other.value) != (entry.id, entry.value) {
                found.insert((Rule::TwoValues, Some(partition), Some(entry.offset), None));
            } else if other.time != entry.time {
                found.insert((Rule::ReplicasDiffer, Some(partition), Some(entry.offset), None));
            }
        }
        for (elsewhere, other) in entries(history) {
            if entry.id.is_some()
                && other.id == entry.id
                && (elsewhere.partition, other.offset) != (partition, entry.offset)
            {
                found.insert((Rule::Doubled, None, None, entry.id));
            }
        }
        let sent = history.appends.iter().find(|append| Some(append.id) == entry.id);
        match (entry.id, sent) {
            (None, _) => found.insert((Rule::Phantom, Some(partition), Some(entry.offset), None)),
            (id, None) => found.insert((Rule::Phantom, None, None, id)),
            _ => false,
        };
    }
    for replica in &history.replicas {
        let mut next = replica.start_offset;
        for entry in &replica.records {
            if entry.offset != next {
                found.insert((Rule::Hole, Some(replica.partition), Some(next), None));
            }
            next = entry.offset + 1;
        }
        let end = |replica: &Replica| replica.records.last().map_or(replica.start_offset, |last| last.offset + 1);
        for other in history.replicas.iter().filter(|other| other.partition == replica.partition) {
            if replica.healthy && other.healthy && end(other) != end(replica) {
                let healthy = history.replicas.iter().filter(|r| r.healthy && r.partition == replica.partition);
                found.insert((Rule::ReplicasDiffer, Some(replica.partition), healthy.map(end).min(), None));
            }
        }
    }
}

fn appends(history: &History, found: &mut BTreeSet<Finding>) {
    for append in &history.appends {
        let id = Some(append.id);
        let first = entries(history).find(|(_, entry)| entry.id == id);
        if first.is_some_and(|(_, entry)| entry.value != append.value) {
            found.insert((Rule::Phantom, None, None, id));
        }
        if append.outcome == Outcome::Refused && first.is_some() {
            found.insert((Rule::RefusedButPresent, None, None, id));
        }
        if let Outcome::Acked { partition, offset } = append.outcome {
            if at(history, partition, offset).any(|(_, entry)| entry.id != id) {
                found.insert((Rule::TwoValues, Some(partition), Some(offset), None));
            }
            let mut due = history
                .replicas
                .iter()
                .filter(|replica| replica.partition == partition && replica.healthy && replica.start_offset <= offset);
            let lacks = |replica: &Replica| !replica.records.iter().any(|e| e.offset == offset && e.id == id);
            if due.any(lacks) {
                found.insert((Rule::Lost, None, None, id));
            }
        }
        for earlier in &history.appends {
            let Outcome::Acked { partition, offset } = earlier.outcome else { continue };
            let mine = match append.outcome {
                Outcome::Acked { partition, offset } => Some((partition, offset)),
                Outcome::Refused => None,
                Outcome::Unknown => first.map(|(replica, entry)| (replica.partition, entry.offset)),
            };
            let Some((in_partition, behind)) = mine.filter(|mine| mine.0 == partition) else { continue };
            if earlier.end < append.start && offset > behind {
                found.insert((Rule::Reordered, Some(in_partition), Some(behind), None));
            }
            if earlier.id != append.id && append.outcome == earlier.outcome {
                found.insert((Rule::TwoValues, Some(partition), Some(offset), None));
            }
        }
    }
}

fn reads(history: &History, found: &mut BTreeSet<Finding>) {
    for read in &history.reads {
        let partition = read.partition;
        for pair in read.records.windows(2).filter(|pair| pair[1].offset != pair[0].offset + 1) {
            found.insert((Rule::Hole, Some(partition), Some(pair[0].offset + 1), None));
        }
        for entry in &read.records {
            let place = |rule| (rule, Some(partition), Some(entry.offset), None);
            if at(history, partition, entry.offset).next().is_none() {
                found.insert(place(Rule::PhantomRead));
            }
            for (_, kept) in at(history, partition, entry.offset) {
                if (kept.id, kept.value) != (entry.id, entry.value) {
                    found.insert(place(Rule::TwoValues));
                } else if kept.time != entry.time {
                    found.insert(place(Rule::ReplicasDiffer));
                }
            }
        }
        let acks = history.appends.iter().filter_map(|append| match append.outcome {
            Outcome::Acked { partition: p, offset } if p == partition && append.end < read.start => {
                Some((append.session, offset))
            }
            _ => None,
        });
        let missed = acks.clone().map(|(_, offset)| offset).max().filter(|offset| *offset >= read.end_offset);
        if let (Consistency::Linearizable, Some(offset)) = (read.consistency, missed) {
            found.insert((Rule::StaleRead, Some(partition), Some(offset), None));
        }
        let own = acks.filter(|(session, _)| *session == read.session).map(|(_, offset)| offset + 1);
        let seen = history.reads.iter().filter(|r| r.session == read.session && r.partition == partition);
        let seen = seen.filter(|earlier| earlier.end < read.start);
        let seen = seen.flat_map(|r| r.records.last().map(|last| last.offset + 1).into_iter().chain([r.end_offset]));
        if read.consistency != Consistency::Stale && own.chain(seen).any(|bound| bound > read.end_offset) {
            found.insert((Rule::SessionBackwards, Some(partition), Some(read.end_offset), None));
        }
    }
}
