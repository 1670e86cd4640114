//! The happy path: what is written is there, now and after a restart.
use super::*;
use bytes::Bytes;

#[test]
fn what_was_written_is_there_after_a_restart() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..5)).await.unwrap();
        let vote = Vote { term: 2, node: 3, committed: true };
        log.save_vote(vote).await.unwrap();
        log.save_committed(Some(LogId { term: 1, index: 3 }));
        log.truncate_after(Some(3)).await.unwrap();
        append(&log, entries(2, 4..8)).await.unwrap();
        let peer = PeerIdentity { node: 2, incarnation: [7; 16], boot_epoch: 3, confirmed: 9 };
        wal.save_peer(peer).await.unwrap();
        let wal = reopens_as_it_was(&sim, wal).await;
        let after = view(&wal.partition(P));
        assert_eq!(after.vote, Some(vote));
        assert_eq!(after.committed, Some(LogId { term: 1, index: 3 }));
        assert_eq!(after.entries, [entries(1, 0..4), entries(2, 4..8)].concat());
        assert_eq!(wal.peers(), [peer]);
    });
}

#[test]
fn an_empty_log_has_nothing() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        assert_eq!(wal.partitions(), []);
        let expected = View { vote: None, committed: None, purged: None, last: None, hash: [0; 16], entries: vec![] };
        assert_eq!(view(&wal.partition(P)), expected);
        assert_eq!(wal.partitions(), [P]);
    });
}

#[test]
fn an_append_is_visible_before_it_is_durable() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let durable = append(&log, entries(1, 0..3));
        assert_eq!(log.last(), Some(LogId { term: 1, index: 2 }));
        assert_eq!(log.entries(1..3, 1 << 20).unwrap(), entries(1, 1..3));
        assert_eq!(wal.stats().batches, 0);
        durable.await.unwrap();
        assert_eq!(wal.stats().syncs, 1);
    });
}

#[test]
fn a_vote_is_visible_only_when_it_is_durable() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let vote = Vote { term: 1, node: 4, committed: false };
        let durable = log.save_vote(vote);
        assert_eq!(log.vote(), None);
        durable.await.unwrap();
        assert_eq!(log.vote(), Some(vote));
    });
}

#[test]
fn what_waits_together_is_synced_together() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let waiting: Vec<_> =
            (0..10).map(|n| append(&wal.partition(crate::topic::PartitionId::new(1, n)), entries(1, 0..1))).collect();
        for durable in waiting {
            durable.await.unwrap();
        }
        assert_eq!(wal.stats().syncs, 1);
        assert_eq!(wal.stats().frames, 11, "ten entries and a batch header");
    });
}

#[test]
fn committed_marks_ride_and_only_the_newest_is_written() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..5)).await.unwrap();
        for index in 0..5 {
            log.save_committed(Some(LogId { term: 1, index }));
        }
        log.save_committed(None);
        sim.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(
            (wal.stats().syncs, wal.stats().frames),
            (2, 6 + 1),
            "nobody waits for it; the idle log marks alone"
        );
        append(&log, entries(1, 5..6)).await.unwrap();
        assert_eq!((wal.stats().syncs, wal.stats().frames), (3, 7 + 3));

        log.save_committed(Some(LogId { term: 1, index: 5 }));
        wal.close().await;
        drop((log, wal));
        let wal = open(&sim).unwrap();
        assert_eq!(wal.partition(P).committed(), Some(LogId { term: 1, index: 5 }));
    });
}

#[test]
fn completions_of_a_partition_come_in_the_order_of_the_calls() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        for n in 0..50_u32 {
            let (log, order) = (wal.partition(crate::topic::PartitionId::new(1, n % 7)), order.clone());
            let first = u64::from(n / 7) * 3;
            log.append(entries(1, first..first + 3), Box::new(move |_| order.lock().unwrap().push(n)));
        }
        wal.close().await;
        let mut order = order.lock().unwrap().clone();
        assert_eq!(order.len(), 50);
        order.sort_by_key(|n| n % 7);
        assert!(order.is_sorted_by_key(|n| (n % 7, *n)), "{order:?}");
    });
}

#[test]
fn a_large_append_is_split_into_several_writes() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let large: Vec<_> = (0..12).map(|index| payload_entry(1, index, vec![index as u8; 1000])).collect();
        append(&log, large.clone()).await.unwrap();
        let footers = wal.stats().segment - 1;
        assert_eq!(wal.stats().batches, 4 + footers, "three frames of a good 1100 bytes fit 4 KiB");
        wal.close().await;
        drop((log, wal));
        assert_eq!(view(&open(&sim).unwrap().partition(P)).entries, large);
    });
}

