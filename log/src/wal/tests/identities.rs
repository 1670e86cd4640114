//! Whose data directory is it?
use super::*;
use crate::{
    testing::{DiskCall, DiskError, Sim, SimDisk},
    topic::ClusterId,
    wal::{
        Identity,
        copies::Copied as _,
        identity::{IDENTITY_LEN, mark_lost},
    },
    world::Disk as _,
};
use std::path::{Path, PathBuf};

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn copy(n: usize) -> PathBuf {
    dir().join(format!("identity.{n}"))
}

fn open_identity(disk: &SimDisk) -> Result<Identity, OpenError> {
    Identity::open(disk, dir(), CLUSTER, 1, [9; 16]).map(|(identity, _)| identity)
}

fn on_disk<T: Send + 'static>(test: impl FnOnce(SimDisk) -> T + Send + 'static) -> T {
    on_node(1, |sim| async move { test(sim.env(1).disk) })
}

fn pretend_there_is_a_log(disk: &SimDisk) {
    disk.create_dir_all(&dir().join("wal")).unwrap();
    write_file(disk, &dir().join("wal/00000000000000000001.seg"), b"a segment");
}

#[test]
fn a_new_directory_gets_an_identity_and_each_open_a_higher_epoch() {
    on_disk(|disk| {
        for epoch in 1..5 {
            let identity = Identity::open(&disk, dir(), CLUSTER, 1, [epoch as u8; 16]).unwrap().0;
            assert_eq!((identity.cluster, identity.node, identity.boot_epoch), (CLUSTER, 1, epoch));
            assert_eq!(identity.incarnation, [1; 16], "drawn once");
            assert!(!identity.joined);
            assert_eq!(Identity::read(&disk, dir()).unwrap(), identity);
        }
    });
}

#[test]
fn a_directory_that_is_open_is_locked() {
    on_disk(|disk| {
        let open = Identity::open(&disk, dir(), CLUSTER, 1, [1; 16]).unwrap();
        assert!(matches!(open_identity(&disk), Err(OpenError::Locked(path)) if path == dir()));
        drop(open);
        assert_eq!(open_identity(&disk).unwrap().boot_epoch, 2, "a refused open changes nothing");
    });
}

#[test]
fn another_nodes_or_clusters_directory_is_refused_naming_both() {
    on_disk(|disk| {
        open_identity(&disk).unwrap();
        let other = ClusterId([2; 16]);
        for (cluster, node) in [(CLUSTER, 2), (other, 1)] {
            let halt = halted(Identity::open(&disk, dir(), cluster, node, [9; 16]).map(|_| ()));
            let Halt::WrongIdentity(what) = halt else { panic!("{halt}") };
            assert_eq!(
                what,
                format!("/data belongs to node 1 of cluster {CLUSTER}, this is node {node} of cluster {cluster}")
            );
        }
        assert_eq!(open_identity(&disk).unwrap().boot_epoch, 2);
    });
}

#[test]
fn a_directory_of_other_files_is_refused_and_left_alone() {
    on_disk(|disk| {
        disk.create_dir_all(dir()).unwrap();
        write_file(&disk, &dir().join("thesis.tex"), b"years of work");
        let halt = halted(open_identity(&disk));
        assert_eq!(halt, Halt::WrongIdentity("/data is not a Corduroy data directory".into()));
        assert_eq!(disk.list(dir()).unwrap(), ["thesis.tex"]);
    });
}

#[test]
fn an_empty_directory_and_a_file_systems_own_folder_are_fine() {
    on_disk(|disk| {
        disk.create_dir_all(&dir().join("lost+found")).unwrap();
        assert_eq!(open_identity(&disk).unwrap().boot_epoch, 1);
    });
}

#[test]
fn a_log_without_an_identity_is_a_loss_of_data() {
    on_disk(|disk| {
        pretend_there_is_a_log(&disk);
        for beside in ["checkpoints", "views"] {
            disk.create_dir_all(&dir().join(beside)).unwrap();
        }
        let halt = halted(open_identity(&disk));
        assert_eq!(halt, Halt::DataLoss("/data holds a log but no identity".into()));
    });
}

#[test]
fn a_node_that_joined_must_still_have_its_log() {
    on_disk(|disk| {
        let mut identity = open_identity(&disk).unwrap();
        identity.set_joined(&disk, dir()).unwrap();
        identity.set_joined(&disk, dir()).unwrap();
        assert!(Identity::read(&disk, dir()).unwrap().joined);
        assert!(matches!(halted(open_identity(&disk)), Halt::DataLoss(_)));
        pretend_there_is_a_log(&disk);
        let identity = open_identity(&disk).unwrap();
        assert_eq!((identity.joined, identity.boot_epoch), (true, 2));
    });
}

