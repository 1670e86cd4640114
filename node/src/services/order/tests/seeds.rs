//! Many orders at once, and again over what became of them.
use super::*;

fn seed(orders: u64, seed: u64) -> Command {
    Command::Seed(pb::Seed { orders, items: 10, users: 5, price: 7, seed })
}

#[test]
fn a_seed_makes_orders_that_are_the_same_for_everybody() {
    let mut shop = Shop::new(Settings::default());
    for (items, users, price) in [(0, 1, 1), (1, 0, 1), (1, 1, -1)] {
        let bad = pb::Seed { orders: 1, items, users, price, seed: 1 };
        assert_eq!(name(&shop.ask("seed", Command::Seed(bad))), "rule-violated");
    }
    let endless = pb::Seed { orders: u64::MAX, items: 1, users: 1, price: 1, seed: 1 };
    assert_eq!(name(&shop.ask("seed", Command::Seed(endless))), "rule-violated");
    shop.ask("before", Command::Place(value(1)));
    let then = shop.ask("seed", seed(100, 3));
    assert_eq!(kinds(&then), ["Seeded"]);
    assert!(then.reply().is_some());
    for index in 0..100 {
        let order = shop.order(&index.to_string());
        assert_eq!((order.status(), order.incarnation, order.number), (Status::Open, 1, index + 2));
        assert_eq!((order.lines.len(), order.gross, order.needs_delivery), (2, 14, true));
        assert!(order.customer.parse::<u64>().is_ok_and(|user| user < 5));
        assert!(order.lines.iter().all(|line| line.item.parse::<u64>().is_ok_and(|item| item < 10)));
        assert_eq!(shop.alias(&ref_key(order.number)), Some(order.id));
    }
    for none in ["100", "007", "+1", "x", "ref/0", "ref/102"] {
        assert_eq!(shop.rules.state(none), None, "{none}");
    }
    assert_eq!(shop.alias("ref/1").as_deref(), Some("before"));
    let then = shop.ask("after", Command::Place(value(1)));
    assert_eq!(then.reply().and_then(|reply| reply.order).map(|order| order.number), Some(102));
    let customers: std::collections::BTreeSet<_> =
        (0..100).map(|index| shop.order(&index.to_string()).customer).collect();
    assert_eq!(customers.len(), 5);
}

#[test]
fn a_seeded_order_is_one_like_any_other() {
    let mut shop = Shop::new(Settings::default());
    shop.ask("seed", seed(3, 3));
    assert_eq!(name(&shop.ask("1", Command::Place(items(&[])))), "id-conflict");
    shop.ask("1", Command::AddLine(line("x", 1, 1)));
    let order = shop.order("1");
    assert_eq!((order.lines.len(), order.gross, order.incarnation), (3, 15, 0), "it is stored now, and counts");
    assert!(shop.ask("1", checkout()).deferred().is_some());
    assert_eq!(shop.order("1").status(), Status::Reserving);
    assert_eq!(shop.alias(&ref_key(order.number)).as_deref(), Some("1"));
}

