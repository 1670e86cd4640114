//! Two campaigns with three events each: how they are made, found, and live.
use super::{ask, body, get, make, token};
use crate::harness::{Answer, Callers};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const NAMES: [&str; 2] = ["/campaign-events", "/event-campaigns"];

/// Far enough from any day this runs at.
const PAST: &str = "2020-01-01T00:00:00Z";
const FUTURE: &str = "2120-01-01T00:00:00Z";

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap_or_else(|| panic!("{list}")).iter().map(|entry| entry["id"].as_u64().unwrap()).collect()
}

/// Exactly these fields, with what was asked for.
fn is_shown(shown: &Value, id: u64, asked: &Value, campaign: Option<u64>, dates: [&str; 2]) {
    let created = shown["createdOn"].as_str().unwrap_or_else(|| panic!("{shown}"));
    assert!(created.ends_with('Z') && created > "2024", "{shown}");
    let mut expected = json!({
        "id": id, "name": asked["name"], "startDate": dates[0], "endDate": dates[1], "createdOn": created
    });
    if let Some(campaign) = campaign {
        expected["campaignEventId"] = campaign.into();
    }
    if let Some(tenant) = asked.get("tenant") {
        expected["tenant"] = tenant.clone();
    }
    assert_eq!(*shown, expected);
}

/// A42: ids 0 and 1, and 0 to 5; the same answers under both names and from each node.
pub async fn two_campaigns_with_three_events_each(callers: &Callers) {
    let dated = [("2020/01/01 00:00:00", PAST), (FUTURE, FUTURE)];
    let mut last = String::new();
    for (campaign, [start, end]) in
        (0..).zip([[dated[0], dated[1]], [("2110-01-01T01:00:00+01:00", "2110-01-01T00:00:00Z"), dated[1]]])
    {
        let mut asked = body(&format!("Sale {campaign}"), None, start.0, end.0);
        asked["tenant"] = format!("mall-{campaign}").into();
        let made = make(callers, campaign as usize, NAMES[campaign as usize], &asked).await;
        is_shown(&made.body, campaign, &asked, None, [start.1, end.1]);
        for number in 0..3 {
            let id = campaign * 3 + number;
            // By a number or by its digits, under either of its names.
            let by = if number == 0 { json!(campaign) } else { json!(campaign.to_string()) };
            let mut asked = body(&format!("Part {number}"), Some(&by), start.0, end.0);
            if number == 2 {
                asked = json!({ "name": asked["name"], "eventCampaignId": by, "startDate": start.0, "endDate": end.0 });
            }
            let made = make(callers, id as usize, "/events", &asked).await;
            is_shown(&made.body, id, &asked, Some(campaign), [start.1, end.1]);
            last = token(&made);
        }
    }
    let campaigns = get(callers, 0, "/campaign-events", &last).await;
    let events = get(callers, 0, "/events", &last).await;
    assert_eq!((ids(&campaigns), ids(&events)), ((0..2).collect(), (0..6).collect()));
    for node in 0..callers.nodes() {
        for name in NAMES {
            assert_eq!(get(callers, node, name, &last).await, campaigns);
            assert_eq!(get(callers, node, &format!("{}/", name.to_uppercase()), &last).await, campaigns);
            assert_eq!(ids(&get(callers, node, &format!("{name}/live"), &last).await), [0]);
            for campaign in 0..2 {
                let one = get(callers, node, &format!("{name}/{campaign}"), &last).await;
                assert_eq!(one, campaigns[campaign]);
                let own = get(callers, node, &format!("{name}/{campaign}/events"), &last).await;
                assert_eq!(own.as_array().unwrap()[..], events.as_array().unwrap()[campaign * 3..campaign * 3 + 3]);
            }
        }
        assert_eq!(get(callers, node, "/events", &last).await, events);
        assert_eq!(ids(&get(callers, node, "/events/live", &last).await), [0, 1, 2]);
        for event in 0..6 {
            assert_eq!(get(callers, node, &format!("/events/{event}"), &last).await, events[event]);
        }
    }
}

