//! The services of the shop over HTTP.
//!
//! Every node serves every route: what a partition is asked goes to whoever leads it. A route is a row of [`table`],
//! from which it is served and described.
//!
//! - `table`: which routes there are.
//! - `orders`: an order line by line, and its checkout. `placing`: as a whole. `delivering`: its end. `listing`: many.
//! - `payment`, `stock`, `delivery`, `vouchers`, `account`, `activity`, `campaigns`: the others. `seeds`: many at once.
//! - `letters`, `timers`, `sagas`: what operators look at. `describe`: what services say, as JSON.
//! - `lookup`: by id or ref. `views`: orders as they are shown. `pages`: lists that are too long for one reply.
//! - `ids`, `money`, `dates`: how they are written.
//!
//! **Invariant**: what is decided is decided by the services. Here is only what a request looks like.
mod table;

mod delivering;
mod listing;
mod orders;
mod placing;

mod account;
mod activity;
mod campaigns;
mod delivery;
mod payment;
mod stock;
mod vouchers;

mod letters;
mod sagas;
mod timers;

mod seeds;

mod lookup;
mod pages;
mod views;

pub(super) mod dates;
pub(super) mod describe;
mod ids;
mod money;

#[cfg(test)]
mod tests;

use super::{answer::Answer, ask::Ask, openapi, problem, problem::Problem, routes};
use crate::node::NodeServices;
use axum::Router;
use std::{sync::Arc, time::Duration};

/// All of them, for a node with these services. Replies about campaigns may be kept for so long.
pub(crate) fn routes(services: NodeServices, campaign_max_age: Duration) -> Router {
    routes::router(&services, table::table(campaign_max_age))
}

/// What this is a table of.
async fn described(_: Arc<Ask>) -> Result<Answer, Problem> {
    Ok(Answer::json(&openapi::document(&table::table(Duration::ZERO))))
}

/// What a problem means.
async fn explained(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let name = ask.param("name");
    let page = problem::page(name).map(|page| Answer::html(page.0));
    page.ok_or_else(|| Problem::new("not-found", format!("there is no problem {name}")).with("id", name))
}
