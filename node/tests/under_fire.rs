//! The checkout against real processes while nodes are killed with -9: whatever dies, and whenever, an order is paid
//! exactly when it was charged and its pieces were taken, and everything that has begun ends without an operator.
//!
//! ```text
//! Rush (hundreds of callers, a key each) ── HTTP ──▶ all nodes ◀── kill -9, start
//!   what every caller was told ─────────────┐
//! Books (what was put in) ── at rest: read all orders, users, items ──▶ nothing lost, nothing made
//! ```
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

#[path = "under_fire/books.rs"]
mod books;
#[path = "under_fire/disjoint.rs"]
mod disjoint;
#[path = "under_fire/partitions.rs"]
mod partitions;
#[path = "under_fire/rush.rs"]
mod rush;
#[path = "under_fire/up.rs"]
mod up;

use books::{Books, Read};
use harness::{Callers, Cluster};
use rush::{Rush, Told};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Orders, and how many are checked out at once.
const ORDERS: u32 = 2000;
const AT_ONCE: usize = 300;
/// Successes that count as work having been done.
const ENOUGH: usize = 20;

/// A26, A29 (INV-1 to INV-6, INV-10 to INV-16): few users and few items, some of them poor and scarce, and the leader of
/// a service killed twice over.
#[tokio::test(flavor = "multi_thread")]
async fn money_and_stock_are_conserved_while_leaders_are_killed_under_load() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    // An order costs 10: a poor user pays 30 of about 220; of a scarce item there are 60 for about 440.
    let mut books = Books::seed(&callers, 9, 300, 9, 60, 5, ORDERS).await;
    for plenty in 3..9 {
        books.deposit(&callers, &plenty.to_string(), 10_000).await;
        books.supply(&callers, &plenty.to_string(), 10_000).await;
    }
    let mut rush = Rush::of(&callers, &books.orders, AT_ONCE);
    let mut killed = 0;
    for topics in [["order", "payment", "stock"], ["payment", "order", "stock"]] {
        let since = Instant::now();
        rush.let_go(200);
        rush.paid_since(since, ENOUGH, &cluster).await;
        // Full speed, and in the middle of it:
        let before = rush.told().len();
        rush.let_go(AT_ONCE * 2 / 3);
        rush.told_at_least(before + 20, &cluster).await;
        let (topic, leader) = leader_other_than(&cluster, &topics, killed).await;
        let under_way = rush.amid(AT_ONCE / 3, &cluster).await;
        let since = Instant::now();
        cluster.node(leader).kill();
        assert!(under_way > 0, "nothing was under way when node {leader} was killed");
        rush.let_go(200);
        rush.paid_since(Instant::now(), ENOUGH, &cluster).await;
        println!(
            "leader of {topic}/0 killed with {under_way} under way; {ENOUGH} more paid {:?} later",
            since.elapsed()
        );
        assert_ne!(leader_of(&cluster, topic).await, leader, "{topic}/0 has another leader");
        rush.let_go(100);
        cluster.node(leader).start();
        tokio::task::block_in_place(|| cluster.node(leader).wait_ready());
        let back = Instant::now();
        rush.let_go(150);
        rush.paid_since(back, ENOUGH, &cluster).await;
        killed = leader;
    }
    let told = rush.end(&cluster).await;
    let read = books.at_rest(&cluster, &callers).await;
    books.check(&callers, &read).await;
    agree(&told, &read);
    let refused = |why: &str| told.values().filter(|told| told.problem == why).count();
    let (credit, stock, late) = (refused("out-of-credit"), refused("out-of-stock"), refused("checkout-timeout"));
    let paid = told.values().filter(|told| told.status == 200).count();
    println!("{paid} paid, {credit} without credit, {stock} without stock, {late} in time");
    assert_eq!(paid + credit + stock + late, ORDERS as usize, "there is no other outcome");
    assert!(credit > 0 && stock > 0, "{credit} refused for credit, {stock} for stock");
    books.pay_again(&callers, &read).await;
}

/// What callers were told is what is (INV-4): 200 of paid orders alone, 409 of unpaid ones alone.
pub fn agree(told: &BTreeMap<String, Told>, read: &Read) {
    assert!(!told.is_empty());
    for (id, told) in told {
        let order = &read.orders[id];
        assert_eq!(told.status == 200, order.paid, "order {id}: told {told:?}, and it is {order:?}");
        if !order.paid {
            assert_eq!(told.problem, order.refusal, "order {id} was refused for what it says: {order:?}");
        }
    }
}

/// Who leads partition 0 of a topic.
pub async fn leader_of(cluster: &Cluster, topic: &str) -> u64 {
    let deadline = Instant::now() + harness::PATIENCE;
    loop {
        let seen = cluster.admin().cluster().await.map(|status| {
            let found = status.partitions.iter().find(|seen| seen.topic == topic && seen.partition == 0);
            found.and_then(|partition| partition.leader)
        });
        match seen {
            Ok(Some(leader)) if cluster.nodes.iter().any(|node| node.id == leader && node.is_running()) => {
                return leader;
            }
            seen => assert!(Instant::now() < deadline, "the leader of {topic}/0: {seen:?}\n{}", cluster.logs()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The first of these topics that another node leads than this one. Leads are spread, so there soon is one.
async fn leader_other_than(cluster: &Cluster, topics: &[&'static str], not: u64) -> (&'static str, u64) {
    let deadline = Instant::now() + harness::PATIENCE;
    loop {
        for topic in topics {
            let leader = leader_of(cluster, topic).await;
            if leader != not {
                return (topic, leader);
            }
        }
        assert!(Instant::now() < deadline, "node {not} leads all\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
