//! Producers, conditions and cursors against whole clusters.
use super::*;
use crate::{
    Consistency, NewTopic,
    partition::Cursor,
    producer::ProducerId,
    testing::{Sim, SimCluster},
    topic::NodeId,
};
use futures::future::join_all;

const MS: Duration = Duration::from_millis(1);

fn with_cluster<F: Future>(seed: u64, nodes: u64, test: impl FnOnce(Sim, SimCluster) -> F) -> F::Output {
    let sim = Sim::seed(seed);
    sim.run(async {
        let cluster = SimCluster::new(&sim, nodes);
        cluster.start().await;
        let topic = NewTopic { key_index: true, ..NewTopic::new("order", 1) };
        cluster.create_topic(topic).await.unwrap();
        cluster.await_leader("order", 0).await;
        test(sim.clone(), cluster).await
    })
}

fn records(first: u64, count: u64) -> Vec<NewRecord> {
    (first..first + count).map(|n| NewRecord::new(n.to_string()).with_key("k")).collect()
}

fn stamp(epoch: u32, sequence: u64) -> ProducerStamp {
    ProducerStamp { producer: ProducerId([7; 16]), epoch, sequence }
}

/// Appends to the replica of `node`: the records of a producer from `sequence` on.
async fn produce(cluster: &SimCluster, node: NodeId, epoch: u32, sequence: u64, count: u64) -> Result<Ack, LogError> {
    let options = AppendOptions { producer: Some(stamp(epoch, sequence)), ..AppendOptions::default() };
    let append = async move |log: crate::Log<_>| {
        log.partition("order", 0)?.append_with(&records(sequence, count), &options).await
    };
    cluster.on(node, append).await.unwrap_or_else(|_| Err(LogError::UnknownOutcome("the node died".into())))
}

async fn values(cluster: &SimCluster, node: NodeId) -> Vec<String> {
    let read = async |log: crate::Log<_>| {
        log.partition("order", 0)?.read(0, u64::MAX, u32::MAX, Consistency::Linearizable).await
    };
    let read = loop {
        match cluster.on(node, read).await.unwrap() {
            Err(LogError::NotLeader { leader: None, .. }) => cluster.sim().sleep(10 * MS).await,
            read => break read.unwrap(),
        }
    };
    read.records.into_iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
}

fn numbers(count: u64) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn an_append_that_is_repeated_is_answered_as_the_first_time_by_any_leader() {
    with_cluster(1, 3, |_, cluster| async move {
        let leader = cluster.await_leader("order", 0).await;
        let first = produce(&cluster, leader, 0, 0, 3).await.unwrap();
        let second = produce(&cluster, leader, 0, 3, 2).await.unwrap();
        assert_eq!(produce(&cluster, leader, 0, 0, 3).await.unwrap(), first);
        let gap = produce(&cluster, leader, 0, 6, 1).await.unwrap_err();
        assert!(matches!(gap, LogError::OutOfSequence { expected: 5, sequence: 6, .. }), "{gap}");
        cluster.power_cut(leader);
        let next = cluster.await_leader("order", 0).await;
        assert_ne!(next, leader);
        // Its first answer may come before the new leader has evolved what it needs to know.
        assert_eq!(produce(&cluster, next, 0, 3, 2).await.unwrap(), second);
        assert_eq!(produce(&cluster, next, 0, 0, 3).await.unwrap(), first);
        assert_eq!(produce(&cluster, next, 1, 0, 1).await.unwrap().first_offset, 5);
        let over = produce(&cluster, next, 0, 5, 1).await.unwrap_err();
        assert!(matches!(over, LogError::ProducerFenced { epoch: 0, current: 1, .. }), "{over}");
        assert_eq!(values(&cluster, next).await, ["0", "1", "2", "3", "4", "0"]);
    });
}

