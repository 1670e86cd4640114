//! Batches: what one Raft entry carries, encoded once.
//!
//! The leader encodes a batch when it accepts it. From then on the same bytes travel to the WAL, to the followers and to
//! readers, and so does their checksum: computed once here, verified wherever the bytes come in. The layout is documented
//! byte by byte in `docs/disk-format.md` and held by golden tests.
//!
//! ```text
//! header (24 bytes)   version u8 = 1 │ kind u8 = 1 │ flags u16 = 0 │ records u32 │ log time u64 (µs since 1970)
//!                     expected end u64 (all ones: none)
//! each record         value length u32 │ key length u32 (FFFF_FFFF: no key) │ headers u16 │ 0 u16
//!                     then the key, then each header: name length u16, value length u32, name, value; then the value
//! ```
//!
//! A batch with an *expected end* counts only where the partition ends at exactly that offset, and is void everywhere else:
//! [`Batch::added`] is that rule, and the only place of it. Void batches stay in the log and cost no offset.
//!
//! **Invariant**: a [`Batch`] has at least one record and a header this build understands. What its records hold is
//! checked when they are read: a batch is never rewritten, so nothing else needs to look inside.
use crate::{
    config::Limits,
    error::LogError,
    record::{Header, NewRecord, Record},
    topic::Offset,
    world::Timestamp,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Bytes of the batch header.
pub(crate) const HEADER: usize = 24;
const RECORD_HEADER: usize = 12;
const NO_KEY: u32 = u32::MAX;
const NO_EXPECTATION: u64 = u64::MAX;
const VERSION: u8 = 1;
const KIND_RECORDS: u8 = 1;

/// An encoded batch of records. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    crc: u32,
    records: u32,
    time: Timestamp,
    expected_end: Option<Offset>,
}

/// Why bytes are not a batch, or a batch not what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or a length says.
    #[error("batch ends after {0} bytes in the middle of a {1}")]
    Short(usize, &'static str),
    /// Written by a later version: it must not be skipped.
    #[error("unknown batch version {version}, kind {kind} or flags {flags:#06x}")]
    Unknown {
        /// Version byte.
        version: u8,
        /// Kind byte.
        kind: u8,
        /// Flags.
        flags: u16,
    },
    /// The checksum does not fit the bytes.
    #[error("batch checksum is {actual:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Of the bytes.
        actual: u32,
        /// As carried beside them.
        expected: u32,
    },
    /// A batch without records.
    #[error("batch has no records")]
    Empty,
    /// A header name that is not UTF-8.
    #[error("record {0} has a header name that is not UTF-8")]
    HeaderName(u32),
    /// Bits of a record that mean nothing yet: a later version gave them a meaning, which must not be passed over.
    #[error("record {0} has reserved bits set")]
    Reserved(u32),
    /// Bytes after the last record.
    #[error("{0} bytes follow the last record")]
    Trailing(usize),
}

impl Batch {
    /// Checks records against the limits and encodes them, as a leader does for a request that is alone in its batch.
    ///
    /// # Errors
    /// [`LogError::Invalid`] without records; [`LogError::RecordTooLarge`]; [`LogError::BatchTooLarge`].
    pub fn encode(records: &[NewRecord], limits: &Limits, time: Timestamp) -> Result<Self, LogError> {
        Ok(seal([EncodedRecords::encode(records, limits)?], time, None))
    }

    /// Takes bytes that came from a disk or a peer, after verifying the checksum and the header.
    pub fn verify(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        let actual = crc32c::crc32c(&bytes);
        if actual != crc {
            return Err(BatchError::Checksum { actual, expected: crc });
        }
        Self::from_verified(bytes, crc)
    }

    /// Takes bytes whose checksum has been verified already.
    pub(crate) fn from_verified(bytes: Bytes, crc: u32) -> Result<Self, BatchError> {
        if bytes.len() < HEADER {
            return Err(BatchError::Short(bytes.len(), "batch header"));
        }
        let mut header = &bytes[..HEADER];
        let (version, kind, flags) = (header.get_u8(), header.get_u8(), header.get_u16_le());
        if version != VERSION || kind != KIND_RECORDS || flags != 0 {
            return Err(BatchError::Unknown { version, kind, flags });
        }
        let records = header.get_u32_le();
        let time = Timestamp(header.get_u64_le());
        if records == 0 {
            return Err(BatchError::Empty);
        }
        let expected_end = Some(header.get_u64_le()).filter(|&end| end != NO_EXPECTATION);
        Ok(Batch { bytes, crc, records, time, expected_end })
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// CRC32C of the bytes.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Number of records, at least one.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Records it adds to a partition that ends at `end`: all of them, or none where it expected another end. A pure
    /// function of the log, so every replica, reader and tool comes to the same offsets.
    pub fn added(&self, end: Offset) -> u64 {
        if self.expected_end.is_none_or(|expected| expected == end) { self.records.into() } else { 0 }
    }

    /// Log time of all its records.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Decodes the records; the first one has offset `base`. Keys, values and header values share the batch's memory.
    pub fn decode(&self, base: Offset) -> Result<Vec<Record>, BatchError> {
        let mut rest = self.bytes.slice(HEADER..);
        let total = self.bytes.len();
        let mut out = Vec::with_capacity(self.records.min(65_536) as usize);
        for number in 0..self.records {
            let mut take = |n: usize, what: &'static str| {
                if rest.len() < n { Err(BatchError::Short(total, what)) } else { Ok(rest.split_to(n)) }
            };
            let mut header = take(RECORD_HEADER, "record header")?;
            let value_len = header.get_u32_le() as usize;
            let key_len = header.get_u32_le();
            let header_count = header.get_u16_le();
            if header.get_u16_le() != 0 {
                return Err(BatchError::Reserved(number));
            }
            let key = match key_len {
                NO_KEY => None,
                n => Some(take(n as usize, "record key")?),
            };
            let mut headers = Vec::with_capacity(header_count.into());
            for _ in 0..header_count {
                let mut lengths = take(6, "header length")?;
                let (name_len, len) = (lengths.get_u16_le() as usize, lengths.get_u32_le() as usize);
                let name = take(name_len, "header name")?;
                let name = String::from_utf8(name.to_vec()).map_err(|_| BatchError::HeaderName(number))?;
                headers.push(Header { name, value: take(len, "header value")? });
            }
            let value = take(value_len, "record value")?;
            out.push(Record { offset: base + u64::from(number), time: self.time, key, headers, value });
        }
        if rest.is_empty() { Ok(out) } else { Err(BatchError::Trailing(rest.len())) }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records in {} bytes", self.records, self.bytes.len())
    }
}

