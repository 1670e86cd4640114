//! Services under leaders that come and go: every command has one effect and one answer, every event of a peer one effect, every
//! timer fires once, and all replicas come to the same state.
//!
//! Two small services. A *till* adds up what is paid into it; each of its events says what its decider took the sum for, and every
//! replica compares: a decider that went by a state it did not have is caught where the sums come out right, too. A *ledger* reads
//! the tills, and sets a timer for each thing it books.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{
    testing::{SimTasks, SimWorld},
    topic::NodeId,
};
use corduroy_node::{
    runtime::{
        At, CommandError, CommandOptions, Decide, Head, Input, PeerEvent, Refusal, Routes, Service, Services, Ticket,
        Unreadable,
    },
    testing::{Sim, SimServices},
};
use openraft_rt::AsyncRuntime as _;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, prost::Message)]
struct Sum {
    #[prost(uint64, tag = "1")]
    paid: u64,
    #[prost(uint64, tag = "2")]
    times: u64,
    /// A decider took the sum for something else.
    #[prost(bool, tag = "3")]
    stale: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Paid {
    #[prost(uint64, tag = "1")]
    amount: u64,
    /// What the decider believed it was before.
    #[prost(uint64, tag = "2")]
    before: u64,
    /// The command waits for the ledger's word.
    #[prost(bytes = "vec", tag = "3")]
    ticket: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pay {
    #[prost(uint64, tag = "1")]
    amount: u64,
}

#[derive(Clone, Copy, Default)]
struct Till;

/// Cannot be paid.
const FORBIDDEN: u64 = 13;
/// Makes a rule panic.
const POISON: u64 = 666;
/// Makes a fact that cannot be taken.
const POISON_FACT: u64 = 667;

impl Service for Till {
    const NAME: &'static str = "till";
    const PARTITIONS: u32 = 2;
    type State = Sum;
    type Partition = Sum;
    type Event = Paid;
    type Command = Pay;
    type Reply = Sum;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let (amount, before) = (input.command.amount, head.get(input.key).unwrap_or_default().paid);
        match amount {
            FORBIDDEN => return Err(Refusal::new("forbidden", "this is not taken").number("amount", 13)),
            POISON => panic!("a rule that cannot do this"),
            _ => {}
        }
        cx.emit(input.key, Paid { amount, before, ticket: Vec::new() });
        let key = input.key.to_owned();
        cx.reply_with(move |head| head.get(&key).unwrap_or_default());
        Ok(())
    }

    fn evolve(state: &mut Option<Sum>, _key: &str, event: &Paid, _at: At) {
        assert_ne!(event.amount, POISON_FACT, "a fact that cannot be taken");
        let sum = state.get_or_insert_default();
        sum.stale |= sum.paid != event.before;
        (sum.paid, sum.times) = (sum.paid + event.amount, sum.times + 1);
    }

    fn evolve_partition(partition: &mut Sum, _key: &str, event: &Paid, _at: At) {
        (partition.paid, partition.times) = (partition.paid + event.amount, partition.times + 1);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Booked {
    #[prost(uint64, tag = "1")]
    amount: u64,
    /// It is what a timer said of it.
    #[prost(bool, tag = "2")]
    audited: bool,
    #[prost(uint64, tag = "3")]
    before: u64,
}

/// What the ledger keeps of a till.
#[derive(Clone, PartialEq, prost::Message)]
struct Page {
    #[prost(uint64, tag = "1")]
    paid: u64,
    #[prost(uint64, tag = "2")]
    times: u64,
    #[prost(uint64, tag = "3")]
    audits: u64,
    #[prost(bool, tag = "4")]
    stale: bool,
}

#[derive(Clone, Copy, Default)]
struct Ledger;

impl Service for Ledger {
    const NAME: &'static str = "ledger";
    const LISTENS: &'static [&'static str] = &["till"];
    const PARTITIONS: u32 = 2;
    type State = Page;
    type Partition = ();
    type Event = Booked;
    type Command = Booked;
    type Reply = ();

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let before = head.get(input.key).unwrap_or_default().paid;
        if !input.command.audited {
            let audit = Booked { audited: true, ..*input.command };
            cx.after(300 * MS, input.key, &audit);
        }
        cx.emit(input.key, Booked { before, ..*input.command });
        Ok(())
    }

    fn evolve(state: &mut Option<Page>, _key: &str, event: &Booked, _at: At) {
        let page = state.get_or_insert_default();
        page.stale |= page.paid != event.before;
        if event.audited {
            page.audits += 1;
        } else {
            (page.paid, page.times) = (page.paid + event.amount, page.times + 1);
        }
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let paid: Paid = event.decode()?;
        to.to(event.key, Booked { amount: paid.amount, ..Booked::default() });
        Ok(())
    }
}

async fn shop(sim: &Sim) -> SimServices {
    let checkpoints = |config: &mut corduroy_log::Config| config.timing.checkpoint_interval = 2 * SECOND;
    sim.cluster_with(3, |node| node.service(Till).service(Ledger), checkpoints).await
}

/// What is known of what clients asked.
#[derive(Default)]
struct Known {
    /// Till and amount of what was answered.
    taken: Vec<(String, u64)>,
    /// Ids that were asked for again, and their answers.
    repeated: u64,
    refused: u64,
    /// What may have been taken, or not.
    unknown: Vec<(String, u64)>,
}

/// A client that pays all the time, and asks for some of it twice.
async fn client(shop: SimServices, number: u64, stop: Arc<AtomicBool>, known: Arc<Mutex<Known>>) {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let (till, id) = (format!("till-{}", (count + number) % 7), shop.id());
        let amount = if count % 50 == 0 { FORBIDDEN } else { count * 8 + number + 1_000 };
        let pay = Pay { amount };
        let first = shop.command_as::<Till>(id, &till, &pay).await;
        match &first {
            Ok(answered) => {
                assert!(answered.value.paid >= amount, "an answer that does not know what was paid");
                known.lock().unwrap().taken.push((till.clone(), amount));
            }
            Err(CommandError::Refused(refusal)) => {
                assert_eq!((refusal.value.name(), amount), ("forbidden", FORBIDDEN));
                known.lock().unwrap().refused += 1;
            }
            Err(_) => known.lock().unwrap().unknown.push((till.clone(), amount)),
        }
        if count % 3 == 0
            && let Ok(first) = first
        {
            let again = shop.command_as::<Till>(id, &till, &pay).await;
            if let Ok(again) = again {
                assert_eq!(again.value, first.value, "the same command was answered twice, and differently");
                assert!(again.replayed);
                known.lock().unwrap().repeated += 1;
            }
            let other = shop.command_as::<Till>(id, &till, &Pay { amount: amount + 1 }).await;
            assert!(matches!(
                other,
                Err(CommandError::Mismatch | CommandError::Unknown(_) | CommandError::NoQuorum(_))
            ));
        }
        shop.logs().sim().sleep(Duration::from_millis(3 + number)).await;
    }
}

