//! Runs the WAL simulator: many seeds, or one of them with everything that happens in it.
use clap::Parser;
use corduroy_log::testing::PlantedBug;
use corduroy_tests::wal_sim::{Plan, Tally, Violation, planted, run, run_traced, shrink};
use std::{
    panic,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Most runs that shrinking a plan may take.
const SHRINK_RUNS: u32 = 3000;
/// One seed in so many is run twice.
const TWICE: u64 = 100;

/// Runs the write-ahead log of one node against every fault of its disk, from seeds.
///
/// Each seed draws sizes, a list of calls, and faults; the code is the product's, the disk and the time are simulated. The same seed
/// gives the same run. Stops at the first promise that is broken, prints a smaller plan that breaks it as well, and how to see
/// it again.
///
///   wal-sim --seeds 20000            many seeds, from 0 on
///   wal-sim --seed 17 --trace        one seed, step by step
///   wal-sim --seeds 1000 --bug M02   with a planted bug: it must be caught
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Options {
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stops after so many seconds, whatever is left.
    #[arg(long)]
    seconds: Option<u64>,
    /// Plants a bug in the disk: M01, M02 or M04.
    #[arg(long)]
    bug: Option<String>,
    /// Prints every step of a single seed.
    #[arg(long)]
    trace: bool,
    /// Does not look for a smaller plan that fails as well.
    #[arg(long)]
    no_shrink: bool,
    /// Prints what happened in all runs together, and fails when something never did.
    #[arg(long)]
    tally: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let bug = match options.bug.as_deref().map(|id| planted::switch(id).ok_or(id)) {
        None => None,
        Some(Ok(bug)) => Some(bug),
        Some(Err(id)) => {
            eprintln!("there is no planted bug {id}; there are M01, M02 and M04");
            return ExitCode::from(2);
        }
    };
    // A panic of the code under test is a finding, which is reported in its place.
    panic::set_hook(Box::new(|_| ()));
    let (from, count) = options.seed.map_or((options.from, options.seeds), |seed| (seed, 1));
    let began = Instant::now();
    let limit = options.seconds.map(Duration::from_secs);
    let (mut tally, mut done) = (Tally::default(), 0);
    for seed in from..from.saturating_add(count) {
        if limit.is_some_and(|limit| began.elapsed() >= limit) {
            break;
        }
        done += 1;
        if let Err(violation) = one(seed, bug, options.trace && count == 1, &mut tally) {
            report(seed, bug, &options, &violation);
            println!("caught: seed {seed} after {done} seeds: {}", violation.invariant);
            return ExitCode::FAILURE;
        }
    }
    if options.tally {
        println!("{tally}");
        let missing = tally.missing();
        if !missing.is_empty() {
            println!("caught: seed {from} after {done} seeds: nothing of this happened: {}", missing.join(", "));
            return ExitCode::FAILURE;
        }
    }
    let rate = done as f64 * 60.0 / began.elapsed().as_secs_f64().max(0.001);
    println!("clean: {done} seeds, {rate:.0} per minute");
    ExitCode::SUCCESS
}

/// Runs a seed, one in a hundred of them twice.
fn one(seed: u64, bug: Option<PlantedBug>, trace: bool, tally: &mut Tally) -> Result<(), Violation> {
    let plan = Plan::draw(seed);
    let outcome = if trace {
        println!("{:?}", plan.config);
        run_traced(&plan, bug, |line| println!("{line}"))
    } else {
        run(&plan, bug)
    };
    tally.add(&outcome.tally);
    if let Some(violation) = outcome.violation {
        return Err(violation);
    }
    if seed.is_multiple_of(TWICE) {
        let again = run(&plan, bug);
        if (again.trace_hash, &again.tally) != (outcome.trace_hash, &outcome.tally) {
            let detail = format!("{:016x}, then {:016x}", outcome.trace_hash, again.trace_hash);
            return Err(Violation { invariant: "a seed is a run", detail });
        }
    }
    Ok(())
}

fn report(seed: u64, bug: Option<PlantedBug>, options: &Options, violation: &Violation) {
    let plan = Plan::draw(seed);
    println!("seed {seed}: {violation}");
    println!("{:?}", plan.config);
    if options.no_shrink || bug.is_some() {
        return;
    }
    let small = shrink(&plan, bug, SHRINK_RUNS);
    println!("of {} steps these are enough:", plan.steps.len());
    for step in &small.steps {
        println!("  {step:?}");
    }
    let outcome = run(&small, bug);
    println!("they give: {}", outcome.violation.map_or("nothing".to_owned(), |violation| violation.to_string()));
    println!("the last events:");
    for event in outcome.events.iter().rev().take(40).rev() {
        println!("  {event}");
    }
    println!("again: cargo run -p tests --bin wal-sim -- --seed {seed} --trace");
}
