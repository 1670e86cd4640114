//! R60: a build that knows more is started node by node while the cluster works, and nothing is emitted that a node would halt at.
//!
//! A *note* of format 2 says how loud it is. Nodes of the earlier build halt when they come to one.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{Consistency, topic::Format, world::Halt};
use corduroy_node::{
    runtime::{At, Decide, Head, Input, Refusal, Service, Services},
    testing::{Sim, SimServices},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    /// 0 in those of format 1.
    #[prost(uint32, tag = "1")]
    loud: u32,
}

/// As the build knows it whose latest format this is.
struct Notes<const FORMAT: u32>;

impl<const FORMAT: u32> Service for Notes<FORMAT> {
    const NAME: &'static str = "notes";
    const PARTITIONS: u32 = 3;
    type State = Note;
    type Partition = ();
    type Event = Note;
    type Command = ();
    type Reply = u32;

    fn decide(&self, _: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let loud = u32::from(FORMAT >= 2 && cx.format() >= Format(2));
        cx.emit(input.key, Note { loud });
        cx.reply(loud);
        Ok(())
    }

    fn evolve(state: &mut Option<Note>, _: &str, event: &Note, _: At) {
        *state = Some(event.clone());
    }

    fn knows(event: &Note) -> bool {
        FORMAT >= 2 || event.loud == 0
    }
}

/// Notes with these keys, each of which is told how loud it is.
async fn note(notes: &SimServices, keys: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut loud = Vec::new();
    for key in keys {
        loud.push(notes.command::<Notes<2>>(&format!("note-{key}"), &()).await.expect("it is noted").value);
    }
    loud
}

fn formats(notes: &SimServices) -> Vec<u32> {
    let logs = notes.logs();
    logs.nodes().into_iter().filter_map(|node| logs.log(node)).map(|log| log.format().0).collect()
}

#[test]
fn an_event_of_a_later_format_is_emitted_when_the_last_node_has_announced_it_and_no_node_that_does_not_know_it_comes_back()
 {
    for seed in 1..=5 {
        Sim::seed(seed).run(async |sim| {
            let build = Arc::new(AtomicU32::new(1));
            let started = build.clone();
            let notes = sim.cluster(3, move |node| match started.load(Ordering::Relaxed) {
                1 => node.service(Notes::<1>),
                _ => node.service(Notes::<2>).format(Format(2)),
            });
            let notes = notes.await;
            assert_eq!(note(&notes, 0..9).await, [0; 9]);

            build.store(2, Ordering::Relaxed);
            for node in 1..=2 {
                notes.restart(node).await;
                notes.ready().await;
                sim.sleep(Duration::from_secs(10)).await;
                assert_eq!(note(&notes, 10..19).await, [0; 9], "node 3 would halt");
                assert_eq!(formats(&notes), [1; 3]);
            }
            notes.restart(3).await;
            notes.ready().await;
            sim.sleep(Duration::from_secs(10)).await;
            assert_eq!(formats(&notes), [2; 3]);
            assert_eq!(note(&notes, 20..29).await, [1; 9]);

            // Whoever leads then has it from the log, not from the nodes that live.
            notes.kill(1);
            assert_eq!(note(&notes, 30..39).await, [1; 9]);

            build.store(1, Ordering::Relaxed);
            notes.restart(1).await;
            sim.sleep(Duration::from_secs(10)).await;
            let halted = sim.world().halted(1);
            assert!(matches!(&halted, Some(Halt::UnknownEntry(_))), "{halted:?}");
            build.store(2, Ordering::Relaxed);
            notes.restart(1).await;
            notes.ready().await;
            let look = async |notes: Services<_>| notes.get::<Notes<2>>("note-35", Consistency::Linearizable).await;
            let found = notes.on(1, look).await.unwrap().unwrap();
            assert_eq!(found.value, Some(Note { loud: 1 }), "nothing was lost");
            notes.rest().await;
        });
    }
}
