use crate::world::{StoreChange, StoreError, ViewStore as _, Views as _, conformance, real::RealViews};
use std::{fs, path::Path};

#[test]
fn it_keeps_the_contract_of_the_seam() {
    let dir = tempfile::tempdir().unwrap();
    conformance::views(&RealViews, dir.path());
}

fn filled(path: &Path) {
    let mut store = RealViews.create(path, 1 << 20).unwrap();
    for batch in 0..200_u32 {
        let change = |nth: u32| StoreChange {
            tree: "t",
            key: (batch * 100 + nth).to_be_bytes().to_vec(),
            value: Some(vec![batch as u8; 100]),
        };
        store.apply((0..100).map(change).collect()).unwrap();
    }
    store.close().unwrap();
}

/// Whatever is done to its files: it says so, or it opens; it never takes the test with it.
#[test]
fn a_store_with_damaged_files_fails_or_opens_and_panics_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let intact = dir.path().join("intact");
    filled(&intact);
    let mut failed = 0;
    for damage in 0..24_usize {
        let path = dir.path().join(format!("damaged-{damage}"));
        fs::create_dir(&path).unwrap();
        for entry in fs::read_dir(&intact).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
            }
        }
        let db = path.join("db");
        let mut bytes = fs::read(&db).unwrap();
        let len = bytes.len();
        match damage % 4 {
            0 => bytes.truncate(len * (damage + 1) / 25),
            1 => (0..64).for_each(|nth| bytes[(nth * 7919 + damage * 104_729) % len] ^= 0x40),
            2 => bytes[len / 3..len / 2].fill(0),
            _ => drop(fs::write(path.join("conf"), b"what is this")),
        }
        fs::write(&db, bytes).unwrap();
        let read = RealViews.open(&path, 1 << 20).and_then(|store| {
            let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
            store.range("t", all, crate::world::Direction::Ascending, usize::MAX)
        });
        match read {
            Ok(pairs) if pairs.len() == 20_000 => {}
            Ok(_) | Err(StoreError::Failed(_) | StoreError::Panicked(_)) => failed += 1,
            Err(StoreError::Damaged(why)) => panic!("it verifies nothing by itself: {why}"),
        }
        RealViews.remove(&path).unwrap();
    }
    assert!(failed >= 6, "the damage was felt {failed} times of 24");
}
