//! Producers for conditional appends, which cannot share one: of two that are under way at once, one may be refused, and
//! then the numbers of the other would not follow. A slot is a producer with at most one append under way in a partition.
//! Slots are used again and again, so that a partition has to remember as many producers as were under way at once, and not
//! one for every append.
use corduroy_proto::v1;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Slots that are free, by partition.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<HashMap<(String, u32), Vec<Numbers>>>);

/// A producer and the number of its next record.
#[derive(Debug)]
struct Numbers {
    id: [u8; 16],
    next: u64,
}

/// A producer of one's own. Dropping it without giving it back means that nobody uses it any more.
#[derive(Debug)]
pub(crate) struct Slot {
    place: (String, u32),
    numbers: Numbers,
}

impl Slots {
    pub(crate) fn take(&self, topic: &str, partition: u32) -> Slot {
        let mut slot = self.new_one(topic, partition);
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(numbers) = free.get_mut(&slot.place).and_then(Vec::pop) {
            slot.numbers = numbers;
        }
        slot
    }

    /// One that nobody has used.
    pub(crate) fn new_one(&self, topic: &str, partition: u32) -> Slot {
        Slot { place: (topic.to_owned(), partition), numbers: Numbers { id: rand::random(), next: 0 } }
    }

    /// The outcome of the append is known.
    pub(crate) fn give_back(&self, slot: Slot) {
        let Slot { place, numbers } = slot;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().push(numbers);
    }
}

impl Slot {
    /// What the next append of this slot carries.
    pub(crate) fn stamp(&self) -> v1::ProducerStamp {
        v1::ProducerStamp { id: self.numbers.id.to_vec().into(), epoch: 0, sequence: self.numbers.next }
    }

    /// Whether nothing was appended with it.
    pub(crate) fn is_new(&self) -> bool {
        self.numbers.next == 0
    }

    /// So many records were appended.
    pub(crate) fn used(&mut self, records: u64) {
        self.numbers.next += records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_goes_on_numbering() {
        let slots = Slots::default();
        let mut first = slots.take("orders", 0);
        let second = slots.take("orders", 0);
        assert_ne!(first.stamp().id, second.stamp().id, "they are under way at once");
        first.used(3);
        let stamp = first.stamp();
        slots.give_back(first);
        assert_eq!(slots.take("orders", 0).stamp(), stamp);
        assert_ne!(slots.take("orders", 1).stamp().id, stamp.id);
        assert_eq!(stamp.sequence, 3);
    }
}
