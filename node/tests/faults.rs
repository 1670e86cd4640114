//! Process faults, with the built binary: three nodes under load, something dies or freezes, and afterwards every
//! acknowledged record is at its offset on all of them.
//!
//! Each test asserts that its fault really happened, and that appends were acknowledged before, during and after it.
mod harness;

use corduroy_tests::checker::Progress;
use harness::{Cluster, NodeProcess, Run, TOPIC, dump_bytes, http_get, settle};
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn without_any_fault_every_record_is_on_every_replica() {
    let report = Run::start(Cluster::start(), PARTITIONS).await.judged().await;
    assert_eq!((report.refused, report.unknown), (0, 0), "nothing was disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_leader_loses_doubles_and_reorders_nothing() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    let leader = run.leader().await;
    run.fault_begins("kill -9 of the leader", Progress::Throughout);
    let old = run.cluster.node(leader).pid();
    run.cluster.node(leader).kill();
    let leaders = run.cluster.leaders_without(PARTITIONS, leader).await;
    assert_ne!(leaders[0], leader, "the partition is led by another node");
    run.faults.fired();
    run.progress().await;
    restart(&mut run.cluster, leader, old);
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_follower_loses_doubles_and_reorders_nothing() {
    // Two partitions have at most two leaders: one of three nodes leads nothing.
    const TWO: u32 = 2;
    let mut run = Run::start(Cluster::start(), TWO).await;
    let leaders = run.cluster.leaders(TWO).await;
    let follower = (1..=3).find(|id| !leaders.contains(id)).expect("three nodes, two partitions");
    run.fault_begins("kill -9 of a follower", Progress::Throughout);
    let old = run.cluster.node(follower).pid();
    run.cluster.node(follower).kill();
    run.faults.fired();
    run.progress().await;
    restart(&mut run.cluster, follower, old);
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_three_at_once_loses_nothing_that_was_acknowledged() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    run.fault_begins("kill -9 of all three", Progress::BeforeAndAfter);
    let old: Vec<u32> = run.cluster.nodes.iter().map(NodeProcess::pid).collect();
    run.cluster.nodes.iter_mut().for_each(NodeProcess::kill);
    run.faults.fired();
    run.cluster.start_all();
    let new: Vec<u32> = run.cluster.nodes.iter().map(NodeProcess::pid).collect();
    assert!(old.iter().all(|pid| !new.contains(pid)), "new processes: {old:?}, then {new:?}");
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_freezes_and_wakes_up_serves_nothing_old_and_loses_nothing() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    let leader = run.leader().await;
    run.fault_begins("SIGSTOP of the leader", Progress::Throughout);
    run.cluster.node(leader).pause();
    let leaders = run.cluster.leaders_without(PARTITIONS, leader).await;
    assert_ne!(leaders[0], leader, "the partition is led by another node");
    run.faults.fired();
    run.progress().await;
    // Longer than any timeout of an election: the frozen node wakes up as a leader of the past.
    tokio::time::sleep(Duration::from_secs(3)).await;
    run.cluster.node(leader).resume();
    run.cluster.node(leader).wait_ready();
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_one_node_after_the_other_loses_nothing() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    for id in 1..=3 {
        run.fault_begins(&format!("kill -9 of node {id}"), Progress::Throughout);
        let old = run.cluster.node(id).pid();
        run.cluster.node(id).kill();
        run.faults.fired();
        run.progress().await;
        restart(&mut run.cluster, id, old);
        run.fault_ends();
        run.progress().await;
    }
    run.judged().await;
}

/// The cluster is quiet meanwhile, so that every start must find the very same log.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_before_it_is_ready_change_nothing_of_a_nodes_log() {
    const KILLS: u32 = 50;
    const VICTIM: u64 = 2;
    const TWO: u32 = 2;
    let mut run = Run::start(Cluster::start(), TWO).await;
    run.load.stop().await;
    // A dozen segments and more.
    run.load.fill(&run.cluster, 120, 60_000).await;
    settle(&run.cluster, TWO).await;
    run.fault_begins("kill -9 before it is ready, again and again", Progress::BeforeAndAfter);
    let victim = run.cluster.node(VICTIM);
    victim.kill();
    let dumped = |victim: &NodeProcess| {
        ["_cluster/0".into(), format!("{TOPIC}/0"), format!("{TOPIC}/1")]
            .map(|place: String| dump_bytes(victim, &place))
    };
    let before = dumped(victim);
    assert!(before.iter().all(|dump| !dump.is_empty()), "there is something to lose");

    let started = Instant::now();
    victim.start();
    victim.wait_open();
    // Most of this is recovery, and what the process does before it.
    let mut longest = started.elapsed() * 5 / 4;
    victim.kill();
    let (mut kills, mut in_recovery, mut early) = (0, 0, 0);
    for attempt in 0..4 * KILLS {
        if kills == KILLS {
            break;
        }
        victim.start();
        // Another moment each time, all over the way to readiness.
        std::thread::sleep(longest * (attempt * 7 % KILLS) / KILLS);
        let health = http_get(victim.ports.http, "/readyz?verbose");
        victim.kill();
        match health {
            Ok((200, _)) => longest = longest * 9 / 10,
            Ok((_, checks)) => {
                kills += 1;
                in_recovery += u32::from(checks.contains("[-] recovery"));
            }
            // Its ports were not open yet, and they are before any file is touched.
            Err(_) => early += 1,
        }
        assert!(dumped(victim) == before, "the log is not what it was, after {kills} kills");
    }
    assert_eq!(kills, KILLS, "the node was ready before it could be killed, or {early} times not even begun");
    assert!(in_recovery > 0, "no kill fell into the time in which the node reads its log");
    println!("{kills} kills before it was ready, {in_recovery} while it read its log; {early} before it had begun");
    run.faults.fired();
    victim.start();
    victim.wait_ready();
    run.load.go_on(&run.cluster).await;
    run.fault_ends();
    run.judged().await;
}

/// Starts a killed node again and waits until it is ready, as a new process.
fn restart(cluster: &mut Cluster, id: u64, old: u32) {
    let node = cluster.node(id);
    node.start();
    assert_ne!(node.pid(), old, "a new process");
    node.wait_ready();
}