/// What it lacks, its successor may have: to refuse a number as too early a leader asks a majority first.
#[test]
fn a_leader_that_was_deposed_and_does_not_know_it_refuses_no_number() {
    let mut judged = 0;
    for seed in 0..6 {
        judged += with_cluster(seed, 3, |sim, cluster| async move {
            let old = cluster.await_leader("order", 0).await;
            produce(&cluster, old, 0, 0, 3).await.unwrap();
            let others: Vec<NodeId> = (1..=3).filter(|node| *node != old).collect();
            others.iter().for_each(|other| sim.cut(old, *other));
            let leads = |node: NodeId| {
                let partition = cluster.log(node).unwrap().partition("order", 0).unwrap();
                partition.info().role == crate::partition::Role::Leader
            };
            let next = loop {
                match others.iter().find(|node| leads(**node)) {
                    Some(next) => break *next,
                    None => sim.sleep(MS).await,
                }
            };
            assert_eq!(produce(&cluster, next, 0, 3, 3).await.unwrap().first_offset, 3);
            let unaware = leads(old);
            let refused = produce(&cluster, old, 0, 6, 1).await.unwrap_err();
            assert!(!matches!(refused, LogError::OutOfSequence { .. }), "seed {seed}: {refused}");
            u32::from(unaware)
        });
    }
    assert!(judged > 0, "the old leader knew each time");
}

#[test]
fn repetitions_of_what_is_still_in_flight_wait_for_it_and_get_its_offset() {
    with_cluster(2, 3, |_, cluster| async move {
        let leader = cluster.await_leader("order", 0).await;
        let sent = (0..40).map(|n| produce(&cluster, leader, 0, n / 2 * 3, 3));
        let acks = join_all(sent).await;
        for (n, ack) in acks.into_iter().enumerate() {
            assert_eq!(ack.unwrap().first_offset, n as u64 / 2 * 3, "append {n}");
        }
        assert_eq!(values(&cluster, leader).await, numbers(60));
    });
}

/// A producer that sends again whatever it did not hear an answer of, in order, while leaders die under it.
#[test]
fn a_producer_that_repeats_what_it_does_not_know_appends_everything_once_and_in_order() {
    for seed in 0..8 {
        with_cluster(seed, 3, |sim, cluster| async move {
            let chaos = {
                let (sim, cluster) = (sim.clone(), cluster.clone());
                async move {
                    for round in 0..6 {
                        sim.sleep((37 + 53 * round as u32 % 90) * MS * 4).await;
                        let Some(leader) = cluster.leader("order", 0) else { continue };
                        match round % 3 {
                            0 => cluster.power_cut(leader),
                            1 => cluster.kill(leader),
                            _ => cluster.pause(leader),
                        }
                        sim.sleep(900 * MS).await;
                        cluster.resume(leader);
                        if cluster.log(leader).is_none() {
                            cluster.restart(leader).await.unwrap();
                        }
                    }
                }
            };
            let producing = async {
                let mut acked = 0;
                let mut target = 1;
                while acked < 400 {
                    // Four appends at a time; after a failure from the first one that was not answered.
                    let sent = (0..4).map(|n| produce(&cluster, target, 0, acked + 5 * n, 5));
                    for answer in join_all(sent).await {
                        match answer {
                            Ok(ack) => {
                                assert_eq!(ack.first_offset, acked, "seed {seed}");
                                acked += 5;
                            }
                            Err(LogError::NotLeader { leader: Some(leader), .. }) => {
                                target = leader;
                                break;
                            }
                            Err(LogError::OutOfSequence { .. } | LogError::Unavailable(_)) => break,
                            Err(LogError::ProducerFenced { .. } | LogError::AlreadyAppended { .. }) => {
                                panic!("seed {seed}: nobody else produces")
                            }
                            Err(_) => {
                                target = target % 3 + 1;
                                break;
                            }
                        }
                    }
                    sim.sleep(5 * MS).await;
                }
                acked
            };
            let (_, acked) = futures::future::join(chaos, producing).await;
            cluster.ready().await;
            for node in 1..=3 {
                assert_eq!(values(&cluster, node).await[..acked as usize], numbers(acked), "seed {seed}, node {node}");
            }
        });
    }
}

