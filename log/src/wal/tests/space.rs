//! A disk without room, and files made ahead of their use.
use super::*;
use crate::{
    testing::{DiskCall, DiskError, Sim},
    wal::{Identity, Space, WalOptions, supply::LOOK},
    world::{Disk as _, DiskFile as _},
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const SEGMENT: u64 = 16 << 10;
/// Longer than anything that is about to happen.
const LONG: Duration = Duration::from_secs(10);

/// Opens a WAL with a supplier, as a task of the node.
async fn opened(sim: &Sim) -> TestWal {
    let node = sim.clone();
    sim.spawn_on(1, async move { open_with(&node, supplied()).unwrap() }).await.unwrap()
}

/// The same with room for eight segments, and the log of a partition.
async fn on_a_small_disk(sim: &Sim) -> (TestWal, Log) {
    sim.set_disk_capacity(1, Some(8 * SEGMENT));
    let wal = opened(sim).await;
    let log = wal.partition(P);
    (wal, log)
}

/// Appends of one partition that go on until one is not answered in time; gives how many were acknowledged.
async fn fill(sim: &Sim, log: &Log) -> u64 {
    loop {
        let index = log.last().map_or(0, |last| last.index + 1);
        let done = Arc::new(AtomicU64::new(0));
        let noted = done.clone();
        log.append(
            vec![payload_entry(1, index, vec![index as u8; 3000])],
            Box::new(move |result| noted.store(if result.is_ok() { 1 } else { 2 }, Ordering::Relaxed)),
        );
        sim.sleep(3 * LOOK).await;
        match done.load(Ordering::Relaxed) {
            0 => return index,
            1 => assert!(index < 1000, "the disk does not fill"),
            _ => panic!("append {index} failed"),
        }
    }
}

fn names(sim: &Sim) -> Vec<String> {
    sim.env(1).disk.list(&Path::new(DIR).join("wal")).unwrap()
}

fn ran_out_of_space(sim: &Sim) -> bool {
    sim.disk_failures(1).iter().any(|(_, error)| *error == DiskError::Full)
}

#[test]
fn a_writer_without_room_waits_and_goes_on_when_there_is_some() {
    let sim = Sim::seed(3);
    sim.run(async {
        let (wal, log) = on_a_small_disk(&sim).await;
        sim.sleep(LOOK).await;
        assert_eq!(wal.disk_space().space, Space::Plenty);
        let acknowledged = fill(&sim, &log).await;
        assert!(ran_out_of_space(&sim) && acknowledged > 20, "{acknowledged}");
        assert_eq!((wal.disk_space().space, wal.at_work()), (Space::Full, None), "it waits for room, not for the disk");
        assert!(!names(&sim).contains(&"reserve".into()), "{:?}", names(&sim));
        // What was acknowledged can be read meanwhile.
        assert_eq!(log.entries(0..acknowledged, u64::MAX).unwrap().len() as u64, acknowledged);

        sim.sleep(LONG).await;
        assert!(sim.halted(1).is_none());
        sim.set_disk_capacity(1, Some(20 * SEGMENT));
        let voted = log.save_vote(Vote { term: 2, node: 1, committed: false });
        voted.await.unwrap();
        assert_eq!(log.entries(0..u64::MAX, u64::MAX).unwrap().len() as u64, acknowledged + 1, "what waited is there");
        sim.sleep(2 * LOOK).await;
        assert_eq!(wal.disk_space().space, Space::Plenty);
        let names = names(&sim);
        assert!(names.contains(&"reserve".into()) && names.contains(&"spare".into()), "{names:?}");
    });
}

#[test]
fn clients_are_refused_while_votes_still_find_room() {
    let sim = Sim::seed(3);
    sim.run(async {
        let (wal, log) = on_a_small_disk(&sim).await;
        sim.sleep(LOOK).await;
        let mut index = 0;
        while wal.disk_space().space == Space::Plenty {
            append(&log, vec![payload_entry(1, index, vec![1; 3000])]).await.unwrap();
            sim.sleep(LOOK).await;
            index += 1;
        }
        // A client would be refused from here on. Beside four segments that records may fill there are the spare, the reserve,
        // room for two more (the mark), and three copies of the manifest of a block each.
        assert!(!ran_out_of_space(&sim) && index >= 10, "{index}");
        for term in 2..130 {
            log.save_vote(Vote { term, node: 1, committed: false }).await.unwrap();
        }
    });
}

#[test]
fn a_node_opens_with_no_byte_free_again_and_again() {
    let sim = Sim::seed(5);
    sim.run(async {
        sim.set_disk_capacity(1, Some(8 * SEGMENT));
        let node = sim.clone();
        let identity = |node: &Sim| Identity::open(&node.env(1).disk, Path::new(DIR), CLUSTER, 1, [7; 16]);
        let (first, _lock) = sim.spawn_on(1, async move { identity(&node).unwrap() }).await.unwrap();
        let wal = opened(&sim).await;
        let acknowledged = fill(&sim, &wal.partition(P)).await;
        for round in 1..20 {
            sim.kill(1);
            // Somebody else takes whatever room there is.
            sim.set_disk_capacity(1, Some(sim.disk_used(1)));
            sim.restart(1);
            let node = sim.clone();
            let (again, _lock) = sim.spawn_on(1, async move { identity(&node).unwrap() }).await.unwrap();
            assert_eq!((again.boot_epoch, again.incarnation), (first.boot_epoch + round, first.incarnation));
            let wal = opened(&sim).await;
            let found = view(&wal.partition(P)).entries;
            assert!(found.len() as u64 >= acknowledged, "round {round}: {} of {acknowledged}", found.len());
            sim.sleep(LOOK).await;
            assert_eq!(wal.disk_space().space, Space::Full, "round {round}");
            assert!(sim.halted(1).is_none());
        }
        sim.set_disk_capacity(1, None);
        sim.restart(1);
        let wal = opened(&sim).await;
        let log = wal.partition(P);
        let next = log.last().unwrap().index + 1;
        append(&log, vec![payload_entry(1, next, "room")]).await.unwrap();
    });
}

#[test]
fn a_wal_that_waits_for_room_can_be_closed() {
    let sim = Sim::seed(5);
    sim.run(async {
        let (wal, log) = on_a_small_disk(&sim).await;
        let acknowledged = fill(&sim, &log).await;
        let refused = append(&log, vec![payload_entry(1, acknowledged + 1, "late")]);
        wal.close().await;
        assert_eq!(refused.await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(sim.halted(1).is_none(), "nothing is in doubt");
        drop((wal, log));
        let wal = opened(&sim).await;
        assert!(view(&wal.partition(P)).entries.len() as u64 >= acknowledged);
    });
}

#[test]
fn a_segment_made_ahead_by_an_earlier_process_is_used() {
    on_node(1, |sim| async move {
        let wal = open_with(&sim, supplied()).unwrap();
        sim.sleep(LOOK).await;
        append(&wal.partition(P), entries(1, 0..1)).await.unwrap();
        wal.close().await;
        drop(wal);
        let before = (names(&sim), sim.disk_used(1));
        assert!(before.0.contains(&"spare".into()), "{before:?}");
        // To be known again by its last bytes.
        let spare = Path::new(DIR).join("wal/spare");
        sim.env(1).disk.open(&spare).unwrap().write_all_at(SEGMENT - 4, &[b"mine"]).unwrap();
        // Not closed in order: what is written next needs a fresh segment.
        let disk = sim.env(1).disk;
        let first = Path::new(DIR).join("wal/00000000000000000001.seg");
        disk.open(&first).unwrap().write_all_at(12_000, &[b"torn"]).unwrap();
        let wal = open_with(&sim, supplied()).unwrap();
        assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..1));
        append(&wal.partition(P), entries(1, 1..2)).await.unwrap();
        assert_eq!(wal.stats().segment, 2);
        assert!(read_file(&disk, &Path::new(DIR).join("wal/00000000000000000002.seg")).ends_with(b"mine"));
        assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..2));
    });
}

