//! `shop-sim`: runs seeds of the simulator of services, or replays one with its events.
use clap::Parser;
use corduroy_tests::{
    seeds::{self, Report, Seeds},
    shop_sim::{self, Event, Load, MANY, Plan, Tally},
    sim::{Listener, is_detail},
};
use std::{process::ExitCode, time::Instant};

/// Runs clusters that carry services in virtual time. One seed is one run: the same faults, the same packets, the same outcome.
///
/// In a run clients pay into tills and check orders out, leaders come to harm, and in the end the books must be right on every
/// node. See docs/simulation.md.
#[derive(Parser)]
#[command(
    name = "shop-sim",
    after_help = "Examples:\n  shop-sim --seeds 50                 fifty runs, from seed 0 on\n  shop-sim --seeds 500 --from 1000    five hundred more\n  shop-sim --seed 7 --trace           one run, with what happens in it\n\nExit code 0: every run held. 1: one did not; the last lines say which, and how to replay it."
)]
struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    #[command(flatten)]
    seeds: Seeds,
    /// Only this load, tills or checkout: other runs than those with both.
    #[arg(long)]
    only: Option<Load>,
    /// With --seed: print what happens, as it happens; packets and syncs too when given twice.
    #[arg(long, action = clap::ArgAction::Count)]
    trace: u8,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A run that panics is reported with its seed; the panic itself says nothing more.
    std::panic::set_hook(Box::new(|_| {}));
    let loads = arguments.only.map_or(Load::ALL.to_vec(), |load| vec![load]);
    let failed = match arguments.seed {
        Some(seed) => one(seed, &loads, arguments.trace),
        None => seeds::run(
            &arguments.seeds,
            |seed| report(seed, &loads),
            |all: &mut Tally, tally| all.add(&tally),
            |tally, done| {
                let missing = if done >= MANY { tally.missing(&loads) } else { Vec::new() };
                missing.iter().map(|event| format!("{event:?}")).collect()
            },
        ),
    };
    ExitCode::from(u8::from(failed > 0))
}

fn one(seed: u64, loads: &[Load], trace: u8) -> u64 {
    print!("seed {seed}\n{}", Plan::draw(seed, loads));
    let details = trace > 1;
    let listener: Listener = Box::new(move |event: &str| {
        if details || !is_detail(event) {
            println!("{event}");
        }
    });
    let began = Instant::now();
    match shop_sim::run(seed, loads, (trace > 0).then_some(listener)) {
        Ok(passed) => {
            let seconds = began.elapsed().as_secs_f64();
            println!("{}seed {seed} held, trace {:016x}, {seconds:.1} s", passed.tally, passed.trace);
            0
        }
        Err(failed) => {
            println!("{failed}");
            1
        }
    }
}

/// Runs a seed, and says in one line how it went.
fn report(seed: u64, loads: &[Load]) -> Report<Tally> {
    let began = Instant::now();
    match shop_sim::run(seed, loads, None) {
        Ok(passed) => {
            let of = |event| passed.tally.of(event);
            let text = format!(
                "seed {seed}: {} answered, {} repeated, {} confirmed, {} faults, trace {:016x}, {:.1} s",
                of(Event::Answered),
                of(Event::Repeated),
                of(Event::Confirmed),
                passed.tally.faults(),
                passed.trace,
                began.elapsed().as_secs_f64()
            );
            Report { outcome: Ok(passed.tally), trace: passed.trace, text }
        }
        Err(failed) => Report { outcome: Err(failed.violation.clone()), trace: failed.trace, text: failed.to_string() },
    }
}
