//! Dead letters: inputs that cannot be decided, and what operators do about them.
//!
//! An id names the partition a letter is in: `voucher-2-17` is number 17 of `voucher/2`.
use super::{dates, describe};
use crate::gateway::{
    answer::Answer,
    ask::{Ask, Place},
    idempotency,
    problem::Problem,
};
use crate::runtime::CommandError;
use axum::http::HeaderName;
use corduroy_proto::runtime::{self as pb, query_call};
use futures::future;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// How many there are, on whatever page.
const COUNT: HeaderName = HeaderName::from_static("corduroy-count");

/// A dead letter as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    service: String,
    partition: u32,
    /// What waits behind it has this key, too.
    key: String,
    reason: String,
    error: String,
    state: &'static str,
    /// The event it came from; none where it was a command, or a timer.
    source: Option<Source>,
    /// How often it was tried, redrives among them.
    tries: u32,
    redriven: u32,
    /// Inputs of its key that wait behind it.
    parked: usize,
    first_at: String,
    last_at: String,
    /// Only of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Input>,
}

#[derive(Debug, Serialize)]
struct Source {
    topic: String,
    partition: u32,
    offset: u64,
    at: String,
}

#[derive(Debug, Serialize)]
struct Input {
    /// `event` where it could not even be routed, else `command`.
    kind: &'static str,
    name: String,
    data: Value,
}

impl Shown {
    fn of(at: &Place<'_>, letter: &pb::DeadLetter, parked: &BTreeMap<&str, usize>) -> Self {
        let input = letter.input.clone().unwrap_or_default();
        let source = input.source.map(|source| Source {
            topic: source.topic,
            partition: source.partition,
            offset: source.offset,
            at: dates::show(source.time),
        });
        Shown {
            id: id_of(at, letter.id),
            service: at.service.to_owned(),
            partition: at.partition,
            parked: parked.get(input.key.as_str()).copied().unwrap_or_default(),
            key: input.key,
            reason: letter.reason.clone(),
            error: letter.error.clone(),
            state: "parked",
            source,
            tries: input.tries.saturating_add(letter.redriven).saturating_add(1),
            redriven: letter.redriven,
            first_at: dates::show(letter.first),
            last_at: dates::show(letter.last),
            input: None,
        }
    }

    fn with_input(self, input: &pb::Input) -> Self {
        let (kind, told) = if input.event.is_empty() {
            ("command", describe::command(&self.service, &input.command))
        } else {
            let topic = self.source.as_ref().map_or("", |source| source.topic.as_str());
            ("event", describe::event(topic, &input.event))
        };
        Shown { input: Some(Input { kind, name: told.name, data: told.data }), ..self }
    }
}

fn id_of(at: &Place<'_>, letter: u64) -> String {
    format!("{}-{}-{letter}", at.service, at.partition)
}

/// The place and the number an id names.
fn read_id(id: &str) -> Option<(Place<'_>, u64)> {
    let mut parts = id.rsplitn(3, '-');
    let letter = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some((Place { service: parts.next()?, partition }, letter))
}

/// What letters are sorted by.
fn order_of((at, letter): (Place<'_>, u64)) -> (String, u32, u64) {
    (at.service.to_owned(), at.partition, letter)
}

/// The one in the path, where there is such a partition.
fn named(ask: &Ask) -> Result<(Place<'_>, u64), Problem> {
    let id = ask.param("id");
    let (at, letter) = read_id(id).ok_or_else(|| unknown(id))?;
    if ask.places(Some(at.service)).contains(&at) { Ok((at, letter)) } else { Err(unknown(id)) }
}

fn unknown(id: &str) -> Problem {
    Problem::new("unknown-dead-letter", format!("there is no dead letter {id}")).with("id", id)
}

/// Which ones are meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    service: Option<String>,
    reason: Option<String>,
    key: Option<String>,
    state: Option<String>,
}

impl Filter {
    fn of_query(ask: &Ask) -> Self {
        let said = |name| ask.query(name).map(str::to_owned);
        Filter { service: said("service"), reason: said("reason"), key: said("key"), state: said("state") }
    }

    fn keeps(&self, shown: &Shown) -> bool {
        let is = |wanted: &Option<String>, what: &str| wanted.as_ref().is_none_or(|wanted| wanted == what);
        is(&self.reason, &shown.reason) && is(&self.key, &shown.key) && is(&self.state, shown.state)
    }
}