#[test]
fn a_segment_made_ahead_that_has_another_name_already_is_never_used_twice() {
    on_node(1, |sim| async move {
        let wal = open_with(&sim, supplied()).unwrap();
        append(&wal.partition(P), entries(1, 0..3)).await.unwrap();
        wal.close().await;
        drop(wal);
        // A power cut can keep the new name of a rename and the old one, too.
        let (disk, dir) = (sim.env(1).disk, Path::new(DIR).join("wal"));
        let bytes = read_file(&disk, &dir.join("00000000000000000001.seg"));
        write_file(&disk, &dir.join("spare"), &bytes);
        disk.open(&dir.join("00000000000000000001.seg")).unwrap().write_all_at(12_000, &[b"torn"]).unwrap();
        let wal = open_with(&sim, supplied()).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 3..5)).await.unwrap();
        assert_eq!(view(&log).entries, entries(1, 0..5));
        drop((wal, log));
        let wal = open_with(&sim, supplied()).unwrap();
        assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..5));
    });
}

#[test]
fn a_disk_that_turns_read_only_halts_an_idle_node_in_seconds() {
    let sim = Sim::seed(1);
    sim.run(async {
        let wal = opened(&sim).await;
        append(&wal.partition(P), entries(1, 0..1)).await.unwrap();
        sim.sleep(LONG).await;
        assert!(sim.halted(1).is_none());
        sim.set_disk_read_only(1, true);
        sim.sleep(2 * LOOK).await;
        assert!(matches!(sim.halted(1), Some(Halt::DiskFailed(_))), "{:?}", sim.halted(1));
    });
}