/// A42: an event without its campaign, one outside of it, and what cannot be read.
pub async fn what_is_against_a_rule_is_refused(callers: &Callers) {
    let (long, none) = ("x".repeat(501), json!(99));
    let of = |campaign: i64, start, end| body("a", Some(&json!(campaign)), start, end);
    let (noon, eve) = ("2030-01-01T12:00:00Z", "2030-01-01T11:00:00Z");
    let cases = [
        ("POST", "/events", body("a", Some(&none), noon, noon), (404, "unknown-campaign"), None),
        ("POST", "/events", of(0, "2019-12-31T23:59:59Z", noon), (422, "rule-violated"), Some("startDate")),
        ("POST", "/events", of(0, noon, "2120-01-01T00:00:01Z"), (422, "rule-violated"), Some("endDate")),
        ("POST", "/events", body("a", None, noon, noon), (400, "malformed"), Some("")),
        ("POST", "/events", of(-1, noon, noon), (400, "malformed"), Some("campaignEventId")),
        ("POST", "/event-campaigns", body("", None, noon, noon), (422, "rule-violated"), Some("name")),
        ("POST", "/campaign-events", body(&long, None, noon, noon), (422, "rule-violated"), Some("name")),
        ("POST", "/campaign-events", body("a", None, noon, eve), (422, "rule-violated"), Some("endDate")),
        ("POST", "/campaign-events", body("a", None, "tomorrow", noon), (400, "malformed"), Some("startDate")),
        ("POST", "/campaign-events", json!({ "startDate": noon, "endDate": noon }), (400, "malformed"), Some("")),
        ("PUT", "/campaign-events/99", body("a", None, noon, noon), (404, "unknown-campaign"), None),
        ("PATCH", "/events/99", json!({}), (404, "unknown-event"), None),
        ("PATCH", "/events/0", json!({ "campaignEventId": 1 }), (422, "rule-violated"), Some("campaignEventId")),
        ("PATCH", "/events/zero", json!({}), (400, "malformed"), Some("id")),
    ];
    for (turn, (method, path, body, is, at)) in cases.into_iter().enumerate() {
        let refused = ask(callers, turn, method, path, &[], Some(&body)).await;
        assert_eq!((refused.status, refused.problem()), is, "{method} {path} {body}: {refused:?}");
        if let Some(at) = at {
            assert_eq!(refused.body["errors"][0]["path"], at, "{method} {path} {body}: {refused:?}");
        } else {
            assert_eq!(refused.body["id"], "99", "{refused:?}");
        }
    }
    for (path, is) in [
        ("/campaign-events/99", (404, "unknown-campaign")),
        ("/event-campaigns/99/events", (404, "unknown-campaign")),
        ("/events/99", (404, "unknown-event")),
        ("/events/99999999999999999999999", (404, "unknown-event")),
        ("/campaign-events/-1", (400, "malformed")),
        ("/campaign-events?from=2024-13-01", (400, "malformed")),
        ("/events?campaignEventId=x", (400, "malformed")),
    ] {
        let refused = callers.get(1, path).await;
        assert_eq!((refused.status, refused.problem()), is, "{path}: {refused:?}");
    }
    let wrong = ask(callers, 0, "DELETE", "/events", &[], None).await;
    assert_eq!((wrong.status, wrong.problem()), (405, "method-not-allowed"), "{wrong:?}");
}

/// A42: filters, and pages.
pub async fn lists_have_what_their_filters_leave(callers: &Callers) {
    for (path, expected) in [
        ("/campaign-events?name=sale", &[0, 1][..]),
        ("/campaign-events?name=SALE%201", &[1]),
        ("/event-campaigns?tenant=mall-0", &[0]),
        ("/event-campaigns?tenant=mall", &[]),
        ("/campaign-events?to=2109/12/31%2000:00:00", &[0]),
        ("/campaign-events?from=2115-01-01T00:00:00Z", &[0, 1]),
        ("/campaign-events?from=2120-01-01T00:00:00.000001Z", &[]),
        ("/campaign-events?from=2000-01-01T00:00:00Z&to=2120-01-01T00:00:00Z&name=0", &[0]),
        ("/campaign-events/live?tenant=mall-1", &[]),
        ("/events?campaignEventId=1", &[3, 4, 5]),
        ("/events?campaignEventId=99", &[]),
        ("/events?name=part%202", &[2, 5]),
        ("/events?tenant=mall-1&name=2", &[5]),
        ("/events?campaignEventId=0&tenant=mall-1", &[]),
        ("/events/live?tenant=mall-0&name=1", &[1]),
        ("/events?limit=4", &[0, 1, 2, 3]),
    ] {
        for node in 0..callers.nodes() {
            let newest = format!("{path}{}consistency=linearizable", if path.contains('?') { '&' } else { '?' });
            let found = callers.get(node, &newest).await;
            assert_eq!((found.status, &ids(&found.body)[..]), (200, expected), "{path}: {found:?}");
        }
    }
    let (mut all, mut next) = (Vec::new(), Some("/events?limit=4".to_owned()));
    while let Some(path) = next {
        let page = callers.get(all.len(), &path).await;
        all.extend(ids(&page.body));
        next = page.header("link").map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
    }
    assert_eq!(all, (0..6).collect::<Vec<_>>());
}

fn micros(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

fn date(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap().to_string()
}

/// A42: from its first moment to its last. Log time may be a little off the clock of this machine, which tells when a
/// request began and when it was answered: moments so close to a boundary say nothing.
pub async fn both_ends_belong_to_what_is_live(callers: &Callers) {
    const OFF: i64 = 250_000;
    let begin = micros(SystemTime::now());
    let (start, end) = (begin + 2_000_000, begin + 4_000_000);
    let made = make(callers, 0, "/campaign-events", &body("brief", None, &date(start), &date(end))).await;
    let (id, token) = (made.body["id"].as_u64().unwrap(), token(&made));
    let (mut before, mut live, mut after) = (0, 0, 0);
    for turn in 0.. {
        let asked = micros(SystemTime::now());
        let path = if turn % 2 == 0 { "/campaign-events/live" } else { "/event-campaigns/live" };
        let is_live = ids(&get(callers, turn, path, &token).await).contains(&id);
        let answered = micros(SystemTime::now());
        if answered < start - OFF {
            assert!(!is_live, "it begins at {start}, and it is {answered}");
            before += 1;
        } else if asked > start + OFF && answered < end - OFF {
            assert!(is_live, "from {start} to {end}, and it is {asked}");
            live += 1;
        } else if asked > end + OFF {
            assert!(!is_live, "it ended at {end}, and it is {asked}");
            after += 1;
        }
        if after > 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("asked {before} times before it, {live} times while it is live, {after} times after it");
    let gone: Answer = ask(callers, 1, "DELETE", &format!("/campaign-events/{id}"), &[], None).await;
    assert_eq!(gone.status, 204, "{gone:?}");
}
