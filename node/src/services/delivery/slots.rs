//! Which days have room, and how many places of each are taken.
use crate::services::Settings;
use corduroy_log::world::Timestamp;
use corduroy_proto::delivery::{self as pb, event::Event};

const MICROS_A_DAY: u64 = 24 * 60 * 60 * 1_000_000;
/// Days that lie further back, from the day of an event, are dropped.
const KEPT_DAYS: i64 = 60;

/// The UTC day, from 1970-01-01.
fn day_of(time: Timestamp) -> i64 {
    i64::try_from(time.0 / MICROS_A_DAY).unwrap_or(i64::MAX)
}

/// The days that come into question now.
pub(super) struct Room<'a> {
    settings: &'a Settings,
    first: i64,
    taken: &'a [pb::Day],
}

impl<'a> Room<'a> {
    pub(super) fn new(settings: &'a Settings, now: Timestamp, partition: &'a pb::Partition) -> Self {
        let first = day_of(now).saturating_add(settings.delivery_lead_days);
        Room { settings, first, taken: &partition.days }
    }

    /// Their first and last one.
    pub(super) fn days(&self) -> (i64, i64) {
        (self.first, self.first.saturating_add(self.settings.delivery_horizon_days).saturating_sub(1))
    }

    /// The earliest that has room.
    pub(super) fn first_free(&self) -> Option<i64> {
        self.earliest().filter(|day| *day <= self.days().1)
    }

    /// A day for what cannot be refused: with a capacity that was not there when it was checked out, it goes as far as it
    /// must, and where no day ever has room, it takes the first.
    pub(super) fn for_certain(&self) -> i64 {
        self.earliest().unwrap_or(self.first)
    }

    /// The earliest that has room, however far it is.
    fn earliest(&self) -> Option<i64> {
        let Some(capacity) = self.settings.delivery_capacity else { return Some(self.first) };
        if capacity <= 0 {
            return None;
        }
        // Days without an entry have room: one more than there are entries is enough to look at.
        let tries = i64::try_from(self.taken.len()).unwrap_or(i64::MAX);
        (0..=tries).map(|day| self.first.saturating_add(day)).find(|day| self.taken_on(*day) < capacity)
    }

    fn taken_on(&self, day: i64) -> i64 {
        let place = self.taken.binary_search_by_key(&day, |taken| taken.day);
        place.ok().and_then(|place| self.taken.get(place)).map_or(0, |taken| taken.taken)
    }
}

/// Counts what an event takes or gives back.
pub(super) fn count(partition: &mut pb::Partition, event: &Event, time: Timestamp) {
    let (slot, more) = match event {
        Event::Held(slot) | Event::Scheduled(slot) => (slot, 1),
        Event::Voided(slot) => (slot, -1),
        Event::Refused(_) | Event::Delivered(_) => return,
    };
    let oldest = day_of(time).saturating_sub(KEPT_DAYS);
    let days = &mut partition.days;
    days.retain(|day| day.day >= oldest);
    if !slot.counted {
        return;
    }
    match days.binary_search_by_key(&slot.day, |day| day.day) {
        Ok(place) => {
            if let Some(day) = days.get_mut(place) {
                day.taken = day.taken.saturating_add(more);
            }
        }
        Err(place) => days.insert(place, pb::Day { day: slot.day, taken: more }),
    }
    days.retain(|day| day.taken > 0);
}
