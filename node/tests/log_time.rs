//! What depends on log time: it holds while a leader's clock is wrong (R55).
//!
//! A *bell* is set, and rings when its time has come; it says by log time when it was set and when it rang.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{Consistency, topic::NodeId, world::Timestamp};
use corduroy_node::{
    runtime::{At, Decide, Head, Input, Origin, Refusal, Service, Services},
    testing::{Sim, SimServices},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const THIRTY_DAYS: i64 = 30 * 86_400_000_000;
const PARTITIONS: u32 = 6;

#[derive(Clone, PartialEq, prost::Message)]
struct Set {
    #[prost(uint64, tag = "1")]
    seconds: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bell {
    /// Log times.
    #[prost(uint64, tag = "1")]
    set: u64,
    #[prost(uint64, tag = "2")]
    rang: u64,
}

#[derive(Clone, Copy)]
struct Bells;

impl Service for Bells {
    const NAME: &'static str = "bells";
    const PARTITIONS: u32 = PARTITIONS;
    type State = Bell;
    type Partition = ();
    /// Whether it rang; else it was set.
    type Event = bool;
    type Command = Set;
    type Reply = ();

    fn decide(&self, _: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let rings = matches!(input.origin, Origin::Timer);
        cx.emit(input.key, rings);
        if !rings {
            cx.after(Duration::from_secs(input.command.seconds), input.key, &Set { seconds: 0 });
        }
        Ok(())
    }

    fn evolve(state: &mut Option<Bell>, _: &str, rang: &bool, at: At) {
        let bell = state.get_or_insert_default();
        if *rang { bell.rang = at.time.0 } else { bell.set = at.time.0 }
    }
}

/// A bell as the leader has it, and its log time.
async fn bell(bells: &SimServices, key: &'static str) -> (Bell, Timestamp) {
    let node = bells.logs().running()[0];
    let look = async move |services: Services<_>| services.get::<Bells>(key, Consistency::Linearizable).await;
    let found = bells.on(node, look).await.expect("it lives").expect("somebody leads");
    (found.value.unwrap_or_default(), found.time)
}

fn led_by(bells: &SimServices, node: NodeId) -> usize {
    let partitions = 0..PARTITIONS;
    let all = partitions.map(|partition| ("bells", partition)).chain([("_cluster", 0)]);
    all.filter(|(topic, partition)| bells.logs().leader(topic, *partition) == Some(node)).count()
}

async fn within(sim: &Sim, bound: Duration, what: &str, holds: impl Fn() -> bool) {
    let deadline = sim.world().elapsed() + bound;
    while !holds() {
        assert!(sim.world().elapsed() < deadline, "{what}");
        sim.sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_leader_whose_clock_jumps_leads_no_more_and_nothing_expires_before_its_time() {
    for (seed, off) in [(1, THIRTY_DAYS), (2, -THIRTY_DAYS), (3, THIRTY_DAYS)] {
        Sim::seed(seed).run(async |sim| {
            let bells = sim.cluster(3, |node| node.service(Bells)).await;
            let trusts = |node| bells.logs().log(node).is_some_and(|log| log.trusts_clock());
            sim.sleep(10 * SECOND).await;
            let wrong = bells.leader::<Bells>("long").await;
            bells.command::<Bells>("long", &Set { seconds: 100 }).await.unwrap();
            let set = bell(&bells, "long").await.1;
            assert!((1..=3).all(trusts));

            sim.world().set_clock_offset(wrong, off);
            within(sim, 5 * SECOND, "it leads although its clock is wrong", || led_by(&bells, wrong) == 0).await;
            assert!((1..=3).all(|node| trusts(node) == (node != wrong)), "of three clocks one is wrong");

            // Work goes on, and so does log time. Whoever is elected now, it is not the one with the wrong clock.
            bells.command::<Bells>("short", &Set { seconds: 5 }).await.unwrap();
            let gone = bells.leader::<Bells>("long").await;
            bells.kill(gone);
            sim.sleep(20 * SECOND).await;
            assert_eq!((led_by(&bells, wrong), trusts(wrong)), (0, false), "that a peer is gone mends no clock");
            let (short, now) = bell(&bells, "short").await;
            assert!((5_000_000..6_000_000).contains(&(short.rang - short.set)), "{short:?}");
            assert!(now.0 - set.0 < 30_000_000, "log time followed the clock");
            assert_eq!(bell(&bells, "long").await.0.rang, 0, "it rang before its time");
            bells.restart(gone).await;
            bells.ready().await;

            sim.world().set_clock_offset(wrong, 0);
            within(sim, 5 * SECOND, "its clock is right again", || trusts(wrong)).await;
            within(sim, 120 * SECOND, "it does not lead again", || led_by(&bells, wrong) > 0).await;
            bells.command::<Bells>("after", &Set { seconds: 1 }).await.unwrap();
            sim.sleep(100 * SECOND).await;
            let (long, _) = bell(&bells, "long").await;
            assert!((100_000_000..111_000_000).contains(&(long.rang - long.set)), "{long:?}");
            assert_ne!(bell(&bells, "after").await.0.rang, 0);
            bells.rest().await;
        });
    }
}
