//! Whole clusters in virtual time, from seeds: `corduroy_tests::sim` says what a run is, docs/simulation.md how to replay
//! one.
use corduroy_tests::sim::{self, Bug};

/// As many as a `cargo test` can wait for. `.ci/run` runs more, `.ci/nightly` many more.
const SEEDS: std::ops::Range<u64> = 0..10;

#[track_caller]
fn holds(seed: u64) -> sim::Passed {
    match sim::run(seed, None) {
        Ok(passed) => passed,
        Err(failed) => panic!("{failed}"),
    }
}

#[test]
fn acknowledged_records_survive_whatever_the_seeds_do() {
    for seed in SEEDS {
        let passed = holds(seed);
        println!("seed {seed}: {}, trace {:016x}", passed.summary, passed.trace);
    }
}

#[test]
fn one_seed_is_one_run() {
    assert_eq!(holds(SEEDS.end), holds(SEEDS.end), "the same seed gave two different runs");
    assert_ne!(holds(SEEDS.end).trace, holds(SEEDS.end + 1).trace, "another seed gave the same run");
}

/// What the simulator is worth: a disk that lies about syncs is noticed within a few seeds. M01 is not here: the mark that
/// follows within ten milliseconds makes an unsynced vote durable, and few power cuts fall in between. The WAL simulator,
/// which cuts the power at every operation, catches that one (`tests/wal_simulation.rs`).
#[test]
fn planted_bugs_of_the_disk_are_caught() {
    const ENOUGH: u64 = 20;
    for bug in [Bug::M02, Bug::M04] {
        let caught = (0..ENOUGH).find_map(|seed| sim::run(seed, Some(bug)).err());
        let caught = caught.unwrap_or_else(|| panic!("{bug:?} was not noticed in {ENOUGH} seeds"));
        println!("{bug:?}: seed {}: {}", caught.settings.seed, caught.what);
    }
}