/// Whether an append was acknowledged; a node that halts meanwhile does not answer.
async fn attempt(log: &Log, entry: WalEntry) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    log.append(vec![entry], Box::new(move |result| drop(sender.send(result))));
    matches!(receiver.await, Ok(Ok(())))
}

/// A node that rotates while its disk does what it is told; gives the halt, if there was one, and whether all of what was
/// acknowledged is there afterwards.
fn rotating(call: DiskCall, nth: u64, error: DiskError, options: &WalOptions) -> Option<Halt> {
    let sim = Sim::seed(nth);
    sim.run(async {
        let (node, chosen) = (sim.clone(), options.clone());
        let wal = sim.spawn_on(1, async move { open_with(&node, chosen).unwrap() }).await.unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..1)).await.unwrap();
        sim.sleep(LOOK).await;
        sim.fail_disk(1, call, nth, error);
        let mut acknowledged = 1;
        while acknowledged < 40 {
            if !attempt(&log, payload_entry(1, acknowledged, vec![2; 2000])).await {
                break;
            }
            acknowledged += 1;
            sim.sleep(Duration::from_millis(200)).await;
        }
        let fired = sim.disk_failures(1);
        assert_eq!(fired, [(call, error)], "the fault fired");
        let halt = sim.halted(1);
        assert_eq!(halt.is_none(), acknowledged == 40, "{call:?} {nth}: {acknowledged}, {halt:?}");
        drop((wal, log));
        sim.power_cut(1);
        sim.restart(1);
        let (node, chosen) = (sim.clone(), options.clone());
        let after = async move { view(&open_with(&node, chosen).unwrap().partition(P)) };
        let after = sim.spawn_on(1, after).await.unwrap();
        assert!(
            after.entries.len() as u64 >= acknowledged,
            "{call:?} {nth}: {} of {acknowledged}",
            after.entries.len()
        );
        halt
    })
}

#[test]
fn any_error_on_the_way_to_a_segment_halts_and_only_a_lack_of_space_before_it_has_a_name_does_not() {
    use DiskCall::{Allocate, Create, Rename, SyncAll, SyncData, SyncDir, Write};
    for options in [options(), supplied()] {
        for call in [Create, Allocate, SyncAll, Rename, SyncDir, Write, SyncData] {
            for nth in 1..4 {
                let halt = rotating(call, nth, DiskError::Io, &options);
                assert!(matches!(halt, Some(Halt::DiskFailed(_))), "{call:?} {nth}: {halt:?}");
            }
        }
        for call in [Create, Allocate, SyncAll] {
            assert_eq!(rotating(call, 1, DiskError::Full, &options), None, "{call:?}");
        }
        for call in [Rename, SyncDir, SyncData] {
            let halt = rotating(call, 1, DiskError::Full, &options);
            assert!(matches!(halt, Some(Halt::DiskFailed(_))), "{call:?}: {halt:?}");
        }
    }
}
