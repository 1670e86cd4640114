mod properties;

use super::{Command, Event, OrderEvent, Stock, order, pb, state::State};
use crate::runtime::{
    At, Place, Service,
    rules::{Rules, Then},
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn ask(command: Command) -> pb::Command {
    pb::Command { command: Some(command) }
}

fn seed(items: u64, stock: i64, price: i64) -> pb::Command {
    ask(Command::Seed(pb::Seed { items, stock, price }))
}

fn create(price: i64) -> pb::Command {
    ask(Command::Create(pb::Create { price }))
}

fn attempt(order: &str, attempt: u32) -> Option<order::Attempt> {
    Some(order::Attempt { order: order.into(), incarnation: 7, attempt, customer: "ann".into() })
}

fn id(order: &str, attempt: u32) -> Option<pb::HoldId> {
    Some(pb::HoldId { order: order.into(), incarnation: 7, attempt })
}

fn line(item: &str, quantity: i64) -> order::Line {
    order::Line { item: item.into(), quantity, price: Some(1), quoted: false }
}

fn quoted(item: &str, quantity: i64, price: i64) -> order::Line {
    order::Line { item: item.into(), quantity, price: Some(price), quoted: true }
}

fn requested(attempt: Option<order::Attempt>, lines: Vec<order::Line>) -> OrderEvent {
    OrderEvent::StockRequested(order::StockRequested {
        attempt,
        parts: vec![order::StockPart { partition: 0, lines }, order::StockPart { partition: 1, lines: Vec::new() }],
    })
}

fn confirmed(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::Confirmed(order::OrderConfirmed { attempt, stock_partitions: vec![0, 1], ..Default::default() })
}

fn release(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::StockReleaseRequested(order::ReleaseRequested { attempt, stock_partitions: vec![0, 1] })
}

fn ended(attempt: Option<order::Attempt>) -> OrderEvent {
    let ended = vec![order::EndedAttempt { attempt, stock_partitions: vec![0, 1], ..Default::default() }];
    OrderEvent::Seeded(order::OrdersSeeded { ended, ..Default::default() })
}

fn tell(rules: &mut Rules<Stock>, event: OrderEvent) -> Vec<Then<Stock>> {
    rules.tell("order", 0, 0, "o", &order::Event { event: Some(event) }).expect("it is an event of order")
}

/// What one event of an order came to, which is at most one event.
fn told(rules: &mut Rules<Stock>, event: OrderEvent) -> Option<Event> {
    let thens = tell(rules, event);
    let mut events: Vec<pb::Event> = thens.iter().flat_map(Then::events).collect();
    assert!(thens.iter().all(|then| then.fault().is_none()) && events.len() < 2, "{thens:?}");
    events.pop().and_then(|event| event.event)
}

fn item(rules: &Rules<Stock>, item: &str) -> Option<pb::Item> {
    match rules.state(item)?.state? {
        State::Item(item) => Some(item),
        State::Hold(hold) => panic!("{item} is {hold:?}"),
    }
}

fn free(rules: &Rules<Stock>, key: &str) -> i64 {
    item(rules, key).expect("an item").free
}

fn hold(rules: &Rules<Stock>, order: &str, attempt: u32) -> Option<pb::Hold> {
    match rules.state(&format!("hold/{order}/7/{attempt}"))?.state? {
        State::Hold(hold) => Some(hold),
        State::Item(item) => panic!("the hold is {item:?}"),
    }
}

/// Items "apple" and "pear" at 5 each.
fn shop(apples: i64, pears: i64) -> Rules<Stock> {
    let mut rules = Rules::new(Stock);
    for (item, stock) in [("apple", apples), ("pear", pears)] {
        rules.when(item, &create(5));
        rules.when(item, &ask(Command::Add(stock)));
    }
    rules
}

fn refused(item: &str, requested: i64, available: i64, price: i64, reason: &str) -> Option<Event> {
    let (item, reason) = (item.into(), reason.into());
    let (hold, partition) = (id("o", 1), 0);
    Some(Event::Refused(pb::StockHoldRefused { hold, partition, item, requested, available, reason, price }))
}

/// The quantities an answer moved, by item.
fn moved(event: Option<Event>) -> Vec<(String, i64)> {
    let lines = match event {
        Some(Event::Held(held)) => held.lines,
        Some(Event::Posted(settled) | Event::Voided(settled)) => settled.lines,
        other => panic!("{other:?} moves nothing"),
    };
    lines.into_iter().map(|line| (line.item, line.quantity)).collect()
}

fn pairs(lines: &[(&str, i64)]) -> Vec<(String, i64)> {
    lines.iter().map(|(item, quantity)| ((*item).to_owned(), *quantity)).collect()
}

#[test]
fn an_item_is_created_once_with_nothing_of_it() {
    let mut rules = Rules::new(Stock);
    let then = rules.when("apple", &create(5));
    assert_eq!((then.events().len(), then.reply()), (1, Some(pb::Reply { item: "apple".into(), free: 0, price: 5 })));
    rules.when("apple", &ask(Command::Add(3)));
    let then = rules.when("apple", &create(9));
    assert_eq!((then.events().len(), then.reply()), (0, Some(pb::Reply { item: "apple".into(), free: 3, price: 5 })));
}

#[test]
fn stock_comes_and_goes_and_the_answer_says_what_is_left() {
    let mut rules = shop(15, 0);
    let then = rules.when("apple", &ask(Command::Subtract(10)));
    assert_eq!(then.reply(), Some(pb::Reply { item: "apple".into(), free: 5, price: 5 }));
    let hash = rules.hash();
    for command in [Command::Add(0), Command::Subtract(0)] {
        let then = rules.when("apple", &ask(command));
        assert_eq!((then.events().len(), then.reply().expect("a reply").free), (0, 5));
    }
    assert_eq!(rules.hash(), hash, "nothing changes nothing");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut rules = shop(15, 0);
    let hash = rules.hash();
    let mut name = |item: &str, command: pb::Command| {
        let then = rules.when(item, &command);
        assert!(then.events().is_empty());
        then.refusal().expect("it is refused").name().to_owned()
    };
    assert_eq!(name("plum", ask(Command::Add(1))), "unknown-item");
    assert_eq!(name("plum", ask(Command::Subtract(1))), "unknown-item");
    assert_eq!(name("apple", ask(Command::Add(-1))), "rule-violated");
    assert_eq!(name("apple", ask(Command::Add(i64::MAX))), "rule-violated");
    assert_eq!(name("apple", ask(Command::Subtract(-1))), "rule-violated");
    assert_eq!(name("apple", ask(Command::Subtract(16))), "out-of-stock");
    assert_eq!(name("plum", create(-1)), "rule-violated");
    assert_eq!(name("hold/o/7/1", create(1)), "rule-violated");
    assert_eq!(name("", seed(1, -1, 1)), "rule-violated");
    assert_eq!(name("", seed(1, 1, -1)), "rule-violated");
    assert_eq!(rules.hash(), hash);
}

#[test]
fn a_refusal_says_what_the_caller_needs_to_go_on() {
    use corduroy_proto::runtime::extra::Value::{Number, Text};
    let refusal = shop(15, 0).when("apple", &ask(Command::Subtract(16))).refusal().expect("it is refused");
    let extras: Vec<_> = refusal.extras().map(|(name, value)| (name, value.clone())).collect();
    assert_eq!(extras, [("itemId", Text("apple".into())), ("requested", Number(16)), ("available", Number(15))]);
}

#[test]
fn a_hold_takes_all_lines_and_is_posted() {
    let mut rules = shop(10, 10);
    let held = told(&mut rules, requested(attempt("o", 1), vec![line("apple", 3), line("pear", 4)]));
    assert!(matches!(&held, Some(Event::Held(held)) if held.hold == id("o", 1) && held.partition == 0));
    assert_eq!(moved(held), pairs(&[("apple", 3), ("pear", 4)]));
    assert_eq!((free(&rules, "apple"), free(&rules, "pear")), (7, 6));
    let posted = told(&mut rules, confirmed(attempt("o", 1)));
    assert!(matches!(posted, Some(Event::Posted(_))));
    assert_eq!(moved(posted), pairs(&[("apple", 3), ("pear", 4)]));
    let apple = item(&rules, "apple").expect("an item");
    assert_eq!((apple.free, apple.held, apple.sold, apple.added), (7, 0, 3, 10));
    assert_eq!(hold(&rules, "o", 1), None);
}

#[test]
fn a_hold_is_voided_and_free_again() {
    let mut rules = shop(10, 10);
    told(&mut rules, requested(attempt("o", 1), vec![line("apple", 3)]));
    let voided = told(&mut rules, release(attempt("o", 1)));
    assert!(matches!(voided, Some(Event::Voided(_))));
    assert_eq!(moved(voided), pairs(&[("apple", 3)]));
    assert_eq!(free(&rules, "apple"), 10);
}

/// INV-15.
#[test]
fn lines_of_one_item_count_as_their_sum() {
    let mut rules = shop(5, 10);
    let lines = vec![line("pear", 1), line("apple", 3), line("apple", 3)];
    assert_eq!(told(&mut rules, requested(attempt("o", 1), lines)), refused("apple", 6, 5, 5, "out-of-stock"));
    assert_eq!((free(&rules, "apple"), free(&rules, "pear")), (5, 10), "none is taken, when one cannot be");
    let lines = vec![line("apple", 2), line("pear", 1), line("apple", 3)];
    let held = told(&mut rules, requested(attempt("o", 2), lines));
    assert_eq!(moved(held), pairs(&[("apple", 5), ("pear", 1)]));
}

#[test]
fn the_first_line_that_fails_is_told() {
    let mut rules = shop(1, 1);
    let lines = vec![line("apple", 1), line("pear", 2), line("plum", 1)];
    assert_eq!(told(&mut rules, requested(attempt("o", 1), lines)), refused("pear", 2, 1, 5, "out-of-stock"));
    let mut rules = shop(1, 1);
    let lines = vec![line("plum", 1), line("pear", 2)];
    assert_eq!(told(&mut rules, requested(attempt("o", 1), lines)), refused("plum", 1, 0, 0, "item-missing"));
}

#[test]
fn a_price_is_checked_where_the_caller_quoted_it() {
    let mut rules = shop(9, 9);
    let lines = vec![quoted("apple", 1, 5), quoted("apple", 1, 6)];
    assert_eq!(told(&mut rules, requested(attempt("o", 1), lines)), refused("apple", 2, 9, 5, "price-changed"));
    let held = told(&mut rules, requested(attempt("o", 2), vec![quoted("apple", 1, 5), line("pear", 1)]));
    assert!(matches!(held, Some(Event::Held(_))), "the price of a catalogue is not checked");
}

/// INV-16 with INV-11, and what the order waits for.
#[test]
fn what_is_repeated_has_no_second_effect_but_a_void_is_answered() {
    let mut rules = shop(10, 10);
    let request = |number| requested(attempt("o", number), vec![line("apple", 3)]);
    told(&mut rules, request(1));
    assert_eq!(told(&mut rules, request(1)), None);
    assert_eq!(moved(told(&mut rules, release(attempt("o", 1)))), pairs(&[("apple", 3)]));
    assert_eq!(moved(told(&mut rules, release(attempt("o", 1)))), []);
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1))), None, "it is voided");
    assert_eq!(free(&rules, "apple"), 10);

    told(&mut rules, request(2));
    assert!(told(&mut rules, confirmed(attempt("o", 2))).is_some());
    assert_eq!(told(&mut rules, confirmed(attempt("o", 2))), None);
    assert_eq!(moved(told(&mut rules, release(attempt("o", 2)))), []);
    assert_eq!(free(&rules, "apple"), 7, "it is sold");
}

