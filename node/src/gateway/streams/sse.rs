//! `/streams/{topic}`: the records of a topic as server-sent events.
use super::{follow, left, position::Position};
use crate::gateway::{answer::Answer, ask::Ask, problem::Problem, shop::describe};
use axum::response::{
    IntoResponse as _,
    sse::{Event, KeepAlive, Sse},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use corduroy_log::{Consistency, LogError, RealLog, Record};
use futures::{StreamExt as _, future, stream};
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};

/// So often something is said, if only that there is nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// After so many records that are not wanted it is said how far they are.
const PASSED: u32 = 1000;

/// What is asked for.
struct Wanted {
    partitions: Vec<u32>,
    /// The only one of them: ids are offsets alone.
    only: Option<u32>,
    position: Position,
    key: Option<String>,
}

pub(in crate::gateway) async fn topic(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let log = ask.log()?.clone();
    let topic = ask.param("topic").to_owned();
    let Wanted { partitions, only, mut position, key } = wanted(&ask, &log, &topic).await?;
    let records = follow::follow(&log, &topic, &partitions, &position).map_err(|error| of_topic(&topic, &error))?;
    // Who breaks off before anything came goes on here, too.
    let begin = Event::default().id(position.show(only));
    let mut passed = 0_u32;
    let shown = records.take_until(left(log)).filter_map(move |next| {
        let told = match next {
            Ok((partition, record)) => {
                position.saw(partition, record.offset);
                let is_wanted = key.as_ref().is_none_or(|key| record.key.as_deref() == Some(key.as_bytes()));
                passed = if is_wanted { 0 } else { passed + 1 };
                if is_wanted {
                    Some(event(&topic, partition, &record, &position.show(only)))
                } else {
                    passed.is_multiple_of(PASSED).then(|| Event::default().id(position.show(only)))
                }
            }
            Err(error) => Some(Event::default().event("ended").data(error.to_string())),
        };
        future::ready(told.map(Ok::<_, Infallible>))
    });
    let shown = stream::once(future::ready(Ok(begin))).chain(shown);
    Ok(Answer::raw(Sse::new(shown).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()))
}

async fn wanted(ask: &Ask, log: &RealLog, topic: &str) -> Result<Wanted, Problem> {
    let found = log.topics().into_iter().find(|found| found.name == topic);
    let count = u32::try_from(found.ok_or_else(|| Problem::unknown("topic", topic))?.partitions.len());
    let count = count.unwrap_or(u32::MAX);
    let partitions = match ask.query("partition") {
        None => (0..count).collect(),
        Some(text) => {
            let partition = text.parse().map_err(|_| Problem::malformed("partition", "it is no number"))?;
            if partition >= count {
                return Err(Problem::rule("partition", format!("{topic} has {count} partitions, from 0")));
            }
            vec![partition]
        }
    };
    let only = match &partitions[..] {
        [only] => Some(*only),
        _ => None,
    };
    let key = ask.query("key").map(str::to_owned);
    let read = |name: &str, text| {
        let none = || Problem::malformed(name, "it is an offset, or, of several partitions, such as 0:17,1:20");
        let is_here = |position: &Position| position.is_within(&partitions);
        Position::read(text, only).filter(is_here).ok_or_else(none)
    };
    let position = match (ask.header("last-event-id"), ask.query("from")) {
        (Some(seen), _) => read("Last-Event-ID", seen)?,
        (None, Some("earliest")) => Position::default(),
        (None, None | Some("latest")) => ends(log, topic, &partitions).await?,
        (None, Some(text)) => {
            let from = read("from", text)?;
            let mut position = Position::default();
            for partition in &partitions {
                // What is named is the first that is wanted.
                position.begin(*partition, from.next(*partition).saturating_sub(1));
            }
            position
        }
    };
    Ok(Wanted { partitions, only, position, key })
}

/// Everything there is has been seen.
pub(super) async fn ends(log: &RealLog, topic: &str, partitions: &[u32]) -> Result<Position, Problem> {
    let ends = partitions.iter().map(|partition| log.offsets(topic, *partition, Consistency::Stale));
    let ends = future::try_join_all(ends).await.map_err(|error| of_topic(topic, &error))?;
    let mut position = Position::default();
    for (partition, (_, end)) in partitions.iter().zip(ends) {
        position.begin(*partition, end);
    }
    Ok(position)
}

fn of_topic(topic: &str, error: &LogError) -> Problem {
    match error {
        LogError::UnknownTopic(_) => Problem::unknown("topic", topic),
        other => Problem::of_read(other, topic),
    }
}

fn event(topic: &str, partition: u32, record: &Record, id: &str) -> Event {
    let told = shown(topic, partition, record);
    Event::default().id(id).data(told.to_string())
}

/// A record as JSON: what a service says as what it is, other text as it is, and the rest in base64.
fn shown(topic: &str, partition: u32, record: &Record) -> Value {
    let told = describe::event(topic, &record.value);
    let text = || match std::str::from_utf8(&record.value) {
        Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Err(_) => json!({ "base64": STANDARD.encode(&record.value) }),
    };
    let (name, data) = match told.name.as_str() {
        "" => (Value::Null, text()),
        name => (json!(name), told.data),
    };
    json!({
        "partition": partition,
        "offset": record.offset,
        "time": super::super::shop::dates::show(record.time.0),
        "key": record.key.as_deref().map(String::from_utf8_lossy),
        "event": name,
        "data": data,
    })
}
