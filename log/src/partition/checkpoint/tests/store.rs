use super::*;
use crate::{
    testing::{Sim, SimDisk},
    topic::ClusterId,
};
use std::sync::Arc;

const OWNER: Owner = Owner { cluster: ClusterId([3; 16]), node: 1, incarnation: [4; 16] };
const P: PartitionId = PartitionId::new(1, 0);
const Q: PartitionId = PartitionId::new(1, 1);

fn snapshot(index: u64) -> pb::PartitionSnapshot {
    pb::PartitionSnapshot {
        last: Some(pb::LogId { term: 1, index }),
        machine: Bytes::from(vec![index as u8; 2000]),
        ..pb::PartitionSnapshot::default()
    }
}

fn name(partition: PartitionId, index: u64) -> String {
    Name { kind: Kind::Checkpoint, partition, index }.to_string()
}

fn open(disk: SimDisk) -> Store<SimDisk> {
    Store::open(disk, Path::new("/data"), OWNER, drop).expect("opens")
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new("/data/checkpoints")).expect("is there")
}

fn on_disk<T>(script: impl FnOnce(Sim, SimDisk) -> T) -> T {
    let sim = Sim::seed(1);
    sim.run(async { script(sim.clone(), sim.env(1).disk) })
}

#[test]
fn the_two_newest_are_kept_of_each_partition() {
    on_disk(|_, disk| {
        let store = open(disk.clone());
        for index in [3, 10, 200] {
            store.write(P, &snapshot(index)).unwrap();
        }
        store.write(Q, &snapshot(5)).unwrap();
        assert_eq!(names(&disk), [name(P, 10), name(P, 200), name(Q, 5)]);
        assert_eq!((store.newest(P), store.newest(Q)), (Some(200), Some(5)));
        assert_eq!(store.read(P, 10).unwrap(), snapshot(10));
        store.forget(P);
        assert_eq!(names(&disk), [name(Q, 5)]);
    });
}

#[test]
fn a_file_of_another_length_than_its_header_says_is_damage_before_room_is_made_for_it() {
    on_disk(|_, disk| {
        let store = open(disk.clone());
        store.write(P, &snapshot(3)).unwrap();
        let written = disk.open(&store.path(P, 3)).unwrap();
        let len = written.len().unwrap();
        let sparse = disk.create_new(&store.path(P, 4)).unwrap();
        sparse.allocate(1 << 60).unwrap();
        let found = store.read(P, 4);
        assert!(matches!(found, Err(ReadError::File(FileError::Damaged(_)))), "{found:?}");
        for long in [len + 1, 1 << 60] {
            written.allocate(long).unwrap();
            let found = store.read(P, 3);
            assert!(matches!(found, Err(ReadError::File(FileError::Damaged(_)))), "{long}: {found:?}");
        }
        for short in [len - 1, 95, 0] {
            written.truncate(short).unwrap();
            let found = store.read(P, 3);
            assert!(matches!(found, Err(ReadError::File(FileError::Damaged(_)))), "{short}: {found:?}");
        }
    });
}

#[test]
fn what_was_never_finished_is_removed_and_what_is_not_ours_is_left() {
    on_disk(|_, disk| {
        open(disk.clone()).write(P, &snapshot(3)).unwrap();
        let dir = Path::new("/data/checkpoints");
        let unfinished = format!("{}.new", name(P, 9));
        for name in [&unfinished[..], "notes.txt", "0-1.ckpt"] {
            disk.create_new(&dir.join(name)).unwrap();
        }
        let store = open(disk.clone());
        assert_eq!(names(&disk), ["0-1.ckpt", name(P, 3).as_str(), "notes.txt"]);
        assert_eq!(store.candidates(P), [3]);
    });
}

#[test]
fn a_name_that_lies_about_its_content_is_damage() {
    on_disk(|_, disk| {
        let store = open(disk.clone());
        store.write(P, &snapshot(3)).unwrap();
        disk.rename(&store.path(P, 3), &store.path(P, 4)).unwrap();
        assert!(matches!(store.read(P, 4), Err(ReadError::File(FileError::Damaged(_)))));
    });
}

