mod properties;

use super::{Command, Event, OrderEvent, Payment, order, pb};
use crate::runtime::{
    At, Place, Service, partition_of,
    rules::{Rules, Then},
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn ask(command: Command) -> pb::Command {
    pb::Command { command: Some(command) }
}

fn amount(amount: i64) -> pb::Amount {
    pb::Amount { amount }
}

fn seed(users: u64, money: i64) -> pb::Command {
    ask(Command::Seed(pb::Seed { users, money }))
}

fn id(order: &str, attempt: u32) -> pb::HoldId {
    pb::HoldId { order: order.into(), incarnation: 7, attempt }
}

fn attempt(order: &str, attempt: u32, customer: &str) -> Option<order::Attempt> {
    Some(order::Attempt { order: order.into(), incarnation: 7, attempt, customer: customer.into() })
}

fn started(attempt: Option<order::Attempt>, total: i64) -> OrderEvent {
    let lines = vec![order::Line { item: "i".into(), quantity: 1, ..order::Line::default() }];
    OrderEvent::CheckoutStarted(order::CheckoutStarted { attempt, total, lines, ..Default::default() })
}

fn confirmed(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::Confirmed(order::OrderConfirmed { attempt, payment: true, ..Default::default() })
}

fn release(attempt: Option<order::Attempt>) -> OrderEvent {
    OrderEvent::PaymentReleaseRequested(order::ReleaseRequested { attempt, ..Default::default() })
}

fn ended(attempt: Option<order::Attempt>) -> OrderEvent {
    let ended = vec![order::EndedAttempt { attempt, ..Default::default() }];
    OrderEvent::Seeded(order::OrdersSeeded { ended, ..Default::default() })
}

fn tell(rules: &mut Rules<Payment>, event: OrderEvent) -> Vec<Then<Payment>> {
    rules.tell("order", 0, 0, "o", &order::Event { event: Some(event) }).expect("it is an event of order")
}

/// What one event of an order came to, which is at most one event.
fn told(rules: &mut Rules<Payment>, event: OrderEvent) -> Option<Event> {
    let thens = tell(rules, event);
    let mut events: Vec<pb::Event> = thens.iter().flat_map(Then::events).collect();
    assert!(thens.iter().all(|then| then.fault().is_none()) && events.len() < 2, "{thens:?}");
    events.pop().and_then(|event| event.event)
}

fn available(rules: &Rules<Payment>, user: &str) -> i64 {
    rules.state(user).expect("an account").available
}

/// User "ann" with so much.
fn ann(money: i64) -> Rules<Payment> {
    let mut rules = Rules::new(Payment);
    rules.when("ann", &ask(Command::Open(pb::Open {})));
    rules.when("ann", &ask(Command::AddFunds(amount(money))));
    rules
}

fn held(amount: i64, available: i64) -> Option<Event> {
    Some(Event::Held(pb::PaymentHeld { user: "ann".into(), hold: Some(id("o", 1)), amount, available }))
}

fn refused(amount: i64, available: i64, reason: &str) -> Option<Event> {
    let (user, hold, reason) = ("ann".into(), Some(id("o", 1)), reason.into());
    Some(Event::Refused(pb::PaymentHoldRefused { user, hold, amount, available, reason }))
}

fn settled(amount: i64) -> pb::PaymentSettled {
    pb::PaymentSettled { user: "ann".into(), hold: Some(id("o", 1)), amount }
}

#[test]
fn an_account_is_opened_once() {
    let mut rules = Rules::new(Payment);
    let then = rules.when("ann", &ask(Command::Open(pb::Open {})));
    assert_eq!(then.events().len(), 1);
    assert_eq!(then.reply(), Some(pb::Reply { user: "ann".into(), available: 0 }));
    rules.when("ann", &ask(Command::AddFunds(amount(5))));
    let then = rules.when("ann", &ask(Command::Open(pb::Open {})));
    assert_eq!((then.events().len(), then.reply().expect("a reply").available), (0, 5));
}

#[test]
fn funds_come_and_go_and_the_answer_says_what_is_left() {
    let mut rules = ann(15);
    let then = rules.when("ann", &ask(Command::AddFunds(amount(5))));
    assert_eq!(then.reply(), Some(pb::Reply { user: "ann".into(), available: 20 }));
    let then = rules.when("ann", &ask(Command::Pay(amount(20))));
    assert_eq!(then.reply(), Some(pb::Reply { user: "ann".into(), available: 0 }));
    let account = rules.state("ann").expect("an account");
    assert_eq!((account.spent, account.deposited), (20, 20));
}

#[test]
fn nothing_changes_nothing() {
    let mut rules = ann(15);
    let hash = rules.hash();
    for command in [Command::AddFunds(amount(0)), Command::Pay(amount(0))] {
        let then = rules.when("ann", &ask(command));
        assert_eq!((then.events().len(), then.reply().expect("a reply").available), (0, 15));
    }
    assert_eq!(rules.hash(), hash);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut rules = ann(15);
    let hash = rules.hash();
    let mut name = |user: &str, command| {
        let then = rules.when(user, &ask(command));
        assert!(then.events().is_empty());
        then.refusal().expect("it is refused").name().to_owned()
    };
    assert_eq!(name("bob", Command::AddFunds(amount(1))), "unknown-user");
    assert_eq!(name("bob", Command::Pay(amount(1))), "unknown-user");
    assert_eq!(name("ann", Command::AddFunds(amount(-1))), "rule-violated");
    assert_eq!(name("ann", Command::AddFunds(amount(i64::MAX))), "rule-violated");
    assert_eq!(name("ann", Command::Pay(amount(-1))), "rule-violated");
    assert_eq!(name("ann", Command::Pay(amount(16))), "out-of-credit");
    assert_eq!(name("ann", Command::Seed(pb::Seed { users: 1, money: -1 })), "rule-violated");
    assert_eq!(rules.hash(), hash);
}

#[test]
fn a_refusal_says_what_the_caller_needs_to_go_on() {
    use corduroy_proto::runtime::extra::Value::{Number, Text};
    let refusal = ann(15).when("ann", &ask(Command::Pay(amount(16)))).refusal().expect("it is refused");
    let extras: Vec<_> = refusal.extras().map(|(name, value)| (name, value.clone())).collect();
    assert_eq!(extras, [("userId", Text("ann".into())), ("requested", Number(16)), ("available", Number(15))]);
    let refusal = ann(15).when("bob", &ask(Command::Pay(amount(16)))).refusal().expect("it is refused");
    let extras: Vec<_> = refusal.extras().map(|(name, value)| (name, value.clone())).collect();
    assert_eq!(extras, [("id", Text("bob".into()))]);
}

#[test]
fn a_hold_is_posted_and_spent() {
    let mut rules = ann(15);
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 10)), held(10, 5));
    assert_eq!(available(&rules, "ann"), 5, "what is held is not available");
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1, "ann"))), Some(Event::Posted(settled(10))));
    let account = rules.state("ann").expect("an account");
    assert_eq!((account.available, account.held, account.spent, account.holds.len()), (5, 0, 10, 0));
}

