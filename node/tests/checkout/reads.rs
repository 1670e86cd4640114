//! How fresh reads are, and what is answered without a quorum.
use super::{all, orders_of};
use crate::harness::{Answer, Callers, Cluster};
use serde_json::json;
use std::time::{Duration, Instant};

const SESSION: &str = "corduroy-session";
/// In which a node without a quorum says so: twice and a half of what it should take.
const SOON: Duration = Duration::from_secs(5);

async fn with(callers: &Callers, node: usize, path: &str, token: Option<&str>) -> Answer {
    let headers: Vec<_> = token.into_iter().map(|token| (SESSION, token)).collect();
    callers.ask(node, "GET", path, &headers, None).await.expect("the node runs")
}

/// A46: written through one node, read at once through the others, with the session token and without.
pub async fn a_write_is_seen_through_every_node(callers: &Callers) {
    let (item, user) = (callers.item(1, 0).await, callers.user(0).await);
    for turn in 1..=30_usize {
        let writer = turn % callers.nodes();
        let paid = callers.post(writer, &format!("/payment/add_funds/{user}/1")).await;
        let added = callers.post(writer, &format!("/stock/add/{item}/1")).await;
        for node in 0..callers.nodes() {
            for freshness in ["", "?consistency=session", "?consistency=linearizable"] {
                for known in [true, false] {
                    let token = |answer: &Answer| answer.header(SESSION).filter(|_| known).map(str::to_owned);
                    let path = format!("/payment/find_user/{user}{freshness}");
                    let found = with(callers, node, &path, token(&paid).as_deref()).await;
                    assert_eq!(found.body, json!({ "user_id": user, "credit": turn }), "{found:?}");
                    let path = format!("/stock/find/{item}{freshness}");
                    let found = with(callers, node, &path, token(&added).as_deref()).await;
                    assert_eq!(found.body, json!({ "stock": turn, "price": 1 }), "{found:?}");
                }
            }
        }
    }
    // The token of a checkout is enough to see what it took elsewhere.
    for writer in 0..callers.nodes() {
        let order = callers.order(&user, &[(&item, 1)]).await;
        let (before, free) = (callers.credit(0, &user).await, callers.stock(0, &item).await);
        let paid = callers.post(writer, &format!("/orders/checkout/{order}")).await;
        assert_eq!(paid.status, 200, "{paid:?}");
        let token = paid.header(SESSION).expect("it touched something");
        for node in 0..callers.nodes() {
            for token in [Some(token), None] {
                let found = with(callers, node, &format!("/payment/find_user/{user}"), token).await;
                assert_eq!(found.body["credit"], before - 1, "{found:?}");
                let found = with(callers, node, &format!("/stock/find/{item}"), token).await;
                assert_eq!(found.body["stock"], free - 1, "{found:?}");
                let found = with(callers, node, &format!("/orders/find/{order}"), token).await;
                assert_eq!(found.body["paid"], true, "{found:?}");
            }
        }
    }
    for node in 0..callers.nodes() {
        let found = with(callers, node, &format!("/payment/find_user/{user}?consistency=stale"), None).await;
        is_stale(&found);
    }
}

fn is_stale(found: &Answer) {
    assert_eq!(found.status, 200, "{found:?}");
    let age = found.header("corduroy-age-ms").and_then(|age| age.parse::<u64>().ok());
    assert!(age.is_some(), "it does not say how old it is: {found:?}");
    let position = found.header("corduroy-position").unwrap_or_default();
    assert!(position.starts_with("payment/") && position.contains(':'), "{found:?}");
}

/// A46, A25: a node is killed that leads, and through which callers check out. What was written before is read through
/// the others, and who asks again under its key is charged once.
pub async fn a_write_is_seen_after_its_leader_is_gone(cluster: &mut Cluster, callers: &Callers) {
    let users = all(8, (0..24).map(|_| callers.user(10))).await;
    let item = callers.item(1, 100).await;
    let orders = orders_of(callers, 8, &users, &item).await;
    let leads = cluster.leads("payment").await;
    let leader = leads.iter().flatten().copied().next().expect("somebody leads");
    // The first is node 1.
    let at = usize::try_from(leader).unwrap() - 1;
    let write = |user: &String| {
        let path = format!("/payment/add_funds/{user}/5");
        async move { callers.post(at + 1, &path).await }
    };
    let written = all(8, users.iter().map(write)).await;
    let mut lost = Vec::new();
    for order in &orders {
        lost.push(callers.send(at, &format!("/orders/checkout/{order}"), &format!("killed-{order}")).await);
    }
    cluster.node(leader).kill();
    drop(lost);

    for (turn, (user, written)) in users.iter().zip(&written).enumerate() {
        assert_eq!(written.body, json!({ "user_id": user, "credit": 15 }), "{written:?}");
        let token = written.header(SESSION);
        for (freshness, token) in [("linearizable", None), ("session", token), ("session", None)] {
            let path = format!("/payment/find_user/{user}?consistency={freshness}");
            let found = insist_on(callers, at + 1 + turn % 2, &path, token).await;
            // The checkout may have been there before the kill.
            assert!(matches!(found.body["credit"].as_i64(), Some(14 | 15)), "{found:?}");
        }
    }
    let survivors = cluster.leads("payment").await;
    assert!(survivors.iter().all(|now| *now != Some(leader)), "{leader} was killed, and leads: {survivors:?}");
    assert_ne!(survivors, leads, "no lead has moved");

    let again = orders.iter().enumerate().map(|(turn, order)| async move {
        let (path, key) = (format!("/orders/checkout/{order}"), format!("killed-{order}"));
        callers.insist(at + 1 + turn % 2, "POST", &path, &key, None).await
    });
    for answer in all(8, again).await {
        assert_eq!((answer.status, &answer.body["attempt"]), (200, &json!(1)), "{answer:?}");
    }
    for user in &users {
        assert_eq!(callers.credit(at + 2, user).await, 14);
    }
    assert_eq!(callers.stock(at + 1, &item).await, 76);
    cluster.node(leader).start();
    cluster.node(leader).wait_ready();
    assert_eq!(callers.stock(at, &item).await, 76, "also through the one that is back");
}