#[test]
fn one_damaged_or_missing_copy_changes_nothing() {
    for n in 1..=3 {
        for damage in
            [None, Some(vec![]), Some(vec![0; IDENTITY_LEN]), Some(vec![1; IDENTITY_LEN]), Some(vec![1; 5000])]
        {
            on_disk(move |disk| {
                open_identity(&disk).unwrap();
                match damage {
                    None => disk.remove_file(&copy(n)).unwrap(),
                    Some(bytes) => write_file(&disk, &copy(n), &bytes),
                }
                assert_eq!(open_identity(&disk).unwrap().boot_epoch, 2);
                assert_eq!(read_file(&disk, &copy(n)).len(), IDENTITY_LEN, "and is made good");
            });
        }
    }
}

#[test]
fn every_flipped_bit_of_a_copy_is_noticed() {
    on_disk(|disk| {
        let good = open_identity(&disk).unwrap().encode();
        for bit in 0..IDENTITY_LEN * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Identity::decode(&bad), None, "bit {bit}");
        }
    });
}

#[test]
fn one_copy_alone_is_not_believed() {
    on_disk(|disk| {
        open_identity(&disk).unwrap();
        open_identity(&disk).unwrap();
        disk.remove_file(&copy(1)).unwrap();
        write_file(&disk, &copy(3), b"rot");
        let halt = halted(open_identity(&disk));
        assert!(matches!(&halt, Halt::Corrupt(what) if what.contains("2 exist, 1 are intact")), "{halt}");
    });
}

#[test]
fn of_two_intact_copies_one_change_apart_the_older_holds() {
    on_disk(|disk| {
        open_identity(&disk).unwrap();
        let older = read_file(&disk, &copy(1));
        open_identity(&disk).unwrap();
        // The change stopped after the first copy, and the last one has rotted since.
        write_file(&disk, &copy(2), &older);
        write_file(&disk, &copy(3), b"rot");
        assert_eq!(Identity::read(&disk, dir()).unwrap().boot_epoch, 1);
    });
}

/// Found by the WAL simulator: one copy was older, the first one could not be read, and the boot epoch was given a second time.
#[test]
fn of_two_intact_copies_neither_holds_while_the_third_cannot_be_read() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        open_identity(&disk).unwrap();
        let older = read_file(&disk, &copy(1));
        open_identity(&disk).unwrap();
        write_file(&disk, &copy(2), &older);
        sim.fail_disk(1, DiskCall::Read, 1, DiskError::Io);
        assert!(matches!(open_identity(&disk), Err(OpenError::Io { .. })));
        assert_eq!(open_identity(&disk).unwrap().boot_epoch, 3);
        // Two that are equal do without it.
        sim.fail_disk(1, DiskCall::Read, 1, DiskError::Io);
        assert_eq!(open_identity(&disk).unwrap().boot_epoch, 4);
    });
}

#[test]
fn two_copies_of_different_directories_are_not_believed() {
    on_disk(|disk| {
        let ours = open_identity(&disk).unwrap();
        // Of a node that was made at another time, one change further.
        let mut theirs = ours.encode();
        (theirs[8], theirs[40]) = (theirs[8] + 1, !theirs[40]);
        seal(&mut theirs);
        assert!(Identity::decode(&theirs).is_some());
        write_file(&disk, &copy(2), &theirs);
        write_file(&disk, &copy(3), b"rot");
        assert!(matches!(halted(Identity::read(&disk, dir())), Halt::Corrupt(_)));
    });
}

#[test]
fn reserved_bytes_of_a_copy_are_not_passed_over() {
    on_disk(|disk| {
        let good = open_identity(&disk).unwrap().encode();
        for at in [6, 7, 64, 75] {
            let mut newer = good.clone();
            newer[at] = 1;
            seal(&mut newer);
            assert_eq!(Identity::decode(&newer), None, "byte {at}");
        }
    });
}

