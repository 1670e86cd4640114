//! Between wire messages and the log's types. Payloads move; they are not copied.
use corduroy_log::{
    AppendOptions, Cursor, Expect, LogError, PlacedBatch, ProducerId, ProducerStamp,
    partition::{Ack, Consistency, PartitionInfo, Role},
    record::{Header, NewRecord, Record},
    world::Timestamp,
};
use corduroy_proto::v1::{self, append_request};

/// Records as a client sent them.
pub(super) fn new_records(records: Vec<v1::Record>) -> Vec<NewRecord> {
    records.into_iter().map(new_record).collect()
}

fn new_record(record: v1::Record) -> NewRecord {
    let headers = record.headers.into_iter().map(|h| Header { name: h.name, value: h.value }).collect();
    NewRecord { key: record.key, headers, value: record.value }
}

/// Bytes of keys, values and headers.
pub(super) fn payload_bytes(records: &[v1::Record]) -> u64 {
    let header = |h: &v1::Header| h.name.len() + h.value.len();
    let record = |r: &v1::Record| {
        r.key.as_ref().map_or(0, |key| key.len()) + r.value.len() + r.headers.iter().map(header).sum::<usize>()
    };
    records.iter().map(record).sum::<usize>() as u64
}

/// Records as a reader gets them, and the bytes of their keys, values and headers.
pub(super) fn stored_records(records: Vec<Record>) -> (Vec<v1::StoredRecord>, u64) {
    let mut bytes = 0;
    let stored = records
        .into_iter()
        .map(|record| {
            bytes += record.key.as_ref().map_or(0, |key| key.len()) + record.value.len();
            bytes += record.headers.iter().map(|h| h.name.len() + h.value.len()).sum::<usize>();
            stored_record(record)
        })
        .collect();
    (stored, bytes as u64)
}

fn stored_record(record: Record) -> v1::StoredRecord {
    v1::StoredRecord {
        offset: record.offset,
        time: Some(timestamp(record.time)),
        key: record.key,
        headers: record.headers.into_iter().map(|h| v1::Header { name: h.name, value: h.value }).collect(),
        value: record.value,
    }
}

/// A batch as it is.
pub(super) fn encoded_batch(placed: PlacedBatch) -> v1::EncodedBatch {
    let PlacedBatch { base, batch } = placed;
    v1::EncodedBatch { base_offset: base, bytes: batch.bytes().clone(), crc: batch.crc() }
}

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let seconds = i64::try_from(time.0 / 1_000_000).expect("microseconds in 64 bits are fewer than 2^63 seconds");
    let nanos = i32::try_from(time.0 % 1_000_000 * 1_000).expect("less than a second");
    prost_types::Timestamp { seconds, nanos }
}

pub(super) fn appended(partition: u32, ack: Ack) -> v1::AppendResponse {
    v1::AppendResponse {
        partition,
        first_offset: ack.first_offset,
        count: ack.count,
        term: ack.term,
        time: Some(timestamp(ack.time)),
    }
}

/// What an append asks for beside its records.
pub(super) fn append_options(
    producer: Option<v1::ProducerStamp>,
    expect: Option<append_request::Expect>,
) -> Result<AppendOptions, LogError> {
    let stamp = |v1::ProducerStamp { id, epoch, sequence }| match <[u8; 16]>::try_from(&id[..]) {
        Ok(id) => Ok(ProducerStamp { producer: ProducerId(id), epoch, sequence }),
        Err(_) => Err(LogError::Invalid(format!("the id of a producer has 16 bytes, this one has {}", id.len()))),
    };
    let expect = expect.map(|expect| match expect {
        append_request::Expect::ExpectedOffset(end) => Expect::End(end),
        append_request::Expect::ExpectedKey(key) => Expect::LastOfKey(key.last_offset),
    });
    Ok(AppendOptions { producer: producer.map(stamp).transpose()?, expect })
}

/// Unspecified is linearizable; so is a value of a later protocol, which can only promise more than stale.
pub(super) fn consistency(wire: i32, session: u64) -> Consistency {
    match v1::Consistency::try_from(wire) {
        Ok(v1::Consistency::Stale) => Consistency::Stale,
        Ok(v1::Consistency::Session) => Consistency::Session(session),
        _ => Consistency::Linearizable,
    }
}

pub(super) fn cursor(name: String, cursor: Cursor) -> v1::Cursor {
    v1::Cursor { name, offset: cursor.offset, fence: cursor.fence, time: Some(timestamp(cursor.time)) }
}

pub(super) fn partition_status(info: PartitionInfo) -> v1::PartitionStatus {
    v1::PartitionStatus {
        role: role(info.role).to_owned(),
        topic: info.topic,
        partition: info.partition,
        leader: info.leader,
        term: info.term,
        replicas: info.replicas,
        start_offset: info.start,
        end_offset: info.end,
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Halted => "halted",
    }
}
