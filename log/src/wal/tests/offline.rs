//! Reading a node's log while it is down.
use super::*;
use crate::{
    testing::SimWorld,
    wal::{Identity, OfflinePartition, Wal, read_offline},
};
use std::path::Path;

#[test]
fn a_tool_sees_what_the_node_would_recover_and_changes_nothing() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let (identity, lock) = Identity::open(&disk, Path::new(DIR), CLUSTER, 1, [9; 16]).unwrap();
        let wal = Wal::<SimWorld>::open(&disk, options()).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..30)).await.unwrap();
        log.save_vote(Vote { term: 4, node: 2, committed: false }).await.unwrap();
        log.truncate_after(Some(9)).await.unwrap();
        let expected = view(&log);
        // Not closed: the next open would cut the file and begin a fresh one.
        let before = image(&disk);

        assert!(matches!(read_offline(&disk, Path::new(DIR)), Err(OpenError::Locked(_))));
        drop(lock);
        let offline = read_offline(&disk, Path::new(DIR)).unwrap();
        assert_eq!(offline.identity(), &identity);
        assert_eq!(offline.peers(), []);
        let partition = OfflinePartition {
            id: P,
            vote: expected.vote,
            committed: None,
            purged: None,
            last: expected.last,
            log_hash: expected.hash,
        };
        assert_eq!(offline.partitions(), [partition]);
        assert_eq!(offline.entries(P, 0..100, u64::MAX).unwrap(), expected.entries);
        assert_eq!(offline.entries(Q, 0..100, u64::MAX).unwrap(), []);
        assert!(image(&disk) == before);
        assert!(matches!(Identity::open(&disk, Path::new(DIR), CLUSTER, 1, [9; 16]), Err(OpenError::Locked(_))));
        drop(offline);
        assert_eq!(Identity::read(&disk, Path::new(DIR)).unwrap(), identity);
    });
}

#[test]
fn a_folder_that_is_no_data_directory_is_refused_and_left_alone() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        use crate::world::Disk as _;
        disk.create_dir_all(Path::new(DIR)).unwrap();
        for dir in [DIR, "/nowhere"] {
            assert!(matches!(halted(read_offline(&disk, Path::new(dir))), Halt::WrongIdentity(_)));
        }
        assert!(disk.list(Path::new(DIR)).unwrap().is_empty());
    });
}
