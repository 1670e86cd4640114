//! Deliveries.
use super::{
    dates, lookup,
    pages::{self, Chunk, Page},
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    services::delivery::Delivery,
};
use axum::http::header;
use corduroy_proto::delivery::{self as pb, Status};
use serde::Serialize;
use std::sync::Arc;

/// A delivery as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    order_id: String,
    customer_id: String,
    /// None where no slot was held.
    day: Option<String>,
    state: &'static str,
}

impl Shown {
    fn of(order_id: String, delivery: pb::Delivery) -> Self {
        let status = delivery.status();
        let has_day = status != Status::Refused && (status != Status::Voided || delivery.day != 0);
        let day = if has_day { dates::show_day(delivery.day) } else { None };
        Shown { order_id, customer_id: delivery.customer, day, state: state(status) }
    }
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Unspecified => "requested",
        Status::Held => "held",
        Status::Refused => "refused",
        Status::Voided => "voided",
        Status::Scheduled => "scheduled",
        Status::Delivered => "delivered",
    }
}

pub(super) async fn one(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let id = lookup::order_id(&ask, "order").await?;
    let found = ask.get::<Delivery>(&id).await?;
    let delivery = found.ok_or_else(|| Problem::unknown("delivery", ask.param("order")))?;
    Ok(Answer::json(&Shown::of(id, delivery)))
}

pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let page = Page::of(&ask)?;
    let day = ask.query("day").map(|text| dates::parse_day("day", text)).transpose()?.and_then(dates::show_day);
    let wanted = ask.query("state");
    let keep = |shown: &Shown| {
        wanted.is_none_or(|wanted| shown.state.eq_ignore_ascii_case(wanted)) && (day.is_none() || shown.day == day)
    };
    let fetch = |partition, after, size| chunk(&ask, partition, after, size);
    let (deliveries, more) = page.collect(ask.partitions::<Delivery>()?, fetch, keep).await?;
    let answer = Answer::json(&deliveries);
    Ok(match more {
        Some(after) => answer.header(header::LINK, &pages::next(&ask, &after)),
        None => answer,
    })
}

async fn chunk(ask: &Ask, partition: u32, after: String, size: usize) -> Result<Chunk<Shown>, Problem> {
    let limit = u32::try_from(size).unwrap_or(u32::MAX);
    let (stored, more) = ask.scan::<Delivery>(partition, "", &after, limit).await?;
    let horizon = if more { stored.last().map(|(key, _)| key.clone()) } else { None };
    let rows = stored.into_iter().map(|(key, delivery)| (key.clone(), Shown::of(key, delivery))).collect();
    Ok(Chunk { rows, horizon })
}
