//! What depends on log time: it holds while a leader's clock is wrong (R55), keys are forgotten by it, and not before (R52), and
//! events grow old by it.
//!
//! A *bell* is set, and rings when its time has come; it says by log time when it was set and when it rang.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{Consistency, NewRecord, NewTopic, topic::NodeId, world::Timestamp};
use corduroy_node::{
    runtime::{
        Answered, At, CommandError, CommandOptions, Decide, Head, Input, Keep, Origin, PeerEvent, Refusal, Routes,
        Service, Services, Ticket, Unreadable, partition_of,
    },
    testing::{Sim, SimServices},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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

/// What node 1 is told for a command that this client sends once under its own id.
async fn ask(bells: &SimServices, who: &str, id: u8, key: &'static str) -> Result<Answered<()>, CommandError> {
    let options = CommandOptions { by_client: true, principal: who.into(), ..CommandOptions::new(Ticket([id; 16])) };
    let ask = async move |services: Services<_>| services.command::<Bells>(key, &Set { seconds: 1 }, &options).await;
    bells.on(1, ask).await.expect("it lives")
}

/// A45: after its time a key is new. R52: until then it is not forgotten, and a principal that has as many as it may gets no more.
#[test]
fn a_key_is_remembered_for_its_time_and_a_full_quota_refuses_and_forgets_nothing() {
    Sim::seed(4).run(async |sim| {
        let keep = Keep { clients: 60 * SECOND, quota: 3, ..Keep::default() };
        let bells = sim.cluster(3, move |node| node.keep(keep).service(Bells)).await;
        let over = |told: &Result<Answered<()>, CommandError>| match told {
            Err(CommandError::Quota(_, after)) => Some(*after),
            _ => None,
        };
        for id in 1..=3 {
            assert!(!ask(&bells, "ada", id, "key").await.unwrap().replayed);
        }
        let after = over(&ask(&bells, "ada", 4, "key").await).expect("it has as many as it may");
        assert!(after > 50 * SECOND && after <= 60 * SECOND, "{after:?}");
        assert!(ask(&bells, "bob", 5, "key").await.is_ok(), "another principal has its own");
        let elsewhere = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let elsewhere =
            elsewhere.into_iter().find(|key| partition_of(key, PARTITIONS) != partition_of("key", PARTITIONS));
        assert!(ask(&bells, "ada", 6, elsewhere.unwrap()).await.is_ok(), "and so has another partition");

        // Whoever leads, and from whatever it has its state.
        for round in 0..3 {
            let leader = bells.leader::<Bells>("key").await;
            if leader == 1 || round == 2 {
                bells.restart(leader).await;
            } else {
                bells.kill(leader);
                bells.leader::<Bells>("key").await;
                bells.restart(leader).await;
            }
            bells.ready().await;
            assert!(over(&ask(&bells, "ada", 7, "key").await).is_some(), "round {round}");
            for id in 1..=3 {
                assert!(ask(&bells, "ada", id, "key").await.unwrap().replayed, "round {round}: {id} was forgotten");
            }
        }
        sim.sleep(60 * SECOND).await;
        for id in [4, 1, 2] {
            assert!(!ask(&bells, "ada", id, "key").await.unwrap().replayed, "the key is new");
        }
        assert!(over(&ask(&bells, "ada", 3, "key").await).is_some());
        bells.rest().await;
    });
}

/// Counts the news of each key.
#[derive(Clone, Copy)]
struct Readers;

impl Service for Readers {
    const NAME: &'static str = "readers";
    const PARTITIONS: u32 = 1;
    const LISTENS: &'static [&'static str] = &["news"];
    type State = u64;
    type Partition = ();
    type Event = ();
    type Command = ();
    type Reply = ();

    fn decide(&self, _: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        cx.emit(input.key, ());
        Ok(())
    }

    fn evolve(state: &mut Option<u64>, _: &str, (): &(), _: At) {
        *state.get_or_insert_default() += 1;
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        to.to(event.key, ());
        Ok(())
    }
}

/// A13, of any service: it was down for three days, and its events may be two days old.
#[test]
fn events_that_are_too_old_when_a_service_comes_back_are_dead_letters_and_can_be_redriven() {
    Sim::seed(5).run(async |sim| {
        let reading = Arc::new(AtomicBool::new(false));
        let readers = reading.clone();
        let node = move |node: corduroy_node::runtime::Registry<_>| match readers.load(Ordering::Relaxed) {
            true => node.max_age("readers", 48 * 3600 * SECOND).service(Readers),
            false => node,
        };
        let cluster = sim.cluster(3, node).await;
        let news = |key: &'static str| NewRecord { key: Some(key.into()), ..NewRecord::new("") };
        cluster.logs().create_topic(NewTopic::new("news", 1)).await.unwrap();
        cluster.logs().append("news", 0, vec![news("ann"), news("bob")]).await.unwrap();

        (1..=3).for_each(|node| cluster.kill(node));
        reading.store(true, Ordering::Relaxed);
        for node in 1..=3 {
            sim.world().set_clock_offset(node, THIRTY_DAYS / 10);
            cluster.restart(node).await;
        }
        cluster.ready().await;
        cluster.logs().append("news", 0, vec![news("carl"), news("ann")]).await.unwrap();
        cluster.rest().await;

        let letters = cluster.on(1, async |services: Services<_>| {
            let what = corduroy_proto::runtime::query_call::What::Letters(true);
            services.query("readers", 0, what, Consistency::Linearizable).await.unwrap().value
        });
        let letters = letters.await.unwrap();
        let about = |letter: &corduroy_proto::runtime::DeadLetter| {
            (letter.input.clone().unwrap_or_default().key, letter.reason.clone(), letter.id)
        };
        let about: Vec<_> = letters.letters.iter().map(about).collect();
        let expired = |key: &str, id| (key.to_owned(), "expired".to_owned(), id);
        assert_eq!(about, [expired("ann", 1), expired("bob", 2)]);
        let counts = cluster.aggregates::<Readers>(1).await;
        assert_eq!(counts, [("carl".to_owned(), 1)].into(), "the news of ann wait behind the letter");

        let redriven = cluster.on(2, async |services: Services<_>| {
            services.redrive("readers", 0, 1, &CommandOptions::new(Ticket([1; 16]))).await
        });
        redriven.await.unwrap().unwrap();
        cluster.rest().await;
        for node in 1..=3 {
            let counts = cluster.aggregates::<Readers>(node).await;
            assert_eq!(counts, [("ann".to_owned(), 2), ("carl".to_owned(), 1)].into(), "node {node}");
        }
    });
}
