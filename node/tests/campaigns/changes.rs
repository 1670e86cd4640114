//! What becomes of campaigns and their events: changed, not changed, gone.
use super::{ask, body, get, make, token};
use crate::harness::{Answer, Callers};
use serde_json::{Value, json};

const MAY: &str = "2030-05-01T00:00:00Z";
const JUNE: &str = "2030-06-01T00:00:00Z";
const JULY: &str = "2030-07-01T00:00:00Z";
const AUGUST: &str = "2030-08-01T00:00:00Z";

fn id(answer: &Answer) -> u64 {
    answer.body["id"].as_u64().unwrap_or_else(|| panic!("{answer:?}"))
}

/// A campaign from May to August, and an event of it from June to July: where they are.
async fn both(callers: &Callers) -> (String, String) {
    let campaign = make(callers, 0, "/campaign-events", &body("Summer", None, MAY, AUGUST)).await;
    let event = body("Opening", Some(&campaign.body["id"]), JUNE, JULY);
    let event = make(callers, 1, "/events", &event).await;
    (format!("/campaign-events/{}", id(&campaign)), format!("/events/{}", id(&event)))
}

async fn change(callers: &Callers, node: usize, method: &str, path: &str, body: &Value, version: u64) -> Answer {
    let done = ask(callers, node, method, path, &[], Some(body)).await;
    assert_eq!(done.status, 200, "{method} {path} {body}: {done:?}");
    assert_eq!(done.header("etag"), Some(&*format!("\"{version}\"")), "{method} {path} {body}: {done:?}");
    done
}

/// A43: PUT is everything, PATCH what it names.
pub async fn put_and_patch_change_what_they_say(callers: &Callers) {
    let (campaign, event) = both(callers).await;
    let is = async |path: &str, done: &Answer, changed: Value| {
        let now = get(callers, 2, path, &token(done)).await;
        assert_eq!(now, done.body);
        for (name, value) in changed.as_object().unwrap() {
            assert_eq!(now.get(name).unwrap_or(&Value::Null), value, "{name}: {now}");
        }
    };
    let mut whole = body("Autumn", None, MAY, JULY);
    whole["tenant"] = "mall".into();
    let done = change(callers, 1, "PUT", &campaign, &whole, 2).await;
    is(&campaign, &done, json!({ "name": "Autumn", "startDate": MAY, "endDate": JULY, "tenant": "mall" })).await;
    let done = change(callers, 2, "PATCH", &campaign, &json!({ "endDate": "2030/08/01 00:00:00" }), 3).await;
    is(&campaign, &done, json!({ "name": "Autumn", "startDate": MAY, "endDate": AUGUST, "tenant": "mall" })).await;
    let done = change(callers, 0, "PATCH", &campaign, &json!({ "tenant": null, "createdOn": MAY, "id": 77 }), 4).await;
    is(&campaign, &done, json!({ "name": "Autumn", "tenant": null })).await;
    let done = change(callers, 1, "PATCH", &campaign, &json!({ "name": "Autumn" }), 4).await;
    is(&campaign, &done, json!({ "name": "Autumn" })).await;
    let done = change(callers, 2, "PUT", &campaign, &body("Winter", None, MAY, AUGUST), 5).await;
    is(&campaign, &done, json!({ "name": "Winter", "tenant": null })).await;

    let done = change(callers, 0, "PUT", &event, &body("Closing", None, JULY, AUGUST), 2).await;
    is(&event, &done, json!({ "name": "Closing", "startDate": JULY, "endDate": AUGUST })).await;
    let done = change(callers, 1, "PATCH", &event, &json!({ "startDate": MAY }), 3).await;
    is(&event, &done, json!({ "name": "Closing", "startDate": MAY, "endDate": AUGUST })).await;

    // Sent again under its key it is done once.
    let (key, patch) = ([("idempotency-key", "rename-once")], json!({ "name": "Once" }));
    let (one, two) = (
        ask(callers, 0, "PATCH", &event, &key, Some(&patch)).await,
        ask(callers, 1, "PATCH", &event, &key, Some(&patch)).await,
    );
    assert_eq!((&one.body, one.header("etag")), (&two.body, two.header("etag")));
    assert_eq!(two.header("idempotent-replay"), Some("true"));
}

