//! When an entry is live, and what is told of that: its start and its end, each by a durable timer.
//!
//! ```text
//!   created, changed ─▶ a timer for what is told next ─ due ─▶ Started, Ended, or both where it is late ─▶ the next timer
//! ```
//!
//! A change takes the timer back and sets another one. One that fires nevertheless is of another version, and ignored.
use super::{Campaign, keys};
use crate::runtime::{Decide, Head};
use corduroy_proto::campaign::{self as pb, Phase, command::Command, event::Event};
use std::time::Duration;

/// Whether an entry is live: both of its dates belong to it (INV-29).
pub fn is_live(entry: &pb::Entry, now: u64) -> bool {
    entry.start <= now && now <= entry.end
}

/// Until when it stays as it is, live or not; `None`: for good.
pub fn next_change(entry: &pb::Entry, now: u64) -> Option<u64> {
    if now < entry.start { Some(entry.start) } else { (now <= entry.end).then_some(entry.end) }
}

fn phase_at(entry: &pb::Entry, now: u64) -> Phase {
    match now {
        now if now < entry.start => Phase::Upcoming,
        now if now <= entry.end => Phase::Live,
        _ => Phase::Ended,
    }
}

/// After its dates were changed: where an entry has not come as far as was told, its start is told again.
pub(super) fn rewind(entry: &mut pb::Entry, now: u64) {
    if phase_at(entry, now) < entry.phase() {
        entry.set_phase(Phase::Upcoming);
    }
}

/// Sets the timer for what is to be told next, in place of the one there was.
pub(super) fn arm(entry: &mut pb::Entry, cx: &mut Decide<'_, Campaign>) {
    disarm(entry, cx);
    let due = match entry.phase() {
        Phase::Unspecified | Phase::Upcoming => entry.start,
        // The end belongs to it.
        Phase::Live => entry.end.saturating_add(1),
        Phase::Ended => {
            entry.timer = 0;
            return;
        }
    };
    let left = Duration::from_micros(due.saturating_sub(cx.now().0));
    let command = Command::Due(pb::Due { version: entry.version });
    entry.timer = cx.after(left, keys::of(entry), &pb::Command { command: Some(command) });
}

/// Takes the timer of an entry back.
pub(super) fn disarm(entry: &pb::Entry, cx: &mut Decide<'_, Campaign>) {
    if entry.timer != 0 {
        cx.cancel(entry.timer);
    }
}

/// Tells what has become of an entry.
pub(super) fn tell(head: &Head<'_, Campaign>, key: &str, due: &pb::Due, cx: &mut Decide<'_, Campaign>) {
    let Some(mut entry) = head.get(key).filter(|entry| entry.version == due.version) else { return };
    let (told, is) = (entry.phase(), phase_at(&entry, cx.now().0));
    if is <= told {
        return;
    }
    entry.set_phase(is);
    arm(&mut entry, cx);
    let emitted = keys::emitted(entry.id, entry.campaign);
    let mut emit = |event| cx.emit(emitted.clone(), pb::Event { event: Some(event) });
    if told < Phase::Live {
        let started = pb::Entry { phase: Phase::Live.into(), ..entry.clone() };
        let is_event = started.campaign.is_some();
        emit(if is_event { Event::EventStarted(started) } else { Event::CampaignStarted(started) });
    }
    if is == Phase::Ended {
        emit(if entry.campaign.is_some() { Event::EventEnded(entry) } else { Event::CampaignEnded(entry) });
    }
}