/// Makes the checksum fit.
fn seal(copy: &mut [u8]) {
    let crc = crc32c::crc32c(&copy[..IDENTITY_LEN - 4]);
    copy[IDENTITY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn copies_further_apart_are_not_believed() {
    on_disk(|disk| {
        open_identity(&disk).unwrap();
        let oldest = read_file(&disk, &copy(1));
        open_identity(&disk).unwrap();
        open_identity(&disk).unwrap();
        write_file(&disk, &copy(2), &oldest);
        write_file(&disk, &copy(3), b"rot");
        assert!(matches!(halted(Identity::read(&disk, dir())), Halt::Corrupt(_)));
    });
}

#[test]
fn a_power_cut_at_any_point_of_an_open_loses_nothing_that_was_told() {
    for seed in 0..4 {
        for operation in 1..60 {
            let sim = Sim::seed(seed);
            sim.run(async {
                let mut told = 0;
                sim.power_cut_at(1, operation);
                // Three opens; the power fails in one of them.
                for _ in 0..3 {
                    if !sim.is_alive(1) {
                        sim.restart(1);
                    }
                    let disk = sim.env(1).disk;
                    match sim.spawn_on(1, async move { open_identity(&disk) }).await {
                        Ok(Ok(identity)) => {
                            assert!(identity.boot_epoch > told, "seed {seed}, operation {operation}");
                            told = identity.boot_epoch;
                        }
                        other => assert!(!sim.is_alive(1), "seed {seed}, operation {operation}: {other:?}"),
                    }
                }
                assert!(told >= 2, "seed {seed}, operation {operation}");
            });
        }
    }
}

#[test]
fn a_directory_that_was_refused_once_is_never_opened_again() {
    on_disk(|disk| {
        let opened = Identity::open(&disk, dir(), CLUSTER, 1, [1; 16]).unwrap();
        mark_lost(&disk, dir(), "node 2 knows better").unwrap();
        mark_lost(&disk, dir(), "so does node 3").unwrap();
        drop(opened);
        let before = read_file(&disk, &copy(1));
        for _ in 0..3 {
            let halt = halted(open_identity(&disk));
            assert!(matches!(&halt, Halt::DataLoss(why) if why.contains("node 2 knows better")), "{halt:?}");
        }
        assert_eq!(read_file(&disk, &copy(1)), before, "no boot epoch is spent");
    });
}

#[test]
fn a_mark_of_lost_data_counts_without_its_text_and_outlives_a_power_cut() {
    let sim = Sim::seed(1);
    sim.run(async {
        let node = sim.clone();
        let marked = async move {
            let opened = open_identity(&node.env(1).disk);
            node.set_disk_capacity(1, Some(node.disk_used(1)));
            let error = mark_lost(&node.env(1).disk, dir(), "why").unwrap_err();
            (opened.is_ok(), error.kind())
        };
        let marked = sim.spawn_on(1, marked).await.unwrap();
        assert_eq!(marked, (true, std::io::ErrorKind::StorageFull));
        sim.power_cut(1);
        sim.restart(1);
        let node = sim.clone();
        let opened = sim.spawn_on(1, async move { open_identity(&node.env(1).disk) }).await.unwrap();
        assert!(matches!(halted(opened), Halt::DataLoss(_)));
    });
}

/// Opens the directory, and the power fails at an operation of it. What the next open finds: its boot epoch.
async fn epoch_after_a_cut(sim: &Sim, operation: u64) -> u64 {
    sim.power_cut_at(1, operation);
    let disk = sim.env(1).disk;
    drop(sim.spawn_on(1, async move { open_identity(&disk) }).await);
    sim.power_cut(1);
    sim.restart(1);
    let disk = sim.env(1).disk;
    sim.spawn_on(1, async move { open_identity(&disk).unwrap().boot_epoch }).await.unwrap()
}

/// Found by the WAL simulator: the second interrupted change left three copies that all differed.
#[test]
fn two_changes_interrupted_one_after_the_other_leave_an_identity() {
    for operation in 1..60 {
        for seed in 0..3 {
            let sim = Sim::seed(seed);
            sim.run(async {
                let disk = sim.env(1).disk;
                let prepare = async move {
                    open_identity(&disk).unwrap();
                    let older = read_file(&disk, &copy(1));
                    open_identity(&disk).unwrap();
                    // The second change stopped after two copies: it holds.
                    write_file(&disk, &copy(3), &older);
                };
                sim.spawn_on(1, prepare).await.unwrap();
                let epoch = epoch_after_a_cut(&sim, operation).await;
                assert!((3..=4).contains(&epoch), "seed {seed}, operation {operation}: {epoch}");
            });
        }
    }
}

/// Found by the WAL simulator: three copies that looked equal were so in the page cache alone, since a kill had come between the
/// last rename and the sync of the folder. The next change was interrupted, and the power took the rename back.
#[test]
fn a_change_behind_one_that_is_in_the_page_cache_alone_leaves_an_identity() {
    for killed in 1..35 {
        for operation in 1..35 {
            let sim = Sim::seed(killed);
            sim.run(async {
                let disk = sim.env(1).disk;
                sim.spawn_on(1, async move { open_identity(&disk).unwrap() }).await.unwrap();
                sim.kill_at(1, killed);
                let disk = sim.env(1).disk;
                drop(sim.spawn_on(1, async move { open_identity(&disk) }).await);
                sim.kill(1);
                sim.restart(1);
                let epoch = epoch_after_a_cut(&sim, operation).await;
                assert!((2..=4).contains(&epoch), "killed at {killed}, cut at {operation}: {epoch}");
            });
        }
    }
}
