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
        println!("seed {seed}: {} faults, trace {:016x}", passed.tally.fired(), passed.trace);
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
        println!("{bug:?}: seed {}: {}", caught.settings.seed, caught.violation);
    }
}

/// What is left of a failing run shows the same defect, and can be run again.
#[test]
fn a_failing_run_is_shrunk_to_fewer_faults_and_operations_that_break_the_same_invariant() {
    const RUNS: u32 = 20;
    let failed = (0..20).find_map(|seed| sim::run(seed, Some(Bug::M02)).err()).expect("unsynced appends are noticed");
    let (whole, invariant) = (failed.plan.clone(), failed.violation.invariant);
    let mut steps = 0;
    let small = sim::shrink(*failed, RUNS, |_| steps += 1);
    assert!(steps > 0, "nothing could be left out");
    assert_eq!(small.violation.invariant, invariant);
    assert!(
        small.plan.faults.len() < whole.faults.len(),
        "{} faults are left of {}",
        small.plan.faults.len(),
        whole.faults.len()
    );
    assert!(
        small.plan.operations.len() < whole.operations.len() / 2,
        "{} operations are left of {}",
        small.plan.operations.len(),
        whole.operations.len()
    );
    let again = sim::run_plan(&small.settings, &small.plan, None).expect_err("what is left fails alone");
    assert_eq!((again.violation, again.trace), (small.violation, small.trace));
}
