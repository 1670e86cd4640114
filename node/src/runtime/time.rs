//! Log time, as a leader has it: it advances by a monotonic clock, and the wall clock only slews it (R55).
use corduroy_log::world::Timestamp;

/// Of ten microseconds that pass, log time makes nine to eleven: the wall clock has so much to say.
const SLEW: u64 = 10;

/// The log time of one leader. Never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogTime(u64);

impl LogTime {
    /// Where a new leader begins: where the log ended, or at its own clock if that is later and not known to be wrong.
    pub(crate) fn begin(log: Timestamp, wall: Option<Timestamp>) -> Self {
        LogTime(wall.map_or(log, |wall| log.max(wall)).0)
    }

    /// So many microseconds have passed by the monotonic clock, and the wall clock says this, if it is not known to be wrong.
    pub(crate) fn advance(&mut self, passed: u64, wall: Option<Timestamp>) -> Timestamp {
        let (expected, room) = (self.0.saturating_add(passed), passed / SLEW);
        self.0 = wall.map_or(expected, |wall| wall.0.clamp(expected - room, expected.saturating_add(room)));
        Timestamp(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the wall clock jumps, a second of log time takes between 0.9 and 1.1 of one.
        #[test]
        fn a_wall_clock_that_jumps_changes_little(steps in proptest::collection::vec((0..1_000_000u64, any::<u32>()), 1..50)) {
            let mut time = LogTime::begin(Timestamp(5_000_000), Some(Timestamp(7_000_000)));
            let (mut last, mut passed_in_all) = (7_000_000, 0);
            for (passed, wall) in steps {
                let now = time.advance(passed, Some(Timestamp(wall.into()))).0;
                prop_assert!(now >= last, "it went back");
                let made = now - last;
                prop_assert!(made * 10 >= passed * 9 && made * 10 <= passed * 11, "{passed} passed, {made} were made");
                (last, passed_in_all) = (now, passed_in_all + passed);
            }
            prop_assert!(last <= 7_000_000 + passed_in_all * 11 / 10);
        }
    }

    #[test]
    fn a_new_leader_with_a_clock_that_is_late_goes_on_where_the_log_ended() {
        let mut time = LogTime::begin(Timestamp(9_000_000), Some(Timestamp(1_000_000)));
        assert_eq!(time.advance(1_000, Some(Timestamp(1_001_000))), Timestamp(9_000_900));
    }

    #[test]
    fn a_clock_that_is_known_to_be_wrong_has_nothing_to_say() {
        let mut time = LogTime::begin(Timestamp(9_000_000), None);
        assert_eq!(time.advance(1_000, None), Timestamp(9_001_000));
    }
}
