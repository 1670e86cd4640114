//! Timers that are set.
use super::{dates, describe};
use crate::gateway::{answer::Answer, ask::Ask, problem::Problem};
use corduroy_proto::runtime::query_call;
use futures::future;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    service: String,
    key: String,
    due: String,
    /// What it asks for when it fires.
    purpose: String,
}

/// Those that are due first come first.
pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let limit = super::pages::limit(&ask)?;
    let places = ask.places(ask.query("service"));
    let answers = places.iter().map(|at| ask.look(at, query_call::What::Timers(true)));
    let answers = future::try_join_all(answers).await?;
    let mut timers: Vec<_> = places
        .iter()
        .zip(answers)
        .flat_map(|(at, answer)| answer.timers.into_iter().map(move |timer| (at, timer)))
        .collect();
    timers.retain(|(_, timer)| ask.query("key").is_none_or(|key| timer.key == key));
    timers.sort_by_key(|(_, timer)| timer.due);
    let shown = timers.into_iter().take(limit).map(|(at, timer)| Shown {
        id: format!("{}-{}-{}", at.service, at.partition, timer.id),
        service: at.service.to_owned(),
        due: dates::show(timer.due),
        purpose: describe::command(at.service, &timer.command).name,
        key: timer.key,
    });
    Ok(Answer::json(&shown.collect::<Vec<_>>()))
}
