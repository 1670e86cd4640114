//! What a shop was given, and whether everything is still there: by reading all orders, users and items over HTTP.
use super::harness::{Callers, Cluster};
use futures::{StreamExt as _, stream};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Reads at once.
const AT_ONCE: usize = 48;
/// Bound on the time in which sagas end that nobody disturbs any more.
const ENDING: Duration = Duration::from_secs(60);

/// What was put in.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// What was deposited, by user.
    pub users: BTreeMap<String, i64>,
    /// How many were added, by item.
    pub items: BTreeMap<String, i64>,
    /// All orders there are.
    pub orders: Vec<String>,
}

/// An order, as all routes tell it together.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether it is paid.
    pub paid: bool,
    /// `open`, `reserving` and so on.
    pub status: String,
    /// Whose it is.
    pub user: String,
    /// Item and quantity.
    pub lines: Vec<(String, i64)>,
    /// What it costs.
    pub total: i64,
    /// Its attempts.
    pub attempt: i64,
    /// Why the last attempt failed; empty if none did.
    pub refusal: String,
    /// The step that failed.
    pub step: String,
    /// The name for people.
    pub name: String,
    /// What became of its payment, and of its stock.
    pub outcome: [String; 2],
}

/// Everything there is, at one moment of rest.
#[derive(Clone, Debug)]
pub struct Read {
    /// By id.
    pub orders: BTreeMap<String, Seen>,
    /// What every user has.
    pub credit: BTreeMap<String, i64>,
    /// How many there are of every item.
    pub stock: BTreeMap<String, i64>,
}

impl Books {
    /// `users` with `money`, `items` with `stock` at `price`, and `orders` of them, two lines each.
    pub async fn seed(
        callers: &Callers,
        users: u32,
        money: i64,
        items: u32,
        stock: i64,
        price: i64,
        orders: u32,
    ) -> Self {
        let paths = [
            format!("/payment/batch_init/{users}/{money}"),
            format!("/stock/batch_init/{items}/{stock}/{price}"),
            format!("/orders/batch_init/{orders}/{items}/{users}/{price}"),
        ];
        for path in paths {
            let made = callers.insist(0, "POST", &path, &path, None).await;
            assert_eq!(made.status, 200, "{made:?}");
        }
        Books {
            users: (0..users).map(|user| (user.to_string(), money)).collect(),
            items: (0..items).map(|item| (item.to_string(), stock)).collect(),
            orders: (0..orders).map(|order| order.to_string()).collect(),
        }
    }

    /// Gives a user more.
    pub async fn deposit(&mut self, callers: &Callers, user: &str, amount: i64) {
        let path = format!("/payment/add_funds/{user}/{amount}");
        let added = callers.insist(1, "POST", &path, &path, None).await;
        assert_eq!(added.status, 200, "{added:?}");
        *self.users.entry(user.to_owned()).or_default() += amount;
    }

    /// Adds to an item.
    pub async fn supply(&mut self, callers: &Callers, item: &str, amount: i64) {
        let path = format!("/stock/add/{item}/{amount}");
        let added = callers.insist(2, "POST", &path, &path, None).await;
        assert_eq!(added.status, 200, "{added:?}");
        *self.items.entry(item.to_owned()).or_default() += amount;
    }

    /// A new user.
    pub async fn user(&mut self, callers: &Callers, credit: i64) -> String {
        let id = self.make(callers, "/payment/create_user", "user_id").await;
        self.deposit(callers, &id, credit).await;
        id
    }

    /// A new item.
    pub async fn item(&mut self, callers: &Callers, price: i64, stock: i64) -> String {
        let id = self.make(callers, &format!("/stock/item/create/{price}"), "item_id").await;
        self.supply(callers, &id, stock).await;
        id
    }

