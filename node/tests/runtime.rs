//! Services under leaders that come and go: every command has one effect and one answer, every event of a peer one effect, every
//! timer fires once, and all replicas come to the same state.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::{DecidedBatch, NewRecord, testing::SimWorld, world::Halt};
use corduroy_node::{
    runtime::{CommandError, CommandOptions, Service, Services, Ticket},
    services::payment::Payment,
    testing::{Sim, SimServices},
};
use corduroy_tests::shop_sim::{
    self, Event, Load, Tally,
    till::{Ledger, POISON, POISON_FACT, Pay, Till},
};
use prost::Message as _;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

async fn shop(sim: &Sim) -> SimServices {
    let checkpoints = |config: &mut corduroy_log::Config| config.timing.checkpoint_interval = 2 * SECOND;
    sim.cluster_with(3, |node| node.service(Till).service(Ledger), checkpoints).await
}

/// The tills of `corduroy_tests::shop_sim`, in whose runs leaders come to all sorts of harm.
#[test]
fn every_command_and_every_event_has_one_effect_whoever_leads() {
    let mut all = Tally::default();
    for seed in 0..10 {
        match shop_sim::run(seed, &[Load::Tills], None) {
            Ok(passed) => all.add(&passed.tally),
            Err(failed) => panic!("{failed}"),
        }
    }
    for event in [Event::Repeated, Event::Doubled, Event::Mismatched, Event::Forbidden, Event::Audited] {
        assert!(all.of(event) > 20, "{event:?}: nothing was put to the test\n{all}");
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

/// R48, R60: a step of a kind that this build does not know is not passed over.
#[test]
fn a_step_of_an_unknown_kind_halts_every_node_that_comes_to_it() {
    // Steps are field 1; in this one there is nothing but a field 15, which no build has yet.
    let effects = [1 << 3 | 2, 2, 15 << 3, 7];
    let read = corduroy_proto::runtime::Effects::decode(&effects[..]).unwrap();
    assert_eq!(read.steps, [Default::default()], "it can be read, and says nothing");
    unknown(Till::NAME, DecidedBatch { effects: effects.to_vec().into(), ..DecidedBatch::default() });
}

/// R48, R60: nor is an event of such a kind.
#[test]
fn an_event_of_an_unknown_kind_halts_every_node_that_comes_to_it() {
    let event = [15 << 3, 7];
    assert_eq!(corduroy_proto::payment::Event::decode(&event[..]).unwrap().event, None, "it can be read");
    let step = corduroy_proto::runtime::Step {
        cause: Some(corduroy_proto::runtime::step::Cause::Timer(1)),
        events: 1,
        ..Default::default()
    };
    let effects = corduroy_proto::runtime::Effects { steps: vec![step], ..Default::default() };
    let events = vec![NewRecord { key: Some("1".into()), ..NewRecord::new(event.to_vec()) }];
    unknown(Payment::NAME, DecidedBatch { effects: effects.encode_to_vec().into(), events, ..DecidedBatch::default() });
}

/// Proposes a batch as the leader of a service's first partition would, and sees who halts.
fn unknown(service: &'static str, batch: DecidedBatch) {
    Sim::seed(1).run(async |sim| {
        let shop = sim.cluster(3, |node| node.service(Till).service(Ledger).service(Payment)).await;
        shop.rest().await;
        let leader = shop.logs().await_leader(service, 0).await;
        let proposed = shop.logs().on(leader, async move |log| {
            let partition = log.partition(service, 0)?;
            let term = partition.may_decide().await.expect("it leads");
            let sequence = partition.next_decided(term);
            partition.decide(&DecidedBatch { term, sequence, ..batch }).await?.await
        });
        // The leader comes to it first, and answers nobody any more.
        proposed.await.unwrap_err();
        sim.sleep(5 * SECOND).await;
        // The last one has no majority that tells it to take the step.
        let halted: Vec<_> = (1..=3).filter_map(|node| Some((node, sim.world().halted(node)?))).collect();
        assert!(halted.len() == 2 && halted.iter().any(|(node, _)| *node == leader), "{halted:?}");
        for (node, halt) in halted {
            assert!(matches!(&halt, Halt::UnknownEntry(what) if what.contains(service)), "node {node}: {halt}");
        }
    });
}
