//! The routes of a node with its log and all services.
use super::{Said, ask_of};
use crate::{
    Node,
    config::{Listen, NodeConfig, ShopConfig},
    gateway::{application, shop::routes},
    node::NodeServices,
    shop::with_services,
};
use axum::{
    Router,
    http::{Method, StatusCode},
};
use corduroy_log::{
    config::{Config, NodeAddress},
    testing::{free_port, quick},
    topic::ClusterId,
};
use serde_json::{Value, json};
use std::{sync::mpsc, time::Duration};

/// Long enough for a machine that has other things to do.
const READY: Duration = Duration::from_secs(60);

struct Live {
    node: Node,
    routes: Router,
    _dir: tempfile::TempDir,
}

impl Live {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let port = || free_port().expect("a port");
        let listen = Listen { http: port(), grpc: port(), peer: port(), admin: port() };
        let address = NodeAddress {
            id: 1,
            peer: listen.peer.to_string(),
            grpc: listen.grpc.to_string(),
            http: listen.http.to_string(),
            admin: listen.admin.to_string(),
        };
        let log = quick(Config::new(dir.path().join("node"), ClusterId(rand::random()), 1, vec![address]));
        let shop = ShopConfig::default();
        let (tell, told) = mpsc::channel::<NodeServices>();
        let builder = with_services(Node::builder(), &shop).routes(move |services| {
            tell.send(services).expect("somebody waits");
            Router::new()
        });
        let config = NodeConfig { log, listen, shutdown_timeout: Duration::from_secs(5), shop };
        let node = builder.config(config).start().await.expect("it starts");
        let routes = application(1, routes(told.recv().expect("it was told"), super::MAX_AGE));
        let live = Live { node, routes, _dir: dir };
        let began = std::time::Instant::now();
        // A topic is there when it can be read.
        for path in ["/orders", "/payment/find_user/0", "/stock/find/0", "/deliveries"] {
            while live.get(path).await.status == StatusCode::SERVICE_UNAVAILABLE {
                assert!(began.elapsed() < READY, "{path} is not served");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        live
    }

    async fn get(&self, path: &str) -> Said {
        ask_of(self.routes.clone(), Method::GET, path, &[], "").await
    }

    async fn post(&self, path: &str, body: &str) -> Said {
        ask_of(self.routes.clone(), Method::POST, path, &[], body).await
    }

    async fn keyed(&self, key: &str, path: &str, body: &str) -> Said {
        ask_of(self.routes.clone(), Method::POST, path, &[("idempotency-key", key)], body).await
    }
}

impl Said {
    /// What a success says.
    fn is(&self, status: u16) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{body}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    fn refuses(&self, status: u16, name: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.name().as_str()), (status, name), "{}", self.problem());
        self.problem()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_checked_out_and_delivered() {
    let live = Live::start().await;
    line_by_line(&live).await;
    as_a_whole(&live).await;
    delivered_in_order(&live).await;
    many_at_once(&live).await;
    live.node.shutdown().await;
}

/// One order has what it asks for only the third time.
async fn line_by_line(live: &Live) {
    let made = live.keyed("a user", "/payment/create_user", "").await;
    made.refuses(400, "malformed");
    let user = live.keyed("a-user", "/payment/create_user", "").await;
    let again = live.keyed("a-user", "/Payment/create_user/", "").await;
    assert_eq!((again.is(200), again.header("idempotent-replay")), (user.is(200), "true"));
    live.keyed("a-user", "/payment/pay/1/1", "").await.refuses(404, "unknown-user");
    let user = text(&user.is(200)["user_id"]).to_owned();
    let item = async |price: i64, stock: i64| {
        let made = live.post(&format!("/stock/item/create/{price}"), "").await.is(200);
        let item = text(&made["item_id"]).to_owned();
        let added = live.post(&format!("/stock/add/{item}/{stock}"), "").await.is(200);
        assert_eq!(added, json!({ "item_id": item, "stock": stock }));
        item
    };
    let (many, none) = (item(5, 15).await, item(5, 0).await);
    let order = live.post(&format!("/orders/create/{user}"), "").await;
    let id = text(&order.is(200)["order_id"]).to_owned();
    assert_eq!(order.header("idempotency-key"), id, "the key that was made is the id");
    let added = live.post(&format!("/orders/addItem/{id}/{many}/3"), "").await.is(200);
    assert_eq!(added, json!({ "order_id": id, "item_id": many, "quantity": 3, "total_cost": 15 }));
    let removed =
        ask_of(live.routes.clone(), Method::DELETE, &format!("/orders/removeItem/{id}/{many}"), &[], "").await;
    assert_eq!(removed.is(200), json!({ "order_id": id, "item_id": many, "quantity": 3, "total_cost": 0 }));
    for item in [&many, &none] {
        live.post(&format!("/orders/addItem/{id}/{item}"), "").await.is(200);
    }
    live.post(&format!("/orders/addItem/{id}/nothing/1"), "").await.refuses(404, "unknown-item");
    live.post(&format!("/orders/addItem/nothing/{many}/1"), "").await.refuses(404, "unknown-order");
    let rule = live.post(&format!("/orders/addItem/{id}/{many}/0"), "").await.refuses(422, "rule-violated");
    assert_eq!(rule["errors"][0]["path"], "quantity");

    let checkout = format!("/orders/checkout/{id}");
    assert_eq!(live.get(&format!("/payment/checkid/{id}")).await.is(200), "MISSING");
    let poor = live.keyed("poor", &checkout, "").await;
    let problem = poor.refuses(409, "out-of-credit");
    assert_eq!((&problem["requested"], &problem["available"]), (&json!(10), &json!(0)));
    let again = live.keyed("poor", &checkout, "").await;
    assert_eq!((again.problem(), again.header("idempotent-replay")), (poor.problem(), "true"));
    assert_eq!(live.get(&format!("/payment/checkid/{id}")).await.is(200), "REJECTED");
    live.post(&format!("/payment/add_funds/{user}/15"), "").await.is(200);
    assert_eq!(live.post(&checkout, "").await.refuses(409, "out-of-stock")["itemId"], none);
    let stock = live.get(&format!("/stock/find/{many}")).await.is(200);
    assert_eq!(stock, json!({ "stock": 15, "price": 5 }));
    live.post(&format!("/stock/add/{none}/15"), "").await.is(200);
    let paid = live.post(&checkout, "").await;
    let expected = json!({
        "order_id": id, "paid": true, "status": "completed", "total_cost": 10, "attempt": 3, "alreadyPaid": false,
    });
    assert_eq!(paid.is(200), expected);
    let token = [("corduroy-session", paid.header("corduroy-session"))];
    let credit =
        ask_of(live.routes.clone(), Method::GET, &format!("/payment/find_user/{user}"), &token, "").await.is(200);
    assert_eq!(credit, json!({ "user_id": user, "credit": 5 }));
    assert_eq!(live.post(&checkout, "").await.is(200)["alreadyPaid"], true);
    for who in ["payment", "stock"] {
        assert_eq!(live.get(&format!("/{who}/checkid/{id}")).await.is(200), "PAID");
    }
    let found = live.get(&format!("/orders/find/{id}?consistency=stale")).await;
    let items = json!([[many, 1], [none, 1]]);
    let expected = json!({
        "order_id": id, "paid": true, "items": items, "user_id": user, "total_cost": 10, "status": "completed",
    });
    assert_eq!(found.is(200), expected);
    assert!(found.header("corduroy-age-ms").parse::<u64>().is_ok());
    assert!(found.header("corduroy-position").starts_with("order/"));
    live.post(&format!("/orders/addItem/{id}/{many}"), "").await.refuses(409, "order-closed");
    live.post(&format!("/orders/cancel/{id}"), "").await.refuses(409, "order-closed");
    live.post(&format!("/stock/subtract/{many}/15"), "").await.refuses(409, "out-of-stock");
    live.post(&format!("/orders/deliver/{id}"), "").await.is(200);
}

async fn as_a_whole(live: &Live) {
    let item = text(&live.post("/stock/item/create/10", "").await.is(200)["item_id"]).to_owned();
    let body = json!({ "customerRef": "Ada", "orderItems": [{ "productId": item, "quantity": 2 }] }).to_string();
    let placed = live.post("/Orders", &body).await;
    let summary = placed.is(201);
    let order_ref = text(&summary["orderRef"]).to_owned();
    assert_eq!(placed.header("location"), format!("/Orders/{order_ref}"));
    let expected = json!({ "orderRef": order_ref, "customerRef": "Ada", "numberOfItems": 1, "statusName": "New" });
    assert_eq!(summary, expected);
    let lower = order_ref.to_lowercase();
    assert_eq!(live.get(&format!("/Orders/{lower}")).await.is(200), expected);
    assert_eq!(live.get("/orders/customer/ADA").await.is(200), json!([expected]));
    assert_eq!(live.get("/orders?customer=ada&status=new").await.is(200), json!([expected]));
    assert_eq!(live.get("/orders/customer/nobody").await.is(200), json!([]));
    live.get("/orders/OS999999-ORD").await.refuses(404, "unknown-order");
    let detail = live.get(&format!("/orders/detail/{lower}")).await.is(200);
    assert_eq!(
        (&detail["kind"], &detail["status"], &detail["lines"][0]["price"]),
        (&json!("items"), &json!("open"), &Value::Null)
    );
    live.post(&format!("/orders/checkout/{lower}"), "").await.refuses(409, "account-missing");
    let none = r#"{"customerRef":"Ada","orderItems":[{"productId":"3","quantity":0}]}"#;
    assert_eq!(
        live.post("/orders", none).await.refuses(422, "rule-violated")["errors"][0]["path"],
        "orderItems[0].quantity"
    );

    let user = text(&live.post("/payment/create_user", "").await.is(200)["user_id"]).to_owned();
    live.post(&format!("/payment/add_funds/{user}/100"), "").await.is(200);
    live.post(&format!("/stock/add/{item}/5"), "").await.is(200);
    let order = |quantity: i64| {
        json!({ "orderId": "mine-1", "customerId": user, "totalPrice": 10 * quantity, "totalQuantity": quantity,
            "items": [{ "productId": item, "price": 10, "quantity": quantity }] })
    };
    let posted = live.post("/order", &json!({ "data": { "id": "key-1", "order": order(2) } }).to_string()).await;
    assert_eq!((posted.is(200)["id"].clone(), posted.header("idempotency-key")), (json!("key-1"), "key-1"));
    let again = live.post("/order", &json!({ "data": { "id": "key-1", "order": order(2) } }).to_string()).await;
    assert_eq!((again.is(200), again.header("idempotent-replay")), (posted.is(200), "true"));
    live.post("/order", &json!({ "id": "key-2", "order": order(2) }).to_string()).await.is(200);
    live.post("/order", &json!({ "id": "key-3", "order": order(3) }).to_string()).await.refuses(409, "id-conflict");
    let other = json!({ "data": { "id": "key-1", "order": order(3) } }).to_string();
    live.post("/order", &other).await.refuses(422, "idempotency-mismatch");
    let began = std::time::Instant::now();
    loop {
        let found = live.get("/order/mine-1").await.is(200);
        if found["order"]["order"]["status"] == "COMPLETE" {
            break;
        }
        assert!(began.elapsed() < READY, "{found}");
    }
    assert_eq!(live.get(&format!("/stock/find/{item}")).await.is(200)["stock"], 3);
    while live.get("/deliveries/mine-1").await.status != StatusCode::OK {
        assert!(began.elapsed() < READY, "there is no delivery");
    }
    let delivery = live.get("/deliveries/mine-1").await.is(200);
    assert_eq!((&delivery["customerId"], &delivery["state"]), (&json!(user), &json!("scheduled")));
    let all = live.get(&format!("/deliveries?state=scheduled&day={}", text(&delivery["day"]))).await.is(200);
    assert!(all.as_array().expect("a list").contains(&delivery), "{all}");
    live.post("/orders/deliver/mine-1", "").await.is(200);
}

async fn delivered_in_order(live: &Live) {
    live.post("/orders/deliver-next", "").await.refuses(404, "no-undelivered-order");
    let place = async |date: &str| {
        let body = json!({ "netTotal": "84.03", "orderDate": date }).to_string();
        let placed = live.post("/orders/value", &body).await.is(201);
        assert_eq!((&placed["deliverySent"], &placed["netTotal"]), (&json!(false), &json!("84.03")));
        assert_eq!(placed["grandTotal"], if date < "2021" { "97.47" } else { "100.00" });
        text(&placed["orderId"]).to_owned()
    };
    let (later, first) = (place("2021-01-01").await, place("2020-12-31T23:59:59Z").await);
    assert_eq!(live.get("/orders?undelivered=true").await.is(200).as_array().map(Vec::len), Some(2));
    let next = live.keyed("next-1", "/orders/deliver-next", "").await;
    assert_eq!((text(&next.is(200)["orderId"]), &next.is(200)["vatRate"]), (first.as_str(), &json!(1600)));
    let again = live.keyed("next-1", "/orders/deliver-next", "").await;
    assert_eq!((again.is(200), again.header("idempotent-replay")), (next.is(200), "true"), "it is not the next one");
    let next = live.keyed("next-2", "/orders/deliver-next", "").await;
    assert_eq!(text(&next.is(200)["orderId"]), later);
    let none = live.keyed("next-3", "/orders/deliver-next", "").await.refuses(404, "no-undelivered-order");
    assert!(text(&none["hint"]).contains("order create"));
    let usual = live.post("/orders/value", "").await.is(201);
    assert_eq!((&usual["netTotal"], &usual["vatRate"]), (&json!("150.00"), &json!(1900)));
    live.keyed("next-3", "/orders/deliver-next", "").await.refuses(404, "no-undelivered-order");
    assert_eq!(live.keyed("next-4", "/orders/deliver-next", "").await.is(200)["deliverySent"], true);
}

async fn many_at_once(live: &Live) {
    for (path, what) in [
        ("/payment/batch_init/20/100", "users"),
        ("/stock/batch_init/30/50/3", "stock"),
        ("/orders/batch_init/25/30/20/3", "orders"),
    ] {
        let made = live.keyed("batch", path, "").await;
        assert_eq!(made.is(200), json!({ "msg": format!("Batch init for {what} successful") }));
        assert_eq!(live.keyed("batch", path, "").await.header("idempotent-replay"), "true");
    }
    assert_eq!(live.get("/payment/find_user/19").await.is(200), json!({ "user_id": "19", "credit": 100 }));
    live.get("/payment/find_user/20").await.refuses(404, "unknown-user");
    let found = live.get("/orders/find/24").await.is(200);
    assert_eq!((&found["total_cost"], found["items"].as_array().map(Vec::len)), (&json!(6), Some(2)));
    live.post("/orders/checkout/7", "").await.is(200);

    let (mut refs, mut path) = (Vec::new(), "/orders?limit=4".to_owned());
    loop {
        let page = live.get(&path).await;
        refs.extend(page.is(200).as_array().expect("a list").iter().map(|order| order["orderRef"].clone()));
        let Some(next) = page.header("link").strip_prefix('<') else { break };
        path = next.split('>').next().expect("a link").to_owned();
    }
    let all = live.get("/orders").await.is(200);
    let all: Vec<Value> = all.as_array().expect("a list").iter().map(|order| order["orderRef"].clone()).collect();
    assert_eq!(refs, all);
    // Those of before are there, too.
    assert!(all.len() > 25, "{all:?}");
    let distinct: std::collections::BTreeSet<&str> = all.iter().map(text).collect();
    assert_eq!(distinct.len(), all.len());
}
