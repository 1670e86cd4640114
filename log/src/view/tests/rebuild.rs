//! What makes a view be built anew, and that it then is as it was.
use super::*;
use crate::LogError;

/// Everything evolved and fed: two ticks.
const FED: Duration = Duration::from_millis(300);

/// Fills a node's view, does something to it while the node is down, and looks at what the next start makes of it.
fn after(seed: u64, damage: ViewDamage, look: impl FnOnce(&Log<SimWorld>) + Send + 'static) {
    let sim = Sim::seed(seed);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..150, Duration::from_millis(30)).await;
        sim.sleep(FED).await;
        let before = on(&cluster, 1, async |_, partition| contents(&partition).await).await;
        cluster.kill(1);
        assert!(sim.damage_views(1, damage) > 0, "{damage:?} made no difference");
        cluster.restart(1).await.unwrap();
        cluster.ready().await;
        on(&cluster, 1, async move |log, partition| {
            follows(&log).await;
            assert_eq!(contents(&partition).await, before);
            agrees_with_the_log(&partition).await;
            look(&log);
        })
        .await;
    });
}

#[test]
fn a_view_that_is_older_than_the_log_takes_what_it_lacks() {
    for damage in [ViewDamage::LoseLast, ViewDamage::Older] {
        after(40, damage, |log| assert_eq!(status(log).rebuilds, []));
    }
}

#[test]
fn a_view_that_lacks_a_batch_in_the_middle_is_built_anew() {
    after(41, ViewDamage::LoseSome, |log| assert_eq!(rebuilds(log, RebuildReason::Damaged), 1, "{}", status(log)));
}

#[test]
fn a_view_with_a_flipped_bit_is_built_anew() {
    for seed in 42..52 {
        after(seed, ViewDamage::FlipBit, |log| assert!(status(log).rebuilt() > 0, "{}", status(log)));
    }
}

#[test]
fn a_view_that_does_not_open_or_is_gone_is_built_anew() {
    after(53, ViewDamage::Unopenable, |log| assert_eq!(rebuilds(log, RebuildReason::Unopenable), 1));
    after(54, ViewDamage::Removed, |log| assert_eq!(rebuilds(log, RebuildReason::Missing), 1));
}

#[test]
fn a_view_of_a_node_that_came_further_is_ahead_of_the_log_and_built_anew() {
    let sim = Sim::seed(55);
    sim.run(async {
        let cluster = cluster(&sim, 3).await;
        append(&cluster, 0..60, Duration::from_millis(5)).await;
        let leader = cluster.await_leader(TOPIC, 0).await;
        let victim = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
        cluster.kill(victim);
        append(&cluster, 60..120, Duration::from_millis(5)).await;
        sim.sleep(FED).await;
        assert!(sim.damage_views(victim, ViewDamage::OfAnother) > 0);
        // Alone, so that its log stays as short as it is.
        cluster.nodes().into_iter().filter(|node| *node != victim).for_each(|node| cluster.pause(node));
        cluster.restart(victim).await.unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        on(&cluster, victim, async |log, _| {
            assert!(rebuilds(&log, RebuildReason::AheadOfLog) > 0, "{}", status(&log));
        })
        .await;
        cluster.nodes().into_iter().for_each(|node| cluster.resume(node));
        cluster.ready().await;
        on(&cluster, victim, async |log, partition| {
            follows(&log).await;
            agrees_with_the_log(&partition).await;
        })
        .await;
    });
}

/// After a kill the log knows less of what is committed than before. The view waits for a leader; in the end it is built anew,
/// so that what the replica has can be read without one.
#[test]
fn a_view_that_is_ahead_of_what_has_evolved_waits_and_is_built_anew_where_nobody_says_what_is_committed() {
    let sim = Sim::seed(56);
    sim.run(async {
        let cluster = cluster(&sim, 3).await;
        append(&cluster, 0..60, Duration::from_millis(5)).await;
        let victim = cluster.await_leader(TOPIC, 0).await;
        for node in cluster.nodes().into_iter().filter(|node| *node != victim) {
            sim.cut(node, victim);
        }
        sim.sleep(FED).await;
        cluster.kill(victim);
        cluster.restart(victim).await.unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        let early = on(&cluster, victim, async |log, partition| {
            let trouble = status(&log).partitions.into_iter().find(|p| p.partition == "order/0").unwrap().trouble;
            let refused = partition.read_key(b"key-2", 0, 100, 100, Consistency::Stale).await;
            (trouble, refused)
        });
        let (trouble, refused) = early.await;
        assert!(trouble.as_ref().is_some_and(|why| why.contains("more than has evolved")), "{trouble:?}");
        assert!(
            matches!(&refused, Err(LogError::Unavailable(why)) if why.contains("more than has evolved")),
            "{refused:?}"
        );
        sim.sleep(Duration::from_secs(32)).await;
        on(&cluster, victim, async |log, partition| {
            assert_eq!(rebuilds(&log, RebuildReason::AheadOfEvolved), 1, "{}", status(&log));
            let page = partition.read_key(b"key-2", 0, 1 << 20, 100, Consistency::Stale).await.unwrap();
            assert!(page.end > 50 && page.records.len() > 5, "{page:?}");
        })
        .await;
        sim.heal_all();
        cluster.ready().await;
        on(&cluster, victim, async |log, partition| {
            follows(&log).await;
            agrees_with_the_log(&partition).await;
        })
        .await;
    });
}

