//! Placing, lines, refs, delivering.
use super::*;

#[test]
fn an_order_for_an_amount_is_confirmed_when_it_is_placed_and_completed_when_it_is_delivered() {
    let mut shop = Shop::new(Settings::default());
    // 2020-07-01: the day of the lower tax.
    let placed = pb::Place { order_date: Some(1_593_561_600_000_000), ..value(15_000) };
    let then = shop.ask("v", Command::Place(placed));
    assert_eq!(kinds(&then), ["Placed"]);
    let order = then.reply().and_then(|reply| reply.order).expect("it is there");
    assert_eq!((order.status(), order.vat_bp, order.gross, order.number), (Status::Confirmed, 1600, 17_400, 1));
    assert_eq!((order.incarnation, total(&order)), (0, 17_400));
    assert_eq!(shop.alias("ref/1").as_deref(), Some("v"));
    assert_eq!(shop.alias(&due_key(1_593_561_600_000_000, "v")).as_deref(), Some("v"));
    assert!(shop.ask("v", checkout()).reply().expect("it is paid").already_paid);
    let then = shop.ask("v", Command::MarkDelivered(pb::MarkDelivered {}));
    assert_eq!(kinds(&then), ["Delivered", "Completed"]);
    let Some(Event::Delivered(delivered)) = then.events().remove(0).event else { panic!("{then:?}") };
    assert_eq!((delivered.net, delivered.vat_bp, delivered.gross), (15_000, 1600, 17_400));
    assert!(!delivered.needs_delivery);
    assert_eq!(shop.alias(&due_key(1_593_561_600_000_000, "v")), None);
    let again = shop.ask("v", Command::MarkDelivered(pb::MarkDelivered {}));
    assert!(again.events().is_empty() && again.reply().is_some());
    assert_eq!(name(&shop.ask("v", Command::Cancel(pb::Cancel {}))), "order-closed");
}

#[test]
fn the_same_content_is_the_same_order_and_other_content_is_a_conflict() {
    let mut shop = Shop::new(Settings::default());
    let lines = [Line { quoted: true, ..line("i", 1, 5) }, line("j", 2, 7)];
    let first = shop.ask("a", Command::Place(items(&lines))).reply();
    // What j costs was looked up, and is another now.
    let again = pb::Place { order_date: Some(9), ..items(&[lines[0].clone(), line("j", 2, 8)]) };
    let then = shop.ask("a", Command::Place(again));
    assert_eq!((then.events(), then.reply()), (vec![], first));
    let other = items(&[Line { quoted: true, ..line("i", 1, 6) }, line("j", 2, 7)]);
    let then = shop.ask("a", Command::Place(other));
    assert_eq!(name(&then), "id-conflict");
    assert_eq!(extras(&then.refusal().expect("it is"))["id"], "a");
}

#[test]
fn what_is_against_a_rule_is_not_placed() {
    let mut shop = Shop::new(Settings { max_lines: 2, ..Settings::default() });
    let million = 1_000_000;
    let lines = |lines: &[Line]| Command::Place(items(lines));
    for (key, place) in [
        ("", Command::Place(value(1))),
        ("a/b", Command::Place(value(1))),
        ("a", Command::Place(value(-1))),
        ("a", Command::Place(value(i64::MAX))),
        ("a", Command::Place(pb::Place { lines: vec![line("i", 1, 1)], ..value(1) })),
        ("a", lines(&[line("i", 0, 1)])),
        ("a", lines(&[line("i", million + 1, 1)])),
        ("a", lines(&[line("i", 1, -1)])),
        ("a", lines(&[line("i", million, i64::MAX)])),
        ("a", lines(&[line("i", 1, i64::MAX), line("j", 1, 1)])),
        ("a", lines(&[line("i", 1, 1), line("j", 1, 1), line("k", 1, 1)])),
    ] {
        let then = shop.ask(key, place.clone());
        assert_eq!(name(&then), "rule-violated", "{place:?}");
    }
    assert!(shop.rules.states().is_empty());
    assert!(shop.rules.when("a", &pb::Command::default()).fault().is_some(), "it says nothing");
}

#[test]
fn orders_are_placed_while_all_others_are_away() {
    // INV-8.
    let mut alone = Rules::new(Order::new(Settings::default()));
    let then = alone.when("a", &command(Command::Place(items(&[line("i", 1, 1)]))));
    assert!(then.reply().is_some());
}

#[test]
fn lines_are_appended_and_the_newest_of_an_item_goes() {
    let mut shop = Shop::new(Settings { max_lines: 3, ..Settings::default() });
    assert_eq!(name(&shop.ask("a", Command::AddLine(line("i", 1, 1)))), "unknown-order");
    shop.ask("a", Command::Place(items(&[])));
    for (quantity, price) in [(1, 10), (2, 20)] {
        assert_eq!(kinds(&shop.ask("a", Command::AddLine(line("i", quantity, price)))), ["LineAdded"]);
    }
    let order = shop.ask("a", Command::AddLine(line("j", 1, 5))).reply().and_then(|reply| reply.order);
    assert_eq!(order.map(|order| (order.lines.len(), order.gross)), Some((3, 55)));
    assert_eq!(name(&shop.ask("a", Command::AddLine(line("i", 1, 1)))), "rule-violated");
    let then = shop.ask("a", Command::RemoveLine("i".into()));
    assert_eq!(kinds(&then), ["LineRemoved"]);
    let order = then.reply().and_then(|reply| reply.order).expect("it is there");
    assert_eq!((order.lines, order.gross), (vec![line("i", 1, 10), line("j", 1, 5)], 15));
    assert_eq!(name(&shop.ask("a", Command::RemoveLine("k".into()))), "unknown-item");
    for bad in [line("i", 0, 1), line("i", 1_000_001, 1), line("i", 1, -1), line("i", 2, i64::MAX)] {
        assert_eq!(name(&shop.ask("a", Command::AddLine(bad))), "rule-violated");
    }
}

