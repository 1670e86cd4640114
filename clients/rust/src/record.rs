//! Records, as producers send them and as readers get them.
use bytes::Bytes;
use corduroy_proto::v1;
use std::time::{Duration, SystemTime};

/// A named value beside a record's payload. Names need not be unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value, any bytes.
    pub value: Bytes,
}

/// A record to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What the record is about. `None` and empty are different keys.
    pub key: Option<Bytes>,
    /// Named values, in order.
    pub headers: Vec<Header>,
    /// The payload, any bytes.
    pub value: Bytes,
}

impl Record {
    /// A record with a payload, without key and headers.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Record { value: value.into(), ..Record::default() }
    }

    /// The same record with a key.
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same record with one more header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }
}

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

impl From<Record> for v1::Record {
    fn from(record: Record) -> Self {
        let headers = record.headers.into_iter().map(|h| v1::Header { name: h.name, value: h.value }).collect();
        v1::Record { key: record.key, headers, value: record.value }
    }
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

/// Log time never lies before 1970; what does on the wire is taken as 1970.
pub(crate) fn system_time(seconds: i64, nanos: i32) -> SystemTime {
    let since = Duration::new(seconds.max(0).unsigned_abs(), nanos.clamp(0, 999_999_999).unsigned_abs());
    SystemTime::UNIX_EPOCH + since
}
