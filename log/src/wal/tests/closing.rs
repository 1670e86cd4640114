//! Who may open the directory next, and when; and what is left when the runtime ends first.
use super::*;
use crate::{
    testing::{DiskCall, DiskError},
    wal::{Identity, Wal, WalOptions, supply::LOOK},
    world::{
        Disk as _, RealWorld,
        real::{RealDisk, RealTasks},
    },
};
use openraft_rt::AsyncRuntime as _;
use std::{
    panic,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

#[test]
fn a_directory_stays_locked_until_nothing_is_written_there_any_more() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let identity = || Identity::open(&disk, Path::new(DIR), CLUSTER, 1, [1; 16]);
        let lock = identity().unwrap().1;
        let wal = open(&sim).unwrap();
        wal.hold(Arc::new(lock));
        sim.set_sync_delay(1, Duration::from_millis(100)..=Duration::from_millis(100));
        drop(wal.partition(P).save_vote(Vote { term: 1, node: 1, committed: false }));
        drop(wal);
        for _ in 0..15 {
            assert!(matches!(identity(), Err(OpenError::Locked(_))), "the vote and the closing mark are being synced");
            sim.sleep(Duration::from_millis(10)).await;
        }
        sim.sleep(Duration::from_secs(1)).await;
        identity().expect("the writer has ended");
        assert_eq!(open(&sim).unwrap().partition(P).vote().map(|vote| vote.term), Some(1));
    });
}

#[test]
fn the_end_of_the_runtime_ends_neither_writer_nor_supplier_in_a_panic() {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let ours = thread::current().name().is_some_and(|name| ["wal", "wal-supply"].contains(&name));
        PANICS.fetch_add(u64::from(ours), Ordering::Relaxed);
        before(info);
    }));
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { dir: dir.path().join("data"), ..supplied() };
    let wal = RealTasks::new(1).block_on(async { Wal::<RealWorld>::open(&RealDisk, options).unwrap() });
    RealTasks::new(1).block_on(async {
        RealTasks::sleep(2 * LOOK).await;
        wal.close().await;
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[test]
fn a_spare_that_somebody_removed_is_made_when_it_is_needed() {
    on_node(1, |sim| async move {
        let wal = open_with(&sim, supplied()).unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        sim.env(1).disk.remove_file(&Path::new(DIR).join("wal/spare")).expect("it was made ahead");
        let mut index = 0;
        while wal.stats().segment < 3 {
            append(&wal.partition(P), vec![payload_entry(1, index, vec![0; 3000])]).await.unwrap();
            index += 1;
        }
        assert!(sim.halted(1).is_none());
    });
}

#[test]
fn a_copy_that_cannot_be_read_is_as_good_as_one_that_is_missing() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let open = || Identity::open(&disk, Path::new(DIR), CLUSTER, 1, [1; 16]).map(|(identity, _)| identity);
        open().unwrap();
        for nth in 1..=3 {
            sim.fail_disk(1, DiskCall::Read, nth, DiskError::Io);
            assert_eq!(open().unwrap().boot_epoch, 1 + nth);
            assert_eq!(sim.disk_failures(1).len() as u64, nth, "the order fired");
        }
        sim.fail_disk(1, DiskCall::Read, 1, DiskError::Io);
        sim.fail_disk(1, DiskCall::Read, 2, DiskError::Io);
        assert!(matches!(open(), Err(OpenError::Io { .. })), "what one copy says alone is not believed");
        assert_eq!(open().unwrap().boot_epoch, 5);
    });
}
