//! The stores of a node's views: what is done to them while the node is down, and what it says of them.
use super::http_get;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directory of a view; of those there are, the one that is whole.
pub fn store(views: &Path, view: &str) -> PathBuf {
    let names: Vec<PathBuf> =
        fs::read_dir(views).expect("there are views").map(|entry| entry.expect("an entry").path()).collect();
    let whole = |path: &&PathBuf| {
        path.file_stem().is_some_and(|name| name == view)
            && path.extension().is_some_and(|generation| generation.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    names.iter().find(whole).unwrap_or_else(|| panic!("no whole view {view} among {names:?}")).clone()
}

/// Copies a folder with all it holds.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("the file can be copied");
        }
    }
}

/// Flips bits all over the file that has the values.
pub fn rot(store: &Path) {
    let file = store.join("db");
    let mut bytes = fs::read(&file).expect("sled keeps it there");
    let len = bytes.len();
    (0..400_usize).for_each(|nth| bytes[(nth * 104_729 + 13) % len] ^= 1 << (nth % 8));
    fs::write(&file, bytes).expect("it can be written");
}

/// How often a node has built a view anew for a reason since it was started.
pub fn rebuilds(http: u16, node: u64, view: &str, reason: &str) -> u64 {
    let line = format!("corduroy_view_rebuilds_total{{node=\"{node}\",view=\"{view}\",reason=\"{reason}\"}} ");
    let (_, metrics) = http_get(http, "/metrics").expect("it answers");
    let value = metrics.lines().find_map(|found| found.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("{line} in {metrics}")).parse().expect("a number")
}
