//! Orders that are over: what a shop has most of.
use crate::{
    cli::exit::Failure,
    node::NodeServices,
    runtime::{CommandOptions, Services, Ticket},
    services::order::Order,
};
use corduroy_log::world::real::RealWorld;
use corduroy_proto::order::{self as pb, Kind, command::Command};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Orders at a time.
const AT_ONCE: u64 = 2048;
/// How often it is said how far it is.
const STEP: u64 = 1_000_000;
/// So many orders belong to one customer.
const EACH: u64 = 10;

/// Places so many orders for an amount, and marks each as delivered.
pub(super) async fn settle(services: &NodeServices, orders: u64) -> Result<(), Failure> {
    let next = Arc::<AtomicU64>::default();
    let mut callers = JoinSet::<Result<(), Failure>>::new();
    for _ in 0..AT_ONCE.min(orders) {
        let (services, next) = (services.clone(), next.clone());
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= orders {
                    return Ok(());
                }
                one(&services, number).await?;
                if (number + 1).is_multiple_of(STEP) {
                    eprintln!("{} of {orders} orders", number + 1);
                }
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.map_err(|error| Failure::refused(format!("settling failed: {error}")))??;
    }
    Ok(())
}

async fn one(services: &Services<RealWorld>, number: u64) -> Result<(), Failure> {
    let key = Uuid::now_v7().to_string();
    let customer = format!("customer-{}", number / EACH);
    let place = pb::Place { customer, kind: Kind::Value.into(), net: 15_000, ..pb::Place::default() };
    for command in [Command::Place(place), Command::MarkDelivered(pb::MarkDelivered {})] {
        let options = CommandOptions::new(Ticket(Uuid::now_v7().into_bytes()));
        let told = services.command::<Order>(&key, &pb::Command { command: Some(command) }, &options).await;
        told.map_err(|error| Failure::refused(format!("order {number}: {error}")))?;
    }
    Ok(())
}
