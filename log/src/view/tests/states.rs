//! The view of states: what a machine has is found where the machine says, whatever happened to the view.
use super::{property::Draw, *};
use crate::{Evolving, Frozen, LogError, Machine, Table, partition::Machines, view::states};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

const CLASSES: u64 = 5;

/// The last value of each key.
#[derive(Default)]
struct Latest {
    values: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// How many batches were asked what they touched.
    touched: Arc<AtomicU64>,
}

impl Latest {
    fn take(&self, records: Vec<Record>) {
        let mut values = self.values.lock().unwrap();
        for record in records {
            let key = record.key.unwrap_or_default().to_vec();
            match &record.value[..] {
                b"gone" => values.remove(&key),
                value => values.insert(key, value.to_vec()),
            };
        }
    }

    /// A key is found at what its value begins with, and at its length.
    fn placed(key: &[u8], value: &[u8]) -> Placed {
        assert_ne!(value, b"poison", "a value it does not like");
        let class = [b'c', value[0], 0];
        let length = [b'l', u8::try_from(value.len()).unwrap(), 0];
        (key.to_vec(), vec![class.to_vec(), length.to_vec()])
    }
}

impl Shown for Latest {
    fn version(&self) -> u32 {
        1
    }

    fn touched(&self, input: &ViewInput<'_>) -> Vec<Vec<u8>> {
        self.touched.fetch_add(1, Ordering::Relaxed);
        input.keys().map(|(_, key)| key.to_vec()).collect()
    }

    fn places(&self, keys: Vec<Vec<u8>>) -> Vec<Placed> {
        let values = self.values.lock().unwrap().clone();
        let placed =
            |key: Vec<u8>| values.get(&key).map(|value| Latest::placed(&key, value)).unwrap_or((key, Vec::new()));
        keys.into_iter().map(placed).collect()
    }

    fn walk(&self, after: Option<&[u8]>, limit: usize) -> Vec<Placed> {
        let values = self.values.lock().unwrap().clone();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = values.range::<[u8], _>((from, Bound::Unbounded)).take(limit);
        behind.map(|(key, value)| Latest::placed(key, value)).collect()
    }
}

struct Evolver(Arc<Latest>);

impl Machine for Evolver {
    fn evolve(&mut self, entry: Evolving<'_>) {
        self.0.take(entry.batch.decode(entry.base).unwrap());
    }

    fn freeze(&mut self) -> Frozen {
        let values = self.0.values.lock().unwrap().clone();
        Frozen::in_memory(move || {
            let line = |(key, value): (&Vec<u8>, &Vec<u8>)| [&key[..], b"=", value, b"\n"].concat();
            values.iter().flat_map(line).collect()
        })
    }

    fn check(&self, _state: &[u8], _: Option<&Table>) -> Result<(), String> {
        Ok(())
    }

    fn install(&mut self, state: &[u8], _: Option<Table>) -> Result<(), String> {
        let pairs = state.split(|byte| *byte == b'\n').filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            Some((line[..at].to_vec(), line[at + 1..].to_vec()))
        });
        *self.0.values.lock().unwrap() = pairs.collect();
        Ok(())
    }

    fn shown(&self) -> Option<Arc<dyn Shown>> {
        Some(self.0.clone())
    }
}

/// A cluster whose topic has the machine, and how often it was asked what a batch has touched.
async fn cluster(sim: &Sim, nodes: u64) -> (SimCluster, Arc<AtomicU64>) {
    let touched = Arc::new(AtomicU64::new(0));
    let counted = touched.clone();
    let adjust = move |config: &mut Config| {
        small(config);
        config.timing.checkpoint_interval = Duration::from_secs(1);
        let touched = counted.clone();
        config.machines = Machines::new(move |topic, _| {
            let latest = Latest { touched: touched.clone(), ..Latest::default() };
            (topic == TOPIC).then(|| Box::new(Evolver(Arc::new(latest))) as _)
        });
    };
    let cluster = SimCluster::with_config(sim, nodes, adjust);
    cluster.start().await;
    cluster.create_topic(NewTopic::new(TOPIC, 1)).await.unwrap();
    cluster.ready().await;
    (cluster, touched)
}

