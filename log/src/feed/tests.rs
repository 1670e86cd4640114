//! Six nodes, a topic on three of them, and a subscriber on one that holds no replica.
use super::{MESSAGE, WINDOW, line::Fed};
use crate::{
    NewRecord, NewTopic,
    error::LogError,
    log::Log,
    partition::Consistency,
    record::Record,
    testing::{Sim, SimCluster, SimTasks, SimWorld},
    topic::{NodeId, Offset},
};
use openraft_rt::AsyncRuntime as _;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const TOPIC: &str = "order";

async fn six(sim: &Sim) -> (SimCluster, Vec<NodeId>, NodeId) {
    let cluster = SimCluster::new(sim, 6);
    cluster.start().await;
    let topic = cluster.create_topic(NewTopic::new(TOPIC, 1)).await.unwrap();
    let replicas = topic.partitions[0].clone();
    let stranger = cluster.nodes().into_iter().find(|node| !replicas.contains(node)).expect("three of six hold it");
    (cluster, replicas, stranger)
}

/// What a subscriber has got so far.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(Vec<Record>, Option<NodeId>)>>);

impl Seen {
    /// Subscribes on a node, for as long as it lives.
    fn on(cluster: &SimCluster, node: NodeId) -> Self {
        let seen = Seen::default();
        let into = seen.0.clone();
        drop(cluster.on(node, async move |log: Log<SimWorld>| {
            let mut subscription = log.subscribe(TOPIC, 0, 0).unwrap();
            loop {
                let batches = subscription.next().await.unwrap();
                let mut into = into.lock().unwrap();
                batches.iter().for_each(|placed| into.0.extend(placed.records(0).unwrap()));
                into.1 = subscription.fed_by();
            }
        }));
        seen
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }

    fn fed_by(&self) -> Option<NodeId> {
        self.0.lock().unwrap().1
    }

    async fn reaches(&self, sim: &Sim, records: usize) {
        let begun = sim.elapsed();
        while self.len() < records {
            assert!(sim.elapsed() - begun < Duration::from_secs(60), "{} of {records} records came", self.len());
            sim.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything came once, in order, and is what a replica has.
    async fn is_whole(&self, cluster: &SimCluster, replica: NodeId) {
        let held = cluster.on(replica, async |log| {
            log.partition(TOPIC, 0)?.read(0, u64::MAX, u32::MAX, Consistency::Linearizable).await
        });
        let held = held.await.expect("the node lives").unwrap().records;
        self.reaches(cluster.sim(), held.len()).await;
        assert!(self.0.lock().unwrap().0 == held, "the subscriber got something else than the replica holds");
    }
}

/// A leader that stands still answers nothing: then its turn is over after a while.
async fn append(cluster: &SimCluster, from: usize, records: usize) {
    for number in from..from + records {
        let append = cluster.append(TOPIC, 0, vec![NewRecord::new(format!("{number}"))]);
        SimTasks::timeout(Duration::from_secs(2), append).await.ok();
    }
}

#[test]
fn a_node_without_replica_is_fed_by_one_that_has_one() {
    let sim = Sim::seed(1);
    sim.run(async {
        let (cluster, replicas, stranger) = six(&sim).await;
        let (near, far) = (Seen::on(&cluster, replicas[0]), Seen::on(&cluster, stranger));
        append(&cluster, 0, 100).await;
        far.is_whole(&cluster, replicas[1]).await;
        near.is_whole(&cluster, replicas[1]).await;
        assert!(far.fed_by().is_some_and(|node| replicas.contains(&node)));
        assert_eq!(near.fed_by(), None, "its own replica is nearest");
    });
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    PowerCut,
    Pause,
    CutFromSubscriber,
    HalfOpen,
    Reset,
}

#[test]
fn whatever_becomes_of_the_node_that_feeds_every_record_comes_once_and_in_order() {
    use Fault::*;
    for (seed, fault) in (0..).zip([Kill, PowerCut, Pause, CutFromSubscriber, HalfOpen, Reset]) {
        let sim = Sim::seed(seed);
        sim.run(async {
            let (cluster, replicas, stranger) = six(&sim).await;
            let seen = Seen::on(&cluster, stranger);
            append(&cluster, 0, 50).await;
            seen.reaches(&sim, 1).await;
            let victim = seen.fed_by().expect("somebody feeds it");
            match fault {
                Kill => cluster.kill(victim),
                PowerCut => cluster.power_cut(victim),
                Pause => cluster.pause(victim),
                CutFromSubscriber => sim.cut(stranger, victim),
                HalfOpen => sim.half_open(stranger, victim),
                Reset => sim.reset(stranger, victim),
            }
            append(&cluster, 50, 50).await;
            let survivor = *replicas.iter().find(|node| **node != victim).expect("three hold it");
            seen.is_whole(&cluster, survivor).await;
            assert!(seen.len() >= 90, "seed {seed}: {fault:?} left {} records", seen.len());
            assert_ne!(seen.fed_by(), Some(victim), "{fault:?} did not move the subscriber");
            match fault {
                Kill | PowerCut => drop(cluster.restart(victim).await.unwrap()),
                Pause => cluster.resume(victim),
                CutFromSubscriber => sim.heal_all(),
                HalfOpen => sim.close_half_open(stranger, victim),
                Reset => {}
            }
            append(&cluster, 100, 20).await;
            seen.is_whole(&cluster, survivor).await;
        });
    }
}

#[test]
fn faults_one_after_the_other_leave_no_gap_and_no_repeat() {
    for seed in 20..26 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let (cluster, replicas, stranger) = six(&sim).await;
            let seen = Seen::on(&cluster, stranger);
            let mut moved = 0;
            for turn in 0..8_u64 {
                append(&cluster, turn as usize * 20, 20).await;
                let victim = seen.fed_by().unwrap_or(replicas[0]);
                match (seed + turn) % 4 {
                    0 => cluster.kill(victim),
                    1 => cluster.power_cut(victim),
                    2 => sim.reset(stranger, victim),
                    _ => sim.cut(stranger, victim),
                }
                sim.sleep(Duration::from_millis(40 * (1 + turn % 3))).await;
                if cluster.log(victim).is_none() {
                    cluster.restart(victim).await.unwrap();
                }
                append(&cluster, 1_000 + turn as usize * 20, 5).await;
                sim.heal_all();
                moved += usize::from(seen.fed_by() != Some(victim));
            }
            cluster.ready().await;
            seen.is_whole(&cluster, replicas[0]).await;
            assert!(moved > 0, "no fault moved the subscriber");
        });
    }
}

