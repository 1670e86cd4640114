//! Lists that go by a view: of a customer, of a status, of a day; while more comes, and while the views are damaged.
use super::all;
use crate::harness::{
    Answer, Callers, Cluster,
    stores::{copy, rebuilds, rot, store},
    wait_until,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const VIEW: &str = "states";
const CUSTOMERS: usize = 20;
const AT_ONCE: usize = 32;

/// The refs of each customer's orders, with the names of their statuses.
#[derive(Default)]
pub struct Shop {
    orders: Mutex<BTreeMap<String, BTreeMap<String, &'static str>>>,
}

fn customer(number: usize) -> String {
    format!("Customer-{}", number % CUSTOMERS)
}

/// All of a list, in pages, each from another node.
async fn pages(callers: &Callers, node: usize, path: &str) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), path.to_owned());
    for page in 0.. {
        let answer = callers.get(node + page, &next).await;
        assert_eq!(answer.status, 200, "{next}: {answer:?}");
        all.extend(answer.body.as_array().expect("a list").clone());
        let link = answer.header("link").map(|link| link.split(['<', '>']).nth(1).expect("a link").to_owned());
        match link {
            Some(link) => next = link,
            None => break,
        }
    }
    all
}

fn refs(orders: &[Value]) -> Vec<String> {
    orders.iter().map(|order| order["orderRef"].as_str().expect("a ref").to_owned()).collect()
}

async fn place(callers: &Callers, node: usize, customer: &str) -> Answer {
    let body = json!({ "netTotal": "1.00", "customerId": customer });
    callers.ask(node, "POST", "/orders/value", &[], Some(&body)).await.expect("it answers")
}

impl Shop {
    /// Places orders, and cancels or delivers some of them.
    async fn fill(&self, callers: &Callers, numbers: std::ops::Range<usize>) {
        let order = |number| async move {
            let (by, node) = (customer(number), number % callers.nodes());
            let placed = place(callers, node, &by).await;
            let name = placed.body["orderRef"].as_str().unwrap_or_else(|| panic!("{placed:?}")).to_owned();
            let (path, status) = match number % 5 {
                0 => ("cancel", "Cancelled"),
                1 => ("deliver", "Fulfilled"),
                _ => ("detail", "Placed"),
            };
            let method = if path == "detail" { "GET" } else { "POST" };
            let done = callers.ask(node + 1, method, &format!("/orders/{path}/{name}"), &[], None).await;
            let done = done.expect("it answers");
            assert_eq!(done.status, 200, "{done:?}");
            self.orders.lock().unwrap().entry(by).or_default().insert(name, status);
        };
        all(AT_ONCE, numbers.map(order)).await;
    }

    fn of(&self, by: &str) -> BTreeMap<String, &'static str> {
        self.orders.lock().unwrap().get(by).cloned().unwrap_or_default()
    }

    /// Whatever is asked of a node is what was placed.
    async fn judge(&self, callers: &Callers, node: usize) {
        for number in 0..CUSTOMERS {
            let by = customer(number);
            // In any case.
            let path = format!("/orders/customer/{}?limit=7", by.to_uppercase());
            let found = callers.get(node, &format!("/orders/customer/{by}")).await;
            assert_eq!(found.status, 200, "{found:?}");
            let listed = |orders: &[Value]| {
                let pair = |order: &Value| (order["orderRef"].clone(), order["statusName"].clone());
                orders.iter().map(pair).map(|(name, status)| (name.to_string(), status.to_string())).collect::<Vec<_>>()
            };
            let found = listed(found.body.as_array().expect("a list"));
            assert_eq!(found, listed(&pages(callers, node, &path).await), "{by} at {node}: the order is one");
            let expected: BTreeSet<_> = self
                .of(&by)
                .iter()
                .map(|(name, status)| (json!(name).to_string(), json!(status).to_string()))
                .collect();
            assert_eq!(found.len(), expected.len(), "{by} at {node}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{by} at {node}");
        }
        let all = self.orders.lock().unwrap().clone();
        for (query, wanted) in
            [("status=cancelled", "Cancelled"), ("status=FULFILLED", "Fulfilled"), ("undelivered=true", "Placed")]
        {
            let found = refs(&pages(callers, node, &format!("/orders?{query}&limit=90")).await);
            let of = |orders: &BTreeMap<String, &'static str>| {
                orders.iter().filter(|(_, status)| **status == wanted).map(|(name, _)| name.clone()).collect::<Vec<_>>()
            };
            let expected: BTreeSet<String> = all.values().flat_map(of).collect();
            assert_eq!(found.len(), expected.len(), "{query} at {node}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{query} at {node}");
        }
        let of_both = format!("/orders?customer={}&status=placed", customer(3));
        let placed = self.of(&customer(3)).values().filter(|status| **status == "Placed").count();
        assert_eq!(pages(callers, node, &of_both).await.len(), placed);
        for nothing in ["/orders?status=lost", "/orders?status=new&undelivered=true", "/orders/customer/nobody"] {
            assert_eq!(callers.get(node, nothing).await.body, json!([]), "{nothing}");
        }
    }
}

