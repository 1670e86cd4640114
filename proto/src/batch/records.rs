//! Records: how one is encoded, and how they are read back.
use super::{BatchError, Kind};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a record before its key.
const FIXED: usize = 12;
/// Bytes of a header before its name.
const HEADER_FIXED: usize = 6;
const NO_KEY: u32 = u32::MAX;

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
    ///
    /// ```
    /// # use corduroy_proto::batch::Record;
    /// assert_eq!(Record::new("placed").value, "placed");
    /// ```
    pub fn new(value: impl Into<Bytes>) -> Self {
        Record { value: value.into(), ..Record::default() }
    }

    /// The same record with a key.
    ///
    /// ```
    /// # use corduroy_proto::batch::Record;
    /// assert_eq!(Record::new("placed").with_key("customer-7").key.unwrap(), "customer-7");
    /// ```
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same record with one more header.
    ///
    /// ```
    /// # use corduroy_proto::batch::Record;
    /// let record = Record::new("placed").with_header("trace", "4bf9");
    /// assert_eq!((&record.headers[0].name[..], &record.headers[0].value[..]), ("trace", &b"4bf9"[..]));
    /// ```
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Bytes of key, value and headers together: what limits on a record mean.
    ///
    /// ```
    /// # use corduroy_proto::batch::Record;
    /// assert_eq!(Record::new("value").with_key("key").with_header("name", "v").size(), 5 + 3 + 5);
    /// ```
    pub fn size(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        (self.key.as_ref().map_or(0, Bytes::len) + self.value.len() + headers) as u64
    }
}

/// Bytes a record takes in a batch.
pub fn record_len(record: &Record) -> u64 {
    record.size() + (FIXED + HEADER_FIXED * record.headers.len()) as u64
}

/// Encodes a record. Its lengths must fit: at most 65535 headers, names of at most 65535 bytes, and less than 4 GiB in all.
pub fn put_record(buffer: &mut BytesMut, record: &Record) {
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

/// The records of a batch, in order, or one error where they are not what the batch says. Nothing comes after an error.
#[derive(Clone, Debug)]
pub struct Records {
    batch: Bytes,
    /// Where the next record begins.
    at: usize,
    number: u32,
    count: u32,
    /// Nothing more comes.
    done: bool,
}

impl Records {
    pub(super) fn new(batch: Bytes, at: usize, count: u32, kind: Kind) -> Self {
        Records { batch, at, number: 0, count, done: kind == Kind::Cursors }
    }

    /// How many are still to come, if they are what the batch says.
    pub fn remaining(&self) -> u32 {
        if self.done { 0 } else { self.count - self.number }
    }

    fn read(&mut self) -> Result<Record, BatchError> {
        let (number, total) = (self.number, self.batch.len());
        // Where the next so many bytes lie.
        let take = |at: &mut usize, n: usize, what: &'static str| {
            let end = at.checked_add(n).filter(|end| *end <= total).ok_or(BatchError::Short(total, what))?;
            Ok(std::mem::replace(at, end)..end)
        };
        let mut at = self.at;
        let mut fixed = &self.batch[take(&mut at, FIXED, "record header")?];
        let (value_len, key_len, header_count) = (fixed.get_u32_le(), fixed.get_u32_le(), fixed.get_u16_le());
        if fixed.get_u16_le() != 0 {
            return Err(BatchError::Reserved(number));
        }
        let key = match key_len {
            NO_KEY => None,
            n => Some(self.batch.slice(take(&mut at, n as usize, "record key")?)),
        };
        let mut headers = Vec::with_capacity(header_count.into());
        for _ in 0..header_count {
            let mut lengths = &self.batch[take(&mut at, HEADER_FIXED, "header length")?];
            let (name_len, len) = (lengths.get_u16_le() as usize, lengths.get_u32_le() as usize);
            let name = &self.batch[take(&mut at, name_len, "header name")?];
            let name = str::from_utf8(name).map_err(|_| BatchError::HeaderName(number))?.to_owned();
            headers.push(Header { name, value: self.batch.slice(take(&mut at, len, "header value")?) });
        }
        let value = self.batch.slice(take(&mut at, value_len as usize, "record value")?);
        self.at = at;
        self.number += 1;
        Ok(Record { key, headers, value })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.number == self.count {
            self.done = true;
            let trailing = self.batch.len() - self.at;
            return (trailing > 0).then_some(Err(BatchError::Trailing(trailing)));
        }
        let record = self.read();
        self.done = record.is_err();
        Some(record)
    }

    /// A count is believed as far as there are bytes for it.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = (self.batch.len() - self.at) / FIXED;
        ((self.remaining() as usize).min(most), None)
    }
}

/// The keys of encoded records, each with the number of its record. Ends where they are no records: reading them will say
/// so.
pub fn keys(content: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
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
    let (mut fixed, mut rest) = records.split_at_checked(FIXED)?;
    let (value_len, key_len, headers) = (fixed.get_u32_le(), fixed.get_u32_le(), fixed.get_u16_le());
    let key = match key_len {
        NO_KEY => None,
        n => Some(rest.split_off(..n as usize)?),
    };
    for _ in 0..headers {
        let mut lengths = rest.split_off(..HEADER_FIXED)?;
        let (name, value) = (lengths.get_u16_le() as usize, lengths.get_u32_le() as usize);
        rest.split_off(..name + value)?;
    }
    rest.split_off(..value_len as usize)?;
    Some((key, rest))
}
