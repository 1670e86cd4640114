//! Deliveries.
use super::{
    dates, lookup,
    pages::{self, Chunk, Page},
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::IndexKey,
    services::delivery::{Delivery, day_of, of_day, of_state, state_name},
};
use corduroy_proto::delivery as pb;
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
        let (day, state) = (day_of(&delivery).and_then(dates::show_day), state_name(delivery.status()));
        Shown { order_id, customer_id: delivery.customer, day, state }
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
    let day = ask.query("day").map(|text| dates::parse_day("day", text)).transpose()?;
    let (state, shown_day) = (ask.query("state"), day.and_then(dates::show_day));
    let keep = |shown: &Shown| {
        state.is_none_or(|state| shown.state.eq_ignore_ascii_case(state)) && (day.is_none() || shown.day == shown_day)
    };
    // A day has fewer.
    let by = day.map(of_day).or_else(|| state.map(of_state));
    let fetch = |partition, after, size| chunk(&ask, by.as_ref(), partition, after, size);
    Ok(pages::answer(&ask, &page.collect(ask.partitions::<Delivery>()?, fetch, keep).await?))
}

async fn chunk(
    ask: &Ask,
    by: Option<&IndexKey>,
    partition: u32,
    after: String,
    size: usize,
) -> Result<Chunk<Shown>, Problem> {
    let (stored, horizon) = pages::stored::<Delivery>(ask, by, partition, &after, size).await?;
    let rows = stored.into_iter().map(|(key, delivery)| (key.clone(), Shown::of(key, delivery))).collect();
    Ok(Chunk { rows, horizon })
}
