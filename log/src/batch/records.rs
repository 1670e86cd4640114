//! Records: checked and encoded request by request, joined into batches.
use super::{Batch, BatchHeader, Conditions, Kind, layout};
use crate::{config::Limits, error::LogError, producer::ProducerStamp, record::NewRecord, world::Timestamp};
use bytes::{BufMut, BytesMut};

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
            layout::put_record(&mut buffer, record);
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
    let header = BatchHeader { kind: Kind::Records, count: records, time: time.0, conditions, decided: None };
    Batch::seal(header, buffer)
}

/// The record's encoded size, or what is wrong with it.
pub(super) fn check_record(index: usize, record: &NewRecord, limits: &Limits) -> Result<u64, LogError> {
    let (size, count) = (record.size(), record.headers.len());
    if let Some(header) = record.headers.iter().find(|header| header.name.len() > usize::from(u16::MAX)) {
        let length = header.name.len();
        return Err(LogError::Invalid(format!(
            "record {index} has a header name of {length} bytes, 65535 is the limit"
        )));
    }
    if count > usize::from(u16::MAX) {
        return Err(LogError::Invalid(format!("record {index} has {count} headers, 65535 is the limit")));
    }
    if size > limits.record_bytes {
        return Err(LogError::RecordTooLarge { index, size, limit: limits.record_bytes });
    }
    Ok(layout::record_len(record))
}
