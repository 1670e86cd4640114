//! Any script of appends, restarts, crashes and damage: afterwards the view has what a fresh one has, and finds what is there.
use super::*;
use crate::testing::SimTasks;

/// Choices as a function of the seed.
pub(super) struct Draw(pub u64);

impl Draw {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Seeds of a test run; more of them with `CORDUROY_VIEW_SEEDS`.
fn seeds() -> u64 {
    std::env::var("CORDUROY_VIEW_SEEDS").map_or(200, |seeds| seeds.parse().expect("a number of seeds"))
}

/// One script; says how often a view was built anew, and how often something was done to one.
fn script(seed: u64) -> (u64, u64) {
    let sim = Sim::seed(seed);
    let mut draw = Draw(seed ^ 0x5eed);
    sim.run(async {
        let nodes = if seed.is_multiple_of(3) { 3 } else { 1 };
        let cluster = SimCluster::with_config(&sim, nodes, small);
        cluster.start().await;
        cluster.create_topic(topic()).await.unwrap();
        cluster.ready().await;
        let (mut appended, mut rebuilt) = (0, 0);
        for _ in 0..6 + draw.below(6) {
            let node = 1 + draw.below(nodes);
            match draw.below(10) {
                0..=4 => {
                    let records = 1 + draw.below(60);
                    let pause = Duration::from_millis(draw.below(60));
                    // A leader that dies in between may leave an unknown outcome.
                    append(&cluster, appended..appended + records, pause).await;
                    appended += records;
                }
                5 => sim.sleep(Duration::from_millis(draw.below(12_000))).await,
                6 => {
                    let damage = ViewDamage::ALL[draw.below(ViewDamage::ALL.len() as u64) as usize];
                    rebuilt += counted(&cluster, node);
                    cluster.kill(node);
                    sim.damage_views(node, damage);
                    restart(&cluster, node).await;
                }
                7 => {
                    rebuilt += counted(&cluster, node);
                    cluster.kill(node);
                    restart(&cluster, node).await;
                }
                8 => {
                    rebuilt += counted(&cluster, node);
                    cluster.power_cut(node);
                    restart(&cluster, node).await;
                }
                _ => {
                    sim.trouble_views(node, Some(20 + draw.below(200)));
                    append(&cluster, appended..appended + 20, Duration::from_millis(50)).await;
                    appended += 20;
                    sim.trouble_views(node, None);
                }
            }
        }
        // Whatever a view went through, after a minute it is tried again.
        sim.sleep(Duration::from_secs(65)).await;
        for node in cluster.nodes() {
            rebuilt += counted(&cluster, node);
            let kept = on(&cluster, node, async |log, partition| {
                follows(&log).await;
                agrees_with_the_log(&partition).await;
                contents(&partition).await
            })
            .await;
            sim.spare_views(node, true);
            cluster.kill(node);
            sim.damage_views(node, ViewDamage::Removed);
            restart(&cluster, node).await;
            let fresh = on(&cluster, node, async |log, partition| {
                follows(&log).await;
                contents(&partition).await
            })
            .await;
            assert_eq!(kept, fresh, "seed {seed}: node {node}: what was kept, and what was built anew");
        }
        let damaged = cluster.nodes().into_iter().flat_map(|node| sim.view_damages(node)).map(|(_, times)| times).sum();
        (rebuilt, damaged)
    })
}

async fn restart(cluster: &SimCluster, node: u64) {
    cluster.restart(node).await.unwrap();
    cluster.ready().await;
    SimTasks::sleep(Duration::from_millis(50)).await;
}

fn counted(cluster: &SimCluster, node: u64) -> u64 {
    cluster.log(node).map_or(0, |log| status(&log).rebuilt())
}

#[test]
fn a_view_equals_a_fresh_rebuild_after_any_script_of_appends_restarts_crashes_and_damage() {
    let (mut rebuilt, mut damaged) = (0, 0);
    for seed in 0..seeds() {
        let (more, hits) = script(seed);
        rebuilt += more;
        damaged += hits;
    }
    println!("{} scripts: views were damaged {damaged} times, and built anew {rebuilt} times", seeds());
    assert!(rebuilt >= seeds() / 2 && damaged >= seeds() / 2, "{rebuilt} rebuilds, {damaged} times damaged");
}
