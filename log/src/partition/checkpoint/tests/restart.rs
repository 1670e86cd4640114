//! What a restart evolves, and from where.
use super::*;
use proptest::prelude::*;

#[test]
fn a_restart_evolves_only_what_follows_the_checkpoint_and_ends_in_the_same_state() {
    let sim = Sim::seed(1);
    sim.run(async {
        let disk = sim.env(1).disk;
        let before = on_node(&sim, async move {
            let mut replica = Replica::open(disk).await.unwrap();
            assert_eq!((replica.restored, replica.replayed), (None, 0));
            for start in (0..200).step_by(10) {
                replica.feed(entries(start..start + 10)).await.unwrap();
            }
            replica.checkpoint().await.unwrap();
            replica.feed(entries(200..230)).await.unwrap();
            replica.wal.close().await;
            replica.state()
        })
        .await;
        let disk = sim.restart(1).disk;
        let after = on_node(&sim, async move {
            let replica = Replica::open(disk).await.unwrap();
            assert_eq!(replica.restored, Some(LogId { term: 10, index: 199 }));
            assert_eq!(replica.replayed, 30, "and not 230");
            replica.state()
        })
        .await;
        assert_eq!(after, before);
        // The same from the log alone.
        let disk = sim.restart(1).disk;
        let alone = on_node(&sim, async move {
            for name in names(&disk) {
                disk.remove_file(&Path::new("/data/checkpoints").join(name)).unwrap();
            }
            let replica = Replica::open(disk).await.unwrap();
            assert_eq!((replica.restored, replica.replayed), (None, 230));
            replica.state()
        })
        .await;
        assert_eq!(alone, before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn checkpoints_anywhere_in_any_log_change_nothing(
        pieces in proptest::collection::vec((1..40_u64, any::<bool>()), 1..8),
        cut in any::<bool>(),
    ) {
        let sim = Sim::seed(9);
        let total: u64 = pieces.iter().map(|(len, _)| len).sum();
        // The power cut keeps what was synced: everything, since every feed waited.
        let mut whole = Fold::default();
        let mut map = crate::cluster::Map::default();
        for entry in entries(0..total) {
            match entry.kind {
                EntryKind::Blank => whole.pass(entry.id, 0),
                EntryKind::Membership => whole.change_membership(entry.id, entry.payload),
                EntryKind::Batch => {
                    let batch = Batch::verify(entry.payload, entry.crc).unwrap();
                    for (offset, event) in crate::cluster::facts(whole.end, &batch).unwrap() {
                        map.evolve(offset, event);
                    }
                    whole.evolve(entry.id, &batch)
                }
            };
        }
        sim.run(async {
            let disk = sim.env(1).disk;
            let covered = on_node(&sim, async move {
                let mut replica = Replica::open(disk).await.unwrap();
                let (mut at, mut covered) = (0, 0);
                for (len, checkpoint) in pieces {
                    replica.feed(entries(at..at + len)).await.unwrap();
                    at += len;
                    if checkpoint {
                        replica.checkpoint().await.unwrap();
                        covered = at;
                    }
                }
                if !cut {
                    replica.wal.close().await;
                }
                covered
            }).await;
            if cut {
                sim.power_cut(1);
            }
            let disk = sim.restart(1).disk;
            on_node(&sim, async move {
                let replica = Replica::open(disk).await.unwrap();
                assert_eq!(replica.restored.map_or(0, |id| id.index + 1), covered);
                // The last committed mark may have had nothing to ride on.
                assert!(replica.replayed <= total - covered);
                replica.log.save_committed(replica.log.last());
                replica.machine.catch_up().await.unwrap();
                let snapshot = replica.evolved.snapshot().unwrap();
                assert_eq!(Fold::restore(&snapshot, FoldOptions::default()).unwrap(), whole);
                assert_eq!(*replica.map.get(), map);
                assert_eq!(snapshot.log_hash[..], replica.log.log_hash()[..]);
                // Where the checkpoint ends is a mark, too.
                let covered = replica.kept.as_ref().and_then(|kept| Fold::restore(kept, FoldOptions::default()).ok());
                let covered = covered.map(|fold| Mark { offset: fold.end, index: fold.last.map_or(0, |id| id.index + 1) });
                for offset in 0..whole.end {
                    let nearer = covered.filter(|mark| mark.offset <= offset);
                    let expected = whole.marks.seek(offset).into_iter().chain(nearer).max_by_key(|mark| mark.index);
                    assert_eq!(replica.evolved.seek(offset), expected);
                }
            }).await;
        });
    }
}

/// Three checkpoints' worth of log on the disk of node 1: at 99, 149 and 199, of which the last two are kept.
async fn with_checkpoints(sim: &Sim) {
    let disk = sim.env(1).disk;
    on_node(sim, async move {
        let mut replica = Replica::open(disk.clone()).await.unwrap();
        for end in [100, 150, 200] {
            let start = replica.evolved.next_index();
            replica.feed(entries(start..end)).await.unwrap();
            replica.checkpoint().await.unwrap();
        }
        replica.feed(entries(200..210)).await.unwrap();
        replica.wal.close().await;
        assert_eq!(names(&disk).len(), 2);
    })
    .await;
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_and_then_for_the_log() {
    let sim = Sim::seed(2);
    sim.run(async {
        with_checkpoints(&sim).await;
        for (damage, restored, replayed) in [(199, Some(149), 60), (149, None, 210)] {
            let disk = sim.restart(1).disk;
            on_node(&sim, async move {
                flip(&disk, &path(damage), 300).await;
                let mut replica = Replica::open(disk.clone()).await.unwrap();
                replica.kept = None;
                assert_eq!(replica.restored.map(|id| id.index), restored);
                assert_eq!(replica.replayed, replayed, "the log is kept and evolved");
                assert_eq!(replica.evolved.next_index(), 210);
                assert_eq!(names(&disk).len(), 2, "and the damaged copy is not deleted for it");
                assert_eq!(
                    replica.machine.get_current_snapshot().await.unwrap().map(|snapshot| snapshot
                        .meta
                        .last_log_id
                        .unwrap()
                        .index()),
                    restored,
                    "nobody is given a damaged one"
                );
                replica.wal.close().await;
            })
            .await;
        }
    });
}

#[test]
fn a_start_reads_a_checkpoint_once_and_one_that_rots_later_ends_no_group() {
    let sim = Sim::seed(19);
    sim.run(async {
        with_checkpoints(&sim).await;
        let disk = sim.restart(1).disk;
        on_node(&sim, async move {
            let mut replica = Replica::open(disk.clone()).await.unwrap();
            flip(&disk, &path(199), 300).await;
            let found = replica.machine.get_current_snapshot().await.unwrap().expect("what was verified is kept");
            assert_eq!(found.meta.last_log_id.unwrap().index(), 199);
            replica.kept = None;
            assert!(replica.machine.get_current_snapshot().await.unwrap().is_none(), "the log is whole");
        })
        .await;
    });
}

#[test]
fn a_checkpoint_that_is_not_of_this_log_is_passed_over() {
    type Change = fn(&mut pb::PartitionSnapshot);
    let changes: [(u64, Change); 4] = [
        (199, |snapshot| snapshot.log_hash = Bytes::from_static(&[9; 16])),
        (199, |snapshot| snapshot.last = Some(pb::LogId { term: 77, index: 199 })),
        (199, |snapshot| snapshot.machine = Bytes::from_static(b"not a cluster map")),
        (205, |snapshot| snapshot.last = Some(pb::LogId { term: 11, index: 400 })),
    ];
    for (nth, (index, change)) in changes.into_iter().enumerate() {
        let sim = Sim::seed(3);
        sim.run(async {
            with_checkpoints(&sim).await;
            let disk = sim.restart(1).disk;
            on_node(&sim, async move {
                let mut snapshot = read(&disk, 199);
                change(&mut snapshot);
                disk.remove_file(&path(199)).unwrap();
                put(&disk, &OWNER, index, &snapshot);
                let replica = Replica::open(disk).await.unwrap();
                assert_eq!(replica.restored.map(|id| id.index), Some(149), "change {nth}");
                assert_eq!((replica.replayed, replica.evolved.next_index()), (60, 210), "change {nth}");
            })
            .await;
        });
    }
}

#[test]
fn a_checkpoint_ahead_of_the_log_is_passed_over() {
    let sim = Sim::seed(4);
    sim.run(async {
        with_checkpoints(&sim).await;
        let disk = sim.restart(1).disk;
        on_node(&sim, async move {
            let ahead = pb::PartitionSnapshot { last: Some(pb::LogId { term: 11, index: 400 }), ..read(&disk, 199) };
            put(&disk, &OWNER, 400, &ahead);
            let mut replica = Replica::open(disk.clone()).await.unwrap();
            assert_eq!(replica.restored.map(|id| id.index), Some(199));
            // The next one is the newest, although its index is lower.
            replica.checkpoint().await.unwrap();
            assert_eq!(
                names(&disk),
                [path(199), path(209)].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            );
        })
        .await;
    });
}

#[test]
fn a_checkpoint_of_somebody_else_or_of_a_later_version_halts() {
    let others = [
        Owner { cluster: ClusterId([1; 16]), ..OWNER },
        Owner { node: 2, ..OWNER },
        Owner { incarnation: [1; 16], ..OWNER },
    ];
    for other in others.map(Some).into_iter().chain([None]) {
        let sim = Sim::seed(5);
        sim.run(async {
            with_checkpoints(&sim).await;
            let disk = sim.restart(1).disk;
            on_node(&sim, async move {
                let snapshot = read(&disk, 199);
                match other {
                    Some(other) => put(&disk, &other, 199, &snapshot),
                    None => {
                        let mut file = file::head(&OWNER, PartitionId::CLUSTER, b"");
                        file[4] = 2;
                        let crc = crc32c::crc32c(&file[..file::HEADER_LEN - 4]);
                        file[file::HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
                        put_bytes(&disk, 199, &file);
                    }
                }
                let found = Replica::open(disk).await.err();
                match other {
                    Some(_) => assert!(matches!(found, Some(RestoreError::Halt(Halt::WrongIdentity(_)))), "{found:?}"),
                    None => assert!(matches!(found, Some(RestoreError::Halt(Halt::UnknownEntry(_)))), "{found:?}"),
                }
            })
            .await;
        });
    }
}

/// On a slow disk, what others have committed is evolved long before it is durable here. Were it in a checkpoint, a power cut
/// would leave a state whose log is gone.
#[test]
fn a_checkpoint_waits_until_its_log_is_durable() {
    let mut lost_tails = 0;
    for seed in 0..8 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let disk = sim.env(1).disk;
            let slow = sim.clone();
            let script = async move {
                let mut replica = Replica::open(disk).await.unwrap();
                replica.feed(entries(0..50)).await.unwrap();
                slow.set_sync_delay(1, Duration::from_secs(10)..=Duration::from_secs(10));
                replica.log.append(entries(50..80), Box::new(drop));
                // Committed by the others: evolved here, whatever this disk does.
                replica.log.save_committed(replica.log.last());
                replica.machine.catch_up().await.unwrap();
                assert_eq!(replica.evolved.next_index(), 80);
                replica.checkpoint().await.unwrap();
            };
            let running = sim.spawn_on(1, script);
            sim.sleep(Duration::from_secs(5)).await;
            sim.power_cut(1);
            assert!(running.await.is_err(), "seed {seed}: the power was cut in the middle");
            let disk = sim.restart(1).disk;
            sim.set_sync_delay(1, Duration::ZERO..=Duration::ZERO);
            lost_tails += on_node(&sim, async move {
                assert_eq!(names(&disk), Vec::<String>::new(), "seed {seed}: a checkpoint ahead of the log");
                let replica = Replica::open(disk).await.unwrap();
                u32::from(replica.log.last().unwrap().index < 79)
            })
            .await;
        });
    }
    assert!(lost_tails > 0, "no power cut took anything");
}
