//! What fuzzers found worth keeping of the services, played again: their files of `fuzz/corpus` through their targets.
#![allow(clippy::disallowed_methods, reason = "a test reads files of the repository")]
#![allow(missing_docs, reason = "a test")]

use corduroy_node::testing::fuzz::TARGETS;
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}

/// The files or folders in a folder, by name.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("a listed file").file_name().into_string();
    entries.map(|entry| name(entry).expect("corpora have plain names")).collect()
}

#[test]
fn every_input_of_the_corpora_keeps_the_promises() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let corpus = folder("corpus").join(name);
        let inputs = names(&corpus);
        assert!(inputs.len() >= 10, "the corpus of {name} has {} inputs", inputs.len());
        for input in inputs {
            let data = fs::read(corpus.join(&input)).expect("a listed file");
            if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                broken.push(format!("{name}/{input}"));
            }
        }
    }
    assert!(broken.is_empty(), "broken by {broken:?}");
}

#[test]
fn every_target_has_a_fuzzer_and_every_fuzzer_and_corpus_a_target() {
    let fuzzers: BTreeSet<String> = names(&folder("fuzz_targets"));
    let all: BTreeSet<String> = TARGETS.iter().map(|target| target.0).chain(of_the_log()).map(str::to_owned).collect();
    assert_eq!(fuzzers, all.iter().map(|name| format!("{name}.rs")).collect());
    assert_eq!(names(&folder("corpus")), all);
}

fn of_the_log() -> impl Iterator<Item = &'static str> {
    corduroy_log::testing::fuzz::TARGETS.iter().map(|target| target.0)
}

proptest::proptest! {
    /// Without libFuzzer's guidance, on every change.
    #[test]
    fn any_input_keeps_the_promises(data in proptest::collection::vec(proptest::num::u8::ANY, 0..1024)) {
        TARGETS.iter().for_each(|(_, target)| target(&data));
    }
}
