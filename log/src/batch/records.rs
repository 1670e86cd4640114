//! Records: checked and encoded request by request, joined into batches, decoded by readers.
use super::{Batch, BatchError, Conditions, Header, Kind};
use crate::{
    config::Limits,
    error::LogError,
    producer::ProducerStamp,
    record::{Header as RecordHeader, NewRecord, Record},
    topic::Offset,
    world::Timestamp,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const RECORD_HEADER: usize = 12;
const NO_KEY: u32 = u32::MAX;

/// Records of one request, checked against the limits and encoded, waiting for their place in a batch.
#[derive(Debug, Default)]
pub(crate) struct EncodedRecords {
    /// Room for a header with the conditions, then the records.
    buffer: BytesMut,
    records: u32,
    conditions: Conditions,
}

impl EncodedRecords {
    /// Checks and encodes the records of one request.
    pub(crate) fn encode(records: &[NewRecord], conditions: Conditions, limits: &Limits) -> Result<Self, LogError> {
        if records.is_empty() {
            return Err(LogError::Invalid("an append needs at least one record".into()));
        }
        let header = conditions.header_len();
        let mut size = header as u64;
        for (index, record) in records.iter().enumerate() {
            size += check_record(index, record, limits)?;
        }
        if size > limits.batch_bytes {
            return Err(LogError::BatchTooLarge { size, limit: limits.batch_bytes });
        }
        let mut buffer = BytesMut::with_capacity(size as usize);
        buffer.put_bytes(0, header);
        for record in records {
            put_record(&mut buffer, record);
        }
        let records = u32::try_from(records.len()).expect("more records than bytes in a batch");
        Ok(EncodedRecords { buffer, records, conditions })
    }

    /// Bytes of the records.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len() - self.conditions.header_len()
    }

    /// Number of records.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// What a request must state to be joined to this one: nothing, where this one states nothing; to be its producer's
    /// next. A batch counts or does not, as a whole, so one that expects an end is alone.
    pub(crate) fn joined_by(&self) -> Option<Conditions> {
        match self.conditions {
            Conditions { end: None, key: None, producer: None } => Some(Conditions::default()),
            Conditions { end: None, key: None, producer: Some(stamp) } => {
                let sequence = stamp.sequence.checked_add(self.records.into())?;
                Some(Conditions { producer: Some(ProducerStamp { sequence, ..stamp }), ..Conditions::default() })
            }
            _ => None,
        }
    }
}

/// Joins requests into one batch, in order, and seals it with a time and a checksum. Each must be one that
/// [`EncodedRecords::joined_by`] allows behind the one before.
pub(crate) fn seal(requests: impl IntoIterator<Item = EncodedRecords>, time: Timestamp) -> Batch {
    let mut requests = requests.into_iter();
    let EncodedRecords { mut buffer, mut records, conditions } =
        requests.next().expect("a batch is sealed for at least one request");
    for next in requests {
        buffer.extend_from_slice(&next.buffer[next.conditions.header_len()..]);
        records += next.records;
    }
    Batch::seal(Header { kind: Kind::Records, count: records, time, conditions }, buffer)
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

/// The records of a batch of records.
pub(super) fn decode(batch: &Batch, base: Offset) -> Result<Vec<Record>, BatchError> {
    let mut rest = batch.content();
    let total = batch.bytes.len();
    let mut out = Vec::with_capacity(batch.header.count.min(65_536) as usize);
    for number in 0..batch.header.count {
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
            headers.push(RecordHeader { name, value: take(len, "header value")? });
        }
        let value = take(value_len, "record value")?;
        out.push(Record { offset: base + u64::from(number), time: batch.header.time, key, headers, value });
    }
    if rest.is_empty() { Ok(out) } else { Err(BatchError::Trailing(rest.len())) }
}

/// The keys of encoded records, each with the number of its record.
pub(super) fn keys(content: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = content;
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let (key, after) = split_key(rest)?;
            rest = after;
            number += 1;
            if let Some(key) = key {
                return Some((number - 1, key));
            }
        }
    })
}

/// The key of the first record, and what comes after that record.
fn split_key(records: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (mut header, mut rest) = records.split_at_checked(RECORD_HEADER)?;
    let (value_len, key_len, headers) = (header.get_u32_le(), header.get_u32_le(), header.get_u16_le());
    let key = match key_len {
        NO_KEY => None,
        n => Some(rest.split_off(..n as usize)?),
    };
    for _ in 0..headers {
        let mut lengths = rest.split_off(..6)?;
        let (name, value) = (lengths.get_u16_le() as usize, lengths.get_u32_le() as usize);
        rest.split_off(..name + value)?;
    }
    rest.split_off(..value_len as usize)?;
    Some((key, rest))
}