/// A16: pages have each order once, while more of the same customers come.
pub async fn pages_have_every_order_once_while_more_come(callers: &Callers, shop: &Shop) {
    shop.fill(callers, 0..800).await;
    let done = AtomicBool::new(false);
    let filling = async {
        shop.fill(callers, 800..1400).await;
        done.store(true, Ordering::Relaxed);
    };
    let reading = async {
        let mut rounds = 0;
        while !done.load(Ordering::Relaxed) || rounds < CUSTOMERS {
            let by = customer(rounds);
            let before = shop.of(&by);
            let found = refs(&pages(callers, rounds, &format!("/orders/customer/{by}?limit=3")).await);
            let unique: BTreeSet<_> = found.iter().cloned().collect();
            assert_eq!(unique.len(), found.len(), "{by}: something comes twice");
            let missing: Vec<_> = before.keys().filter(|name| !unique.contains(*name)).collect();
            assert!(missing.is_empty(), "{by}: {missing:?} were placed before");
            rounds += 1;
        }
    };
    futures::join!(filling, reading);
    for node in 0..callers.nodes() {
        shop.judge(callers, node).await;
    }
}

/// Orders that were seeded are in lists, touched or not.
pub async fn seeded_orders_are_found_by_customer_and_status(callers: &Callers) {
    const N: usize = 150;
    const USERS: usize = 8;
    for round in 0..2 {
        let made = callers.post(round, &format!("/orders/batch_init/{N}/5/{USERS}/3")).await;
        assert_eq!(made.status, 200, "{made:?}");
        let cancel = |id| async move { callers.post(id, &format!("/orders/cancel/{id}")).await };
        let cancelled = (0..N).step_by(7).map(cancel);
        assert!(all(AT_ONCE, cancelled).await.iter().all(|answer| answer.status == 200));
        let detail = |id| async move { callers.get(id, &format!("/orders/detail/{id}")).await };
        let details = all(AT_ONCE, (0..N).map(detail)).await;
        let text = |detail: &Answer, name: &str| detail.body[name].as_str().expect("a text").to_owned();
        for user in 0..USERS {
            let own = details.iter().filter(|detail| text(detail, "customerId") == user.to_string());
            let expected: BTreeSet<_> = own.map(|detail| text(detail, "orderRef")).collect();
            let found = refs(&pages(callers, user, &format!("/orders/customer/{user}?limit=4")).await);
            assert_eq!(found.len(), expected.len(), "customer {user}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "customer {user}");
        }
        let cancelled = details.iter().filter(|detail| text(detail, "status") == "cancelled").count();
        assert_eq!(cancelled, N.div_ceil(7));
        let new = refs(&pages(callers, 1, "/orders?status=new&limit=40").await);
        let expected = details.iter().filter(|detail| text(detail, "status") == "open");
        let expected: BTreeSet<_> = expected.map(|detail| text(detail, "orderRef")).collect();
        assert_eq!(new.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

/// Deliveries, by day and by state.
pub async fn deliveries_are_found_by_day_and_state(cluster: &Cluster, callers: &Callers) {
    let (user, item) = (callers.user(1000).await, callers.item(1, 100).await);
    let orders = super::orders_of(callers, 8, &vec![user; 12], &item).await;
    for (turn, order) in orders.iter().enumerate() {
        assert_eq!(callers.post(turn, &format!("/orders/checkout/{order}")).await.status, 200);
        if turn < 5 {
            assert_eq!(callers.post(turn, &format!("/orders/deliver/{order}")).await.status, 200);
        }
    }
    cluster.settle().await;
    let whole = pages(callers, 0, "/deliveries").await;
    assert_eq!(whole.len(), orders.len(), "{whole:?}");
    let day = whole[0]["day"].as_str().expect("a day").to_owned();
    for node in 0..callers.nodes() {
        for (query, many) in [
            (format!("day={day}"), whole.iter().filter(|delivery| delivery["day"] == *day).count()),
            ("state=scheduled".to_owned(), 7),
            ("state=Delivered".to_owned(), 5),
            ("state=lost".to_owned(), 0),
            ("day=1999-12-31".to_owned(), 0),
        ] {
            let found = pages(callers, node, &format!("/deliveries?{query}&limit=2")).await;
            assert_eq!(found.len(), many, "{query}: {found:?}");
            assert!(found.iter().all(|delivery| whole.contains(delivery)), "{query}: {found:?}");
        }
    }
}

/// Whatever is done to views while nodes are down: lists are right afterwards.
pub async fn lists_are_right_whatever_happened_to_views(cluster: &mut Cluster, callers: &Callers, shop: &Shop) {
    // What sled has flushed by itself, sooner or later.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let old = cluster.dir().join("an-older-copy");
    with_node_down(cluster, 1, |views| copy(&store(views, VIEW), &old));
    with_node_down(cluster, 2, |views| fs::remove_dir_all(store(views, VIEW)).expect("nobody uses it"));
    shop.judge(callers, 1).await;
    assert_eq!(rebuilds(cluster.nodes[1].ports.http, 2, VIEW, "missing"), 1);

    with_node_down(cluster, 3, |views| rot(&store(views, VIEW)));
    shop.judge(callers, 2).await;
    let http = cluster.nodes[2].ports.http;
    let reasons = ["unopenable", "damaged", "failed", "panicked"];
    let rebuilt: u64 = reasons.iter().map(|reason| rebuilds(http, 3, VIEW, reason)).sum();
    assert!(rebuilt >= 1, "{}", cluster.logs());

    // Older than the log, and from its future: that of a node that has what this one missed.
    shop.fill(callers, 1400..1450).await;
    with_node_down(cluster, 1, |views| {
        let own = store(views, VIEW);
        fs::remove_dir_all(&own).expect("nobody uses it");
        copy(&old, &own);
    });
    shop.judge(callers, 0).await;
    cluster.node(1).kill();
    let others = callers.afresh_without(0);
    shop.fill(&others, 1450..1500).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    cluster.node(2).kill();
    let (own, ahead) = (cluster.node(1).data.join("views"), cluster.node(2).data.join("views"));
    let own = store(&own, VIEW);
    fs::remove_dir_all(&own).expect("nobody uses it");
    copy(&store(&ahead, VIEW), &own);
    cluster.start_all();
    for node in 0..callers.nodes() {
        shop.judge(callers, node).await;
    }
}

fn with_node_down(cluster: &mut Cluster, id: u64, work: impl FnOnce(&Path)) {
    cluster.node(id).kill();
    let views = cluster.node(id).data.join("views");
    work(&views);
    cluster.start_all();
}

/// Where no node can keep its views, lists say so; everything else goes on.
pub async fn without_views_lists_say_so_and_orders_are_placed(cluster: &mut Cluster, callers: &Callers, shop: &Shop) {
    let folders: Vec<_> = cluster.nodes.iter().map(|node| node.data.join("views")).collect();
    for id in 1..=3 {
        cluster.node(id).kill();
    }
    for views in &folders {
        fs::remove_dir_all(views).expect("nobody uses it");
        fs::write(views, b"a file in its place").expect("it can be written");
    }
    cluster.start_all();
    let path = format!("/orders/customer/{}", customer(0));
    for node in 0..callers.nodes() {
        let refused = callers.get(node, &path).await;
        let why = refused.body["detail"].as_str().unwrap_or_default();
        assert_eq!((refused.status, refused.problem()), (503, "no-quorum"), "{refused:?}");
        assert!(why.contains("the view \"states\" is ") && why.contains("records this read must see"), "{why}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let whole = callers.get(node, "/orders?limit=5").await;
        assert_eq!(whole.body.as_array().map(Vec::len), Some(5), "that needs no view: {whole:?}");
    }
    shop.fill(callers, 1500..1530).await;
    for views in &folders {
        fs::remove_file(views).expect("it is there");
    }
    for node in &cluster.nodes {
        wait_until("a node to have built its view", || {
            let (_, checks) =
                crate::harness::http_get(node.ports.http, "/readyz?verbose").map_err(|error| error.to_string())?;
            if checks.contains("view states: following") { Ok(()) } else { Err(checks) }
        });
    }
    for node in 0..callers.nodes() {
        shop.judge(callers, node).await;
    }
}