#[test]
fn a_void_before_its_hold_has_the_hold_refused() {
    let mut rules = shop(10, 10);
    assert_eq!(moved(told(&mut rules, release(attempt("o", 1)))), []);
    let request = |number| requested(attempt("o", number), vec![line("apple", 3)]);
    assert_eq!(told(&mut rules, request(1)), refused("", 0, 0, 0, "voided"));
    assert!(matches!(told(&mut rules, request(2)), Some(Event::Held(_))), "another attempt");
}

/// INV-16 with INV-12.
#[test]
fn a_hold_that_was_refused_stays_refused() {
    let mut rules = shop(1, 1);
    let request = || requested(attempt("o", 1), vec![line("apple", 3)]);
    assert_eq!(told(&mut rules, request()), refused("apple", 3, 1, 5, "out-of-stock"));
    rules.when("apple", &ask(Command::Add(10)));
    assert_eq!(told(&mut rules, request()), refused("", 0, 0, 0, "voided"));
    assert_eq!(free(&rules, "apple"), 11);
}

#[test]
fn a_tombstone_goes_by_itself_after_a_day() {
    let mut rules = shop(1, 1);
    told(&mut rules, release(attempt("o", 1)));
    told(&mut rules, requested(attempt("o", 2), vec![line("apple", 3)]));
    told(&mut rules, requested(attempt("o", 3), vec![line("apple", 1)]));
    assert_eq!(rules.timers(), 2, "one for each tombstone");
    // What is repeated sets none.
    told(&mut rules, release(attempt("o", 1)));
    told(&mut rules, requested(attempt("o", 1), vec![line("apple", 1)]));
    told(&mut rules, release(attempt("o", 2)));
    assert_eq!(rules.timers(), 2);
    rules.wait(DAY - Duration::from_micros(1));
    assert!(hold(&rules, "o", 1).is_some_and(|hold| hold.voided));
    rules.wait(Duration::from_micros(1));
    assert_eq!((hold(&rules, "o", 1), hold(&rules, "o", 2), rules.timers()), (None, None, 0));
    assert!(hold(&rules, "o", 3).is_some_and(|hold| !hold.voided), "what is held is kept");
}

