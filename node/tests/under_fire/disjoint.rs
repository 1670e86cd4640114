//! Services on nodes of their own: `order` and `delivery` on nodes 1 to 3, `payment` on 4 to 6, `stock` on 7 to 9.
use super::{
    agree,
    books::{Books, Seen, order},
    harness::{Answer, Callers, Cluster},
    leader_of,
    rush::Rush,
};
use corduroy_node::runtime::partition_of;
use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    time::{Duration, Instant},
};
use tokio::task::{JoinHandle, block_in_place};

const PAYMENT: RangeInclusive<u64> = 4..=6;
const STOCK: RangeInclusive<u64> = 7..=9;
/// Bound on the time in which something begins or ends.
const SOON: Duration = Duration::from_secs(60);

/// Nine nodes, with these lines in their configuration.
fn nine(lines: &str) -> Cluster {
    let (order, payment, stock): (&[&str], &[&str], &[&str]) = (&["order", "delivery"], &["payment"], &["stock"]);
    let services: Vec<_> = [order, payment, stock].iter().flat_map(|services| [Some(*services); 3]).collect();
    let mut cluster = Cluster::of(&services, lines);
    cluster.start_all();
    cluster
}

/// A18, A19 through nodes of every kind, A26, A29: a leader of each participant is killed meanwhile. They read the orders
/// from nodes other than their own.
#[tokio::test(flavor = "multi_thread")]
async fn services_on_nodes_of_their_own_check_out_together() {
    let mut cluster = nine("");
    let callers = Callers::of(&cluster);
    let mut books = Books::default();
    for node in [0, 3, 6, 8] {
        a18(&callers, node, &mut books).await;
    }
    for node in [1, 4, 7] {
        a19(&callers, node, &mut books).await;
    }
    subscribed(&cluster).await;
    under_fire(&mut cluster, &callers, &mut books).await;
    subscribed(&cluster).await;
    let read = books.at_rest(&cluster, &callers).await;
    books.check(&callers, &read).await;
    books.pay_again(&callers, &read).await;
}

async fn checkout(callers: &Callers, node: usize, order: &str, key: &str) -> Answer {
    let path = format!("/orders/checkout/{order}");
    callers.insist(node, "POST", &path, &format!("{key}-{order}"), None).await
}

async fn a18(callers: &Callers, node: usize, books: &mut Books) {
    let (user, item) = (books.user(callers, 15).await, books.item(callers, 5, 50).await);
    let order = books.order(callers, &user, &[(&item, 1), (&item, 1), (&item, 1)]).await;
    let told = checkout(callers, node, &order, "first").await;
    assert_eq!(
        (told.status, &told.body["paid"], &told.body["total_cost"]),
        (200, &true.into(), &15.into()),
        "{told:?}"
    );
    for reader in [node, node + 3, node + 6] {
        assert_eq!((callers.credit(reader, &user).await, callers.stock(reader, &item).await), (0, 47), "node {reader}");
        assert_eq!(callers.get(reader, &format!("/orders/find/{order}")).await.body["paid"], true);
    }
}

async fn a19(callers: &Callers, node: usize, books: &mut Books) {
    let user = books.user(callers, 0).await;
    let (a, b) = (books.item(callers, 5, 15).await, books.item(callers, 5, 0).await);
    let id = books.order(callers, &user, &[(&a, 1), (&b, 1)]).await;
    let left = async |reader| {
        (callers.stock(reader, &a).await, callers.stock(reader + 3, &b).await, callers.credit(reader + 6, &user).await)
    };
    let told = checkout(callers, node, &id, "first").await;
    assert_eq!((told.status, told.problem()), (409, "out-of-credit"), "{told:?}");
    assert_eq!(left(node).await, (15, 0, 0));
    books.deposit(callers, &user, 15).await;
    let told = checkout(callers, node + 3, &id, "second").await;
    assert_eq!((told.status, told.problem()), (409, "out-of-stock"), "{told:?}");
    assert_eq!(left(node + 3).await, (15, 0, 15));
    books.supply(callers, &b, 15).await;
    let told = checkout(callers, node + 6, &id, "third").await;
    assert_eq!((told.status, &told.body["attempt"]), (200, &3.into()), "{told:?}");
    assert_eq!(left(node + 6).await, (14, 14, 5));
}

/// Every service reads its peers, on its own nodes, and is at the end of them at rest.
async fn subscribed(cluster: &Cluster) {
    cluster.settle().await;
    let mut read = BTreeSet::new();
    for node in &cluster.nodes {
        let status = cluster.admin().node_status(&format!("127.0.0.1:{}", node.ports.admin)).await.unwrap();
        for subscription in status.subscriptions {
            let carried = match subscription.service.as_str() {
                "payment" => PAYMENT.contains(&node.id),
                "stock" => STOCK.contains(&node.id),
                _ => node.id <= 3,
            };
            assert!(carried, "node {} reads for {subscription:?}", node.id);
            assert_eq!(Some(subscription.offset), subscription.end, "at rest all is handled: {subscription:?}");
            if subscription.offset > 0 {
                read.insert((subscription.service, subscription.topic));
            }
        }
    }
    for (service, topic) in
        [("order", "payment"), ("order", "stock"), ("payment", "order"), ("stock", "order"), ("delivery", "order")]
    {
        assert!(read.contains(&(service.to_owned(), topic.to_owned())), "{service} does not read {topic}: {read:?}");
    }
}

