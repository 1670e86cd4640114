//! The report: a table for people, one object for programs.
use super::{super::Report, Args, outcome::Outcome};
use crate::cli::{exit::Failure, output::table};
use serde::Serialize;

/// All scenarios.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Partitioned {
    nodes: u64,
    replication: u64,
    partitions: u32,
    /// Records a second that were due.
    rate: u32,
    batch: u32,
    record_bytes: u32,
    scenarios: Vec<Outcome>,
}

impl Partitioned {
    pub(super) fn new(args: &Args, scenarios: Vec<Outcome>) -> Self {
        Partitioned {
            nodes: args.nodes,
            replication: args.nodes,
            partitions: args.partitions,
            rate: args.rate,
            batch: args.batch,
            record_bytes: args.record_bytes,
            scenarios,
        }
    }
}

/// One scenario in one line, while the others are still to come.
pub(super) fn line(outcome: &Outcome) -> String {
    let Outcome { scenario, fault, records, checked, .. } = outcome;
    format!(
        "{scenario}: {} of the baseline in the fault; longest gap {} ms in one partition, {} ms in all; {} of {} records \
         acknowledged, {} unknown, {} refused; {} replicas read: {}",
        percent(outcome.fault_share),
        fault.gap_partition_max_ms.round(),
        fault.gap_ms.round(),
        records.acknowledged,
        records.sent,
        records.unknown,
        records.refused + records.withheld,
        checked.replicas,
        checked.verdict,
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn row(outcome: &Outcome) -> Vec<String> {
    let Outcome { scenario, baseline, fault, recovery, records, checked, .. } = outcome;
    let ms = |ms: f64| format!("{ms:.0}");
    vec![
        scenario.to_string(),
        percent(outcome.fault_share),
        ms(fault.gap_partition_max_ms),
        ms(fault.gap_ms),
        outcome.back_ms.map_or("never".into(), |ms| ms.to_string()),
        format!("{:.1}", baseline.ack.milliseconds(0.99)),
        ms(fault.ack.milliseconds(0.99)),
        ms(recovery.gap_partition_max_ms),
        records.acknowledged.to_string(),
        records.unknown.to_string(),
        (records.refused + records.withheld).to_string(),
        checked.verdict.lost.to_string(),
    ]
}

const HEADINGS: [&str; 12] = [
    "scenario",
    "in the fault",
    "gap, one",
    "gap, all",
    "back after",
    "p99 before",
    "p99 in it",
    "gap later",
    "acknowledged",
    "unknown",
    "refused",
    "lost",
];

impl Report for Partitioned {
    fn text(&self) -> String {
        let mut text = format!(
            "partition: {} nodes, replication {}, {} partitions, {} records/s of {} B due, {} per request; times in ms\n",
            self.nodes, self.replication, self.partitions, self.rate, self.record_bytes, self.batch,
        );
        text += &table(&HEADINGS, self.scenarios.iter().map(row));
        text += "\nproof that it happened:";
        for outcome in &self.scenarios {
            for proof in &outcome.proofs {
                let mark = if proof.shown { "" } else { "NOT SHOWN: " };
                text += &format!("\n  {}: {mark}{}", outcome.scenario, proof.what);
            }
        }
        let (replicas, records) = self.scenarios.iter().fold((0, 0), |(replicas, records), outcome| {
            (replicas + outcome.checked.replicas, records + outcome.checked.records)
        });
        let cpu = self.scenarios.iter().filter_map(|outcome| outcome.cpu_seconds).reduce(|a, b| a + b);
        if let Some(cpu) = cpu {
            text += &format!("\n{cpu} (in the baselines)");
        }
        text += &format!("\nread afterwards: {records} records from {replicas} replicas");
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        self.scenarios.iter().try_for_each(Outcome::verdict)
    }
}
