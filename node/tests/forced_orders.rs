//! Orders that do what none of ours does: events of an order service that is only a script, for what its peers must bear.
#![allow(clippy::unwrap_used, reason = "nothing but tests is in here")]
use corduroy_log::Consistency;
use corduroy_node::{
    runtime::{At, Decide, Head, Input, Refusal, Service, partition_of},
    services::{payment::Payment, stock::Stock},
    testing::{Sim, SimServices},
};
use corduroy_proto::{
    order::{self, event::Event},
    payment, stock,
};
use prost::Message as _;
use std::time::Duration;

const USER: &str = "someone";
const ITEM: &str = "thing";

/// Says what it is told to say.
#[derive(Clone, Copy, Debug)]
struct Script;

impl Service for Script {
    const NAME: &'static str = "order";
    type State = ();
    type Partition = ();
    type Event = order::Event;
    type Command = order::Event;
    type Reply = ();

    fn decide(&self, _: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        cx.emit(input.key, input.command.clone());
        Ok(())
    }

    fn evolve(_: &mut Option<()>, _: &str, _: &order::Event, _: At) {}
}

async fn say(shop: &SimServices, event: Event) {
    shop.command::<Script>("o", &order::Event { event: Some(event) }).await.unwrap();
}

async fn supply(shop: &SimServices) {
    let opened = payment::Command { command: Some(payment::command::Command::Open(payment::Open::default())) };
    let funds = payment::command::Command::AddFunds(payment::Amount { amount: 100 });
    for command in [opened, payment::Command { command: Some(funds) }] {
        shop.command::<Payment>(USER, &command).await.unwrap();
    }
    for command in [stock::command::Command::Create(stock::Create { price: 4 }), stock::command::Command::Add(10)] {
        shop.command::<Stock>(ITEM, &stock::Command { command: Some(command) }).await.unwrap();
    }
}

/// The values of all records of a partition, on a node.
async fn events(shop: &SimServices, topic: &'static str, partition: u32, node: u64) -> Vec<bytes::Bytes> {
    let read = shop
        .logs()
        .on(node, async move |log| log.partition(topic, partition)?.read(0, 1 << 20, 1000, Consistency::Stale).await);
    read.await.unwrap().unwrap().records.into_iter().map(|record| record.value).collect()
}

/// A hold that comes behind its void is refused, and nothing is kept: whoever leads then, and wherever it is read.
#[test]
fn a_hold_that_comes_after_its_void_is_refused_and_holds_nothing() {
    for seed in 0..6 {
        Sim::seed(seed).run(async |sim| {
            let services = |node: corduroy_node::runtime::Registry<_>| {
                node.service_with(Script, 1).service_with(Payment, 2).service_with(Stock, 2)
            };
            let checkpoints = |config: &mut corduroy_log::Config| {
                config.timing.checkpoint_interval = Duration::from_secs(1);
            };
            let shop = sim.cluster_with(3, services, checkpoints).await;
            supply(&shop).await;
            let (of_user, of_item) = (partition_of(USER, 2), partition_of(ITEM, 2));
            let attempt = Some(order::Attempt { order: "o".into(), incarnation: 1, attempt: 1, customer: USER.into() });
            let release = order::ReleaseRequested { attempt: attempt.clone(), stock_partitions: vec![of_item] };
            say(&shop, Event::StockReleaseRequested(release.clone())).await;
            say(&shop, Event::PaymentReleaseRequested(release)).await;
            shop.rest().await;
            // What is kept in mind of the void survives its leader, as state of a checkpoint or as its log.
            let leader =
                if seed % 2 == 0 { shop.leader::<Payment>(USER).await } else { shop.leader::<Stock>(ITEM).await };
            sim.sleep(Duration::from_secs(2)).await;
            shop.power_cut(leader);
            let line = order::Line { item: ITEM.into(), quantity: 3, price: Some(4), quoted: false };
            let started = order::CheckoutStarted {
                attempt: attempt.clone(),
                total: 12,
                lines: vec![line.clone()],
                ..order::CheckoutStarted::default()
            };
            say(&shop, Event::CheckoutStarted(started)).await;
            let parts = vec![order::StockPart { partition: of_item, lines: vec![line] }];
            say(&shop, Event::StockRequested(order::StockRequested { attempt, parts })).await;
            shop.restart(leader).await;
            shop.ready().await;
            shop.rest().await;
            for node in 1..=3 {
                let account = &shop.aggregates::<Payment>(node).await[USER];
                assert_eq!((account.available, account.held, account.spent), (100, 0, 0), "seed {seed}, node {node}");
                let Some(stock::state::State::Item(item)) = &shop.aggregates::<Stock>(node).await[ITEM].state else {
                    panic!("it is an item")
                };
                assert_eq!((item.free, item.held, item.sold), (10, 0, 0), "seed {seed}, node {node}");
                // They were asked, and said no.
                let paid = events(&shop, "payment", of_user, node).await.pop().unwrap();
                let paid = payment::Event::decode(paid).unwrap().event;
                let refused = matches!(&paid, Some(payment::event::Event::Refused(why)) if why.reason == "voided");
                assert!(refused, "seed {seed}, node {node}: {paid:?}");
                let taken = events(&shop, "stock", of_item, node).await.pop().unwrap();
                let taken = stock::Event::decode(taken).unwrap().event;
                let refused = matches!(&taken, Some(stock::event::Event::Refused(why)) if why.reason == "voided");
                assert!(refused, "seed {seed}, node {node}: {taken:?}");
            }
        });
    }
}
