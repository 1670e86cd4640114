//! What is found by time and by key.
use super::*;
use crate::LogError;
use futures::StreamExt as _;

#[test]
fn every_replica_finds_by_time_and_by_key_what_the_log_says() {
    let sim = Sim::seed(31);
    sim.run(async {
        let cluster = cluster(&sim, 3).await;
        append(&cluster, 0..120, Duration::from_millis(40)).await;
        append(&cluster, 120..140, Duration::from_millis(1300)).await;
        for node in cluster.nodes() {
            on(&cluster, node, async |log, partition| {
                follows(&log).await;
                agrees_with_the_log(&partition).await
            })
            .await;
        }
    });
}

#[test]
fn a_read_sees_what_its_consistency_promises_although_the_view_is_fed_later() {
    let sim = Sim::seed(32);
    sim.run(async {
        let cluster = cluster(&sim, 3).await;
        for nth in 0..20_u64 {
            let key = format!("key {nth}");
            let ack = cluster.append(TOPIC, 0, vec![NewRecord::new("x").with_key(key.clone())]).await.unwrap();
            let node = 1 + nth % 3;
            let consistency =
                if nth % 2 == 0 { Consistency::Linearizable } else { Consistency::Session(ack.first_offset + 1) };
            let page = on(&cluster, node, async move |_, partition| {
                partition.read_key(key.as_bytes(), 0, 100, 10, consistency).await.unwrap()
            });
            let found: Vec<u64> = page.await.records.iter().map(|record| record.offset).collect();
            assert_eq!(found, [ack.first_offset]);
        }
    });
}

#[test]
fn a_topic_without_key_index_is_not_read_by_key_but_by_time() {
    let sim = Sim::seed(33);
    sim.run(async {
        let cluster = SimCluster::new(&sim, 1);
        cluster.start().await;
        cluster.create_topic(NewTopic::new(TOPIC, 1)).await.unwrap();
        append(&cluster, 0..10, Duration::from_millis(500)).await;
        on(&cluster, 1, async |_, partition| {
            let refused = partition.read_key(b"key-2", 0, 100, 10, Consistency::Stale).await.unwrap_err();
            assert!(matches!(&refused, LogError::Invalid(why) if why.contains("no key index")), "{refused}");
            let fourth = records(&partition, Consistency::Stale).await[4].clone();
            let found = partition.offset_at(fourth.time, Consistency::Stale).await.unwrap().offset;
            assert!(found <= fourth.offset && fourth.offset < found + 3, "{found}, of {fourth:?}");
        })
        .await;
    });
}

#[test]
fn a_subscription_from_a_time_begins_there_and_leaves_out_what_comes_earlier() {
    let sim = Sim::seed(34);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..30, Duration::from_millis(300)).await;
        let last = on(&cluster, 1, async |_, partition| {
            let all = records(&partition, Consistency::Stale).await;
            let from = all[10].time;
            let expected: Vec<_> = all.iter().filter(|record| record.time >= from).cloned().collect();
            let mut records = partition.subscribe_at(from, 1 << 10, Consistency::Stale).await.unwrap();
            let mut found = Vec::new();
            while found.len() < expected.len() {
                found.extend(records.next().await.unwrap().unwrap());
            }
            assert_eq!(found, expected);
            all.last().unwrap().time
        })
        .await;
        // A time that has not come: what is appended before is not for this subscriber.
        let later = Timestamp(last.0 + 2_000_000);
        let mut records = on(&cluster, 1, async move |_, partition| {
            partition.subscribe_at(later, 1 << 10, Consistency::Stale).await.unwrap()
        })
        .await;
        append(&cluster, 30..60, Duration::from_millis(300)).await;
        let first = records.next().await.unwrap().unwrap()[0].clone();
        assert!(first.time >= later && first.offset > 30, "{first:?}");
    });
}

#[test]
fn an_index_by_time_is_as_coarse_as_it_says() {
    let sim = Sim::seed(35);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..400, Duration::from_millis(20)).await;
        on(&cluster, 1, async |_, partition| {
            let all = records(&partition, Consistency::Stale).await;
            let seconds = (all.last().unwrap().time.0 - all[0].time.0) / 1_000_000;
            let times = partition.read_view(topics::NAME, Consistency::Stale, |reader| {
                reader.range("times", (Bound::Unbounded, Bound::Unbounded), Direction::Ascending, usize::MAX)
            });
            let times = times.await.unwrap().len() as u64;
            assert!((3..=seconds + 2).contains(&times), "{times} places for {seconds} s");
        })
        .await;
    });
}

#[test]
fn a_node_that_keeps_no_views_says_so_and_reads_as_ever() {
    let sim = Sim::seed(36);
    sim.run(async {
        let cluster = SimCluster::with_config(&sim, 1, |config| config.limits.view_cache_bytes = 0);
        cluster.start().await;
        cluster.create_topic(topic()).await.unwrap();
        append(&cluster, 0..10, Duration::ZERO).await;
        on(&cluster, 1, async |log, partition| {
            assert_eq!(log.views(), []);
            let refused = partition.offset_at(Timestamp(0), Consistency::Stale).await.unwrap_err();
            assert!(matches!(&refused, LogError::Invalid(why) if why.contains("keeps no view")), "{refused}");
            assert_eq!(records(&partition, Consistency::Linearizable).await.len(), 10);
        })
        .await;
    });
}
