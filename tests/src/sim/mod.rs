//! The cluster simulator: one seed is one run of a whole cluster, with clients and faults, judged from every side.
//!
//! ```text
//!   seed ─▶ Settings: sizes, times, kinds of faults          (swarm: each run has some of everything, not all of it)
//!        ─▶ Plan: faults and operations, with their times    (a list: any part can be left out)
//!             │
//!             ▼
//!   safety ──────────────▶ liveness ────────────▶ settle ─────────▶ verdict
//!   clients work,          a majority is healed   everybody heals,  log checker over all acks, reads and logs;
//!   faults happen          and must serve         one more cut      was the run worth anything?
//!        └──── Watch: consensus invariants, in memory and on disk ────┘
//! ```
//!
//! Everything runs in `corduroy_log::testing`: real openraft, WAL and partitions; simulated disks, network, clocks.
//! `docs/simulation.md` says how to run, replay and shrink, and what is not modelled.
//!
//! **Invariant**: a run is a function of its settings, its plan and the code.

pub(crate) mod draw;
mod kind;
mod settings;

mod plan;

mod run;

mod clients;
mod producers;
mod topics;

mod damage;
mod encounter;
mod faults;
mod nodes;

mod durable;
mod watch;

mod lookups;
mod phases;
mod verdict;

mod tally;
mod violation;

mod shrink;

#[cfg(test)]
mod tests;

pub use kind::Kind;
pub use plan::{Fault, Operation, Outside, Plan, Victim, What};
pub use settings::{Bug, Settings};
pub use shrink::shrink;
pub use tally::{Event, Fate, MANY, Tally};
pub use violation::{Invariant, Violation};

use corduroy_log::{
    NewTopic,
    testing::{Sim, SimCluster},
};
use run::{Run, TOPIC};
use std::{any::Any, fmt, panic::AssertUnwindSafe};
use watch::Watch;

/// A run that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What happened, in numbers.
    pub tally: Tally,
    /// [`Sim::trace_hash`].
    pub trace: u64,
}

/// A run that did not.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed.
    pub settings: Settings,
    /// What was done.
    pub plan: Plan,
    /// The first thing that was wrong.
    pub violation: Violation,
    /// What happened last, oldest first.
    pub events: Vec<String>,
    /// [`Sim::trace_hash`].
    pub trace: u64,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed: {}", self.settings.seed, self.violation)?;
        writeln!(f, "{}\n{}", self.settings, self.plan)?;
        for event in &self.events {
            writeln!(f, "    {event}")?;
        }
        let seed = self.settings.seed;
        writeln!(f, "what happened: {}", self.violation)?;
        writeln!(f, "replay: cargo run -p tests --bin sim -- --seed {seed} --trace")?;
        write!(f, "shrink: cargo run -p tests --bin sim -- --seed {seed} --shrink")
    }
}

/// Runs the seed's own plan, in a world with a planted bug where one is given.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Passed, Box<Failed>> {
    let settings = Settings { bug, ..Settings::draw(seed) };
    let plan = Plan::draw(&settings);
    run_plan(&settings, &plan, None)
}

/// Takes every event of a run in words, as it happens.
pub type Listener = Box<dyn FnMut(&str) + Send>;

/// Whether an event is one of those of which there are thousands.
pub fn is_detail(event: &str) -> bool {
    event.contains(" packet ") || event.contains(" synced ")
}

/// Runs a plan.
pub fn run_plan(settings: &Settings, plan: &Plan, listener: Option<Listener>) -> Result<Passed, Box<Failed>> {
    let sim = Sim::with_config(settings.seed, settings.world.clone());
    if let Some(listener) = listener {
        sim.listen(listener);
    }
    // A panic of the product's code fails the run like anything else that must not be.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| sim.run(whole(&sim, settings, plan))));
    let outcome = outcome.unwrap_or_else(|payload| Err(Violation::new(Invariant::NoPanic, words(payload.as_ref()))));
    let trace = sim.trace_hash();
    match outcome {
        Ok(tally) => Ok(Passed { tally, trace }),
        Err(violation) => {
            let (settings, plan) = (settings.clone(), plan.clone());
            Err(Box::new(Failed { settings, plan, violation, events: sim.milestones(), trace }))
        }
    }
}

async fn whole(sim: &Sim, settings: &Settings, plan: &Plan) -> Result<Tally, Violation> {
    if let Some(bug) = settings.bug {
        (1..=settings.nodes).for_each(|node| sim.plant_disk_bug(node, Some(bug.planted())));
    }
    let own = settings.clone();
    let cluster = SimCluster::with_config(sim, settings.nodes, move |config| own.apply(config));
    cluster.start().await;
    let new = NewTopic {
        replication: Some(settings.replication),
        key_index: settings.key_index,
        ..NewTopic::new(TOPIC, settings.partitions)
    };
    let created = cluster.create_topic(new).await;
    created.map_err(|error| Violation::new(Invariant::Start, format_args!("the topic is not created: {error}")))?;
    cluster.ready().await;
    sim.trace("ready");
    let run = Run::new(settings.clone(), cluster);
    let mut watch = Watch::new(&run);
    phases::safety(&run, plan, &mut watch).await?;
    phases::liveness(&run, plan, &mut watch).await?;
    phases::settle(&run, &mut watch).await?;
    lookups::compare(&run).await?;
    let logs = verdict::dump(&run).await?;
    verdict::judge(&run, logs, &watch, plan)
}

pub(crate) fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
