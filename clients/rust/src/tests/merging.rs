//! The answers of several nodes make one picture.
use crate::admin::merge;
use corduroy_proto::v1;

fn partition(role: &str, leader: Option<u64>, term: u64, end_offset: u64) -> v1::PartitionStatus {
    v1::PartitionStatus {
        topic: "orders".into(),
        partition: 0,
        leader,
        term,
        replicas: vec![1, 2, 3],
        start_offset: 0,
        end_offset,
        role: role.into(),
    }
}

fn answer(node: u64, partition: v1::PartitionStatus) -> v1::NodeStatusResponse {
    let nodes = (1..=3).map(|id| v1::Node { id, http: format!("h{id}"), ..v1::Node::default() }).collect();
    v1::NodeStatusResponse { node, pid: 100, ready: true, nodes, partitions: vec![partition], ..Default::default() }
}

#[test]
fn the_leader_is_believed_about_its_partition() {
    let cluster = merge(&[
        answer(2, partition("follower", Some(1), 4, 90)),
        answer(1, partition("leader", Some(1), 4, 100)),
        answer(3, partition("follower", None, 4, 100)),
    ]);
    let found = &cluster.partitions[0];
    assert_eq!((found.leader, found.term, found.end_offset), (Some(1), 4, 100));
    assert!(cluster.is_ready());
}

#[test]
fn a_leader_that_does_not_answer_is_none() {
    let followers =
        [answer(2, partition("follower", Some(1), 4, 90)), answer(3, partition("follower", Some(1), 4, 95))];
    let cluster = merge(&followers);
    assert_eq!((cluster.partitions[0].leader, cluster.partitions[0].end_offset), (None, 95));
    let dead = &cluster.nodes[0];
    assert_eq!((dead.id, dead.pid, dead.ready, dead.http.as_str()), (1, None, false, "h1"));
    assert!(!cluster.is_ready());
}

#[test]
fn a_deposed_leader_that_does_not_know_is_outvoted_by_the_newer_term() {
    let cluster =
        merge(&[answer(1, partition("leader", Some(1), 4, 200)), answer(2, partition("leader", Some(2), 5, 150))]);
    assert_eq!((cluster.partitions[0].leader, cluster.partitions[0].end_offset), (Some(2), 150));
}