#[test]
fn orders_that_are_seeded_anew_give_back_what_the_old_ones_held() {
    let mut rules = shop(10, 10);
    told(&mut rules, requested(attempt("o", 1), vec![line("apple", 3)]));
    assert_eq!(moved(told(&mut rules, ended(attempt("o", 1)))), pairs(&[("apple", 3)]));
    assert_eq!(free(&rules, "apple"), 10);
}

#[test]
fn a_seed_makes_items_by_number_and_only_those() {
    let mut rules = Rules::new(Stock);
    let then = rules.when("", &seed(3, 100, 5));
    assert_eq!((then.events().len(), then.reply()), (1, Some(pb::Reply::default())));
    for key in ["0", "1", "2"] {
        assert_eq!(item(&rules, key).map(|item| (item.free, item.added, item.price)), Some((100, 100, 5)));
    }
    for key in ["3", "00", "01", "+1", "-1", "", "seed", "apple"] {
        assert_eq!(rules.state(key), None, "{key:?}");
    }
    assert_eq!(rules.states(), [], "they cost nothing until something happens to them");
    rules.when("0", &ask(Command::Subtract(40)));
    assert_eq!(free(&rules, "0"), 60, "what happened since is not seeded away");
}

#[test]
fn an_item_that_was_seeded_anew_gets_nothing_back_and_sells_nothing() {
    let mut rules = Rules::new(Stock);
    rules.when("1", &create(9));
    rules.when("", &seed(3, 100, 5));
    assert_eq!(free(&rules, "1"), 100, "it was created before");
    for number in [1, 2] {
        told(&mut rules, requested(attempt("o", number), vec![line("1", 30), line("2", 10)]));
    }
    rules.when("", &seed(2, 50, 6));
    assert_eq!(moved(told(&mut rules, release(attempt("o", 1)))), pairs(&[("2", 10)]));
    assert_eq!(moved(told(&mut rules, confirmed(attempt("o", 2)))), pairs(&[("2", 10)]));
    let one = item(&rules, "1").expect("an item");
    assert_eq!((one.free, one.held, one.sold, one.added, one.price), (50, 0, 0, 50, 6));
    let two = item(&rules, "2").expect("an item");
    assert_eq!((two.free, two.held, two.sold, two.added), (90, 0, 10, 100));
}

