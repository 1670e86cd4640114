//! How many partitions a service has changes nothing but who leads them.
use super::{books::Books, harness, harness::Callers, harness::Cluster, rush::Rush};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What the script was answered, and what was left.
#[derive(Debug, PartialEq)]
struct Results {
    answers: Vec<(u16, String, Value)>,
    credit: BTreeMap<String, i64>,
    stock: BTreeMap<String, i64>,
    orders: Vec<(bool, i64, i64, String)>,
    /// Told 200 in a rush for more than there is.
    sold: usize,
}

/// A28, INV-17, and A29: with 1, with 2 and with 4 partitions of each service the same script has the same results, and each node
/// leads as many of a service as any other, or one more.
#[tokio::test(flavor = "multi_thread")]
async fn one_two_and_four_partitions_give_equal_results() {
    let one = run(1).await;
    for partitions in [2, 4] {
        assert_eq!(run(partitions).await, one, "{partitions} partitions");
    }
    assert_eq!(one.sold, 20, "as many as there are");
}

async fn run(partitions: u32) -> Results {
    let tables = ["order", "payment", "stock", "delivery"].map(|name| format!("[{name}]\npartitions = {partitions}\n"));
    let cluster = Cluster::shop(&tables.concat());
    let callers = Callers::of(&cluster);
    let mut books = Books::seed(&callers, 8, 40, 8, 6, 5, 0).await;
    let mut answers = Vec::new();
    for turn in 0..24usize {
        let key = |what: &str| format!("{what}-{turn}");
        let user = turn * 5 % 8;
        let made = callers.insist(turn, "POST", &format!("/orders/create/{user}"), &key("create"), None).await;
        let id = made.body["order_id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
        for (item, quantity) in [(turn % 8, 1 + turn % 3), ((turn * 3 + 1) % 8, 1)] {
            let path = format!("/orders/addItem/{id}/{item}/{quantity}");
            let added = callers.insist(turn + 1, "POST", &path, &format!("{}-{item}", key("add")), None).await;
            assert_eq!(added.status, 200, "{added:?}");
        }
        let path = format!("/orders/checkout/{id}");
        let told = callers.insist(turn + 2, "POST", &path, &key("checkout"), None).await;
        answers.push((told.status, told.problem().to_owned(), told.body["total_cost"].clone()));
        books.orders.push(id);
    }
    let sold = rush(&cluster, &callers, &mut books).await;
    let read = books.at_rest(&cluster, &callers).await;
    books.check(&callers, &read).await;
    spread(&cluster, partitions).await;
    let scripted = books.orders.iter().take(answers.len()).map(|id| &read.orders[id]);
    let orders = scripted.map(|order| (order.paid, order.total, order.attempt, order.refusal.clone())).collect();
    let seeded = |all: &BTreeMap<String, i64>| {
        all.iter().filter(|(id, _)| id.len() == 1).map(|(k, v)| (k.clone(), *v)).collect()
    };
    let (credit, stock) = (seeded(&read.credit), seeded(&read.stock));
    for why in ["", "out-of-credit", "out-of-stock"] {
        assert!(answers.iter().any(|(_, problem, _)| problem == why), "nothing was answered with {why:?}: {answers:?}");
    }
    Results { answers, credit, stock, orders, sold }
}

/// 60 users with enough money, 20 pieces, a piece each.
async fn rush(cluster: &Cluster, callers: &Callers, books: &mut Books) -> usize {
    let item = books.item(callers, 5, 20).await;
    let mut orders = Vec::new();
    for _ in 0..60 {
        let user = books.user(callers, 5).await;
        orders.push(books.order(callers, &user, &[(&item, 1)]).await);
    }
    let told = Rush::of(callers, &orders, orders.len()).end(cluster).await;
    told.values().filter(|told| told.status == 200).count()
}

/// There are as many partitions of each service as were asked for, and leads are spread evenly.
async fn spread(cluster: &Cluster, partitions: u32) {
    let since = Instant::now();
    loop {
        let status = cluster.admin().cluster().await.expect("it runs");
        let of = |topic: &str| -> Vec<Option<u64>> {
            status.partitions.iter().filter(|seen| seen.topic == topic).map(|seen| seen.leader).collect()
        };
        let topics = ["order", "payment", "stock", "delivery"].map(of);
        assert!(topics.iter().all(|leaders| leaders.len() == partitions as usize), "{topics:?}");
        let even = |leaders: &Vec<Option<u64>>| {
            let of = |node: u64| leaders.iter().filter(|leader| **leader == Some(node)).count();
            let (most, least) = ((1..=3).map(of).max(), (1..=3).map(of).min());
            leaders.iter().all(Option::is_some) && most <= least.map(|least| least + 1)
        };
        if topics.iter().all(even) {
            return;
        }
        assert!(since.elapsed() < harness::PATIENCE, "leads are not spread evenly: {topics:?}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
