//! What can be ordered to go wrong with a simulated disk does go wrong, and as it was ordered.
use super::*;
use crate::testing::{DiskCall, DiskError, PlantedBug, Rot, SimDisk};
use std::io;

const FILE: &str = "/data/file";

fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error()
}

/// Three sectors of ones, twos and threes, synced, with a synced name.
async fn three_sectors(sim: &Sim) -> <SimDisk as Disk>::File {
    let disk = sim.env(1).disk;
    disk.create_dir_all(Path::new("/data")).unwrap();
    let file = disk.create_new(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    file.write_all_at(0, &[&[1; 512], &[2; 512], &[3; 512]]).unwrap();
    file.sync_data().await.unwrap();
    file
}

fn contents(disk: &SimDisk) -> Vec<u8> {
    let file = disk.open_read(Path::new(FILE)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

/// The first byte of each sector.
fn sectors(disk: &SimDisk) -> Vec<u8> {
    contents(disk).chunks(512).map(|sector| sector[0]).collect()
}

#[test]
fn a_full_disk_refuses_to_grow_and_takes_what_has_its_place() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        let disk = sim.env(1).disk;
        assert_eq!(sim.disk_used(1), 4096, "a file takes whole blocks");
        sim.set_disk_capacity(1, Some(3 * 4096));
        assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), 2 * 4096);
        let full = file.allocate(4 * 4096).unwrap_err();
        assert_eq!((full.kind(), errno(&full)), (io::ErrorKind::StorageFull, Some(28)));
        assert_eq!(file.len().unwrap(), 1536, "nothing was allocated");
        file.allocate(2 * 4096).unwrap();
        file.write_all_at(4096, &[&[7; 4096]]).unwrap();
        let full = file.write_all_at(2 * 4096, &[&[8; 2 * 4096]]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 3 * 4096, "what fitted was written");
        assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), 0);
        file.write_all_at(0, &[&[9; 4096]]).expect("what has its place can be written");
        disk.create_new(Path::new("/data/other")).expect("a name takes no space").allocate(1).unwrap_err();
        disk.remove_file(Path::new(FILE)).unwrap();
        assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), 3 * 4096);
        disk.open(Path::new("/data/other")).unwrap().allocate(3 * 4096).unwrap();
        sim.set_disk_capacity(1, None);
        disk.open(Path::new("/data/other")).unwrap().allocate(100 * 4096).unwrap();
        let failures = sim.disk_failures(1);
        assert_eq!(
            failures,
            [DiskCall::Allocate, DiskCall::Write, DiskCall::Allocate].map(|call| (call, DiskError::Full))
        );
    });
}

#[test]
fn the_nth_call_of_a_kind_fails_once_with_the_error_that_was_ordered() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        let disk = sim.env(1).disk;
        sim.fail_disk(1, DiskCall::Open, 2, DiskError::TooManyFiles);
        disk.open(Path::new(FILE)).unwrap();
        assert_eq!(errno(&disk.open_read(Path::new(FILE)).unwrap_err()), Some(24));
        disk.open_read(Path::new(FILE)).unwrap();
        sim.fail_disk(1, DiskCall::Read, 1, DiskError::Io);
        assert_eq!(errno(&file.read_exact_at(0, &mut [0]).unwrap_err()), Some(5));
        file.read_exact_at(0, &mut [0]).unwrap();
        for (call, run) in [
            (DiskCall::CreateDir, Box::new(|| disk.create_dir_all(Path::new("/x"))) as Box<dyn Fn() -> io::Result<()>>),
            (DiskCall::List, Box::new(|| disk.list(Path::new("/data")).map(drop))),
            (DiskCall::Create, Box::new(|| disk.create_new(Path::new("/data/new")).map(drop))),
            (DiskCall::Rename, Box::new(|| disk.rename(Path::new("/data/new"), Path::new("/data/newer")))),
            (DiskCall::Remove, Box::new(|| disk.remove_file(Path::new("/data/newer")))),
            (DiskCall::SyncDir, Box::new(|| disk.sync_dir(Path::new("/data")))),
            (DiskCall::Lock, Box::new(|| disk.lock(Path::new("/data/lock")).map(drop))),
            (DiskCall::Write, Box::new(|| file.write_all_at(0, &[b"x"]))),
            (DiskCall::Allocate, Box::new(|| file.allocate(4096))),
            (DiskCall::Truncate, Box::new(|| file.truncate(1536))),
            (DiskCall::SyncAll, Box::new(|| file.sync_all())),
        ] {
            sim.fail_disk(1, call, 1, DiskError::Io);
            assert_eq!(errno(&run().unwrap_err()), Some(5), "{call:?}");
            run().unwrap_or_else(|error| panic!("{call:?} fails once: {error}"));
            assert_eq!(sim.disk_failures(1).last(), Some(&(call, DiskError::Io)));
        }
        sim.fail_disk(1, DiskCall::Write, 1, DiskError::Io);
        sim.mend_disk(1);
        file.write_all_at(0, &[b"x"]).expect("the order was taken back");
    });
}

