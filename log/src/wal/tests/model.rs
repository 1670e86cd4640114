//! Arbitrary scripts against a model that is a plain vector: with crashes, on a disk that fills, in segments that hold a few
//! entries, and with next to no memory.
use super::*;
use crate::{
    testing::{DiskError, Sim},
    topic::PartitionId,
    wal::{WalOptions, supply::LOOK},
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{cell::RefCell, fmt, future::Future, io, pin::Pin, time::Duration};

const PARTITIONS: u8 = 3;

#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: u8,
        count: u64,
        bytes: usize,
    },
    Vote {
        partition: u8,
    },
    Committed {
        partition: u8,
    },
    Truncate {
        partition: u8,
        keep: u64,
    },
    Purge {
        partition: u8,
        upto: u64,
    },
    /// A snapshot so far beyond the end.
    Install {
        partition: u8,
        ahead: u64,
    },
    /// Leaves so many blocks of 4096 bytes, until somebody waits for an answer.
    Fill {
        blocks: u64,
    },
    /// Lets the writer come so far.
    Pause {
        micros: u64,
    },
    /// Waits until everything so far is durable.
    Settle,
    Close,
    Kill,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        8 => (partition.clone(), 0..6_u64, 0..3000_usize).prop_map(|(partition, count, bytes)| Step::Append { partition, count, bytes }),
        4 => (partition.clone(), 0..40_u64).prop_map(|(partition, count)| Step::Append { partition, count, bytes: 10 }),
        2 => partition.clone().prop_map(|partition| Step::Vote { partition }),
        2 => partition.clone().prop_map(|partition| Step::Committed { partition }),
        3 => (partition.clone(), 0..30_u64).prop_map(|(partition, keep)| Step::Truncate { partition, keep }),
        2 => (partition.clone(), 0..12_u64).prop_map(|(partition, upto)| Step::Purge { partition, upto }),
        1 => (partition, 0..5_u64).prop_map(|(partition, ahead)| Step::Install { partition, ahead }),
        2 => (0..8_u64).prop_map(|blocks| Step::Fill { blocks }),
        3 => (0..2000_u64).prop_map(|micros| Step::Pause { micros }),
        4 => Just(Step::Settle),
        2 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
    ]
}

fn sizes() -> impl Strategy<Value = WalOptions> {
    let segment = prop_oneof![Just(8 << 10), Just(12 << 10), Just(32 << 10)];
    let hot = prop_oneof![Just(0), Just(1 << 10), Just(8 << 10)];
    let tables = prop_oneof![Just(0), Just(100), Just(1 << 10)];
    (segment, hot, tables, any::<bool>()).prop_map(|(segment_bytes, hot_tail_bytes, index_cache_bytes, supply)| {
        let supply = supply.then(|| supplied().supply).flatten();
        let hot_tail_total_bytes = 2 * hot_tail_bytes;
        WalOptions { segment_bytes, hot_tail_bytes, hot_tail_total_bytes, index_cache_bytes, supply, ..options() }
    })
}

/// One partition as it should be.
#[derive(Clone, Default, PartialEq, Eq)]
struct Model {
    first: u64,
    entries: Vec<WalEntry>,
    vote: Option<Vote>,
}

/// Without the payloads.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.entries.iter().map(|entry| format!("{}", entry.id)).collect::<Vec<_>>().join(" ");
        write!(f, "from {} on [{ids}] {:?}", self.first, self.vote)
    }
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn of(view: &View) -> Model {
        Model { first: view.purged.map_or(0, |id| id.index + 1), entries: view.entries.clone(), vote: view.vote }
    }
}

/// What happened in all scripts, since scripts in which nothing did would prove nothing.
#[derive(Clone, Debug, Default)]
struct Seen {
    rotations: u64,
    /// Starts that found less than was asked for.
    lost: u64,
    /// Waits that found the disk full.
    full: u64,
    /// Closes that did, and gave up what was left.
    given_up: u64,
    /// Most tables in memory at a time.
    tables: usize,
    /// Entries that are read from disk although the segment they are in is being written.
    cooled: u64,
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

struct Run<'a> {
    sim: Sim,
    options: WalOptions,
    wal: Option<TestWal>,
    /// Of each partition: its state after every call; the last is the present one.
    history: [Vec<Model>; PARTITIONS as usize],
    /// Of each partition: the newest state known durable.
    durable: [usize; PARTITIONS as usize],
    waiting: Vec<(usize, usize, Waiting)>,
    full: bool,
    clock: u64,
    segment: u64,
    seen: &'a RefCell<Seen>,
}

