//! What `corduroy bench partition --format json` prints, as far as it is drawn.
use serde::Deserialize;

/// A run of all its scenarios.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub(super) machine: Machine,
    pub(super) nodes: u64,
    pub(super) partitions: u64,
    pub(super) rate: f64,
    pub(super) record_bytes: u64,
    pub(super) scenarios: Vec<Scenario>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    pub(super) cores: u64,
    pub(super) cpu: Option<String>,
    pub(super) file_system: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scenario {
    pub(super) scenario: String,
    pub(super) title: String,
    pub(super) fault_from_ms: f64,
    pub(super) fault_until_ms: f64,
    pub(super) fault: Phase,
    pub(super) records: Records,
    pub(super) checked: Checked,
    pub(super) timeline: Timeline,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Phase {
    pub(super) gap_ms: f64,
    pub(super) gap_partition_max_ms: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Records {
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checked {
    pub(super) lost: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeline {
    pub(super) bin_ms: f64,
    /// Records acknowledged in the bin.
    pub(super) acked: Vec<f64>,
    pub(super) p50_ms: Vec<Option<f64>>,
    pub(super) p99_ms: Vec<Option<f64>>,
}

impl Timeline {
    /// Its length. Seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.acked.len() as f64 * self.bin_ms / 1e3
    }

    /// (middle of the bin in seconds, records a second).
    pub(super) fn throughput(&self) -> Vec<(f64, f64)> {
        self.at_middles(self.acked.iter().map(|acked| Some(acked * 1e3 / self.bin_ms)))
    }

    /// (middle of the bin in seconds, milliseconds), of the bins that have a value.
    pub(super) fn at_middles(&self, values: impl Iterator<Item = Option<f64>>) -> Vec<(f64, f64)> {
        let middle = |bin: usize| (bin as f64 + 0.5) * self.bin_ms / 1e3;
        values.enumerate().filter_map(|(bin, value)| Some((middle(bin), value?))).collect()
    }
}
