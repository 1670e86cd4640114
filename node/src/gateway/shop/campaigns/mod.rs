//! Campaigns and their events. Both are read and changed alike; only where they differ it is said which.
//!
//! Reads are answered by the node that is asked, from what it has, unless the caller was told of more or asks for more:
//! what is kept by caches for a minute need not be asked of a majority. Nothing that a list is made of comes from a view,
//! and the first answer after a start does ask: so once a node has applied a change it never answers what was there
//! before (INV-32).
//!
//! Whether something is live is worked out when it is asked for, by the clock of the node or the log time of what it has
//! read, whichever is later: the clock goes on where nothing is written, and without a quorum too; and where a start is
//! in the log, a clock that is late does not take it back.
//!
//! - `asked`: what requests say. `listing`: many.
mod asked;
mod listing;

pub(super) use listing::{all, live, of_campaign};

use super::dates;
use crate::{
    gateway::{
        answer::Answer,
        ask::Ask,
        caching::{self, Tag},
        problem::Problem,
    },
    services::campaign::{Campaign, campaign_key, event_key, next_change},
};
use axum::http::header;
use corduroy_proto::campaign::{self as pb, command::Command};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Campaign,
    Event,
}

impl Kind {
    /// As it is called in the names of problems.
    fn name(self) -> &'static str {
        match self {
            Kind::Campaign => "campaign",
            Kind::Event => "event",
        }
    }

    /// The key of the one that the path names.
    fn key(self, ask: &Ask) -> Result<String, Problem> {
        let (text, malformed) = (ask.param("id"), || Problem::malformed("id", "it is no number such as 0, 1 or 2"));
        let key = match self {
            Kind::Campaign => campaign_key,
            Kind::Event => event_key,
        };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        text.parse().map(key).map_err(|_| Problem::unknown(self.name(), text))
    }

    async fn find(self, ask: &Ask) -> Result<pb::Entry, Problem> {
        let found = ask.get::<Campaign>(&self.key(ask)?).await?;
        found.ok_or_else(|| Problem::unknown(self.name(), ask.param("id")))
    }
}

/// A campaign or an event as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: u64,
    name: &'a str,
    start_date: String,
    end_date: String,
    created_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_event_id: Option<u64>,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a pb::Entry) -> Self {
        Shown {
            id: entry.id,
            name: &entry.name,
            start_date: dates::show(entry.start),
            end_date: dates::show(entry.end),
            created_on: dates::show(entry.created),
            tenant: entry.tenant.as_deref(),
            campaign_event_id: entry.campaign,
        }
    }
}

/// The answer that shows it.
fn shown(entry: &pb::Entry) -> Answer {
    Answer::json(&Shown::of(entry)).header(header::ETAG, &Tag::of_version(entry.version).to_string())
}

/// For how many seconds a reply may be kept of which something is live, or not, until then. `None`: not at all.
fn seconds(ask: &Ask, max_age: Duration, until: Option<u64>) -> Option<u64> {
    // Who wants to see what is newest does not want what was kept, and neither do others after that.
    let may_be_kept = !ask.is_newest::<Campaign>(0);
    let left = until.map_or(u64::MAX, |until| until.saturating_sub(ask.now()) / 1_000_000);
    may_be_kept.then_some(left.min(max_age.as_secs()))
}

pub(super) async fn one(ask: Arc<Ask>, kind: Kind, max_age: Duration) -> Result<Answer, Problem> {
    let entry = kind.find(&ask).await?;
    let seconds = seconds(&ask, max_age, next_change(&entry, ask.now()));
    caching::kept(shown(&entry), &Tag::of_version(entry.version), seconds, ask.headers())
}

/// Has the service decide a command; what it says no to is said in the words of requests.
async fn tell(ask: &Ask, key: &str, command: Command) -> Result<Option<pb::Entry>, Problem> {
    let told = ask.command::<Campaign>(key, &pb::Command { command: Some(command) }).await;
    let in_words = |problem: Problem| {
        let problem = problem.in_words_of("start", "startDate").in_words_of("end", "endDate");
        problem.in_words_of("campaign", "campaignEventId")
    };
    Ok(told.map_err(in_words)?.entry)
}

/// The same, where something is there afterwards.
async fn kept(ask: &Ask, key: &str, command: Command) -> Result<pb::Entry, Problem> {
    tell(ask, key, command).await?.ok_or_else(|| Problem::defect("campaign or event"))
}

pub(super) async fn create(ask: Arc<Ask>, kind: Kind) -> Result<Answer, Problem> {
    let create = asked::create(&ask, kind)?;
    // It has no key yet: its id is counted where it is decided.
    let entry = kept(&ask, kind.name(), Command::Create(create)).await?;
    Ok(shown(&entry).created(&format!("{}/{}", ask.path(), entry.id)))
}

pub(super) async fn replace(ask: Arc<Ask>, kind: Kind) -> Result<Answer, Problem> {
    let (key, change) = (kind.key(&ask)?, asked::replace(&ask, kind)?);
    Ok(shown(&kept(&ask, &key, Command::Replace(change)).await?))
}

pub(super) async fn patch(ask: Arc<Ask>, kind: Kind) -> Result<Answer, Problem> {
    let (key, change) = (kind.key(&ask)?, asked::patch(&ask, kind)?);
    Ok(shown(&kept(&ask, &key, Command::Patch(change)).await?))
}

pub(super) async fn delete(ask: Arc<Ask>, kind: Kind) -> Result<Answer, Problem> {
    let (key, condition) = (kind.key(&ask)?, asked::condition(&ask)?);
    tell(&ask, &key, Command::Delete(pb::Delete { condition })).await?;
    Ok(Answer::nothing())
}
