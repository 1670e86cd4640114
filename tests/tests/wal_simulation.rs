//! The WAL simulator in the test suite: fixed scripts with a death at every point of them, a batch of seeds, and planted bugs
//! that must be caught. `CORDUROY_WAL_SEEDS` says how many seeds (default 500).
use corduroy_tests::wal_sim::{
    Plan, RotKind, Tally, planted, run,
    scripts::{self, Exhausted},
};

/// Where the seeds of the test suite begin; `wal-sim` begins at 0.
const FROM: u64 = 1_000_000;

fn seeds() -> u64 {
    let seeds = std::env::var("CORDUROY_WAL_SEEDS").ok();
    seeds.map_or(500, |seeds| seeds.parse().expect("CORDUROY_WAL_SEEDS is a number"))
}

fn script(name: &str) -> Plan {
    let found = scripts::all().into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no script {name:?}")).1
}

#[track_caller]
fn is_clean(name: &str, exhausted: &Exhausted) {
    if let Some((plan, violation)) = &exhausted.violation {
        panic!("{name}: {violation}\n{plan:#?}");
    }
}

fn exhaust(name: &str) {
    let exhausted = scripts::exhaust(&script(name), 2);
    is_clean(name, &exhausted);
    let (points, tally) = (exhausted.points, &exhausted.tally);
    println!("{name}: {points} points, {} runs\n{tally}", tally.runs);
    assert!(points >= 30, "{name}: {points} points");
    assert!(tally.runs > points * 8, "{name}: {} runs of {points} points", tally.runs);
    for (what, count) in [
        ("power cuts", tally.power_cuts),
        ("kills", tally.kills),
        ("deaths in a recovery", tally.nested),
        ("recoveries that lost nothing anybody was told of", tally.lost),
        ("acknowledgements", tally.acknowledged),
    ] {
        assert!(count > points / 4, "{name}: {count} {what} in {} runs", tally.runs);
    }
}

macro_rules! exhaustive {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            exhaust($name);
        })*

        #[test]
        fn every_script_is_exhausted_by_a_test() {
            let names: Vec<_> = scripts::all().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

exhaustive! {
    a_death_at_every_point_of_one_entry_after_the_other: "one entry after the other",
    a_death_at_every_point_of_many_partitions_in_one_batch: "many partitions in one batch",
    a_death_at_every_point_of_one_append_over_many_batches: "one append over many batches",
    a_death_at_every_point_of_rotations: "rotations",
    a_death_at_every_point_of_an_entry_larger_than_a_segment: "an entry larger than a segment",
    a_death_at_every_point_of_conflicts_in_a_raft_log: "conflicts in a Raft log",
    a_death_at_every_point_of_votes_and_peers: "votes and peers",
    a_death_at_every_point_of_purges_and_snapshots: "purges and snapshots",
    a_death_at_every_point_of_closed_and_opened: "closed and opened",
    a_death_at_every_point_of_slow_syncs_and_large_sectors: "syncs that take long, sectors of 4096 bytes",
}

#[test]
fn damage_anywhere_in_a_script_is_refused_or_harmless() {
    for name in ["rotations", "closed and opened"] {
        let exhausted = scripts::rot_everywhere(&script(name), &RotKind::ALL, 60);
        is_clean(name, &exhausted);
        let tally = &exhausted.tally;
        assert!(tally.rot > 200 && tally.rot_refused > 100, "{name}:\n{tally}");
    }
}

#[test]
fn a_batch_of_seeds_breaks_no_promise_and_sees_everything() {
    let (seeds, mut tally) = (seeds(), Tally::default());
    for seed in FROM..FROM + seeds {
        let outcome = run(&Plan::draw(seed), None);
        if let Some(violation) = outcome.violation {
            panic!("seed {seed}: {violation}\nagain: cargo run -p tests --bin wal-sim -- --seed {seed} --trace");
        }
        tally.add(&outcome.tally);
    }
    println!("{tally}");
    if seeds >= 500 {
        assert_eq!(
            tally.missing(),
            Vec::<&str>::new(),
            "a batch that saw nothing of this proves nothing of it\n{tally}"
        );
    }
    assert!(tally.acknowledged * 10 > tally.calls * 6, "most calls are acknowledged\n{tally}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in FROM..FROM + 20 {
        let (once, twice) = (run(&Plan::draw(seed), None), run(&Plan::draw(seed), None));
        assert_eq!((once.trace_hash, once.tally), (twice.trace_hash, twice.tally), "seed {seed}");
    }
    let hash = |seed| run(&Plan::draw(seed), None).trace_hash;
    assert_ne!(hash(FROM), hash(FROM + 1));
}

#[test]
fn every_switch_is_caught_within_a_few_seeds() {
    const STARTS: u64 = 9;
    const ENOUGH: u64 = 200;
    for (id, title, bug) in planted::SWITCHES {
        let caught = |start: u64| {
            let from = start * 10_000;
            (from..from + ENOUGH).position(|seed| run(&Plan::draw(seed), Some(bug)).violation.is_some())
        };
        let mut needed: Vec<usize> = (0..STARTS)
            .map(|start| 1 + caught(start).unwrap_or_else(|| panic!("{id} ({title}) is not caught from start {start}")))
            .collect();
        needed.sort_unstable();
        println!("{id} ({title}): median {} seeds of {STARTS} starts", needed[needed.len() / 2]);
    }
}
