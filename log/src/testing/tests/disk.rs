use super::*;
use crate::{testing::SimDisk, world::conformance};
use std::io;

const FILE: &str = "/data/file";

/// A directory and a file whose names are durable.
fn prepared(sim: &Sim) -> <SimDisk as Disk>::File {
    let disk = sim.env(1).disk;
    disk.create_dir_all(Path::new("/data")).unwrap();
    let file = disk.create_new(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    file
}

fn contents(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open_read(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

/// Runs the same thing with many seeds and tells what was seen.
fn outcomes<T: Ord>(run: impl AsyncFn(&Sim) -> T) -> std::collections::BTreeSet<T> {
    (0..64)
        .map(|seed| {
            let sim = Sim::seed(seed);
            sim.run(run(&sim))
        })
        .collect()
}

#[test]
fn it_keeps_the_contract_of_the_seam() {
    let sim = Sim::seed(1);
    sim.run(async { conformance::disk(&sim.env(1).disk, Path::new("/")).await });
}

#[test]
fn what_was_written_survives_a_kill_and_what_was_synced_a_power_cut() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = prepared(&sim);
        file.write_all_at(0, &[b"one ", b"two "]).unwrap();
        sim.kill(1);
        let disk = sim.restart(1).disk;
        assert_eq!(contents(&disk, FILE), b"one two ");
        let file = disk.open(Path::new(FILE)).unwrap();
        file.write_all_at(8, &[b"three"]).unwrap();
        file.sync_data().await.unwrap();
        sim.power_cut(1);
        assert_eq!(contents(&sim.restart(1).disk, FILE), b"one two three");
    });
}

#[test]
fn a_power_cut_keeps_any_subset_of_the_unsynced_sectors() {
    let seen = outcomes(async |sim| {
        let file = prepared(sim);
        file.write_all_at(0, &[&[1; 1024]]).unwrap();
        file.sync_data().await.unwrap();
        file.write_all_at(0, &[&[2; 1024]]).unwrap();
        sim.power_cut(1);
        let left = contents(&sim.restart(1).disk, FILE);
        assert!(left[..512].iter().all(|byte| *byte == left[0]), "a sector is whole");
        assert!(left[512..].iter().all(|byte| *byte == left[512]), "a sector is whole");
        (left[0], left[512])
    });
    assert_eq!(Vec::from_iter(seen), [(1, 1), (1, 2), (2, 1), (2, 2)]);
}

#[test]
fn length_and_data_survive_independently() {
    let seen = outcomes(async |sim| {
        let file = prepared(sim);
        file.write_all_at(0, &[b"data"]).unwrap();
        sim.power_cut(1);
        String::from_utf8(contents(&sim.restart(1).disk, FILE)).unwrap()
    });
    assert_eq!(Vec::from_iter(seen), ["", "\0\0\0\0", "data"]);
}

#[test]
fn a_cut_that_was_not_synced_may_come_back() {
    let seen = outcomes(async |sim| {
        let file = prepared(sim);
        file.write_all_at(0, &[&[7; 600]]).unwrap();
        file.sync_data().await.unwrap();
        file.truncate(100).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        sim.power_cut(1);
        let left = contents(&sim.restart(1).disk, FILE);
        assert!(left[..100].iter().all(|byte| *byte == 7));
        left.len()
    });
    assert_eq!(Vec::from_iter(seen), [100, 600]);
}

#[test]
fn a_sync_covers_only_what_was_written_before_it_began() {
    let seen = outcomes(async |sim| {
        let file = std::sync::Arc::new(prepared(sim));
        file.write_all_at(0, &[&[1; 512]]).unwrap();
        let syncing = file.clone();
        let sync = sim.spawn_on(1, async move { syncing.sync_data().await });
        sim.sleep(Duration::from_micros(10)).await;
        file.write_all_at(512, &[&[2; 512]]).unwrap();
        file.write_all_at(0, &[&[3; 512]]).unwrap();
        sync.await.unwrap().unwrap();
        sim.power_cut(1);
        let mut left = contents(&sim.restart(1).disk, FILE);
        left.resize(1024, 0);
        (left[0], left[512])
    });
    assert!(seen.iter().all(|(first, _)| *first == 1 || *first == 3), "{seen:?}");
    assert!(seen.contains(&(1, 0)) && seen.contains(&(3, 2)), "{seen:?}");
}

