//! The routes of campaigns and of their events.
use super::{CREATED, OK, PAGE, delete, get, patch, post, put};
use crate::gateway::{
    routes::Route,
    shop::campaigns::{self, Kind},
};
use axum::http::StatusCode;
use std::time::Duration;

const CAMPAIGNS: &[(&str, &str)] = &[
    PAGE[0],
    PAGE[1],
    ("name", "a part of the name, without case"),
    ("from", "those that are not over by then"),
    ("to", "those that have begun by then"),
    ("tenant", "those of a tenant"),
];
const EVENTS: &[(&str, &str)] = &[
    CAMPAIGNS[0],
    CAMPAIGNS[1],
    CAMPAIGNS[2],
    CAMPAIGNS[3],
    CAMPAIGNS[4],
    ("tenant", "those in campaigns of a tenant"),
    ("campaignEventId", "those in a campaign"),
];
const IF_NONE_MATCH: &[(&str, &str)] =
    &[("If-None-Match", "the ETag of an earlier reply: 304 if this would be the same")];
const IF_MATCH: &[(&str, &str)] = &[("If-Match", "the ETag of an earlier reply: 412 if it has changed since then")];

const CAMPAIGN_BODY: &str =
    r#"{"name":"Black Friday","startDate":"2024-11-29T00:00:00Z","endDate":"2024/12/01 23:59:59","tenant":"mall-1"}"#;
const CAMPAIGN: &str = r#"{"id":0,"name":"Black Friday","startDate":"2024-11-29T00:00:00Z",
    "endDate":"2024-12-01T23:59:59Z","createdOn":"2024-11-01T12:00:00Z","tenant":"mall-1"}"#;
const CAMPAIGN_LIST: &str = r#"[{"id":0,"name":"Black Friday","startDate":"2024-11-29T00:00:00Z",
    "endDate":"2024-12-01T23:59:59Z","createdOn":"2024-11-01T12:00:00Z","tenant":"mall-1"}]"#;
const EVENT_BODY: &str = r#"{"name":"Opening","campaignEventId":0,"startDate":"2024-11-29T08:00:00Z",
    "endDate":"2024/11/29 10:00:00"}"#;
const EVENT: &str = r#"{"id":0,"name":"Opening","startDate":"2024-11-29T08:00:00Z","endDate":"2024-11-29T10:00:00Z",
    "createdOn":"2024-11-01T12:00:00Z","campaignEventId":0}"#;
const EVENT_LIST: &str = r#"[{"id":0,"name":"Opening","startDate":"2024-11-29T08:00:00Z",
    "endDate":"2024-11-29T10:00:00Z","createdOn":"2024-11-01T12:00:00Z","campaignEventId":0}]"#;
const RENAMED: &str = r#"{"name":"Opening hours"}"#;

