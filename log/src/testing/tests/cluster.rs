use super::*;
use crate::{
    log::NewTopic,
    record::NewRecord,
    testing::{Cluster, Probe, TaskError},
};

fn topic() -> NewTopic {
    NewTopic { name: "order".into(), partitions: 1, replication: None }
}

#[test]
fn a_cluster_outlives_each_of_its_nodes_in_turn() {
    let sim = Sim::new(1);
    sim.run(async {
        let cluster = Cluster::new(&sim, 3);
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
    let sim = Sim::new(2);
    sim.run(async {
        let cluster = Cluster::new(&sim, 1);
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
