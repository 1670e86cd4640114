//! An order, line by line, and its checkout.
use super::{
    ids, lookup,
    views::{Detail, Found},
};
use crate::{
    gateway::{
        answer::Answer,
        ask::{Ask, shown},
        idempotency,
        problem::Problem,
    },
    runtime::{Ticket, partition_of},
    services::order::{Order, status_s1, total},
};
use corduroy_proto::order as pb;
use futures::future;
use pb::{Line, command::Command};
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc};

/// What changed a line.
#[derive(Serialize)]
struct Changed<'a> {
    order_id: &'a str,
    item_id: &'a str,
    quantity: i64,
    total_cost: i64,
}

/// What came of a checkout.
#[derive(Serialize)]
struct CheckedOut<'a> {
    order_id: &'a str,
    paid: bool,
    status: &'static str,
    total_cost: i64,
    attempt: u32,
    #[serde(rename = "alreadyPaid")]
    already_paid: bool,
}

/// Has an order decide a command.
pub(super) async fn tell(ask: &Ask, id: &str, command: Command) -> Result<(pb::Order, pb::Reply), Problem> {
    let mut reply = ask.command::<Order>(id, &pb::Command { command: Some(command) }).await?;
    let order = reply.order.take().ok_or_else(|| Problem::defect("order"))?;
    Ok((order, reply))
}

/// The same, by an id that is not the request's own.
async fn tell_as(ask: &Ask, command_id: Ticket, id: &str, command: Command) -> Result<(pb::Order, pb::Reply), Problem> {
    let partition = partition_of(id, ask.partitions::<Order>()?);
    let told = ask.command_as::<Order>(command_id, partition, id, &pb::Command { command: Some(command) }).await;
    let mut reply = told.map_err(|error| Problem::of_command(&error, &shown::<Order>(partition)))?.value;
    let order = reply.order.take().ok_or_else(|| Problem::defect("order"))?;
    Ok((order, reply))
}

pub(super) async fn create(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let customer = ids::param(&ask, "user_id")?.to_owned();
    let id = idempotency::text_of(ask.key().id("order"));
    let place = pb::Place { customer, needs_delivery: true, ..pb::Place::default() };
    let (order, _) = tell(&ask, &id, Command::Place(place)).await?;
    Ok(Answer::json(&serde_json::json!({ "order_id": order.id })))
}

pub(super) async fn find(ask: Arc<Ask>) -> Result<Answer, Problem> {
    Ok(Answer::json(&Found::of(&lookup::order(&ask, "order_id").await?)))
}

pub(super) async fn detail(ask: Arc<Ask>) -> Result<Answer, Problem> {
    Ok(Answer::json(&Detail::of(&lookup::order(&ask, "order").await?)))
}

/// What the item costs now is what the line costs.
pub(super) async fn add_item(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let item = ids::param(&ask, "item_id")?;
    let quantity = if ask.param("quantity").is_empty() { 1 } else { ids::number(&ask, "quantity")? };
    let (id, found) = future::try_join(lookup::order_id(&ask, "order_id"), lookup::item(&ask, item)).await?;
    let Some(found) = found else { return Err(Problem::unknown("item", item)) };
    let line = Line { item: item.to_owned(), quantity, price: Some(found.price), quoted: false };
    let told = tell(&ask, &id, Command::AddLine(line)).await;
    let (order, _) = told.map_err(|problem| problem.in_words_of("line.", ""))?;
    let changed = Changed { order_id: &order.id, item_id: item, quantity, total_cost: total(&order) };
    Ok(Answer::json(&changed))
}

/// The quantity is that of the line that went.
pub(super) async fn remove_item(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let item = ids::param(&ask, "item_id")?;
    let id = lookup::order_id(&ask, "order_id").await?;
    let (order, reply) = tell(&ask, &id, Command::RemoveLine(item.to_owned())).await?;
    let quantity = reply.line.map_or(0, |line| line.quantity);
    let changed = Changed { order_id: &order.id, item_id: item, quantity, total_cost: total(&order) };
    Ok(Answer::json(&changed))
}

pub(super) async fn checkout(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let id = lookup::order_id(&ask, "order_id").await?;
    let r#async = ask.prefers_async();
    let (order, reply) = match tell(&ask, &id, Command::Checkout(pb::Checkout { prices: Vec::new(), r#async })).await {
        // A line has no price. That was an answer, which is given again whenever this request is: so what follows is a command
        // of its own, which is the same again, too.
        Err(problem) if problem.is_without("item-missing", "price") => {
            let before = lookup::order_of(&ask, &id).await?.unwrap_or_default();
            let checkout = Command::Checkout(pb::Checkout { prices: prices(&ask, &before).await?, r#async });
            tell_as(&ask, idempotency::derived(ask.key().id("order"), "priced"), &id, checkout).await?
        }
        told => told?,
    };
    let (paid, status) = status_s1(&order);
    if !paid {
        return Ok(Answer::accepted(&format!("/sagas/{}", order.id)));
    }
    Ok(Answer::json(&CheckedOut {
        order_id: &order.id,
        paid,
        status,
        total_cost: total(&order),
        attempt: order.attempt,
        already_paid: reply.already_paid,
    }))
}

/// What the items cost whose lines have no price. The order knows what to say of items that do not exist.
async fn prices(ask: &Ask, order: &pb::Order) -> Result<Vec<Line>, Problem> {
    let open: BTreeSet<&str> =
        order.lines.iter().filter(|line| line.price.is_none()).map(|line| line.item.as_str()).collect();
    let price = |item| async move {
        let found = lookup::item(ask, item).await?;
        let line = |price| Line { item: item.to_owned(), price: Some(price), ..Line::default() };
        Ok::<_, Problem>(found.map(|found| line(found.price)))
    };
    Ok(future::try_join_all(open.into_iter().map(price)).await?.into_iter().flatten().collect())
}

pub(super) async fn cancel(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let id = lookup::order_id(&ask, "order").await?;
    let (order, _) = tell(&ask, &id, Command::Cancel(pb::Cancel {})).await?;
    Ok(Answer::json(&Detail::of(&order)))
}