/// A43: another version than If-Match names is not changed; neither is what a rule forbids.
pub async fn another_version_is_not_changed(callers: &Callers) {
    let (campaign, event) = both(callers).await;
    let changed = change(callers, 0, "PATCH", &campaign, &json!({ "name": "Summer 2" }), 2).await;
    let (whole, patch) = (body("Other", None, MAY, AUGUST), json!({ "name": "Other" }));
    for stale in ["\"1\"", "W/\"2\"", "\"1\", \"3\"", "\"x\""] {
        for (method, body) in [("PUT", Some(&whole)), ("PATCH", Some(&patch)), ("DELETE", None)] {
            let refused = ask(callers, 1, method, &campaign, &[("if-match", stale)], body).await;
            assert_eq!((refused.status, refused.problem()), (412, "precondition-failed"), "{refused:?}");
            assert_eq!(refused.body["etag"], "\"2\"", "{refused:?}");
        }
    }
    let refused = ask(callers, 1, "DELETE", &campaign, &[("if-match", "2")], None).await;
    assert_eq!((refused.status, refused.problem()), (400, "malformed"), "{refused:?}");
    for (path, patch, at) in [
        (&campaign, json!({ "startDate": JULY }), "startDate"),
        (&campaign, json!({ "endDate": JUNE }), "endDate"),
        (&campaign, json!({ "name": null }), "name"),
        (&event, json!({ "startDate": "2030-04-30T23:59:59Z" }), "startDate"),
        (&event, json!({ "endDate": "2030-08-01T00:00:01Z" }), "endDate"),
        (&event, json!({ "campaignEventId": 0 }), "campaignEventId"),
    ] {
        let refused = ask(callers, 2, "PATCH", path, &[], Some(&patch)).await;
        assert_eq!((refused.status, refused.problem()), (422, "rule-violated"), "{patch}: {refused:?}");
        assert_eq!(refused.body["errors"][0]["path"], at, "{refused:?}");
    }
    assert_eq!(get(callers, 2, &campaign, &token(&changed)).await, changed.body, "nothing has changed");
    let done = ask(callers, 2, "PATCH", &campaign, &[("if-match", "\"1\", \"2\"")], Some(&patch)).await;
    assert_eq!((done.status, done.header("etag")), (200, Some("\"3\"")), "{done:?}");
    // Of many at once that have seen the same, one is done.
    let all = (0..12).map(|turn| {
        let patch = json!({ "name": format!("at once {turn}") });
        let campaign = &campaign;
        async move { ask(callers, turn, "PATCH", campaign, &[("if-match", "\"3\"")], Some(&patch)).await.status }
    });
    let mut statuses = futures::future::join_all(all).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[11]), (200, 412, 412), "{statuses:?}");
}

/// A43: a campaign is deleted with its events, and whatever is made next has the next ids.
pub async fn a_campaign_goes_with_its_events_and_ids_are_not_used_again(callers: &Callers) {
    let (campaign, event) = both(callers).await;
    let number = |path: &str| path.rsplit('/').next().unwrap().parse::<u64>().unwrap();
    let gone = ask(callers, 2, "DELETE", &campaign, &[("if-match", "*")], None).await;
    assert_eq!((gone.status, &gone.body), (204, &Value::Null), "{gone:?}");
    for node in 0..callers.nodes() {
        let events = format!("{campaign}/events");
        for (path, problem) in
            [(&campaign, "unknown-campaign"), (&events, "unknown-campaign"), (&event, "unknown-event")]
        {
            let found = ask(callers, node, "GET", path, &[("corduroy-session", &token(&gone))], None).await;
            assert_eq!((found.status, found.problem()), (404, problem), "{path}: {found:?}");
        }
        let listed = get(callers, node, &format!("/events?campaignEventId={}", number(&campaign)), &token(&gone)).await;
        assert_eq!(listed, json!([]));
    }
    let again = ask(callers, 0, "DELETE", &campaign, &[], None).await;
    assert_eq!((again.status, again.problem()), (404, "unknown-campaign"), "{again:?}");
    let (next, inside) = both(callers).await;
    assert_eq!((number(&next), number(&inside)), (number(&campaign) + 1, number(&event) + 1));
    let gone = ask(callers, 1, "DELETE", &inside, &[], None).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(get(callers, 0, &format!("{next}/events"), &token(&gone)).await, json!([]));
}
