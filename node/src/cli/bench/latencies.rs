//! A distribution of times.
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use std::time::Duration;

/// Longest time told apart from longer ones. Nanoseconds.
const LONGEST: u64 = 120_000_000_000;

/// Times, to three digits. As JSON: milliseconds by quantile.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

/// The quantiles that are reported, and their names.
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

impl Latencies {
    pub(super) fn new() -> Self {
        Latencies(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }

    pub(super) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that the share `quantile` of all times does not exceed. Milliseconds; 0 where there are none.
    pub(super) fn milliseconds(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// `p50 0.281  p90 0.310 ... ms`
    pub(super) fn text(&self) -> String {
        let one = |(name, quantile): &(&str, f64)| format!("{name} {:.3}", self.milliseconds(*quantile));
        let all: Vec<String> = QUANTILES.iter().map(one).collect();
        format!("{} ms ({} samples)", all.join("  "), self.count())
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(QUANTILES.len() + 1))?;
        for (name, quantile) in QUANTILES {
            map.serialize_entry(name, &rounded(self.milliseconds(quantile)))?;
        }
        map.serialize_entry("count", &self.count())?;
        map.end()
    }
}

/// Microseconds are as exact as it gets.
pub(super) fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let mut latencies = Latencies::new();
        for microseconds in 1..=1000 {
            latencies.record(Duration::from_micros(microseconds));
        }
        assert!((latencies.milliseconds(0.5) - 0.5).abs() < 0.001, "{}", latencies.text());
        let json = serde_json::to_value(&latencies).expect("numbers");
        assert_eq!((&json["p99"], &json["max"], &json["count"]), (&0.99.into(), &1.0.into(), &1000.into()), "{json}");
    }
}
