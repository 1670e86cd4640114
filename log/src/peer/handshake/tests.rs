use super::*;

fn me() -> Me {
    let identity = PeerIdentity { node: 1, incarnation: [1; 16], boot_epoch: 1, confirmed: 0 };
    Me { cluster: ClusterId([1; 16]), identity, run: 70 }
}

fn greeting() -> Greeting {
    Greeting {
        protocol: PROTOCOL,
        cluster_id: vec![1; 16].into(),
        node: 2,
        incarnation: vec![5; 16].into(),
        boot_epoch: 1,
        confirmed: 0,
        run: 71,
    }
}

type Peers = Mutex<BTreeMap<NodeId, Known>>;

fn judged(known: &Peers, greeting: Greeting) -> Result<bool, Refusal> {
    let verdict = judge(&me(), &[1, 2, 3], known, &greeting);
    verdict.map(|learned| learned.is_some()).map_err(|refused| refused.refusal())
}

#[test]
fn the_first_incarnation_of_a_node_stays() {
    let known = Peers::default();
    let another = Greeting { incarnation: vec![6; 16].into(), boot_epoch: 9, ..greeting() };
    assert_eq!(judged(&known, greeting()), Ok(true), "new: to be made durable");
    assert_eq!(judged(&known, greeting()), Ok(false), "known");
    assert_eq!(judged(&known, another), Err(Refusal::WrongIncarnation), "a lost disk");
    assert_eq!(judged(&known, greeting()), Ok(false), "the refused one changed nothing");
}

#[test]
fn a_directory_restored_from_an_older_copy_is_refused() {
    let known = Peers::default();
    let boot =
        |boot_epoch, confirmed| Greeting { boot_epoch, confirmed, run: 1000 * boot_epoch + confirmed, ..greeting() };
    assert_eq!(judged(&known, boot(7, 100)), Ok(true));
    assert_eq!(judged(&known, boot(8, 150)), Ok(true), "a restart");
    assert_eq!(judged(&known, boot(7, 200)), Err(Refusal::RolledBack), "an earlier boot");
    assert_eq!(judged(&known, boot(9, 149)), Err(Refusal::RolledBack), "a later boot with less on disk");
    assert_eq!(judged(&known, boot(9, 150)), Ok(true));
}

#[test]
fn greetings_of_one_process_may_overtake_each_other() {
    let known = Peers::default();
    let of_run_5 = |confirmed| Greeting { boot_epoch: 3, confirmed, run: 5, ..greeting() };
    assert_eq!(judged(&known, of_run_5(12)), Ok(true), "as the called one");
    assert_eq!(judged(&known, of_run_5(10)), Ok(false), "as the caller, written before that");
}

#[test]
fn a_second_process_of_one_boot_is_refused() {
    let known = Peers::default();
    let of = |run| Greeting { boot_epoch: 3, confirmed: 10, run, ..greeting() };
    assert_eq!(judged(&known, of(5)), Ok(true));
    assert_eq!(judged(&known, of(6)), Err(Refusal::RolledBack));
    // Who was let in before this node was started is not remembered; the numbers are.
    known.lock().unwrap().get_mut(&2).unwrap().run = None;
    assert_eq!(judged(&known, Greeting { confirmed: 9, ..of(6) }), Err(Refusal::RolledBack));
    assert_eq!(judged(&known, of(6)), Ok(false));
}

#[test]
fn strangers_are_refused_by_name() {
    let known = Peers::default();
    let refusal = |greeting| judged(&known, greeting).unwrap_err();
    assert_eq!(refusal(Greeting { node: 4, ..greeting() }), Refusal::UnknownNode);
    assert_eq!(refusal(Greeting { node: 1, ..greeting() }), Refusal::UnknownNode, "nobody else is this node");
    assert_eq!(refusal(Greeting { protocol: PROTOCOL + 1, ..greeting() }), Refusal::WrongProtocol);
    assert_eq!(refusal(Greeting { incarnation: "short".into(), ..greeting() }), Refusal::WrongIncarnation);
    let other_cluster =
        judge(&me(), &[1, 2], &known, &Greeting { cluster_id: vec![2; 16].into(), ..greeting() }).unwrap_err();
    assert_eq!(other_cluster.refusal(), Refusal::WrongCluster);
    assert!(other_cluster.detail.contains("01010101-0101"), "{}", other_cluster.detail);
    assert!(known.lock().unwrap().is_empty());
}
