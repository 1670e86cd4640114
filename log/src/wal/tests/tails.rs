//! Truncation and purge: the two ends of a log.
use super::*;
use futures::FutureExt as _;

#[test]
fn a_truncated_log_is_as_if_the_rest_had_never_been() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        append(&a, entries(1, 0..10)).await.unwrap();
        a.truncate_after(Some(4)).await.unwrap();
        append(&a, entries(2, 5..7)).await.unwrap();
        append(&b, [entries(1, 0..5), entries(2, 5..7)].concat()).await.unwrap();
        assert_eq!(view(&a), view(&b), "the log hash among it");
    });
}

#[test]
fn truncation_inside_the_batch_being_written_reverts_the_log_hash() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        // All of it in one batch, and twice over.
        let done = [append(&a, entries(1, 0..3)), append(&a, entries(1, 3..6))];
        let cut = a.truncate_after(Some(4));
        let more = append(&a, entries(2, 5..9));
        let cut_again = a.truncate_after(Some(2));
        let last = append(&a, entries(3, 3..4));
        for done in done {
            done.await.unwrap();
        }
        cut.await.unwrap();
        more.await.unwrap();
        cut_again.await.unwrap();
        last.await.unwrap();
        assert_eq!(wal.stats().syncs, 1);
        append(&b, [entries(1, 0..3), entries(3, 3..4)].concat()).await.unwrap();
        assert_eq!(view(&a), view(&b));
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
fn truncation_to_an_entry_that_left_memory_reads_its_hash_from_disk() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        let large = |range: std::ops::Range<u64>| {
            range.map(|index| payload_entry(1, index, vec![index as u8; 1000])).collect::<Vec<_>>()
        };
        append(&a, large(0..40)).await.unwrap();
        a.truncate_after(Some(1)).await.unwrap();
        append(&b, large(0..2)).await.unwrap();
        assert_eq!(view(&a), view(&b));
    });
}

#[test]
fn everything_can_be_truncated() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..3)).await.unwrap();
        log.truncate_after(None).await.unwrap();
        assert_eq!((log.last(), log.log_hash()), (None, [0; 16]));
        append(&log, entries(2, 0..2)).await.unwrap();
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
fn a_truncation_of_nothing_writes_nothing() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        log.truncate_after(None).await.unwrap();
        append(&log, entries(1, 0..3)).await.unwrap();
        log.truncate_after(Some(2)).await.unwrap();
        log.truncate_after(Some(7)).await.unwrap();
        assert_eq!(wal.stats().syncs, 1);
    });
}

/// Found by the WAL simulator: the second of two equal calls was answered at once, while the first was on its way to the disk.
#[test]
fn a_call_that_changes_nothing_is_answered_in_its_turn() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..6)).await.unwrap();
        let truncated = log.truncate_after(Some(3));
        let mut again = Box::pin(log.truncate_after(Some(3)));
        let purged = log.purge(LogId { term: 1, index: 1 });
        let mut purged_again = Box::pin(log.purge(LogId { term: 1, index: 1 }));
        assert!((&mut again).now_or_never().is_none(), "the truncation before it is not on disk yet");
        assert!((&mut purged_again).now_or_never().is_none(), "the purge before it is not on disk yet");
        again.await.unwrap();
        purged_again.await.unwrap();
        truncated.now_or_never().expect("answers come in order").unwrap();
        purged.now_or_never().expect("answers come in order").unwrap();
    });
}

#[test]
fn old_entries_are_not_read_while_a_truncation_of_them_is_on_its_way() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let large = |term, range: std::ops::Range<u64>| {
            range.map(|index| payload_entry(term, index, vec![term as u8; 1000])).collect::<Vec<_>>()
        };
        append(&log, large(1, 0..30)).await.unwrap();
        let cut = log.truncate_after(Some(9));
        let more = append(&log, large(2, 10..40));
        for _ in 0..100 {
            assert_eq!(view(&log).entries, [large(1, 0..10), large(2, 10..40)].concat());
            sim.sleep(std::time::Duration::from_micros(50)).await;
        }
        cut.await.unwrap();
        more.await.unwrap();
        assert_eq!(view(&log).entries, [large(1, 0..10), large(2, 10..40)].concat());
    });
}