    /// A new order.
    pub async fn order(&mut self, callers: &Callers, user: &str, lines: &[(&str, i64)]) -> String {
        let id = self.make(callers, &format!("/orders/create/{user}"), "order_id").await;
        for (line, (item, quantity)) in lines.iter().enumerate() {
            let path = format!("/orders/addItem/{id}/{item}/{quantity}");
            let added = callers.insist(line, "POST", &path, &format!("{path}-{line}"), None).await;
            assert_eq!(added.status, 200, "{added:?}");
        }
        self.orders.push(id.clone());
        id
    }

    async fn make(&self, callers: &Callers, path: &str, id: &str) -> String {
        let made_before = self.users.len() + self.items.len() + self.orders.len();
        let made = callers.insist(made_before, "POST", path, &format!("make-{made_before}"), None).await;
        made.body[id].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
    }

    /// Waits until no order is reserving or releasing and no partition has anything left to handle, and reads all.
    pub async fn at_rest(&self, cluster: &Cluster, callers: &Callers) -> Read {
        let ended = async {
            while self.busy(callers).await > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let ended = tokio::time::timeout(ENDING, ended).await;
        assert!(ended.is_ok(), "orders are still reserving or releasing\n{}", cluster.logs());
        cluster.settle().await;
        self.read(callers).await
    }

    async fn busy(&self, callers: &Callers) -> usize {
        let listed = listed(callers, "status=reserving").await.len();
        listed + self::listed(callers, "status=releasing").await.len()
    }

    /// Everything, from all nodes in turn.
    pub async fn read(&self, callers: &Callers) -> Read {
        let amounts = |path: &'static str, field: &'static str, ids: Vec<String>| async move {
            let read = ids.into_iter().enumerate().map(|(node, id)| async move {
                let found = look(callers, node, &format!("{path}/{id}")).await;
                (id, found[field].as_i64().unwrap_or_else(|| panic!("{found}")))
            });
            stream::iter(read).buffer_unordered(AT_ONCE).collect::<BTreeMap<_, _>>().await
        };
        let credit = amounts("/payment/find_user", "credit", self.users.keys().cloned().collect()).await;
        let stock = amounts("/stock/find", "stock", self.items.keys().cloned().collect()).await;
        let seen = self
            .orders
            .iter()
            .enumerate()
            .map(|(node, id)| async move { (id.clone(), order(callers, node, id).await) });
        let orders = stream::iter(seen).buffer_unordered(AT_ONCE).collect().await;
        Read { orders, credit, stock }
    }

    /// What must hold at rest, as far as it shows: INV-1 to INV-3, INV-5, INV-6, INV-10 to INV-16 (A29).
    pub async fn check(&self, callers: &Callers, read: &Read) {
        let (mut spent, mut sold) = (BTreeMap::<&str, i64>::new(), BTreeMap::<&str, i64>::new());
        let names: BTreeSet<&str> = read.orders.values().map(|order| order.name.as_str()).collect();
        assert_eq!(names.len(), self.orders.len(), "INV-6: two orders have one name");
        for (id, order) in &read.orders {
            let status = if order.paid { "confirmed" } else { "open" };
            assert_eq!(order.status, status, "order {id} is at rest: {order:?}");
            let held = order.outcome.iter().map(|outcome| outcome == "PAID").collect::<Vec<_>>();
            if order.paid {
                assert_eq!(held, [true; 2], "INV-1: order {id} is paid, and not charged or not served: {order:?}");
                *spent.entry(&order.user).or_default() += order.total;
                order.lines.iter().for_each(|(item, quantity)| *sold.entry(item).or_default() += quantity);
            } else {
                assert_eq!(held, [false; 2], "INV-2: order {id} holds something: {order:?}");
            }
        }
        for (user, deposited) in &self.users {
            let (left, spent) = (read.credit[user], spent.get(user.as_str()).copied().unwrap_or_default());
            assert!(left >= 0, "INV-10: user {user} has {left}");
            assert_eq!(left + spent, *deposited, "INV-3, INV-10, INV-13: user {user} has {left}, and spent {spent}");
        }
        for (item, added) in &self.items {
            let (left, sold) = (read.stock[item], sold.get(item.as_str()).copied().unwrap_or_default());
            assert!(left >= 0, "INV-14: of item {item} there are {left}");
            assert_eq!(left + sold, *added, "INV-14 to INV-16: of item {item} there are {left}, and {sold} are sold");
        }
        // The list is another way to the same orders: none is missing, and none is there twice.
        let all = listed(callers, "limit=300").await;
        let listed: BTreeSet<(&str, &str)> =
            all.iter().map(|row| (text(row, "orderRef"), text(row, "statusName"))).collect();
        let status = |order: &Seen| if order.paid { "Placed" } else { "New" };
        let expected = read.orders.values().map(|order| (order.name.as_str(), status(order))).collect();
        assert_eq!((listed, all.len()), (expected, read.orders.len()), "the list of all orders");
    }

    /// Whoever pays a paid order again changes nothing (A29).
    pub async fn pay_again(&self, callers: &Callers, read: &Read) {
        let paid: Vec<_> = read.orders.iter().filter(|(_, order)| order.paid).map(|(id, _)| id).collect();
        let again = paid.into_iter().enumerate().map(|(node, id)| async move {
            let path = format!("/orders/checkout/{id}");
            let told = callers.insist(node, "POST", &path, &format!("again-{id}"), None).await;
            assert_eq!((told.status, &told.body["alreadyPaid"]), (200, &Value::Bool(true)), "{told:?}");
        });
        stream::iter(again).buffer_unordered(AT_ONCE).collect::<()>().await;
        let after = self.read(callers).await;
        assert_eq!((&after.credit, &after.stock), (&read.credit, &read.stock));
    }
}

/// A read that must come through; any node may give the answer.
async fn look(callers: &Callers, node: usize, path: &str) -> Value {
    let found = callers.insist(node, "GET", path, "read", None).await;
    assert_eq!(found.status, 200, "GET {path}: {found:?}");
    found.body
}

/// All orders that this query finds, page by page.
async fn listed(callers: &Callers, query: &str) -> Vec<Value> {
    let (mut rows, mut path) = (Vec::new(), format!("/orders?{query}"));
    loop {
        let page = callers.insist(rows.len(), "GET", &path, "read", None).await;
        assert_eq!(page.status, 200, "GET {path}: {page:?}");
        rows.extend(page.body.as_array().unwrap_or_else(|| panic!("{page:?}")).iter().cloned());
        let next = page.header("link").and_then(|link| link.strip_prefix('<')?.split_once('>'));
        match next {
            Some((next, _)) => path = next.to_owned(),
            None => return rows,
        }
    }
}

/// An order by all routes that tell of it.
pub async fn order(callers: &Callers, node: usize, id: &str) -> Seen {
    let found = look(callers, node, &format!("/orders/find/{id}")).await;
    let detail = look(callers, node + 1, &format!("/orders/detail/{id}")).await;
    let payment = look(callers, node + 2, &format!("/payment/checkid/{id}")).await;
    let stock = look(callers, node + 3, &format!("/stock/checkid/{id}")).await;
    let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("no number: {value} in {detail}"));
    let lines: Vec<(String, i64)> = serde_json::from_value(found["items"].clone()).expect("pairs");
    let (total, refusal) = (number(&found["total_cost"]), &detail["lastRefusal"]);
    let cents = |text: &str| text.replace('.', "").parse::<i64>().expect("an amount");
    let prices = detail["lines"].as_array().expect("lines").iter();
    let sum: i64 = prices.map(|line| cents(text(line, "price")) * number(&line["quantity"])).sum();
    assert_eq!(sum, total, "INV-5: {detail}");
    Seen {
        paid: found["paid"].as_bool().expect("it is there"),
        status: text(&detail, "status").to_owned(),
        user: text(&found, "user_id").to_owned(),
        lines,
        total,
        attempt: number(&detail["attempt"]),
        refusal: refusal["reason"].as_str().unwrap_or_default().to_owned(),
        step: refusal["step"].as_str().unwrap_or_default().to_owned(),
        name: text(&detail, "orderRef").to_owned(),
        outcome: [payment, stock].map(|outcome| outcome.as_str().expect("a text").to_owned()),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}
