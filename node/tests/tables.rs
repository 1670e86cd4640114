//! State that is too much for memory is in tables: it survives what the log survives, and a table that rots is no loss.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{
    testing::SimDisk,
    world::{Disk as _, DiskFile as _, Halt},
};
use corduroy_node::{
    runtime::{At, Decide, Head, Input, Refusal, Service},
    testing::{Sim, SimServices},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than there is between two checkpoints of a partition.
const CHECKPOINT: Duration = Duration::from_secs(12);

/// A text; none: it is taken away.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

/// Keeps texts by key.
#[derive(Clone, Copy, Default)]
struct Notes;

impl Service for Notes {
    const NAME: &'static str = "notes";
    const PARTITIONS: u32 = 2;
    type State = Text;
    type Partition = ();
    type Event = Text;
    type Command = Text;
    type Reply = Text;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        cx.reply(head.get(input.key).unwrap_or_default());
        cx.emit(input.key, input.command.clone());
        Ok(())
    }

    fn evolve(state: &mut Option<Text>, _key: &str, event: &Text, _at: At) {
        *state = event.text.is_some().then(|| event.clone());
    }
}

type Model = BTreeMap<String, String>;

async fn notes(sim: &Sim) -> SimServices {
    let checkpoints = |config: &mut corduroy_log::Config| config.timing.checkpoint_interval = SECOND;
    sim.cluster_with(3, |node| node.service(Notes), checkpoints).await
}

/// Puts in a text, or takes it away. What was there before is what the reply says.
async fn set(notes: &SimServices, model: &mut Model, key: &str, text: Option<String>) {
    let said = notes.command::<Notes>(key, &Text { text: text.clone() }).await.unwrap();
    let before = match text {
        Some(text) => model.insert(key.to_owned(), text),
        None => model.remove(key),
    };
    assert_eq!(said.value.text, before, "{key}");
}

/// Every third of these keys gets another text, every seventh none.
async fn change(notes: &SimServices, model: &mut Model, round: u32) {
    for number in (0..240).filter(|number| (number + round).is_multiple_of(3)) {
        let key = format!("note-{number}");
        let text = (number % 7 != round % 7).then(|| format!("{round} of {number} {}", "x".repeat(40)));
        set(notes, model, &key, text).await;
    }
}

/// Every node has what was put in, and nothing else.
async fn compare(notes: &SimServices, model: &Model) {
    notes.rest().await;
    for node in 1..=3 {
        let found = notes.aggregates::<Notes>(node).await;
        let found: Model = found.into_iter().map(|(key, note)| (key, note.text.unwrap())).collect();
        assert_eq!(&found, model, "node {node}");
    }
}

fn folder(node: u64, disk: &SimDisk) -> PathBuf {
    let folders = [format!("/node-{node}/checkpoints"), "/data/checkpoints".to_owned()].map(PathBuf::from);
    folders.into_iter().find(|dir| disk.exists(dir).unwrap_or(false)).expect("a node has checkpoints")
}

fn names(disk: &SimDisk, folder: &Path, suffix: &str) -> Vec<String> {
    disk.list(folder).unwrap().into_iter().filter(|name| name.ends_with(suffix)).collect()
}

#[test]
fn state_in_tables_is_what_was_decided_whatever_ends() {
    Sim::seed(3).run(async |sim| {
        let notes = notes(sim).await;
        let mut model = Model::new();
        let mut tables = Vec::new();
        for round in 0..6 {
            change(&notes, &mut model, round).await;
            sim.sleep(CHECKPOINT).await;
            change(&notes, &mut model, round + 1).await;
            compare(&notes, &model).await;
            let disk = notes.logs().sim().durable_disk(1);
            let now = names(&disk, &folder(1, &disk), ".rows");
            assert!(!now.is_empty() && now != tables, "round {round}: a table, and another one than before: {now:?}");
            tables = now;
            match round {
                1 => (1..=3).for_each(|node| notes.power_cut(node)),
                3 => notes.kill(u64::from(round)),
                4 => notes.power_cut(2),
                _ => {}
            }
            for node in (1..=3).filter(|node| !notes.logs().running().contains(node)) {
                notes.restart(node).await;
            }
            notes.ready().await;
        }
        compare(&notes, &model).await;
        assert!(model.len() > 100, "{}", model.len());
    });
}

#[test]
fn a_table_that_rots_ends_its_node_and_the_log_replaces_it() {
    Sim::seed(4).run(async |sim| {
        let notes = notes(sim).await;
        let mut model = Model::new();
        change(&notes, &mut model, 0).await;
        change(&notes, &mut model, 1).await;
        sim.sleep(CHECKPOINT).await;
        compare(&notes, &model).await;
        let log_sim = notes.logs().sim().clone();
        notes.kill(2);
        let disk = log_sim.restart(2).disk;
        let folder = folder(2, &disk);
        let tables = names(&disk, &folder, ".rows");
        assert!(!tables.is_empty());
        for name in &tables {
            // Behind the header: in the first block.
            let file = disk.open(&folder.join(name)).unwrap();
            let mut byte = [0];
            file.read_exact_at(100, &mut byte).unwrap();
            file.write_all_at(100, &[&[byte[0] ^ 4]]).unwrap();
            file.sync_all().unwrap();
        }
        notes.restart(2).await;
        // Whoever asks for what is in that block ends the node.
        notes.aggregates::<Notes>(2).await;
        sim.sleep(SECOND).await;
        let halted = log_sim.halted(2);
        assert!(matches!(&halted, Some(Halt::Corrupt(what)) if what.contains("table")), "{halted:?}");
        change(&notes, &mut model, 2).await;

        let mut starts = 0;
        while log_sim.halted(2).is_some() {
            assert!(starts < 3, "each start sets one aside at least");
            notes.restart(2).await;
            notes.aggregates::<Notes>(2).await;
            sim.sleep(SECOND).await;
            starts += 1;
        }
        let aside = names(&log_sim.durable_disk(2), &folder, ".damaged");
        assert!(!aside.is_empty(), "what could not be read is kept");
        notes.ready().await;
        compare(&notes, &model).await;
    });
}
