use super::*;
use std::collections::BTreeSet;

/// How often each of `nodes` comes in `found`: the least and the most.
fn spread(nodes: &[NodeId], found: impl Iterator<Item = NodeId> + Clone) -> (usize, usize) {
    let counts = nodes.iter().map(|node| found.clone().filter(|other| other == node).count());
    (counts.clone().min().unwrap(), counts.max().unwrap())
}

#[test]
fn preferred_leaders_of_a_topic_differ_by_at_most_one_per_node() {
    for (count, replication) in [(1, 1), (3, 1), (3, 2), (3, 3), (5, 3), (6, 3), (7, 5), (9, 1)] {
        let nodes: Vec<NodeId> = (1..=count).collect();
        for partitions in (1..20).chain([64, 100, 1000]) {
            let placed = place("order", partitions, replication, &nodes);
            for replicas in &placed {
                let distinct: BTreeSet<_> = replicas.iter().collect();
                assert_eq!(distinct.len(), replication as usize, "a node twice in {replicas:?}");
            }
            let (least, most) = spread(&nodes, placed.iter().map(|replicas| replicas[0]));
            assert!(most - least <= 1, "{partitions} of {replication} on {count}: {least} to {most}");
        }
    }
}

#[test]
fn what_a_node_led_is_taken_over_by_the_others_alike() {
    let nodes = [1, 2, 3];
    let placed = place("order", 64, 3, &nodes);
    for gone in nodes {
        let others: Vec<NodeId> = nodes.into_iter().filter(|node| *node != gone).collect();
        let heirs = placed.iter().filter(|replicas| replicas[0] == gone).map(|replicas| replicas[1]);
        let (least, most) = spread(&others, heirs);
        assert!(most - least <= 1, "without {gone}: {least} to {most}");
    }
}

#[test]
fn replicas_are_spread_over_the_nodes() {
    let nodes: Vec<NodeId> = (1..=6).collect();
    let placed = place("order", 600, 3, &nodes);
    let (least, most) = spread(&nodes, placed.iter().flatten().copied());
    // 300 each, give or take what hashes do.
    assert!(least > 255 && most < 345, "{least} to {most}");
}

/// The property of rendezvous hashing: what changes is what the new node takes over.
#[test]
fn another_node_takes_over_its_share_and_nothing_else_changes() {
    const PARTITIONS: u32 = 600;
    let nodes: Vec<NodeId> = (1..=6).collect();
    let more: Vec<NodeId> = (1..=7).collect();
    let (before, after) = (place("order", PARTITIONS, 3, &nodes), place("order", PARTITIONS, 3, &more));
    let sets = before.iter().zip(&after).map(|(before, after)| {
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
        (before.difference(&after).count(), after.difference(&before).all(|node| **node == 7))
    });
    let (moved, only_to_the_new_one) =
        sets.fold((0, 0), |(moved, only), (gone, new)| (moved + gone, only + u32::from(new)));
    // The new node gets three in seven partitions, one replica of each.
    assert!((200..315).contains(&moved), "{moved} of {} replicas are placed elsewhere", 3 * PARTITIONS);
    assert!(only_to_the_new_one > PARTITIONS * 98 / 100, "{only_to_the_new_one} of {PARTITIONS}");
}

#[test]
fn few_partitions_are_placed_by_rank_and_topics_are_placed_differently() {
    let nodes: Vec<NodeId> = (1..=6).collect();
    let first: BTreeSet<_> = (0..64).map(|n| place(&format!("topic-{n}"), 1, 1, &nodes)[0][0]).collect();
    assert_eq!(first.len(), 6, "topics of one partition do not all begin at one node");
    let one = &place("order", 1, 3, &nodes)[0];
    assert_eq!(one[0], ranked("order", 0, &nodes)[0]);
}

