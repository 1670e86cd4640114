//! What `corduroy dump` says a stopped node holds.
use super::{NodeProcess, TOPIC, recorder::id_in, run};
use corduroy_tests::checker::{Entry, Replica, ValueHash};
use serde::Deserialize;
use std::path::Path;

/// One line of `dump --format json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    partition: u32,
    offset: u64,
    time: String,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    headers: Vec<HeaderOfLine>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderOfLine {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

/// The replica of a partition on a stopped node, as the binary reads it from the node's folder.
#[track_caller]
pub fn dump(node: &NodeProcess, partition: u32) -> Replica {
    assert!(!node.is_running(), "a dump reads the folder of a stopped node");
    dump_of(&node.data, node.id, partition)
}

/// As [`dump`], of a folder whose node is no more.
#[track_caller]
pub fn dump_of(data: &Path, node: u64, partition: u32) -> Replica {
    let place = format!("{TOPIC}/{partition}");
    let arguments = ["dump", "--format", "json", "--data", data.to_str().expect("a plain path"), &place];
    let output = run(arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "dump of {place} of node {node}: {stderr}");
    let entry = |text: &str| {
        let line: Line = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert_eq!(line.partition, partition, "in {text}");
        line.entry()
    };
    let records = stdout.lines().map(entry).collect();
    Replica { node, partition, healthy: true, start_offset: 0, records }
}

/// Everything a stopped node has written of a partition, committed or not, byte for byte as `dump` prints it.
#[track_caller]
pub fn dump_bytes(node: &NodeProcess, place: &str) -> Vec<u8> {
    let data = node.data.to_str().expect("a plain path");
    let output = run(["dump", "--format", "json", "--uncommitted", "--data", data, place]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "dump of {place} of node {}: {stderr}", node.id);
    output.stdout
}

impl Line {
    fn entry(self) -> Entry {
        // Everything the load sends is UTF-8; what is not came from elsewhere, and hashes to something nobody sent.
        let bytes = |text: Option<String>, base64: Option<String>| match (text, base64) {
            (Some(text), None) => Some(text.into_bytes()),
            (None, Some(base64)) => Some([b"base64:", base64.as_bytes()].concat()),
            (None, None) => None,
            both => panic!("a value is given twice: {both:?}"),
        };
        let key = bytes(self.key, self.key_base64);
        let value = bytes(self.value, self.value_base64).expect("every record has a value");
        let headers: Vec<(String, Vec<u8>)> = self
            .headers
            .into_iter()
            .map(|header| (header.name, bytes(header.value, header.value_base64).expect("every header has a value")))
            .collect();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let time: jiff::Timestamp = self.time.parse().unwrap_or_else(|error| panic!("{}: {error}", self.time));
        Entry {
            offset: self.offset,
            id: id_in(&value),
            value: ValueHash::of(key.as_deref(), headers, &value),
            time: u64::try_from(time.as_microsecond()).expect("log time is after 1970"),
        }
    }
}
