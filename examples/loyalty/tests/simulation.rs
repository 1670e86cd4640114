//! Whole clusters from a seed: nodes are killed and cut off while orders are delivered and points are spent.
use corduroy_node::{
    runtime::CommandError,
    services::{Settings, order::Order},
    testing::{Sim, SimServices},
};
use corduroy_proto::order::{Command, Kind, MarkDelivered, Place, command};
use loyalty::{Change, Loyalty};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Places an order of 2.00 net and has it delivered: 2.38 gross, two points.
async fn deliver(cluster: &SimServices, number: u64) {
    let id = format!("order-{number}");
    let place =
        Place { customer: format!("customer-{}", number % 3), kind: Kind::Value.into(), net: 200, ..Place::default() };
    for command in [command::Command::Place(place), command::Command::MarkDelivered(MarkDelivered {})] {
        let command = Command { command: Some(command) };
        cluster.command::<Order>(&id, &command).await.expect("somebody leads within a minute");
    }
}

#[test]
fn every_order_earns_its_points_once_whoever_is_killed() {
    for seed in 0..5 {
        Sim::seed(seed).run(async |sim| {
            let services = |node: corduroy_node::runtime::Registry<_>| {
                node.service(Order::new(Settings::default())).service(Loyalty)
            };
            let cluster = sim.cluster(3, services).await;
            for number in 0..30 {
                deliver(&cluster, number).await;
                if number % 10 == 5 {
                    let leader = cluster.leader::<Loyalty>("customer-1").await;
                    match (seed + number / 10) % 3 {
                        0 => cluster.kill(leader),
                        1 => cluster.power_cut(leader),
                        _ => cluster.pause(leader),
                    }
                    sim.sleep(SECOND).await;
                    match (seed + number / 10) % 3 {
                        2 => cluster.resume(leader),
                        _ => cluster.restart(leader).await,
                    }
                }
            }
            cluster.ready().await;
            cluster.rest().await;
            for customer in ["customer-0", "customer-1", "customer-2"] {
                // Ten orders each, and the same answer for the same request.
                let (id, spend) = (cluster.id(), Change { earn: false, points: 5 });
                for _ in 0..2 {
                    let answered = cluster.command_as::<Loyalty>(id, customer, &spend).await.expect("it has 20 points");
                    assert_eq!((answered.value.balance, answered.value.orders), (15, 10), "seed {seed}, {customer}");
                }
                let more = cluster.command::<Loyalty>(customer, &Change { earn: false, points: 16 }).await;
                assert!(matches!(more, Err(CommandError::Refused(_))), "{more:?}");
            }
        });
    }
}