#[test]
fn a_sync_that_did_not_end_promises_nothing() {
    let seen = outcomes(async |sim| {
        let file = prepared(sim);
        sim.set_sync_delay(1, ms(10)..=ms(10));
        file.write_all_at(0, &[b"x"]).unwrap();
        sim.spawn_on(1, async move { file.sync_data().await });
        sim.sleep(ms(9)).await;
        sim.power_cut(1);
        contents(&sim.restart(1).disk, FILE).len()
    });
    assert_eq!(Vec::from_iter(seen), [0, 1]);
}

#[test]
fn an_older_sync_that_ends_later_does_not_take_back_a_newer_one() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = std::sync::Arc::new(prepared(&sim));
        sim.set_sync_delay(1, ms(10)..=ms(10));
        file.write_all_at(0, &[b"old"]).unwrap();
        let slow = file.clone();
        let slow = sim.spawn_on(1, async move { slow.sync_data().await });
        sim.sleep(ms(1)).await;
        sim.set_sync_delay(1, ms(1)..=ms(1));
        file.write_all_at(0, &[b"new"]).unwrap();
        file.sync_data().await.unwrap();
        slow.await.unwrap().unwrap();
        sim.power_cut(1);
        assert_eq!(contents(&sim.restart(1).disk, FILE), b"new");
    });
}

#[test]
fn a_name_that_was_not_synced_may_vanish() {
    let seen = outcomes(async |sim| {
        let disk = sim.env(1).disk;
        disk.create_dir_all(Path::new("/data")).unwrap();
        let file = disk.create_new(Path::new(FILE)).unwrap();
        file.write_all_at(0, &[b"x"]).unwrap();
        file.sync_all().unwrap();
        sim.power_cut(1);
        let disk = sim.restart(1).disk;
        assert!(disk.exists(Path::new("/data")).unwrap(), "create_dir_all syncs");
        let there = disk.exists(Path::new(FILE)).unwrap();
        assert!(!there || contents(&disk, FILE) == b"x");
        there
    });
    assert_eq!(Vec::from_iter(seen), [false, true]);
}

#[test]
fn a_rename_that_was_not_synced_leaves_either_content_and_never_none() {
    let seen = outcomes(async |sim| {
        let disk = sim.env(1).disk;
        for (name, bytes) in [("/file", b"old"), ("/side", b"new")] {
            let file = disk.create_new(Path::new(name)).unwrap();
            file.write_all_at(0, &[bytes]).unwrap();
            file.sync_data().await.unwrap();
        }
        disk.sync_dir(Path::new("/")).unwrap();
        disk.rename(Path::new("/side"), Path::new("/file")).unwrap();
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["file"]);
        sim.power_cut(1);
        let disk = sim.restart(1).disk;
        (contents(&disk, "/file"), disk.exists(Path::new("/side")).unwrap())
    });
    let contents: std::collections::BTreeSet<_> = seen.into_iter().map(|(contents, _)| contents).collect();
    assert_eq!(Vec::from_iter(contents), [b"new", b"old"]);
}

#[test]
fn a_removal_is_durable_after_the_directory_was_synced() {
    let removed = |synced: bool| {
        outcomes(async move |sim| {
            let file = prepared(sim);
            drop(file);
            let disk = sim.env(1).disk;
            disk.remove_file(Path::new(FILE)).unwrap();
            if synced {
                disk.sync_dir(Path::new("/data")).unwrap();
            }
            sim.power_cut(1);
            sim.restart(1).disk.exists(Path::new(FILE)).unwrap()
        })
    };
    assert_eq!(Vec::from_iter(removed(false)), [false, true]);
    assert_eq!(Vec::from_iter(removed(true)), [false]);
}