#[test]
fn a_fact_about_an_earlier_seed_moves_nothing() {
    let state = |seed| {
        Some(pb::State { state: Some(State::Item(pb::Item { free: 5, added: 5, seed, ..pb::Item::default() })) })
    };
    let lines = vec![pb::Line { item: "1".into(), quantity: 3, price: None, seed: 2 }];
    let settled = pb::StockSettled { hold: id("o", 1), lines, partition: 0 };
    for event in [Event::Posted(settled.clone()), Event::Voided(settled)] {
        let event = pb::Event { event: Some(event) };
        let at = At { offset: 9, time: corduroy_log::world::Timestamp(9) };
        let (mut same, mut other) = (state(2), state(7));
        Stock::evolve(&mut same, "1", &event, at);
        Stock::evolve(&mut other, "1", &event, at);
        assert_ne!(same, state(2));
        assert_eq!(other, state(7));
    }
}

#[test]
fn seeds_that_a_later_one_covers_are_dropped() {
    let mut rules = Rules::new(Stock);
    [(5, 1), (9, 2), (3, 3), (3, 4), (0, 5)].iter().for_each(|(items, stock)| {
        rules.when("", &seed(*items, *stock, 1));
    });
    let ranges: Vec<_> = rules.partition().seeds.iter().map(|range| (range.items, range.stock)).collect();
    assert_eq!(ranges, [(9, 2), (3, 4)]);
    assert_eq!((free(&rules, "2"), free(&rules, "3")), (4, 2));
}

