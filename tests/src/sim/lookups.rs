//! What the views of the topics say at the end, against the logs and against each other.
//!
//! The views have been through everything the nodes have, and on top of that were damaged with every death. They are functions of
//! the logs: on all replicas alike, whatever they were built from.
use super::{
    phases::all_partitions,
    run::{Called, Run, TOPIC},
    tally::Event,
    violation::{Invariant, Verdict, Violation},
};
use corduroy_log::{
    Consistency, Log, LogError, Partition, Record,
    testing::SimWorld,
    world::{Direction, Pair, Timestamp},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

/// The view, and its trees.
const VIEW: &str = "topics";
const TREES: [&str; 3] = ["times", "pace", "keys"];
/// A view that is being built anew is waited for so often.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Of so many records, the time of one is looked for.
const SAMPLE: usize = 17;

/// Asks every replica for every key and for some times, and compares what its view holds with that of the others.
pub(super) async fn compare(run: &Arc<Run>) -> Verdict {
    for (topic, _, partition) in all_partitions(run) {
        let mut held: Option<(u64, Vec<Pair>)> = None;
        for node in run.cluster.nodes() {
            if run.seen().is_damaged(node) {
                continue;
            }
            let place = format!("{topic}/{partition} on node {node}");
            let Some(holds) = look(run, node, &topic, partition, &place).await? else { continue };
            match &held {
                Some((other, expected)) if *expected != holds => {
                    let what = format!("{place}: its view holds something else than that of node {other}");
                    return Err(Violation::new(Invariant::Views, what));
                }
                _ => held = Some((node, holds)),
            }
        }
    }
    let rebuilt: u64 =
        run.cluster.nodes().into_iter().filter_map(|node| run.cluster.log(node)).map(|log| rebuilds(&log)).sum();
    run.seen().tally.note(Event::Rebuilt, rebuilt);
    Ok(())
}

fn rebuilds(log: &Log<SimWorld>) -> u64 {
    log.views().iter().map(|view| view.rebuilt()).sum()
}

/// What the view of one replica holds; `None` where the node has none.
async fn look(
    run: &Arc<Run>,
    node: u64,
    topic: &str,
    partition: u32,
    place: &str,
) -> Result<Option<Vec<Pair>>, Violation> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let (name, by_key) = (topic.to_owned(), topic == TOPIC && run.settings.key_index);
        let looked = run.call(node, async move |log: Log<SimWorld>| {
            let partition = log.partition(&name, partition)?;
            let (wrong, compared) = disagreement(&partition, by_key).await?;
            Ok((wrong, compared, holds(&partition).await?))
        });
        match looked.await {
            Called::Answered(Ok((None, compared, pairs))) => {
                run.seen().tally.note(Event::LookedUp, compared);
                return Ok(Some(pairs));
            }
            Called::Answered(Ok((Some(wrong), ..))) => {
                return Err(Violation::new(Invariant::Views, format_args!("{place}: {wrong}")));
            }
            Called::Answered(Err(LogError::NotHosted { .. })) => return Ok(None),
            Called::Answered(Err(error)) => last = error.to_string(),
            Called::NotRunning | Called::Lost => last = format!("node {node} does not answer"),
        }
        run.sim().sleep(PAUSE).await;
    }
    Err(Violation::new(Invariant::Views, format_args!("{place}: no answer by key and time: {last}")))
}

/// The first thing found by key or by time that the log has elsewhere, and how many answers were compared.
async fn disagreement(partition: &Partition<SimWorld>, by_key: bool) -> Result<(Option<String>, u64), LogError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let page = partition.read(records.len() as u64, 256 << 10, u32::MAX, Consistency::Linearizable).await?;
        if page.records.is_empty() {
            break;
        }
        records.extend(page.records);
    }
    let mut compared = 0;
    let mut keys: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    for record in records.iter().filter(|_| by_key) {
        if let Some(key) = &record.key {
            keys.entry(key).or_default().push(record.offset);
        }
    }
    for (key, expected) in keys {
        let found = of_key(partition, key).await?;
        compared += 1;
        if found != expected {
            let key = String::from_utf8_lossy(key);
            return Ok((Some(format!("{key:?} is at {expected:?}, and found at {found:?}")), compared));
        }
    }
    let sample = records.iter().step_by(SAMPLE).flat_map(|record| [record.time.0, record.time.0 + 1]);
    for time in sample.chain([0, u64::MAX]).collect::<BTreeSet<u64>>() {
        let expected = records.iter().position(|record| record.time.0 >= time).unwrap_or(records.len()) as u64;
        let found = partition.offset_at(Timestamp(time), Consistency::Stale).await?.offset;
        compared += 1;
        if found != expected {
            return Ok((Some(format!("time {time} begins at {expected}, and is found at {found}")), compared));
        }
    }
    Ok((None, compared))
}

async fn of_key(partition: &Partition<SimWorld>, key: &[u8]) -> Result<Vec<u64>, LogError> {
    let (mut offsets, mut next) = (Vec::new(), 0);
    loop {
        let page = partition.read_key(key, next, 64 << 10, u32::MAX, Consistency::Stale).await?;
        offsets.extend(page.records.iter().map(|record| record.offset));
        next = page.next;
        if next == page.end {
            return Ok(offsets);
        }
    }
}

/// Everything the view has of the partition.
async fn holds(partition: &Partition<SimWorld>) -> Result<Vec<Pair>, LogError> {
    let everything = |reader: &corduroy_log::view::ViewReader<'_>| {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let pairs: Result<Vec<_>, _> =
            TREES.iter().map(|tree| reader.range(tree, all, Direction::Ascending, usize::MAX)).collect();
        Ok(pairs?.concat())
    };
    partition.read_view(VIEW, Consistency::Stale, everything).await
}