#[test]
fn a_read_only_file_system_is_read_and_nothing_else() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        sim.set_disk_read_only(1, true);
        assert_eq!(errno(&file.write_all_at(0, &[b"x"]).unwrap_err()), Some(30));
        assert_eq!(file.sync_data().await.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        sim.kill(1);
        let disk = sim.restart(1).disk;
        assert_eq!(sectors(&disk), [1, 2, 3]);
        disk.lock(Path::new("/data/lock")).expect_err("it outlives a restart");
        sim.set_disk_read_only(1, false);
        disk.lock(Path::new("/data/lock")).unwrap();
    });
}

#[test]
fn sectors_of_4096_bytes_are_written_whole_or_not_at_all() {
    for size in [512, 4096] {
        let mut mixed = 0;
        for seed in 0..32 {
            let sim = Sim::seed(seed);
            sim.set_sector_size(1, size);
            sim.run(async {
                let file = three_sectors(&sim).await;
                file.write_all_at(0, &[&[9; 1536]]).unwrap();
                sim.power_cut(1);
                let left = sectors(&sim.restart(1).disk);
                mixed += usize::from(left != [1, 2, 3] && left != [9, 9, 9]);
            });
        }
        assert_eq!(mixed > 0, size == 512, "{size}: {mixed}");
    }
}

#[test]
fn what_rots_is_what_was_ordered_and_it_is_on_record() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        let path = Path::new(FILE);
        let disk = sim.env(1).disk;
        sim.rot(1, path, Rot::FlipBit { offset: 513, bit: 2 }).unwrap();
        assert_eq!(contents(&disk)[512..515], [2, 2 ^ 4, 2]);
        sim.rot(1, path, Rot::Zero { sector: 0 }).unwrap();
        assert_eq!(sectors(&disk), [0, 2, 3]);
        let nothing = sim.rot(1, path, Rot::Zero { sector: 0 }).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::InvalidInput, "it changes nothing");
        sim.rot(1, path, Rot::Zero { sector: 3 }).expect_err("the file has three sectors");
        sim.rot(1, path, Rot::Garble { sector: 2 }).unwrap();
        assert_ne!(contents(&disk)[1024..], [3; 512]);
        file.write_all_at(0, &[&[4; 512], &[5; 512], &[6; 512]]).unwrap();
        file.sync_data().await.unwrap();
        sim.rot(1, path, Rot::Misdirected { from: 0, to: 2 }).unwrap();
        assert_eq!(sectors(&disk), [0, 5, 4], "the write of the first sector went to the third");
        sim.rot(1, path, Rot::LostWrite { sector: 1 }).unwrap();
        assert_eq!(sectors(&disk), [0, 2, 4]);
        sim.rot(1, path, Rot::Cut { len: 600 }).unwrap();
        assert_eq!(contents(&disk).len(), 600);
        sim.power_cut(1);
        let disk = sim.restart(1).disk;
        assert_eq!(contents(&disk).len(), 600, "damage is durable");
        sim.rot(1, path, Rot::Lost).unwrap();
        sim.power_cut(1);
        assert!(!sim.restart(1).disk.exists(path).unwrap());
        let kinds: Vec<Rot> = sim.rotten(1).into_iter().map(|rotten| rotten.rot).collect();
        assert_eq!((kinds.len(), kinds.first()), (7, Some(&Rot::FlipBit { offset: 513, bit: 2 })));
    });
}

