//! The checkout of three real nodes, as its callers see it: orders, payment and stock over HTTP, through any node.
//!
//! - `routes`, `problems`: what every route answers, and how it refuses.
//! - `orders`: what a checkout does. `keys`: one request many times.
//! - `crowd`: many at once. `seeds`: a hundred thousand at once.
//! - `lists`: found by views, which may be damaged.
//! - `reads`: how fresh, and without a quorum. `lost`: replies that nobody gets.
//!
//! Scenarios that need no node of their own share one: starting three takes longer than most of them.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
mod harness;

#[path = "checkout/crowd.rs"]
mod crowd;
#[path = "checkout/keys.rs"]
mod keys;
#[path = "checkout/lists.rs"]
mod lists;
#[path = "checkout/lost.rs"]
mod lost;
#[path = "checkout/orders.rs"]
mod orders;
#[path = "checkout/problems.rs"]
mod problems;
#[path = "checkout/reads.rs"]
mod reads;
#[path = "checkout/routes.rs"]
mod routes;
#[path = "checkout/seeds.rs"]
mod seeds;

use futures::{StreamExt as _, stream};
use harness::{Callers, Cluster};

/// A machine with other work may be slow: no attempt ends only for that.
const PATIENT: &str = "[saga]\ntimeout = \"60s\"\n";

/// Does many things, so many of them at once; what came of them is in the order of them.
async fn all<T, F: Future<Output = T>>(at_once: usize, things: impl IntoIterator<Item = F>) -> Vec<T> {
    stream::iter(things).buffered(at_once).collect().await
}

/// An order of each of these users, for one of an item.
async fn orders_of(callers: &Callers, at_once: usize, users: &[String], item: &str) -> Vec<String> {
    all(at_once, users.iter().map(|user| async move { callers.order(user, &[(item, 1)]).await })).await
}

/// A17: every route answers exactly the fields that it should, or a problem, through any node and in either case.
/// A18, A19, A20, A22: what checkouts take, and what they give back. A45: one request that is sent many times.
#[tokio::test(flavor = "multi_thread")]
async fn orders_are_checked_out_through_any_node() {
    let cluster = Cluster::shop(PATIENT);
    let callers = Callers::of(&cluster);
    routes::every_route_answers_exactly_its_fields(&callers).await;
    problems::every_error_is_a_problem(&callers).await;
    orders::a_checkout_takes_money_and_stock(&callers).await;
    orders::an_order_that_is_refused_can_be_tried_again(&callers).await;
    orders::lines_of_one_item_count_as_their_sum(&callers).await;
    orders::checkouts_and_changes_at_once_are_one_charge(&callers).await;
    keys::the_same_request_twice_is_answered_alike(&callers).await;
    keys::the_same_request_at_once_has_one_effect(&callers).await;
}

/// A21: with a leader killed half way too.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_buy_exactly_the_hundred_there_are() {
    let mut cluster = Cluster::shop(PATIENT);
    let callers = Callers::of(&cluster);
    crowd::nobody_fails(&callers).await;
    crowd::a_leader_is_killed_half_way(&mut cluster, &callers).await;
}

/// A24: a hundred thousand users, items and orders at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_are_made_at_once() {
    let cluster = Cluster::shop(PATIENT);
    let callers = Callers::of(&cluster);
    seeds::each_is_there(&callers).await;
    seeds::orders_made_again_are_charged_again(&callers).await;
    seeds::a_call_that_is_cut_off_can_be_repeated(&cluster, &callers).await;
}

/// A46: reads are fresh through any node, also after a leader is gone. A25: replies that get lost. A47: without a
/// quorum.
#[tokio::test(flavor = "multi_thread")]
async fn reads_are_fresh_and_lost_replies_are_found_while_nodes_fail() {
    let mut cluster = Cluster::shop(PATIENT);
    let callers = Callers::of(&cluster);
    reads::a_write_is_seen_through_every_node(&callers).await;
    lost::a_lost_reply_is_found_by_its_key(&callers).await;
    lost::callers_that_hang_up_are_charged_once(&callers).await;
    reads::a_write_is_seen_after_its_leader_is_gone(&mut cluster, &callers).await;
    reads::without_a_quorum_only_stale_reads_are_answered(&mut cluster, &callers).await;
}

/// A16: lists are exact while more comes, and whatever happens to the views they go by (F47).
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_exact_and_their_views_are_built_anew_whatever_happened_to_them() {
    let mut cluster = Cluster::shop(PATIENT);
    let (callers, shop) = (Callers::of(&cluster), lists::Shop::default());
    lists::pages_have_every_order_once_while_more_come(&callers, &shop).await;
    lists::lists_are_right_whatever_happened_to_views(&mut cluster, &callers, &shop).await;
    lists::without_views_lists_say_so_and_orders_are_placed(&mut cluster, &callers, &shop).await;
    lists::deliveries_are_found_by_day_and_state(&cluster, &callers).await;
    lists::seeded_orders_are_found_by_customer_and_status(&callers).await;
}

/// R52: the quota of remembered keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_of_keys_is_429_and_forgets_none() {
    let cluster = Cluster::shop(
        "[payment]
partitions = 1
[idempotency]
quota = 2
",
    );
    keys::a_full_quota_refuses_new_keys(&Callers::of(&cluster)).await;
}