#[test]
fn after_a_failed_sync_the_bytes_are_read_until_the_power_is_cut_and_then_gone() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = prepared(&sim);
        file.write_all_at(0, &[b"old"]).unwrap();
        file.sync_data().await.unwrap();
        file.write_all_at(0, &[b"new"]).unwrap();
        sim.fail_next_sync(1, io::ErrorKind::StorageFull);
        assert_eq!(file.sync_data().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.sync_data().await.unwrap();
        assert_eq!(contents(&sim.env(1).disk, FILE), b"new");
        sim.power_cut(1);
        assert_eq!(contents(&sim.restart(1).disk, FILE), b"old");
    });
}

#[test]
fn a_failed_write_may_have_written_a_part() {
    let seen = outcomes(async |sim| {
        let file = prepared(sim);
        sim.fail_next_write(1, io::ErrorKind::Other);
        file.write_all_at(0, &[b"abc"]).unwrap_err();
        file.len().unwrap()
    });
    assert_eq!(Vec::from_iter(seen), [0, 1, 2, 3]);
}

#[test]
fn a_lock_is_exclusive_and_ends_with_its_holder_or_its_node() {
    let sim = Sim::seed(1);
    sim.run(async {
        let disk = sim.env(1).disk;
        let path = Path::new("/lock");
        let held = disk.lock(path).unwrap();
        assert_eq!(disk.lock(path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        let of_the_dead = disk.lock(path).unwrap();
        sim.kill(1);
        let disk = sim.restart(1).disk;
        let _held = disk.lock(path).unwrap();
        drop(of_the_dead);
        assert_eq!(disk.lock(path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn handles_of_a_dead_incarnation_fail() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = prepared(&sim);
        let disk = sim.env(1).disk;
        sim.restart(1);
        assert!(file.write_all_at(0, &[b"x"]).is_err());
        assert!(file.sync_data().await.is_err());
        assert!(disk.open(Path::new(FILE)).is_err());
        assert_eq!(contents(&sim.env(1).disk, FILE), b"");
    });
}

#[test]
fn the_power_can_fail_at_every_operation() {
    let script = async |sim: &Sim| {
        let env = sim.env(1);
        let task = sim.spawn_on(1, async move {
            env.disk.create_dir_all(Path::new("/data"))?;
            let file = env.disk.create_new(Path::new(FILE))?;
            file.write_all_at(0, &[b"x"])?;
            file.sync_data().await?;
            env.disk.sync_dir(Path::new("/data"))
        });
        matches!(task.await, Ok(Ok(())))
    };
    let sim = Sim::seed(1);
    assert!(sim.run(script(&sim)));
    let operations = sim.disk_operations(1);
    assert_eq!(operations, 6, "a sync has a beginning and an end");
    for point in 1..=operations {
        let sim = Sim::seed(1);
        sim.power_cut_at(1, point);
        assert!(!sim.run(script(&sim)), "the power fails before operation {point}");
        assert!(!sim.is_alive(1));
        sim.run(async { sim.restart(1) });
    }
}

#[test]
fn space_that_was_allocated_reads_as_zeros_and_reads_past_the_end_fail() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = prepared(&sim);
        file.write_all_at(5000, &[b"x"]).unwrap();
        file.allocate(10_000).unwrap();
        file.allocate(1).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        file.truncate(5000).unwrap();
        file.allocate(10_000).unwrap();
        assert_eq!(contents(&sim.env(1).disk, FILE), vec![0; 10_000]);
        let past = file.read_exact_at(9_999, &mut [0; 2]).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
        let missing = sim.env(1).disk.open(Path::new("/data/other")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let reader = sim.env(1).disk.open_read(Path::new(FILE)).unwrap();
        assert!(reader.write_all_at(0, &[b"x"]).is_err());
    });
}