#[test]
fn of_those_who_go_on_from_the_same_record_of_a_key_one_succeeds() {
    with_cluster(3, 3, |_, cluster| async move {
        let leader = cluster.await_leader("order", 0).await;
        let append = async |expected: Option<Offset>, value: &'static str| {
            let work = async move |log: crate::Log<_>| {
                log.partition("order", 0)?.append_if_key("a", expected, vec![NewRecord::new(value)]).await
            };
            cluster.on(leader, work).await.unwrap()
        };
        let rivals = join_all((0..8).map(|_| append(None, "first"))).await;
        let won: Vec<_> = rivals.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(won.len(), 1);
        let at = won[0].first_offset;
        for lost in rivals.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(
                matches!(lost, LogError::KeyMismatch { expected: None, actual: Some(offset), .. } if *offset == at),
                "{lost}"
            );
        }
        let second = append(Some(at), "second").await.unwrap().first_offset;
        assert!(
            matches!(append(Some(at), "late").await, Err(LogError::KeyMismatch { actual: Some(now), .. }) if now == second)
        );
        assert!(
            matches!(append(Some(second + 5), "early").await, Err(LogError::KeyMismatch { actual: Some(now), .. }) if now == second)
        );
        assert_eq!(values(&cluster, leader).await, ["first", "second"]);
    });
}

#[test]
fn a_topic_without_index_and_a_record_of_another_key_are_refused_by_name() {
    with_cluster(4, 1, |_, cluster| async move {
        cluster.create_topic(NewTopic::new("plain", 1)).await.unwrap();
        cluster.await_leader("plain", 0).await;
        let append = async |topic: &'static str, records: Vec<NewRecord>| {
            let work = async move |log: crate::Log<_>| log.partition(topic, 0)?.append_if_key("a", None, records).await;
            cluster.on(1, work).await.unwrap().unwrap_err().to_string()
        };
        let refused = append("plain", vec![NewRecord::new("v")]).await;
        assert!(refused.contains("no key index"), "{refused}");
        let refused = append("order", vec![NewRecord::new("v"), NewRecord::new("v").with_key("b")]).await;
        assert!(refused.contains("record 1 has another key"), "{refused}");
    });
}

#[test]
fn keys_beyond_the_limit_are_refused_and_known_ones_go_on() {
    let sim = Sim::seed(5);
    sim.run(async {
        let cluster = SimCluster::with_config(&sim, 1, |config| config.limits.keys = 3);
        cluster.start().await;
        cluster.create_topic(NewTopic { key_index: true, ..NewTopic::new("order", 1) }).await.unwrap();
        cluster.await_leader("order", 0).await;
        let append = async |key: &'static str| {
            let work = async move |log: crate::Log<_>| {
                log.partition("order", 0)?.append(vec![NewRecord::new("v").with_key(key)]).await
            };
            cluster.on(1, work).await.unwrap()
        };
        for key in ["a", "b", "c", "a"] {
            append(key).await.unwrap();
        }
        let refused = append("d").await.unwrap_err();
        assert!(matches!(refused, LogError::TooMany { what: "keys", limit: 3, .. }), "{refused}");
        append("c").await.unwrap();
    });
}

#[test]
fn cursors_move_with_the_lead_and_keep_out_who_was_replaced() {
    with_cluster(6, 3, |_, cluster| async move {
        let leader = cluster.await_leader("order", 0).await;
        produce(&cluster, leader, 0, 0, 9).await.unwrap();
        let commit = async |node: NodeId, offset: Offset, fence: u64| {
            let work =
                async move |log: crate::Log<_>| log.partition("order", 0)?.commit_cursor("mail", offset, fence).await;
            cluster.on(node, work).await.unwrap()
        };
        let acquire = async |node: NodeId| {
            let work = async |log: crate::Log<_>| log.partition("order", 0)?.acquire_cursor("mail").await;
            cluster.on(node, work).await.unwrap().unwrap()
        };
        let Cursor { offset, fence, .. } = acquire(leader).await;
        assert_eq!((offset, fence), (0, 1));
        commit(leader, 4, fence).await.unwrap();
        cluster.power_cut(leader);
        let next = cluster.await_leader("order", 0).await;
        let Cursor { offset, fence, .. } = acquire(next).await;
        assert_eq!((offset, fence), (4, 2));
        let fenced = commit(next, 5, 1).await.unwrap_err();
        assert!(matches!(fenced, LogError::CursorFenced { fence: 1, current: 2, .. }), "{fenced}");
        let beyond = commit(next, 10, 2).await.unwrap_err();
        assert!(matches!(beyond, LogError::OffsetOutOfRange { offset: 10, end: 9, .. }), "{beyond}");
        let follower = cluster.running().into_iter().find(|node| *node != next).unwrap();
        assert!(matches!(commit(follower, 5, 2).await, Err(LogError::NotLeader { .. })));
        commit(next, 5, 2).await.unwrap();
        let fetch = async |log: crate::Log<_>| {
            let partition = log.partition("order", 0)?;
            let one = partition.cursor("mail", Consistency::Linearizable).await?;
            assert_eq!(partition.cursor("none", Consistency::Stale).await?, None);
            Ok::<_, LogError>((one, partition.cursors(Consistency::Stale).await?))
        };
        let (one, all) = cluster.on(follower, fetch).await.unwrap().unwrap();
        assert_eq!(one.map(|cursor| (cursor.offset, cursor.fence)), Some((5, 2)));
        assert_eq!(all.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), ["mail"]);
    });
}

