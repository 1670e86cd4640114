//! The public face of the log on one simulated node: append, read, subscribe, refuse, restart.
use corduroy_log::{
    Config, Consistency, Log, LogError, NewRecord, NewTopic, OpenError, Partition,
    config::{Limits, NodeAddress},
    error::Scope,
    testing::{DiskCall, DiskError, Sim, SimWorld},
    topic::ClusterId,
    world::Env,
};
use futures::StreamExt as _;
use std::time::Duration;

fn config() -> Config {
    let me = NodeAddress::new(1, "node-1");
    let limits = Limits { record_bytes: 1 << 10, batch_bytes: 8 << 10, in_flight_bytes: 16 << 10, ..Limits::default() };
    Config { limits, ..Config::new("/data", ClusterId([3; 16]), 1, vec![me]) }
}

/// Opens the log and waits until it is ready and has the topic `order` with one partition.
async fn open(config: Config, sim: Sim, env: Env<SimWorld>) -> Log<SimWorld> {
    let log = Log::open(config, env).await.expect("opens");
    while !log.readiness().iter().all(|check| check.ok) {
        sim.sleep(Duration::from_millis(5)).await;
    }
    if log.topics().is_empty() {
        let new = NewTopic::new("order", 1);
        log.create_topic(new).await.expect("is created");
    }
    while log.partition("order", 0).is_ok_and(|partition| partition.info().leader.is_none()) {
        sim.sleep(Duration::from_millis(5)).await;
    }
    log
}

/// Runs a script on a fresh node.
fn with_log<F>(script: impl FnOnce(Sim, Log<SimWorld>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    with_config(config(), script);
}

fn with_config<F>(config: Config, script: impl FnOnce(Sim, Log<SimWorld>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let sim = Sim::seed(5);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        let running = sim.spawn_on(1, async move {
            let log = open(config, inside.clone(), env).await;
            script(inside, log).await;
        });
        running.await.expect("the script ends");
    });
}

fn records(values: &[&'static str]) -> Vec<NewRecord> {
    values.iter().map(|value| NewRecord::new(*value)).collect()
}

#[test]
fn offsets_are_dense_and_reads_stop_at_the_evolved_offset() {
    with_log(|_, log| async move {
        let partition = log.partition("order", 0).unwrap();
        assert_eq!(partition.append(records(&["a", "b"])).await.unwrap().first_offset, 0);
        let ack = partition.append(records(&["c"])).await.unwrap();
        assert_eq!((ack.first_offset, ack.count), (2, 1));

        let read = partition.read(1, 1 << 20, u32::MAX, Consistency::Linearizable).await.unwrap();
        let found: Vec<_> = read.records.iter().map(|record| (record.offset, &record.value[..])).collect();
        assert_eq!(found, [(1, &b"b"[..]), (2, b"c")]);
        assert_eq!((read.start, read.end), (0, 3));
        assert!(read.records.windows(2).all(|pair| pair[0].time <= pair[1].time));

        assert_eq!(partition.read(0, 1 << 20, 1, Consistency::Stale).await.unwrap().records.len(), 1);
        assert!(partition.read(3, 1 << 20, 9, Consistency::Stale).await.unwrap().records.is_empty());
        let past = partition.read(4, 1 << 20, 9, Consistency::Stale).await;
        assert!(matches!(past, Err(LogError::OffsetOutOfRange { offset: 4, end: 3, .. })), "{past:?}");
    });
}

#[test]
fn appends_submitted_together_are_answered_in_their_order() {
    with_log(|_, log| async move {
        let partition = log.partition("order", 0).unwrap();
        let submitted: Vec<_> = (0..50).map(|_| partition.submit(&records(&["x"])).unwrap()).collect();
        for (offset, answer) in submitted.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().first_offset, offset as u64);
        }
    });
}

