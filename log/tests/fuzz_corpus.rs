//! What fuzzers found worth keeping, played again: every file of `fuzz/corpus` through its target.
#![allow(clippy::disallowed_methods, reason = "a test reads files of the repository")]
#![allow(missing_docs, reason = "a test")]

use corduroy_log::testing::fuzz::TARGETS;
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
            let data = fs::read(corpus.join(&input)).unwrap();
            if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                broken.push(format!("{name}/{input}"));
            }
        }
    }
    assert!(broken.is_empty(), "broken by {broken:?}");
}

#[test]
fn every_target_has_a_fuzzer_and_every_fuzzer_a_target() {
    // Those of the services have their own (`node/tests/fuzz_corpus.rs`).
    let is_ours = |name: &String| {
        let text = fs::read_to_string(folder("fuzz_targets").join(name)).unwrap();
        text.contains("corduroy_log::testing::fuzz::")
    };
    let fuzzers: BTreeSet<String> = names(&folder("fuzz_targets")).into_iter().filter(is_ours).collect();
    assert_eq!(fuzzers, TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect());
    let corpora = names(&folder("corpus"));
    assert!(TARGETS.iter().all(|(name, _)| corpora.contains(*name)), "{corpora:?}");
}
