use super::*;

const TOPIC: &str = "orders";

fn topology(leader: u64, term: u64) -> Topology {
    let node = |id: u64| NodeEndpoint { id, grpc: address(id) };
    let route = PartitionRoute { partition: 0, leader: Some(leader), term, replicas: vec![1, 2, 3] };
    Topology { nodes: (1..=3).map(node).collect(), partitions: vec![route] }
}

fn address(id: u64) -> String {
    format!("node-{id}:1")
}

fn leader(id: u64, term: u64) -> Leader {
    Leader { address: address(id), term }
}

/// Node 1 leads in term 5.
fn routes() -> Routes {
    let routes = Routes::new(vec![address(1)]);
    routes.learn(TOPIC, &topology(1, 5), &address(1));
    routes
}

fn lost(routes: &Routes, id: u64, term: u64) -> Lost {
    let lost = Lost { leader: leader(id, term), since: Instant::now() };
    routes.forget(TOPIC, 0, &lost.leader);
    lost
}

#[test]
fn nodes_replicas_and_partitions_are_learned() {
    let routes = routes();
    assert_eq!(routes.endpoints(), [address(1), address(2), address(3)]);
    assert_eq!(routes.replicas(TOPIC, &BTreeSet::from([0, 9])).len(), 3);
    assert_eq!((routes.partitions(TOPIC), routes.partitions("others")), (Some(1), None));
}

#[test]
fn of_two_claims_the_one_of_the_higher_term_holds() {
    let routes = routes();
    assert_eq!(routes.leader(TOPIC, 0, None), Some(leader(1, 5)));
    routes.learn(TOPIC, &topology(3, 4), &address(3));
    assert_eq!(routes.leader(TOPIC, 0, None), Some(leader(1, 5)), "a leader of the past still believes it leads");
    routes.learn(TOPIC, &topology(2, 6), &address(3));
    assert_eq!(routes.leader(TOPIC, 0, None), Some(leader(2, 6)));
}

#[test]
fn a_dead_leader_that_the_others_still_name_is_passed_over_until_there_is_another() {
    let routes = routes();
    let lost = lost(&routes, 1, 5);
    routes.learn(TOPIC, &topology(1, 5), &address(2));
    assert_eq!(routes.leader(TOPIC, 0, Some(&lost)), None);
    routes.learn(TOPIC, &topology(3, 6), &address(3));
    assert_eq!(routes.leader(TOPIC, 0, Some(&lost)), Some(leader(3, 6)));
}

#[test]
fn a_leader_whose_connection_broke_is_found_again_by_its_own_word() {
    let routes = routes();
    let lost = lost(&routes, 1, 5);
    routes.learn(TOPIC, &topology(1, 5), &address(1));
    assert_eq!(routes.leader(TOPIC, 0, Some(&lost)), Some(leader(1, 5)));
}

#[test]
fn a_topic_that_was_made_again_has_leaders_although_its_terms_are_low() {
    let routes = routes();
    let lost = lost(&routes, 1, 5);
    routes.learn(TOPIC, &topology(2, 1), &address(2));
    assert_eq!(routes.leader(TOPIC, 0, Some(&lost)), Some(leader(2, 1)));
}

#[test]
fn a_silent_leader_is_left_for_one_of_a_later_term_only() {
    let routes = routes();
    assert_eq!(routes.newer_leader(TOPIC, 0, &leader(1, 5)), None);
    routes.learn(TOPIC, &topology(1, 7), &address(2));
    assert_eq!(routes.newer_leader(TOPIC, 0, &leader(1, 5)), None, "it is the same node");
    routes.confirm(TOPIC, 0, &address(2), 8);
    assert_eq!(routes.newer_leader(TOPIC, 0, &leader(1, 7)), Some(leader(2, 8)));
}
