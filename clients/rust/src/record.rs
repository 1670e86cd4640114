//! Records, as producers send them and as readers get them.
use bytes::Bytes;
use corduroy_proto::{
    batch::{Batch, BatchError},
    v1,
};
use std::time::{Duration, SystemTime};

pub use corduroy_proto::batch::{Header, Record};

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its position in the partition: dense, from 0.
    pub offset: u64,
    /// Log time, in microseconds; never decreases along the offsets of a partition.
    pub time: SystemTime,
    /// What the record is about.
    pub key: Option<Bytes>,
    /// Named values, in order.
    pub headers: Vec<Header>,
    /// The payload.
    pub value: Bytes,
}

impl From<v1::StoredRecord> for StoredRecord {
    fn from(record: v1::StoredRecord) -> Self {
        StoredRecord {
            offset: record.offset,
            time: record.time.map_or(SystemTime::UNIX_EPOCH, |t| system_time(t.seconds, t.nanos)),
            key: record.key,
            headers: record.headers.into_iter().map(|h| Header { name: h.name, value: h.value }).collect(),
            value: record.value,
        }
    }
}

/// Appends the records of a batch to `into`, from the offset `from` on, once the checksum of the batch has been verified.
pub(crate) fn decode(batch: v1::EncodedBatch, from: u64, into: &mut Vec<StoredRecord>) -> Result<(), BatchError> {
    let v1::EncodedBatch { base_offset, bytes, crc } = batch;
    let batch = Batch::verify(bytes, crc)?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(batch.header().time);
    let records = batch.records();
    into.reserve(records.size_hint().0);
    for (offset, record) in (base_offset..).zip(records) {
        let Record { key, headers, value } = record?;
        if offset >= from {
            into.push(StoredRecord { offset, time, key, headers, value });
        }
    }
    Ok(())
}

/// Log time never lies before 1970; what does on the wire is taken as 1970.
pub(crate) fn system_time(seconds: i64, nanos: i32) -> SystemTime {
    let since = Duration::new(seconds.max(0).unsigned_abs(), nanos.clamp(0, 999_999_999).unsigned_abs());
    SystemTime::UNIX_EPOCH + since
}