#[test]
fn what_cannot_be_is_refused_with_the_range() {
    let new = |name: &str, partitions| NewTopic::new(name, partitions);
    let refusal = |topic: NewTopic| check_topic(&topic, 1024).unwrap_err().to_string();
    assert!(refusal(new("Order", 1)).contains("not a topic name"));
    assert!(refusal(new("_cluster", 1)).contains("not a topic name"));
    assert!(refusal(new("", 1)).contains("not a topic name"));
    let long = refusal(new(&"ä".repeat(1 << 20), 1));
    assert!(long.contains("\"… is not a topic name") && long.len() < 300, "quoted in part: {long}");
    assert!(refusal(new("order", 0)).contains("1 to 1024"));
    assert!(refusal(new("order", 1025)).contains("1 to 1024"));
    assert_eq!(check_topic(&new("order", 1024), 1024), Ok(()));
}

fn wanted(replication: Option<u32>, service: Option<&str>) -> NewTopic {
    NewTopic { replication, service: service.map(str::to_owned), ..NewTopic::new("order", 4) }
}

/// Nodes and what they carry.
fn carrying(nodes: &[(NodeId, &[&str])]) -> BTreeMap<NodeId, NodeRegistered> {
    let registered = nodes.iter().map(|(id, services)| {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        (*id, NodeRegistered { id: *id, services, ..NodeRegistered::default() })
    });
    registered.collect()
}

#[test]
fn a_topic_without_service_goes_to_any_node_whatever_they_carry() {
    let known = carrying(&[(1, &["payment"])]);
    assert_eq!(candidates(&wanted(None, None), &[1, 2, 3, 4], &known), Ok((vec![1, 2, 3, 4], 3)));
    assert_eq!(candidates(&wanted(None, None), &[1], &known), Ok((vec![1], 1)));
    let refusal = candidates(&wanted(Some(4), None), &[1, 2, 3], &known).unwrap_err().to_string();
    assert!(refusal.contains("4 replicas asked for, the cluster has 3 nodes"), "{refusal}");
    let refusal = candidates(&wanted(Some(0), None), &[1, 2, 3], &known).unwrap_err().to_string();
    assert!(refusal.contains("at least one"), "{refusal}");
}

#[test]
fn a_topic_of_a_service_goes_to_the_nodes_that_carry_it_and_to_those_that_carry_everything() {
    let known = carrying(&[(1, &["order", "payment"]), (2, &["payment"]), (3, &[]), (4, &["order"])]);
    let nodes = [1, 2, 3, 4];
    assert_eq!(candidates(&wanted(None, Some("order")), &nodes, &known), Ok((vec![1, 3, 4], 3)));
    assert_eq!(candidates(&wanted(Some(2), Some("payment")), &nodes, &known), Ok((vec![1, 2, 3], 2)));
    assert_eq!(candidates(&wanted(None, Some("stock")), &nodes, &known), Ok((vec![3], 1)));
}

#[test]
fn fewer_carriers_than_replicas_is_refused_by_name() {
    let known = carrying(&[(1, &["order"]), (2, &["payment"]), (3, &["order"])]);
    let refusal = |replication, service| {
        candidates(&wanted(replication, Some(service)), &[1, 2, 3], &known).unwrap_err().to_string()
    };
    let few = refusal(Some(3), "order");
    assert!(few.contains("3 replicas asked for, service \"order\" is carried by 2 nodes ([1, 3])"), "{few}");
    let none = refusal(None, "stock");
    assert!(none.contains("service \"stock\" is carried by 0 nodes"), "{none}");
}

/// A node that was not started yet may carry anything. A topic keeps for life what it is given.
#[test]
fn a_node_that_has_not_said_what_it_carries_is_waited_for_where_it_matters() {
    let known = carrying(&[(1, &["order"]), (2, &["order"])]);
    let of = |replication| candidates(&wanted(replication, Some("order")), &[1, 2, 3], &known);
    assert!(matches!(of(None), Err(LogError::Unavailable(why)) if why.contains("[3]")));
    assert!(matches!(of(Some(3)), Err(LogError::Unavailable(_))));
    assert_eq!(of(Some(2)), Ok((vec![1, 2], 2)), "whatever node 3 carries, two do");
}