/// Records of one request, checked against the limits and encoded, waiting for their place in a batch.
#[derive(Debug, Default)]
pub(crate) struct EncodedRecords {
    /// `HEADER` bytes of room, then the records.
    buffer: BytesMut,
    records: u32,
}

impl EncodedRecords {
    /// Checks and encodes the records of one request.
    pub(crate) fn encode(records: &[NewRecord], limits: &Limits) -> Result<Self, LogError> {
        if records.is_empty() {
            return Err(LogError::Invalid("an append needs at least one record".into()));
        }
        let mut size = HEADER as u64;
        for (index, record) in records.iter().enumerate() {
            size += check_record(index, record, limits)?;
        }
        if size > limits.batch_bytes {
            return Err(LogError::BatchTooLarge { size, limit: limits.batch_bytes });
        }
        let mut buffer = BytesMut::with_capacity(size as usize);
        buffer.put_bytes(0, HEADER);
        for record in records {
            put_record(&mut buffer, record);
        }
        let records = u32::try_from(records.len()).expect("more records than bytes in a batch");
        Ok(EncodedRecords { buffer, records })
    }

    /// Bytes it adds to a batch.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len() - HEADER
    }

    /// Number of records.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }
}

/// Joins requests into one batch, in order, and seals it with a time and a checksum. With an expected end it counts only
/// where the partition ends there: as a whole, so only a request that is alone may have one.
pub(crate) fn seal(
    requests: impl IntoIterator<Item = EncodedRecords>,
    time: Timestamp,
    expected_end: Option<Offset>,
) -> Batch {
    let mut requests = requests.into_iter();
    let first = requests.next().expect("a batch is sealed for at least one request");
    let (mut buffer, mut records) = (first.buffer, first.records);
    for next in requests {
        buffer.extend_from_slice(&next.buffer[HEADER..]);
        records += next.records;
    }
    let mut header = &mut buffer[..HEADER];
    header.put_u8(VERSION);
    header.put_u8(KIND_RECORDS);
    header.put_u16_le(0);
    header.put_u32_le(records);
    header.put_u64_le(time.0);
    header.put_u64_le(expected_end.unwrap_or(NO_EXPECTATION));
    let bytes = buffer.freeze();
    let crc = crc32c::crc32c(&bytes);
    Batch { bytes, crc, records, time, expected_end }
}

/// The record's encoded size, or what is wrong with it.
fn check_record(index: usize, record: &NewRecord, limits: &Limits) -> Result<u64, LogError> {
    let key = record.key.as_ref().map_or(0, Bytes::len) as u64;
    let mut size = key + record.value.len() as u64;
    for header in &record.headers {
        if header.name.len() > usize::from(u16::MAX) {
            let length = header.name.len();
            return Err(LogError::Invalid(format!(
                "record {index} has a header name of {length} bytes, 65535 is the limit"
            )));
        }
        size += (header.name.len() + header.value.len()) as u64;
    }
    if record.headers.len() > usize::from(u16::MAX) {
        let count = record.headers.len();
        return Err(LogError::Invalid(format!("record {index} has {count} headers, 65535 is the limit")));
    }
    if size > limits.record_bytes {
        return Err(LogError::RecordTooLarge { index, size, limit: limits.record_bytes });
    }
    Ok(size + RECORD_HEADER as u64 + 6 * record.headers.len() as u64)
}

fn put_record(buffer: &mut BytesMut, record: &NewRecord) {
    buffer.put_u32_le(record.value.len() as u32);
    buffer.put_u32_le(record.key.as_ref().map_or(NO_KEY, |key| key.len() as u32));
    buffer.put_u16_le(record.headers.len() as u16);
    buffer.put_u16_le(0);
    if let Some(key) = &record.key {
        buffer.extend_from_slice(key);
    }
    for header in &record.headers {
        buffer.put_u16_le(header.name.len() as u16);
        buffer.put_u32_le(header.value.len() as u32);
        buffer.extend_from_slice(header.name.as_bytes());
        buffer.extend_from_slice(&header.value);
    }
    buffer.extend_from_slice(&record.value);
}

#[cfg(test)]
mod tests;