async fn trouble(shop: &SimServices, kind: u64, node: NodeId) {
    let sim = shop.logs().sim().clone();
    let others = (1..=3).filter(|other| *other != node);
    match kind % 5 {
        0 => {
            shop.kill(node);
            sim.sleep(SECOND).await;
            shop.restart(node).await;
        }
        1 => {
            shop.power_cut(node);
            sim.sleep(SECOND).await;
            shop.restart(node).await;
        }
        2 => {
            others.clone().for_each(|other| sim.cut(node, other));
            sim.sleep(2 * SECOND).await;
            others.for_each(|other| sim.heal(node, other));
        }
        3 => {
            shop.pause(node);
            sim.sleep(2 * SECOND).await;
            shop.resume(node);
        }
        _ => {
            // A clock that is wrong by an hour: log time goes on as it did.
            sim.set_clock_offset(node, if kind.is_multiple_of(2) { 3_600_000_000 } else { -3_600_000_000 });
            shop.kill(node);
            sim.sleep(500 * MS).await;
            shop.restart(node).await;
        }
    }
}

#[test]
fn every_command_and_every_event_has_one_effect_whoever_leads() {
    let (mut repeated, mut unknown) = (0, 0);
    for seed in 0..10 {
        let sim = Sim::seed(seed);
        let known = sim.run(async |sim| {
            let shop = shop(sim).await;
            let (stop, known) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Known>>::default());
            let clients: Vec<_> = (0..3)
                .map(|number| SimTasks::spawn(client(shop.clone(), number, stop.clone(), known.clone())))
                .collect();
            sim.sleep(SECOND).await;
            for round in 0..5 {
                let node = shop.leader::<Till>(&format!("till-{round}")).await;
                trouble(&shop, seed + round, node).await;
                sim.sleep(500 * MS).await;
            }
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.await.unwrap();
            }
            shop.ready().await;
            shop.rest().await;
            let known = std::mem::take(&mut *known.lock().unwrap());
            judge(seed, &shop, &known).await;
            known
        });
        assert!(known.taken.len() > 200, "seed {seed}: only {} were answered", known.taken.len());
        assert!(known.refused > 0, "seed {seed}: nothing was refused");
        repeated += known.repeated;
        unknown += known.unknown.len();
    }
    assert!(repeated > 100, "{repeated} repetitions, {unknown} unknown: nothing was put to the test");
}