#[test]
fn a_session_reads_its_own_writes_on_any_replica_and_waits_for_one_that_is_behind() {
    with_cluster(7, 3, |sim, cluster| async move {
        let leader = cluster.await_leader("order", 0).await;
        let follower = cluster.running().into_iter().find(|node| *node != leader).unwrap();
        let read = async |node: NodeId, seen: Offset| {
            let work = async move |log: crate::Log<_>| {
                log.partition("order", 0)?.read(0, u64::MAX, u32::MAX, Consistency::Session(seen)).await
            };
            cluster.on(node, work).await.unwrap()
        };
        for n in 0..20 {
            let ack = produce(&cluster, leader, 0, 2 * n, 2).await.unwrap();
            let seen = ack.first_offset + 2;
            assert!(read(follower, seen).await.unwrap().end >= seen, "append {n}");
        }
        // No majority is needed, and none is asked.
        cluster.running().into_iter().filter(|node| *node != follower).for_each(|node| cluster.kill(node));
        assert_eq!(read(follower, 40).await.unwrap().records.len(), 40);
        let began = sim.elapsed();
        let behind = read(follower, 41).await.unwrap_err();
        assert!(matches!(&behind, LogError::Unavailable(why) if why.contains("did not come to offset 41")), "{behind}");
        assert!(sim.elapsed() - began >= 5000 * MS);
    });
}

#[test]
fn a_leader_that_is_cut_off_says_so_of_everything_it_was_given() {
    with_cluster(11, 3, |sim, cluster| async move {
        let leader = cluster.await_leader("order", 0).await;
        let others: Vec<NodeId> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
        others.iter().for_each(|other| sim.cut(leader, *other));
        let began = sim.elapsed();
        // More than fits into its pipeline, some before and some after its lease has expired.
        let appends = (0..3 * DEPTH as u32).map(|n| {
            let (sim, cluster) = (sim.clone(), cluster.clone());
            async move {
                sim.sleep(10 * MS * n).await;
                let append = async |log: crate::Log<_>| log.partition("order", 0)?.append(records(0, 1)).await;
                let answer = cluster.on(leader, append).await.unwrap();
                (answer, sim.elapsed() - 10 * MS * n)
            }
        });
        let answers = join_all(appends).await;
        let is_unknown = |answer: &Result<Ack, LogError>| matches!(answer, Err(LogError::UnknownOutcome(_)));
        let unknown = answers.iter().filter(|(answer, _)| is_unknown(answer)).count();
        let refused = answers.iter().filter(|(answer, _)| matches!(answer, Err(LogError::NotLeader { .. }))).count();
        assert!(unknown > 0 && refused > 0 && unknown + refused == answers.len(), "{unknown} {refused} {answers:?}");
        assert!(answers.iter().all(|(_, at)| *at < began + 1000 * MS), "{answers:?}");
        // The others have a leader by then, and what it takes is not what was given up.
        sim.heal_all();
        let other = cluster.on(others[0], async |log: crate::Log<_>| log.partition("order", 0).unwrap().info()).await;
        assert!(other.unwrap().leader.is_some_and(|now| now != leader));
    });
}
