//! A whole node: when it takes checkpoints, what its next start does with them, and when it removes them.
use super::*;
use crate::{
    Config, Consistency, Log, NewTopic,
    config::{NodeAddress, Timing},
    world::Env,
};
use futures::StreamExt as _;

pub(super) const TOPIC: &str = "order";

pub(super) fn config() -> Config {
    let me = NodeAddress::new(1, "node-1");
    let limits = Limits {
        record_bytes: 2 << 10,
        batch_bytes: 8 << 10,
        segment_bytes: 64 << 10,
        hot_tail_bytes: 8 << 10,
        ..Limits::default()
    };
    Config { limits, ..Config::new(DIR, CLUSTER, 1, vec![me]) }
}

/// With a checkpoint after so many seconds in which something changed.
fn checkpoints_every(seconds: u64) -> Config {
    let timing = Timing { checkpoint_interval: Duration::from_secs(seconds), ..Timing::default() };
    Config { timing, ..config() }
}

/// Runs a script on a new node of that kind.
fn with_checkpoints_every<F>(seconds: u64, script: impl FnOnce(Sim, SimDisk, Log<SimWorld>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let sim = Sim::seed(13);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        on_node(&sim, async move {
            let disk = env.disk.clone();
            let log = open(&inside, env, checkpoints_every(seconds)).await;
            script(inside, disk, log).await;
        })
        .await;
    });
}

pub(super) async fn open(sim: &Sim, env: Env<SimWorld>, config: Config) -> Log<SimWorld> {
    let log = Log::open(config, env).await.expect("opens");
    let ready = |log: &Log<SimWorld>| {
        log.readiness().iter().all(|check| check.ok) && (log.topics().is_empty() || log.partition(TOPIC, 0).is_ok())
    };
    while !ready(&log) {
        sim.sleep(Duration::from_millis(5)).await;
    }
    if log.topics().is_empty() {
        log.create_topic(NewTopic::new(TOPIC, 1)).await.expect("is created");
    }
    while !log.partition(TOPIC, 0).is_ok_and(|partition| partition.info().leader.is_some()) {
        sim.sleep(Duration::from_millis(5)).await;
    }
    log
}

pub(super) async fn append(log: &Log<SimWorld>, values: Range<u64>) {
    let partition = log.partition(TOPIC, 0).unwrap();
    for value in values {
        partition.append(vec![NewRecord::new(format!("{value:0400}"))]).await.unwrap();
    }
}

/// What every record says, read from the end to the beginning so that each is found by seeking.
async fn values(log: &Log<SimWorld>) -> Vec<u64> {
    let partition = log.partition(TOPIC, 0).unwrap();
    let mut values = Vec::new();
    for offset in (0..partition.evolved_offset()).rev() {
        let page = partition.read(offset, 1, 1, Consistency::Stale).await.unwrap();
        assert_eq!(page.records[0].offset, offset);
        values.push(std::str::from_utf8(&page.records[0].value).unwrap().parse().unwrap());
    }
    values.reverse();
    values
}

/// How many entries each partition evolved to open.
fn replayed(log: &Log<SimWorld>) -> Vec<u64> {
    log.partitions().iter().map(|partition| partition.replayed()).collect()
}

#[test]
fn a_clean_stop_leaves_nothing_to_evolve() {
    let sim = Sim::seed(11);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            append(&log, 0..50).await;
            log.shutdown().await;
        })
        .await;
        let (inside, env) = (sim.clone(), sim.restart(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            assert_eq!(replayed(&log), [0, 0]);
            assert_eq!(values(&log).await, (0..50).collect::<Vec<_>>());
            append(&log, 50..60).await;
            assert_eq!(values(&log).await, (0..60).collect::<Vec<_>>());
        })
        .await;
    });
}

#[test]
fn after_a_power_cut_only_what_followed_the_last_sealed_segment_is_evolved() {
    let sim = Sim::seed(12);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            append(&log, 0..400).await;
            assert!(log.wal_stats().segment >= 3, "{:?}", log.wal_stats());
            inside.sleep(Duration::from_secs(7)).await;
            append(&log, 400..420).await;
        })
        .await;
        sim.power_cut(1);
        let (inside, env) = (sim.clone(), sim.restart(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            let replayed = replayed(&log)[1];
            assert!((1..=20).contains(&replayed), "{replayed} of 420");
            assert_eq!(values(&log).await, (0..420).collect::<Vec<_>>());
        })
        .await;
    });
}