#[test]
fn a_conditional_append_counts_only_at_the_end_it_expects() {
    with_log(|sim, log| async move {
        let partition = log.partition("order", 0).expect("hosted");
        let mismatch =
            |expected, actual| Err(LogError::OffsetMismatch { partition: "order/0".into(), expected, actual });
        assert_eq!(partition.append_if(0, records(&["a", "b"])).await.expect("the partition is empty").first_offset, 0);
        assert_eq!(partition.append_if(0, records(&["late"])).await, mismatch(0, 2));
        assert_eq!(partition.append_if(3, records(&["early"])).await, mismatch(3, 2));
        assert_eq!(partition.append_if(u64::MAX, records(&["never"])).await, mismatch(u64::MAX, 2));

        // Of many that expect the same end at once, one gets it, and appends without a condition go on around them.
        let rivals = (0..8).map(|_| partition.append_if(2, records(&["c"])));
        let others = futures::future::join_all((0..8).map(|_| partition.append(records(&["x"]))));
        let (rivals, others) = futures::join!(futures::future::join_all(rivals), others);
        let won: Vec<u64> = rivals.iter().flatten().map(|ack| ack.first_offset).collect();
        assert!(others.iter().all(Result::is_ok), "{others:?}");
        assert_eq!(won, [2], "{rivals:?}");

        // What was void costs no offset, for readers and after a restart alike.
        let end = partition.evolved_offset();
        assert_eq!(end, 2 + 1 + 8);
        let read = |log: Log<SimWorld>| async move {
            let partition = log.partition("order", 0).expect("hosted");
            partition.read(0, 1 << 20, u32::MAX, Consistency::Linearizable).await.expect("reads").records
        };
        let before = read(log.clone()).await;
        assert_eq!(before.iter().map(|record| record.offset).collect::<Vec<_>>(), (0..end).collect::<Vec<_>>());
        assert_eq!(before.iter().filter(|record| record.value == "c").count(), 1);
        assert!(before.iter().all(|record| !["late", "early", "never"].iter().any(|void| record.value == void)));
        log.shutdown().await;
        assert_eq!(read(open(config(), sim.clone(), sim.env(1)).await).await, before);
    });
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_nothing_is_appended() {
    with_log(|_, log| async move {
        let partition = log.partition("order", 0).unwrap();
        let large = vec![NewRecord::new("a"), NewRecord::new(vec![0; 1025])];
        let refused = partition.append(large).await;
        assert_eq!(refused, Err(LogError::RecordTooLarge { index: 1, size: 1025, limit: 1024 }));
        let many = vec![NewRecord::new(vec![0; 1024]); 8];
        assert!(matches!(partition.append(many).await, Err(LogError::BatchTooLarge { limit: 8192, .. })));
        assert!(matches!(partition.append(vec![]).await, Err(LogError::Invalid(_))));
        assert!(matches!(log.partition("stock", 0), Err(LogError::UnknownTopic(name)) if name == "stock"));
        let out_of_range = log.partition("order", 1).err();
        assert!(matches!(out_of_range, Some(LogError::PartitionOutOfRange { count: 1, .. })), "{out_of_range:?}");
        let again = NewTopic::new("order", 1);
        assert_eq!(log.create_topic(again).await, Err(LogError::TopicExists("order".into())));
        assert_eq!(partition.offsets(Consistency::Linearizable).await, Ok((0, 0)));
    });
}

#[test]
fn a_full_pipeline_answers_busy_and_takes_more_once_it_has_drained() {
    with_log(|_, log| async move {
        let partition = log.partition("order", 0).unwrap();
        let one = || vec![NewRecord::new(vec![0; 1000])];
        let mut accepted = Vec::new();
        let busy = loop {
            match partition.submit(&one()) {
                Ok(answer) => accepted.push(answer),
                Err(error) => break error,
            }
        };
        assert!(matches!(busy, LogError::Busy { scope: Scope::Partition, limit: 16384, .. }), "{busy}");
        // Sixteen would fit by their bytes; what an append costs beside them counts, too.
        let taken = accepted.len() as u64;
        assert!((12..16).contains(&taken), "{taken}");
        for answer in accepted {
            answer.await.unwrap();
        }
        assert_eq!(partition.append(one()).await.unwrap().first_offset, taken, "the refused one left no trace");
    });
}

#[test]
fn a_node_with_its_bound_in_flight_answers_busy_for_every_partition() {
    let limits = Limits {
        record_bytes: 2 << 10,
        batch_bytes: 4 << 10,
        in_flight_bytes: 8 << 10,
        node_in_flight_bytes: 12 << 10,
        ..Limits::default()
    };
    with_config(Config { limits, ..config() }, |sim, log| async move {
        log.create_topic(NewTopic::new("pair", 2)).await.unwrap();
        let leads = |partition| log.partition("pair", partition).is_ok_and(|found| found.info().leader.is_some());
        while !leads(0) || !leads(1) {
            sim.sleep(Duration::from_millis(5)).await;
        }
        let partitions = [log.partition("pair", 0).unwrap(), log.partition("pair", 1).unwrap()];
        let one = || vec![NewRecord::new(vec![0; 1000])];
        let mut accepted = Vec::new();
        let mut fill = |partition: &Partition<SimWorld>| {
            loop {
                match partition.submit(&one()) {
                    Ok(answer) => accepted.push(answer),
                    Err(busy) => break busy,
                }
            }
        };
        let (first, second) = (fill(&partitions[0]), fill(&partitions[1]));
        assert!(matches!(first, LogError::Busy { scope: Scope::Partition, limit: 8192, .. }), "{first}");
        assert!(matches!(second, LogError::Busy { scope: Scope::Node, limit: 12288, .. }), "{second}");
        for answer in accepted {
            answer.await.unwrap();
        }
        for partition in &partitions {
            partition.append(one()).await.unwrap();
        }
    });
}

#[test]
fn a_subscription_sees_every_record_once_and_ends_with_its_topic() {
    with_log(|_, log| async move {
        let partition = log.partition("order", 0).unwrap();
        partition.append(records(&["a", "b", "c"])).await.unwrap();
        let mut subscription = partition.subscribe(1, 1);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(subscription.next().await.unwrap().unwrap().into_iter().map(|record| record.offset));
        }
        partition.append(records(&["d"])).await.unwrap();
        seen.extend(subscription.next().await.unwrap().unwrap().into_iter().map(|record| record.offset));
        assert_eq!(seen, [1, 2, 3]);

        drop(partition);
        log.delete_topic("order").await.unwrap();
        let last = subscription.next().await;
        assert!(matches!(last, Some(Err(LogError::Stopped(_)))), "{last:?}");
        assert!(subscription.next().await.is_none());
        assert!(matches!(log.partition("order", 0), Err(LogError::UnknownTopic(_))));
    });
}

