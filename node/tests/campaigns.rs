//! Campaigns and their events at three real nodes, as callers see them over HTTP, through any of them.
//!
//! - `samples`: two campaigns with three events each, what is made, listed and live. `changes`: and what becomes of them.
//! - `caches`: what may be kept, for how long, and what is there while nodes are not.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

#[path = "campaigns/caches.rs"]
mod caches;
#[path = "campaigns/changes.rs"]
mod changes;
#[path = "campaigns/samples.rs"]
mod samples;

use harness::{Answer, Callers, Cluster};
use serde_json::{Value, json};

const SESSION: &str = "corduroy-session";

/// One request that must come through.
async fn ask(
    callers: &Callers,
    node: usize,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answer {
    let answer = callers.ask(node, method, path, headers, body).await;
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// The token of an answer.
fn token(answer: &Answer) -> String {
    answer.header(SESSION).unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Reads what is at least as new as a token says.
async fn get(callers: &Callers, node: usize, path: &str, token: &str) -> Value {
    let answer = ask(callers, node, "GET", path, &[(SESSION, token)], None).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

/// Makes something at a path.
async fn make(callers: &Callers, node: usize, path: &str, body: &Value) -> Answer {
    let made = ask(callers, node, "POST", path, &[], Some(body)).await;
    assert_eq!(made.status, 201, "{body}: {made:?}");
    let id = &made.body["id"];
    assert_eq!(made.header("location"), Some(&*format!("{path}/{id}")), "{made:?}");
    assert_eq!(made.header("etag"), Some("\"1\""), "{made:?}");
    made
}

/// A campaign, or an event of one, from one date to another.
fn body(name: &str, campaign: Option<&Value>, start: &str, end: &str) -> Value {
    let mut body = json!({ "name": name, "startDate": start, "endDate": end });
    if let Some(campaign) = campaign {
        body["campaignEventId"] = campaign.clone();
    }
    body
}

/// A42: the two samples, through any node and under both names. A43: what becomes of them. A44: what may be kept of that.
#[tokio::test(flavor = "multi_thread")]
async fn campaigns_are_the_same_through_any_node() {
    let mut cluster = Cluster::shop("");
    let callers = Callers::of(&cluster);
    samples::two_campaigns_with_three_events_each(&callers).await;
    samples::what_is_against_a_rule_is_refused(&callers).await;
    samples::lists_have_what_their_filters_leave(&callers).await;
    samples::both_ends_belong_to_what_is_live(&callers).await;
    changes::put_and_patch_change_what_they_say(&callers).await;
    changes::another_version_is_not_changed(&callers).await;
    changes::a_campaign_goes_with_its_events_and_ids_are_not_used_again(&callers).await;
    caches::a_change_is_everywhere_soon_and_nothing_older_after_it(&callers).await;
    caches::a_reply_says_for_how_long_it_may_be_kept(&callers).await;
    caches::a_node_that_is_started_again_answers_nothing_older(&mut cluster, &callers).await;
    caches::reads_cause_no_entry_and_go_on_without_a_quorum(&mut cluster, &callers).await;
}