#[test]
fn checkpoints_come_with_time_and_not_while_nothing_changes() {
    with_checkpoints_every(20, |sim, disk, log| async move {
        append(&log, 0..5).await;
        sim.sleep(Duration::from_secs(15)).await;
        assert_eq!(names(&disk), Vec::<String>::new());
        sim.sleep(Duration::from_secs(15)).await;
        let first = names(&disk);
        assert_eq!(first.len(), 2, "one for each partition: {first:?}");
        sim.sleep(Duration::from_secs(100)).await;
        assert_eq!(names(&disk), first, "nothing has changed");
        append(&log, 5..9).await;
        sim.sleep(Duration::from_secs(30)).await;
        assert_eq!(names(&disk).len(), 3, "one more, of the partition that changed");
    });
}

#[test]
fn a_full_disk_costs_a_checkpoint_and_nothing_else() {
    with_checkpoints_every(20, |sim, disk, log| async move {
        append(&log, 0..5).await;
        // While nobody appends, and the log has marked what it holds, the next write is a checkpoint's.
        sim.sleep(Duration::from_millis(500)).await;
        sim.fail_next_write(1, io::ErrorKind::StorageFull);
        sim.sleep(Duration::from_secs(24)).await;
        assert_eq!(names(&disk).len(), 1, "the first one was refused, the second one was not");
        append(&log, 5..9).await;
        sim.sleep(Duration::from_secs(30)).await;
        assert_eq!(names(&disk).len(), 3, "the refused one came later");
        assert_eq!(values(&log).await, (0..9).collect::<Vec<_>>());
    });
}

#[test]
fn the_checkpoints_of_a_deleted_topic_go_with_it_now_or_at_the_next_start() {
    let sim = Sim::seed(15);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        let (deleted, file) = on_node(&sim, async move {
            let disk = env.disk.clone();
            let log = open(&inside, env, checkpoints_every(10)).await;
            append(&log, 0..5).await;
            inside.sleep(Duration::from_secs(20)).await;
            let id = log.partition(TOPIC, 0).unwrap().id();
            let of_topic = |name: &String| name.starts_with(&format!("{:016x}", id.0));
            let file = names(&disk).into_iter().find(of_topic).expect("the topic has one");
            log.delete_topic(TOPIC).await.unwrap();
            inside.sleep(Duration::from_secs(1)).await;
            assert!(!names(&disk).iter().any(of_topic), "{:?}", names(&disk));
            log.shutdown().await;
            (id, file)
        })
        .await;
        // A power cut may give a removed name back; and a topic the map has not come to yet is none that was deleted.
        let env = sim.restart(1);
        let unknown = format!("{:016x}-{:020}.ckpt", PartitionId::new(deleted.topic() + 1000, 0).0, 3);
        for name in [&file, &unknown] {
            env.disk.create_new(&Path::new("/data/checkpoints").join(name)).unwrap();
        }
        let (inside, disk) = (sim.clone(), env.disk.clone());
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            inside.sleep(Duration::from_secs(1)).await;
            assert!(!names(&disk).contains(&file), "{:?}", names(&disk));
            assert!(names(&disk).contains(&unknown), "{:?}", names(&disk));
            drop(log);
        })
        .await;
    });
}

#[test]
fn a_subscription_goes_on_inside_a_batch_and_a_page_is_never_empty() {
    let sim = Sim::seed(16);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            let partition = log.partition(TOPIC, 0).unwrap();
            for batch in 0..100_u64 {
                let records = (0..1 + batch % 4).map(|nth| NewRecord::new(format!("{batch}.{nth}"))).collect();
                partition.append(records).await.unwrap();
            }
            let end = partition.evolved_offset();
            for max_bytes in [0, 1, 9, 1 << 20] {
                let mut subscription = partition.subscribe(7, max_bytes);
                let mut next = 7;
                while next < end {
                    let page = subscription.next().await.unwrap().unwrap();
                    assert!(!page.is_empty(), "at offset {next}");
                    for record in page {
                        assert_eq!(record.offset, next);
                        next += 1;
                    }
                }
            }
        })
        .await;
    });
}