/// Asks until a leader is there.
async fn insist_on(callers: &Callers, node: usize, path: &str, token: Option<&str>) -> Answer {
    let deadline = Instant::now() + crate::harness::PATIENCE;
    loop {
        let found = with(callers, node, path, token).await;
        if found.status != 503 {
            assert_eq!(found.status, 200, "{found:?}");
            return found;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A47: two of three are gone. What needs the others is refused soon, and nothing of it was done; what has to be old is
/// served. When they are back, everything is as before, and nobody has had to do anything.
pub async fn without_a_quorum_only_stale_reads_are_answered(cluster: &mut Cluster, callers: &Callers) {
    let (item, user) = (callers.item(1, 100).await, callers.user(100).await);
    let (changed, sold) = (callers.order(&user, &[]).await, callers.order(&user, &[(&item, 1)]).await);
    // The one that stays may hear only with the next heartbeat that all of it is committed.
    let reads = [format!("/payment/find_user/{user}"), format!("/stock/find/{item}"), format!("/orders/find/{sold}")];
    let (deadline, mut heard) = (Instant::now() + SOON, 0);
    while heard < reads.len() {
        assert!(Instant::now() < deadline, "node 1 has not heard of {}", reads[heard]);
        let found = with(callers, 0, &format!("{}?consistency=stale", reads[heard]), None).await;
        let paid_in = found.body["credit"] != 0 && found.body["stock"] != 0;
        let has_line = found.body["items"].as_array().is_none_or(|items| !items.is_empty());
        heard += usize::from(found.status == 200 && paid_in && has_line);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for id in [2, 3] {
        cluster.node(id).kill();
    }
    let writes = [
        format!("/payment/add_funds/{user}/1"),
        format!("/stock/add/{item}/1"),
        "/payment/create_user".to_owned(),
        format!("/orders/create/{user}"),
        format!("/orders/addItem/{changed}/{item}/1"),
        format!("/orders/checkout/{sold}"),
    ];
    let reads = [
        format!("/payment/find_user/{user}"),
        format!("/stock/find/{item}?consistency=linearizable"),
        format!("/orders/find/{sold}?consistency=linearizable"),
    ];
    for round in 0..2 {
        for (at, path) in writes.iter().enumerate() {
            let (since, key) = (Instant::now(), format!("alone-{at}"));
            let answer = callers.ask(0, "POST", path, &[("idempotency-key", &key)], None).await.expect("node 1 runs");
            println!("round {round}, {path}: {} after {:?}", answer.status, since.elapsed());
            match (answer.status, answer.problem()) {
                (503, "no-quorum") => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
                // It was sent to one that was gone already.
                (504, "outcome-unknown") => {}
                _ => panic!("{path}: {answer:?}"),
            }
            assert_eq!(answer.body["idempotencyKey"], json!(key), "{answer:?}");
            assert!(since.elapsed() < SOON, "{path}: {:?}", since.elapsed());
        }
        for path in &reads {
            let since = Instant::now();
            let answer = with(callers, 0, path, None).await;
            println!("round {round}, {path}: {} after {:?}", answer.status, since.elapsed());
            assert_eq!((answer.status, answer.problem()), (503, "no-quorum"), "{path}: {answer:?}");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            assert!(since.elapsed() < SOON, "{path}: {:?}", since.elapsed());
        }
        let since = Instant::now();
        let stale = with(callers, 0, &format!("/payment/find_user/{user}?consistency=stale"), None).await;
        is_stale(&stale);
        assert_eq!(stale.body, json!({ "user_id": user, "credit": 100 }), "{stale:?}");
        for path in [format!("/stock/find/{item}"), format!("/orders/find/{sold}")] {
            let stale = with(callers, 0, &format!("{path}?consistency=stale"), None).await;
            assert_eq!(stale.status, 200, "{stale:?}");
        }
        assert!(since.elapsed() < SOON, "stale reads: {:?}", since.elapsed());
    }
    cluster.start_all();
    for (at, path) in writes.iter().enumerate() {
        let answer = callers.insist(at, "POST", path, &format!("alone-{at}"), None).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    // Each once.
    for node in 0..callers.nodes() {
        assert_eq!((callers.credit(node, &user).await, callers.stock(node, &item).await), (100, 100));
        let found = callers.get(node, &format!("/orders/find/{changed}")).await;
        assert_eq!(found.body["items"], json!([[item, 1]]), "{found:?}");
        let found = callers.get(node, &format!("/orders/find/{sold}")).await;
        assert_eq!(found.body["paid"], true, "{found:?}");
    }
}
