//! Carries a plan out, and compares.
use super::{
    damage,
    fault::{Crash, Place, RotKind},
    marks,
    model::{Atom, Found, Model},
    plan::{Plan, Step},
    tally::Tally,
};
use bytes::Bytes;
use corduroy_log::{
    error::OpenError,
    testing::{DiskCall, DiskError, DiskImage, PlantedBug, Sim, SimConfig, SimWorld},
    topic::{ClusterId, LogId, PartitionId, Vote},
    wal::{EntryKind, PartitionLog, PeerIdentity, SupplyOptions, Wal, WalEntry, WalOptions},
    world::Halt,
};
use futures::FutureExt as _;
use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    pin::Pin,
    time::Duration,
};
use tokio::sync::oneshot;

const NODE: u64 = 1;
/// So often the driver looks whether a call was answered before it takes it for lost: over ten seconds of virtual time, since a
/// writer without space tries again twice a second.
const PATIENCE: u32 = 600;
/// The longest it waits between two looks.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, in the same words each time.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened in it.
    pub tally: Tally,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Where a promise was broken: the last events, oldest first.
    pub events: Vec<String>,
    /// Disk operations of all lives of the node.
    pub operations: u64,
    /// Most disk operations of a recovery that went through.
    pub longest_recovery: u64,
}

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

/// Why a run does not go on.
enum Stop {
    /// Damage was refused and nothing is there to go on with.
    Over,
    Violation(Violation),
}

fn broken<T>(invariant: &'static str, detail: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Violation(Violation { invariant, detail: detail.to_string() }))
}

type Answer = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A call that was not answered yet.
struct Call {
    what: &'static str,
    /// How many atoms there were after it.
    end: usize,
    answer: Answer,
}

