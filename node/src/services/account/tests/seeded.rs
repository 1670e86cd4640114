//! Customers and orders that were made many at once.
use super::*;
use crate::runtime::{Place, partition_of};

/// Where payment has two partitions, and orders one.
fn rules() -> Rules<Account> {
    let peers = [("payment", 2), ("order", 1)].map(|(name, partitions)| (name.to_owned(), partitions));
    Rules::new(Account).at(Place { partition: 0, partitions: 1, peers: peers.into(), ..Place::default() })
}

fn users(rules: &mut Rules<Account>, partition: u32, users: u64, money: i64) {
    let seeded = PaymentEvent::Seeded(payment::AccountsSeeded { users, money });
    let thens =
        rules.tell("payment", partition, 0, "seed", &payment::Event { event: Some(seeded) }).expect("it is one");
    assert_eq!(thens.iter().flat_map(|then| then.events()).count(), 1, "one event for all of them");
}

fn orders_seeded(rules: &mut Rules<Account>, orders: u64) {
    let seeded = order::OrdersSeeded { orders, partitions: 1, ..Default::default() };
    let seeded = order::Event { event: Some(OrderEvent::Seeded(seeded)) };
    let thens = rules.tell("order", 0, 0, "seed", &seeded).expect("it is one");
    assert_eq!(told(&thens), [], "it is an event of nobody");
}

fn added(user: &str, available: i64) -> PaymentEvent {
    PaymentEvent::FundsAdded(payment::Funds { user: user.into(), amount: 1, available })
}

#[test]
fn a_seeded_customer_has_its_money_and_no_events() {
    let mut rules = rules();
    for partition in 0..2 {
        users(&mut rules, partition, 100_000, 50 + i64::from(partition));
    }
    for user in ["0", "7", "99999"] {
        let account = rules.state(user).expect("an account");
        let money = 50 + i64::from(partition_of(user, 2));
        assert_eq!((account.balance, account.seq, account.orders.len()), (money, 0, 0), "{user}");
    }
    for nobody in ["100000", "007", "+1", "ann"] {
        assert_eq!(rules.state(nobody), None, "{nobody}");
    }
    assert_eq!(rules.states(), [], "none of them is stored");
    let events = order(&mut rules, placed("7", "o"));
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1]);
    assert_eq!(balance(&rules, "7"), Some(50 + i64::from(partition_of("7", 2))), "it keeps its money");
    assert!(rules.when("8", &set(&profile(Some("Eight"), None))).reply().is_some(), "it is a customer like any other");
    assert_eq!(balance(&rules, "8"), Some(50 + i64::from(partition_of("8", 2))));
}

#[test]
fn a_seed_counts_from_where_it_came() {
    let mut rules = rules();
    let home = partition_of("7", 2);
    pay(&mut rules, added("7", 9));
    users(&mut rules, 1 - home, 10, 50);
    assert_eq!(balance(&rules, "7"), Some(9), "that was a seed of others");
    users(&mut rules, home, 10, 60);
    assert_eq!(balance(&rules, "7"), Some(60));
    pay(&mut rules, added("7", 61));
    assert_eq!(balance(&rules, "7"), Some(61), "what happens then counts");
    users(&mut rules, home, 5, 80);
    assert_eq!((balance(&rules, "7"), rules.partition().seeds.len()), (Some(61), 3), "it does not reach so far");
    users(&mut rules, home, 10, 70);
    assert_eq!((balance(&rules, "7"), rules.partition().seeds.len()), (Some(70), 2), "the others reach no further");
    let account = rules.state("7").expect("an account");
    assert_eq!((account.seq, account.offsets.len()), (2, 2), "a seed is no event of its own");
    let hash = rules.hash();
    let restored = rules.restored();
    assert_eq!((restored.hash(), balance(&restored, "7")), (hash, Some(70)));
}

#[test]
fn orders_that_are_seeded_anew_are_others() {
    let mut rules = rules();
    for id in ["1", "5", "x"] {
        order(&mut rules, placed("ann", id));
    }
    orders_seeded(&mut rules, 3);
    let ids = |rules: &Rules<Account>| orders(rules, "ann").into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
    assert_eq!(ids(&rules), ["5", "x"]);
    assert_eq!(rules.state("bob"), None, "it concerns nobody by itself");
    // The new order 1 may be another customer's.
    let line = order::LineChanged { order: "1".into(), customer: "bob".into(), number: 9, total: 14, line: None };
    order(&mut rules, OrderEvent::LineAdded(line));
    assert_eq!(orders(&rules, "bob"), [("1".into(), 9, Status::Open, 14)]);
    order(&mut rules, placed("ann", "y"));
    assert_eq!(
        (ids(&rules), rules.state("ann").map(|account| account.seq)),
        (vec!["5".into(), "x".into(), "y".into()], Some(4))
    );
}
