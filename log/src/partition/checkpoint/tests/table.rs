//! Tables against a plain map, damage of bytes everywhere, and the refusals of the writer.
use super::{super::store::Store, format::BLOCK, *};
use crate::{
    testing::{Sim, SimDisk},
    topic::ClusterId,
    world::Disk as _,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

const OWNER: Owner = Owner { cluster: ClusterId([3; 16]), node: 1, incarnation: [4; 16] };
const P: PartitionId = PartitionId::new(1, 0);
const PATH: &str = "/data/table";

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(model: &Model) -> impl Iterator<Item = (Bytes, Bytes)> {
    model.clone().into_iter().map(|(key, value)| (key.into(), value.into()))
}

fn on_disk<T>(script: impl FnOnce(SimDisk) -> T) -> T {
    let sim = Sim::seed(1);
    sim.run(async {
        let disk = sim.env(1).disk;
        disk.create_dir_all(Path::new("/data")).unwrap();
        script(disk)
    })
}

fn write_to(disk: &SimDisk, model: &Model) {
    let file = disk.create_new(Path::new(PATH)).unwrap();
    write(&file, &OWNER, P, 7, rows(model)).unwrap();
}

fn open(disk: &SimDisk, failures: &Arc<AtomicU64>) -> Result<Table, OpenError> {
    let failures = failures.clone();
    let failed = Box::new(move |_| {
        failures.fetch_add(1, Ordering::Relaxed);
    });
    Table::open(disk.open_read(Path::new(PATH)).unwrap(), &OWNER, P, 7, failed)
}

/// Rows enough for several blocks.
fn many(count: u32) -> Model {
    (0..count).map(|n| (format!("key-{:05}", n * 3).into_bytes(), vec![n as u8; 10 + n as usize % 90])).collect()
}

fn found(table: &Table, from: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    table.range(from).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is in it, it finds what a map finds, and walks as a map does from anywhere.
    #[test]
    fn it_is_the_map_it_was_written_from(
        model in proptest::collection::btree_map(
            proptest::collection::vec(0..4_u8, 0..6),
            proptest::collection::vec(any::<u8>(), 0..700),
            0..120,
        ),
        asked in proptest::collection::vec(proptest::collection::vec(0..5_u8, 0..7), 20),
    ) {
        on_disk(|disk| {
            write_to(&disk, &model);
            let table = open(&disk, &Arc::default()).unwrap();
            verify(&table).unwrap();
            assert_eq!(table.rows(), model.len() as u64);
            for key in asked.iter().chain(model.keys()) {
                assert_eq!(table.get(key).as_deref(), model.get(key).map(Vec::as_slice), "{key:?}");
                let behind: Vec<_> = model.range(key.clone()..).map(|(key, value)| (key.clone(), value.clone())).collect();
                assert_eq!(found(&table, key), behind, "from {key:?}");
            }
        });
    }
}

#[test]
fn whatever_byte_is_damaged_nothing_else_than_what_was_written_is_found() {
    on_disk(|disk| {
        let model = many(400);
        write_to(&disk, &model);
        let failures = Arc::<AtomicU64>::default();
        let len = open(&disk, &failures).unwrap().bytes();
        assert!(len > 4 * BLOCK as u64, "{len} bytes are several blocks");
        let (mut refused, mut noticed) = (0, 0);
        for at in (0..len).step_by(7).chain(len - 120..len) {
            let file = disk.open(Path::new(PATH)).unwrap();
            let mut byte = [0];
            DiskFile::read_exact_at(&file, at, &mut byte).unwrap();
            file.write_all_at(at, &[&[byte[0] ^ 0x21]]).unwrap();
            let before = failures.load(Ordering::Relaxed);
            match open(&disk, &failures) {
                Err(_) => refused += 1,
                Ok(table) => {
                    assert!(verify(&table).is_err(), "byte {at}");
                    for (key, value) in &model {
                        let found = table.get(key);
                        assert!(found.is_none() || found.as_deref() == Some(value), "byte {at}");
                    }
                    let walked = found(&table, b"");
                    assert!(
                        model.iter().map(|(k, v)| (k.clone(), v.clone())).take(walked.len()).eq(walked),
                        "byte {at}"
                    );
                    assert!(failures.load(Ordering::Relaxed) > before + 1, "byte {at}: asked for, and walked over");
                    noticed += 1;
                }
            }
            file.write_all_at(at, &[&byte]).unwrap();
        }
        assert!(refused > 20 && noticed > 500, "{refused} refused, {noticed} noticed when they were read");
        assert_eq!(found(&open(&disk, &failures).unwrap(), b"").len(), 400, "and mended it is whole");
    });
}

#[test]
fn a_table_of_another_length_or_of_somebody_else_is_refused() {
    on_disk(|disk| {
        write_to(&disk, &many(100));
        let open = |owner: &Owner, partition, index| {
            Table::open(disk.open_read(Path::new(PATH)).unwrap(), owner, partition, index, Box::new(drop)).map(drop)
        };
        open(&OWNER, P, 7).unwrap();
        let foreign = |found| matches!(found, Err(OpenError::File(FileError::Foreign(_))));
        assert!(foreign(open(&Owner { node: 2, ..OWNER }, P, 7)));
        assert!(foreign(open(&OWNER, PartitionId::new(1, 1), 7)));
        let damaged = |found| matches!(found, Err(OpenError::File(FileError::Damaged(_))));
        assert!(damaged(open(&OWNER, P, 8)), "the name is that of another entry");
        let file = disk.open(Path::new(PATH)).unwrap();
        let len = file.len().unwrap();
        for other in [len + 1, len - 1, 60, 0] {
            if other > len {
                file.allocate(other).unwrap()
            } else {
                file.truncate(other).unwrap()
            }
            assert!(damaged(open(&OWNER, P, 7)), "{other} bytes");
        }
    });
}

#[test]
fn rows_that_do_not_ascend_are_no_table() {
    on_disk(|disk| {
        for keys in [[b"b", b"a"], [b"a", b"a"]] {
            let file = disk.create_new(Path::new(PATH)).unwrap();
            let rows = keys.into_iter().map(|key| (Bytes::from_static(key), Bytes::new()));
            assert_eq!(write(&file, &OWNER, P, 7, rows).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            disk.remove_file(Path::new(PATH)).unwrap();
        }
    });
}

/// Checkpoints and the tables they name: those of the two newest stay, and what no checkpoint names goes.
#[test]
fn tables_go_with_the_last_checkpoint_that_names_them() {
    let sim = Sim::seed(1);
    sim.run(async {
        let disk = sim.env(1).disk;
        let store = Store::open(disk.clone(), Path::new("/data"), OWNER, drop).unwrap();
        let mut named = None;
        let mut held = Vec::new();
        for index in 1..=6 {
            // A new table at 1, 4 and 5; at 3 one is written and its checkpoint is not.
            if matches!(index, 1 | 3 | 4 | 5) {
                let table = store.write_table(P, index, rows(&many(index as u32 * 50))).unwrap();
                if index == 3 {
                    continue;
                }
                named = Some(table.reference().clone());
                held.push(table);
            }
            let snapshot = corduroy_proto::v1::PartitionSnapshot {
                last: Some(corduroy_proto::v1::LogId { term: 1, index }),
                table: named.clone(),
                ..Default::default()
            };
            store.write(P, &snapshot).unwrap();
            let names = disk.list(Path::new("/data/checkpoints")).unwrap();
            let tables = names.iter().filter(|name| name.ends_with(".rows")).count();
            // At 2 both name the first; at 4 the one of 3 is gone.
            assert_eq!(tables, [1, 1, 1, 2, 2, 1][index as usize - 1], "after {index}: {names:?}");
        }
        assert_eq!(found(&held[0], b"").len(), 50, "whoever still reads one that is gone can");
        let newest = store.read(P, 6).unwrap().table.unwrap();
        let table = store.open_table(P, &newest).unwrap();
        assert_eq!((table.rows(), newest.index), (250, 5));
        let another = TableRef { rows: 249, ..newest };
        assert!(store.open_table(P, &another).is_err(), "it is not the one that was named");
    });
}