/// How far every service has read its peers, and who leads what: for messages.
async fn all_read(cluster: &Cluster) -> String {
    let mut text = String::new();
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        let status = cluster.admin().node_status(&format!("127.0.0.1:{}", node.ports.admin)).await;
        let read = status.map(|status| status.subscriptions);
        text.push_str(&format!("node {} reads: {read:?}\n", node.id));
    }
    let led = cluster.admin().cluster().await.map(|status| status.partitions);
    text.push_str(&format!("led: {led:?}\n"));
    text
}

/// A small load, under which the leader of payment and then that of stock are killed.
async fn under_fire(cluster: &mut Cluster, callers: &Callers, books: &mut Books) {
    const ENOUGH: usize = 5;
    let (rich, poor) = (books.user(callers, 100_000).await, books.user(callers, 50).await);
    let (plenty, scarce) = (books.item(callers, 5, 10_000).await, books.item(callers, 5, 10).await);
    let mut orders = Vec::new();
    for turn in 0..240 {
        let user = if turn % 4 == 1 { &poor } else { &rich };
        let item = if turn % 4 == 2 { &scarce } else { &plenty };
        orders.push(books.order(callers, user, &[(item, 1), (&plenty, 1)]).await);
    }
    let mut rush = Rush::of(callers, &orders, 40);
    for topic in ["payment", "stock"] {
        let since = Instant::now();
        rush.let_go(30);
        rush.paid_since(since, ENOUGH, cluster).await;
        let leader = leader_of(cluster, topic).await;
        let under_way = rush.amid(40, cluster).await;
        cluster.node(leader).kill();
        assert!(under_way > 0, "nothing was under way when node {leader} was killed");
        rush.let_go(20);
        rush.paid_since(Instant::now(), ENOUGH, cluster).await;
        assert_ne!(leader_of(cluster, topic).await, leader);
        cluster.node(leader).start();
        block_in_place(|| cluster.node(leader).wait_ready());
        let back = Instant::now();
        rush.let_go(30);
        rush.paid_since(back, ENOUGH, cluster).await;
    }
    let told = rush.end(cluster).await;
    let read = books.at_rest(cluster, callers).await;
    agree(&told, &read);
}

/// Orders whose sagas stop half way, by the end they must come to.
struct Stopped {
    /// Nobody waits, and there is time: paid.
    patient: Vec<String>,
    /// Somebody waits: too late.
    urgent: Vec<String>,
    /// One of two pieces is there; the other is not, and some of those are in another partition: no stock.
    short: Vec<String>,
    /// No credit.
    broke: Vec<String>,
    waiting: Vec<JoinHandle<Answer>>,
}

impl Stopped {
    /// Makes the orders; nothing is checked out yet.
    async fn prepare(callers: &Callers, books: &mut Books) -> Self {
        let (rich, poor) = (books.user(callers, 10_000).await, books.user(callers, 3).await);
        let item = books.item(callers, 5, 1000).await;
        let mut gone = Vec::new();
        for _ in 0..4 {
            gone.push(books.item(callers, 5, 0).await);
        }
        let apart = gone.iter().filter(|gone| partition_of(gone, 2) != partition_of(&item, 2)).count();
        assert!(apart > 0, "item {item} is in the partition of all of {gone:?}");
        let none = Vec::new;
        let mut made = Stopped { patient: none(), urgent: none(), short: none(), broke: none(), waiting: Vec::new() };
        for turn in 0..8 {
            made.patient.push(books.order(callers, &rich, &[(&item, 2)]).await);
            made.urgent.push(books.order(callers, &rich, &[(&item, 1)]).await);
            made.short.push(books.order(callers, &rich, &[(&item, 1), (&gone[turn % 4], 1)]).await);
            made.broke.push(books.order(callers, &poor, &[(&item, 1)]).await);
        }
        made
    }

    /// Begins all checkouts.
    async fn begin(&mut self, callers: &Callers) {
        for (turn, id) in self.patient.iter().chain(&self.short).chain(&self.broke).enumerate() {
            let (path, key) = (format!("/orders/checkout/{id}"), format!("checkout-{id}"));
            let headers = [("idempotency-key", key.as_str()), ("prefer", "respond-async")];
            let deadline = Instant::now() + SOON;
            for node in turn.. {
                match callers.ask(node, "POST", &path, &headers, None).await {
                    Ok(begun) if begun.status == 202 => break,
                    Ok(answer) => assert!(matches!(answer.status, 503 | 504), "{path}: {answer:?}"),
                    Err(_) => {}
                }
                assert!(Instant::now() < deadline, "{path} is not answered");
            }
        }
        for (turn, id) in self.urgent.iter().cloned().enumerate() {
            let callers = callers.clone();
            self.waiting.push(tokio::spawn(async move { checkout(&callers, turn, &id, "checkout").await }));
        }
    }

