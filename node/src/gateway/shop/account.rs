//! Customers: what they have, and what has concerned them.
use super::{
    dates, ids, money,
    pages::{self, Page},
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::At,
    services::{
        account::Account,
        order::{order_ref, status_word},
    },
};
use axum::http::{HeaderName, header};
use corduroy_proto::{
    account::{self as pb, command::Command, event::Event},
    order::Status,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The first event of a customer that can be had here.
const FIRST: HeaderName = HeaderName::from_static("corduroy-first");

/// A customer as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    customer_id: &'a str,
    balance: i64,
    orders: Vec<Order<'a>>,
    vouchers: Vec<Value>,
    seq: u64,
}

#[derive(Debug, Serialize)]
struct Order<'a> {
    id: &'a str,
    /// None as long as nobody has said it here.
    r#ref: Option<String>,
    status: &'static str,
    total: i64,
}

impl<'a> Order<'a> {
    fn of(order: &'a pb::Order) -> Self {
        let status = status_word(Status::try_from(order.status).unwrap_or_default());
        Order { id: &order.id, r#ref: (order.number > 0).then(|| order_ref(order.number)), status, total: order.total }
    }
}

/// An event as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    customer_id: String,
    seq: u64,
    /// When the source was decided; for a command of the customer's own, when that was.
    at: String,
    source: Option<Source>,
    event: String,
    subjects: Vec<String>,
    order_id: Option<String>,
    /// Where it was changed.
    balance: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Source {
    topic: String,
    partition: u32,
    offset: u64,
}

impl Told {
    fn of(at: At, event: pb::CustomerEvent) -> Self {
        let decided = event.source.as_ref().map_or(at.time.0, |source| source.time);
        let source =
            event.source.map(|pb::Source { topic, partition, offset, .. }| Source { topic, partition, offset });
        Told {
            customer_id: event.customer,
            seq: event.seq,
            at: dates::show(decided),
            source,
            event: event.name,
            subjects: event.subjects,
            order_id: event.order.map(|order| order.id),
            balance: event.balance,
        }
    }
}

/// A profile as it is set, and answered.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    display_name: Option<String>,
    contact: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProfileOf<'a> {
    customer_id: &'a str,
    display_name: Option<String>,
    contact: Option<String>,
}

async fn account(ask: &Ask) -> Result<(&str, pb::Account), Problem> {
    let customer = ids::param(ask, "customer")?;
    // Its balance is payment's, a little later: but not later than what the caller knows.
    ask.caught_up::<Account>(ask.partition_of::<Account>(customer)?).await?;
    let found = ask.get::<Account>(customer).await?;
    Ok((customer, found.ok_or_else(|| Problem::unknown("user", customer))?))
}

pub(super) async fn find(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (customer_id, account) = account(&ask).await?;
    let voucher = |pb::Voucher { code, value, redeemed }: &pb::Voucher| json!({ "code": code, "value": money::show(*value), "redeemed": redeemed });
    Ok(Answer::json(&Shown {
        customer_id,
        balance: account.balance,
        orders: account.orders.iter().map(Order::of).collect(),
        vouchers: account.vouchers.iter().map(voucher).collect(),
        seq: account.seq,
    }))
}

/// A page of a customer's events. The state says where the latest of them are, and the log what they are.
pub(super) async fn events(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let page = Page::of(&ask)?;
    let after = ask.query("after").filter(|after| !after.is_empty()).map_or(Some(0), |after| after.parse::<u64>().ok());
    let after = after.ok_or_else(|| Problem::malformed("after", "it is the seq of an event"))?;
    let (customer, account) = account(&ask).await?;
    let kept = u64::try_from(account.offsets.len()).unwrap_or(u64::MAX);
    let first = account.seq.saturating_sub(kept).saturating_add(1);
    let skipped = usize::try_from(after.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
    let wanted: Vec<u64> = account.offsets.iter().copied().skip(skipped).take(page.limit()).collect();
    let mut told = Vec::new();
    if !wanted.is_empty() {
        let found = ask.events::<Account>(ask.partition_of::<Account>(customer)?, wanted).await?;
        told.extend(found.into_iter().filter_map(|(at, event)| match event.event {
            Some(Event::Customer(event)) => Some(Told::of(at, event)),
            Some(Event::Seeded(_)) | None => None,
        }));
    }
    let last = told.last().map_or(account.seq, |told| told.seq);
    let answer = Answer::json(&told).header(FIRST, &first.to_string());
    Ok(if last < account.seq { answer.header(header::LINK, &pages::next(&ask, &last.to_string())) } else { answer })
}

pub(super) async fn set_profile(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let customer_id = ids::param(&ask, "customer")?;
    let Profile { display_name, contact } = ask.json()?;
    let command = Command::SetProfile(pb::Profile { display_name, contact });
    let reply = ask.command::<Account>(customer_id, &pb::Command { command: Some(command) }).await?;
    let pb::Profile { display_name, contact } = reply.profile.unwrap_or_default();
    Ok(Answer::json(&ProfileOf { customer_id, display_name, contact }))
}