#[test]
fn what_was_not_synced_yet_may_still_overwrite_the_rot() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        file.write_all_at(0, &[&[9; 512]]).unwrap();
        sim.rot(1, Path::new(FILE), Rot::Zero { sector: 0 }).unwrap();
        let disk = sim.env(1).disk;
        assert_eq!(sectors(&disk), [9, 2, 3], "the new bytes are in the page cache");
        file.sync_data().await.unwrap();
        sim.power_cut(1);
        assert_eq!(sectors(&sim.restart(1).disk), [9, 2, 3]);
    });
}

#[test]
fn a_stale_read_gives_what_was_there_before_once() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        file.write_all_at(512, &[&[9; 512]]).unwrap();
        file.sync_data().await.unwrap();
        let disk = sim.env(1).disk;
        sim.read_stale(1, 1);
        assert_eq!(sectors(&disk), [0, 2, 0], "each sector as it was before its last sync");
        assert_eq!(sectors(&disk), [1, 9, 3]);
    });
}

#[test]
fn a_planted_bug_loses_what_was_said_to_be_durable() {
    for bug in [PlantedBug::SyncDataLies(|bytes| bytes.contains(&9)), PlantedBug::SyncDirLies] {
        let mut lost = 0;
        for seed in 0..16 {
            let sim = Sim::seed(seed);
            sim.run(async {
                let file = three_sectors(&sim).await;
                sim.plant_disk_bug(1, Some(bug));
                let disk = sim.env(1).disk;
                file.write_all_at(0, &[&[9; 512]]).unwrap();
                file.sync_data().await.unwrap();
                disk.rename(Path::new(FILE), Path::new("/data/renamed")).unwrap();
                disk.rename(Path::new("/data/renamed"), Path::new(FILE)).unwrap();
                disk.create_new(Path::new("/data/new")).unwrap();
                disk.sync_dir(Path::new("/data")).unwrap();
                sim.power_cut(1);
                let disk = sim.restart(1).disk;
                let data = !disk.exists(Path::new(FILE)).unwrap() || sectors(&disk)[0] != 9;
                let name = !disk.exists(Path::new("/data/new")).unwrap();
                lost += usize::from(match bug {
                    PlantedBug::SyncDataLies(_) => data,
                    PlantedBug::SyncDirLies => name,
                });
            });
        }
        assert!(lost > 0, "{bug:?}");
    }
}

#[test]
fn a_copy_put_back_is_the_disk_as_it_was() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        let copy = sim.copy_disk(1);
        assert_eq!(
            copy.files().map(|(path, bytes)| (path.to_owned(), bytes.len())).collect::<Vec<_>>(),
            [(FILE.into(), 1536)]
        );
        file.write_all_at(0, &[&[9; 512]]).unwrap();
        file.sync_data().await.unwrap();
        sim.env(1).disk.create_dir_all(Path::new("/data/newer")).unwrap();
        sim.kill(1);
        sim.restore_disk(1, &copy);
        sim.power_cut(1);
        let disk = sim.restart(1).disk;
        assert_eq!(sectors(&disk), [1, 2, 3]);
        assert!(!disk.exists(Path::new("/data/newer")).unwrap());
    });
}

#[test]
fn a_process_can_die_at_an_operation_and_lose_nothing_it_wrote() {
    let sim = Sim::seed(1);
    sim.run(async {
        let file = three_sectors(&sim).await;
        sim.kill_at(1, 2);
        file.write_all_at(0, &[&[9; 512]]).unwrap();
        file.write_all_at(512, &[&[9; 512]]).unwrap_err();
        assert!(!sim.is_alive(1));
        assert_eq!(sectors(&sim.restart(1).disk), [9, 2, 3]);
    });
}