async fn judge(seed: u64, shop: &SimServices, known: &Known) {
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (till, amount) in &known.taken {
        let sum = expected.entry(till).or_default();
        *sum = (sum.0 + amount, sum.1 + 1);
    }
    for node in 1..=3 {
        let (tills, pages) = (shop.aggregates::<Till>(node).await, shop.aggregates::<Ledger>(node).await);
        assert_eq!(tills.len(), pages.len(), "seed {seed}, node {node}");
        for (till, sum) in &tills {
            assert!(!sum.stale, "seed {seed}: {till} was decided on a state that was not there");
            let page = &pages[till];
            assert!(!page.stale, "seed {seed}: page {till} was decided on a state that was not there");
            assert_eq!((page.paid, page.times), (sum.paid, sum.times), "seed {seed}: the ledger has {till} otherwise");
            assert_eq!(page.audits, page.times, "seed {seed}: every timer fires once");
            let (paid, times) = expected.get(till.as_str()).copied().unwrap_or_default();
            if !known.unknown.iter().any(|(unknown, _)| unknown == till) {
                assert_eq!((sum.paid, sum.times), (paid, times), "seed {seed}: {till} is not what was answered");
            }
            assert!(sum.paid >= paid && sum.times >= times, "seed {seed}: what was answered is gone from {till}");
        }
    }
}

/// R58: what cannot be done becomes a dead letter, what comes later for the same key waits, and other keys do not.
#[test]
fn what_cannot_be_decided_is_kept_and_waits_for_an_operator() {
    for seed in 0..4 {
        Sim::seed(seed).run(async |sim| {
            let shop = shop(sim).await;
            let refused = shop.command::<Till>("till-1", &Pay { amount: POISON }).await;
            let Err(CommandError::Refused(refusal)) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal.value.name(), "fault");
            assert!(refusal.value.detail().contains("a rule that cannot do this"), "{}", refusal.value);
            // A fact that a replica cannot take never gets to one, and its leader goes on.
            let refused = shop.command::<Till>("till-2", &Pay { amount: POISON_FACT }).await;
            let Err(CommandError::Refused(refusal)) = refused else { panic!("{refused:?}") };
            assert!(refusal.value.detail().contains("a fact that cannot be taken"), "{}", refusal.value);
            // Commands of clients are not held up by what another one asked.
            assert_eq!(shop.command::<Till>("till-1", &Pay { amount: 5 }).await.unwrap().value.paid, 5);
            let leader = shop.leader::<Till>("till-1").await;
            shop.kill(leader);
            assert_eq!(shop.command::<Till>("till-2", &Pay { amount: 7 }).await.unwrap().value.paid, 7);
            shop.restart(leader).await;
            shop.ready().await;
            shop.rest().await;
            let letters = shop.on(1, async |services: Services<SimWorld>| {
                let mut found = Vec::new();
                for partition in 0..2 {
                    let what = corduroy_proto::runtime::query_call::What::Letters(true);
                    let asked = services.query("till", partition, what, corduroy_log::Consistency::Linearizable).await;
                    found.extend(asked.unwrap().value.letters.into_iter().map(|letter| (partition, letter)));
                }
                found
            });
            let letters = letters.await.unwrap();
            assert_eq!(letters.len(), 2, "seed {seed}: {letters:?}");
            for (partition, letter) in letters {
                assert_eq!(letter.reason, "fault");
                let (redrive, discard, again) = (shop.id(), shop.id(), shop.id());
                let settled = shop.on(2, async move |services: Services<SimWorld>| {
                    let options = |id: Ticket| CommandOptions::new(id);
                    let redriven = services.redrive("till", partition, letter.id, &options(redrive)).await;
                    let discarded = services.discard("till", partition, letter.id, "wrong", &options(discard)).await;
                    (redriven, discarded, services.redrive("till", partition, letter.id, &options(again)).await)
                });
                let (redriven, discarded, late) = settled.await.unwrap();
                // It is as wrong as it was, and still the same letter.
                assert!(
                    matches!(&redriven, Err(CommandError::Refused(why)) if why.value.name() == "fault"),
                    "{redriven:?}"
                );
                discarded.unwrap();
                let Err(CommandError::Refused(why)) = late else { panic!("{late:?}") };
                assert_eq!(why.value.name(), "dead-letter-settled");
            }
            shop.rest().await;
        });
    }
}
