use super::{Command, Event, OrderEvent, State, Strategy, Verdict, Voucher, alias, key, order, partition_of_code, pb};
use crate::{
    runtime::rules::{Rules, Then},
    services::{
        Settings,
        settings::gross,
        voucher::{LARGE_DELIVERED, STRATEGIES},
    },
};
use proptest::{prelude::*, strategy::Strategy as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn delivered(id: &str, customer: &str, net: i64, vat_bp: u32) -> order::Event {
    let delivered = order::OrderDelivered {
        order: id.into(),
        customer: customer.into(),
        net,
        vat_bp,
        gross: gross(net, vat_bp).expect("it can be counted"),
        incarnation: 4,
        ..order::OrderDelivered::default()
    };
    order::Event { event: Some(OrderEvent::Delivered(delivered)) }
}

fn rules() -> Rules<Voucher> {
    Rules::new(Voucher::new(Settings::default()))
}

fn tell(rules: &mut Rules<Voucher>, event: &order::Event) -> Vec<Then<Voucher>> {
    rules.tell("order", 0, 0, "o", event).expect("it is an event of order")
}

/// The vouchers an event came to.
fn issued(thens: &[Then<Voucher>]) -> Vec<pb::VoucherIssued> {
    assert!(thens.iter().all(|then| then.fault().is_none()), "{thens:?}");
    let issued = thens.iter().flat_map(Then::events).map(|event| match event.event {
        Some(Event::Issued(issued)) => issued,
        other => panic!("{other:?}"),
    });
    issued.collect()
}

fn redeem(rules: &mut Rules<Voucher>, code: &str, customer: &str) -> Result<pb::Voucher, String> {
    let request = pb::Redeem { customer: customer.into(), order: "next".into() };
    let then = rules.when(&alias(code), &pb::Command { command: Some(Command::Redeem(request)) });
    match then.refusal() {
        Some(refusal) => Err(refusal.name().to_owned()),
        None => Ok(then.reply().and_then(|reply| reply.voucher).expect("it is shown")),
    }
}

/// A4, A5: by what the order costs with its tax.
#[test]
fn an_order_of_a_hundred_with_its_tax_earns_five_and_one_of_less_earns_nothing() {
    for (net, vat_bp, value) in [
        (15_000, 1900, Some(500)),
        (8_403, 1900, Some(500)),
        (8_402, 1900, None),
        (8_621, 1600, Some(500)),
        (8_620, 1600, None),
    ] {
        let mut rules = rules();
        let thens = tell(&mut rules, &delivered("o", "ada", net, vat_bp));
        let issued = issued(&thens);
        assert_eq!(issued.first().map(|issued| issued.value), value, "{net} at {vat_bp}");
        assert_eq!(issued.len(), usize::from(value.is_some()));
        for issued in issued {
            assert_eq!((issued.order.as_str(), issued.customer.as_str(), issued.incarnation), ("o", "ada", 4));
            assert_eq!(partition_of_code(&issued.code), Some(0));
            assert_eq!((issued.strategy.as_str(), issued.expires_at), (LARGE_DELIVERED, 0));
        }
    }
}

/// INV-22.
#[test]
fn an_order_that_is_delivered_twice_has_one_voucher() {
    let mut rules = rules();
    let event = delivered("o", "ada", 15_000, 1900);
    assert_eq!(issued(&tell(&mut rules, &event)).len(), 1);
    assert_eq!(issued(&tell(&mut rules, &event)).len(), 0);
    assert_eq!(rules.states().len(), 2, "the voucher and its code");
}

#[test]
fn what_else_becomes_of_orders_earns_nothing() {
    let mut rules = rules();
    let completed = OrderEvent::Completed(order::OrderCompleted { order: "o".into(), ..Default::default() });
    assert!(tell(&mut rules, &order::Event { event: Some(completed) }).is_empty());
    assert!(rules.tell("order", 0, 0, "o", &order::Event::default()).is_err(), "of an unknown kind");
    let nameless = delivered("", "ada", 15_000, 1900);
    assert!(rules.tell("order", 0, 0, "", &nameless).is_err(), "invalid");
}

/// A7, INV-25.
#[test]
fn a_voucher_is_redeemed_once_by_whom_it_was_given_to() {
    let mut rules = rules();
    let code = issued(&tell(&mut rules, &delivered("o", "ada", 15_000, 1900)))[0].code.clone();
    assert_eq!(redeem(&mut rules, "0000ZZZZZZZZZZZZZZZZ", "ada"), Err("unknown-voucher".into()));
    assert_eq!(redeem(&mut rules, &code, "bob"), Err("voucher-owner".into()));
    let voucher = redeem(&mut rules, &code.to_lowercase(), "ada").expect("it is hers");
    assert_eq!((voucher.redeemed_by.as_str(), voucher.redeemed_for.as_str()), ("ada", "next"));
    assert_ne!(voucher.redeemed_at, 0);
    assert_eq!(redeem(&mut rules, &code, "ada"), Err("voucher-redeemed".into()));
    let code = issued(&tell(&mut rules, &delivered("p", "", 15_000, 1900)))[0].code.clone();
    assert_eq!(redeem(&mut rules, &code, "bob").expect("it is nobody's").redeemed_by, "bob");
}

#[test]
fn a_voucher_expires_when_its_time_is_over_and_not_before() {
    let settings = Settings { voucher_valid_for: Some(60 * SECOND), ..Settings::default() };
    let mut rules = Rules::new(Voucher::new(settings));
    let codes = ["a", "b"].map(|order| issued(&tell(&mut rules, &delivered(order, "", 15_000, 1900)))[0].code.clone());
    rules.wait(59 * SECOND);
    redeem(&mut rules, &codes[0], "").expect("it is in time");
    rules.wait(SECOND);
    assert_eq!(redeem(&mut rules, &codes[1], ""), Err("voucher-expired".into()));
    assert_eq!(redeem(&mut rules, &codes[0], ""), Err("voucher-redeemed".into()));
}

fn never(_: &pb::Facts) -> Verdict {
    Verdict::Later
}

fn always(_: &pb::Facts) -> Verdict {
    Verdict::Voucher(pb::Kind::Relative, 1000)
}

/// A15: three tries, 5 and 25 seconds apart; then a dead letter. The other strategy does not wait.
#[test]
fn a_strategy_that_wants_to_wait_forever_is_asked_three_times_and_delays_no_other() {
    let strategies = vec![Strategy { name: "Never", decide: never }, Strategy { name: "Always", decide: always }];
    let mut rules = Rules::new(Voucher::with(Settings::default(), strategies));
    let thens = tell(&mut rules, &delivered("o", "ada", 100, 1900));
    assert_eq!(issued(&thens).len(), 1);
    assert_eq!(thens.iter().filter_map(Then::retry).collect::<Vec<_>>(), [5 * SECOND]);
    assert!(rules.wait(4 * SECOND).is_empty());
    let second = rules.wait(SECOND);
    assert_eq!(second.iter().filter_map(Then::retry).collect::<Vec<_>>(), [25 * SECOND]);
    assert!(rules.wait(24 * SECOND).is_empty());
    let third = rules.wait(SECOND);
    assert_eq!(third.iter().filter_map(Then::fault_reason).collect::<Vec<_>>(), ["exhausted"]);
    assert_eq!((rules.timers(), rules.state(&key("o", "Never"))), (0, None));
}

#[test]
fn a_strategy_that_is_enabled_no_more_leaves_a_dead_letter_and_no_voucher() {
    let mut rules = Rules::new(Voucher::with(Settings::default(), Vec::new()));
    assert!(tell(&mut rules, &delivered("o", "ada", 15_000, 1900)).is_empty(), "nobody is asked");
    let consider = pb::Consider { facts: Some(pb::Facts::default()), strategy: "Gone".into() };
    let then = rules.when("o/Gone", &pb::Command { command: Some(Command::Consider(consider)) });
    assert_eq!((then.fault_reason(), then.events().len()), (Some("fault"), 0));
}

#[test]
fn strategies_have_names_that_keys_can_have() {
    let names: BTreeSet<&str> = STRATEGIES.iter().map(|strategy| strategy.name).collect();
    assert_eq!(names.len(), STRATEGIES.len());
    assert!(names.iter().all(|name| !name.is_empty() && !name.contains(['/', '#'])));
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(usize, i64),
    Redeem(usize, bool),
    Wait(u64),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_usize, 8_000..9_000_i64).prop_map(|(order, net)| Step::Deliver(order, net)),
        4 => (0..12_usize, any::<bool>()).prop_map(|(voucher, owner)| Step::Redeem(voucher, owner)),
        1 => (0..90_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// INV-22 to INV-25 after whatever happens, and from a state that was stored.
    #[test]
    fn an_order_has_the_voucher_it_has_earned_and_that_is_redeemed_at_most_once(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let settings = Settings { voucher_valid_for: Some(100 * SECOND), ..Settings::default() };
        let mut rules = Rules::new(Voucher::new(settings));
        let (mut earned, mut redeemed) = (BTreeMap::new(), BTreeSet::new());
        let mut codes: Vec<String> = Vec::new();
        for step in &steps {
            match step {
                Step::Deliver(order, net) => {
                    let id = format!("order-{order}");
                    let new = issued(&tell(&mut rules, &delivered(&id, "ada", *net, 1900)));
                    let large = gross(*net, 1900).expect("it can be counted") >= 10_000;
                    prop_assert_eq!(new.len(), usize::from(large && !earned.contains_key(&id)));
                    for voucher in new {
                        prop_assert!(!codes.contains(&voucher.code));
                        codes.push(voucher.code.clone());
                        earned.insert(id.clone(), voucher.code);
                    }
                }
                Step::Redeem(voucher, owner) => {
                    let Some(code) = codes.get(*voucher) else { continue };
                    if redeem(&mut rules, code, if *owner { "ada" } else { "bob" }).is_ok() {
                        prop_assert!(*owner && redeemed.insert(code.clone()), "{code} is redeemed twice");
                    }
                }
                Step::Wait(seconds) => drop(rules.wait(Duration::from_secs(*seconds))),
            }
        }
        let hash = rules.hash();
        let rules = rules.restored();
        prop_assert_eq!(rules.hash(), hash);
        for (order, code) in &earned {
            let alias = rules.state(&alias(code)).and_then(|state| state.state);
            prop_assert_eq!(alias, Some(State::Alias(key(order, LARGE_DELIVERED))));
            let Some(State::Voucher(voucher)) = rules.state(&key(order, LARGE_DELIVERED)).and_then(|state| state.state)
            else { panic!("{order} has lost its voucher") };
            prop_assert_eq!(&voucher.code, code);
            prop_assert_eq!(voucher.redeemed_at != 0, redeemed.contains(code));
        }
        prop_assert_eq!(rules.states().len(), 2 * earned.len());
    }
}
