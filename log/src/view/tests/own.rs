//! Views that somebody else brings.
use super::*;
use crate::{
    LogError,
    config::NodeAddress,
    topic::ClusterId,
    world::{Env, StoreError, Tree},
};
use std::sync::Arc;

/// How many records each key has, and which keys have so many: it reads what it wrote, and deletes.
struct Counts {
    version: u32,
    panics_at: Option<&'static str>,
}

const COUNTS: &str = "counts";

impl View for Counts {
    fn name(&self) -> &'static str {
        COUNTS
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn trees(&self) -> &'static [Tree] {
        &["by_key", "by_count"]
    }

    fn wants(&self, topic: &str) -> bool {
        topic != crate::CLUSTER_TOPIC
    }

    fn take(&self, input: &ViewInput<'_>, change: &mut Change<'_>) -> Result<(), StoreError> {
        for record in input.records().unwrap_or_default() {
            assert!(self.panics_at.is_none_or(|value| record.value != value), "a record it does not like");
            let Some(key) = record.key else { continue };
            let count: u64 = change.get_as("by_key", &key)?.unwrap_or(0);
            let by_count = |count: u64| [&count.to_be_bytes()[..], &key].concat();
            change.delete("by_count", &by_count(count))?;
            change.put_as("by_key", &key, &(count + 1))?;
            change.put("by_count", &by_count(count + 1), Vec::new())?;
        }
        Ok(())
    }
}

fn config() -> Config {
    let me = NodeAddress::new(1, "node-1");
    let mut config = Config::new("/data", ClusterId([7; 16]), 1, vec![me]);
    small(&mut config);
    config
}

/// Opens the node with the view, and waits until the topic can be written to.
async fn open(sim: &Sim, env: Env<SimWorld>, view: Counts) -> (Log<SimWorld>, Partition<SimWorld>) {
    let log = Log::open_with_views(config(), env, vec![Arc::new(view)]).await.unwrap();
    while !log.readiness().iter().all(|check| check.ok) {
        sim.sleep(Duration::from_millis(5)).await;
    }
    if log.topics().is_empty() {
        log.create_topic(NewTopic::new(TOPIC, 1)).await.unwrap();
    }
    loop {
        match log.partition(TOPIC, 0) {
            Ok(partition) if partition.info().leader.is_some() => {
                follows(&log).await;
                return (log, partition);
            }
            _ => sim.sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The keys by how often they were appended.
async fn counted(partition: &Partition<SimWorld>) -> Vec<(u64, String)> {
    let read = |reader: &ViewReader<'_>| {
        reader.range("by_count", (Bound::Unbounded, Bound::Unbounded), Direction::Ascending, usize::MAX)
    };
    let pairs = partition.read_view(COUNTS, Consistency::Linearizable, read).await.unwrap();
    let count = |(key, _): Pair| {
        (u64::from_be_bytes(*key.first_chunk().unwrap()), String::from_utf8(key[8..].to_vec()).unwrap())
    };
    pairs.into_iter().map(count).collect()
}

fn of(log: &Log<SimWorld>) -> ViewStatus {
    log.views().into_iter().find(|view| view.name == COUNTS).unwrap()
}

#[test]
fn a_view_that_reads_what_it_wrote_counts_right_over_restarts_and_versions() {
    let sim = Sim::seed(70);
    sim.run(async {
        sim.spare_views(1, true);
        let mut appended = 0;
        for (life, version) in [1, 1, 1, 2].into_iter().enumerate() {
            let (inside, env) = (sim.clone(), if life == 0 { sim.env(1) } else { sim.restart(1) });
            let script = async move {
                let (log, partition) = open(&inside, env, Counts { version, panics_at: None }).await;
                assert_eq!(of(&log).rebuilt(), u64::from(version == 2), "{}", of(&log));
                for nth in appended..appended + 30 {
                    partition
                        .append((0..=nth % 5).map(|key| NewRecord::new("x").with_key(format!("k{key}"))).collect())
                        .await
                        .unwrap();
                }
                let total = appended + 30;
                let expected: Vec<_> = (0..5)
                    .rev()
                    .map(|key| ((0..total).filter(|nth| nth % 5 >= key).count() as u64, format!("k{key}")))
                    .collect();
                assert_eq!(counted(&partition).await, expected);
                if life == 1 {
                    log.shutdown().await;
                }
            };
            sim.spawn_on(1, script).await.unwrap();
            appended += 30;
        }
    });
}

#[test]
fn a_view_that_panics_stands_still_alone_and_says_why() {
    let sim = Sim::seed(71);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        let script = async move {
            let (log, partition) = open(&inside, env, Counts { version: 1, panics_at: Some("poison") }).await;
            for value in ["a", "b", "poison", "c"] {
                partition.append(vec![NewRecord::new(value).with_key("k")]).await.unwrap();
            }
            let read = |reader: &ViewReader<'_>| reader.get("by_key", b"k");
            let refused = partition.read_view(COUNTS, Consistency::Stale, read).await.unwrap_err();
            assert!(
                matches!(&refused, LogError::Unavailable(why) if why.contains("a record it does not like")),
                "{refused}"
            );
            assert!(of(&log).to_string().contains("order/0 stands still"), "{}", of(&log));
            assert_eq!(partition.offset_at(Timestamp(u64::MAX), Consistency::Stale).await.unwrap().offset, 4);
            assert!(log.readiness().iter().all(|check| check.ok));
            let nobody = partition.read_view("nobody", Consistency::Stale, read).await.unwrap_err();
            assert!(matches!(nobody, LogError::Invalid(_)), "{nobody}");
        };
        sim.spawn_on(1, script).await.unwrap();
    });
}
