//! What replicas of the checkout have, while leaders come and go: lists by views, and states from checkpoints.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
#[path = "checkout_replicas/lists.rs"]
mod lists;

#[path = "checkout_replicas/market.rs"]
mod market;

use corduroy_log::{
    Consistency,
    testing::{SimTasks, SimWorld},
};
use corduroy_node::{
    runtime::{Registry, Services},
    services::order::Order,
    testing::{Sim, SimServices},
};
use corduroy_proto::runtime::query_call;
use market::{Market, seed, services, settings};
use openraft_rt::AsyncRuntime as _;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A16 in the simulated world: whoever lists orders finds each once that its customer was told of, whatever ends meanwhile; at rest
/// every node finds what its state has.
#[test]
fn lists_have_what_customers_were_told_of_whoever_leads() {
    let mut read = 0;
    for seed_number in 0..4 {
        Sim::seed(seed_number).run(async |sim| {
            let checkpoints = |config: &mut corduroy_log::Config| config.timing.checkpoint_interval = 2 * SECOND;
            let shop = sim.cluster_with(3, services(settings(None)), checkpoints).await;
            seed(&shop).await;
            let market = Market::default();
            let customers = market.open(&shop);
            let reader = SimTasks::spawn(lists::reader(shop.clone(), market.clone()));
            for round in 0..4 {
                sim.sleep(300 * MS).await;
                let leader = shop.leader::<Order>(&format!("order-{round}")).await;
                if round % 2 == 0 {
                    shop.kill(leader);
                } else {
                    shop.power_cut(leader);
                }
                sim.sleep(SECOND).await;
                shop.restart(leader).await;
            }
            sim.sleep(300 * MS).await;
            market.close(customers).await;
            read += reader.await.unwrap();
            shop.ready().await;
            // Deadlines of sagas that lost their callers.
            sim.sleep(15 * SECOND).await;
            shop.rest().await;
            for node in 1..=3 {
                let orders = lists::orders(shop.aggregates::<Order>(node).await);
                assert!(orders.len() > 20, "seed {seed_number}: {} orders", orders.len());
                lists::audit(seed_number, node, &shop, &orders).await;
            }
        });
    }
    assert!(read > 150, "only {read} lists were read");
}

/// Whether there is a checkpoint on a node's disk.
fn has_checkpoints(shop: &SimServices, node: u64) -> bool {
    let disk = shop.logs().sim().copy_disk(node);
    disk.files().any(|(path, _)| path.extension().is_some_and(|extension| extension == "ckpt"))
}

/// Dead letters, what waits behind them, and timers.
async fn waiting(shop: &SimServices, node: u64) -> (usize, usize, usize) {
    let ask = async |services: Services<SimWorld>| {
        let (mut letters, mut parked, mut timers) = (0, 0, 0);
        for (service, partitions) in
            [("order", 2), ("payment", 2), ("stock", 2), ("delivery", 1), ("activity", 1), ("account", 2)]
        {
            for partition in 0..partitions {
                for what in [query_call::What::Letters(true), query_call::What::Timers(true)] {
                    let found = services.query(service, partition, what, Consistency::Stale).await.unwrap().value;
                    letters += found.letters.len();
                    parked += found.parked.iter().map(|parked| parked.inputs.len()).sum::<usize>();
                    timers += found.timers.len();
                }
            }
        }
        (letters, parked, timers)
    };
    shop.on(node, ask).await.unwrap()
}

/// A50: nodes 1 and 2 take checkpoints all the time and are killed and restarted from them, at any moment; node 3 takes none, and
/// its last start evolves the whole log of every service. Of events that waited too long dead letters are made, so that others wait
/// behind them.
#[test]
fn a_checkpoint_of_any_moment_and_the_log_behind_it_are_the_whole_log() {
    let (mut letters, mut parked, mut timers) = (0, 0, 0);
    for seed_number in 20..23 {
        Sim::seed(seed_number).run(async |sim| {
            let checkpoints = |config: &mut corduroy_log::Config| {
                config.timing.checkpoint_interval = if config.node == 3 { 3_600 * SECOND } else { SECOND };
            };
            let make = services(settings((seed_number % 2 == 1).then_some(50)));
            let aged = move |node: Registry<SimWorld>| {
                let services = ["order", "payment", "stock", "delivery", "activity", "account"];
                make(services.iter().fold(node, |node, service| node.max_age(service, SECOND)))
            };
            let shop = sim.cluster_with(3, aged, checkpoints).await;
            seed(&shop).await;
            let market = Market::default();
            let customers = market.open(&shop);
            let mut from_checkpoints = 0;
            for round in 0..6 {
                // No partition takes two within five seconds.
                sim.sleep(Duration::from_millis(5_200 + (seed_number * 7 + round) * 373 % 1_500)).await;
                let node = 1 + round % 2;
                shop.kill(node);
                if round % 3 == 2 {
                    // Without a majority events wait, for too long.
                    shop.pause(3);
                    sim.sleep(1_500 * MS).await;
                    shop.resume(3);
                }
                from_checkpoints += u32::from(has_checkpoints(&shop, node));
                shop.restart(node).await;
            }
            market.close(customers).await;
            assert!(from_checkpoints >= 5, "seed {seed_number}: {from_checkpoints} starts from a checkpoint");
            assert!(market.confirmed() > 0, "seed {seed_number}: nothing was bought");
            shop.ready().await;
            shop.kill(3);
            assert!(!has_checkpoints(&shop, 3));
            shop.restart(3).await;
            shop.restart(1).await;
            shop.ready().await;
            // Equal on all nodes: aggregates, timers, dead letters, and what is parked.
            shop.rest().await;
            let commands = shop.remembered(3);
            assert!(commands.values().map(Vec::len).sum::<usize>() > 50, "seed {seed_number}: few commands");
            assert!(commands.values().flatten().any(|command| command.answered > 0));
            for node in 1..=2 {
                assert_eq!(shop.remembered(node), commands, "seed {seed_number}: node {node} remembers other commands");
            }
            let found = waiting(&shop, 3).await;
            (letters, parked, timers) = (letters + found.0, parked + found.1, timers + found.2);
        });
    }
    assert!(letters > 0 && parked > 0 && timers > 0, "{letters} dead letters, {parked} parked, {timers} timers");
}
