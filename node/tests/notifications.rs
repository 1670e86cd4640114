//! What subscribers are told of orders, over WebSockets, on three real nodes.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

use futures::StreamExt as _;
use harness::{Callers, Cluster};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Bound on the next message.
const SOON: Duration = Duration::from_secs(30);

struct Subscriber(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Subscriber {
    async fn connect(cluster: &Cluster, node: usize, query: &str) -> Self {
        let port = cluster.nodes[node].ports.http;
        let url = format!("ws://127.0.0.1:{port}/notifications?{query}");
        let (socket, answer) = connect_async(url).await.unwrap();
        assert_eq!(answer.status().as_u16(), 101);
        let mut subscriber = Subscriber(socket);
        assert_eq!(subscriber.next().await, json!({ "message": "connected to notification service" }));
        subscriber
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(SOON, self.0.next()).await.expect("a message").expect("it is open").unwrap();
            match message {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// So many, and nothing of others than this order.
    async fn take(&mut self, order: &str, count: usize) -> Vec<Value> {
        let mut told = Vec::new();
        while told.len() < count {
            let message = self.next().await;
            assert_eq!(message["aggregateId"], json!(order), "{message}");
            told.push(message);
        }
        told
    }

    async fn subjects(&mut self, order: &str, count: usize) -> Vec<String> {
        let told = self.take(order, count).await;
        told.iter().map(|message| message["subject"].as_str().unwrap().to_owned()).collect()
    }
}

/// Posts an order with its prices, which begins its checkout. Answers with its id.
async fn post(callers: &Callers, node: usize, customer: &str, items: &[(&str, i64, i64)]) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    let shown: Vec<Value> = items
        .iter()
        .map(|(item, price, quantity)| json!({ "productId": item, "price": price, "quantity": quantity }))
        .collect();
    let (price, quantity) =
        items.iter().fold((0, 0), |(sum, count), (_, price, quantity)| (sum + price * quantity, count + quantity));
    let order = json!({ "orderId": id, "customerId": customer, "totalPrice": price, "totalQuantity": quantity, "items": shown });
    let body = json!({ "data": { "id": format!("key-{id}"), "order": order } });
    let posted = callers.ask(node, "POST", "/order", &[], Some(&body)).await.unwrap();
    assert_eq!(posted.status, 200, "{posted:?}");
    id
}

const FORTH: [&str; 7] = [
    "ORDER_CREATE",
    "ORDER_PLACED_SUCCESS",
    "ORDER_CONFIRMATION_SUCCESS",
    "PAYMENT_CHARGE_SUCCESS",
    "INVENTORY_UPDATE_SUCCESS",
    "DELIVERY_SCHEDULED_SUCCESS",
    "ORDER_FINALISED_SUCCESS",
];

/// A36 without its seed, the first halves of A40 and A41, INV-33: forward in step order, back in reverse.
#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_told_each_step_forward_in_order_and_back_in_reverse() {
    let cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    let (first, second, user) = (callers.item(10, 10).await, callers.item(5, 15).await, callers.user(1000).await);
    let mut all = Subscriber::connect(&cluster, 0, "").await;
    let mut reservation = Subscriber::connect(&cluster, 1, "profile=reservation").await;
    let mut of_user = Subscriber::connect(&cluster, 2, &format!("customer={user}")).await;
    let mut some = Subscriber::connect(&cluster, 0, "subjects=ORDER_FINALISED_SUCCESS,INVENTORY_RESERVED").await;

    let order = post(&callers, 1, &user, &[(&first, 10, 3), (&second, 5, 2)]).await;
    let told = all.take(&order, FORTH.len()).await;
    let subjects: Vec<&str> = told.iter().map(|message| message["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, FORTH);
    for message in &told {
        assert_eq!((&message["customerId"], message.get("seq")), (&json!(user), None), "{message}");
        let parts: Vec<&str> = message["id"].as_str().unwrap().split('-').collect();
        assert!(parts.len() == 3 && parts.iter().all(|part| part.parse::<u64>().is_ok()), "{message}");
    }
    assert_eq!(
        (&told[0]["type"], &told[0]["operation"], &told[1]["aliases"]),
        (&json!("COMMAND"), &json!("CREATE"), &json!(["ORDER_CREATED"]))
    );
    let reserved = reservation.take(&order, 4).await;
    let reserved: Vec<_> = reserved
        .iter()
        .map(|message| (message["subject"].as_str().unwrap(), message["resource"].as_str().unwrap()))
        .collect();
    let four = [
        ("ORDER_CREATE", "ORDER"),
        ("ORDER_CREATED", "ORDER"),
        ("INVENTORY_RESERVED", "INVENTORY"),
        ("INVENTORY_RESERVED", "ORDER"),
    ];
    assert_eq!(reserved, four);
    assert_eq!(some.subjects(&order, 2).await, ["INVENTORY_UPDATE_SUCCESS", "ORDER_FINALISED_SUCCESS"]);
    assert_eq!(
        (callers.stock(0, &first).await, callers.stock(1, &second).await, callers.credit(2, &user).await),
        (7, 13, 960)
    );
    let own = of_user.take(&order, FORTH.len()).await;
    assert_eq!(own.iter().map(|message| message["subject"].as_str().unwrap()).collect::<Vec<_>>(), FORTH);
    let seqs: Vec<u64> = own.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && own.iter().all(|message| message["customerId"] == json!(user)), "{own:?}");

    // A40: too little money. Nothing is held.
    let poor = callers.user(1).await;
    let order = post(&callers, 2, &poor, &[(&first, 10, 1)]).await;
    assert_eq!(
        all.subjects(&order, 5).await,
        [
            "ORDER_CREATE",
            "ORDER_PLACED_SUCCESS",
            "ORDER_CONFIRMATION_SUCCESS",
            "PAYMENT_PROCESSED_ERROR",
            "ORDER_PLACED_ROLLBACK"
        ]
    );
    // A41: too little stock. The money goes back.
    let order = post(&callers, 0, &user, &[(&first, 10, 8)]).await;
    assert_eq!(
        all.subjects(&order, 7).await,
        [
            "ORDER_CREATE",
            "ORDER_PLACED_SUCCESS",
            "ORDER_CONFIRMATION_SUCCESS",
            "PAYMENT_CHARGE_SUCCESS",
            "INVENTORY_UPDATE_ERROR",
            "PAYMENT_CHARGE_ROLLBACK",
            "ORDER_CONFIRMATION_ROLLBACK"
        ]
    );
    assert_eq!((callers.stock(0, &first).await, callers.credit(1, &user).await), (7, 960));

    for (query, problem) in [
        ("subjects=NOTHING", "rule-violated"),
        ("profile=other", "rule-violated"),
        ("after=x", "malformed"),
        ("", "malformed"),
    ] {
        let refused = callers.get(0, &format!("/notifications?{query}")).await;
        assert_eq!(refused.problem(), problem, "{query}");
    }
}

/// The other half of A40: no delivery has room.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_slot_subscribers_are_told_of_the_whole_way_back() {
    let cluster = Cluster::shop("[delivery]\ncapacity_per_day = 0\n");
    let callers = Callers::of(&cluster);
    let (item, user) = (callers.item(10, 10).await, callers.user(100).await);
    let mut all = Subscriber::connect(&cluster, 0, "").await;
    let order = post(&callers, 1, &user, &[(&item, 10, 1)]).await;
    let told = all.subjects(&order, 9).await;
    assert_eq!(
        told[5..],
        [
            "DELIVERY_SCHEDULED_ERROR",
            "INVENTORY_UPDATE_ROLLBACK",
            "PAYMENT_CHARGE_ROLLBACK",
            "ORDER_CONFIRMATION_ROLLBACK"
        ],
        "{told:?}"
    );
    assert_eq!((callers.stock(0, &item).await, callers.credit(1, &user).await), (10, 100));
}

/// INV-34, A38 for a subscriber: whichever node it was with dies, it comes back elsewhere with its position, and has missed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_was_cut_off_gets_everything_once_and_in_order() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    let (item, user) = (callers.item(1, 1000).await, callers.user(1000).await);
    let query = format!("customer={user}");
    let mut subscriber = Subscriber::connect(&cluster, 0, &query).await;
    let mut told: Vec<Value> = Vec::new();
    let mut orders = Vec::new();
    for round in 0..3 {
        let others = if round == 0 { callers.afresh() } else { callers.afresh_without(0) };
        for place in 0..5 {
            orders.push(post(&others, place, &user, &[(&item, 1, 1)]).await);
        }
        match round {
            0 => {
                told.push(subscriber.next().await);
                // The first of the two messages of one event.
                assert_eq!(told[0]["subject"], "ORDER_CREATE");
                cluster.nodes[0].kill();
            }
            // By the position, and then by the id of the last message.
            1 => {
                let position = told.last().unwrap()["position"].as_str().unwrap();
                subscriber = Subscriber::connect(&cluster, 1, &format!("{query}&after={position}")).await;
                while told.len() < 10 || told.last().unwrap()["subject"] != "ORDER_CREATE" {
                    told.push(subscriber.next().await);
                }
            }
            _ => {
                let id = told.last().unwrap()["id"].as_str().unwrap();
                subscriber = Subscriber::connect(&cluster, 2, &format!("{query}&after={id}")).await;
                while told.len() < orders.len() * FORTH.len() {
                    told.push(subscriber.next().await);
                }
            }
        }
    }
    let ids: Vec<&str> = told.iter().map(|message| message["id"].as_str().unwrap()).collect();
    let once: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(once.len(), ids.len(), "{ids:?}");
    for order in &orders {
        let of_order: Vec<&str> = told
            .iter()
            .filter(|message| message["aggregateId"] == json!(order))
            .map(|message| message["subject"].as_str().unwrap())
            .collect();
        assert_eq!(of_order, FORTH, "{order}");
    }
    let seqs: Vec<u64> = told.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
}