#[test]
fn an_entry_larger_than_a_segment_gets_a_longer_one() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let all = [entries(1, 0..1), vec![payload_entry(1, 1, vec![9; 100 << 10])], entries(1, 2..3)].concat();
        append(&log, all.clone()).await.unwrap();
        assert_eq!(wal.stats().segment, 2);
        wal.close().await;
        drop((log, wal));
        assert_eq!(view(&open(&sim).unwrap().partition(P)).entries, all);
    });
}

#[test]
fn segments_follow_each_other_and_all_are_read() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        for index in 0..100 {
            append(&log, vec![payload_entry(1, index, vec![index as u8; 1000])]).await.unwrap();
        }
        assert!(wal.stats().segment > 5);
        assert_eq!(views(&wal).0[&P].entries.len(), 100);
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
fn a_read_gives_at_least_one_entry_and_stops_at_the_bound() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let all: Vec<_> = (0..20).map(|index| payload_entry(1, index, vec![1; 1000])).collect();
        append(&log, all.clone()).await.unwrap();
        for start in [0, 10, 18] {
            assert_eq!(log.entries(start..20, 1).unwrap(), all[start as usize..][..1]);
            let two = log.entries(start..20, 2500).unwrap();
            assert_eq!(two, all[start as usize..][..2]);
        }
        assert_eq!(log.entries(20..30, 1 << 20).unwrap(), []);
        assert_eq!(log.entries(19..30, 1 << 20).unwrap(), all[19..]);
        assert_eq!(log.entries(5..5, 1 << 20).unwrap(), []);
    });
}

#[test]
fn entries_of_every_kind_and_size_come_back() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        let kinds = [EntryKind::Blank, EntryKind::Membership, EntryKind::Batch];
        let all: Vec<_> = (0..300_u64)
            .map(|index| WalEntry {
                kind: kinds[index as usize % 3],
                ..payload_entry(1, index, vec![index as u8; (index * 17 % 2500) as usize])
            })
            .collect();
        append(&log, all.clone()).await.unwrap();
        assert_eq!(view(&log).entries, all, "from memory and from disk");
        wal.close().await;
        drop((log, wal));
        assert_eq!(view(&open(&sim).unwrap().partition(P)).entries, all, "from disk");
    });
}

#[test]
#[should_panic(expected = "appended entry 5@1 does not follow Some(LogId { term: 1, index: 2 })")]
fn an_append_with_a_gap_is_a_bug_of_the_caller() {
    on_node(1, |sim| async move {
        let log = open(&sim).unwrap().partition(P);
        log.append(entries(1, 0..3), Box::new(drop));
        log.append(entries(1, 5..6), Box::new(drop));
    });
}

#[test]
fn after_the_close_everything_is_refused() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        wal.close().await;
        wal.close().await;
        assert!(append(&log, entries(1, 0..1)).await.is_err());
        assert!(log.save_vote(Vote::default()).await.is_err());
        assert!(
            wal.save_peer(PeerIdentity { node: 2, incarnation: [0; 16], boot_epoch: 1, confirmed: 9 }).await.is_err()
        );
        log.save_committed(Some(LogId::default()));
        drop((log, wal));
        assert_eq!(open(&sim).unwrap().partitions(), []);
    });
}

#[test]
fn a_wal_that_is_dropped_finishes_what_is_queued() {
    on_node(1, |sim| async move {
        let durable = append(&open(&sim).unwrap().partition(P), entries(1, 0..3));
        durable.await.unwrap();
        sim.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(view(&open(&sim).unwrap().partition(P)).entries, entries(1, 0..3));
    });
}

#[test]
fn payloads_are_not_copied_on_their_way_to_a_reader() {
    on_node(1, |sim| async move {
        let log = open(&sim).unwrap().partition(P);
        let payload = Bytes::from(vec![1; 3000]);
        let crc = crc32c::crc32c(&payload);
        let entry = WalEntry { id: LogId { term: 1, index: 0 }, kind: EntryKind::Batch, crc, payload: payload.clone() };
        append(&log, vec![entry]).await.unwrap();
        assert_eq!(log.entries(0..1, 1).unwrap()[0].payload.as_ptr(), payload.as_ptr());
    });
}
