use super::*;

fn created(name: &str, request: &'static str) -> Event {
    let partitions = vec![pb::PartitionPlacement { replicas: vec![1, 2, 3] }];
    Event::TopicCreated(pb::TopicCreated {
        request_id: Bytes::from_static(request.as_bytes()),
        name: name.into(),
        replication: 3,
        partitions,
        ..Default::default()
    })
}

fn registered(id: NodeId, incarnation: &'static str, peer: &str) -> Event {
    let incarnation = Bytes::from_static(incarnation.as_bytes());
    Event::NodeRegistered(pb::NodeRegistered { id, incarnation, peer: peer.into(), ..Default::default() })
}

#[test]
fn the_first_of_two_topics_of_one_name_stays() {
    let mut map = Map::default();
    map.evolve(0, created("order", "a"));
    map.evolve(1, created("order", "b"));
    assert_eq!((map.topics["order"].id, &map.topics["order"].request[..]), (1, &b"a"[..]));
    assert_eq!(map.next, 2);
}

#[test]
fn a_topic_created_again_after_its_deletion_has_another_id() {
    let mut map = Map::default();
    map.evolve(0, created("order", "a"));
    map.evolve(1, Event::TopicDeleted(pb::TopicDeleted { request_id: Bytes::new(), name: "order".into() }));
    assert!(map.topics.is_empty());
    map.evolve(2, created("order", "b"));
    assert_eq!(map.topics["order"].id, 3);
}

#[test]
fn an_incarnation_once_registered_stays_but_may_move() {
    let mut map = Map::default();
    map.evolve(0, registered(1, "first", "a:1"));
    map.evolve(1, registered(1, "second", "b:1"));
    assert_eq!(map.nodes[&1].peer, "a:1");
    map.evolve(2, registered(1, "first", "c:1"));
    assert_eq!(map.nodes[&1].peer, "c:1");
}

fn knows(id: NodeId, format: u32) -> Event {
    Event::NodeRegistered(pb::NodeRegistered { id, format, ..Default::default() })
}

#[test]
fn a_format_is_known_to_all_when_the_last_node_knows_it_and_is_never_lowered() {
    let mut map = Map::default();
    assert_eq!(map.known_to_all([1, 2]), Format::FIRST, "nobody is registered");
    map.evolve(0, knows(1, 3));
    assert_eq!(map.known_to_all([1, 2]), Format::FIRST, "one is not");
    map.evolve(1, knows(2, 0));
    assert_eq!(map.known_to_all([1, 2]), Format::FIRST, "it was registered before there were formats");
    map.evolve(2, knows(2, 2));
    assert_eq!((map.known_to_all([1, 2]), map.format), (Format(2), Format::FIRST));
    for (offset, raised, comes_to) in [(3, 2, 2), (4, 1, 2), (5, 0, 2), (6, 3, 2)] {
        map.evolve(offset, Event::FormatRaised(pb::FormatRaised { format: raised }));
        assert_eq!(map.format, Format(comes_to), "not beyond what all know, and never back");
    }
    map.evolve(7, knows(2, 1));
    assert_eq!((map.known_to_all([1, 2]), map.format), (Format::FIRST, Format(2)));
}

#[test]
fn a_map_that_was_frozen_has_its_format() {
    let raised = Arc::new(ClusterMap::default());
    raised.get().evolve(0, knows(1, 4));
    raised.get().evolve(1, Event::FormatRaised(pb::FormatRaised { format: 4 }));
    let state = (raised.machine::<crate::world::RealWorld>().freeze().rest)();
    let restored = Arc::new(ClusterMap::default());
    restored.machine::<crate::world::RealWorld>().install(&state, None).unwrap();
    assert_eq!(restored.get().format, Format(4));
}
