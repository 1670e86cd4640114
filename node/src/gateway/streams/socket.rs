//! `/notifications`: what happens to orders, over a WebSocket.
use super::{
    follow, left,
    notices::{Envelope, Wanted},
    position::Position,
    sse::ends,
};
use crate::{
    gateway::{answer::Answer, ask::Ask, consistency, problem::Problem},
    runtime::partition_of,
    services::order::subjects,
};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use corduroy_log::RealLog;
use futures::StreamExt as _;
use serde_json::json;
use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};
use tokio::time::{interval, timeout};

/// A reader that takes nothing for so long is cut.
const PATIENCE: Duration = Duration::from_secs(30);
/// So often it is asked whether it is there.
const PING: Duration = Duration::from_secs(20);

/// A record of which not everything was told: its partition, its offset, and the last that was.
type Skipped = Option<(u32, u64, usize)>;

/// What a reader gets.
struct Reading {
    topic: &'static str,
    records: follow::Records,
    wanted: Wanted,
    position: Position,
    skipped: Skipped,
    waiting: VecDeque<Envelope>,
}

pub(in crate::gateway) async fn notifications(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let log = ask.log()?.clone();
    let reading = reading(&ask, &log).await?;
    let upgrade = ask.upgrade().ok_or_else(|| Problem::malformed("Upgrade", "this is a WebSocket"))?;
    // Who breaks off before anything came goes on here, too.
    let begin = reading.position.show(None);
    let answer = upgrade.on_upgrade(move |socket| serve(socket, reading, log));
    Ok(Answer::raw(answer).header(consistency::POSITION, &begin))
}

async fn reading(ask: &Ask, log: &RealLog) -> Result<Reading, Problem> {
    let mut wanted = Wanted {
        customer: ask.query("customer").map(str::to_owned),
        order: ask.query("order").map(str::to_owned),
        ..Wanted::default()
    };
    for name in ask.query("subjects").into_iter().flat_map(|names| names.split(',')) {
        let subject = subjects::find(name.trim());
        wanted.subjects.push(subject.ok_or_else(|| Problem::rule("subjects", format!("{name} is no subject")))?.name);
    }
    match ask.query("profile") {
        None => {}
        Some("reservation") => wanted.reservation = true,
        Some(_) => return Err(Problem::rule("profile", "there is one: reservation")),
    }
    let topic = if wanted.customer.is_some() { "account" } else { "order" };
    let found = log.topics().into_iter().find(|found| found.name == topic);
    let count = found.map_or(0, |found| u32::try_from(found.partitions.len()).unwrap_or(u32::MAX));
    if count == 0 {
        return Err(Problem::new("no-quorum", format!("there is no topic {topic} yet")).with("partition", topic));
    }
    // A customer's events are in one partition.
    let partitions = match &wanted.customer {
        Some(customer) => vec![partition_of(customer, count)],
        None => (0..count).collect(),
    };
    let (position, skipped) = match ask.query("after") {
        None => (ends(log, topic, &partitions).await?, None),
        Some(text) => {
            let (position, skipped) = after(text, &partitions)
                .ok_or_else(|| Problem::malformed("after", "it is a position, or an id where a customer is read"))?;
            (position, skipped)
        }
    };
    let records = follow::follow(log, topic, &partitions, &position);
    let records = records.map_err(|error| Problem::of_read(&error, topic))?;
    Ok(Reading { topic, records, wanted, position, skipped, waiting: VecDeque::new() })
}

/// What was told: up to a position, which may be amid what is told of one record (`0:17,1:20-0`), or, where one partition is read, up to
/// the envelope with an id.
fn after(text: &str, partitions: &[u32]) -> Option<(Position, Skipped)> {
    let part = |partition: &str, offset: &str, which: &str| {
        Some((partition.parse::<u32>().ok()?, offset.parse::<u64>().ok()?, which.parse::<usize>().ok()?))
    };
    let parts: Vec<&str> = text.split('-').collect();
    let (whole, skipped) = match parts[..] {
        [partition, offset, which] if partitions.len() == 1 => (String::new(), Some(part(partition, offset, which)?)),
        [told, which] if !told.is_empty() => {
            let (before, last) = told.rsplit_once(',').unwrap_or(("", told));
            let (partition, offset) = last.split_once(':')?;
            (before.to_owned(), Some(part(partition, offset, which)?))
        }
        _ => (text.to_owned(), None),
    };
    let mut position = Position::read(&whole, None)?;
    if let Some((partition, offset, _)) = skipped {
        position.begin(partition, offset);
    }
    let is_here = skipped.is_none_or(|(partition, ..)| partitions.contains(&partition));
    (is_here && position.is_within(partitions)).then_some((position, skipped))
}