async fn put(cluster: &SimCluster, keys: std::ops::Range<u64>, value: impl Fn(u64) -> String) {
    let records: Vec<_> = keys.map(|key| NewRecord::new(value(key)).with_key(format!("key-{key:05}"))).collect();
    for batch in records.chunks(100) {
        cluster.append(TOPIC, 0, batch.to_vec()).await.unwrap();
    }
}

/// Every place has what the log comes to, in pages of any size.
async fn agrees(partition: &Partition<SimWorld>) {
    let model = Latest::default();
    model.take(records(partition, Consistency::Linearizable).await);
    let values = model.values.lock().unwrap().clone();
    let mut expected: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for class in 0..CLASSES {
        expected.insert(vec![b'c', class.to_string().as_bytes()[0], 0], Vec::new());
    }
    for (key, value) in &values {
        for place in Latest::placed(key, value).1 {
            expected.entry(place).or_default().push(key.clone());
        }
    }
    for (turn, (place, keys)) in (0..).zip(expected) {
        let (mut found, mut after, limit) = (Vec::new(), Vec::new(), [1, 7, 1000][turn % 3]);
        loop {
            let page = partition.find(&place, &after, limit, Consistency::Linearizable).await.unwrap();
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            found.extend(page);
        }
        assert_eq!(found, keys, "at {place:?}");
    }
}

/// Everything the view of states has of the partition.
async fn contents(partition: &Partition<SimWorld>) -> Vec<Pair> {
    let read = |reader: &ViewReader<'_>| {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let trees = states::States.trees().iter();
        let pairs: Result<Vec<_>, _> =
            trees.map(|tree| reader.range(tree, all, Direction::Ascending, usize::MAX)).collect();
        Ok(pairs?.concat())
    };
    partition.read_view(states::NAME, Consistency::Linearizable, read).await.unwrap()
}

fn of(log: &Log<SimWorld>) -> ViewStatus {
    log.views().into_iter().find(|view| view.name == states::NAME).expect("it is kept")
}

async fn restart(cluster: &SimCluster, node: u64) {
    cluster.restart(node).await.unwrap();
    cluster.ready().await;
}

fn script(seed: u64) -> (u64, u64) {
    let sim = Sim::seed(seed);
    let mut draw = Draw(seed ^ 0x57a7e);
    sim.run(async {
        let nodes = if seed.is_multiple_of(3) { 3 } else { 1 };
        let (cluster, _) = cluster(&sim, nodes).await;
        let mut rebuilt = 0;
        let counted = |node| cluster.log(node).map_or(0, |log| of(&log).rebuilt());
        for turn in 0..8 + draw.below(6) {
            let node = 1 + draw.below(nodes);
            match draw.below(9) {
                0..=3 => {
                    let (from, many) = (draw.below(600), draw.below(500));
                    let gone = draw.below(4);
                    put(&cluster, from..from + many, |key| match (key + turn) % 4 {
                        class if class == gone => "gone".to_owned(),
                        class => format!("{class}{}", "x".repeat((key % 5) as usize)),
                    })
                    .await;
                }
                4 => sim.sleep(Duration::from_millis(draw.below(8_000))).await,
                5 => {
                    rebuilt += counted(node);
                    cluster.kill(node);
                    sim.damage_views(node, ViewDamage::ALL[draw.below(ViewDamage::ALL.len() as u64) as usize]);
                    restart(&cluster, node).await;
                }
                6 => {
                    rebuilt += counted(node);
                    cluster.kill(node);
                    restart(&cluster, node).await;
                }
                7 => {
                    rebuilt += counted(node);
                    cluster.power_cut(node);
                    restart(&cluster, node).await;
                }
                _ => {
                    sim.trouble_views(node, Some(20 + draw.below(100)));
                    put(&cluster, 0..300, |key| format!("{}", (key + turn) % CLASSES)).await;
                    sim.sleep(Duration::from_millis(500)).await;
                    sim.trouble_views(node, None);
                }
            }
        }
        sim.sleep(Duration::from_secs(65)).await;
        for node in cluster.nodes() {
            rebuilt += counted(node);
            let look = async |log: Log<SimWorld>, partition: Partition<SimWorld>| {
                follows(&log).await;
                agrees(&partition).await;
                contents(&partition).await
            };
            let kept = on(&cluster, node, look).await;
            sim.spare_views(node, true);
            cluster.kill(node);
            sim.damage_views(node, ViewDamage::Removed);
            restart(&cluster, node).await;
            let fresh = on(&cluster, node, look).await;
            assert_eq!(kept, fresh, "seed {seed}: node {node}: what was kept, and what was built anew");
        }
        let damaged = cluster.nodes().into_iter().flat_map(|node| sim.view_damages(node)).map(|(_, times)| times).sum();
        (rebuilt, damaged)
    })
}

