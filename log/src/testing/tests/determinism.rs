use super::*;
use crate::{testing::SimTasks, world::Rng};
use openraft_rt::AsyncRuntime as _;

/// Three nodes that write, sync and gossip while one is killed, one loses power and a link is cut.
fn run(seed: u64) -> (u64, Vec<String>) {
    let sim = Sim::with_config(seed, SimConfig::default());
    sim.run(async {
        for node in 1..=3 {
            start(&sim, node);
        }
        sim.sleep(ms(300)).await;
        sim.kill(1);
        sim.cut_one_way(2, 3);
        sim.sleep(ms(200)).await;
        sim.restart(1);
        start(&sim, 1);
        sim.power_cut(3);
        sim.sleep(ms(200)).await;
        sim.heal_all();
        sim.restart(3);
        start(&sim, 3);
        sim.sleep(ms(300)).await;
    });
    (sim.trace_hash(), sim.recent_events())
}

fn start(sim: &Sim, node: u64) {
    let env = sim.env(node);
    sim.spawn_on(node, async move {
        let mut calls = env.net.listen(&node.to_string()).await.unwrap();
        SimTasks::spawn(async move {
            while let Some(mut call) = calls.recv().await {
                SimTasks::spawn(async move {
                    while let Some(Ok(packet)) = call.incoming.next().await {
                        if call.outgoing.send(packet).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let path = Path::new("/log");
        let file = env.disk.create_new(path).or_else(|_| env.disk.open(path)).unwrap();
        let peer = (node % 3 + 1).to_string();
        loop {
            file.write_all_at(0, &[&env.rng.next_u64().to_le_bytes()]).unwrap();
            file.sync_data().await.unwrap();
            let Ok(mut call) = env.net.connect(&peer, Purpose::Consensus).await else { continue };
            for _ in 0..20 {
                let said = packet(&env.rng.next_u64().to_string());
                if call.outgoing.send(said.clone()).await.is_err() {
                    break;
                }
                match SimTasks::timeout(ms(50), call.incoming.next()).await {
                    Ok(Some(Ok(answer))) => assert_eq!(answer, said),
                    _ => break,
                }
            }
        }
    });
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..5 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.1, second.1, "seed {seed}");
        assert_eq!(first.0, second.0, "seed {seed}");
        assert!(first.1.len() > 100, "something happened");
    }
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn events_of_the_test_count_in_the_trace() {
    let hash = |event: &str| {
        let sim = Sim::seed(1);
        sim.run(async { sim.trace(event) });
        sim.trace_hash()
    };
    assert_eq!(hash("acked 1"), hash("acked 1"));
    assert_ne!(hash("acked 1"), hash("acked 2"));
}

#[test]
fn a_simulation_that_is_over_is_freed() {
    let sim = Sim::seed(1);
    let kept = std::sync::Arc::new(());
    sim.run(async {
        let env = sim.env(1);
        let kept = kept.clone();
        sim.spawn_on(1, async move {
            let _kept = (kept, env);
            std::future::pending::<()>().await;
        });
        start(&sim, 2);
        sim.sleep(ms(1)).await;
    });
    drop(sim);
    assert_eq!(std::sync::Arc::strong_count(&kept), 1);
}