#[test]
fn a_hold_is_voided_and_given_back() {
    let mut rules = ann(15);
    told(&mut rules, started(attempt("o", 1, "ann"), 10));
    assert_eq!(told(&mut rules, release(attempt("o", 1, "ann"))), Some(Event::Voided(settled(10))));
    assert_eq!(available(&rules, "ann"), 15);
}

/// INV-11, and what the order waits for.
#[test]
fn what_is_repeated_has_no_second_effect_but_a_void_is_answered() {
    let mut rules = ann(15);
    told(&mut rules, started(attempt("o", 1, "ann"), 10));
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 10)), None);
    assert_eq!(told(&mut rules, release(attempt("o", 1, "ann"))), Some(Event::Voided(settled(10))));
    assert_eq!(told(&mut rules, release(attempt("o", 1, "ann"))), Some(Event::Voided(settled(0))));
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1, "ann"))), None, "it is voided");
    assert_eq!(available(&rules, "ann"), 15);

    told(&mut rules, started(attempt("o", 2, "ann"), 10));
    assert!(told(&mut rules, confirmed(attempt("o", 2, "ann"))).is_some());
    assert_eq!(told(&mut rules, confirmed(attempt("o", 2, "ann"))), None);
    assert!(
        matches!(told(&mut rules, release(attempt("o", 2, "ann"))), Some(Event::Voided(voided)) if voided.amount == 0)
    );
    assert_eq!(available(&rules, "ann"), 5, "it is spent");
}

