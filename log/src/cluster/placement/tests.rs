use super::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn leaders_of_a_topic_are_spread_evenly() {
    for partitions in 1..20 {
        let placed = place("order", partitions, 3, &[1, 2, 3, 4, 5]);
        let mut leaders = BTreeMap::new();
        for replicas in &placed {
            *leaders.entry(replicas[0]).or_insert(0) += 1;
            assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), 3, "a node twice in {replicas:?}");
        }
        let most = leaders.values().max().copied().unwrap_or(0);
        assert!(most <= partitions.div_ceil(5), "{partitions} partitions: {leaders:?}");
    }
}

#[test]
fn topics_of_one_partition_do_not_all_begin_at_one_node() {
    let first: BTreeSet<_> = (0..32).map(|n| place(&format!("topic-{n}"), 1, 1, &[1, 2, 3])[0][0]).collect();
    assert_eq!(first.len(), 3);
}

#[test]
fn what_cannot_be_is_refused_with_the_range() {
    let new = |name: &str, partitions, replication| NewTopic { replication, ..NewTopic::new(name, partitions) };
    let refusal = |topic| check_topic(&topic, 3, 1024).unwrap_err().to_string();
    assert!(refusal(new("Order", 1, None)).contains("not a topic name"));
    assert!(refusal(new("_cluster", 1, None)).contains("not a topic name"));
    assert!(refusal(new("", 1, None)).contains("not a topic name"));
    let long = refusal(new(&"ä".repeat(1 << 20), 1, None));
    assert!(long.contains("\"… is not a topic name") && long.len() < 300, "quoted in part: {long}");
    assert!(refusal(new("order", 0, None)).contains("1 to 1024"));
    assert!(refusal(new("order", 1025, None)).contains("1 to 1024"));
    assert!(refusal(new("order", 1, Some(4))).contains("3 nodes"));
    assert_eq!(check_topic(&new("order", 4, None), 5, 1024), Ok(3));
    assert_eq!(check_topic(&new("order", 4, None), 1, 1024), Ok(1));
}
