use super::*;
use crate::{
    partition::{Checkpoints, Evolved, FoldOptions, Owner},
    topic::{ClusterId, PartitionId},
    wal::{Wal, WalOptions},
    world::{Env, real::RealWorld},
};
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use std::sync::{Arc, Weak};

type Config = TypeConfig<RealWorld>;

/// A partition among others on the node's one WAL, in a directory of its own.
struct Store;

impl StoreBuilder<Config, LogStore<RealWorld>, StateMachine<RealWorld>, (tempfile::TempDir, Wal<RealWorld>)> for Store {
    async fn build(
        &self,
    ) -> Result<((tempfile::TempDir, Wal<RealWorld>), LogStore<RealWorld>, StateMachine<RealWorld>), StorageError<Config>>
    {
        let dir = tempfile::tempdir().unwrap();
        let options = WalOptions {
            dir: dir.path().into(),
            cluster: ClusterId([7; 16]),
            node: 1,
            segment_bytes: 1 << 20,
            commit_bytes: 64 << 10,
            hot_tail_bytes: 0,
            hot_tail_total_bytes: 0,
            index_cache_bytes: 0,
            supply: None,
        };
        let wal = Wal::open(&Env::real().disk, options).unwrap();
        // A neighbour in the same segments, whose frames must not matter.
        wal.partition(PartitionId::new(1, 0))
            .save_vote(crate::topic::Vote { term: 99, node: 9, committed: true })
            .await
            .unwrap();
        let log = LogStore::new(wal.partition(PartitionId::new(1, 1)));
        let owner = Owner { cluster: ClusterId([7; 16]), node: 1, incarnation: [8; 16] };
        let checkpoints = Checkpoints::open(Env::real().disk, dir.path(), owner).unwrap();
        let machine = StateMachine::new(
            Arc::new(Evolved::new(FoldOptions::default(), None)),
            log.clone(),
            checkpoints,
            Weak::new(),
        );
        Ok(((dir, wal), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_storage_suite_passes_on_the_real_store() {
    Suite::test_all(Store).await.unwrap();
}
