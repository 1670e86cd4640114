//! `sim`: runs seeds of the cluster simulator, replays one with its events, or makes a failing one small.
use clap::Parser;
use corduroy_tests::sim::{self, Bug, Event, Failed, Passed, Plan, Settings, Tally};
use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Runs whole clusters in virtual time. One seed is one run: the same faults, the same packets, the same outcome.
///
/// A run has about a minute of virtual time: a safety phase with faults, a liveness phase in which a healed majority must
/// serve, and a verdict over everything clients were told. See docs/simulation.md.
#[derive(Parser)]
#[command(
    name = "sim",
    after_help = "Examples:\n  sim --seeds 50                 fifty runs, from seed 0 on\n  sim --seeds 500 --from 1000    five hundred more\n  sim --seed 7 --trace           one run, with what happens in it\n  sim --seed 7 --shrink          leave out of a failing run what it does not need\n\nExit code 0: every run held. 1: one did not; the last lines say which, and how to replay it."
)]
struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// End after so many minutes, even if not all seeds were run.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many runs at the same time.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64))]
    jobs: u64,
    /// With --seed: print what happens, as it happens; packets and syncs too when given twice.
    #[arg(long, action = clap::ArgAction::Count)]
    trace: u8,
    /// With --seed: if the run fails, leave out faults and operations for as long as it still does.
    #[arg(long)]
    shrink: bool,
    /// With --shrink: at most so many runs.
    #[arg(long, default_value_t = 2000)]
    shrink_runs: u32,
    /// Go on after a run that failed.
    #[arg(long)]
    keep_going: bool,
    /// Plant a bug in the simulated world, to see whether it is caught: M01, M02, M04.
    #[arg(long)]
    bug: Option<Bug>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A run that panics is reported with its seed; the panic itself says nothing more.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    };
    ExitCode::from(u8::from(failed > 0))
}

fn one(seed: u64, arguments: &Arguments) -> u64 {
    let settings = Settings { bug: arguments.bug, ..Settings::draw(seed) };
    let plan = Plan::draw(&settings);
    println!("seed {seed}\n{settings}\n{plan}");
    let details = arguments.trace > 1;
    let listener: sim::Listener = Box::new(move |event: &str| {
        if details || !sim::is_detail(event) {
            println!("{event}");
        }
    });
    let began = Instant::now();
    match sim::run_plan(&settings, &plan, (arguments.trace > 0).then_some(listener)) {
        Ok(passed) => {
            println!(
                "{}\nseed {seed} held, trace {:016x}, {:.1} s",
                passed.tally,
                passed.trace,
                began.elapsed().as_secs_f64()
            );
            0
        }
        Err(failed) => {
            let failed = if arguments.shrink { smaller(*failed, arguments) } else { *failed };
            println!("{failed}");
            1
        }
    }
}

fn smaller(failed: Failed, arguments: &Arguments) -> Failed {
    println!("seed {} failed: {}", failed.settings.seed, failed.violation);
    sim::shrink(failed, arguments.shrink_runs, |step| println!("  {step}"))
}

fn many(arguments: &Arguments) -> u64 {
    let (next, done) = (AtomicU64::new(arguments.from), AtomicU64::new(0));
    let tally: Mutex<Tally> = Mutex::default();
    // Seed, seeds run until then, what was wrong.
    let failures: Mutex<Vec<(u64, u64, String)>> = Mutex::default();
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let end = arguments.from + arguments.seeds;
    let late = || arguments.minutes.is_some_and(|minutes| began.elapsed() > Duration::from_secs(60 * minutes));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && !late() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = report(seed, arguments.bug);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    match outcome {
                        Ok(run) => tally.lock().expect("nobody panics with it").add(&run),
                        Err(what) => {
                            failures.lock().expect("nobody panics with it").push((seed, done, what));
                            stop.store(!arguments.keep_going, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let done = done.into_inner();
    let tally = tally.into_inner().expect("nobody panics with it");
    let mut failures = failures.into_inner().expect("nobody panics with it");
    println!("{tally}");
    let missing = tally.missing();
    if failures.is_empty() && !missing.is_empty() {
        failures.push((arguments.from, done, format!("nothing of this happened: {}", missing.join(", "))));
    }
    match failures.first() {
        Some((seed, after, what)) => {
            println!("{} of {done} seeds failed", failures.len());
            println!("caught: seed {seed} after {after} seeds: {}", what.lines().collect::<Vec<_>>().join("; "));
        }
        None => println!("clean: {done} seeds, {:.0} per minute", done as f64 * 60.0 / began.elapsed().as_secs_f64()),
    }
    failures.len() as u64
}

/// Runs a seed, every hundredth of them twice, and says in one line how it went.
fn report(seed: u64, bug: Option<Bug>) -> Result<Tally, String> {
    let began = Instant::now();
    let first = sim::run(seed, bug);
    let seconds = began.elapsed().as_secs_f64();
    match &first {
        Ok(Passed { tally, trace }) => {
            let of = |event| tally.of(event);
            let (acked, read, committed) = (of(Event::Acknowledged), of(Event::Read), of(Event::Committed));
            let faults = tally.fired();
            println!(
                "seed {seed}: {acked} acknowledged, {read} reads, {committed} committed, {faults} faults, trace {trace:016x}, {seconds:.1} s"
            );
        }
        Err(failed) => println!("{failed}"),
    }
    let trace = |outcome: &Result<sim::Passed, Box<Failed>>| match outcome {
        Ok(passed) => passed.trace,
        Err(failed) => failed.trace,
    };
    if seed.is_multiple_of(100) {
        let second = sim::run(seed, bug);
        if trace(&first) != trace(&second) {
            return Err(format!("not reproducible: traces {:016x} and {:016x}", trace(&first), trace(&second)));
        }
    }
    first.map(|passed| passed.tally).map_err(|failed| failed.violation.to_string())
}