impl Reading {
    /// `None`: nothing comes any more.
    async fn next(&mut self) -> Option<Envelope> {
        while self.waiting.is_empty() {
            let (partition, record) = self.records.next().await?.ok()?;
            let mut told = self.wanted.of(self.topic, partition, &record);
            if let Some((_, _, which)) =
                self.skipped.take_if(|(of, offset, _)| (*of, *offset) == (partition, record.offset))
            {
                let is_new = |envelope: &Envelope| {
                    envelope.id.rsplit('-').next().and_then(|n| n.parse().ok()).is_none_or(|n: usize| n > which)
                };
                told.retain(is_new);
            }
            // Who has not got all that is told of a record goes on amid it.
            let last = told.len().saturating_sub(1);
            let before = self.position.without(partition);
            for (place, mut envelope) in told.into_iter().enumerate() {
                envelope.position = if place == last {
                    self.position.saw(partition, record.offset);
                    self.position.show(None)
                } else {
                    let which = envelope.id.rsplit('-').next().unwrap_or_default();
                    let here = format!("{partition}:{}-{which}", record.offset);
                    if before.is_empty() { here } else { format!("{before},{here}") }
                };
                self.waiting.push_back(envelope);
            }
            self.position.saw(partition, record.offset);
        }
        self.waiting.pop_front()
    }
}

async fn serve(mut socket: WebSocket, mut reading: Reading, log: RealLog) {
    let greeting = json!({ "message": "connected to notification service" });
    if !send(&mut socket, Message::text(greeting.to_string())).await {
        return;
    }
    let mut left = pin!(left(log));
    let mut ping = interval(PING);
    let why = loop {
        tokio::select! {
            envelope = reading.next() => match envelope {
                Some(envelope) => {
                    let text = serde_json::to_string(&envelope).unwrap_or_default();
                    if !send(&mut socket, Message::text(text)).await {
                        break (close_code::AGAIN, "too slow: come back with after=");
                    }
                }
                None => break (close_code::AWAY, "nothing comes any more: come back with after="),
            },
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // What a reader says means nothing.
                Some(Ok(_)) => {}
            },
            () = &mut left => break (close_code::AWAY, "this node stops: come back with after="),
            _ = ping.tick() => if !send(&mut socket, Message::Ping(Default::default())).await {
                return;
            },
        }
    };
    let (code, reason) = why;
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let _ = timeout(PATIENCE, socket.send(Message::Close(Some(frame)))).await;
}

/// Whether the reader took it in time.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_behind_an_id_or_a_position() {
        let (position, skipped) = after("2-17-1", &[2]).expect("an id");
        assert_eq!((position.next(2), skipped), (17, Some((2, 17, 1))), "what is told of 17 may not be over");
        let (position, skipped) = after("2:17,0:3", &[0, 1, 2]).expect("a position");
        assert_eq!((position.next(2), position.next(0), position.next(1), skipped), (18, 4, 0, None));
        let (position, skipped) = after("0:3,2:17-0", &[0, 1, 2]).expect("a position amid a record");
        assert_eq!((position.next(2), position.next(0), skipped), (17, 4, Some((2, 17, 0))));
        let (position, skipped) = after("-", &[0, 1, 2]).expect("the beginning");
        assert_eq!((position.next(2), skipped), (0, None));
        for none in ["17", "2-17", "2-x-1", "a", "2-17-1", "9:17", "0:3,9:17-0", "0:3-x"] {
            assert!(after(none, &[0, 1, 2]).is_none(), "{none}");
        }
    }
}
