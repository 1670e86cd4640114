//! Checkouts that are under way, and how each order came to be what it is.
use super::{
    dates, describe, lookup,
    pages::{self, Chunk, Page},
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::{Service, partition_of},
    services::order::{Order, of_status, participant_name, status_text, step},
};
use corduroy_log::{RealLog, error::LogError};
use corduroy_proto::order::{self as pb, Status, state::State};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Events of one order that are read at once.
const READS: usize = 8;
/// Bound on reading one.
const PATIENCE: Duration = Duration::from_secs(5);
/// The name of the status that orders have in which something is under way.
const PENDING: &str = "Pending";

/// A checkout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Saga {
    order_id: String,
    attempt: u32,
    state: &'static str,
    /// Whom it waits for.
    step: Option<&'static str>,
    since: Option<String>,
    deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<Happened>>,
}

/// One event of its timeline.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Happened {
    at: String,
    partition: String,
    offset: u64,
    event: String,
    term: Option<u64>,
    /// Since the event before.
    took_ms: u64,
}

impl Saga {
    fn of(order: &pb::Order) -> Self {
        let running = matches!(order.status(), Status::Reserving | Status::Releasing);
        Saga {
            order_id: order.id.clone(),
            attempt: order.attempt,
            state: status_text(order),
            step: step(order).map(participant_name),
            since: running.then(|| dates::show(order.since)),
            deadline: (order.deadline != 0).then(|| dates::show(order.deadline)),
            timeline: None,
        }
    }
}

/// Those under way.
pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let page = Page::of(&ask)?;
    let state = ask.query("state");
    let older = ask.query("older").map(humantime::parse_duration).transpose();
    let older = older.map_err(|_| Problem::malformed("older", "it is a time such as 30s"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = older.map(|older| u64::try_from(now.saturating_sub(older).as_micros()).unwrap_or(u64::MAX));
    let keep = |order: &pb::Order| {
        matches!(order.status(), Status::Reserving | Status::Releasing)
            && state.is_none_or(|state| status_text(order).eq_ignore_ascii_case(state))
            && before.is_none_or(|before| order.since <= before)
    };
    let ask = &*ask;
    let by = of_status(PENDING);
    let fetch = async |partition, after: String, size| {
        let (found, horizon) = pages::stored::<Order>(ask, Some(&by), partition, &after, size).await?;
        let row = |(key, state): (String, pb::State)| match state.state {
            Some(State::Order(order)) => Some((key, order)),
            Some(State::Alias(_)) | None => None,
        };
        Ok(Chunk { rows: found.into_iter().filter_map(row).collect(), horizon })
    };
    let (orders, more) = page.collect(ask.partitions::<Order>()?, fetch, keep).await?;
    let sagas: Vec<Saga> = orders.iter().map(Saga::of).collect();
    Ok(pages::answer(ask, &(sagas, more)))
}

/// An order's, over or not, with what has happened to it.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let order = lookup::order(&ask, "order").await?;
    let timeline = Some(timeline(&ask, &order).await?);
    Ok(Answer::json(&Saga { timeline, ..Saga::of(&order) }))
}

/// Its events, and those by which participants answered it last, by log time.
async fn timeline(ask: &Ask, order: &pb::Order) -> Result<Vec<Happened>, Problem> {
    let home = partition_of(&order.id, ask.partitions::<Order>()?);
    let log = ask.log()?;
    let mut reads = Vec::new();
    for offset in &order.history {
        reads.push(read(log, Order::NAME, home, *offset));
    }
    for hold in order.holds.iter().filter(|hold| hold.position > 0) {
        reads.push(read(log, participant_name(hold.participant()), hold.partition, hold.position - 1));
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut reads = stream::iter(reads).buffered(READS);
    while let Some(entry) = reads.next().await {
        entries.push(entry.map_err(|error| Problem::of_read(&error, &format!("{}/{home}", Order::NAME)))?);
    }
    entries.sort_by_key(|entry| entry.time);
    let mut before = entries.first().map_or(0, |entry| entry.time);
    let happened = entries.into_iter().map(|entry| {
        let took_ms = entry.time.saturating_sub(before) / 1000;
        before = entry.time;
        Happened {
            at: dates::show(entry.time),
            partition: format!("{}/{}", entry.topic, entry.partition),
            offset: entry.offset,
            event: entry.event,
            term: entry.term,
            took_ms,
        }
    });
    Ok(happened.collect())
}

/// A record, as a timeline needs it.
struct Entry {
    topic: &'static str,
    partition: u32,
    offset: u64,
    time: u64,
    event: String,
    term: Option<u64>,
}

/// What is at an offset, wherever that is.
async fn read(log: &RealLog, topic: &'static str, partition: u32, offset: u64) -> Result<Entry, LogError> {
    let mut subscription = log.subscribe(topic, partition, offset)?;
    let missing = || LogError::Unavailable(format!("{topic}/{partition} did not give its event at {offset}"));
    let batches = tokio::time::timeout(PATIENCE, subscription.next()).await.map_err(|_| missing())??;
    let placed = batches.first().ok_or_else(missing)?;
    let record = placed.records(offset).ok().and_then(|records| records.into_iter().next()).ok_or_else(missing)?;
    Ok(Entry {
        topic,
        partition,
        offset: record.offset,
        time: record.time.0,
        event: describe::event(topic, &record.value).name,
        term: placed.batch.term(),
    })
}
