//! The happy path: what is written is there, now and after a restart.
use super::*;
use crate::topic::Vote;

#[test]
fn what_was_written_is_there_after_a_restart() {
    let sim = Sim::new(1);
    let node = sim.clone();
    sim.run(async {
        let script = sim.spawn_on(1, async move {
            let wal = open(&node).unwrap();
            let log = wal.partition(P);
            append(&log, entries(1, 0..5)).await.unwrap();
            let vote = Vote { term: 2, node: 3, committed: true };
            log.save_vote(vote).await.unwrap();
            log.save_committed(Some(LogId { term: 1, index: 3 }));
            log.truncate_after(Some(3)).await.unwrap();
            append(&log, entries(2, 4..8)).await.unwrap();
            let before = (log.vote(), log.committed(), log.last(), log.log_hash(), log.entries(0..100, 1 << 20).unwrap());
            wal.close().await;
            drop((wal, log));

            let wal = open(&node).unwrap();
            assert_eq!(wal.stats().segment, 1, "a WAL that was closed goes on where it ended");
            let log = wal.partition(P);
            let after = (log.vote(), log.committed(), log.last(), log.log_hash(), log.entries(0..100, 1 << 20).unwrap());
            assert_eq!(before, after);
            assert_eq!(after.0, Some(vote));
            assert_eq!(after.2, Some(LogId { term: 2, index: 7 }));
            assert_eq!(after.4.len(), 8);
        });
        script.await.unwrap();
    });
}
