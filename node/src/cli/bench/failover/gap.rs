//! The longest time without an acknowledgement.
use super::writer::Acked;
use std::time::{Duration, Instant};

/// The longest time between two acknowledgements in a row of which the second came after `kill`. `None` while there is
/// none after it.
pub(super) fn longest(acks: &[Acked], kill: Instant) -> Option<Duration> {
    let first_after = acks.partition_point(|ack| ack.at <= kill);
    // A partition without an acknowledgement before the kill has waited at least since then.
    let mut previous = first_after.checked_sub(1).map_or(kill, |before| acks[before].at);
    let gaps = acks[first_after..].iter().map(|ack| ack.at - std::mem::replace(&mut previous, ack.at));
    gaps.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(begin: Instant, milliseconds: &[u64]) -> Vec<Acked> {
        let ack = |ms: &u64| Acked { number: 0, offset: 0, at: begin + Duration::from_millis(*ms) };
        milliseconds.iter().map(ack).collect()
    }

    #[test]
    fn longest_gap_spans_the_kill_or_comes_after_it() {
        let begin = Instant::now();
        let kill = begin + Duration::from_millis(100);
        let longest = |times: &[u64]| longest(&acks(begin, times), kill).map(|gap| gap.as_millis());
        assert_eq!(longest(&[10, 98, 130, 131]), Some(32));
        assert_eq!(longest(&[10, 98, 130, 190]), Some(60), "a second election counts");
        assert_eq!(longest(&[10, 98]), None);
        assert_eq!(longest(&[]), None);
        assert_eq!(longest(&[140]), Some(40));
    }
}
