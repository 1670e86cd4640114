//! A snapshot from a leader: the file, then the log, then the state, and a crash anywhere between.
use super::*;
use openraft::{alias::SnapshotMetaOf, storage::SnapshotMeta};

type Meta = SnapshotMetaOf<crate::raft::TypeConfig<SimWorld>>;

/// A snapshot as the leader of a log of `end` entries would send it: its metadata and its bytes, and the state it stands for.
fn of_a_leader(end: u64) -> (Meta, Bytes, pb::PartitionSnapshot) {
    let sim = Sim::seed(77);
    sim.run(async {
        let disk = sim.env(1).disk;
        on_node(&sim, async move {
            let mut leader = Replica::open(disk).await.unwrap();
            leader.feed(entries(0..end)).await.unwrap();
            leader.checkpoint().await.unwrap();
            let snapshot = leader.machine.get_current_snapshot().await.unwrap().unwrap();
            (snapshot.meta, snapshot.snapshot, leader.evolved.snapshot().unwrap())
        })
        .await
    })
}

/// What a follower of 60 entries with a checkpoint does with a snapshot of 150.
async fn follow(disk: SimDisk, meta: Meta, data: Bytes) -> io::Result<()> {
    let mut replica = Replica::open(disk).await.map_err(|error| io::Error::other(format!("{error:?}")))?;
    replica.feed(entries(0..40)).await?;
    replica.checkpoint().await?;
    replica.feed(entries(40..60)).await?;
    replica.machine.install_snapshot(&meta, data).await?;
    assert_eq!(replica.log.purged().map(|id| id.index), Some(149));
    replica.feed(entries(150..170)).await?;
    replica.wal.close().await;
    Ok(())
}

#[test]
fn an_installed_snapshot_is_what_the_next_start_begins_with() {
    let (meta, data, state) = of_a_leader(150);
    let sim = Sim::seed(6);
    sim.run(async {
        let disk = sim.env(1).disk;
        on_node(&sim, follow(disk, meta, data)).await.unwrap();
        let disk = sim.restart(1).disk;
        on_node(&sim, async move {
            assert_eq!(read(&disk, 149), state, "byte for byte what the leader has");
            let replica = Replica::open(disk).await.unwrap();
            assert_eq!(replica.restored.map(|id| id.index), Some(149));
            assert_eq!((replica.replayed, replica.evolved.next_index()), (20, 170));
            assert_eq!(replica.evolved.snapshot().unwrap().log_hash[..], replica.log.log_hash()[..]);
        })
        .await;
    });
}

#[test]
fn a_power_cut_at_any_operation_of_an_installation_leaves_the_old_state_or_the_new() {
    let (meta, data, _) = of_a_leader(150);
    let run = |seed: u64, operation: Option<u64>| {
        let sim = Sim::seed(seed);
        sim.run(async {
            if let Some(operation) = operation {
                sim.power_cut_at(1, operation);
            }
            let disk = sim.env(1).disk;
            let ended = sim.spawn_on(1, follow(disk, meta.clone(), data.clone())).await;
            let place = format!("seed {seed}, operation {operation:?}");
            assert_eq!(matches!(ended, Ok(Ok(()))), operation.is_none(), "{place}: {ended:?}");
            let operations = sim.disk_operations(1);
            sim.power_cut(1);
            let disk = sim.restart(1).disk;
            let installed = on_node(&sim, async move {
                let replica = Replica::open(disk).await.unwrap_or_else(|error| panic!("{place}: {error:?}"));
                let next = replica.evolved.next_index();
                match replica.log.purged() {
                    None => assert!(next <= 60, "{place}: evolved to {next} without the log for it"),
                    Some(purged) => assert!(purged.index == 149 && (150..=170).contains(&next), "{place}: {next}"),
                }
                let last = replica.evolved.last();
                let expected = last.map_or([0; 16], |id| replica.log.log_hash_at(id.index).unwrap().unwrap());
                let found = replica.evolved.snapshot().map_or([0; 16], |state| state.log_hash[..].try_into().unwrap());
                assert_eq!(found, expected, "{place}");
                replica.log.purged().is_some()
            })
            .await;
            (operations, installed)
        })
    };
    let (mut old, mut new) = (0, 0);
    for seed in 0..4 {
        let (operations, installed) = run(seed, None);
        assert!(installed);
        for operation in 1..=operations {
            let (_, installed) = run(seed, Some(operation));
            *(if installed { &mut new } else { &mut old }) += 1;
        }
    }
    assert!(old > 40 && new > 8, "{old} old, {new} new");
}

#[test]
fn a_snapshot_that_is_not_what_it_says_changes_nothing() {
    let (meta, data, _) = of_a_leader(150);
    let sim = Sim::seed(7);
    sim.run(async {
        let disk = sim.env(1).disk;
        on_node(&sim, async move {
            let mut replica = Replica::open(disk.clone()).await.unwrap();
            replica.feed(entries(0..60)).await.unwrap();
            let before = replica.state();
            let snapshot = pb::PartitionSnapshot::decode(data.clone()).unwrap();
            let elsewhere = SnapshotMeta { last_log_id: None, ..meta.clone() };
            let undecodable = pb::PartitionSnapshot { machine: Bytes::from_static(b"no map"), ..snapshot.clone() };
            let hashless = pb::PartitionSnapshot { log_hash: Bytes::new(), ..snapshot };
            for (nth, (meta, data)) in [
                (elsewhere, data.clone()),
                (meta.clone(), data.slice(..data.len() / 2)),
                (meta.clone(), undecodable.encode_to_vec().into()),
                (meta.clone(), hashless.encode_to_vec().into()),
            ]
            .into_iter()
            .enumerate()
            {
                let refused = replica.machine.install_snapshot(&meta, data).await;
                assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData, "{nth}");
                assert_eq!((replica.log.purged(), names(&disk).len()), (None, 0), "{nth}");
            }
            assert_eq!(replica.state(), before);
        })
        .await;
    });
}

#[test]
fn a_purged_log_without_a_checkpoint_is_not_passed_off_as_an_empty_one() {
    let (meta, data, _) = of_a_leader(150);
    let sim = Sim::seed(8);
    sim.run(async {
        let disk = sim.env(1).disk;
        on_node(&sim, follow(disk, meta, data)).await.unwrap();
        let disk = sim.restart(1).disk;
        on_node(&sim, async move {
            flip(&disk, &path(149), 200).await;
            let found = Replica::open(disk).await.err();
            assert!(
                matches!(&found, Some(RestoreError::Halt(Halt::Corrupt(what))) if what.contains("149")),
                "{found:?}"
            );
        })
        .await;
    });
}