    /// Waits until all of these are as they should be.
    async fn until(cluster: &Cluster, callers: &Callers, ids: &[String], what: &str, is: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + SOON;
        for (turn, id) in ids.iter().enumerate() {
            loop {
                let seen = order(callers, turn, id).await;
                if is(&seen) {
                    break;
                }
                if Instant::now() >= deadline {
                    let read = all_read(cluster).await;
                    panic!("order {id} is not {what}: {seen:?}\n{read}{}", cluster.logs());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// All have come to the end they must come to, and those who waited were told so.
    async fn ended(self, cluster: &Cluster, callers: &Callers, step: &str) {
        let refused = |why: &'static str| move |seen: &Seen| seen.status == "open" && seen.refusal == why;
        Self::until(cluster, callers, &self.patient, "paid", |seen| seen.paid).await;
        Self::until(cluster, callers, &self.short, "short", refused("out-of-stock")).await;
        Self::until(cluster, callers, &self.broke, "broke", refused("out-of-credit")).await;
        let late = |seen: &Seen| refused("checkout-timeout")(seen) && seen.step == step;
        Self::until(cluster, callers, &self.urgent, "too late", late).await;
        for told in self.waiting {
            let told = told.await.unwrap();
            assert_eq!((told.status, told.problem()), (409, "checkout-timeout"), "{told:?}");
        }
    }
}

/// A27, A29: sagas are stopped at every row a silent participant leaves them in, the machine of their leader is gone
/// for good, and the others bring each to its end.
#[tokio::test(flavor = "multi_thread")]
async fn sagas_that_stop_half_way_end_although_their_leader_is_gone_for_good() {
    let lines = "[saga]\ntimeout = \"3s\"\nasync_timeout = \"60s\"\nrelease_wait = \"1s\"\n\n\
                 [order]\npartitions = 1\n\n[stock]\npartitions = 2\n";
    let mut cluster = nine(lines);
    let callers = Callers::of(&cluster);
    let mut books = Books::default();
    let is_reserving = |seen: &Seen| seen.status == "reserving";

    // Money is held, stock was asked for and never answered; or there was no money.
    let mut stopped = Stopped::prepare(&callers, &mut books).await;
    kill(&mut cluster, STOCK);
    stopped.begin(&callers).await;
    let held = |seen: &Seen| is_reserving(seen) && seen.outcome == ["PAID", "MISSING"];
    Stopped::until(&cluster, &callers, &stopped.patient, "half way", held).await;
    Stopped::until(&cluster, &callers, &stopped.short, "half way", held).await;
    let leader = leader_of(&cluster, "order").await;
    cluster.node(leader).kill();
    let is_releasing = |seen: &Seen| seen.status == "releasing";
    Stopped::until(&cluster, &callers, &stopped.urgent, "given up", is_releasing).await;
    Stopped::until(&cluster, &callers, &stopped.patient, "still half way", held).await;
    assert_ne!(leader_of(&cluster, "order").await, leader);
    start(&mut cluster, STOCK);
    stopped.ended(&cluster, &callers, "stock").await;

    // Nothing is held, money was asked for and never answered. One node of `order` is still gone.
    let mut stopped = Stopped::prepare(&callers, &mut books).await;
    kill(&mut cluster, PAYMENT);
    stopped.begin(&callers).await;
    let asked = |seen: &Seen| is_reserving(seen) && seen.outcome == ["MISSING", "MISSING"];
    for orders in [&stopped.patient, &stopped.short, &stopped.broke] {
        Stopped::until(&cluster, &callers, orders, "half way", asked).await;
    }
    Stopped::until(&cluster, &callers, &stopped.urgent, "given up", is_releasing).await;
    // What holds the stock comes and goes, too, while they are on their way.
    let leader = leader_of(&cluster, "stock").await;
    start(&mut cluster, PAYMENT);
    cluster.node(leader).kill();
    stopped.ended(&cluster, &callers, "payment").await;

    let read = books.at_rest(&cluster, &callers).await;
    books.check(&callers, &read).await;
}

fn kill(cluster: &mut Cluster, nodes: RangeInclusive<u64>) {
    nodes.for_each(|id| cluster.node(id).kill());
}

fn start(cluster: &mut Cluster, nodes: RangeInclusive<u64>) {
    nodes.clone().for_each(|id| cluster.node(id).start());
    block_in_place(|| nodes.for_each(|id| cluster.node(id).wait_ready()));
}
