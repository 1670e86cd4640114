//! Views of real nodes: three processes under load, whose views are killed with them, lose their power, rot, are deleted and
//! replaced by older copies. What is found by key and by time is never wrong, and in the end what the log holds.
mod harness;

use corduroy_client::{Client, Error, ReadOptions, Record, StoredRecord};
use corduroy_proto::v1;
use harness::{
    Cluster, FileSystem, LoopDisk, PATIENCE, TOPIC, can_cut_power, http_get,
    stores::{copy, rebuilds, rot, store},
    wait_until,
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::task::JoinHandle;

const KEYS: u64 = 40;
/// Why a view is built anew.
const REASONS: [&str; 10] = [
    "missing",
    "unopenable",
    "version",
    "damaged",
    "failed",
    "panicked",
    "ahead_of_log",
    "ahead_of_evolved",
    "other_log",
    "behind_purge",
];

/// What was acknowledged: the offsets of each key's records, and the time each offset has.
#[derive(Default)]
struct Acknowledged {
    of_key: BTreeMap<u64, Vec<u64>>,
    offsets: u64,
}

/// A cluster, somebody who appends, and some who look things up all the time.
struct Load {
    cluster: Cluster,
    acknowledged: Arc<Mutex<Acknowledged>>,
    lookups: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

fn key(number: u64) -> Vec<u8> {
    format!("customer-{number}").into_bytes()
}

/// Whether a node said that it cannot answer, or nothing. One that has just started may not know the topic yet.
fn is_no_answer(error: &Error) -> bool {
    error.is_retryable() || matches!(error, Error::Lost(_) | Error::UnknownOutcome(_) | Error::UnknownTopic(_))
}

fn node_of(address: &str) -> ReadOptions {
    ReadOptions { node: Some(address.to_owned()), ..ReadOptions::default() }
}

impl Load {
    async fn start(mut cluster: Cluster) -> Self {
        cluster.start_all();
        let request = v1::CreateTopicRequest {
            name: TOPIC.into(),
            partitions: 1,
            replication: Some(3),
            key_index: true,
            ..v1::CreateTopicRequest::default()
        };
        let admin = format!("http://127.0.0.1:{}", cluster.nodes[0].ports.admin);
        let mut admin = v1::admin_client::AdminClient::connect(admin).await.expect("it answers");
        admin.create_topic(request).await.expect("it is created");
        cluster.leaders(1).await;
        let mut load = Load {
            acknowledged: Arc::default(),
            lookups: Arc::default(),
            stop: Arc::default(),
            tasks: Vec::new(),
            cluster,
        };
        load.tasks.push(tokio::spawn(append(
            load.cluster.client().await,
            load.acknowledged.clone(),
            load.stop.clone(),
        )));
        for address in load.cluster.grpc() {
            let client = load.cluster.client().await;
            let (acknowledged, stop, lookups) = (load.acknowledged.clone(), load.stop.clone(), load.lookups.clone());
            load.tasks.push(tokio::spawn(look_up(client, address, acknowledged, lookups, stop)));
        }
        load.progress().await;
        load
    }

    /// Waits until more was acknowledged, and more was looked up.
    async fn progress(&self) {
        let state = || (self.acknowledged.lock().expect("nobody panics").offsets, self.lookups.load(Relaxed));
        let (before, deadline) = (state(), Instant::now() + PATIENCE);
        while state().0 < before.0 + 600 || state().1 < before.1 + 60 {
            assert!(Instant::now() < deadline, "{before:?}, now {:?}\n{}", state(), self.cluster.logs());
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "somebody found something wrong");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops a node by `kill -9`, does something to its views, starts it, and waits until it is ready.
    async fn with_node_down(&mut self, id: u64, work: impl FnOnce(&Path)) {
        self.cluster.node(id).kill();
        let views = self.cluster.node(id).data.join("views");
        work(&views);
        self.cluster.start_all();
        self.progress().await;
    }

    /// How often a node has built the view anew for a reason since it was started.
    fn rebuilds(&self, id: u64, reason: &str) -> u64 {
        rebuilds(self.cluster.nodes[id as usize - 1].ports.http, id, "topics", reason)
    }

    /// Says what was built anew since each node was started, for whoever looks at the output.
    fn report(&self, after: &str) {
        for id in 1..=3 {
            let rebuilt: Vec<String> = REASONS
                .iter()
                .map(|reason| (reason, self.rebuilds(id, reason)))
                .filter(|(_, times)| *times > 0)
                .map(|(reason, times)| format!("{times} {reason}"))
                .collect();
            println!("after {after}: node {id} has built its view anew: {rebuilt:?}");
        }
    }

    /// Every node has everything, by key and by time, where the log has it.
    async fn judge(self) {
        self.progress().await;
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await.expect("nobody found anything wrong");
        }
        let client = self.cluster.client().await;
        for address in self.cluster.grpc() {
            let all = read_all(&client, &address).await;
            let acknowledged = self.acknowledged.lock().expect("nobody panics").of_key.clone();
            for number in 0..KEYS {
                let expected: Vec<u64> = all
                    .iter()
                    .filter(|record| record.key.as_deref() == Some(&key(number)))
                    .map(|record| record.offset)
                    .collect();
                let found = of_key(&client, &address, number).await.expect("a node that is ready answers");
                assert_eq!(found, expected, "customer {number} at {address}");
                let lost = acknowledged.get(&number).into_iter().flatten().find(|offset| !found.contains(offset));
                assert_eq!(lost, None, "customer {number} at {address}");
            }
            for record in all.iter().step_by(97) {
                let expected = all.iter().find(|other| other.time >= record.time).map(|other| other.offset);
                let found = client.offset_for_time(TOPIC, 0, record.time, &node_of(&address)).await;
                assert_eq!(
                    Some(found.expect("a node that is ready answers").offset),
                    expected,
                    "{:?} at {address}",
                    record.time
                );
            }
        }
    }
}

async fn append(client: Client, acknowledged: Arc<Mutex<Acknowledged>>, stop: Arc<AtomicBool>) {
    let mut next = 0_u64;
    while !stop.load(Relaxed) {
        let numbers: Vec<u64> = (next..next + 20).map(|number| number * 7 % KEYS).collect();
        next += 20;
        let records = numbers.iter().map(|number| Record::new("x".repeat(100)).with_key(key(*number))).collect();
        match client.append(TOPIC, Some(0), records).await {
            Ok(ack) => {
                let mut acknowledged = acknowledged.lock().expect("nobody panics");
                for (offset, number) in (ack.first_offset..).zip(numbers) {
                    acknowledged.of_key.entry(number).or_default().push(offset);
                }
                acknowledged.offsets += 20;
            }
            Err(error) => assert!(is_no_answer(&error), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

/// Looks up what was acknowledged before, at one node, and checks whatever is answered. That a node does not answer is no mistake.
async fn look_up(
    client: Client,
    address: String,
    acknowledged: Arc<Mutex<Acknowledged>>,
    lookups: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let mut turn = 0_u64;
    while !stop.load(Relaxed) {
        turn += 1;
        let number = turn % KEYS;
        let before = acknowledged.lock().expect("nobody panics").of_key.get(&number).cloned().unwrap_or_default();
        match of_key(&client, &address, number).await {
            Ok(found) => {
                let lost = before.iter().find(|offset| !found.contains(offset));
                assert_eq!(lost, None, "customer {number} at {address}, in {found:?}");
                lookups.fetch_add(1, Relaxed);
            }
            Err(error) => assert!(is_no_answer(&error), "{error}"),
        }
        let time = SystemTime::now() - Duration::from_millis(turn * 37 % 3000);
        match client.offset_for_time(TOPIC, 0, time, &node_of(&address)).await {
            Ok(found) if found.offset < found.end => {
                let at = found.offset.saturating_sub(1);
                let Ok(page) = client.read(TOPIC, 0, at, &node_of(&address)).await else { continue };
                for record in page.records.iter().take(2) {
                    assert_eq!(record.time >= time, record.offset >= found.offset, "{time:?} at {address}: {found:?}");
                }
            }
            Ok(_) => {}
            Err(error) => assert!(is_no_answer(&error), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The offsets of a key's records; panics when a record has another key, or they are not in order.
async fn of_key(client: &Client, address: &str, number: u64) -> Result<Vec<u64>, Error> {
    let (mut offsets, mut next) = (Vec::new(), 0);
    loop {
        let page = client.read_key(TOPIC, 0, &key(number), next, &node_of(address)).await?;
        for record in &page.records {
            assert_eq!(record.key.as_deref(), Some(&key(number)[..]), "{record:?}");
            assert!(record.offset >= next, "{record:?} at or behind {next}");
            next = record.offset + 1;
            offsets.push(record.offset);
        }
        next = page.next_offset;
        if next >= page.end_offset {
            return Ok(offsets);
        }
    }
}

async fn read_all(client: &Client, address: &str) -> Vec<StoredRecord> {
    let mut records: Vec<StoredRecord> = Vec::new();
    loop {
        let page =
            client.read(TOPIC, 0, records.len() as u64, &node_of(address)).await.expect("a node that is ready answers");
        if page.records.is_empty() {
            return records;
        }
        records.extend(page.records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_are_killed_deleted_rotten_or_old_answer_right_or_not_at_all() {
    let mut load = Load::start(Cluster::configured()).await;
    // What sled has flushed by itself, sooner or later.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let old = load.cluster.dir().join("an-older-copy");
    load.with_node_down(1, |views| copy(views, &old)).await;
    load.with_node_down(2, |views| fs::remove_dir_all(views).expect("nobody uses it")).await;
    assert_eq!(load.rebuilds(2, "missing"), 1);

    tokio::time::sleep(Duration::from_secs(6)).await;
    load.with_node_down(3, |views| rot(&store(views, "topics"))).await;
    let rebuilt: u64 =
        ["unopenable", "damaged", "failed", "panicked"].iter().map(|reason| load.rebuilds(3, reason)).sum();
    assert!(rebuilt >= 1, "{}", load.cluster.logs());

    // An older copy is no damage: it takes what it lacks.
    load.with_node_down(1, |views| {
        fs::remove_dir_all(views).expect("nobody uses it");
        copy(&old, views);
    })
    .await;
    // That of another node is as good as one's own, as long as the log has what it has.
    let others = load.cluster.node(2).data.join("views");
    load.cluster.node(2).kill();
    let copied = load.cluster.dir().join("of-another");
    copy(&others, &copied);
    load.cluster.start_all();
    load.with_node_down(3, |views| {
        fs::remove_dir_all(views).expect("nobody uses it");
        copy(&copied, views);
    })
    .await;
    for id in 1..=3 {
        load.with_node_down(id, |_| {}).await;
    }
    load.judge().await;
}

/// A store nobody can use is no reason not to start, and not to be ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_keep_views_serves_everything_else_and_says_why() {
    let mut load = Load::start(Cluster::configured()).await;
    load.cluster.node(2).kill();
    let views = load.cluster.node(2).data.join("views");
    fs::remove_dir_all(&views).expect("nobody uses it");
    fs::write(&views, b"a file in its place").expect("it can be written");
    load.cluster.start_all();
    let port = load.cluster.node(2).ports.http;
    wait_until("node 2 to say it", || {
        let (code, checks) = http_get(port, "/readyz?verbose").map_err(|error| error.to_string())?;
        let said = checks.lines().find(|line| line.contains("view topics: failing")).is_some();
        if code == 200 && said { Ok(()) } else { Err(format!("{code} {checks}")) }
    });
    let client = load.cluster.client().await;
    let address = load.cluster.grpc()[1].clone();
    let stale = ReadOptions { consistency: corduroy_client::Consistency::Stale, ..node_of(&address) };
    assert!(!client.read(TOPIC, 0, 0, &stale).await.expect("it reads").records.is_empty());
    let refused = client.read_key(TOPIC, 0, &key(1), 0, &stale).await.expect_err("it has no view");
    let said = refused.to_string();
    assert!(said.contains("the view \"topics\" is failing and has 0 of the "), "{said}");
    fs::remove_file(&views).expect("it is there");
    wait_until("node 2 to have built its view", || {
        let (_, checks) = http_get(port, "/readyz?verbose").map_err(|error| error.to_string())?;
        if checks.contains("view topics: following") { Ok(()) } else { Err(checks) }
    });
    load.judge().await;
}

async fn power_cuts(kind: FileSystem) {
    if !can_cut_power() {
        return;
    }
    let mut disks: Vec<LoopDisk> = (0..3).map(|_| LoopDisk::new(kind).expect("it worked a moment ago")).collect();
    let mut cluster = Cluster::configured();
    for (node, disk) in cluster.nodes.iter_mut().zip(&disks) {
        node.data = disk.path().join("data");
    }
    let mut load = Load::start(cluster).await;
    for ids in [&[2][..], &[1, 2, 3], &[3]] {
        for &id in ids {
            load.cluster.node(id).pause();
        }
        ids.iter().for_each(|&id| disks[id as usize - 1].cut_power().expect("it worked a moment ago"));
        for &id in ids {
            load.cluster.node(id).kill();
            disks[id as usize - 1].power_on().expect("the process has ended");
        }
        load.cluster.start_all();
        load.progress().await;
        load.report(&format!("a power cut of {ids:?} on {kind:?}"));
    }
    load.judge().await;
    drop(disks);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_on_ext4_whose_power_is_cut_answer_right_or_not_at_all() {
    power_cuts(FileSystem::Ext4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_on_xfs_whose_power_is_cut_answer_right_or_not_at_all() {
    power_cuts(FileSystem::Xfs).await;
}
