//! Which segments there must be.
use super::*;
use crate::{
    testing::{Sim, SimDisk, SimWorld},
    wal::{
        Wal, WalOptions,
        copies::{self, Copied as _},
        manifest::{Held, Manifest},
    },
    world::Disk as _,
};
use std::path::{Path, PathBuf};

fn copy(n: usize) -> PathBuf {
    Path::new(DIR).join(Manifest::NAMES[n])
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("wal/{number:020}.seg"))
}

/// What the copies say, which must be equal.
fn newest(disk: &SimDisk) -> u64 {
    let copies = [0, 1, 2].map(|n| Manifest::decode(&read_file(disk, &copy(n))).expect("is intact"));
    assert_eq!((copies[0], copies[0]), (copies[1], copies[2]));
    copies[0].newest
}

/// Runs on a WAL of four segments that was closed.
fn on_four_segments(test: impl FnOnce(SimDisk, Sim) + Send + 'static) {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let wal = open(&sim).unwrap();
        assert_eq!(newest(&disk), 1);
        let mut index = 0;
        while wal.stats().segment < 4 {
            append(&wal.partition(P), vec![payload_entry(1, index, vec![0; 3000])]).await.unwrap();
            assert_eq!(newest(&disk), wal.stats().segment);
            index += 1;
        }
        wal.close().await;
        drop(wal);
        test(disk, sim);
    });
}

#[test]
fn a_log_that_lost_its_newest_segment_is_a_loss_of_data() {
    on_four_segments(|disk, sim| {
        disk.remove_file(&segment(4)).unwrap();
        let halt = halted(open(&sim));
        assert_eq!(halt, Halt::DataLoss("/data held segments up to 4, the newest there is now is 3".into()));
        for number in 1..4 {
            disk.remove_file(&segment(number)).unwrap();
        }
        assert!(matches!(halted(open(&sim)), Halt::DataLoss(what) if what.contains("now is 0")));
    });
}

#[test]
fn a_manifest_one_segment_behind_is_what_a_crash_leaves_and_is_made_good() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let wal = open(&sim).unwrap();
        append(&wal.partition(P), entries(1, 0..3)).await.unwrap();
        let before = read_file(&disk, &copy(0));
        wal.close().await;
        // Segment 2 has its name, and the copies do not know of it.
        let mut image = image(&disk);
        drop(wal);
        let tail = image["00000000000000000001.seg"].iter().rposition(|byte| *byte != 0).unwrap();
        // Torn behind the mark, so that the open begins a segment.
        image.get_mut("00000000000000000001.seg").unwrap()[tail + 200] = 1;
        write_file(&disk, &segment(1), &image["00000000000000000001.seg"]);
        let wal = open(&sim).unwrap();
        append(&wal.partition(Q), entries(1, 0..1)).await.unwrap();
        assert_eq!((wal.stats().segment, newest(&disk)), (2, 2));
        let found = views(&wal);
        wal.close().await;
        drop(wal);
        for n in 0..3 {
            write_file(&disk, &copy(n), &before);
        }
        let wal = open(&sim).unwrap();
        assert_eq!(views(&wal), found);
        assert_eq!(newest(&disk), wal.stats().segment);
    });
}

#[test]
fn a_manifest_further_behind_is_damage() {
    on_four_segments(|disk, sim| {
        for n in 0..3 {
            disk.remove_file(&copy(n)).unwrap();
        }
        let halt = halted(open(&sim));
        assert!(matches!(&halt, Halt::Corrupt(what) if what.contains("knows segments up to 0")), "{halt}");
    });
}

#[test]
fn one_damaged_copy_of_the_manifest_is_made_good_and_two_are_refused() {
    on_four_segments(|disk, sim| {
        for n in 0..3 {
            write_file(&disk, &copy(n), b"rot");
            drop(open(&sim).unwrap());
            assert_eq!(newest(&disk), 4);
        }
        write_file(&disk, &copy(0), b"rot");
        write_file(&disk, &copy(2), b"rot");
        assert!(matches!(halted(open(&sim)), Halt::Corrupt(what) if what.contains("copies of the manifest")));
    });
}

/// As of the identity: what looks equal may be so in the page cache alone.
#[test]
fn a_change_behind_one_that_is_in_the_page_cache_alone_leaves_a_manifest() {
    let dir = Path::new(DIR);
    let advance = move |disk: SimDisk, to: u64| async move {
        let mut held = Held::check(&disk, dir, CLUSTER, 1, to - 1).expect("the manifest holds");
        held.advance(&disk, dir, to - 1, &mut || ()).and_then(|()| held.advance(&disk, dir, to, &mut || ()))
    };
    for killed in 1..35 {
        for cut in 1..35 {
            let sim = Sim::seed(killed);
            sim.run(async {
                sim.env(1).disk.create_dir_all(dir).unwrap();
                sim.spawn_on(1, advance(sim.env(1).disk, 1)).await.unwrap().unwrap();
                sim.kill_at(1, killed);
                drop(sim.spawn_on(1, advance(sim.env(1).disk, 2)).await);
                sim.kill(1);
                sim.restart(1);
                sim.power_cut_at(1, cut);
                drop(sim.spawn_on(1, advance(sim.env(1).disk, 3)).await);
                sim.power_cut(1);
                sim.restart(1);
                let disk = sim.env(1).disk;
                let held = sim.spawn_on(1, async move { copies::read::<Manifest, _>(&disk, dir).unwrap() });
                let held = held.await.unwrap().unwrap_or_else(|missing| panic!("{killed}, {cut}: {missing:?}"));
                assert!((1..=3).contains(&held.newest), "killed at {killed}, cut at {cut}: {held:?}");
            });
        }
    }
}

#[test]
fn another_nodes_manifest_is_refused_by_name() {
    on_four_segments(|disk, _| {
        let halt = halted(Wal::<SimWorld>::open(&disk, WalOptions { node: 2, ..options() }));
        assert!(matches!(&halt, Halt::WrongIdentity(what) if what.contains("belongs to node 1")), "{halt}");
    });
}