#[test]
fn a_store_that_fails_and_panics_while_it_is_used_never_answers_wrong_and_heals() {
    let sim = Sim::seed(57);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..100, Duration::from_millis(10)).await;
        sim.trouble_views(1, Some(25));
        let mut refused = 0;
        for round in 0..40 {
            append(&cluster, 100 + round..101 + round, Duration::from_millis(200)).await;
            refused += on(&cluster, 1, async |_, partition| {
                let all = records(&partition, Consistency::Linearizable).await;
                let expected: Vec<_> =
                    all.into_iter().filter(|record| record.key.as_deref() == Some(b"key-3")).collect();
                match partition.read_key(b"key-3", 0, u64::MAX, u32::MAX, Consistency::Linearizable).await {
                    Ok(page) => assert_eq!(page.records, expected),
                    Err(LogError::Unavailable(_)) => return 1,
                    Err(other) => panic!("{other}"),
                }
                0
            })
            .await;
        }
        let (failed, panicked) = on(&cluster, 1, async |log, _| {
            (rebuilds(&log, RebuildReason::Failed), rebuilds(&log, RebuildReason::Panicked))
        })
        .await;
        assert!(failed > 0 && panicked > 0 && refused < 40, "{failed} failed, {panicked} panicked, {refused} refused");
        sim.trouble_views(1, None);
        sim.sleep(Duration::from_secs(70)).await;
        on(&cluster, 1, async |log, partition| {
            follows(&log).await;
            agrees_with_the_log(&partition).await;
        })
        .await;
        assert_eq!(sim.halted(1), None);
    });
}

#[test]
fn a_deleted_topic_leaves_nothing_in_a_view_now_or_at_the_next_start() {
    let sim = Sim::seed(58);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..3000, Duration::ZERO).await;
        sim.sleep(FED).await;
        cluster.on(1, async |log| log.delete_topic(TOPIC).await.unwrap()).await.unwrap();
        sim.sleep(FED).await;
        cluster.create_topic(NewTopic { key_index: true, ..NewTopic::new("other", 1) }).await.unwrap();
        // What is left is found by a start, which would not accept a view that has too much or too little.
        cluster.kill(1);
        let left = sim.view_pairs(1);
        cluster.restart(1).await.unwrap();
        cluster.ready().await;
        cluster.on(1, async |log| assert_eq!(status(&log).rebuilds, [])).await.unwrap();
        assert!(left < 60, "{left} pairs are left of two partitions without records");
    });
}

#[test]
fn what_is_left_of_stores_that_were_not_finished_is_removed() {
    let sim = Sim::seed(59);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..50, Duration::ZERO).await;
        sim.sleep(FED).await;
        cluster.kill(1);
        cluster.restart(1).await.unwrap();
        cluster.ready().await;
        let names = sim.view_names(1);
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].starts_with("topics.") && !names[0].ends_with("new"), "{names:?}");
    });
}

#[test]
fn views_stand_still_while_the_disk_has_no_room() {
    let sim = Sim::seed(60);
    sim.run(async {
        let cluster = cluster(&sim, 1).await;
        append(&cluster, 0..50, Duration::ZERO).await;
        sim.sleep(FED).await;
        let used = sim.disk_used(1);
        sim.set_disk_capacity(1, Some(used + (100 << 10)));
        sim.sleep(Duration::from_secs(3)).await;
        let status = on(&cluster, 1, async |log, _| status(&log)).await;
        assert!(status.paused, "{status}");
    });
}
