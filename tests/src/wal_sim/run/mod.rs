//! Carries a plan out, and compares.
//!
//! ```text
//!   steps ─▶ Run ─┬─ calls ──────▶ the WAL, and the model
//!                 ├─ faults ─────▶ the disk, while the node runs and while it is down
//!                 ├─ lifecycle ──▶ ends and starts ──▶ recovery: what an opening finds, or why it is refused
//!                 └─ checks ─────▶ answers and reads
//! ```
//!
//! **Invariant**: after every step everything that can be seen is compared; the first promise that is broken ends the run.

mod outcome;

mod calls;

mod faults;

mod lifecycle;

mod recovery;

mod checks;

pub use outcome::{Outcome, Violation};

use self::{
    calls::Call,
    faults::{Hurt, Rotten},
    outcome::{Stop, broken},
};
use super::{
    fault::Crash,
    model::Model,
    plan::{Plan, Step},
    tally::Tally,
};
use corduroy_log::{
    testing::{DiskCall, DiskError, DiskImage, PlantedBug, Sim, SimConfig, SimWorld},
    topic::{ClusterId, PartitionId},
    wal::{PartitionLog, SupplyOptions, Wal, WalOptions},
};
use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::Duration,
};

const NODE: u64 = 1;
/// So often the driver looks whether a call was answered before it takes it for lost: over ten seconds of virtual time, since a
/// writer without space tries again twice a second.
const PATIENCE: u32 = 600;
/// The longest it waits between two looks.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// Carries out a plan, with a bug planted in the disk or without.
pub fn run(plan: &Plan, bug: Option<PlantedBug>) -> Outcome {
    run_traced(plan, bug, |_| ())
}