#[test]
fn a_seed_replaces_what_was_there_and_ends_what_is_running() {
    let mut shop = Shop::with_capacity();
    // Of those ids, some in each status; one is out of reach.
    shop.ask("0", Command::Place(value(1)));
    let due = due_key(shop.order("0").order_date, "0");
    shop.ask("5", Command::Place(value(1)));
    shop.ask("01", Command::Place(value(1)));
    let lines = [line(item_in(0), 3, 20), line(item_in(1), 1, 10)];
    shop.ask("1", Command::Place(items(&lines)));
    let ticket = shop.ask("1", checkout()).deferred().expect("it waits");
    let before = shop.order("1");
    let held = payment::event::Event::Held(payment::PaymentHeld {
        hold: Some(payment::HoldId { order: "1".into(), incarnation: before.incarnation, attempt: 1 }),
        ..payment::PaymentHeld::default()
    });
    let held = payment::Event { event: Some(held) };
    shop.tell("payment", 0, &held);
    let then = shop.ask("seed", seed(3, 1));
    let Some(Event::Seeded(seeded)) = then.events().remove(0).event else { panic!("{then:?}") };
    let ended = seeded.ended.first().expect("there is one");
    assert_eq!((seeded.ended.len(), &ended.stock_partitions, ended.delivery), (1, &vec![0, 1], false));
    assert_eq!(ended.attempt.as_ref().map(|attempt| attempt.incarnation), Some(before.incarnation));
    assert_eq!(refused(&then, ticket).name(), "checkout-cancelled");
    assert_eq!(shop.rules.timers(), 0);
    let order = shop.order("1");
    assert_eq!((order.status(), order.attempt), (Status::Open, 0));
    assert!(order.incarnation > before.incarnation);
    assert_eq!((shop.alias("ref/1"), shop.alias(&due)), (None, None), "numbers are not given again");
    assert_eq!((shop.alias("ref/2").as_deref(), shop.order("5").number), (Some("5"), 2));
    assert_eq!(shop.order("01").number, 3);
    assert!(shop.tell("payment", 0, &held).events().is_empty(), "that was another order");
    let ticket = shop.ask("1", checkout()).deferred().expect("it waits");
    let cancelled = shop.ask("1", Command::Cancel(pb::Cancel {})).deferred().expect("it waits");
    let then = shop.ask("seed", seed(2, 1));
    assert_eq!(refused(&then, ticket).name(), "checkout-cancelled");
    assert_eq!(refused(&then, cancelled).name(), "unknown-order");
    assert_eq!(shop.order("1").number, 9, "4 orders were placed, and 3 seeded, and order 0 is number 8");
}

#[test]
fn the_last_seed_counts_and_the_one_before_where_it_does_not_reach() {
    let mut shop = Shop::new(Settings::default());
    shop.ask("seed", seed(4, 1));
    shop.ask("3", Command::AddLine(line("x", 1, 1)));
    shop.ask("seed", seed(2, 2));
    let numbers: Vec<_> = (0..4).map(|index| shop.order(&index.to_string()).number).collect();
    assert_eq!((numbers, shop.order("3").lines.len()), (vec![5, 6, 3, 4], 3));
    assert_eq!(
        (shop.alias("ref/1"), shop.alias("ref/3"), shop.alias("ref/6")),
        (None, Some("2".into()), Some("1".into()))
    );
    shop.ask("seed", seed(9, 2));
    assert_eq!(shop.rules.partition().seeds.len(), 1, "the others reach no further");
    assert_eq!(shop.order("3").lines.len(), 2);
    let hash = shop.rules.hash();
    assert_eq!(shop.rules.restored().hash(), hash);
}

#[test]
fn a_partition_has_only_its_own_orders_of_a_seed() {
    let mut numbers = std::collections::BTreeSet::new();
    let mut parts: Vec<_> = (0..4)
        .map(|partition| Rules::new(Order::new(Settings::default())).at(Place { partition, partitions: 4, ..place() }))
        .collect();
    parts.iter_mut().for_each(|rules| assert!(rules.when("seed", &command(seed(50, 1))).reply().is_some()));
    for index in 0..50_u64 {
        let key = index.to_string();
        let here = partition_of(&key, 4);
        for (partition, rules) in (0..).zip(&parts) {
            assert_eq!(rules.state(&key).is_some(), partition == here);
        }
        let Some(pb::state::State::Order(order)) = parts[here as usize].state(&key).and_then(|state| state.state)
        else {
            panic!("{key} is none");
        };
        assert!(numbers.insert(order.number));
        let home = partition_of_ref(order.number, 4);
        assert_eq!(home, here);
        assert!(parts[home as usize].state(&ref_key(order.number)).is_some());
    }
}