/// The paths of one name: all, those that are live, one, and what is in one.
type Paths = [&'static str; 4];

/// Campaigns have two names.
const NAMES: [Paths; 2] = [
    ["/campaign-events", "/campaign-events/live", "/campaign-events/{id}", "/campaign-events/{id}/events"],
    ["/event-campaigns", "/event-campaigns/live", "/event-campaigns/{id}", "/event-campaigns/{id}/events"],
];

/// `max_age`: for how long a reply may be kept.
pub(super) fn campaigns(max_age: Duration) -> Vec<Route> {
    NAMES.into_iter().flat_map(|paths| campaigns_at(paths, max_age)).chain(events(max_age)).collect()
}

fn campaigns_at([all, live, one, of_campaign]: Paths, max_age: Duration) -> Vec<Route> {
    const KIND: Kind = Kind::Campaign;
    vec![
        read(get(all, "All campaigns", move |ask| campaigns::all(ask, KIND, max_age))).query(CAMPAIGNS).gives(
            OK,
            "a page of them",
            CAMPAIGN_LIST,
        ),
        read(get(live, "The campaigns that are live", move |ask| campaigns::live(ask, KIND, max_age)))
            .query(CAMPAIGNS)
            .gives(OK, "a page of them", CAMPAIGN_LIST),
        read(get(one, "A campaign", move |ask| campaigns::one(ask, KIND, max_age)))
            .gives(OK, "the campaign", CAMPAIGN)
            .refuses(&["unknown-campaign"]),
        read(get(of_campaign, "The events of a campaign", move |ask| campaigns::of_campaign(ask, max_age)))
            .query(&PAGE)
            .gives(OK, "a page of them", EVENT_LIST)
            .refuses(&["unknown-campaign"]),
        post(all, "Makes a campaign", |ask| campaigns::create(ask, KIND))
            .body(CAMPAIGN_BODY)
            .gives(CREATED, "it is made", CAMPAIGN)
            .refuses(&["rule-violated"]),
        put(one, "Makes a campaign another one", |ask| campaigns::replace(ask, KIND))
            .headers(IF_MATCH)
            .body(CAMPAIGN_BODY)
            .gives(OK, "the campaign as it is now", CAMPAIGN)
            .refuses(&["unknown-campaign", "precondition-failed", "rule-violated"]),
        patch(one, "Changes what a merge patch names of a campaign", |ask| campaigns::patch(ask, KIND))
            .headers(IF_MATCH)
            .body(RENAMED)
            .gives(OK, "the campaign as it is now", CAMPAIGN)
            .refuses(&["unknown-campaign", "precondition-failed", "rule-violated"]),
        delete(one, "Deletes a campaign with its events", |ask| campaigns::delete(ask, KIND))
            .headers(IF_MATCH)
            .gives(StatusCode::NO_CONTENT, "it is gone", "")
            .refuses(&["unknown-campaign", "precondition-failed"]),
    ]
}

fn events(max_age: Duration) -> Vec<Route> {
    const KIND: Kind = Kind::Event;
    let one = "/events/{id}";
    vec![
        read(get("/events", "The events of all campaigns", move |ask| campaigns::all(ask, KIND, max_age)))
            .query(EVENTS)
            .gives(OK, "a page of them", EVENT_LIST),
        read(get("/events/live", "The events that are live", move |ask| campaigns::live(ask, KIND, max_age)))
            .query(EVENTS)
            .gives(OK, "a page of them", EVENT_LIST),
        read(get(one, "An event of a campaign", move |ask| campaigns::one(ask, KIND, max_age)))
            .gives(OK, "the event", EVENT)
            .refuses(&["unknown-event"]),
        post("/events", "Makes an event of a campaign", |ask| campaigns::create(ask, KIND))
            .body(EVENT_BODY)
            .gives(CREATED, "it is made", EVENT)
            .refuses(&["unknown-campaign", "rule-violated"]),
        put(one, "Makes an event another one of its campaign", |ask| campaigns::replace(ask, KIND))
            .headers(IF_MATCH)
            .body(EVENT_BODY)
            .gives(OK, "the event as it is now", EVENT)
            .refuses(&["unknown-event", "precondition-failed", "rule-violated"]),
        patch(one, "Changes what a merge patch names of an event", |ask| campaigns::patch(ask, KIND))
            .headers(IF_MATCH)
            .body(RENAMED)
            .gives(OK, "the event as it is now", EVENT)
            .refuses(&["unknown-event", "precondition-failed", "rule-violated"]),
        delete(one, "Deletes an event", |ask| campaigns::delete(ask, KIND))
            .headers(IF_MATCH)
            .gives(StatusCode::NO_CONTENT, "it is gone", "")
            .refuses(&["unknown-event", "precondition-failed"]),
    ]
}

/// Answered by the node that is asked, and kept by whoever asks.
fn read(route: Route) -> Route {
    let is_known = "it is what If-None-Match names";
    route.nearby().headers(IF_NONE_MATCH).gives(StatusCode::NOT_MODIFIED, is_known, "")
}
