//! What clients ask for: to make an entry, to change it, to delete it.
//!
//! Who may change what, and which version, is decided here and nowhere else: nothing comes between the look and the deed.
use super::{
    Campaign,
    entry::{check, fits, outside, unknown, violated},
    keys, phase,
};
use crate::runtime::{Decide, Head, Refusal};
use corduroy_proto::campaign::{self as pb, Phase, event::Event};

/// Events of a campaign: it is deleted with all of them at once.
pub const MAX_EVENTS: usize = 1000;

/// What a change is called, where it happened to a campaign and where to an event.
pub(super) struct Called {
    campaign: fn(pb::Entry) -> Event,
    event: fn(pb::Entry) -> Event,
}

const CREATE: Called = Called { campaign: Event::CampaignCreated, event: Event::EventCreated };
pub(super) const REPLACE: Called = Called { campaign: Event::CampaignReplaced, event: Event::EventReplaced };
pub(super) const PATCH: Called = Called { campaign: Event::CampaignPatched, event: Event::EventPatched };

pub(super) fn create(
    head: &Head<'_, Campaign>,
    create: &pb::Create,
    cx: &mut Decide<'_, Campaign>,
) -> Result<(), Refusal> {
    let within = create.campaign.map(|id| find(head, &keys::campaign(id))).transpose()?;
    let next = head.partition();
    let entry = pb::Entry {
        id: if within.is_some() { next.next_event } else { next.next_campaign },
        campaign: create.campaign,
        name: create.name.clone(),
        start: create.start,
        end: create.end,
        created: cx.now().0,
        version: 1,
        tenant: create.tenant.clone(),
        phase: Phase::Upcoming.into(),
        timer: 0,
    };
    check(&entry)?;
    if let Some(campaign) = within {
        inside(&entry, &campaign)?;
        if events(head, campaign.id).len() >= MAX_EVENTS {
            return Err(violated("campaign", format!("it has {MAX_EVENTS} events, and may have no more")));
        }
    }
    keep(entry, &CREATE, cx);
    Ok(())
}

/// What changes nothing is no change, and the version stays.
pub(super) fn change(
    head: &Head<'_, Campaign>,
    key: &str,
    asked: &pb::Change,
    called: Called,
    cx: &mut Decide<'_, Campaign>,
) -> Result<(), Refusal> {
    let before = find(head, key)?;
    fits(&before, asked.condition.as_ref())?;
    if asked.campaign.is_some() && asked.campaign != before.campaign {
        return Err(violated("campaign", "an event stays in its campaign"));
    }
    let mut after = before.clone();
    after.name.clone_from(asked.name.as_ref().unwrap_or(&before.name));
    after.start = asked.start.unwrap_or(before.start);
    after.end = asked.end.unwrap_or(before.end);
    if let Some(tenant) = &asked.tenant {
        after.tenant.clone_from(&tenant.name);
    }
    if after == before {
        cx.reply(pb::Reply { entry: Some(before) });
        return Ok(());
    }
    check(&after)?;
    match after.campaign {
        Some(campaign) => inside(&after, &find(head, &keys::campaign(campaign))?)?,
        None => {
            let cut = events(head, after.id).into_iter().find_map(|event| Some((event.id, outside(&event, &after)?)));
            if let Some((event, path)) = cut {
                return Err(violated(path, format!("event {event} would be outside of the campaign")));
            }
        }
    }
    after.version = after.version.saturating_add(1);
    phase::rewind(&mut after, cx.now().0);
    keep(after, &called, cx);
    Ok(())
}

/// Its events first: none is ever without its campaign.
pub(super) fn delete(
    head: &Head<'_, Campaign>,
    key: &str,
    delete: &pb::Delete,
    cx: &mut Decide<'_, Campaign>,
) -> Result<(), Refusal> {
    let entry = find(head, key)?;
    fits(&entry, delete.condition.as_ref())?;
    if entry.campaign.is_none() {
        events(head, entry.id).iter().for_each(|event| remove(event, cx));
    }
    remove(&entry, cx);
    cx.reply(pb::Reply::default());
    Ok(())
}

fn find(head: &Head<'_, Campaign>, key: &str) -> Result<pb::Entry, Refusal> {
    let (what, id) = keys::named(key);
    head.get(key).ok_or_else(|| unknown(what, id))
}

/// The events of a campaign.
fn events(head: &Head<'_, Campaign>, campaign: u64) -> Vec<pb::Entry> {
    head.scan(&keys::of_campaign(campaign)).map(|(_, event)| event).collect()
}

fn inside(event: &pb::Entry, campaign: &pb::Entry) -> Result<(), Refusal> {
    let outside = outside(event, campaign);
    outside.map_or(Ok(()), |path| Err(violated(path, format!("it is outside of campaign {}", campaign.id))))
}

/// Has an entry be as it is now, and answers with it.
fn keep(mut entry: pb::Entry, called: &Called, cx: &mut Decide<'_, Campaign>) {
    phase::arm(&mut entry, cx);
    let key = keys::emitted(entry.id, entry.campaign);
    let called = if entry.campaign.is_some() { called.event } else { called.campaign };
    cx.emit(key, pb::Event { event: Some(called(entry.clone())) });
    cx.reply(pb::Reply { entry: Some(entry) });
}

fn remove(entry: &pb::Entry, cx: &mut Decide<'_, Campaign>) {
    phase::disarm(entry, cx);
    let gone = pb::Gone { id: entry.id, campaign: entry.campaign, version: entry.version };
    let called = if entry.campaign.is_some() { Event::EventDeleted } else { Event::CampaignDeleted };
    cx.emit(keys::emitted(entry.id, entry.campaign), pb::Event { event: Some(called(gone)) });
}
