//! A clean run to damage: two partitions, three replicas, two sessions, every outcome.
use crate::checker::*;

pub fn id(number: u64) -> RecordId {
    RecordId::new(number).expect("ids of tests begin at 1")
}

/// What record `number` was sent with.
pub fn value(number: u64) -> ValueHash {
    ValueHash::of(None, [], &number.to_le_bytes())
}

pub fn entry(offset: u64, number: u64) -> Entry {
    Entry { offset, id: Some(id(number)), value: value(number), time: 1_000 + offset }
}

pub fn append(number: u64, start: u64, end: u64, outcome: Outcome) -> Append {
    let session = SessionId((number % 2) as u32);
    Append { session, id: id(number), value: value(number), start: Moment(start), end: Moment(end), outcome }
}

pub fn acked(partition: u32, offset: u64) -> Outcome {
    Outcome::Acked { partition, offset }
}

pub fn read(session: u32, start: u64, partition: u32, consistency: Consistency, numbers: &[(u64, u64)]) -> Read {
    let records: Vec<Entry> = numbers.iter().map(|&(offset, number)| entry(offset, number)).collect();
    let end_offset = records.last().map_or(0, |last| last.offset + 1);
    let (start, end) = (Moment(start), Moment(start + 5));
    Read { session: SessionId(session), start, end, partition, consistency, records, end_offset }
}

pub fn replica(node: u64, partition: u32, numbers: &[u64]) -> Replica {
    let records = numbers.iter().zip(0..).map(|(&number, offset)| entry(offset, number)).collect();
    Replica { node, partition, healthy: true, start_offset: 0, records }
}

/// Records 1, 2, 3, 5 in partition 0; 6, 7, 8 in partition 1. 4 was refused; 5 and 9 have an unknown outcome, and 5
/// got in. A fault lasts from 100 to 200.
pub fn history() -> History {
    let appends = vec![
        append(1, 10, 20, acked(0, 0)),
        append(2, 30, 40, acked(0, 1)),
        append(4, 50, 60, Outcome::Refused),
        append(6, 110, 120, acked(1, 0)),
        append(7, 110, 130, acked(1, 1)),
        append(5, 125, 160, Outcome::Unknown),
        append(9, 140, 190, Outcome::Unknown),
        append(3, 210, 220, acked(0, 2)),
        append(8, 230, 240, acked(1, 2)),
    ];
    let reads = vec![
        read(0, 45, 0, Consistency::Linearizable, &[(0, 1), (1, 2)]),
        read(1, 100, 0, Consistency::Session, &[(0, 1), (1, 2)]),
        read(1, 135, 1, Consistency::Session, &[(0, 6), (1, 7)]),
        read(1, 245, 1, Consistency::Stale, &[(0, 6)]),
        read(0, 250, 0, Consistency::Linearizable, &[(0, 1), (1, 2), (2, 3), (3, 5)]),
        read(1, 260, 1, Consistency::Linearizable, &[(0, 6), (1, 7), (2, 8)]),
    ];
    let replicas = (1..=3).flat_map(|node| [replica(node, 0, &[1, 2, 3, 5]), replica(node, 1, &[6, 7, 8])]).collect();
    History { appends, reads, replicas }
}

pub fn expectation() -> Expectation {
    let (name, start, end) = ("the leader is killed".into(), Moment(100), Moment(200));
    Expectation {
        acked: 6,
        reads: 6,
        partitions: 2,
        replicas: 3,
        percent_acked_outside_faults: 75,
        faults: vec![Fault { name, start, end, fired: true, progress: Progress::Throughout }],
    }
}

/// The verdict on a history with the sample's expectations.
pub fn judge(history: &History) -> Report {
    check(history, expectation()).expect("a sound history")
}
