//! Power cuts and kills at every disk operation of a script.
use super::*;
use crate::{testing::Sim, wal::WalOptions};
use std::sync::{Arc, Mutex};

/// What was asked for, in order, and how much of it was acknowledged.
#[derive(Debug, Default)]
struct Told {
    /// The state of partition P after each step that changes it: entries and vote.
    states: Vec<(Vec<WalEntry>, Option<Vote>)>,
    acknowledged: usize,
}

impl Told {
    /// What is found must be one of the states since the last acknowledged one.
    fn allows(&self, found: View, place: &str) {
        let possible = &self.states[self.acknowledged.min(self.states.len().saturating_sub(1))..];
        let found = (found.entries, found.vote);
        let none = self.states.is_empty() && found == (vec![], None);
        assert!(none || possible.contains(&found), "{place}: {found:?}");
    }
}

/// A script over two partitions that rotates, truncates and votes; each step waits, so that each is a state.
async fn script(sim: Sim, options: WalOptions, told: Arc<Mutex<Told>>) {
    // The power may fail inside the opening.
    let Ok(wal) = open_with(&sim, options) else { return };
    let (a, b) = (wal.partition(P), wal.partition(Q));
    let mut log = Vec::new();
    let mut vote = None;
    told.lock().unwrap().states.push((log.clone(), vote));
    for step in 0..30_u64 {
        let noise = append(&b, vec![payload_entry(1, step, vec![0xbb; 300])]);
        let done: std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>> = match step % 5 {
            3 => {
                vote = Some(Vote { term: step, node: 1, committed: step % 2 == 0 });
                Box::pin(a.save_vote(vote.unwrap()))
            }
            4 => {
                let keep = log.len() - 2;
                log.truncate(keep);
                Box::pin(a.truncate_after((keep as u64).checked_sub(1)))
            }
            _ => {
                let first = log.len() as u64;
                let new: Vec<_> =
                    (first..first + 3).map(|index| payload_entry(step, index, vec![step as u8; 400])).collect();
                log.extend(new.clone());
                Box::pin(append(&a, new))
            }
        };
        told.lock().unwrap().states.push((log.clone(), vote));
        if noise.await.and(done.await).is_err() {
            return;
        }
        told.lock().unwrap().acknowledged += 1;
    }
    wal.close().await;
}

/// Runs the script with a power cut at an operation, `None` for an undisturbed run; gives how many operations it took.
fn run(seed: u64, options: &WalOptions, operation: Option<u64>) -> u64 {
    let sim = Sim::seed(seed);
    sim.run(async {
        let told = Arc::new(Mutex::new(Told::default()));
        if let Some(operation) = operation {
            sim.power_cut_at(1, operation);
        }
        // A cut ends the task.
        let ended = sim.spawn_on(1, script(sim.clone(), options.clone(), told.clone())).await;
        assert_eq!(ended.is_ok() && sim.is_alive(1), operation.is_none());
        let operations = sim.disk_operations(1);
        for round in 0..3 {
            if sim.is_alive(1) {
                sim.kill(1);
            }
            sim.restart(1);
            let (node, options) = (sim.clone(), options.clone());
            let opened = async move { view(&open_with(&node, options).unwrap().partition(P)) };
            let found = sim.spawn_on(1, opened).await.unwrap();
            let place = format!("seed {seed}, operation {operation:?}, round {round}");
            told.lock().unwrap().allows(found, &place);
            // Another cut right after the recovery takes nothing of it back.
            sim.power_cut(1);
        }
        operations
    })
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    let operations = run(0, &options(), None);
    assert!(operations > 100, "{operations}");
    for operation in 1..=operations {
        for seed in 0..3 {
            run(seed, &options(), Some(operation));
        }
    }
}

#[test]
fn nor_does_one_with_segments_made_ahead() {
    let operations = run(0, &supplied(), None);
    assert!(operations > run(0, &options(), None), "{operations}");
    for operation in 1..=operations {
        for seed in 0..3 {
            run(seed, &supplied(), Some(operation));
        }
    }
}

#[test]
fn a_power_cut_inside_a_recovery_loses_nothing_either() {
    for seed in 0..15 {
        // With three copies of the manifest, a recovery that cuts is some fifty operations.
        for operation in 1..60 {
            let sim = Sim::seed(seed);
            sim.run(async {
                let node = sim.clone();
                let wal = sim.spawn_on(1, async move {
                    let wal = open(&node).unwrap();
                    append(&wal.partition(P), entries(1, 0..4)).await.unwrap();
                    // On its way when the power fails.
                    drop(append(&wal.partition(P), vec![payload_entry(1, 4, vec![4; 2000])]));
                    node.sleep(std::time::Duration::from_micros(seed * 10)).await;
                    wal
                });
                let wal = wal.await.unwrap();
                sim.power_cut(1);
                drop(wal);
                sim.restart(1);
                sim.power_cut_at(1, operation);
                let node = sim.clone();
                drop(sim.spawn_on(1, async move { open(&node).map(|wal| view(&wal.partition(P))) }).await);
                sim.power_cut(1);
                sim.restart(1);
                // Where the recovery was over before, the cut is still to come; not inside this one.
                sim.power_cut_at(1, 1000);
                let node = sim.clone();
                let found = sim.spawn_on(1, async move { view(&open(&node).unwrap().partition(P)) }).await.unwrap();
                let expected = found.entries.len() as u64;
                assert!((4..=5).contains(&expected), "seed {seed}, operation {operation}: {expected}");
                assert_eq!(found.entries[..4], entries(1, 0..4));
            });
        }
    }
}

/// Found by the WAL simulator: a start that found a segment whose name was not durable yet put it into the manifest, and
/// the power took the name away.
#[test]
fn a_power_cut_inside_the_recovery_from_a_kill_loses_nothing_either() {
    let operations = run(0, &options(), None);
    for killed in 1..=operations {
        for cut in (1..30).step_by(3) {
            let cut = cut + killed % 3;
            let sim = Sim::seed(killed);
            sim.run(async {
                let told = Arc::new(Mutex::new(Told::default()));
                sim.kill_at(1, killed);
                drop(sim.spawn_on(1, script(sim.clone(), options(), told.clone())).await);
                sim.restart(1);
                sim.power_cut_at(1, cut);
                let node = sim.clone();
                drop(sim.spawn_on(1, async move { open(&node).map(|wal| view(&wal.partition(P))) }).await);
                sim.power_cut(1);
                sim.restart(1);
                let node = sim.clone();
                let found = sim.spawn_on(1, async move { view(&open(&node).unwrap().partition(P)) }).await.unwrap();
                told.lock().unwrap().allows(found, &format!("killed at {killed}, cut at {cut}"));
            });
        }
    }
}
