//! The simulator of services: one seed is one run of a cluster that carries them, under clients and faults, judged in the end.
//!
//! ```text
//!   seed ─▶ Plan: faults, one after the other
//!             │
//!             ▼
//!   clients work ──▶ faults, while they do ──▶ all is well, and they still do ──▶ every machine loses its power
//!                                                                                       │
//!   judge: books, timers, state hashes ◀── all comes to rest ◀── what was asked is asked again
//! ```
//!
//! Two loads: *tills*, small services that check themselves on every replica, and the *checkout* that ships. Both run on
//! `corduroy_node::testing::Sim`: whole nodes but for their ports. `docs/simulation.md` says how to run and replay.
//!
//! **Invariant**: a run is a function of its seed, its loads and the code.
mod plan;
mod tally;

mod run;

pub mod till;

mod checkout;
mod tills;

mod late;
mod trouble;

pub use plan::{Kind, Plan, Trouble};
pub use tally::{Event, MANY, Tally};

use crate::sim::{Listener, words};
use checkout::Checkouts;
use corduroy_log::testing::SimTasks;
use corduroy_node::testing::Sim;
use openraft_rt::AsyncRuntime as _;
use run::Run;
use std::{fmt, panic::AssertUnwindSafe, str::FromStr, sync::Arc, time::Duration};
use till::{Ledger, Till};
use tills::Tills;

const SECOND: Duration = Duration::from_secs(1);
/// Answers that are expected of a second without faults, at least.
const ANSWERS: usize = 20;

/// What a cluster carries, and what its clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Tills and a ledger.
    Tills,
    /// Orders, and what they need.
    Checkout,
}

impl Load {
    /// Both.
    pub const ALL: [Load; 2] = [Load::Tills, Load::Checkout];

    /// Topics whose leaders come to harm.
    fn topics(self) -> &'static [&'static str] {
        match self {
            Load::Tills => &["till", "ledger"],
            Load::Checkout => &["order", "payment", "stock"],
        }
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "tills" => Ok(Load::Tills),
            "checkout" => Ok(Load::Checkout),
            _ => Err(format!("there is no load {name:?}; there are tills and checkout")),
        }
    }
}

/// A run that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What happened, in numbers.
    pub tally: Tally,
    /// [`corduroy_log::testing::Sim::trace_hash`].
    pub trace: u64,
}

/// A run that did not.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What the cluster carried.
    pub loads: Vec<Load>,
    /// The seed.
    pub seed: u64,
    /// What was done.
    pub plan: Plan,
    /// The first thing that was wrong.
    pub violation: String,
    /// What happened last, oldest first.
    pub events: Vec<String>,
    /// As of [`Passed`].
    pub trace: u64,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { loads, seed, plan, violation, events, .. } = self;
        write!(f, "seed {seed} failed: {violation}\n{plan}")?;
        for event in events {
            writeln!(f, "    {event}")?;
        }
        writeln!(f, "what happened: {violation}")?;
        write!(f, "replay: cargo run -p tests --bin shop-sim -- --seed {seed} --trace")?;
        match loads[..] {
            [Load::Tills] => f.write_str(" --only tills"),
            [Load::Checkout] => f.write_str(" --only checkout"),
            _ => Ok(()),
        }
    }
}

/// Runs a seed.
///
/// # Errors
/// What was wrong.
pub fn run(seed: u64, loads: &[Load], listener: Option<Listener>) -> Result<Passed, Box<Failed>> {
    let sim = Sim::seed(seed);
    if let Some(listener) = listener {
        sim.world().listen(listener);
    }
    let plan = Plan::draw(seed, loads);
    // A panic of the product's code fails the run like anything else that must not be.
    let outcome =
        std::panic::catch_unwind(AssertUnwindSafe(|| sim.run(async |sim| whole(sim, seed, loads, &plan).await)));
    let outcome = outcome.unwrap_or_else(|payload| Err(words(payload.as_ref())));
    let trace = sim.world().trace_hash();
    match outcome {
        Ok(tally) => Ok(Passed { tally, trace }),
        Err(violation) => {
            // Whatever was waited for in vain: that is why.
            let violation = run::halted(sim.world()).unwrap_or(violation);
            Err(Box::new(Failed {
                loads: loads.to_vec(),
                seed,
                plan,
                violation,
                events: sim.world().milestones(),
                trace,
            }))
        }
    }
}

async fn whole(sim: &Sim, seed: u64, loads: &[Load], plan: &Plan) -> Result<Tally, String> {
    let (tills, checkout) = (loads.contains(&Load::Tills), loads.contains(&Load::Checkout));
    let capacity = (seed % 2 == 1).then_some(20);
    let shop = sim.cluster_with(
        3,
        move |mut node| {
            if tills {
                node = node.service(Till).service(Ledger);
            }
            if checkout { checkout::services(node, capacity) } else { node }
        },
        // Often, so that what starts again starts from one.
        |config| config.timing.checkpoint_interval = SECOND,
    );
    let run = Arc::new(Run::new(shop.await));
    let (known, told) = (Arc::<Tills>::default(), Arc::<Checkouts>::default());
    let mut clients = Vec::new();
    if tills {
        clients.extend((0..3).map(|number| SimTasks::spawn(known.clone().client(run.clone(), number))));
    }
    if checkout {
        checkout::seed(&run).await?;
        clients.extend((0..4).map(|number| SimTasks::spawn(told.clone().customer(run.clone(), number))));
    }
    work(&run, "before the first fault").await?;
    let began = run.sim().elapsed();
    for trouble in &plan.0 {
        sim.sleep(trouble.after).await;
        trouble::make(&run, trouble).await?;
    }
    let answered = run.answered_within(began, run.sim().elapsed());
    run.hold(answered >= ANSWERS, || format!("only {answered} commands were answered during all the faults"));
    run.shop.ready().await;
    work(&run, "after the last fault").await?;
    run.end();
    for client in clients {
        client.await.map_err(|error| format!("a client ended early: {error}"))?;
    }
    run.sim().trace("the last power cut");
    trouble::power_off(&run).await;
    run.shop.ready().await;
    known.repeat(&run).await;
    told.repeat(&run).await;
    if checkout {
        sim.sleep(checkout::DEADLINES).await;
    }
    run.shop.rest().await;
    if tills {
        known.judge(&run).await;
    }
    if checkout {
        told.judge(&run).await;
    }
    run.held()?;
    judge_worth(&run.tally(), plan)?;
    Ok(run.tally())
}

/// A while in which clients must get on.
async fn work(run: &Run, when: &str) -> Result<(), String> {
    let began = run.sim().elapsed();
    run.sim().sleep(SECOND).await;
    let answered = run.answered_within(began, run.sim().elapsed());
    run.hold(answered >= ANSWERS, || format!("only {answered} commands were answered in a second {when}"));
    run.held()
}

/// A run passes if nothing breaks, so one in which nothing happens would, too.
fn judge_worth(tally: &Tally, plan: &Plan) -> Result<(), String> {
    let deaths = [Kind::Kill, Kind::KillAtWrite, Kind::PowerCut, Kind::PowerCutOfAll, Kind::Unsynced];
    let deadly = plan.0.iter().any(|trouble| deaths.contains(&trouble.kind));
    for (expected, event) in [(deadly, Event::Interrupted), (true, Event::Repeated), (true, Event::Mismatched)] {
        if expected && tally.of(event) == 0 {
            return Err(format!("the run proves nothing: {event:?} never happened"));
        }
    }
    Ok(())
}
