//! A log at rest: it states that what it holds is durable, once.
use super::*;
use crate::testing::Sim;
use std::time::Duration;

const AWHILE: Duration = Duration::from_millis(12);

#[test]
fn a_mark_follows_when_traffic_stops_and_only_one() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(wal.stats().batches, 0, "there is nothing to mark");
        for round in 0..3 {
            append(&wal.partition(P), entries(1, round..round + 1)).await.unwrap();
            assert_eq!(wal.stats().batches, 2 * round + 1);
            sim.sleep(AWHILE).await;
            let stats = wal.stats();
            assert_eq!((stats.batches, stats.syncs, stats.frames), (2 * round + 2, 2 * round + 2, 3 * round + 3));
            sim.sleep(Duration::from_secs(1)).await;
            assert_eq!(wal.stats(), stats, "an idle log writes nothing");
        }
    });
}

#[test]
fn a_busy_log_writes_no_marks() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        for index in 0..20 {
            append(&wal.partition(P), entries(1, index..index + 1)).await.unwrap();
            sim.sleep(Duration::from_millis(8)).await;
        }
        assert_eq!(wal.stats().batches, 20);
        sim.sleep(AWHILE).await;
        assert_eq!(wal.stats().batches, 21);
    });
}

#[test]
fn a_log_that_is_killed_at_rest_goes_on_in_its_segment() {
    for power in [false, true] {
        let sim = Sim::seed(1);
        sim.run(async {
            for round in 0..4_u64 {
                let node = sim.clone();
                let script = sim.spawn_on(1, async move {
                    let wal = open(&node).unwrap();
                    assert_eq!(wal.stats().segment, 1);
                    assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..round));
                    append(&wal.partition(P), entries(1, round..round + 1)).await.unwrap();
                    node.sleep(AWHILE).await;
                    wal
                });
                drop(script.await.unwrap());
                if power {
                    sim.power_cut(1)
                } else {
                    sim.kill(1)
                }
                sim.restart(1);
            }
        });
    }
}