/// As [`run`]; `tell` hears of every step.
pub fn run_traced(plan: &Plan, bug: Option<PlantedBug>, tell: impl FnMut(&str)) -> Outcome {
    let shortest = Duration::from_micros(10);
    let config = SimConfig {
        sync_delay: shortest..=shortest.max(Duration::from_micros(plan.config.sync_micros)),
        ..SimConfig::default()
    };
    let sim = Sim::with_config(plan.seed, config);
    let (mut tally, mut longest_recovery) = (Tally::default(), 0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        sim.run(async {
            sim.set_sector_size(NODE, plan.config.sector);
            sim.plant_disk_bug(NODE, bug);
            let mut run = Run::new(plan, sim.clone(), tell);
            let result = run.all(&plan.steps).await;
            (tally, longest_recovery) = (run.tally.clone(), run.longest_recovery);
            // The tasks of a node that is alive would go on in the next call.
            sim.kill(NODE);
            result
        })
    }));
    let violation = match result {
        Ok(Ok(()) | Err(Stop::Over)) => None,
        Ok(Err(Stop::Violation(violation))) => Some(violation),
        Err(payload) => Some(Violation { invariant: "nothing panics", detail: message(payload.as_ref()) }),
    };
    tally.runs = 1;
    let events = if violation.is_some() { sim.recent_events() } else { Vec::new() };
    Outcome {
        tally,
        trace_hash: sim.trace_hash(),
        violation,
        events,
        operations: sim.disk_operations(NODE),
        longest_recovery,
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

struct Run<T> {
    options: WalOptions,
    ids: Vec<PartitionId>,
    step_micros: u64,
    sim: Sim,
    tell: T,
    tally: Tally,
    model: Model,
    wal: Option<Wal<SimWorld>>,
    waiting: VecDeque<Call>,
    /// A call was answered with an error.
    failed: bool,
    /// Disk failures that were accounted for.
    failures: usize,
    segment: u64,
    /// How the next start goes, when the node dies of an order given before.
    then: Option<Crash>,
    full: bool,
    rotten: Option<Rotten>,
    hurt: Option<Hurt>,
    /// The disk before the last start.
    older: Option<DiskImage>,
    /// Starts, those among them that came to nothing.
    starts: u8,
    /// Terms of votes and entries only grow.
    term: u64,
    longest_recovery: u64,
}

impl<T: FnMut(&str)> Run<T> {
    fn new(plan: &Plan, sim: Sim, tell: T) -> Self {
        let config = &plan.config;
        let id = |at: u8| match config.spread {
            true => PartitionId::new(u32::from(at % 3) * 1000, u32::from(at) * 7),
            false => PartitionId::new(1, at.into()),
        };
        Run {
            options: WalOptions {
                dir: PathBuf::from("/data"),
                cluster: ClusterId(*b"the simulation's"),
                node: NODE,
                segment_bytes: config.segment_bytes,
                commit_bytes: config.commit_bytes,
                hot_tail_bytes: config.hot_tail_bytes,
                // Two of the partitions, and a few tables: so that both bounds are met in every run.
                hot_tail_total_bytes: 2 * config.hot_tail_bytes,
                index_cache_bytes: 512,
                supply: config.supply.map(|blocks| SupplyOptions { reserve_bytes: blocks * 4096, min_free_percent: 5 }),
            },
            ids: (0..config.partitions).map(id).collect(),
            step_micros: (config.sync_micros / 4).max(10),
            sim,
            tell,
            tally: Tally::default(),
            model: Model::default(),
            wal: None,
            waiting: VecDeque::new(),
            failed: false,
            failures: 0,
            segment: 0,
            then: None,
            full: false,
            rotten: None,
            hurt: None,
            older: None,
            starts: 0,
            term: 0,
            longest_recovery: 0,
        }
    }

    async fn all(&mut self, steps: &[Step]) -> Result<(), Stop> {
        // The first start is a place to die at, too.
        let ordered = usize::from(matches!(steps.first(), Some(Step::CrashAt { .. })));
        let (ordered, steps) = steps.split_at(ordered);
        for step in ordered {
            self.step(step).await?;
        }
        self.start(Crash::plain(false)).await?;
        for (at, step) in steps.iter().enumerate() {
            self.say(format_args!("step {at}: {step:?}"));
            self.revive_if_dead().await?;
            self.step(step).await?;
            self.observe()?;
        }
        self.finish().await
    }

    /// Without further faults: everything is answered, survives, and the WAL can be used.
    async fn finish(&mut self) -> Result<(), Stop> {
        self.say(format_args!("the end: no more faults"));
        self.sim.mend_disk(NODE);
        self.sim.set_disk_capacity(NODE, None);
        self.full = false;
        self.revive_if_dead().await?;
        self.wait().await?;
        self.die(Crash::plain(true)).await?;
        for partition in 0..self.ids.len() {
            self.revive_if_dead().await?;
            self.append(partition, &[100]);
            self.wait().await?;
        }
        self.revive_if_dead().await?;
        self.reopen().await?;
        self.revive_if_dead().await
    }

    fn say(&mut self, what: fmt::Arguments<'_>) {
        let what = what.to_string();
        (self.tell)(&what);
        self.sim.trace(&what);
    }

    fn which(&self, partition: u8) -> usize {
        usize::from(partition) % self.ids.len()
    }

    fn log(&self, at: usize) -> PartitionLog<SimWorld> {
        self.wal.as_ref().expect("a node that is alive has a log").partition(self.ids[at])
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Append { partition, sizes } => self.append(self.which(*partition), sizes),
            Step::Truncate { partition, remove } => self.truncate(self.which(*partition), *remove),
            Step::Purge { partition, forget } => self.purge(self.which(*partition), *forget),
            Step::Install { partition, ahead } => self.install(self.which(*partition), *ahead),
            Step::Vote { partition } => self.vote(self.which(*partition)),
            Step::Committed { partition } => self.committed(self.which(*partition)),
            Step::Peer { node } => self.peer(*node),
            Step::Read { partition, back, count } => self.read(self.which(*partition), *back, *count)?,
            Step::ReadStale { partition } => {
                self.sim.read_stale(NODE, 1);
                self.read_badly(self.which(*partition))?;
            }
            Step::ReadFailing { partition } => {
                let call = if partition.is_multiple_of(2) { DiskCall::Read } else { DiskCall::Open };
                self.sim.fail_disk(NODE, call, 1, DiskError::Io);
                self.read_badly(self.which(*partition))?;
            }
            Step::Wait => self.wait().await?,
            Step::Pause { micros } => self.sim.sleep(Duration::from_micros(*micros)).await,
            Step::Reopen => self.reopen().await?,
            Step::Crash(crash) => self.die(crash.clone()).await?,
            Step::CrashAt { operations, crash } => self.crash_at(*operations, crash),
            Step::Fail { call, nth, error, then } => self.fail(*call, *nth, *error, then),
            Step::Full { blocks } => self.full(*blocks),
            Step::Space => self.space(),
            Step::ReadOnly => self.read_only().await?,
            Step::Fork { votes, place } => self.fork(*votes, *place).await?,
            Step::Rot { kind, place, down } => self.rot(*kind, *place, down.as_ref()).await?,
            Step::RotCopies { kept, kind, which, noise, down } => {
                self.rot_copies((*kept, *kind), *which, *noise, down).await?;
            }
        }
        Ok(())
    }

    /// Until everything is answered, or the node is dead.
    async fn wait(&mut self) -> Result<(), Stop> {
        for look in 0..PATIENCE {
            self.observe()?;
            if self.waiting.is_empty() || !self.sim.is_alive(NODE) {
                return self.halts_after_a_failure();
            }
            self.let_pass(look).await;
        }
        if self.full {
            self.tally.full += 1;
            return Ok(());
        }
        broken("every call is answered", self.waiting.front().map_or("", |call| call.what))
    }

    /// A part of a sync at first, then more and more.
    async fn let_pass(&self, look: u32) {
        let wait = Duration::from_micros(self.step_micros) * (1 + look * look / 16);
        self.sim.sleep(wait.min(LONGEST_WAIT)).await;
    }
}
