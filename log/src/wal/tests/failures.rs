//! A disk that says no. Once is enough.
use super::*;
use crate::testing::Sim;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Runs until the disk fails as told; gives the outcomes in order of completion.
fn failing(how: impl FnOnce(&Sim)) -> (Vec<(u64, bool)>, Option<Halt>) {
    let sim = Sim::seed(1);
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let halt = sim.run(async {
        let (node, outcomes) = (sim.clone(), outcomes.clone());
        let opened = sim.spawn_on(1, async move { open(&node).unwrap() }).await.unwrap();
        let log = opened.partition(P);
        append(&log, entries(1, 0..1)).await.unwrap();
        how(&sim);
        for index in 1..6_u64 {
            let outcomes = outcomes.clone();
            let done = move |result: io::Result<()>| outcomes.lock().unwrap().push((index, result.is_ok()));
            log.append(entries(1, index..index + 1), Box::new(done));
            sim.sleep(Duration::from_micros(100)).await;
        }
        sim.sleep(Duration::from_secs(1)).await;
        // Whoever comes later hears of it, too.
        let outcomes = outcomes.clone();
        log.append(entries(1, 6..7), Box::new(move |result| outcomes.lock().unwrap().push((6, result.is_ok()))));
        let error = log.save_vote(Vote::default()).await.unwrap_err();
        assert!(error.to_string().contains("failed"), "{error}");
        assert_eq!(log.vote(), None);
        sim.halted(1)
    });
    let outcomes = outcomes.lock().unwrap().clone();
    (outcomes, halt)
}

#[test]
fn a_failed_sync_fails_its_batch_and_everything_after_it_and_halts() {
    let (outcomes, halt) = failing(|sim| sim.fail_next_sync(1, io::ErrorKind::Other));
    assert_eq!(outcomes, (1..7).map(|index| (index, false)).collect::<Vec<_>>());
    assert!(matches!(&halt, Some(Halt::DiskFailed(what)) if what.contains("00000000000000000001.seg")), "{halt:?}");
}

#[test]
fn a_failed_write_fails_its_batch_and_everything_after_it_and_halts() {
    let (outcomes, halt) = failing(|sim| sim.fail_next_write(1, io::ErrorKind::StorageFull));
    assert_eq!(outcomes, (1..7).map(|index| (index, false)).collect::<Vec<_>>());
    assert!(matches!(halt, Some(Halt::DiskFailed(_))));
}

#[test]
fn a_recovery_that_cannot_sync_does_not_open() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        append(&wal.partition(P), entries(1, 0..3)).await.unwrap();
        drop(wal);
        sim.sleep(Duration::from_secs(1)).await;
        sim.fail_next_sync(1, io::ErrorKind::Other);
        assert!(matches!(halted(open(&sim)), Halt::DiskFailed(_)));
    });
}

#[test]
fn a_rotation_that_fails_is_a_failure_of_the_disk() {
    let sim = Sim::seed(1);
    sim.run(async {
        let node = sim.clone();
        let wal = sim.spawn_on(1, async move { open(&node).unwrap() }).await.unwrap();
        let log = wal.partition(P);
        let mut index = 0;
        let mut write = || {
            index += 1;
            append(&log, vec![payload_entry(1, index - 1, vec![0; 1500])])
        };
        for _ in 0..6 {
            write().await.unwrap();
        }
        assert_eq!(wal.stats().segment, 1);
        // The header of the fresh segment.
        sim.fail_next_write(1, io::ErrorKind::Other);
        write().await.unwrap_err();
        assert_eq!(wal.stats().segment, 1);
        assert!(matches!(sim.halted(1), Some(Halt::DiskFailed(_))));

        sim.restart(1);
        let node = sim.clone();
        let after = sim.spawn_on(1, async move { view(&open(&node).unwrap().partition(P)) }).await.unwrap();
        assert_eq!(after.entries.len(), 6);
    });
}