/// Those of all partitions, by service, partition and number.
async fn found<'f>(ask: &Ask, filter: &'f Filter) -> Result<Vec<(Place<'f>, u64, Shown)>, Problem> {
    let places = ask.places(filter.service.as_deref());
    let answers = places.iter().map(|at| ask.look(at, query_call::What::Letters(true)));
    let answers = future::try_join_all(answers).await?;
    let mut found = Vec::new();
    for (at, answer) in places.into_iter().zip(answers) {
        let parked = answer.parked.iter().map(|parked| (parked.key.as_str(), parked.inputs.len())).collect();
        for letter in &answer.letters {
            let shown = Shown::of(&at, letter, &parked);
            if filter.keeps(&shown) {
                found.push((at, letter.id, shown));
            }
        }
    }
    Ok(found)
}

pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let limit = super::pages::limit(&ask)?;
    let filter = Filter::of_query(&ask);
    let found: Vec<Shown> = found(&ask, &filter).await?.into_iter().map(|(.., shown)| shown).collect();
    let count = found.len();
    // The one behind which it goes on may be gone.
    let behind = ask
        .query("after")
        .map(|after| read_id(after).map(order_of).ok_or_else(|| Problem::malformed("after", "it is an id")));
    let behind = behind.transpose()?;
    let is_behind =
        |shown: &Shown| behind.as_ref().is_none_or(|behind| read_id(&shown.id).map(order_of).as_ref() > Some(behind));
    let mut rows: Vec<Shown> = found.into_iter().filter(is_behind).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let more = rows.last().filter(|_| more).map(|last| last.id.clone());
    Ok(super::pages::answer(&ask, &(rows, more)).header(COUNT, &count.to_string()))
}

pub(super) async fn one(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (at, letter) = named(&ask)?;
    let answer = ask.look(&at, query_call::What::Letters(true)).await?;
    let found = answer.letters.iter().find(|found| found.id == letter);
    let found = found.ok_or_else(|| unknown(ask.param("id")))?;
    let parked = answer.parked.iter().map(|parked| (parked.key.as_str(), parked.inputs.len())).collect();
    let input = found.input.clone().unwrap_or_default();
    Ok(Answer::json(&Shown::of(&at, found, &parked).with_input(&input)))
}

/// It runs at once. Should it be a dead letter again, it is found where it was, with one try more.
pub(super) async fn redrive(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (at, letter) = named(&ask)?;
    run(&ask, &at, letter).await?;
    Ok(Answer::begun(&format!("/dead-letters/{}", ask.param("id"))))
}

/// Whether it is one no more.
async fn run(ask: &Ask, at: &Place<'_>, letter: u64) -> Result<bool, Problem> {
    let id = idempotency::derived(ask.key().id("dead-letters"), &id_of(at, letter));
    match ask.redrive(id, at, letter).await {
        Ok(_) => Ok(true),
        Err(CommandError::Refused(refusal)) if refusal.value.name() == "fault" => Ok(false),
        Err(error) => Err(Problem::of_command(&error, &at.to_string())),
    }
}

/// What became of many.
#[derive(Debug, Serialize)]
struct Redriven {
    redriven: usize,
    /// They are dead letters again.
    failed: usize,
}

/// One after the other, as they were parked.
pub(super) async fn redrive_all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let filter: Filter = ask.json_or_default()?;
    let mut outcome = Redriven { redriven: 0, failed: 0 };
    for (at, letter, _) in found(&ask, &filter).await? {
        match run(&ask, &at, letter).await {
            Ok(true) => outcome.redriven += 1,
            Ok(false) => outcome.failed += 1,
            // Somebody else was faster.
            Err(problem) if problem.is("dead-letter-settled") => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(Answer::json(&outcome).accepted_at("/dead-letters"))
}

/// Why a dead letter is given up.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Discard {
    reason: String,
}

pub(super) async fn discard(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let Discard { reason } = ask.json_or_default()?;
    if reason.trim().is_empty() {
        return Err(Problem::rule("reason", "it says why this is never done"));
    }
    let (at, letter) = named(&ask)?;
    let id = idempotency::derived(ask.key().id("dead-letters"), &id_of(&at, letter));
    let discarded = ask.discard(id, &at, letter, reason.trim()).await;
    discarded.map_err(|error| Problem::of_command(&error, &at.to_string()))?;
    Ok(Answer::json(&serde_json::json!({ "id": ask.param("id"), "state": "discarded", "reason": reason.trim() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_partition_of_any_service() {
        for (id, service, partition, letter) in
            [("voucher-2-17", "voucher", 2, 17), ("my-points-0-1", "my-points", 0, 1)]
        {
            let at = Place { service, partition };
            assert_eq!(read_id(id), Some((at, letter)));
            assert_eq!(id_of(&at, letter), id);
        }
        for none in ["", "17", "2-17", "voucher-2-", "voucher-x-1", "voucher-2-1x"] {
            assert_eq!(read_id(none), None, "{none}");
        }
    }
}
