//! Disks that are full, slow or failing, with the built binary: three nodes under load, and afterwards every acknowledged
//! record is at its offset on all of them.
//!
//! What a test needs of the machine (root to mount, strace) it asks for; where it is not granted the test says so loudly
//! and ends, or fails where [`REQUIRED`] is set.
mod harness;

use corduroy_client::{Client, Consistency, Error, ReadOptions, Record};
use corduroy_tests::checker::Progress;
use harness::{Cluster, PATIENCE, Run, SmallDisk, TOPIC, Tracer, http_get, skipped};
use std::time::Duration;
use tokio::time::Instant;

/// Set where bad disks must be tested: a machine that cannot is then a failed test, not a skipped one.
const REQUIRED: &str = "CORDUROY_BAD_DISKS_REQUIRED";

const PARTITIONS: u32 = 4;
/// Of each data directory.
const MEBIBYTES: u32 = 64;

/// Waits until a node refuses appends for want of space, or does not.
async fn wait_refusing(cluster: &Cluster, node: u64, refusing: bool) {
    let port = cluster.nodes.iter().find(|known| known.id == node).expect("ids are 1, 2, 3").ports.http;
    let wanted = format!("corduroy_disk_refuses_appends{{node=\"{node}\"}} {}", u8::from(refusing));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = http_get(port, "/metrics");
        if metrics.as_ref().is_ok_and(|(_, text)| text.contains(&wanted)) {
            return;
        }
        assert!(Instant::now() < deadline, "{wanted} was expected: {metrics:?}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A cluster whose data directories are small file systems.
fn small_disks() -> Result<(Cluster, Vec<SmallDisk>), String> {
    let cluster = Cluster::configured();
    let disks = cluster.nodes.iter().map(|node| SmallDisk::mount(&node.data, MEBIBYTES)).collect::<Result<_, _>>()?;
    Ok((cluster, disks))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_moves_its_leads_away_and_the_node_restarts_without_a_byte_and_resumes_alone() {
    let (cluster, disks) = match small_disks() {
        Ok(ready) => ready,
        Err(why) => return skipped(REQUIRED, &why),
    };
    let mut run = Run::start(cluster, PARTITIONS).await;
    let full = run.leader().await;
    let disk = &disks[full as usize - 1];
    run.fault_begins("the disk of a leader is full", Progress::Throughout);
    assert!(disk.fill() > 1 << 20);
    wait_refusing(&run.cluster, full, true).await;
    run.cluster.leaders_without(PARTITIONS, full).await;
    run.faults.fired();
    // The others go on, and nobody notices but for a moment.
    run.progress().await;

    for round in 0..3 {
        run.cluster.node(full).kill();
        disk.fill();
        assert_eq!(disk.free(), 0, "round {round}");
        run.cluster.node(full).start();
        run.cluster.node(full).wait_ready();
        wait_refusing(&run.cluster, full, true).await;
        run.progress().await;
    }

    disk.empty();
    wait_refusing(&run.cluster, full, false).await;
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_disk_is_full_appends_are_refused_by_name_and_reads_go_on() {
    let (cluster, disks) = match small_disks() {
        Ok(ready) => ready,
        Err(why) => return skipped(REQUIRED, &why),
    };
    let mut run = Run::start(cluster, PARTITIONS).await;
    run.fault_begins("every disk is full", Progress::BeforeAndAfter);
    let filled: Vec<u64> = disks.iter().map(SmallDisk::fill).collect();
    assert!(filled.iter().all(|bytes| *bytes > 0), "{filled:?}");
    for node in 1..=3 {
        wait_refusing(&run.cluster, node, true).await;
    }
    run.faults.fired();
    // A refusal for want of space is tried again until the deadline; a read may have to wait for an election.
    let connect = |timeout| Client::builder().endpoints(run.cluster.grpc()).timeout(timeout).connect();
    let impatient = connect(Duration::from_secs(1)).await.expect("the nodes run");
    let client = connect(PATIENCE).await.expect("the nodes run");
    for partition in 0..PARTITIONS {
        let record = vec![Record::new("for a probe")];
        match impatient.append(TOPIC, Some(partition), record).await {
            Err(Error::Full { message, .. }) => {
                assert!(message.contains("no space for order/") && message.contains("bytes are free"), "{message}");
            }
            other => panic!("a refusal for want of space was expected: {other:?}\n{}", run.cluster.logs()),
        }
        let options = ReadOptions { consistency: Consistency::Linearizable, ..ReadOptions::default() };
        let page = client.read(TOPIC, partition, 0, &options).await.expect("reads go on");
        assert!(!page.records.is_empty());
    }
    let status = run.cluster.admin().cluster().await.expect("operators are answered");
    for node in &status.nodes {
        let disk = node.disk.as_ref().expect("it answers");
        assert_ne!(disk.space, "plenty", "node {}: {disk:?}", node.id);
    }
    disks.iter().for_each(SmallDisk::empty);
    for node in 1..=3 {
        wait_refusing(&run.cluster, node, false).await;
    }
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_once_ends_the_leader_and_takes_nothing_with_it() {
    let mut run = Run::start(Cluster::configured(), PARTITIONS).await;
    let leader = run.leader().await;
    run.fault_begins("fdatasync fails with EIO, once", Progress::Throughout);
    let pid = run.cluster.node(leader).pid();
    let tracer = match Tracer::attach(pid, "fdatasync:error=EIO:when=1", run.cluster.dir()) {
        Ok(tracer) => tracer,
        Err(why) => return skipped(REQUIRED, &why),
    };
    run.cluster.node(leader).wait().assert(70, &["DISK_FAILED"]);
    assert!(tracer.fired(), "{}", tracer.seen());
    run.faults.fired();
    drop(tracer);
    run.cluster.leaders_without(PARTITIONS, leader).await;
    run.progress().await;
    run.cluster.node(leader).start();
    run.cluster.node(leader).wait_ready();
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_takes_five_seconds_moves_the_leads_and_ends_nobody() {
    let mut run = Run::start(Cluster::configured(), PARTITIONS).await;
    let leader = run.leader().await;
    run.fault_begins("fdatasync takes five seconds, once", Progress::Throughout);
    let pid = run.cluster.node(leader).pid();
    let tracer = match Tracer::attach(pid, "fdatasync:delay_enter=5000000:when=1", run.cluster.dir()) {
        Ok(tracer) => tracer,
        Err(why) => return skipped(REQUIRED, &why),
    };
    run.cluster.leaders_without(PARTITIONS, leader).await;
    run.progress().await;
    run.cluster.node(leader).assert_alive();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(tracer.fired(), "{}", tracer.seen());
    run.faults.fired();
    drop(tracer);
    run.cluster.node(leader).assert_alive();
    run.cluster.node(leader).wait_ready();
    run.fault_ends();
    run.judged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_hangs_ends_the_node_and_says_so() {
    let mut run = Run::start(Cluster::configured(), PARTITIONS).await;
    let leader = run.leader().await;
    run.fault_begins("fdatasync hangs", Progress::Throughout);
    let pid = run.cluster.node(leader).pid();
    let tracer = match Tracer::attach(pid, "fdatasync:delay_enter=60000000:when=1", run.cluster.dir()) {
        Ok(tracer) => tracer,
        Err(why) => return skipped(REQUIRED, &why),
    };
    run.cluster.leaders_without(PARTITIONS, leader).await;
    run.progress().await;
    run.cluster.node(leader).wait().assert(70, &["DISK_FAILED", "the disk has been at work on one write"]);
    run.faults.fired();
    drop(tracer);
    run.cluster.node(leader).start();
    run.cluster.node(leader).wait_ready();
    run.fault_ends();
    run.judged().await;
}
