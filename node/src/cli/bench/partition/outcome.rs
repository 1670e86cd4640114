//! What a scenario did to throughput and times.
use super::{
    super::{
        cpu::CpuSeconds,
        gap,
        latencies::{Latencies, rounded},
        timeline::Timeline,
    },
    fault::{Inflicted, Proof},
    ledger::{Counts, Ledger},
    replicas::Checked,
    scenario::Scenario,
};
use crate::cli::exit::Failure;
use serde::Serialize;
use std::time::{Duration, Instant};

/// The share of the baseline at which throughput counts as back.
const BACK: f64 = 0.9;

/// When what was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Begin of the baseline, and of the timeline.
    pub(super) begin: Instant,
    /// End of the load.
    pub(super) end: Instant,
    /// Who used the processor during the baseline.
    pub(super) cpu: Option<CpuSeconds>,
}

/// All about one scenario.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub(super) scenario: Scenario,
    pub(super) title: &'static str,
    /// The node it struck.
    victim: Option<u64>,
    /// How many partitions that node led.
    led: usize,
    /// Of the timeline.
    fault_from_ms: u64,
    fault_until_ms: u64,
    pub(super) baseline: Phase,
    pub(super) fault: Phase,
    pub(super) recovery: Phase,
    /// Acknowledged during the fault, as a share of what the baseline would have had.
    pub(super) fault_share: f64,
    /// From the beginning of the fault until throughput is at 90 % of the baseline and holds for a second. `None`: not before
    /// the end.
    pub(super) back_ms: Option<u64>,
    pub(super) records: Counts,
    pub(super) checked: Checked,
    /// During the baseline; tells whether the machine had other work.
    pub(super) cpu_seconds: Option<CpuSeconds>,
    pub(super) proofs: Vec<Proof>,
    timeline: Timeline,
}

/// A part of the run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Phase {
    records_per_second: f64,
    /// The longest time without an acknowledgement, of all partitions together. It may reach beyond the phase on either
    /// side; that of the baseline ends with it.
    pub(super) gap_ms: f64,
    /// The same by partition: half of them had none that was longer, and none had one longer than the last.
    gap_partition_p50_ms: f64,
    pub(super) gap_partition_max_ms: f64,
    /// Of what was due in the phase, until its answer, whichever it was.
    #[serde(rename = "ackMs")]
    pub(super) ack: Latencies,
}

impl Outcome {
    pub(super) fn of(
        scenario: Scenario,
        led: usize,
        times: Times,
        inflicted: Inflicted,
        ledger: &Ledger,
        checked: Checked,
    ) -> Self {
        let Inflicted { victim, from, until, proofs } = inflicted;
        let timeline = Timeline::of(ledger.samples().into_iter(), times.begin, times.end);
        let lanes = ledger.ack_times();
        // Nothing the fault does is to be seen in the baseline.
        let before: Vec<Vec<Instant>> =
            lanes.iter().map(|lane| lane[..lane.partition_point(|at| *at < from)].to_vec()).collect();
        let phase = |lanes: &[Vec<Instant>], from, until| Phase::of(lanes, ledger, &timeline, from, until);
        let (baseline, fault, recovery) =
            (phase(&before, times.begin, from), phase(&lanes, from, until), phase(&lanes, until, times.end));
        let back = timeline.back_to(baseline.records_per_second * BACK, from);
        let since_begin = |at: Instant| milliseconds(at - times.begin);
        Outcome {
            scenario,
            title: scenario.title(),
            victim,
            led,
            fault_from_ms: since_begin(from),
            fault_until_ms: since_begin(until),
            fault_share: rounded(fault.records_per_second / baseline.records_per_second.max(1.0)),
            back_ms: back.map(milliseconds),
            baseline,
            fault,
            recovery,
            records: ledger.counts(),
            checked,
            cpu_seconds: times.cpu,
            proofs,
            timeline,
        }
    }

    /// Whether the fault happened, and nothing that was promised was broken.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let name = self.scenario;
        if let Some(proof) = self.proofs.iter().find(|proof| !proof.shown) {
            return Err(Failure::refused(format!("{name}: the fault did not happen as it should: {}", proof.what)));
        }
        if !self.checked.is_clean() {
            let Checked { verdict, differing, .. } = &self.checked;
            return Err(Failure::refused(format!("{name}: {verdict}; {differing} partitions whose replicas differ")));
        }
        if self.records.acknowledged == 0 {
            return Err(Failure::refused(format!("{name}: nothing was acknowledged, so nothing is shown")));
        }
        Ok(())
    }
}

impl Phase {
    fn of(lanes: &[Vec<Instant>], ledger: &Ledger, timeline: &Timeline, from: Instant, until: Instant) -> Self {
        let mut gaps: Vec<Duration> = lanes.iter().map(|times| gap::longest(times, from, until)).collect();
        gaps.sort_unstable();
        let mut all: Vec<Instant> = lanes.iter().flatten().copied().collect();
        all.sort_unstable();
        let mut ack = Latencies::new();
        let due = ledger.samples().into_iter().filter(|sample| (from..until).contains(&sample.due));
        due.for_each(|sample| ack.record(sample.answered - sample.due));
        let ms = |gap: Option<&Duration>| rounded(gap.map_or(0.0, Duration::as_secs_f64) * 1e3);
        Phase {
            records_per_second: timeline.rate(from, until).round(),
            gap_ms: ms(Some(&gap::longest(&all, from, until))),
            gap_partition_p50_ms: ms(gaps.get(gaps.len() / 2)),
            gap_partition_max_ms: ms(gaps.last()),
            ack,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::judge::Verdict;
    use super::{super::ledger::Outcome as Answer, *};

    /// A second of one acknowledged request every 10 ms, with a fault in the middle.
    fn outcome(proofs: Vec<Proof>, checked: Checked) -> Outcome {
        let begin = Instant::now() - Duration::from_secs(1);
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let ledger = Ledger::new(1, 1);
        for number in 0..100 {
            ledger.begin(at(10 * number));
            ledger.settle(number, Answer::Acked(number));
        }
        let inflicted = Inflicted { victim: Some(1), from: at(300), until: at(600), proofs };
        let times = Times { begin, end: Instant::now(), cpu: None };
        Outcome::of(Scenario::Leader, 1, times, inflicted, &ledger, checked)
    }

    fn proof(shown: bool) -> Vec<Proof> {
        vec![Proof { what: "node 1 to 2, cut: 0 bytes held".into(), shown }]
    }

    #[test]
    fn a_fault_that_did_not_happen_fails_the_run() {
        assert!(outcome(proof(true), Checked::default()).verdict().is_ok());
        let failure = outcome(proof(false), Checked::default()).verdict().expect_err("nothing was held");
        assert!(failure.to_string().contains("did not happen"), "{failure}");
    }

    #[test]
    fn a_loss_fails_the_run_by_name() {
        let lost = Checked { verdict: Verdict { lost: 1, ..Verdict::default() }, ..Checked::default() };
        let failure = outcome(proof(true), lost).verdict().expect_err("a record was lost");
        assert!(failure.to_string().contains("leader: 1 lost"), "{failure}");
        let differing = Checked { differing: 1, ..Checked::default() };
        assert!(outcome(proof(true), differing).verdict().is_err());
    }
}