#[test]
fn each_partition_answers_for_its_own_part() {
    let place = Place { partition: 1, partitions: 2, ..Place::default() };
    let mut rules = Rules::new(Stock).at(place);
    rules.when("apple", &create(5));
    let parts = vec![
        order::StockPart { partition: 0, lines: vec![line("pear", 1)] },
        order::StockPart { partition: 1, lines: vec![line("apple", 1)] },
    ];
    let request = OrderEvent::StockRequested(order::StockRequested { attempt: attempt("o", 1), parts });
    let Some(Event::Refused(refused)) = told(&mut rules, request) else { panic!("there are no apples") };
    assert_eq!((refused.partition, refused.item.as_str()), (1, "apple"));
    let other = order::ReleaseRequested { attempt: attempt("o", 1), stock_partitions: vec![0] };
    assert_eq!(told(&mut rules, OrderEvent::StockReleaseRequested(other)), None, "not of this one");
    let Some(Event::Voided(voided)) = told(&mut rules, release(attempt("o", 1))) else { panic!("it is answered") };
    assert_eq!(voided.partition, 1);
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_no_panic() {
    let mut rules = shop(15, 15);
    let hash = rules.hash();
    assert!(rules.when("apple", &pb::Command::default()).fault().is_some());
    assert!(rules.when("o", &ask(Command::Hold(pb::HoldRequest::default()))).fault().is_some());
    for quantities in [&[0][..], &[-1], &[5, -1], &[i64::MAX, i64::MAX]] {
        let lines = quantities.iter().map(|quantity| line("apple", *quantity)).collect();
        let thens = tell(&mut rules, requested(attempt("o", 1), lines));
        assert!(thens.iter().all(|then| then.fault().is_some()), "{quantities:?}: {thens:?}");
    }
    assert!(rules.tell("order", 0, 0, "o", &order::Event::default()).is_err());
    assert!(rules.tell("order", 0, 0, "o", &order::Event { event: Some(release(None)) }).is_err());
    assert_eq!(rules.hash(), hash);
    let mut state = None;
    Stock::evolve(&mut state, "apple", &pb::Event::default(), At { offset: 0, time: rules.now() });
    assert_eq!(state, None);
}