impl Run<'_> {
    async fn open(&mut self) {
        let (node, options) = (self.sim.clone(), self.options.clone());
        let wal = self.sim.spawn_on(1, async move { open_with(&node, options).unwrap() }).await.unwrap();
        for p in 0..self.history.len() {
            let found = Model::of(&view(&wal.partition(id(p))));
            let from = self.durable[p];
            let at = self.history[p][from..].iter().rposition(|state| *state == found);
            let at = at.unwrap_or_else(|| {
                panic!("partition {p}: found {found:?}\nexpected one of {:?}", &self.history[p][from..])
            });
            self.seen.borrow_mut().lost += u64::from(from + at + 1 < self.history[p].len());
            self.history[p].truncate(from + at + 1);
            self.durable[p] = from + at;
        }
        self.segment = wal.stats().segment;
        self.wal = Some(wal);
    }

    /// Takes the answers. Of a log that was closed on a full disk, what follows the first that failed in its partition has
    /// failed, too.
    async fn answers(&mut self, closed: bool) {
        let mut failed = [false; PARTITIONS as usize];
        for (partition, state, done) in std::mem::take(&mut self.waiting) {
            match done.await {
                Ok(()) => {
                    assert!(!failed[partition], "acknowledged behind what failed");
                    self.durable[partition] = self.durable[partition].max(state);
                }
                Err(error) => {
                    assert!(closed && self.full, "{error}");
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                    failed[partition] = true;
                }
            }
        }
        self.seen.borrow_mut().given_up += u64::from(failed.contains(&true));
    }

    async fn settle(&mut self) {
        if self.full {
            self.sim.sleep(3 * LOOK).await;
            let full = self.sim.disk_failures(1).iter().any(|(_, error)| *error == DiskError::Full);
            self.seen.borrow_mut().full += u64::from(full);
            self.sim.set_disk_capacity(1, None);
            self.full = false;
        }
        self.answers(false).await;
        self.is_within_its_memory();
    }

    /// With everything on disk, memory holds what the options say.
    fn is_within_its_memory(&self) {
        let shared = &self.wal.as_ref().unwrap().inner.shared;
        let hot: Vec<u64> = shared.partitions().values().map(|core| core.lock().hot_bytes()).collect();
        let WalOptions { hot_tail_bytes, hot_tail_total_bytes, index_cache_bytes, .. } = self.options;
        assert!(hot.iter().all(|&bytes| bytes <= hot_tail_bytes), "{hot:?} in {:?}", self.options);
        assert!(hot.iter().sum::<u64>() <= hot_tail_total_bytes, "{hot:?} in {:?}", self.options);
        let (bytes, tables) = shared.tables.loaded();
        assert!(bytes <= index_cache_bytes || tables == 1, "{tables} tables of {bytes} bytes in {:?}", self.options);
        let mut seen = self.seen.borrow_mut();
        seen.tables = seen.tables.max(tables);
        let all: usize = self.history.iter().map(|states| states.last().unwrap().entries.len()).sum();
        seen.cooled += u64::from(hot.iter().all(|&bytes| bytes == 0) && all > 0);
    }

    fn becomes(&mut self, partition: u8, change: impl FnOnce(&mut Model)) {
        let states = &mut self.history[usize::from(partition)];
        let mut state = states.last().unwrap().clone();
        change(&mut state);
        states.push(state);
    }

    /// For an answer about the present state.
    fn waits(&mut self, partition: u8, done: Waiting) {
        let p = usize::from(partition);
        self.waiting.push((p, self.history[p].len() - 1, done));
    }

    fn did(&mut self, partition: u8, change: impl FnOnce(&mut Model), done: Waiting) {
        self.becomes(partition, change);
        self.waits(partition, done);
    }

    async fn step(&mut self, step: Step) {
        self.clock += 1;
        let term = self.clock;
        let log = |partition: u8| self.wal.as_ref().unwrap().partition(id(partition.into()));
        let model = |partition: u8| self.history[usize::from(partition)].last().unwrap();
        match step {
            Step::Append { partition, count, bytes } => {
                let next = model(partition).next();
                let new: Vec<_> =
                    (next..next + count).map(|index| payload_entry(term, index, vec![term as u8; bytes])).collect();
                let done = Box::pin(append(&log(partition), new.clone()));
                // Over several batches, each of which may be the last one that is written.
                for entry in new {
                    self.becomes(partition, |state| state.entries.push(entry));
                }
                self.waits(partition, done);
            }
            Step::Vote { partition } => {
                let vote = Vote { term, node: 1, committed: false };
                let done = Box::pin(log(partition).save_vote(vote));
                self.did(partition, |state| state.vote = Some(vote), done);
            }
            Step::Committed { partition } => {
                let last = log(partition).last();
                log(partition).save_committed(last);
            }
            Step::Truncate { partition, keep } => {
                let keep = keep.min(model(partition).entries.len() as u64);
                let first = model(partition).first;
                let done = Box::pin(log(partition).truncate_after((first + keep).checked_sub(1)));
                self.did(partition, |state| state.entries.truncate(keep as usize), done);
            }
            Step::Purge { partition, upto } => {
                let Some(entry) = model(partition).entries.get(upto as usize).cloned() else { return };
                let done = Box::pin(log(partition).purge(entry.id));
                self.did(
                    partition,
                    |state| {
                        state.entries.drain(..=upto as usize);
                        state.first = entry.id.index + 1;
                    },
                    done,
                );
            }
            Step::Install { partition, ahead } => {
                let upto = LogId { term, index: model(partition).next() + ahead };
                let done = Box::pin(log(partition).install(upto, [term as u8; 16]));
                let installed = |state: &mut Model| (state.first, state.entries) = (upto.index + 1, Vec::new());
                self.did(partition, installed, done);
            }
            Step::Fill { blocks } => {
                self.sim.set_disk_capacity(1, Some(self.sim.disk_used(1) + blocks * 4096));
                self.full = true;
            }
            Step::Pause { micros } => self.sim.sleep(Duration::from_micros(micros)).await,
            Step::Settle => self.settle().await,
            Step::Close => {
                let wal = self.wal.take().unwrap();
                wal.close().await;
                self.answers(true).await;
                drop(wal);
                self.open().await;
            }
            Step::Kill | Step::PowerCut => {
                if matches!(step, Step::Kill) {
                    self.sim.kill(1)
                } else {
                    self.sim.power_cut(1)
                }
                self.wal = None;
                self.waiting.clear();
                self.sim.restart(1);
                self.open().await;
            }
        }
        assert_eq!(self.sim.halted(1), None);
        let wal = self.wal.as_ref().unwrap();
        self.seen.borrow_mut().rotations += wal.stats().segment - self.segment;
        self.segment = wal.stats().segment;
        for p in 0..self.history.len() {
            let found = Model::of(&view(&wal.partition(id(p))));
            // A vote is visible only when it is durable.
            let expected = Model { vote: found.vote, ..self.history[p].last().unwrap().clone() };
            assert_eq!(found, expected, "partition {p}");
        }
    }
}

