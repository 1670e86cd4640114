//! Lists of campaigns and of events: by id, those that are as was asked, a page at a time.
use super::{Kind, Shown, asked::digits, seconds};
use crate::{
    gateway::{
        answer::Answer,
        ask::Ask,
        caching::{self, Tag},
        problem::Problem,
        shop::{
            dates,
            pages::{self, Chunk, Page},
        },
    },
    services::campaign::{CAMPAIGNS, Campaign, EVENTS, is_live, next_change, of_campaign as those_of},
};
use corduroy_proto::campaign as pb;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Campaigns that are looked at in one go.
const CHUNK: u32 = 1000;

/// Which are asked for. What is not there says nothing.
#[derive(Debug, Default)]
struct Wanted {
    /// Is part of the name, in lower case.
    name: Option<String>,
    /// They are not over by then.
    from: Option<u64>,
    /// They have begun by then.
    to: Option<u64>,
    /// Of campaigns.
    tenant: Option<String>,
    /// Of events: they are in one of these.
    campaigns: Option<BTreeSet<u64>>,
    is_live: bool,
}

impl Wanted {
    fn of(ask: &Ask) -> Result<Self, Problem> {
        let instant = |name: &str| ask.query(name).map(|text| dates::parse_bound(name, text)).transpose();
        Ok(Wanted {
            name: ask.query("name").map(str::to_lowercase),
            from: instant("from")?,
            to: instant("to")?,
            tenant: ask.query("tenant").map(str::to_owned),
            ..Wanted::default()
        })
    }

    /// Whether it is one of them, live or not.
    fn has(&self, entry: &pb::Entry) -> bool {
        let is_in = |campaigns: &BTreeSet<u64>| entry.campaign.is_some_and(|campaign| campaigns.contains(&campaign));
        self.name.as_ref().is_none_or(|name| entry.name.to_lowercase().contains(name))
            && self.from.is_none_or(|from| entry.end >= from)
            && self.to.is_none_or(|to| entry.start <= to)
            && self.tenant.as_ref().is_none_or(|tenant| entry.tenant.as_ref() == Some(tenant))
            && self.campaigns.as_ref().is_none_or(is_in)
    }
}

/// All of them, and what the query leaves of that.
pub(in crate::gateway::shop) async fn all(ask: Arc<Ask>, kind: Kind, max_age: Duration) -> Result<Answer, Problem> {
    list(&ask, kind, false, max_age).await
}

/// Those that are live.
pub(in crate::gateway::shop) async fn live(ask: Arc<Ask>, kind: Kind, max_age: Duration) -> Result<Answer, Problem> {
    list(&ask, kind, true, max_age).await
}

/// The events of a campaign.
pub(in crate::gateway::shop) async fn of_campaign(ask: Arc<Ask>, max_age: Duration) -> Result<Answer, Problem> {
    let campaign = Kind::Campaign.find(&ask).await?;
    page(&ask, &those_of(campaign.id), &Wanted::default(), max_age).await
}

async fn list(ask: &Ask, kind: Kind, is_live: bool, max_age: Duration) -> Result<Answer, Problem> {
    let mut wanted = Wanted { is_live, ..Wanted::of(ask)? };
    if kind == Kind::Campaign {
        return page(ask, CAMPAIGNS, &wanted, max_age).await;
    }
    // Whose an event is says its campaign.
    if let Some(tenant) = wanted.tenant.take() {
        wanted.campaigns = Some(campaigns_of(ask, &tenant).await?);
    }
    let malformed = || Problem::malformed("campaignEventId", "it is no number such as 0, 1 or 2");
    let within = ask.query("campaignEventId").map(|text| digits(text).ok_or_else(malformed)).transpose()?;
    page(ask, &within.map_or_else(|| EVENTS.to_owned(), those_of), &wanted, max_age).await
}

/// The ids of a tenant's campaigns.
async fn campaigns_of(ask: &Ask, tenant: &str) -> Result<BTreeSet<u64>, Problem> {
    let (mut ids, mut after) = (BTreeSet::new(), String::new());
    loop {
        let (campaigns, more) = ask.scan::<Campaign>(0, CAMPAIGNS, &after, CHUNK).await?;
        let own = campaigns.iter().filter(|(_, campaign)| campaign.tenant.as_deref() == Some(tenant));
        ids.extend(own.map(|(_, campaign)| campaign.id));
        match campaigns.into_iter().next_back() {
            Some((last, _)) if more => after = last,
            _ => return Ok(ids),
        }
    }
}

/// Those whose keys begin so.
async fn page(ask: &Ask, prefix: &str, wanted: &Wanted, max_age: Duration) -> Result<Answer, Problem> {
    let page = Page::of(ask)?;
    // Until when the page stays as it is: also what is not live yet may be soon.
    let until = AtomicU64::new(u64::MAX);
    let keep = |entry: &pb::Entry| {
        let now = ask.now();
        let has = wanted.has(entry);
        if let Some(change) = next_change(entry, now).filter(|_| has) {
            until.fetch_min(change, Ordering::Relaxed);
        }
        has && (!wanted.is_live || is_live(entry, now))
    };
    let fetch = |partition, after, size| chunk(ask, prefix, partition, after, size);
    let (entries, more) = page.collect(ask.partitions::<Campaign>()?, fetch, keep).await?;
    let shown: Vec<_> = entries.iter().map(Shown::of).collect();
    let answer = pages::answer(ask, &(shown, more));
    let tag = Tag::of_content(&answer);
    caching::kept(answer, &tag, seconds(ask, max_age, Some(until.into_inner())), ask.headers())
}

async fn chunk(
    ask: &Ask,
    prefix: &str,
    partition: u32,
    after: String,
    size: usize,
) -> Result<Chunk<pb::Entry>, Problem> {
    let limit = u32::try_from(size).unwrap_or(u32::MAX);
    let (rows, more) = ask.scan::<Campaign>(partition, prefix, &after, limit).await?;
    let horizon = rows.last().map(|(key, _)| key.clone()).filter(|_| more);
    Ok(Chunk { rows, horizon })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_what_its_filters_leave() {
        let entry = |name: &str, start, end| pb::Entry {
            name: name.into(),
            start,
            end,
            tenant: Some("mall".into()),
            campaign: Some(3),
            ..pb::Entry::default()
        };
        let sale = entry("Summer SALE", 10, 20);
        let (name, from, to) = (Some("sale".to_owned()), Some(20), Some(10));
        assert!(Wanted { name, from, to, ..Wanted::default() }.has(&sale), "both ends belong to it");
        assert!(!Wanted { name: Some("winter".into()), ..Wanted::default() }.has(&sale));
        assert!(!Wanted { from: Some(21), ..Wanted::default() }.has(&sale));
        assert!(!Wanted { to: Some(9), ..Wanted::default() }.has(&sale));
        assert!(Wanted { tenant: Some("mall".into()), ..Wanted::default() }.has(&sale));
        assert!(!Wanted { tenant: Some("Mall".into()), ..Wanted::default() }.has(&sale));
        assert!(Wanted { campaigns: Some([3].into()), ..Wanted::default() }.has(&sale));
        assert!(!Wanted { campaigns: Some([4].into()), ..Wanted::default() }.has(&sale));
    }
}
