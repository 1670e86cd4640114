//! Arbitrary scripts against a model that is a plain vector, with crashes.
use super::*;
use crate::testing::Sim;
use proptest::prelude::*;
use std::{future::Future, io, pin::Pin};

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
    /// Waits until everything so far is durable.
    Settle,
    Close,
    Kill,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..3_u8;
    prop_oneof![
        8 => (partition.clone(), 0..6_u64, 0..3000_usize).prop_map(|(partition, count, bytes)| Step::Append { partition, count, bytes }),
        2 => partition.clone().prop_map(|partition| Step::Vote { partition }),
        2 => partition.clone().prop_map(|partition| Step::Committed { partition }),
        3 => (partition.clone(), 0..10_u64).prop_map(|(partition, keep)| Step::Truncate { partition, keep }),
        1 => (partition, 0..8_u64).prop_map(|(partition, upto)| Step::Purge { partition, upto }),
        3 => Just(Step::Settle),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
    ]
}

/// One partition as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    first: u64,
    entries: Vec<WalEntry>,
    vote: Option<Vote>,
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn of(view: &View) -> Model {
        Model { first: view.purged.map_or(0, |id| id.index + 1), entries: view.entries.clone(), vote: view.vote }
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

struct Run {
    sim: Sim,
    wal: Option<TestWal>,
    /// Of each partition: its state after every call; the last is the present one.
    history: [Vec<Model>; 3],
    /// Of each partition: the newest state known durable.
    durable: [usize; 3],
    waiting: Vec<(usize, usize, Waiting)>,
    clock: u64,
}

impl Run {
    async fn open(&mut self) {
        let node = self.sim.clone();
        let wal = self.sim.spawn_on(1, async move { open(&node).unwrap() }).await.unwrap();
        for p in 0..3 {
            let found = Model::of(&view(&wal.partition(id(p))));
            let from = self.durable[p];
            let at = self.history[p][from..].iter().rposition(|state| *state == found);
            let at = at.unwrap_or_else(|| {
                panic!("partition {p}: found {found:?}\nexpected one of {:?}", &self.history[p][from..])
            });
            self.history[p].truncate(from + at + 1);
            self.durable[p] = from + at;
        }
        self.wal = Some(wal);
    }

    async fn settle(&mut self) {
        for (partition, state, done) in self.waiting.drain(..) {
            done.await.unwrap();
            self.durable[partition] = self.durable[partition].max(state);
        }
    }

    fn did(&mut self, partition: u8, change: impl FnOnce(&mut Model), done: Waiting) {
        let p = usize::from(partition);
        let mut state = self.history[p].last().unwrap().clone();
        change(&mut state);
        self.history[p].push(state);
        self.waiting.push((p, self.history[p].len() - 1, done));
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
                self.did(partition, |state| state.entries.extend(new), done);
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
            Step::Settle => self.settle().await,
            Step::Close => {
                let wal = self.wal.take().unwrap();
                wal.close().await;
                self.settle().await;
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
        let wal = self.wal.as_ref().unwrap();
        for p in 0..3 {
            let found = Model::of(&view(&wal.partition(id(p))));
            let expected = self.history[p].last().unwrap();
            assert_eq!((found.first, &found.entries), (expected.first, &expected.entries));
        }
    }
}

fn id(partition: usize) -> crate::topic::PartitionId {
    crate::topic::PartitionId::new(1, partition as u32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_wal_behaves_like_a_vector_that_loses_only_what_was_not_acknowledged(
        seed: u64,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let sim = Sim::seed(seed);
        sim.run(async {
            let new = || vec![Model::default()];
            let mut run = Run {
                sim: sim.clone(), wal: None, history: [new(), new(), new()], durable: [0; 3], waiting: Vec::new(), clock: 0,
            };
            run.open().await;
            for step in steps {
                run.step(step).await;
            }
            run.step(Step::PowerCut).await;
        });
    }
}
