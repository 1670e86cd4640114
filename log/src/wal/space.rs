//! How much room a node's disk has left, as a decision over values. Who measures and who acts is `supply`'s.
//!
//! ```text
//!     Plenty ── free space under `low`, or no reserve ──▶ Low ── no room for the next segment ──▶ Full
//!        ▲                                                 │                                       │
//!        └──── free space above `resume`, next segment and reserve made again ◀────────────────────┘
//! ```
//!
//! **Invariant**: the way back to `Plenty` asks for more than the way out of it, so that a disk at the mark does not make
//! a node change its mind with every segment.

use std::fmt;

/// Whether a node's disk takes writes of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// It does.
    #[default]
    Plenty,
    /// Little is left: clients are refused; everything else goes on.
    Low,
    /// There is no room for another segment: only what the node cannot do without is written, as long as it fits.
    Full,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Plenty => "plenty",
            Space::Low => "low",
            Space::Full => "full",
        })
    }
}

/// A file that is made ahead of its use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Not there yet, or just used.
    #[default]
    Missing,
    /// Made, and durable.
    Ready,
    /// There was no room for it.
    Denied,
}

/// What there is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub free: u64,
    pub total: u64,
    /// The next segment.
    pub spare: Ahead,
    /// What is given up when nothing else is left.
    pub reserve: Ahead,
    /// The writer waits for room.
    pub blocked: bool,
}

/// When it is little, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Less than this is little.
    pub low: u64,
    /// Not before there is this much it is enough again.
    pub resume: u64,
}

impl Marks {
    /// A share of the disk, and never less than two segments.
    pub(crate) fn new(total: u64, min_free_percent: u8, segment_bytes: u64) -> Self {
        let percent = |share: u8| (u128::from(total) * u128::from(share) / 100) as u64;
        let low = percent(min_free_percent).max(2 * segment_bytes);
        Marks { low, resume: low.saturating_add(percent(1).max(segment_bytes)) }
    }
}

/// What follows from `gauge` for a node that found `before` the last time.
pub(crate) fn decide(before: Space, gauge: &Gauge, marks: &Marks) -> Space {
    if gauge.blocked || gauge.spare == Ahead::Denied {
        return Space::Full;
    }
    let ready = gauge.spare == Ahead::Ready && gauge.reserve == Ahead::Ready;
    let enough = match before {
        Space::Plenty => gauge.free >= marks.low && gauge.reserve != Ahead::Denied,
        Space::Low | Space::Full => gauge.free >= marks.resume && ready,
    };
    if enough { Space::Plenty } else { Space::Low }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { low: 100, resume: 120 };

    fn gauge(free: u64, spare: Ahead, reserve: Ahead) -> Gauge {
        Gauge { free, total: 2000, spare, reserve, blocked: false }
    }

    #[test]
    fn the_marks_are_a_share_of_the_disk_and_never_less_than_two_segments() {
        assert_eq!(Marks::new(10_000, 5, 10), Marks { low: 500, resume: 600 });
        assert_eq!(Marks::new(10_000, 5, 1000), Marks { low: 2000, resume: 3000 });
        assert_eq!(Marks::new(10_000, 0, 10), Marks { low: 20, resume: 120 });
        assert!(Marks::new(u64::MAX, 100, 1).resume >= Marks::new(u64::MAX, 100, 1).low);
    }

    #[test]
    fn a_disk_at_the_mark_does_not_make_a_node_change_its_mind() {
        let ready = |free| gauge(free, Ahead::Ready, Ahead::Ready);
        let mut space = Space::Plenty;
        let mut changes = 0;
        for free in [101, 99, 101, 99, 119, 99, 101, 119, 120, 119, 100, 101, 119] {
            let next = decide(space, &ready(free), &MARKS);
            changes += u32::from(next != space);
            space = next;
        }
        assert_eq!((space, changes), (Space::Plenty, 2));
    }

    #[test]
    fn writes_are_taken_again_only_when_the_next_segment_and_the_reserve_are_there() {
        for before in [Space::Low, Space::Full] {
            assert_eq!(decide(before, &gauge(500, Ahead::Missing, Ahead::Ready), &MARKS), Space::Low);
            assert_eq!(decide(before, &gauge(500, Ahead::Ready, Ahead::Missing), &MARKS), Space::Low);
            assert_eq!(decide(before, &gauge(500, Ahead::Ready, Ahead::Ready), &MARKS), Space::Plenty);
        }
    }

    #[test]
    fn a_segment_that_was_just_taken_is_no_shortage() {
        assert_eq!(decide(Space::Plenty, &gauge(500, Ahead::Missing, Ahead::Missing), &MARKS), Space::Plenty);
    }

    #[test]
    fn no_room_for_the_next_segment_is_full_whatever_the_file_system_counts() {
        assert_eq!(decide(Space::Plenty, &gauge(500, Ahead::Denied, Ahead::Ready), &MARKS), Space::Full);
        let blocked = Gauge { blocked: true, ..gauge(500, Ahead::Ready, Ahead::Ready) };
        assert_eq!(decide(Space::Plenty, &blocked, &MARKS), Space::Full);
        assert_eq!(decide(Space::Plenty, &gauge(500, Ahead::Ready, Ahead::Denied), &MARKS), Space::Low);
    }
}