/// It is connected to the subscriber, and hears of nothing new.
#[test]
fn a_subscriber_leaves_a_replica_that_is_cut_off_from_the_others() {
    let sim = Sim::seed(3);
    sim.run(async {
        let (cluster, replicas, stranger) = six(&sim).await;
        let seen = Seen::on(&cluster, stranger);
        append(&cluster, 0, 20).await;
        seen.reaches(&sim, 20).await;
        let stale = seen.fed_by().expect("somebody feeds it");
        cluster
            .nodes()
            .into_iter()
            .filter(|node| ![stale, stranger].contains(node))
            .for_each(|node| sim.cut(stale, node));
        append(&cluster, 20, 20).await;
        let fresh = *replicas.iter().find(|node| **node != stale).expect("three hold it");
        seen.is_whole(&cluster, fresh).await;
        assert_ne!(seen.fed_by(), Some(stale));
        assert!(cluster.log(stale).is_some(), "it ran all the time");
    });
}

#[test]
fn a_subscriber_that_takes_nothing_is_sent_no_more_than_its_window() {
    let sim = Sim::seed(4);
    sim.run(async {
        let (cluster, replicas, stranger) = six(&sim).await;
        // Twice the window.
        let value = vec![7; 100_000];
        let written = (2 * WINDOW) as usize / value.len();
        for _ in 0..written {
            cluster.append(TOPIC, 0, vec![NewRecord::new(value.clone())]).await.unwrap();
        }
        let leader = cluster.await_leader(TOPIC, 0).await;
        assert!(replicas.contains(&leader));
        let taken = cluster.on(stranger, async move |log: Log<SimWorld>| {
            let (id, _) = log.find(TOPIC, 0).unwrap();
            let mut feed = log.lines().open(leader, id, 0).await.unwrap();
            let mut came = Vec::new();
            for granted in [0, 0, 300_000, 1] {
                SimTasks::sleep(Duration::from_secs(5)).await;
                feed.grant(granted);
                SimTasks::sleep(Duration::from_secs(5)).await;
                let mut bytes = 0;
                while let Ok(Some(Fed::Batches(batches))) =
                    SimTasks::timeout(Duration::from_millis(1), feed.next()).await
                {
                    bytes += batches.iter().map(|batch| batch.payload.len() as u64).sum::<u64>();
                }
                came.push(bytes);
            }
            came
        });
        let came = taken.await.unwrap();
        assert!((WINDOW - MESSAGE..WINDOW + MESSAGE).contains(&came[0]), "{came:?}");
        assert_eq!(came[1], 0, "nothing more without credit: {came:?}");
        assert!(came[2] > 0 && came[2] + came[0] < WINDOW + 300_000 + MESSAGE, "what was owed is taken off: {came:?}");
        assert_eq!(came[3], 0, "one byte of credit does not pay what is owed: {came:?}");
    });
}

