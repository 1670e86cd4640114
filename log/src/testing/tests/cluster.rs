use super::*;
use crate::{
    log::NewTopic,
    record::NewRecord,
    testing::{Probe, Rot, SimCluster, TaskError},
    world::Halt,
};

fn topic() -> NewTopic {
    NewTopic::new("order", 1)
}

#[test]
fn a_cluster_outlives_each_of_its_nodes_in_turn() {
    let sim = Sim::seed(1);
    sim.run(async {
        let cluster = SimCluster::new(&sim, 3);
        cluster.start().await;
        cluster.create_topic(topic()).await.unwrap();
        for (next, node) in (0..).zip(cluster.nodes()) {
            cluster.kill(node);
            assert_eq!((cluster.log(node).is_none(), cluster.running().len()), (true, 2));
            assert_eq!(cluster.on(node, async |_| ()).await, Err(TaskError::Cancelled));
            let ack = cluster.append("order", 0, vec![NewRecord::new("x")]).await.unwrap();
            assert_eq!(ack.first_offset, next);
            cluster.restart(node).await.unwrap();
            cluster.ready().await;
        }
    });
}

#[test]
fn what_is_durable_can_be_read_while_the_node_runs() {
    let sim = Sim::seed(2);
    sim.run(async {
        let cluster = SimCluster::new(&sim, 1);
        cluster.start().await;
        cluster.create_topic(topic()).await.unwrap();
        cluster.append("order", 0, vec![NewRecord::new("x")]).await.unwrap();
        let probe = Probe::new(cluster.log(1).unwrap().partition("order", 0).unwrap());
        let committed = probe.look().committed.expect("one node commits what it has synced");
        let wal = crate::wal::read_offline(&sim.durable_disk(1), Path::new("/data")).unwrap();
        let durable = wal.partitions().into_iter().find(|found| found.id == probe.id()).unwrap();
        assert_eq!((durable.last, probe.log_id(committed.index)), (Some(committed), Some(committed)));
        cluster.append("order", 0, vec![NewRecord::new("y")]).await.expect("reading the copy left the node alone");
    });
}

/// A start goes by footers, so it opens a log with damage in an old segment, and comes upon it when a partition has to be
/// evolved from there.
#[test]
fn damage_that_a_start_meets_when_it_opens_a_partition_halts_the_node_by_name() {
    let sim = Sim::seed(3);
    sim.run(async {
        let cluster = SimCluster::with_config(&sim, 3, |config| {
            config.limits.segment_bytes = 16 << 10;
            config.limits.batch_bytes = 8 << 10;
            config.limits.record_bytes = 4 << 10;
            config.limits.hot_tail_bytes = 1;
            // No checkpoint, so that the whole log is evolved.
            config.timing.checkpoint_interval = Duration::from_secs(600);
        });
        cluster.start().await;
        cluster.create_topic(topic()).await.unwrap();
        for _ in 0..12 {
            cluster.append("order", 0, vec![NewRecord::new(vec![b'x'; 3 << 10])]).await.unwrap();
        }
        sim.sleep(Duration::from_millis(100)).await;
        cluster.kill(1);
        let image = sim.copy_disk(1);
        assert!(image.files().all(|(path, _)| path.extension().is_none_or(|extension| extension != "ckpt")));
        let first = image.files().find(|(_, bytes)| bytes.windows(64).any(|window| window == [b'x'; 64]));
        let (path, bytes) = first.expect("the records are in some segment");
        let payload = bytes.windows(64).position(|window| window == [b'x'; 64]).expect("just found") as u64;
        sim.rot(1, path, Rot::FlipBit { offset: payload, bit: 0 }).unwrap();

        cluster.restart(1).await.expect("what a start reads first is intact");
        sim.sleep(Duration::from_secs(10)).await;
        let halt = sim.halted(1).expect("it cannot go on");
        assert!(matches!(&halt, Halt::Corrupt(what) if what.contains(path.to_str().unwrap())), "{halt}");
        cluster.append("order", 0, vec![NewRecord::new("the others go on")]).await.unwrap();
    });
}
