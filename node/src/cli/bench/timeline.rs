//! What happened in each tenth of a second.
//!
//! A record counts in the tenth in which it was acknowledged: that is throughput. A time counts in the tenth in which its
//! request was due: that is what somebody saw who came then. So an outage of a second is a hole in the one and a slope in
//! the other, which begins at a second and falls as those who came later waited for less.
use super::latencies::rounded;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Length of one bin.
pub(super) const BIN: Duration = Duration::from_millis(100);
/// Bins over which throughput must hold to count as back: a second.
const HOLDS: usize = 10;

/// One request, as a timeline sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) due: Instant,
    /// When its answer came, whichever it was.
    pub(super) answered: Instant,
    /// Records acknowledged by the answer.
    pub(super) acked: u64,
}

/// Bins from a moment on.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeline {
    #[serde(skip)]
    begin: Instant,
    bin_ms: u64,
    /// Records acknowledged in the bin.
    acked: Vec<u64>,
    /// Median of the times of what was due in the bin; `None` where nothing was.
    p50_ms: Vec<Option<f64>>,
    p99_ms: Vec<Option<f64>>,
}

impl Timeline {
    /// The whole bins from `begin` to `end`.
    pub(super) fn of(samples: impl Iterator<Item = Sample>, begin: Instant, end: Instant) -> Self {
        let count = bins_until(begin, end);
        let (mut acked, mut times) = (vec![0; count], vec![Vec::new(); count]);
        for sample in samples {
            if let Some(acked) = bin_of(begin, sample.answered).and_then(|bin| acked.get_mut(bin)) {
                *acked += sample.acked;
            }
            if let Some(times) = bin_of(begin, sample.due).and_then(|bin| times.get_mut(bin)) {
                times.push(sample.answered - sample.due);
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        let at = |share: f64| times.iter().map(|times| quantile(times, share)).collect();
        Timeline { begin, bin_ms: BIN.as_millis() as u64, acked, p50_ms: at(0.5), p99_ms: at(0.99) }
    }

    /// Records acknowledged per second in the whole bins between two moments.
    pub(super) fn rate(&self, from: Instant, until: Instant) -> f64 {
        mean(&self.acked[self.clamped(from)..self.clamped(until)]) / BIN.as_secs_f64()
    }

    /// How long after `from` throughput is at `per_second` and holds for the second that follows. `None`: not before the
    /// end.
    pub(super) fn back_to(&self, per_second: f64, from: Instant) -> Option<Duration> {
        let level = per_second * BIN.as_secs_f64();
        let bins = &self.acked[self.clamped(from)..];
        let is_back = |window: &[u64]| window[0] as f64 >= level && mean(window) >= level;
        let bin = bins.windows(HOLDS.min(bins.len().max(1))).position(is_back)?;
        Some(BIN * bin as u32)
    }

    fn clamped(&self, at: Instant) -> usize {
        bins_until(self.begin, at).min(self.acked.len())
    }
}

fn bins_until(begin: Instant, end: Instant) -> usize {
    (end.saturating_duration_since(begin).as_nanos() / BIN.as_nanos()) as usize
}

fn bin_of(begin: Instant, at: Instant) -> Option<usize> {
    (at >= begin).then(|| bins_until(begin, at))
}

fn mean(bins: &[u64]) -> f64 {
    bins.iter().sum::<u64>() as f64 / bins.len().max(1) as f64
}

/// The time that so large a share does not exceed. Milliseconds.
fn quantile(sorted: &[Duration], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).map(|time| rounded(time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// One request of ten records every 10 ms for three seconds, answered after 1 ms; those due in the second second are
    /// answered at its end.
    fn outage(begin: Instant) -> Timeline {
        let samples = (0..300).map(|number| {
            let due = begin + ms(10 * number);
            let answered = if (100..200).contains(&number) { begin + ms(2001) } else { due + ms(1) };
            Sample { due, answered, acked: 10 }
        });
        Timeline::of(samples, begin, begin + ms(3050))
    }

    #[test]
    fn an_outage_is_a_hole_in_throughput_and_a_slope_in_times() {
        let begin = Instant::now();
        let timeline = outage(begin);
        assert_eq!(timeline.acked.len(), 30, "half a bin is none");
        assert_eq!((timeline.acked[9], timeline.acked[10], timeline.acked[19]), (100, 0, 0));
        assert_eq!(timeline.acked[20], 1100, "what waited comes at once");
        assert_eq!(timeline.acked.iter().sum::<u64>(), 3000);
        assert_eq!((timeline.p99_ms[10], timeline.p99_ms[19]), (Some(1001.0), Some(101.0)));
        assert_eq!((timeline.p50_ms[0], timeline.p99_ms[0]), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn rates_are_of_whole_bins() {
        let begin = Instant::now();
        let timeline = outage(begin);
        assert_eq!(timeline.rate(begin, begin + ms(1000)), 1000.0);
        assert_eq!(timeline.rate(begin + ms(1000), begin + ms(2000)), 0.0);
        assert_eq!(timeline.rate(begin, begin + ms(9000)), 1000.0, "not beyond the end");
        assert_eq!(timeline.rate(begin, begin), 0.0);
    }

    #[test]
    fn throughput_is_back_when_it_holds_for_a_second() {
        let begin = Instant::now();
        let timeline = outage(begin);
        assert_eq!(timeline.back_to(900.0, begin + ms(1000)), Some(ms(1000)));
        assert_eq!(timeline.back_to(900.0, begin + ms(2000)), Some(ms(0)));
        assert_eq!(timeline.back_to(5000.0, begin + ms(1000)), None, "never");
        let flapping = (0..30).map(|number| {
            let due = begin + ms(100 * number);
            Sample { due, answered: due, acked: if number % 2 == 0 || number >= 20 { 100 } else { 0 } }
        });
        let timeline = Timeline::of(flapping, begin, begin + ms(3000));
        assert_eq!(timeline.back_to(900.0, begin), Some(ms(1800)), "one good bin is not enough");
    }

    #[test]
    fn times_without_requests_are_none() {
        let begin = Instant::now();
        let timeline = Timeline::of(std::iter::empty(), begin, begin + ms(200));
        assert_eq!(timeline.p99_ms, [None, None]);
        assert_eq!(timeline.back_to(1.0, begin), None);
    }
}
