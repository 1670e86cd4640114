//! The three copies of an identity: of several changes, of another node, damaged, missing.
use super::{
    damage, number,
    wal::{on_node, read_files, write_files},
};
use crate::{testing::SimDisk, topic::ClusterId, wal::Identity};
use arbitrary::Unstructured;
use std::{collections::BTreeMap, path::Path, sync::OnceLock};

const DIR: &str = "/data";
const COPIES: [&str; 3] = ["identity.1", "identity.2", "identity.3"];
/// Changes each identity goes through: opens, with the joining between them.
const CHANGES: usize = 4;

/// A copy as it was written: whose it is, after which change, and its bytes.
#[derive(Clone, Debug)]
struct Genuine {
    node: u64,
    change: usize,
    bytes: Vec<u8>,
    identity: Identity,
}

/// Puts three copies together and reads them.
pub fn identity(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let written = written();
    let mut copies = BTreeMap::new();
    for name in COPIES {
        let chosen = number(&mut input, written.len() + 1);
        let Some(genuine) = written.get(chosen) else { continue };
        let mut bytes = genuine.bytes.clone();
        if number(&mut input, 3) == 0 {
            damage(&mut input, &mut bytes);
        }
        copies.insert(name.to_owned(), bytes);
    }
    let found = on_node({
        let copies = copies.clone();
        |sim| async move {
            let disk: SimDisk = sim.env(1).disk;
            write_files(&disk, &copies);
            let found = Identity::read(&disk, Path::new(DIR)).ok();
            assert!(read_files(&disk) == copies, "reading changed files");
            found
        }
    });
    let genuine = copies.values().filter_map(|bytes| written.iter().find(|genuine| genuine.bytes == *bytes)).collect();
    assert_eq!(found, expected(genuine));
}

/// The rule, said once more: two equal copies hold; of exactly two, one change apart, the older one.
fn expected(mut intact: Vec<&Genuine>) -> Option<Identity> {
    intact.sort_by_key(|genuine| (genuine.node, genuine.change));
    let twins = intact.windows(2).find(|pair| pair[0].bytes == pair[1].bytes);
    if let Some(pair) = twins {
        return Some(pair[0].identity);
    }
    let [older, newer] = intact[..] else { return None };
    (older.node == newer.node && older.change + 1 == newer.change).then_some(older.identity)
}

/// Every copy two nodes ever wrote.
fn written() -> &'static [Genuine] {
    static WRITTEN: OnceLock<Vec<Genuine>> = OnceLock::new();
    WRITTEN.get_or_init(|| [1, 2].into_iter().flat_map(live).collect())
}

/// The life of a node.
fn live(node: u64) -> Vec<Genuine> {
    on_node(move |sim| async move {
        let (disk, dir) = (sim.env(1).disk, Path::new(DIR));
        let open = || Identity::open(&disk, dir, ClusterId([1; 16]), node, [node as u8; 16]).expect("the disk works");
        let mut genuine = Vec::new();
        for change in 0..CHANGES {
            let (identity, lock) = open();
            drop(lock);
            let bytes = read_files(&disk).remove(COPIES[0]).expect("it was written");
            genuine.push(Genuine { node, change, bytes, identity });
        }
        genuine
    })
}
