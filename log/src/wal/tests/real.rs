//! The same on a file system of this machine.
use super::*;
use crate::{
    wal::{Identity, Wal, WalOptions, read_offline},
    world::{
        RealWorld,
        real::{RealDisk, RealTasks},
    },
};
use openraft_rt::AsyncRuntime as _;
use tokio::sync::oneshot;

#[test]
fn a_real_disk_keeps_a_log_over_several_openings() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/data");
    let large: Vec<_> = (0..60).map(|index| payload_entry(1, index, vec![index as u8; 3000])).collect();
    RealTasks::new(1).block_on(async {
        for round in 0..3 {
            let (_identity, lock) = Identity::open(&RealDisk, &dir, CLUSTER, 1, [1; 16]).unwrap();
            assert!(matches!(read_offline(&RealDisk, &dir), Err(OpenError::Locked(_))));
            let wal = Wal::<RealWorld>::open(&RealDisk, WalOptions { dir: dir.clone(), ..supplied() }).unwrap();
            let log = wal.partition(P);
            let old = log.entries(0..100, u64::MAX).unwrap();
            assert_eq!(old, large[..20 * round]);
            let (sender, receiver) = oneshot::channel();
            let new = large[20 * round..20 * (round + 1)].to_vec();
            log.append(new, Box::new(move |result| drop(sender.send(result))));
            receiver.await.unwrap().unwrap();
            log.save_vote(Vote { term: 1, node: 1, committed: true }).await.unwrap();
            assert!(wal.stats().last_sync > std::time::Duration::ZERO);
            wal.close().await;
            drop((log, wal, lock));
        }
    });
    let offline = read_offline(&RealDisk, &dir).unwrap();
    assert_eq!(offline.identity().boot_epoch, 3);
    assert_eq!(offline.entries(P, 0..100, u64::MAX).unwrap(), large);
}
