//! The verdict on a run: what clients were told against what every replica holds, and whether the run was worth anything.
use super::{
    clients::{checker_number, entry},
    phases::all_partitions,
    plan::{Plan, What},
    run::{Called, Run},
    tally::{Event, Expected, Tally},
    violation::{Invariant, Violation},
    watch::Watch,
};
use crate::checker::{Checker, Entry, Expectation, FinalLogs, MalformedHistory};
use corduroy_log::{Consistency, Log, LogError, testing::SimWorld};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A cluster that has so much time takes checkpoints.
const TIME_FOR_CHECKPOINTS: Duration = Duration::from_secs(10);

/// Every replica's records, by its own word. One whose log was damaged may have less, but nothing wrong.
pub(super) async fn dump(run: &Arc<Run>) -> Result<FinalLogs, Violation> {
    let mut logs = FinalLogs::new();
    for (name, topic, partition) in all_partitions(run) {
        for node in run.cluster.nodes() {
            let damaged = run.seen().is_damaged(node);
            let topic_name = name.clone();
            let dumped = run.call(node, async move |log: Log<SimWorld>| read_all(&log, &topic_name, partition).await);
            match dumped.await {
                Called::Answered(Ok(records)) => {
                    if let Some(pair) = records.windows(2).find(|pair| pair[0].time > pair[1].time) {
                        let what = format!("{name}/{partition} on node {node}: log time goes back at {:?}", pair[1]);
                        return Err(Violation::new(Invariant::NothingGoesBack, what));
                    }
                    check_keys(run, &records).map_err(|what| {
                        Violation::new(Invariant::Answers, format_args!("{name}/{partition} on node {node}: {what}"))
                    })?;
                    logs.add_records(node, checker_number(topic, partition), !damaged, 0, records);
                }
                Called::Answered(Err(LogError::NotHosted { .. })) => {}
                _ if damaged => {}
                Called::Answered(Err(error)) => {
                    let what = format!("{name}/{partition} on node {node}: {error}");
                    return Err(Violation::new(Invariant::Settling, what));
                }
                Called::NotRunning | Called::Lost => {
                    return Err(Violation::new(Invariant::Settling, format_args!("node {node} is gone")));
                }
            }
        }
    }
    Ok(logs)
}

/// What was appended only where its key had its last record at some offset is there only where that was so.
fn check_keys(run: &Run, records: &[Entry]) -> Result<(), String> {
    let seen = run.seen();
    let mut last = BTreeMap::new();
    for Entry { offset, id, .. } in records {
        let Some((key, expected)) = id.and_then(|id| seen.keyed.get(&id)) else { continue };
        let found = last.insert(key, *offset);
        if found != *expected {
            let key = String::from_utf8_lossy(key);
            return Err(format!(
                "offset {offset} expected the last record of {key} at {expected:?}; it was at {found:?}"
            ));
        }
    }
    Ok(())
}

async fn read_all(log: &Log<SimWorld>, topic: &str, partition: u32) -> Result<Vec<Entry>, LogError> {
    let partition = log.partition(topic, partition)?;
    let mut records: Vec<Entry> = Vec::new();
    loop {
        // A replica that was just started may not know yet how far its log is committed; its leader does.
        let read = partition.read(records.len() as u64, 256 << 10, u32::MAX, Consistency::Linearizable).await?;
        if read.records.is_empty() {
            return Ok(records);
        }
        records.extend(read.records.iter().map(entry));
    }
}

/// No promise of the log was broken, and the run was worth checking.
pub(super) fn judge(run: &Run, logs: FinalLogs, watch: &Watch, plan: &Plan) -> Result<Tally, Violation> {
    watch.count();
    let partitions = all_partitions(run).len();
    let mut seen = run.seen();
    let asks = |what: &What| matches!(what, What::Read { .. } | What::Subscribe { .. });
    let reads = u64::from(plan.operations.iter().any(|operation| asks(&operation.what)));
    let lost = usize::from(seen.damaged.is_some());
    let expected = Expectation {
        acked: u64::from(!plan.operations.is_empty()),
        reads: reads.min(seen.reads.len() as u64),
        partitions,
        replicas: run.settings.replication.min(3) as usize - lost,
        percent_acked_outside_faults: 0,
        faults: Vec::new(),
    };
    let malformed = |error: MalformedHistory| Violation::new(Invariant::Vacuous, error);
    let mut checker = Checker::new(logs, expected);
    for append in &seen.appends {
        checker.append(append).map_err(malformed)?;
    }
    for read in &seen.reads {
        checker.read(read).map_err(malformed)?;
    }
    let report = checker.finish();
    if let Some(first) = report.violations.first() {
        return Err(Violation::new(Invariant::Log(first.rule), report));
    }
    let outside = |at: &Duration| seen.windows.iter().all(|(from, to)| at < from || at > to);
    let quiet: Vec<bool> = seen.operations.iter().filter(|(at, _)| outside(at)).map(|(_, done)| *done).collect();
    let full = seen.full.values().sum();
    let unsynced = run.cluster.nodes().into_iter().map(|node| run.sim().node_stats(node).unsynced_sectors).sum();
    let tally = &mut seen.tally;
    for fault in &plan.faults {
        tally.fate_mut(fault.kind).planned += 1;
    }
    let counts = [
        (Event::Acknowledged, report.acked),
        (Event::Refused, report.refused),
        (Event::Unknown, report.unknown),
        (Event::Read, report.reads),
        (Event::Full, full),
        (Event::Unsynced, unsynced),
        (Event::Quiet, quiet.len() as u64),
        (Event::QuietDone, quiet.iter().filter(|done| **done).count() as u64),
    ];
    counts.into_iter().for_each(|(event, times)| tally.note(event, times));
    tally.runs = 1;
    tally.judge(Expected { checkpoints: run.settings.timing.checkpoint_interval <= TIME_FOR_CHECKPOINTS })?;
    Ok(tally.clone())
}
