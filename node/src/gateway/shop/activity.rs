//! How much of what happened on a day.
use super::dates;
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    services::{
        activity::{Activity, with_number},
        order::Order,
    },
};
use axum::http::HeaderName;
use corduroy_proto::{activity as pb, runtime::Position};
use futures::future;
use serde::Serialize;
use std::sync::Arc;

/// Events of orders that are not counted in the answer.
const LAG: HeaderName = HeaderName::from_static("corduroy-lag");

/// A counter as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    activity_date: &'a str,
    activity_type_code: String,
    activity_type_name: String,
    quantity: u64,
}

impl<'a> Shown<'a> {
    fn of(activity_date: &'a str, counter: &pb::Counter) -> Self {
        let known = with_number(counter.r#type);
        // One that a later build counts has a number, and no name here.
        let text = |known: Option<&str>| known.map_or_else(|| format!("TYPE_{}", counter.r#type), str::to_owned);
        Shown {
            activity_date,
            activity_type_code: text(known.map(|known| known.code)),
            activity_type_name: text(known.map(|known| known.name)),
            quantity: counter.quantity,
        }
    }
}

pub(super) async fn of_day(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let text = ask.param("date");
    let day = dates::show_day(dates::parse_day("date", text)?).filter(|day| day == text);
    let day = day.ok_or_else(|| Problem::malformed("date", "it is no date such as 2020-07-01"))?;
    // In this order: what was read is counted in the state that is seen after it, and the ends are looked at last.
    let read = ask.read_by::<Activity>(ask.partition_of::<Activity>(&day)?).await?;
    let counted = ask.get::<Activity>(&day).await?.unwrap_or_default();
    let ends =
        future::try_join_all((0..ask.partitions::<Order>()?).map(|partition| ask.end::<Order>(partition))).await?;
    let read = |end: &Position| {
        let of_this = read.iter().find(|read| read.topic == end.topic && read.partition == end.partition);
        of_this.map_or(0, |read| read.offset)
    };
    let lag = ends.iter().fold(0_u64, |lag, end| lag.saturating_add(end.offset.saturating_sub(read(end))));
    let shown: Vec<_> = counted.counters.iter().map(|counter| Shown::of(&day, counter)).collect();
    Ok(Answer::json(&shown).header(LAG, &lag.to_string()))
}
