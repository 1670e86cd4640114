//! `sim`: runs seeds of the cluster simulator, replays one with its events, or makes a failing one small.
use clap::Parser;
use corduroy_tests::{
    seeds::{self, Report, Seeds},
    sim::{self, Bug, Event, Failed, Passed, Plan, Settings, Tally},
};
use std::{process::ExitCode, time::Instant};

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
    #[command(flatten)]
    seeds: Seeds,
    /// With --seed: print what happens, as it happens; packets and syncs too when given twice.
    #[arg(long, action = clap::ArgAction::Count)]
    trace: u8,
    /// With --seed: if the run fails, leave out faults and operations for as long as it still does.
    #[arg(long)]
    shrink: bool,
    /// With --shrink: at most so many runs.
    #[arg(long, default_value_t = 2000)]
    shrink_runs: u32,
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
    seeds::run(
        &arguments.seeds,
        |seed| report(seed, arguments.bug),
        |all: &mut Tally, tally| all.add(&tally),
        |tally, _| tally.missing(),
    )
}

/// Runs a seed, and says in one line how it went.
fn report(seed: u64, bug: Option<Bug>) -> Report<Tally> {
    let began = Instant::now();
    match sim::run(seed, bug) {
        Ok(Passed { tally, trace }) => {
            let seconds = began.elapsed().as_secs_f64();
            let of = |event| tally.of(event);
            let (acked, read, committed) = (of(Event::Acknowledged), of(Event::Read), of(Event::Committed));
            let faults = tally.fired();
            let text = format!(
                "seed {seed}: {acked} acknowledged, {read} reads, {committed} committed, {faults} faults, trace {trace:016x}, {seconds:.1} s"
            );
            Report { outcome: Ok(tally), trace, text }
        }
        Err(failed) => {
            Report { outcome: Err(failed.violation.to_string()), trace: failed.trace, text: failed.to_string() }
        }
    }
}