/// What became of damage that was done.
struct Rotten {
    /// The disk before, where the node was down and nothing was changed since.
    before: Option<DiskImage>,
    /// The end of the newest segment is missing: what opens nevertheless has nothing of the damage left.
    ends_early: bool,
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
            Step::Committed { partition } => {
                let at = self.which(*partition);
                let last = self.log(at).last();
                if let Some(last) = last {
                    self.model.committed(self.ids[at], last);
                }
                self.log(at).save_committed(last);
            }
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
            Step::CrashAt { operations, crash } => {
                match crash.power {
                    true => self.sim.power_cut_at(NODE, *operations),
                    false => self.sim.kill_at(NODE, *operations),
                }
                self.then = Some(Crash { power: false, ..crash.clone() });
            }
            Step::Fail { call, nth, error, then } => {
                self.sim.fail_disk(NODE, *call, *nth, *error);
                self.then = Some(then.clone());
            }
            Step::Full { blocks } => {
                self.sim.set_disk_capacity(NODE, Some(self.sim.disk_used(NODE) + blocks * 4096));
                self.full = true;
            }
            Step::Space => self.space(),
            Step::ReadOnly => {
                self.sim.set_disk_read_only(NODE, true);
                self.vote(0);
                self.wait().await?;
                self.sim.mend_disk(NODE);
            }
            Step::Fork { votes, place } => self.fork(*votes, *place).await?,
            Step::Rot { kind, place, down } => {
                let before = match down {
                    Some(crash) => {
                        self.end(crash.power)?;
                        Some(self.sim.copy_disk(NODE))
                    }
                    None => None,
                };
                if damage::inflict(&self.sim, NODE, *kind, *place) {
                    self.tally.rot += 1;
                    let before = before.filter(|_| self.rotten.is_none());
                    let ends_early =
                        self.rotten.is_none() && down.is_some() && *kind == RotKind::Cut && place.back == 0;
                    self.rotten = Some(Rotten { before, ends_early });
                }
                if down.is_none() {
                    self.compare_each()?;
                }
                if let Some(crash) = down {
                    self.start(crash.clone()).await?;
                }
            }
        }
        Ok(())
    }

    /// See [`Step::Fork`].
    async fn fork(&mut self, votes: u8, place: Place) -> Result<(), Stop> {
        if self.rotten.is_some() {
            return Ok(());
        }
        self.reopen().await?;
        self.end(false)?;
        let (copy, model) = (self.sim.copy_disk(NODE), self.model.clone());
        let mut ways = Vec::new();
        for _ in 0..2 {
            if !ways.is_empty() {
                self.sim.restore_disk(NODE, &copy);
                self.model = model.clone();
            }
            self.start(Crash::plain(false)).await?;
            for vote in 0..usize::from(votes) {
                self.revive_if_dead().await?;
                self.vote(vote % self.ids.len());
                self.wait().await?;
            }
            self.end(false)?;
            ways.push(self.sim.copy_disk(NODE));
        }
        if damage::transplant(&self.sim, NODE, &ways[0], &ways[1], place) {
            self.tally.rot += 1;
            self.tally.forks += 1;
            self.rotten = Some(Rotten { before: ways.pop(), ends_early: false });
        }
        self.start(Crash::plain(false)).await
    }

    fn space(&mut self) {
        self.sim.set_disk_capacity(NODE, None);
        self.full = false;
    }

    // Calls.

    /// Notes a call, unless it was refused on the spot.
    fn called(&mut self, what: &'static str, atoms: Vec<Atom>, mut answer: Answer) {
        self.tally.calls += 1;
        let at_once = answer.as_mut().now_or_never();
        if let Some(Err(error)) = &at_once {
            // What had to be read for it could not be. A log that has failed is noticed when its node is looked at.
            self.say(format_args!("refused: {what}: {error}"));
            return;
        }
        let end = self.model.call(atoms);
        let answer = if at_once.is_some() { Box::pin(async { Ok(()) }) } else { answer };
        self.waiting.push_back(Call { what, end, answer });
    }

    fn append(&mut self, at: usize, sizes: &[u32]) {
        let id = self.ids[at];
        let partition = self.model.now.partition(id);
        let first = if partition.is_unbegun() && at % 2 == 1 { 7 } else { partition.next() };
        self.term += u64::from(sizes.len().is_multiple_of(3));
        let term = self.term;
        let entries: Vec<WalEntry> =
            sizes.iter().zip(first..).map(|(&size, index)| entry(id, term, index, size)).collect();
        let (sender, receiver) = oneshot::channel();
        // Nobody listens any more when the run is over.
        self.log(at).append(entries.clone(), Box::new(move |result| drop(sender.send(result))));
        let answer = async { receiver.await.unwrap_or_else(|_| Err(io::Error::other("the node died"))) };
        self.tally.entries += entries.len() as u64;
        self.called("append", entries.into_iter().map(|entry| Atom::Entry(id, entry)).collect(), Box::pin(answer));
    }

    fn truncate(&mut self, at: usize, remove: u8) {
        let id = self.ids[at];
        let partition = self.model.now.partition(id);
        let removed = u64::from(remove).min(partition.entries.len() as u64);
        let first_removed = partition.next() - removed;
        let answer = self.log(at).truncate_after(first_removed.checked_sub(1));
        self.tally.truncations += u64::from(removed > 0);
        let atoms = if removed > 0 { vec![Atom::Truncate(id, first_removed)] } else { Vec::new() };
        self.called("truncate", atoms, Box::pin(answer));
    }

    fn purge(&mut self, at: usize, forget: u8) {
        let id = self.ids[at];
        let partition = self.model.now.partition(id);
        let upto = match usize::from(forget).checked_sub(1) {
            Some(forget) => partition.entries.get(forget).map(|(entry, _)| entry.id),
            // Once more what was purged before.
            None => partition.purged,
        };
        let Some(upto) = upto else { return };
        let anew = partition.purged != Some(upto);
        let answer = self.log(at).purge(upto);
        self.tally.purges += u64::from(anew);
        self.called("purge", if anew { vec![Atom::Purge(id, upto)] } else { Vec::new() }, Box::pin(answer));
    }

    fn install(&mut self, at: usize, ahead: u8) {
        let id = self.ids[at];
        self.term += 1;
        let upto = LogId { term: self.term, index: self.model.now.partition(id).next() + u64::from(ahead) };
        let hash = [self.term as u8; 16];
        let answer = self.log(at).install(upto, hash);
        self.tally.purges += 1;
        self.called("install", vec![Atom::Install(id, upto, hash)], Box::pin(answer));
    }

    fn vote(&mut self, at: usize) {
        self.term += 1;
        let vote = Vote { term: self.term, node: 1 + self.term % 3, committed: self.term.is_multiple_of(2) };
        let answer = self.log(at).save_vote(vote);
        self.tally.votes += 1;
        self.called("vote", vec![Atom::Vote(self.ids[at], vote)], Box::pin(answer));
    }

    fn peer(&mut self, node: u8) {
        self.term += 1;
        let peer = PeerIdentity {
            node: node.into(),
            incarnation: [node; 16],
            boot_epoch: self.term,
            confirmed: self.term * 10,
        };
        let answer = self.wal.as_ref().expect("a node that is alive has a log").save_peer(peer);
        self.called("peer", vec![Atom::Peer(peer)], Box::pin(answer));
    }

    // Looking.

    /// Takes the answers there are, and compares what can be seen at once. Not for a node that was just found dead.
    fn observe(&mut self) -> Result<(), Stop> {
        let mut unanswered = None;
        let mut still = VecDeque::new();
        for mut call in std::mem::take(&mut self.waiting) {
            match call.answer.as_mut().now_or_never() {
                None => {
                    unanswered.get_or_insert(call.what);
                    still.push_back(call);
                }
                Some(Ok(())) if self.failed => return broken("nothing is acknowledged after a failure", call.what),
                Some(Ok(())) => {
                    if let Some(before) = unanswered {
                        return broken(
                            "acknowledgements come in the order of the calls",
                            format_args!("{} was answered before an earlier {before}", call.what),
                        );
                    }
                    self.tally.acknowledged += 1;
                    self.model.acknowledged(call.end);
                }
                Some(Err(_)) => self.failed = true,
            }
        }
        self.waiting = still;
        if !self.sim.is_alive(NODE) || self.failed {
            return Ok(());
        }
        self.compare_now()
    }

    /// What a running WAL shows: entries at once, votes and peers when they are durable.
    fn compare_now(&mut self) -> Result<(), Stop> {
        let Some(wal) = self.wal.clone() else { return Ok(()) };
        let found = self.found(&wal);
        self.model.seen(&found);
        let stats = wal.stats();
        self.model.durable_sequence(stats.durable_sequence);
        if stats.segment != self.segment {
            self.tally.rotations += 1;
            self.segment = stats.segment;
        }
        for (id, found) in found.partitions {
            let expected = self.model.now.partition(id).summary();
            if (found.purged, found.last, found.hash) != (expected.purged, expected.last, expected.hash) {
                return broken(
                    "what was asked for is visible at once",
                    format_args!("{id}: {found:?}, not {expected:?}"),
                );
            }
        }
        Ok(())
    }

    fn found(&self, wal: &Wal<SimWorld>) -> Found {
        let summary = |id: PartitionId| {
            let log = wal.partition(id);
            let summary = super::model::Summary {
                vote: log.vote(),
                purged: log.purged(),
                last: log.last(),
                hash: log.log_hash(),
            };
            (id, summary)
        };
        Found {
            partitions: wal.partitions().into_iter().map(summary).collect(),
            peers: wal.peers().into_iter().map(|peer| (peer.node, peer)).collect(),
        }
    }

    fn read(&mut self, at: usize, back: u8, count: u8) -> Result<(), Stop> {
        let partition = self.model.now.partition(self.ids[at]);
        let start = partition.next().saturating_sub(back.into());
        let range = start..start + u64::from(count);
        self.compare(at, range, 1 + u64::from(count) * 100, self.rotten.is_some())
    }

    fn read_badly(&mut self, at: usize) -> Result<(), Stop> {
        let partition = self.model.now.partition(self.ids[at]);
        let range = partition.first()..partition.next();
        let before = self.tally.rot_reads;
        self.compare(at, range, u64::MAX, true)?;
        self.tally.read_errors += self.tally.rot_reads - before;
        self.tally.rot_reads = before;
        self.sim.read_stale(NODE, 0);
        self.sim.spare_disk(NODE, DiskCall::Read);
        self.sim.spare_disk(NODE, DiskCall::Open);
        self.failures = self.sim.disk_failures(NODE).len();
        Ok(())
    }

    /// Reads and compares. `bad`: an error is as good as the right bytes.
    fn compare(&mut self, at: usize, range: Range<u64>, bytes: u64, bad: bool) -> Result<(), Stop> {
        let id = self.ids[at];
        let read = match self.log(at).entries(range.clone(), bytes) {
            Ok(read) => read,
            Err(_) if bad => {
                self.tally.rot_reads += 1;
                return Ok(());
            }
            Err(error) => return broken("what was appended can be read", format_args!("{id} {range:?}: {error}")),
        };
        let partition = self.model.now.partition(id);
        let mut expected = range.start.max(partition.first())..range.end.min(partition.next());
        for entry in &read {
            let index = expected.next();
            if index.and_then(|index| partition.get(index)) != Some(entry) {
                return broken(
                    "a read gives what was appended",
                    format_args!("{id} {range:?}: {:?} with {} bytes at {index:?}", entry.id, entry.payload.len()),
                );
            }
        }
        if !expected.is_empty() && (bytes == u64::MAX || read.is_empty()) {
            return broken("a read gives what was appended", format_args!("{id} {range:?}: {expected:?} is missing"));
        }
        self.tally.reads += read.len() as u64;
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

    /// A disk that failed is not written to again.
    fn halts_after_a_failure(&self) -> Result<(), Stop> {
        let deadly = |(call, error): &(DiskCall, DiskError)| {
            let write = matches!(call, DiskCall::Write | DiskCall::SyncData | DiskCall::SyncDir | DiskCall::SyncAll);
            write && *error != DiskError::Full
        };
        let failed = self.sim.disk_failures(NODE)[self.failures..].iter().find(|failure| deadly(failure)).copied();
        match failed {
            Some(failure) if self.sim.is_alive(NODE) => {
                broken("a node whose disk failed halts", format_args!("{failure:?}"))
            }
            _ => Ok(()),
        }
    }

    // Ends and starts.

    async fn reopen(&mut self) -> Result<(), Stop> {
        let wal = self.wal.take().expect("a node that is alive has a log");
        let mut closed = Box::pin(wal.close());
        let mut look = 0;
        while closed.as_mut().now_or_never().is_none() && self.sim.is_alive(NODE) {
            self.let_pass(look).await;
            look += 1;
            if look == PATIENCE && self.full {
                self.space();
                look = 0;
            }
            if look == PATIENCE {
                return broken("a close ends", "it does not");
            }
        }
        self.observe()?;
        if !self.sim.is_alive(NODE) {
            return self.revive_if_dead().await;
        }
        if let Some(call) = self.waiting.front() {
            return broken("a close answers every call", call.what);
        }
        self.tally.reopenings += 1;
        drop(wal);
        // Not a crash: the process goes on, or another one comes, and the disk keeps what it has.
        self.sim.kill(NODE);
        // A writer that waits for space gives up when it is closed, and says so.
        let kept = !std::mem::take(&mut self.failed);
        self.recover(Crash::plain(false), kept).await
    }

    /// The node dies now.
    async fn die(&mut self, crash: Crash) -> Result<(), Stop> {
        self.end(crash.power)?;
        self.start(crash).await
    }

    fn end(&mut self, power: bool) -> Result<(), Stop> {
        self.observe()?;
        match power {
            true => self.sim.power_cut(NODE),
            false => self.sim.kill(NODE),
        }
        self.count_death(power);
        self.bury()
    }

    fn count_death(&mut self, power: bool) {
        self.tally.power_cuts += u64::from(power);
        self.tally.kills += u64::from(!power);
    }

    async fn revive_if_dead(&mut self) -> Result<(), Stop> {
        if self.sim.is_alive(NODE) {
            return Ok(());
        }
        self.observe()?;
        if let Some(halt) = self.sim.halted(NODE) {
            let failed = self.sim.disk_failures(NODE).len() > self.failures;
            if !matches!(halt, Halt::DiskFailed(_)) || !failed {
                return broken("a node halts for a reason", halt);
            }
            self.tally.halts += 1;
        }
        let crash = self.then.take().unwrap_or(Crash::plain(false));
        if crash.power {
            self.sim.power_cut(NODE);
        }
        self.count_death(crash.power);
        self.sim.mend_disk(NODE);
        self.bury()?;
        self.start(crash).await
    }

    /// Nothing of the old process is left.
    fn bury(&mut self) -> Result<(), Stop> {
        self.wal = None;
        self.waiting.clear();
        self.failed = false;
        let failures = self.sim.disk_failures(NODE);
        self.tally.full +=
            failures[self.failures..].iter().filter(|(_, error)| *error == DiskError::Full).count() as u64;
        self.failures = failures.len();
        Ok(())
    }

    async fn start(&mut self, crash: Crash) -> Result<(), Stop> {
        self.recover(crash, false).await
    }

    async fn recover(&mut self, crash: Crash, closed: bool) -> Result<(), Stop> {
        let mut nested = crash.nested.into_iter();
        let mut failing = crash.failing;
        loop {
            self.sim.restart(NODE);
            let armed = nested.next();
            match armed {
                Some((operations, true)) => self.sim.power_cut_at(NODE, operations),
                Some((operations, false)) => self.sim.kill_at(NODE, operations),
                None => {
                    if let Some((call, nth, error)) = failing.take() {
                        self.sim.fail_disk(NODE, call, nth, error);
                    }
                }
            }
            let before = self.sim.copy_disk(NODE);
            let began = self.sim.disk_operations(NODE);
            let (disk, options) = (self.sim.env(NODE).disk, self.options.clone());
            let opened = self.sim.spawn_on(NODE, async move { Wal::<SimWorld>::open(&disk, options) }).await;
            let Some(opened) = opened.ok().filter(|_| self.sim.is_alive(NODE)) else {
                self.tally.nested += 1;
                self.say(format_args!("died in the recovery"));
                if let Some(then) = self.then.take() {
                    nested = then.nested.into_iter();
                }
                continue;
            };
            match opened {
                Ok(wal) => {
                    let operations = self.sim.disk_operations(NODE) - began;
                    self.longest_recovery = self.longest_recovery.max(operations);
                    self.sim.mend_disk(NODE);
                    self.failures = self.sim.disk_failures(NODE).len();
                    return self.accept(wal, &before, closed && armed.is_none());
                }
                Err(error) => self.refused(&error, &before, crash.power)?,
            }
        }
    }

    /// An opening that was refused: whether for a reason, and how to go on.
    fn refused(&mut self, error: &OpenError, before: &DiskImage, power: bool) -> Result<(), Stop> {
        self.say(format_args!("refused to open: {error}"));
        let failed = self.sim.disk_failures(NODE).len() > self.failures;
        self.failures = self.sim.disk_failures(NODE).len();
        let called_so = matches!(error, OpenError::Halt(Halt::DiskFailed(_)) | OpenError::Io { .. });
        if failed && !called_so && self.rotten.is_none() {
            return broken("a disk that fails is called so", error);
        }
        if failed && called_so {
            self.sim.mend_disk(NODE);
            self.tally.failed_recoveries += 1;
            if self.full {
                self.space();
            }
            match power {
                true => self.sim.power_cut(NODE),
                false => self.sim.kill(NODE),
            }
            return Ok(());
        }
        let Some(rotten) = self.rotten.take() else { return broken("what was written opens again", error) };
        if !matches!(error, OpenError::Halt(Halt::Corrupt(_) | Halt::DataLoss(_))) {
            return broken("damage is called so", error);
        }
        let after = self.sim.copy_disk(NODE);
        if *before != after {
            return broken("damage that is refused is left as it is", error);
        }
        self.tally.rot_refused += 1;
        self.sim.kill(NODE);
        let Some(before) = rotten.before else { return Err(Stop::Over) };
        self.sim.restore_disk(NODE, &before);
        Ok(())
    }

    /// What a recovery found: is it a prefix of what was asked for, with everything that was acknowledged?
    fn accept(&mut self, wal: Wal<SimWorld>, before: &DiskImage, closed: bool) -> Result<(), Stop> {
        let found = self.found(&wal);
        let closed = closed && self.rotten.is_none();
        let mut lowest = self.model.floor();
        if self.rotten.is_some() {
            lowest = lowest.min(self.model.floor_at(marks::highest(before).sequence));
            self.tally.rot_opened += 1;
        }
        let Some(recovered) = self.model.recover(&found, lowest) else {
            return broken(
                "a recovery finds what was acknowledged and a prefix of the rest",
                format_args!("{found:?} is after no prefix of at least {lowest} frames"),
            );
        };
        if closed && recovered.lost {
            return broken("a close keeps every call", format_args!("{found:?}"));
        }
        let (sequence, highest) = (wal.stats().durable_sequence, self.model.highest_sequence());
        if sequence < highest && self.rotten.is_some() {
            self.model.forget_sequences_after(sequence);
        } else if sequence < highest {
            return broken("sequence numbers do not go back", format_args!("{sequence} after {highest}"));
        }
        for at in 0..self.ids.len() {
            let id = self.ids[at];
            let committed = wal.partition(id).committed();
            if !self.model.finds_committed(id, committed, closed, self.rotten.is_some()) {
                return broken("a committed mark is one that was given", format_args!("{id}: {committed:?}"));
            }
        }
        self.tally.recoveries += 1;
        self.tally.kept += u64::from(recovered.kept);
        self.tally.lost += u64::from(recovered.lost);
        self.tally.halves += u64::from(recovered.half);
        self.tally.rot_unmarked += u64::from(recovered.unmarked);
        self.segment = wal.stats().segment;
        self.wal = Some(wal);
        self.say(format_args!("opened: {recovered:?}"));
        if let Some(rotten) = &mut self.rotten {
            // What follows is not in the copy.
            rotten.before = None;
            let over = rotten.ends_early;
            self.compare_each()?;
            if !over {
                return Ok(());
            }
            self.rotten = None;
        }
        (0..self.ids.len()).try_for_each(|at| self.compare(at, 0..u64::MAX, u64::MAX, false))
    }

    /// Entry by entry: each is right, or an error.
    fn compare_each(&mut self) -> Result<(), Stop> {
        for at in 0..self.ids.len() {
            let partition = self.model.now.partition(self.ids[at]);
            for index in partition.first()..partition.next() {
                self.compare(at, index..index + 1, u64::MAX, true)?;
            }
        }
        Ok(())
    }
}

/// An entry that says who it is, in as many bytes as asked for.
fn entry(id: PartitionId, term: u64, index: u64, size: u32) -> WalEntry {
    let mark = format!("{id}: entry {index} of term {term}; ");
    let payload: Vec<u8> = mark.bytes().cycle().take(size as usize).collect();
    let kind = match (size, index % 5) {
        (0, _) => EntryKind::Blank,
        (_, 0) => EntryKind::Membership,
        _ => EntryKind::Batch,
    };
    WalEntry { id: LogId { term, index }, kind, crc: crc32c::crc32c(&payload), payload: Bytes::from(payload) }
}
