//! One partition that takes all there is, and what it does to the others, in virtual time.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{
    Config, NewRecord, NewTopic,
    testing::{Sim, SimCluster, SimTasks},
    topic::NodeId,
};
use openraft_rt::AsyncRuntime;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const TOPIC: &str = "order";
const PARTITIONS: u32 = 4;
/// The one that floods.
const HOT: u32 = 0;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Bytes a second that a disk writes.
const SPEED: u64 = 12 << 20;
/// Bytes a partition may have in flight.
const IN_FLIGHT: u64 = 1 << 20;

/// A sixteenth of everything: the disk of a machine that writes 200 MB a second, with default limits.
fn a_sixteenth(config: &mut Config) {
    config.limits.record_bytes = 32 << 10;
    config.limits.batch_bytes = 64 << 10;
    config.limits.in_flight_bytes = IN_FLIGHT;
    config.limits.node_in_flight_bytes = 8 << 20;
    config.limits.commit_bytes = 256 << 10;
    config.limits.segment_bytes = 8 << 20;
    config.limits.hot_tail_bytes = 1 << 20;
    config.limits.hot_tail_total_bytes = 16 << 20;
}

struct Loaded {
    cluster: SimCluster,
    latencies: Mutex<Vec<Duration>>,
    flooded: AtomicU64,
    stop: AtomicBool,
}

impl Loaded {
    /// One record at a time, every few milliseconds.
    async fn trickle(self: Arc<Self>, partition: u32) {
        while !self.stop.load(Ordering::Relaxed) {
            let began = self.cluster.sim().elapsed();
            self.cluster.append(TOPIC, partition, vec![NewRecord::new("x")]).await.unwrap();
            self.latencies.lock().unwrap().push(self.cluster.sim().elapsed() - began);
            self.cluster.sim().sleep(3 * MS).await;
        }
    }

    /// As much as is taken.
    async fn flood(self: Arc<Self>, leader: NodeId) {
        let record = NewRecord::new(vec![b'x'; 30 << 10]);
        while !self.stop.load(Ordering::Relaxed) {
            let records = vec![record.clone(); 2];
            let submitted = self.cluster.on(leader, async move |log| log.partition(TOPIC, HOT)?.submit(&records));
            match submitted.await.unwrap() {
                Ok(answer) => {
                    let loaded = self.clone();
                    drop(SimTasks::spawn(async move {
                        if answer.await.is_ok() {
                            loaded.flooded.fetch_add(60 << 10, Ordering::Relaxed);
                        }
                    }));
                }
                Err(_busy) => self.cluster.sim().sleep(MS).await,
            }
        }
    }

    fn percentiles(&self) -> (Duration, Duration, Duration) {
        let mut all = std::mem::take(&mut *self.latencies.lock().unwrap());
        all.sort();
        (all[all.len() / 2], all[all.len() * 99 / 100], all[all.len() - 1])
    }
}

/// They wait behind what it has in flight, which its budget bounds, and not behind all that it is given.
#[test]
fn the_others_wait_no_longer_than_for_what_a_partition_that_floods_may_have_in_flight() {
    for seed in 0..3 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let cluster = SimCluster::with_config(&sim, 3, a_sixteenth);
            cluster.start().await;
            cluster.create_topic(NewTopic::new(TOPIC, PARTITIONS)).await.unwrap();
            (1..=3).for_each(|node| sim.set_disk_speed(node, Some(SPEED)));
            let (latencies, flooded, stop) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
            let loaded = Arc::new(Loaded { cluster, latencies, flooded, stop });
            for partition in (0..PARTITIONS).filter(|partition| *partition != HOT) {
                drop(SimTasks::spawn(loaded.clone().trickle(partition)));
            }
            sim.sleep(SECOND).await;
            let alone = loaded.percentiles();
            let leader = loaded.cluster.await_leader(TOPIC, HOT).await;
            drop(SimTasks::spawn(loaded.clone().flood(leader)));
            sim.sleep(SECOND).await;
            loaded.percentiles();
            loaded.flooded.store(0, Ordering::Relaxed);
            sim.sleep(2 * SECOND).await;
            let beside = loaded.percentiles();
            let flooded = loaded.flooded.load(Ordering::Relaxed) / 2;
            println!("seed {seed}: alone {alone:?}, beside {flooded} bytes a second {beside:?}");
            assert!(flooded > SPEED * 2 / 3, "the disks are at work: {flooded} bytes a second");
            // Twice: on the leader's disk, and then on a follower's.
            let bound = Duration::from_micros(2 * IN_FLIGHT * 1_000_000 / SPEED);
            assert!(beside.2 < bound, "seed {seed}: {beside:?} and not {bound:?}");
            assert!(beside.0 > alone.0, "the flood was felt");
            loaded.stop.store(true, Ordering::Relaxed);
        });
    }
}