#[test]
fn lines_are_fixed_from_the_checkout_on() {
    let (mut shop, _) = Shop::new(Settings::default()).checking_out();
    for what in [Command::AddLine(line("i", 1, 1)), Command::RemoveLine(item_in(0))] {
        let then = shop.ask("a", what);
        assert_eq!(name(&then), "order-busy");
        assert_eq!(extras(&then.refusal().expect("it is"))["attempt"], "1");
    }
    shop.held();
    let then = shop.ask("a", Command::AddLine(line("i", 1, 1)));
    assert_eq!(name(&then), "order-closed");
    assert_eq!(extras(&then.refusal().expect("it is"))["status"], "confirmed");
}

#[test]
fn only_what_is_confirmed_is_delivered() {
    let (mut shop, _) = Shop::new(Settings::default()).checking_out();
    let deliver = || Command::MarkDelivered(pb::MarkDelivered {});
    assert_eq!(name(&shop.ask("b", deliver())), "unknown-order");
    let then = shop.ask("a", deliver());
    assert_eq!(name(&then), "not-deliverable");
    assert_eq!(extras(&then.refusal().expect("it is"))["status"], "reserving");
    shop.held();
    let due = due_key(shop.order("a").order_date, "a");
    assert_eq!(shop.alias(&due).as_deref(), Some("a"));
    let then = shop.ask("a", deliver());
    assert_eq!(kinds(&then), ["Delivered", "Completed"]);
    let Some(Event::Delivered(delivered)) = then.events().remove(0).event else { panic!("{then:?}") };
    assert_eq!((delivered.net, delivered.gross, delivered.vat_bp), (70, 70, 1900), "prices of items contain the tax");
    assert!(delivered.needs_delivery);
    assert_eq!(shop.alias(&due), None);
}

#[test]
fn what_is_due_is_sorted_by_order_date_and_then_by_id() {
    let mut shop = Shop::new(Settings::default());
    for (key, date) in [("c", 300), ("b", 20), ("a", 300)] {
        shop.ask(key, Command::Place(pb::Place { order_date: Some(date), ..value(1) }));
    }
    shop.ask("o", Command::Place(items(&[])));
    let due = shop.rules.states().into_iter().filter(|(key, _)| key.starts_with(DUE)).map(|(key, _)| key);
    let due: Vec<_> = due.filter_map(|key| shop.alias(&key)).collect();
    assert_eq!(due, ["b", "a", "c"]);
}

#[test]
fn a_ref_is_a_number_and_says_which_partition_it_is_of() {
    assert_eq!((order_ref(1).as_str(), order_ref(12_345_678).as_str()), ("OS000001-ORD", "OS12345678-ORD"));
    for number in [1, 42, 999_999, 1_000_000, u64::MAX] {
        assert_eq!(parse_ref(&order_ref(number)), Some(number));
        assert_eq!(parse_ref(&order_ref(number).to_lowercase()), Some(number));
    }
    for none in
        ["", "OS", "OS-ORD", "OS1-ORD", "OS0000001-ORD", "OS000000-ORD", "OS+00001-ORD", "OS00000é-ORD", "ö00001"]
    {
        assert_eq!(parse_ref(none), None, "{none}");
    }
    for partition in 0..4 {
        let here = Place { partition, partitions: 4, ..place() };
        let mut rules = Rules::new(Order::new(Settings::default())).at(here);
        for counter in 0..3 {
            let then = rules.when(&format!("order-{counter}"), &command(Command::Place(items(&[]))));
            let number = then.reply().and_then(|reply| reply.order).expect("it is placed").number;
            assert_eq!(number, counter * 4 + u64::from(partition) + 1);
            assert_eq!(partition_of_ref(number, 4), partition);
        }
    }
}

#[test]
fn what_is_said_cannot_be_anything() {
    let mut shop = Shop::new(Settings::default());
    let tell = |rules: &mut Rules<Order>, topic, event| rules.tell(topic, 0, 1, "", &event);
    assert!(tell(&mut shop.rules, "payment", payment::Event::default()).is_err());
    assert!(shop.rules.tell("voucher", 0, 1, "", &payment::Event::default()).is_err());
    let held = stock::event::Event::Held(stock::StockHeld::default());
    assert!(shop.rules.tell("stock", 0, 1, "", &stock::Event { event: Some(held) }).is_err(), "of no hold");
    let funds = payment::event::Event::FundsAdded(payment::Funds::default());
    assert!(
        tell(&mut shop.rules, "payment", payment::Event { event: Some(funds) }).is_ok_and(|thens| thens.is_empty())
    );
}
