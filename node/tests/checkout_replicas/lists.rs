//! What is found by views, while nodes come and go and at rest.
use super::market::{Market, USERS};
use corduroy_log::testing::{SimWorld, ViewDamage};
use corduroy_node::{
    runtime::{Consistency, IndexKey, Services},
    services::order::{Order, of_customer, of_status, status_name},
    testing::SimServices,
};
use corduroy_proto::order::{self, state::State};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The orders that a node finds, page by page; none where it does not answer.
async fn find(shop: &SimServices, node: u64, by: &IndexKey, consistency: Consistency) -> Option<Vec<String>> {
    let by = by.clone();
    let found = shop.on(node, async move |services: Services<SimWorld>| {
        let mut all = Vec::new();
        for partition in 0..services.partitions("order")? {
            let mut after = String::new();
            loop {
                let found = services.find::<Order>(partition, &by, &after, 3, consistency).await.ok()?.value;
                all.extend(found.aggregates.into_iter().map(|(key, _)| key));
                match found.behind {
                    Some(behind) => after = behind,
                    None => break,
                }
            }
        }
        Some(all)
    });
    found.await.flatten()
}

/// Somebody who lists orders all the time: what a customer was told of is there, once. Says how often there was a list.
pub async fn reader(shop: SimServices, market: Market) -> u64 {
    let sim = shop.logs().sim().clone();
    let mut read = 0;
    for turn in 0.. {
        if market.is_over() {
            break;
        }
        let (user, node) = ((turn % USERS).to_string(), 1 + turn % 3);
        let before = market.placed(&user);
        if let Some(found) = find(&shop, node, &of_customer(&user), Consistency::Linearizable).await {
            let unique: BTreeSet<_> = found.iter().cloned().collect();
            assert_eq!(unique.len(), found.len(), "node {node} finds an order of {user} twice");
            let missing: Vec<_> = before.difference(&unique).collect();
            assert!(missing.is_empty(), "node {node} does not find {missing:?} of {user}");
            read += 1;
        }
        sim.sleep(Duration::from_millis(40)).await;
    }
    read
}

/// At rest every node finds what its state has, by itself; also when its views are gone.
pub async fn audit(seed: u64, node: u64, shop: &SimServices, orders: &BTreeMap<String, order::Order>) {
    agree(seed, node, shop, orders).await;
    if seed % 3 + 1 == node {
        shop.kill(node);
        let world = shop.logs().sim();
        world.damage_views(node, ViewDamage::Removed);
        shop.restart(node).await;
        shop.ready().await;
        shop.rest().await;
        agree(seed, node, shop, orders).await;
    }
}

async fn agree(seed: u64, node: u64, shop: &SimServices, orders: &BTreeMap<String, order::Order>) {
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut keys: BTreeMap<String, IndexKey> = BTreeMap::new();
    let customers = (0..USERS).map(|user| of_customer(&user.to_string()));
    for key in customers.chain(["New", "Pending", "Placed", "Fulfilled", "Cancelled"].map(of_status)) {
        keys.insert(format!("{key:?}"), key);
    }
    for (id, order) in orders {
        for key in [of_customer(&order.customer), of_status(status_name(order))] {
            expected.entry(format!("{key:?}")).or_default().insert(id.clone());
        }
    }
    for (name, key) in keys {
        let found = find(shop, node, &key, Consistency::Stale).await.expect("a node at rest answers");
        let expected: Vec<String> = expected.remove(&name).unwrap_or_default().into_iter().collect();
        let sorted: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(sorted.into_iter().collect::<Vec<_>>(), expected, "seed {seed}: node {node}: {name}");
        assert_eq!(found.len(), expected.len(), "seed {seed}: node {node}: {name}");
    }
    assert_eq!(expected, BTreeMap::new(), "seed {seed}: not asked for");
    // It was this node's own view: another one is asked only where there is none.
    let log = shop.logs().log(node).expect("it runs");
    let view = log.views().into_iter().find(|view| view.name == "states").expect("it is kept");
    assert_eq!(view.behind(), 0, "seed {seed}: node {node}: {view}");
}

/// The orders of a state.
pub fn orders(aggregates: BTreeMap<String, order::State>) -> BTreeMap<String, order::Order> {
    let order = |(key, state): (String, order::State)| match state.state {
        Some(State::Order(order)) => Some((key, order)),
        _ => None,
    };
    aggregates.into_iter().filter_map(order).collect()
}
