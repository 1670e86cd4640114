//! What may be kept of replies, and for how long; and what nodes know by themselves.
use super::{ask, body, make, token};
use crate::harness::{Answer, Callers, Cluster, PATIENCE};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const MAY: &str = "2130-05-01T00:00:00Z";
const AUGUST: &str = "2130-08-01T00:00:00Z";

fn version(answer: &Answer) -> u64 {
    let tag = answer.header("etag").unwrap_or_else(|| panic!("{answer:?}"));
    tag.trim_matches('"').parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

/// For how many seconds; `None`: not at all.
fn max_age(answer: &Answer) -> Option<u64> {
    assert!(matches!(answer.status, 200 | 304), "{answer:?}");
    assert_eq!(answer.header("vary"), Some("corduroy-session"), "{answer:?}");
    let control = answer.header("cache-control").unwrap_or_else(|| panic!("{answer:?}"));
    (control != "no-store").then(|| control.strip_prefix("public, max-age=").unwrap().parse().unwrap())
}

/// A44: without a token too a change is at every node soon, and what a node has answered once it never takes back.
pub async fn a_change_is_everywhere_soon_and_nothing_older_after_it(callers: &Callers) {
    const CHANGES: u64 = 30;
    let made = make(callers, 0, "/campaign-events", &body("0", None, MAY, AUGUST)).await;
    let path = format!("/campaign-events/{}", made.body["id"]);
    let (done, path) = (AtomicBool::new(false), &path);
    let watch = |node: usize| {
        let done = &done;
        async move {
            let (mut last, mut seen, mut changes) = (0, 0, 0);
            while !done.load(Ordering::Relaxed) || last < CHANGES + 1 {
                let found = callers.get(node, path).await;
                // It may not be there yet.
                if found.status == 404 && last == 0 {
                    continue;
                }
                let now = version(&found);
                assert!(now >= last, "node {node} had version {last}, and answers {now}");
                assert_eq!(found.body["name"], (now - 1).to_string(), "{found:?}");
                changes += u64::from(now > last);
                (last, seen) = (now, seen + 1);
            }
            println!("node {}: {seen} reads, {changes} of {CHANGES} changes seen", node + 1);
        }
    };
    let writing = async {
        for turn in 1..=CHANGES {
            let name = json!({ "name": turn.to_string() });
            let changed = ask(callers, turn as usize, "PATCH", path, &[], Some(&name)).await;
            assert_eq!(version(&changed), turn + 1, "{changed:?}");
            // A token needs no time at all.
            for node in 0..callers.nodes() {
                let token = token(&changed);
                let found = ask(callers, node, "GET", path, &[("corduroy-session", &token)], None).await;
                assert_eq!(version(&found), turn + 1, "{found:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    let watching = futures::future::join_all((0..callers.nodes()).map(watch));
    let both = async { futures::join!(writing, watching) };
    tokio::time::timeout(PATIENCE, both).await.expect("each node has the last change in the end");
}

/// A44: what a node has answered it never takes back, also where it is killed and started again at once.
pub async fn a_node_that_is_started_again_answers_nothing_older(cluster: &mut Cluster, callers: &Callers) {
    for round in 0..6 {
        let (node, id) = (round % callers.nodes(), round as u64 % callers.nodes() as u64 + 1);
        let made = make(callers, node + 1, "/campaign-events", &body("killed", None, MAY, AUGUST)).await;
        let path = format!("/campaign-events/{}", made.body["id"]);
        let found = ask(callers, node, "GET", &path, &[("corduroy-session", &token(&made))], None).await;
        assert_eq!(version(&found), 1, "{found:?}");
        cluster.node(id).kill();
        cluster.node(id).start();
        let (callers, since) = (callers.afresh(), Instant::now());
        let found = loop {
            match callers.ask(node, "GET", &path, &[], None).await {
                Ok(found) if found.status != 503 => break found,
                not_yet => assert!(since.elapsed() < PATIENCE, "{not_yet:?}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        assert_eq!((found.status, &found.body), (200, &made.body), "node {id} had answered it: {found:?}");
        cluster.node(id).wait_ready();
    }
}

fn date(seconds: i64) -> String {
    let now = jiff::Timestamp::now();
    now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap().to_string()
}

/// A44: 100 seconds at most, and less before something begins or ends; an ETag that is known is not sent again.
pub async fn a_reply_says_for_how_long_it_may_be_kept(callers: &Callers) {
    let long = make(callers, 0, "/campaign-events", &body("long", None, "2000/01/01 00:00:00", AUGUST)).await;
    let soon = make(callers, 1, "/campaign-events", &body("soon", None, &date(40), AUGUST)).await;
    let later = make(callers, 2, "/campaign-events", &body("later", None, MAY, MAY)).await;
    let ends = body("ends", Some(&long.body["id"]), "2000/01/01 00:00:00", &date(30));
    let ends = make(callers, 0, "/events", &ends).await;
    let token = token(&ends);
    let get = async |node, path: &str, known: &[(&str, &str)]| {
        let headers: Vec<_> = [("corduroy-session", &*token)].into_iter().chain(known.iter().copied()).collect();
        ask(callers, node, "GET", path, &headers, None).await
    };
    let of = |made: &Answer| format!("/campaign-events/{}", made.body["id"]);
    for node in 0..callers.nodes() {
        for path in
            [of(&long), of(&later), "/campaign-events?name=long".into(), "/campaign-events/live?name=long".into()]
        {
            assert_eq!(max_age(&get(node, &path, &[]).await), Some(100), "{path}");
        }
        // What is to come is not listed, and shortens it nevertheless: it will be.
        for path in [of(&soon), "/campaign-events?name=soon".into(), "/campaign-events/live?name=o".into()] {
            assert!(max_age(&get(node, &path, &[]).await) < Some(40), "{path}");
        }
        for path in [format!("{}/events", of(&long)), "/events/live".into(), format!("/events/{}", ends.body["id"])] {
            assert!(max_age(&get(node, &path, &[]).await) < Some(30), "{path}");
        }
        for path in [of(&long), "/campaign-events".into(), "/events/live".into(), format!("{}/events", of(&long))] {
            let found = get(node, &path, &[]).await;
            let tag = found.header("etag").unwrap().to_owned();
            for known in [&*tag, "*", &format!("\"none\", W/{tag}")] {
                let known = get(node, &path, &[("if-none-match", known)]).await;
                assert_eq!(
                    (known.status, &known.body, known.header("etag")),
                    (304, &Value::Null, Some(&*tag)),
                    "{path}"
                );
                assert!(max_age(&known).is_some());
            }
            let other = get(node, &path, &[("if-none-match", "\"none\"")]).await;
            assert_eq!((other.status, &other.body), (200, &found.body), "{path}");
            let and = if path.contains('?') { '&' } else { '?' };
            // Whoever has no token may have been told of anything.
            for newest in ["linearizable", "session"] {
                let newest = callers.get(node, &format!("{path}{and}consistency={newest}")).await;
                assert_eq!(max_age(&newest), None, "{path}");
            }
        }
    }
    let renamed = ask(callers, 1, "PATCH", &of(&long), &[], Some(&json!({ "name": "longer" }))).await;
    let known = [("if-none-match", "\"1\""), ("corduroy-session", renamed.header("corduroy-session").unwrap())];
    let changed = ask(callers, 2, "GET", &of(&long), &known, None).await;
    assert_eq!((changed.status, version(&changed)), (200, 2), "{changed:?}");
    for made in [long, soon, later] {
        assert_eq!(ask(callers, 0, "DELETE", &of(&made), &[], None).await.status, 204);
    }
}

/// How far the node has come, as it says itself.
async fn position(callers: &Callers, node: usize) -> String {
    let found = callers.get(node, "/campaign-events?consistency=stale").await;
    assert_eq!(found.status, 200, "{found:?}");
    assert!(found.header("corduroy-age-ms").is_some_and(|age| age.parse::<u64>().is_ok()), "{found:?}");
    found
        .header("corduroy-position")
        .filter(|position| position.starts_with("campaign/0:"))
        .expect("a position")
        .to_owned()
}

/// A44: ten thousand reads cause no entry of the log, and go on where two of three nodes are gone.
pub async fn reads_cause_no_entry_and_go_on_without_a_quorum(cluster: &mut Cluster, callers: &Callers) {
    const READS: usize = 10_000;
    let paths = ["/campaign-events", "/campaign-events/0", "/event-campaigns/0/events", "/events/live", "/events/1"];
    let made = make(callers, 0, "/campaign-events", &body("last", None, MAY, AUGUST)).await;
    let expected = made.header("corduroy-session").unwrap();
    for node in 0..callers.nodes() {
        ask(callers, node, "GET", paths[0], &[("corduroy-session", expected)], None).await;
    }
    let before = position(callers, 0).await;
    let read = |turn: usize| async move {
        let freshness = ["", "?consistency=stale", "?consistency=session", "?consistency=linearizable"][turn % 4];
        callers.get(turn / 4, &format!("{}{freshness}", paths[turn % paths.len()])).await.status
    };
    let since = Instant::now();
    let statuses: Vec<u16> = stream::iter((0..READS).map(read)).buffered(32).collect().await;
    println!("{READS} reads in {:?}", since.elapsed());
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    for node in 0..callers.nodes() {
        assert_eq!(position(callers, node).await, before);
    }

    let all = callers.get(0, paths[0]).await;
    cluster.node(2).kill();
    cluster.node(3).kill();
    // Who leads finds out only when it asks.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for path in paths {
        for stale in ["?consistency=stale", ""] {
            let found = callers.get(0, &format!("{path}{stale}")).await;
            assert_eq!(found.status, 200, "{path}{stale}: {found:?}");
        }
        let newest = callers.get(0, &format!("{path}?consistency=linearizable")).await;
        assert_eq!((newest.status, newest.problem()), (503, "no-quorum"), "{path}: {newest:?}");
    }
    assert_eq!(callers.get(0, paths[0]).await.body, all.body);
    let refused = ask(callers, 0, "POST", paths[0], &[], Some(&body("none", None, MAY, AUGUST))).await;
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    cluster.start_all();
    for node in 0..callers.nodes() {
        assert_eq!(callers.get(node, paths[0]).await.body, all.body);
    }
}
