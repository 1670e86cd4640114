//! The longest time without an acknowledgement.
use std::time::{Duration, Instant};

/// The longest time between two acknowledgements in a row, of those gaps that are not over at `from` and have begun
/// before `until`. `times` ascend. Where nothing comes before `from`, nothing has come since `from`; where nothing comes
/// after `until`, the gap ends there.
pub(super) fn longest(times: &[Instant], from: Instant, until: Instant) -> Duration {
    let first_after = times.partition_point(|time| *time <= from);
    let mut previous = first_after.checked_sub(1).map_or(from, |before| times[before]);
    let mut longest = Duration::ZERO;
    for time in &times[first_after..] {
        if previous >= until {
            return longest;
        }
        longest = longest.max(*time - previous);
        previous = *time;
    }
    longest.max(until.saturating_duration_since(previous))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_gap_spans_the_fault_or_comes_after_it() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let longest = |times: &[u64]| {
            let times: Vec<Instant> = times.iter().map(|ms| at(*ms)).collect();
            longest(&times, at(100), at(200)).as_millis()
        };
        assert_eq!(longest(&[10, 98, 130, 131, 199]), 68);
        assert_eq!(longest(&[10, 98, 160, 170, 200]), 62, "it spans the beginning");
        assert_eq!(longest(&[10, 98, 110, 199, 290]), 91, "it spans the end");
        assert_eq!(longest(&[10, 98, 110, 199, 201, 390]), 89, "what begins later does not count");
        assert_eq!(longest(&[10, 98]), 102, "nothing came until the end");
        assert_eq!(longest(&[]), 100);
        assert_eq!(longest(&[140]), 60);
    }
}
