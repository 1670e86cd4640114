//! How leads move between real processes: succeeded when one is killed, handed over when one is told to stop, given back when
//! it has been there again for a while.
//!
//! How long nothing was acknowledged is printed (`-- --nocapture`), and fails nothing. That it was not a timeout which did
//! it is shown by what the nodes say.
mod harness;

use corduroy_tests::checker::Progress;
use harness::{Cluster, NodeProcess, Run};
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 6;
/// What a node says that acts on the word of a majority.
const GONE: &str = "the leader's process is gone";
/// What a node says that stops, when it has voted for another one in every partition it led; then, how many these were.
const HANDED_OVER: &str = "leads nothing any more that others could";

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_succeeded_on_the_word_of_a_majority() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    for round in 0..3 {
        let leader = run.leader().await;
        run.fault_begins("kill -9 of a leader", Progress::Throughout);
        let (others, since) = (others(&run.cluster, leader), run.load.recorder.now());
        let said: Vec<usize> = others.iter().map(|node| times(node, GONE)).collect();
        run.cluster.node(leader).kill();
        let leaders = run.cluster.leaders_without(PARTITIONS, leader).await;
        assert!(!leaders.contains(&leader), "{leaders:?}");
        run.faults.fired();
        run.progress().await;
        println!("round {round}: nothing acknowledged for at most {:?}", run.load.recorder.gaps(since));
        for (node, before) in self::others(&run.cluster, leader).iter().zip(said) {
            assert!(times(node, GONE) > before, "node {} waited for a timeout:\n{}", node.id, node.log_tail());
        }
        run.cluster.node(leader).start();
        run.cluster.node(leader).wait_ready();
        run.fault_ends();
        run.progress().await;
    }
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_stop_hands_over_its_leads_before_it_ends() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    let mut handed_over = 0;
    for id in 1..=3 {
        run.fault_begins(&format!("SIGTERM of node {id}"), Progress::Throughout);
        let since = run.load.recorder.now();
        run.cluster.node(id).terminate();
        let ended = run.cluster.node(id).wait();
        ended.assert(0, &[HANDED_OVER]);
        run.faults.fired();
        handed_over += leads_given_away(&ended.stderr);
        // There and then, and not only once somebody has found that the process is gone.
        let leaders = run.cluster.leaders_without(PARTITIONS, id).await;
        assert!(!leaders.contains(&id), "{leaders:?}");
        run.progress().await;
        run.cluster.node(id).start();
        run.cluster.node(id).wait_ready();
        run.fault_ends();
        run.progress().await;
        println!("restart of node {id}: nothing acknowledged for at most {:?}", run.load.recorder.gaps(since));
    }
    assert!(handed_over >= PARTITIONS, "only {handed_over} leads were handed over, and all nodes were told to stop");
    run.judged().await;
}

/// Nobody appends meanwhile: on a machine with other work every disk would be slow now and then, and to slow nodes no lead goes.
#[tokio::test(flavor = "multi_thread")]
async fn leads_are_even_again_some_seconds_after_a_killed_node_is_back() {
    let mut run = Run::start(Cluster::start(), PARTITIONS).await;
    let leader = run.leader().await;
    run.fault_begins("kill -9 of a leader", Progress::Throughout);
    run.cluster.node(leader).kill();
    run.cluster.leaders_without(PARTITIONS, leader).await;
    run.faults.fired();
    run.progress().await;
    run.cluster.node(leader).start();
    run.cluster.node(leader).wait_ready();
    run.load.stop().await;
    let back = Instant::now();
    loop {
        let leaders = run.cluster.leaders(PARTITIONS).await;
        let led = |id: u64| leaders.iter().filter(|leader| **leader == id).count();
        if (1..=3).all(|id| led(id) == PARTITIONS as usize / 3) {
            break;
        }
        assert!(back.elapsed() < harness::PATIENCE, "{leaders:?}\n{}", run.cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("even {:?} after the node was ready", back.elapsed());
    run.load.go_on(&run.cluster).await;
    run.fault_ends();
    run.judged().await;
}

fn others(cluster: &Cluster, id: u64) -> Vec<&NodeProcess> {
    cluster.nodes.iter().filter(|node| node.id != id).collect()
}

/// How many leads a node says that it has given away.
fn leads_given_away(said: &str) -> u32 {
    let line = said.lines().find(|line| line.contains(HANDED_OVER)).expect("asserted before");
    let (_, number) = line.rsplit_once("leads=").expect("a number of leads");
    number.trim().parse().expect("a number of leads")
}

/// How often a node said something since it was started.
fn times(node: &NodeProcess, what: &str) -> usize {
    node.log_of_run().matches(what).count()
}
