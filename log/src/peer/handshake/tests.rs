use super::*;

fn me() -> Me {
    Me { cluster: ClusterId([1; 16]), identity: PeerIdentity { node: 1, incarnation: [1; 16], boot_epoch: 1 } }
}

fn judged(known: &Mutex<BTreeMap<NodeId, PeerIdentity>>, from: NodeId, incarnation: u8, epoch: u64) -> Result<bool, Refusal> {
    let verdict = judge(&me(), &[1, 2, 3], known, PROTOCOL, &[1; 16], from, &[incarnation; 16], epoch);
    verdict.map(|learned| learned.is_some()).map_err(|refused| refused.refusal())
}

#[test]
fn the_first_incarnation_of_a_node_stays() {
    let known = Mutex::default();
    assert_eq!(judged(&known, 2, 5, 1), Ok(true), "new: to be made durable");
    assert_eq!(judged(&known, 2, 5, 1), Ok(false), "known");
    assert_eq!(judged(&known, 2, 6, 9), Err(Refusal::WrongIncarnation), "a lost disk");
    assert_eq!(judged(&known, 2, 5, 1), Ok(false), "the refused one changed nothing");
}

#[test]
fn a_directory_restored_from_an_older_copy_is_refused() {
    let known = Mutex::default();
    assert_eq!(judged(&known, 2, 5, 7), Ok(true));
    assert_eq!(judged(&known, 2, 5, 8), Ok(true), "a restart");
    assert_eq!(judged(&known, 2, 5, 7), Err(Refusal::OldEpoch));
}

#[test]
fn strangers_are_refused_by_name() {
    let known = Mutex::default();
    assert_eq!(judged(&known, 4, 5, 1), Err(Refusal::UnknownNode));
    assert_eq!(judged(&known, 1, 1, 1), Err(Refusal::UnknownNode), "nobody else is this node");
    let other_cluster = judge(&me(), &[1, 2], &known, PROTOCOL, &[2; 16], 2, &[5; 16], 1).unwrap_err();
    assert_eq!(other_cluster.refusal(), Refusal::WrongCluster);
    assert!(other_cluster.detail.contains("01010101-0101"), "{}", other_cluster.detail);
    let other_protocol = judge(&me(), &[1, 2], &known, PROTOCOL + 1, &[1; 16], 2, &[5; 16], 1).unwrap_err();
    assert_eq!(other_protocol.refusal(), Refusal::WrongProtocol);
    let garbled = judge(&me(), &[1, 2], &known, PROTOCOL, &[1; 16], 2, b"short", 1).unwrap_err();
    assert_eq!(garbled.refusal(), Refusal::WrongIncarnation);
    assert!(known.lock().unwrap().is_empty());
}
