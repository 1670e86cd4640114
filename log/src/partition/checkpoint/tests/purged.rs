//! A log whose beginning is gone: what is kept is read as before, and what is not is refused, never made up.
use super::{node::*, *};
use crate::{
    Consistency, Log, LogError,
    offline::{DumpError, Upto, dump},
    partition::Partition,
};
use futures::StreamExt as _;

fn not_kept<T: std::fmt::Debug>(found: &Result<T, LogError>) -> bool {
    matches!(found, Err(LogError::Unavailable(why)) if why.contains("not kept here"))
}

/// What the record at an offset says; every value appended is its own offset.
async fn value(partition: &Partition<SimWorld>, offset: u64) -> Result<u64, LogError> {
    let page = partition.read(offset, 1, 1, Consistency::Stale).await?;
    assert_eq!(page.records[0].offset, offset);
    Ok(std::str::from_utf8(&page.records[0].value).unwrap().parse().unwrap())
}

/// Appends the values up to 200, one by one, and purges the log up to and including the one of `offset`.
async fn append_and_purge(log: &Log<SimWorld>, offset: u64) {
    append(log, 0..200).await;
    let partition = log.partition(TOPIC, 0).unwrap();
    let last = partition.wal().last().unwrap();
    let upto = LogId { index: last.index - (199 - offset), ..last };
    partition.wal().purge(upto).await.unwrap();
}

#[test]
fn what_was_purged_is_refused_and_what_follows_keeps_its_offsets() {
    let sim = Sim::seed(20);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            append_and_purge(&log, 100).await;
            let partition = log.partition(TOPIC, 0).unwrap();
            let mut kept = 0;
            for offset in 0..200 {
                match value(&partition, offset).await {
                    Ok(value) => {
                        assert_eq!(value, offset);
                        assert!(offset > 100, "{offset} was purged");
                        kept += 1;
                    }
                    found => assert!(not_kept(&found), "{offset}: {found:?}"),
                }
            }
            // Those between the purge and the next mark, 64 batches behind the last one at most, cannot be placed.
            assert!((36..100).contains(&kept), "{kept} of 99");

            let first = partition.subscribe(0, 1 << 20).next().await.unwrap();
            assert!(not_kept(&first), "{first:?}");
            let mut end = partition.subscribe(200, 1 << 20);
            append(&log, 200..201).await;
            let found = end.next().await.unwrap().unwrap();
            assert_eq!((found.len(), found[0].offset), (1, 200));
            assert_eq!(value(&partition, 200).await, Ok(200));
        })
        .await;
        let disk = sim.restart(1).disk;
        on_node(&sim, async move {
            let refused = dump(&disk, Path::new(DIR), TOPIC, 0, Upto::Written).map(|dump| dump.count());
            assert!(matches!(refused, Err(DumpError::Log(error)) if not_kept::<()>(&Err(error.clone()))));
            let map = dump(&disk, Path::new(DIR), "_cluster", 0, Upto::Written).unwrap();
            assert!(map.map(Result::unwrap).count() > 0);
        })
        .await;
    });
}

/// As after a snapshot from elsewhere: the log goes on behind a checkpoint, and nothing before it is kept.
#[test]
fn everything_behind_an_installed_checkpoint_is_found() {
    let sim = Sim::seed(21);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            append_and_purge(&log, 199).await;
            log.shutdown().await;
        })
        .await;
        let (inside, env) = (sim.clone(), sim.restart(1));
        on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            append(&log, 200..210).await;
            let partition = log.partition(TOPIC, 0).unwrap();
            for offset in 200..210 {
                assert_eq!(value(&partition, offset).await, Ok(offset));
            }
            let found = value(&partition, 199).await;
            assert!(not_kept(&found), "{found:?}");
            let records = partition.subscribe(203, 1 << 20).next().await.unwrap().unwrap();
            assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), (203..210).collect::<Vec<_>>());
        })
        .await;
    });
}