#[test]
fn a_void_before_its_hold_has_the_hold_refused() {
    let mut rules = ann(15);
    assert_eq!(told(&mut rules, release(attempt("o", 1, "ann"))), Some(Event::Voided(settled(0))));
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 10)), refused(10, 15, "voided"));
    assert_eq!(available(&rules, "ann"), 15);
    assert!(matches!(told(&mut rules, started(attempt("o", 2, "ann"), 10)), Some(Event::Held(_))), "another attempt");
}

/// INV-12.
#[test]
fn a_hold_that_was_refused_stays_refused() {
    let mut rules = ann(5);
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 10)), refused(10, 5, "out-of-credit"));
    rules.when("ann", &ask(Command::AddFunds(amount(10))));
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 10)), refused(10, 15, "voided"));
    assert!(matches!(told(&mut rules, started(attempt("o", 2, "ann"), 10)), Some(Event::Held(_))));
}

#[test]
fn where_there_is_no_account_a_hold_is_refused_and_a_void_answered_and_none_is_made() {
    let mut rules = Rules::new(Payment);
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 10)), refused(10, 0, "account-missing"));
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1, "ann"))), None);
    assert_eq!(told(&mut rules, release(attempt("o", 1, "ann"))), Some(Event::Voided(settled(0))));
    assert_eq!(rules.states(), []);
}

#[test]
fn a_tombstone_is_kept_for_a_day_and_goes_with_the_next_event() {
    let mut rules = ann(5);
    told(&mut rules, release(attempt("o", 1, "ann")));
    rules.wait(DAY);
    rules.when("ann", &ask(Command::AddFunds(amount(1))));
    assert_eq!(rules.state("ann").expect("an account").holds.len(), 1, "a day, and not more");
    rules.wait(Duration::from_micros(1));
    rules.when("ann", &ask(Command::AddFunds(amount(1))));
    assert_eq!(rules.state("ann").expect("an account").holds.len(), 0);
}

#[test]
fn a_hold_is_kept_however_old_it_is() {
    let mut rules = ann(15);
    told(&mut rules, started(attempt("o", 1, "ann"), 10));
    rules.wait(DAY * 30);
    rules.when("ann", &ask(Command::AddFunds(amount(1))));
    assert_eq!(told(&mut rules, release(attempt("o", 1, "ann"))), Some(Event::Voided(settled(10))));
}

#[test]
fn a_total_of_nothing_is_held_and_an_order_without_lines_is_not() {
    let mut rules = ann(0);
    assert_eq!(told(&mut rules, started(attempt("o", 1, "ann"), 0)), held(0, 0));
    let empty = order::CheckoutStarted { attempt: attempt("o", 2, "ann"), ..Default::default() };
    assert_eq!(told(&mut rules, OrderEvent::CheckoutStarted(empty)), None);
    let unpaid = order::OrderConfirmed { attempt: attempt("o", 1, "ann"), payment: false, ..Default::default() };
    assert_eq!(told(&mut rules, OrderEvent::Confirmed(unpaid)), None, "nothing is to be posted");
}

#[test]
fn orders_that_are_seeded_anew_give_back_what_the_old_ones_held() {
    let mut rules = ann(15);
    told(&mut rules, started(attempt("o", 1, "ann"), 10));
    assert_eq!(told(&mut rules, ended(attempt("o", 1, "ann"))), Some(Event::Voided(settled(10))));
    assert_eq!(available(&rules, "ann"), 15);
}