#[test]
fn a_purged_prefix_is_gone_and_the_rest_stays() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        append(&a, entries(1, 0..10)).await.unwrap();
        append(&b, entries(1, 0..10)).await.unwrap();
        a.purge(LogId { term: 1, index: 3 }).await.unwrap();
        a.purge(LogId { term: 1, index: 2 }).await.unwrap();
        assert_eq!(a.purged(), Some(LogId { term: 1, index: 3 }));
        assert_eq!(view(&a).entries, entries(1, 4..10));
        assert_eq!(a.log_id(3), Some(LogId { term: 1, index: 3 }));
        assert_eq!(a.log_id(2), None);
        assert_eq!(a.log_hash(), b.log_hash(), "the hash is over what was ever there");
        let wal = reopens_as_it_was(&sim, wal).await;

        let a = wal.partition(P);
        a.truncate_after(Some(3)).await.unwrap();
        assert_eq!(a.last(), Some(LogId { term: 1, index: 3 }), "the purged entry before the first");
        append(&a, entries(2, 4..5)).await.unwrap();
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
fn a_purge_beyond_the_end_starts_the_log_anew_behind_it() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..3)).await.unwrap();
        let upto = LogId { term: 4, index: 99 };
        let purged = log.install(upto, [5; 16]);
        assert_eq!((log.last(), log.log_hash()), (Some(upto), [5; 16]));
        append(&log, entries(4, 100..103)).await.unwrap();
        purged.await.unwrap();
        assert_eq!(view(&log).entries, entries(4, 100..103));
        log.truncate_after(Some(100)).await.unwrap();
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
#[should_panic(expected = "cannot truncate from 2 on, purged up to")]
fn what_was_purged_cannot_be_truncated() {
    on_node(1, |sim| async move {
        let log = open(&sim).unwrap().partition(P);
        append(&log, entries(1, 0..10)).await.unwrap();
        log.purge(LogId { term: 1, index: 3 }).await.unwrap();
        drop(log.truncate_after(Some(1)));
    });
}

#[test]
fn an_empty_log_may_begin_anywhere() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 5..10)).await.unwrap();
        assert_eq!(view(&log).entries, entries(1, 5..10));
        // To before the beginning, and begun again elsewhere, all of it in one batch.
        let cut = log.truncate_after(Some(2));
        assert_eq!((log.last(), log.log_hash()), (None, [0; 16]));
        append(&log, entries(2, 3..6)).await.unwrap();
        cut.await.unwrap();
        log.truncate_after(Some(4)).await.unwrap();
        assert_eq!(view(&log).entries, entries(2, 3..5));
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
fn entries_stay_readable_while_truncations_overtake_each_other() {
    // Entries too large for the hot tail are dropped from memory as soon as they are on disk. While a truncation is on its
    // way, what is on disk at an index is not what the log has there.
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let large = |term, range: std::ops::Range<u64>| {
            range.map(|index| payload_entry(term, index, vec![term as u8; 3000])).collect::<Vec<_>>()
        };
        let mut waiting = vec![append(&log, large(1, 0..6))];
        let mut expected = large(1, 0..6);
        for term in 2..30 {
            let keep = term % 4 + 1;
            drop(log.truncate_after(Some(keep - 1)));
            waiting.push(append(&log, large(term, keep..6)));
            expected.truncate(keep as usize);
            expected.extend(large(term, keep..6));
            sim.sleep(std::time::Duration::from_micros(term * 37)).await;
            assert_eq!(view(&log).entries, expected, "term {term}");
        }
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(view(&log).entries, expected);
    });
}