#[test]
fn the_bounds_of_a_partition_are_known_on_nodes_without_replica() {
    let sim = Sim::seed(5);
    sim.run(async {
        let (cluster, _, stranger) = six(&sim).await;
        append(&cluster, 0, 30).await;
        let bounds = |consistency| {
            cluster.on(stranger, async move |log: Log<SimWorld>| log.offsets(TOPIC, 0, consistency).await)
        };
        assert_eq!(bounds(Consistency::Linearizable).await.unwrap(), Ok((0, 30)));
        assert_eq!(bounds(Consistency::Session(30)).await.unwrap(), Ok((0, 30)));
        assert!(bounds(Consistency::Stale).await.unwrap().is_ok_and(|(start, end)| start == 0 && end <= 30));
        let unknown =
            cluster.on(stranger, async |log: Log<SimWorld>| log.offsets("nothing", 0, Consistency::Stale).await);
        assert_eq!(unknown.await.unwrap(), Err(LogError::UnknownTopic("nothing".into())));
        let beyond = cluster.on(stranger, async |log: Log<SimWorld>| log.subscribe(TOPIC, 1, 0).map(drop));
        assert!(matches!(beyond.await.unwrap(), Err(LogError::PartitionOutOfRange { .. })));
    });
}

#[test]
fn a_subscription_may_begin_inside_a_batch_and_beyond_the_end() {
    let sim = Sim::seed(6);
    sim.run(async {
        let (cluster, _, stranger) = six(&sim).await;
        let batch = |name: &str| (0..10).map(|number| NewRecord::new(format!("{name}{number}"))).collect::<Vec<_>>();
        cluster.append(TOPIC, 0, batch("a")).await.unwrap();
        let first = |offset: Offset| {
            cluster.on(stranger, async move |log: Log<SimWorld>| {
                let placed = log.subscribe(TOPIC, 0, offset)?.next().await?;
                Ok::<_, LogError>((placed[0].base, placed[0].records(offset).unwrap()[0].value.clone()))
            })
        };
        assert_eq!(first(7).await.unwrap(), Ok((0, "a7".into())));
        let beyond = first(15);
        sim.sleep(Duration::from_secs(5)).await;
        cluster.append(TOPIC, 0, batch("b")).await.unwrap();
        assert_eq!(beyond.await.unwrap(), Ok((10, "b5".into())));
    });
}

#[test]
fn a_subscription_ends_with_its_topic_and_with_its_node() {
    let sim = Sim::seed(8);
    sim.run(async {
        let (cluster, _, stranger) = six(&sim).await;
        let ended = |cluster: &SimCluster| {
            cluster.on(stranger, async |log: Log<SimWorld>| {
                let mut subscription = log.subscribe(TOPIC, 0, 0)?;
                loop {
                    subscription.next().await?;
                }
                #[allow(unreachable_code)]
                Ok::<(), LogError>(())
            })
        };
        let by_topic = ended(&cluster);
        append(&cluster, 0, 5).await;
        cluster.on(1, async |log| log.delete_topic(TOPIC).await).await.unwrap().unwrap();
        assert_eq!(by_topic.await.unwrap(), Err(LogError::UnknownTopic(TOPIC.into())));
        cluster.create_topic(NewTopic::new(TOPIC, 1)).await.unwrap();
        let by_node = ended(&cluster);
        append(&cluster, 0, 5).await;
        cluster.on(stranger, async |log: Log<SimWorld>| log.shutdown().await).await.unwrap();
        assert!(matches!(by_node.await.unwrap(), Err(LogError::Stopped(_))));
    });
}

#[test]
fn batches_that_do_not_follow_or_do_not_verify_are_not_taken() {
    use super::subscription::accept;
    use crate::{batch::Batch, config::Limits, world::Timestamp};
    use corduroy_proto::v1::FeedBatch;
    let batch = |base: Offset, records: usize| {
        let batch = Batch::encode(&vec![NewRecord::new("v"); records], &Limits::default(), Timestamp(1)).unwrap();
        FeedBatch { base, payload: batch.bytes().clone(), crc: batch.crc() }
    };
    let taken = |batches: Vec<FeedBatch>| accept(batches, 7).map(|placed| placed.last().map(|last| last.end()));
    assert_eq!(taken(vec![batch(7, 3), batch(10, 1)]), Ok(Some(11)));
    assert_eq!(taken(vec![batch(5, 3), batch(8, 1)]), Ok(Some(9)), "it may begin inside of a batch");
    assert!(taken(vec![batch(8, 3)]).is_err(), "a gap");
    assert!(taken(vec![batch(4, 3)]).is_err(), "a repeat");
    assert!(taken(vec![batch(7, 3), batch(11, 1)]).is_err(), "a gap behind the first one");
    assert!(taken(vec![batch(7, 3), batch(9, 1)]).is_err(), "a repeat behind the first one");
    assert!(taken(vec![batch(u64::MAX - 1, 3)]).is_err(), "no such offsets");
    let damaged = FeedBatch { crc: 1, ..batch(7, 3) };
    assert!(taken(vec![damaged]).is_err_and(|why| why.contains("checksum")));
}