#[test]
fn a_view_of_a_state_equals_a_fresh_one_after_any_script_of_appends_restarts_crashes_and_damage() {
    let (mut rebuilt, mut damaged) = (0, 0);
    for seed in 0..40 {
        let (more, hits) = script(seed);
        rebuilt += more;
        damaged += hits;
    }
    println!("views were damaged {damaged} times, and built anew {rebuilt} times");
    assert!(rebuilt >= 20 && damaged >= 20, "{rebuilt} rebuilds, {damaged} times damaged");
}

#[test]
fn a_view_of_a_state_is_built_from_the_state_and_not_from_the_log() {
    let sim = Sim::seed(80);
    sim.run(async {
        let (cluster, touched) = cluster(&sim, 1).await;
        sim.spare_views(1, true);
        for round in 0..300 {
            put(&cluster, 0..1000, |key| format!("{}", (key + round) % CLASSES)).await;
        }
        // With a checkpoint of all that.
        sim.sleep(Duration::from_secs(5)).await;
        cluster.kill(1);
        assert!(sim.damage_views(1, ViewDamage::Removed) > 0);
        let before = touched.load(Ordering::Relaxed);
        assert!(before >= 3000, "it took {before} batches");
        restart(&cluster, 1).await;
        on(&cluster, 1, async |log, partition| {
            follows(&log).await;
            agrees(&partition).await;
            assert_eq!(of(&log).rebuilds, [(RebuildReason::Missing, 1)], "{}", of(&log));
        })
        .await;
        let taken = touched.load(Ordering::Relaxed) - before;
        assert!(taken < 100, "it read {taken} batches of the log again");
    });
}

#[test]
fn a_state_that_panics_when_it_is_shown_is_not_found_in_and_nothing_else_happens() {
    let sim = Sim::seed(81);
    sim.run(async {
        let (cluster, _) = cluster(&sim, 1).await;
        put(&cluster, 0..10, |_| "1".into()).await;
        put(&cluster, 3..4, |_| "poison".into()).await;
        put(&cluster, 0..3, |_| "2".into()).await;
        on(&cluster, 1, async |log, partition| {
            let refused = partition.find(&[b'c', b'1', 0], b"", 10, Consistency::Linearizable).await.unwrap_err();
            let is_said = matches!(&refused, LogError::Unavailable(why) if why.contains("a value it does not like"));
            assert!(is_said, "{refused}");
            assert!(of(&log).to_string().contains("order/0 stands still"), "{}", of(&log));
            assert_eq!(partition.offset_at(Timestamp(u64::MAX), Consistency::Stale).await.unwrap().offset, 14);
        })
        .await;
        put(&cluster, 0..3, |_| "3".into()).await;
    });
}
