//! Items, how many are free, and what became of the stock of an order.
use super::{ids, lookup, payment};
use crate::{
    gateway::{answer::Answer, ask::Ask, idempotency, problem::Problem},
    services::stock::Stock,
};
use corduroy_proto::{
    order::Participant,
    stock::{self as pb, command::Command},
};
use serde_json::json;
use std::sync::Arc;

async fn tell(ask: &Ask, item: &str, command: Command) -> Result<pb::Reply, Problem> {
    ask.command::<Stock>(item, &pb::Command { command: Some(command) }).await
}

pub(super) async fn create(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let price = ids::amount(&ask, "price")?;
    let item = idempotency::text_of(ask.key().id("stock"));
    let reply = tell(&ask, &item, Command::Create(pb::Create { price })).await?;
    Ok(Answer::json(&json!({ "item_id": reply.item })))
}

pub(super) async fn find(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let id = ids::param(&ask, "item_id")?;
    let item = lookup::item(&ask, id).await?.ok_or_else(|| Problem::unknown("item", id))?;
    Ok(Answer::json(&json!({ "stock": item.free, "price": item.price })))
}

pub(super) async fn add(ask: Arc<Ask>) -> Result<Answer, Problem> {
    change(&ask, Command::Add(ids::amount(&ask, "amount")?)).await
}

pub(super) async fn subtract(ask: Arc<Ask>) -> Result<Answer, Problem> {
    change(&ask, Command::Subtract(ids::amount(&ask, "amount")?)).await
}

async fn change(ask: &Ask, command: Command) -> Result<Answer, Problem> {
    let reply = tell(ask, ids::param(ask, "item_id")?, command).await?;
    Ok(Answer::json(&json!({ "item_id": reply.item, "stock": reply.free })))
}

pub(super) async fn check(ask: Arc<Ask>) -> Result<Answer, Problem> {
    payment::check_of(&ask, Participant::Stock).await
}