#[test]
fn a_node_without_power_comes_back_with_everything_acknowledged() {
    let sim = Sim::seed(6);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        let appended = sim.spawn_on(1, async move {
            let log = open(config(), inside, env).await;
            let partition = log.partition("order", 0).unwrap();
            for _ in 0..100 {
                partition.append(records(&["x"])).await.unwrap();
            }
            (partition.evolved_offset(), log.boot_epoch())
        });
        assert_eq!(appended.await.expect("not cut short"), (100, 1));
        sim.power_cut(1);
        let (inside, env) = (sim.clone(), sim.restart(1));
        let found = sim.spawn_on(1, async move {
            let log = open(config(), inside, env).await;
            let offsets = log.partition("order", 0).unwrap().offsets(Consistency::Linearizable).await;
            (offsets, log.boot_epoch())
        });
        assert_eq!(found.await.expect("not cut short"), (Ok((0, 100)), 2));
    });
}

#[test]
fn a_log_that_did_not_open_can_be_opened_again_at_once() {
    let sim = Sim::seed(5);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        let running = sim.spawn_on(1, async move {
            open(config(), inside.clone(), env.clone()).await.shutdown().await;
            let mut refused = 0;
            loop {
                let failures = inside.disk_failures(1).len();
                inside.fail_disk(1, DiskCall::List, refused + 1, DiskError::TooManyFiles);
                let opened = Log::open(config(), env.clone()).await;
                if inside.disk_failures(1).len() == failures {
                    inside.mend_disk(1);
                    opened.expect("no folder is listed any more").shutdown().await;
                    break;
                }
                let error = opened.expect_err("a folder could not be listed");
                assert!(matches!(error, OpenError::Io { .. }), "{error}");
                open(config(), inside.clone(), env.clone()).await.shutdown().await;
                refused += 1;
            }
            assert!(refused >= 3, "{refused}: the directory, its segments, its checkpoints");
        });
        running.await.expect("the script ends");
    });
}
