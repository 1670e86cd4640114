//! Records as `read` and `dump` write them.
//!
//! JSON, one object per line: `{"partition","offset","time","key","value","headers"}`. `time` is RFC 3339, UTC, with
//! microseconds. `key` is null when the record has none. Bytes that are not UTF-8 come as `"keyBase64"` and
//! `"valueBase64"` in place of `"key"` and `"value"`; headers are an array of `{"name","value"}` or
//! `{"name","valueBase64"}`.
use super::{
    exit::Failure,
    output::{Format, Output},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use corduroy_client::{Header, StoredRecord};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one record.
pub(super) fn write(out: &mut Output, format: Format, partition: u32, record: &StoredRecord) -> Result<(), Failure> {
    match format {
        Format::Json => out.json(&Line { partition, record }),
        Format::Text => {
            let key = record.key.as_deref().map_or("-".into(), String::from_utf8_lossy);
            let (time, value) = (rfc3339(record.time), String::from_utf8_lossy(&record.value));
            out.line(&format!("{partition}\t{}\t{time}\t{key}\t{value}", record.offset))
        }
    }
}

/// A record as a JSON object.
struct Line<'a> {
    partition: u32,
    record: &'a StoredRecord,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &self.record.offset)?;
        map.serialize_entry("time", &rfc3339(self.record.time))?;
        match &self.record.key {
            None => map.serialize_entry("key", &())?,
            Some(key) => bytes(&mut map, "key", "keyBase64", key)?,
        }
        bytes(&mut map, "value", "valueBase64", &self.record.value)?;
        let headers: Vec<HeaderLine<'_>> = self.record.headers.iter().map(HeaderLine).collect();
        map.serialize_entry("headers", &headers)?;
        map.end()
    }
}

struct HeaderLine<'a>(&'a Header);

impl Serialize for HeaderLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.0.name)?;
        bytes(&mut map, "value", "valueBase64", &self.0.value)?;
        map.end()
    }
}

fn bytes<M: SerializeMap>(map: &mut M, text: &'static str, base64: &'static str, value: &[u8]) -> Result<(), M::Error> {
    match std::str::from_utf8(value) {
        Ok(value) => map.serialize_entry(text, value),
        Err(_) => map.serialize_entry(base64, &STANDARD.encode(value)),
    }
}

/// `2026-01-02T03:04:05.000006Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let micros = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    // Times beyond the year 9999 cannot be written; they say so.
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| format!("+{micros}us"), |time| time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    fn record() -> StoredRecord {
        StoredRecord {
            offset: 7,
            time: UNIX_EPOCH + Duration::from_micros(1_767_323_045_000_006),
            key: None,
            headers: Vec::new(),
            value: Bytes::from_static(b"placed"),
        }
    }

    fn json(record: &StoredRecord) -> String {
        serde_json::to_string(&Line { partition: 2, record }).expect("serializable")
    }

    #[test]
    fn text_is_text_and_an_absent_key_is_null() {
        assert_eq!(
            json(&record()),
            r#"{"partition":2,"offset":7,"time":"2026-01-02T03:04:05.000006Z","key":null,"value":"placed","headers":[]}"#
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_base64() {
        let header = Header { name: "trace".into(), value: Bytes::from_static(&[0xff]) };
        let record = StoredRecord {
            key: Some(Bytes::from_static(&[0xff, 0])),
            value: Bytes::from_static(&[0xfe]),
            headers: vec![header, Header { name: "kind".into(), value: Bytes::from_static(b"test") }],
            ..record()
        };
        assert_eq!(
            json(&record),
            concat!(
                r#"{"partition":2,"offset":7,"time":"2026-01-02T03:04:05.000006Z","keyBase64":"/wA=","valueBase64":"/g==","#,
                r#""headers":[{"name":"trace","valueBase64":"/w=="},{"name":"kind","value":"test"}]}"#
            )
        );
    }

    #[test]
    fn an_empty_key_is_not_an_absent_one() {
        let record = StoredRecord { key: Some(Bytes::new()), ..record() };
        assert!(json(&record).contains(r#""key":"""#));
    }
}