#[test]
fn a_discarded_copy_does_not_count_as_one_of_the_two() {
    on_disk(|_, disk| {
        let store = open(disk.clone());
        store.write(P, &snapshot(3)).unwrap();
        store.write(P, &snapshot(4)).unwrap();
        // The next start finds 4 unusable and goes by 3.
        let store = open(disk.clone());
        assert_eq!(store.candidates(P), [4, 3]);
        store.trust(P, 3, &snapshot(3));
        store.write(P, &snapshot(8)).unwrap();
        assert_eq!(names(&disk), [name(P, 3), name(P, 8)]);
    });
}

#[test]
fn a_full_disk_is_a_refusal_that_leaves_the_one_before() {
    on_disk(|sim, disk| {
        let store = open(disk.clone());
        store.write(P, &snapshot(3)).unwrap();
        sim.fail_next_write(1, io::ErrorKind::StorageFull);
        let refused = store.write(P, &snapshot(4));
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        assert_eq!(names(&disk), [name(P, 3)], "the room is given back");
        assert_eq!(store.read(P, 3).unwrap(), snapshot(3));
        store.write(P, &snapshot(4)).unwrap();
        assert_eq!(store.newest(P), Some(4));
    });
}

#[test]
fn any_other_failure_is_one_of_the_disk() {
    type Order = fn(&Sim);
    let orders: [Order; 2] =
        [|sim| sim.fail_next_write(1, io::ErrorKind::Other), |sim| sim.fail_next_sync(1, io::ErrorKind::Other)];
    for order in orders {
        on_disk(|sim, disk| {
            let store = open(disk);
            store.write(P, &snapshot(3)).unwrap();
            order(&sim);
            let failed = store.write(P, &snapshot(4));
            assert!(matches!(failed, Err(WriteError::Disk(_))), "{failed:?}");
            assert_eq!(store.newest(P), Some(3));
        });
    }
}

/// Writes three checkpoints; says which one returned last.
fn script(disk: SimDisk, returned: &Mutex<u64>) -> Result<(), WriteError> {
    let store = Store::open(disk, Path::new("/data"), OWNER, drop)
        .map_err(|_| WriteError::Disk(io::ErrorKind::Other.into()))?;
    for index in [3, 5, 9] {
        store.write(P, &snapshot(index))?;
        *returned.lock().expect("nobody panics with it") = index;
    }
    Ok(())
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_checkpoint_or_the_new() {
    let run = |seed: u64, operation: Option<u64>| {
        let sim = Sim::seed(seed);
        sim.run(async {
            if let Some(operation) = operation {
                sim.power_cut_at(1, operation);
            }
            let returned = Arc::new(Mutex::new(0));
            let (disk, told) = (sim.env(1).disk, returned.clone());
            let ended = sim.spawn_on(1, async move { script(disk, &told).is_ok() }).await;
            match operation {
                None => assert_eq!(ended, Ok(true), "seed {seed}"),
                // What is cut off last is the removal of one that is superseded, which nobody waits for.
                Some(operation) => assert!(!sim.is_alive(1), "seed {seed}: the power was not cut at {operation}"),
            }
            let operations = sim.disk_operations(1);
            sim.power_cut(1);
            let store = open(sim.restart(1).disk);
            let intact: Vec<u64> =
                store.candidates(P).into_iter().filter(|index| store.read(P, *index).is_ok()).collect();
            let returned = *returned.lock().unwrap();
            let place = format!("seed {seed}, operation {operation:?}: {returned} returned, {intact:?} are intact");
            assert_eq!(intact.len(), store.candidates(P).len(), "{place}: a name without its content");
            assert!(intact.first().copied().unwrap_or(0) >= returned, "{place}");
            for index in intact {
                assert_eq!(store.read(P, index).unwrap(), snapshot(index), "{place}");
            }
            operations
        })
    };
    for seed in 0..6 {
        let operations = run(seed, None);
        assert!(operations > 15, "{operations}");
        for operation in 1..=operations {
            run(seed, Some(operation));
        }
    }
}
