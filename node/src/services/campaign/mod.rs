//! The campaign service: campaigns, the events in them, and when they are live.
//!
//! ```text
//!   none ──create──▶ an entry, version 1 ──replace, patch──▶ version + 1 ──delete──▶ gone, a campaign with its events
//!                      │
//!                      └─ upcoming ──start──▶ live ──behind the end──▶ ended: what subscribers are told, by a timer
//! ```
//!
//! Campaigns and events are both entries. Nobody keeps whether one is live: that is worked out of its dates whenever
//! somebody asks ([`is_live`]). The phase of an entry is something else: what was told of it, so that each start and each
//! end is told once, and again where dates are moved.
//!
//! - `change`: what clients ask for. `entry`: what an entry may look like. `phase`: what is told of its dates, and when.
//! - `keys`: where entries are.
//!
//! **Invariant** (INV-30): every event has a campaign that is there, and lies inside its dates. **Invariant** (INV-31):
//! ids are 0, 1, 2 and so on, of campaigns and of events each, and none is given twice.
mod change;
mod entry;
mod keys;
mod phase;

#[cfg(all(test, feature = "testing"))]
mod tests;

use crate::runtime::{At, Decide, Head, Input, Refusal, Service};
pub use change::MAX_EVENTS;
use corduroy_proto::campaign::{self as pb, command::Command, event::Event};
pub use entry::MAX_NAME;
pub use keys::{CAMPAIGNS, EVENTS, campaign as campaign_key, event as event_key, of_campaign};
pub use phase::{is_live, next_change};

/// The rules of the service. All of it is in one partition: ids are counted there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Campaign;

impl Service for Campaign {
    const NAME: &'static str = "campaign";
    const PARTITIONS: u32 = 1;

    type State = pb::Entry;
    type Partition = pb::Partition;
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        match &input.command.command {
            Some(Command::Create(create)) => change::create(head, create, cx)?,
            Some(Command::Replace(asked)) => change::change(head, input.key, asked, change::REPLACE, cx)?,
            Some(Command::Patch(asked)) => change::change(head, input.key, asked, change::PATCH, cx)?,
            Some(Command::Delete(delete)) => change::delete(head, input.key, delete, cx)?,
            Some(Command::Due(due)) => phase::tell(head, input.key, due, cx),
            None => cx.fault("a command of no known kind"),
        }
        Ok(())
    }

    fn knows(event: &pb::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<pb::Entry>, _key: &str, event: &pb::Event, _at: At) {
        match &event.event {
            Some(Event::CampaignDeleted(_) | Event::EventDeleted(_)) => *state = None,
            Some(
                Event::CampaignCreated(entry)
                | Event::CampaignReplaced(entry)
                | Event::CampaignPatched(entry)
                | Event::EventCreated(entry)
                | Event::EventReplaced(entry)
                | Event::EventPatched(entry)
                | Event::CampaignStarted(entry)
                | Event::CampaignEnded(entry)
                | Event::EventStarted(entry)
                | Event::EventEnded(entry),
            ) => *state = Some(entry.clone()),
            None => {}
        }
    }

    fn evolve_partition(partition: &mut pb::Partition, _key: &str, event: &pb::Event, _at: At) {
        let (next, id) = match &event.event {
            Some(Event::CampaignCreated(campaign)) => (&mut partition.next_campaign, campaign.id),
            Some(Event::EventCreated(event)) => (&mut partition.next_event, event.id),
            _ => return,
        };
        *next = id.saturating_add(1).max(*next);
    }

    fn concerns<'e>(key: &'e str, _event: &'e pb::Event) -> Vec<&'e str> {
        keys::concerned(key)
    }
}