fn id(partition: usize) -> PartitionId {
    PartitionId::new(1, partition as u32)
}

fn run(seed: u64, options: WalOptions, steps: Vec<Step>, seen: &RefCell<Seen>) {
    let sim = Sim::seed(seed);
    sim.run(async {
        let mut run = Run {
            sim: sim.clone(),
            options,
            wal: None,
            history: [(); PARTITIONS as usize].map(|()| vec![Model::default()]),
            durable: [0; PARTITIONS as usize],
            waiting: Vec::new(),
            full: false,
            clock: 0,
            segment: 0,
            seen,
        };
        run.open().await;
        for step in steps {
            run.step(step).await;
        }
        run.step(Step::PowerCut).await;
    });
}

#[test]
fn a_wal_behaves_like_a_vector_that_loses_only_what_was_not_acknowledged() {
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let scripts = (any::<u64>(), sizes(), proptest::collection::vec(step(), 1..60));
    let seen = RefCell::new(Seen::default());
    let outcome = TestRunner::new(config).run(&scripts, |(seed, options, steps)| {
        run(seed, options, steps, &seen);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let Seen { rotations, lost, full, given_up, tables, cooled } = seen.into_inner();
    println!("{rotations} rotations, {lost} lost, {full} full, {given_up} given up, {tables} tables, {cooled} cooled");
    assert!(rotations > 200 && lost > 20 && full > 5 && given_up > 0 && tables > 1 && cooled > 20);
}