#[test]
fn a_seed_makes_users_by_number_and_only_those() {
    let mut rules = Rules::new(Payment);
    let then = rules.when("", &seed(3, 100));
    assert_eq!((then.events().len(), then.reply()), (1, Some(pb::Reply::default())));
    for user in ["0", "1", "2"] {
        assert_eq!(available(&rules, user), 100);
    }
    for user in ["3", "00", "01", "+1", "-1", "", "seed", "ann", "18446744073709551616"] {
        assert_eq!(rules.state(user), None, "{user:?}");
    }
    assert_eq!(rules.states(), [], "they cost nothing until something happens to them");
}

#[test]
fn a_seed_overwrites_what_there_was_with_its_holds() {
    let mut rules = Rules::new(Payment);
    rules.when("1", &ask(Command::Open(pb::Open {})));
    rules.when("1", &ask(Command::AddFunds(amount(7))));
    rules.when("", &seed(3, 100));
    assert_eq!(available(&rules, "1"), 100, "it was opened before");
    told(&mut rules, started(attempt("o", 1, "1"), 30));
    rules.when("2", &ask(Command::Pay(amount(1))));
    rules.when("", &seed(2, 50));
    let account = rules.state("1").expect("an account");
    assert_eq!((account.available, account.held, account.deposited, account.holds.len()), (50, 0, 50, 0));
    assert_eq!(available(&rules, "2"), 99, "the later seed has no such user");
    assert!(
        matches!(told(&mut rules, release(attempt("o", 1, "1"))), Some(Event::Voided(voided)) if voided.amount == 0)
    );
    assert_eq!(told(&mut rules, confirmed(attempt("o", 1, "1"))), None);
    assert_eq!(available(&rules, "1"), 50);
}

#[test]
fn a_seed_at_the_first_offset_counts_once() {
    let mut rules = Rules::new(Payment);
    rules.when("", &seed(1, 100));
    assert_eq!(rules.state("0").expect("an account").seed, 1, "0 would be one that was opened");
    rules.when("0", &ask(Command::Pay(amount(40))));
    assert_eq!(available(&rules, "0"), 60, "what happened since is not seeded away");
}

#[test]
fn seeds_that_a_later_one_covers_are_dropped() {
    let mut rules = Rules::new(Payment);
    [(5, 1), (9, 2), (3, 3), (3, 4), (0, 5)].iter().for_each(|(users, money)| {
        rules.when("", &seed(*users, *money));
    });
    let ranges: Vec<_> = rules.partition().seeds.iter().map(|range| (range.users, range.money)).collect();
    assert_eq!(ranges, [(9, 2), (3, 4)]);
    assert_eq!((available(&rules, "2"), available(&rules, "3")), (4, 2));
}

#[test]
fn only_the_partition_of_the_customer_listens() {
    let place = |partition| Place { partition, partitions: 4, ..Place::default() };
    let heard = (0..4).filter(|partition| {
        let mut rules = Rules::new(Payment).at(place(*partition));
        !tell(&mut rules, started(attempt("o", 1, "ann"), 1)).is_empty()
    });
    let home = partition_of("ann", 4);
    assert_eq!(heard.collect::<Vec<_>>(), [home]);
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_no_panic() {
    let mut rules = ann(15);
    let hash = rules.hash();
    assert!(rules.when("ann", &pb::Command::default()).fault().is_some());
    assert!(rules.when("ann", &ask(Command::Hold(pb::HoldRequest::default()))).fault().is_some());
    let negative = pb::HoldRequest { id: Some(id("o", 1)), amount: -1 };
    assert!(rules.when("ann", &ask(Command::Hold(negative))).fault().is_some());
    assert!(rules.tell("order", 0, 0, "o", &order::Event::default()).is_err());
    assert!(rules.tell("order", 0, 0, "o", &order::Event { event: Some(started(None, 1)) }).is_err());
    assert_eq!(rules.hash(), hash);
    let mut state = None;
    Payment::evolve(&mut state, "ann", &pb::Event::default(), At { offset: 0, time: rules.now() });
    assert_eq!(state, None);
}
