//! Attempts that fail: refusals, deadlines, cancels, and answers that cross them.
use super::*;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

fn cancel() -> Command {
    Command::Cancel(pb::Cancel {})
}

#[test]
fn without_money_nothing_was_asked_that_is_to_be_given_back() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    let then = shop.payment(HoldStatus::Refused);
    assert_eq!(kinds(&then), ["PaymentDeclined", "CheckoutRejected"]);
    let refusal = refused(&then, ticket);
    assert_eq!(refusal.name(), "out-of-credit");
    let told = [("available", "60"), ("requested", "70"), ("userId", "user")];
    assert_eq!(extras(&refusal), told.map(|(name, value)| (name.into(), value.into())).into());
    let order = shop.order("a");
    assert_eq!((order.status(), status_s3(&order), status_name(&order)), (Status::Open, "ROLLED_BACK", "New"));
    assert_eq!(shop.rules.timers(), 0);
    assert!(shop.ask("a", checkout()).deferred().is_some(), "another try");
    let order = shop.order("a");
    assert_eq!((order.attempt, order.last_refusal), (2, None));
}

#[test]
fn half_of_the_stock_goes_back_then_the_money_and_then_it_is_refused() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.payment(HoldStatus::Held);
    shop.stock(0, HoldStatus::Held);
    let then = shop.stock(1, HoldStatus::Refused);
    assert_eq!(kinds(&then), ["StockDeclined", "AttemptFailed", "StockReleaseRequested"]);
    let Some(Event::StockReleaseRequested(asked)) = then.events().remove(2).event else { panic!("{then:?}") };
    assert_eq!((asked.stock_partitions, then.answer_to(ticket)), (vec![0], None));
    assert_eq!(name(&shop.ask("a", checkout())), "order-busy");
    let then = shop.stock(0, HoldStatus::Voided);
    assert_eq!(kinds(&then), ["AnswerNoted", "StockReleased", "PaymentReleaseRequested"]);
    assert_eq!(then.answer_to(ticket), None);
    let then = shop.payment(HoldStatus::Voided);
    assert_eq!(kinds(&then), ["AnswerNoted", "PaymentReleased", "CheckoutRejected"]);
    let refusal = refused(&then, ticket);
    assert_eq!((refusal.name(), extras(&refusal)["itemId"].clone()), ("out-of-stock", item_in(1)));
    assert_eq!((extras(&refusal)["requested"].as_str(), extras(&refusal)["available"].as_str()), ("3", "2"));
    assert_eq!((shop.order("a").status(), shop.rules.timers()), (Status::Open, 0));
}

#[test]
fn stock_that_comes_after_the_refusal_goes_back_too() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.payment(HoldStatus::Held);
    let then = shop.stock(1, HoldStatus::Refused);
    assert_eq!(kinds(&then), ["StockDeclined", "AttemptFailed", "StockReleaseRequested"], "0 was asked");
    assert_eq!(kinds(&shop.stock(0, HoldStatus::Held)), ["AnswerNoted"]);
    let then = shop.stock(0, HoldStatus::Voided);
    assert_eq!(kinds(&then), ["AnswerNoted", "StockReleased", "PaymentReleaseRequested"]);
    assert_eq!(refused(&shop.payment(HoldStatus::Voided), ticket).name(), "out-of-stock");
}

#[test]
fn what_was_refused_after_all_need_not_be_acknowledged() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.payment(HoldStatus::Held);
    shop.stock(1, HoldStatus::Refused);
    let then = shop.stock(0, HoldStatus::Refused);
    assert_eq!(kinds(&then), ["AnswerNoted", "StockReleased", "PaymentReleaseRequested"]);
    assert!(shop.stock(0, HoldStatus::Voided).events().is_empty());
    assert_eq!(refused(&shop.payment(HoldStatus::Voided), ticket).name(), "out-of-stock");
}

#[test]
fn without_a_slot_all_goes_back_in_reverse() {
    let (mut shop, ticket) = Shop::with_capacity().checking_out();
    shop.held();
    let then = shop.delivery(HoldStatus::Refused);
    assert_eq!(kinds(&then), ["DeliveryDeclined", "AttemptFailed", "StockReleaseRequested"]);
    assert_eq!(kinds(&shop.stock(1, HoldStatus::Voided)), ["AnswerNoted"]);
    assert_eq!(kinds(&shop.stock(0, HoldStatus::Voided)), ["AnswerNoted", "StockReleased", "PaymentReleaseRequested"]);
    let refusal = refused(&shop.payment(HoldStatus::Voided), ticket);
    assert_eq!(refusal.name(), "no-delivery-slot");
    assert_eq!((extras(&refusal)["from"].as_str(), extras(&refusal)["to"].as_str()), ("2024-10-04", "2024-10-17"));
}

#[test]
fn who_waits_is_told_although_something_is_still_to_be_given_back() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.payment(HoldStatus::Held);
    shop.stock(0, HoldStatus::Held);
    shop.stock(1, HoldStatus::Refused);
    let thens = shop.rules.wait(PATIENCE);
    assert_eq!(kinds(&thens[0]), ["CallersTold"]);
    let refusal = refused(&thens[0], ticket);
    assert_eq!((refusal.name(), extras(&refusal)["releasePending"].as_str()), ("out-of-stock", "true"));
    assert_eq!(shop.order("a").status(), Status::Releasing);
    shop.stock(0, HoldStatus::Voided);
    let then = shop.payment(HoldStatus::Voided);
    assert_eq!((kinds(&then).pop().as_deref(), then.answer_to(ticket)), (Some("CheckoutRejected"), None));
}

/// The steps at which an attempt can be ended, and what is asked back first.
const STEPS: [(usize, &str, &str); 4] = [
    (0, "payment", "PaymentReleaseRequested"),
    (1, "stock", "StockReleaseRequested"),
    (2, "stock", "StockReleaseRequested"),
    (3, "delivery", "DeliveryReleaseRequested"),
];

fn until(answers: usize) -> (Shop, Ticket) {
    let (mut shop, ticket) = Shop::with_capacity().checking_out();
    let all: [fn(&mut Shop) -> Then<Order>; 3] = [
        |shop| shop.payment(HoldStatus::Held),
        |shop| shop.stock(0, HoldStatus::Held),
        |shop| shop.stock(1, HoldStatus::Held),
    ];
    for answer in &all[..answers] {
        answer(&mut shop);
    }
    (shop, ticket)
}

/// Acknowledges everything that was asked back.
fn give_back(shop: &mut Shop, answers: usize) -> Then<Order> {
    if answers == 3 {
        shop.delivery(HoldStatus::Voided);
    }
    if answers >= 1 {
        shop.stock(1, HoldStatus::Voided);
        shop.stock(0, HoldStatus::Voided);
    }
    shop.payment(HoldStatus::Voided)
}

#[test]
fn at_the_deadline_everything_goes_back_that_was_asked_for() {
    for (answers, step, first) in STEPS {
        let (mut shop, ticket) = until(answers);
        let thens = shop.rules.wait(TIMEOUT);
        assert_eq!(kinds(&thens[0]), ["AttemptFailed", first]);
        let then = give_back(&mut shop, answers);
        let refusal = refused(&then, ticket);
        assert_eq!((refusal.name(), extras(&refusal)["step"].as_str()), ("checkout-timeout", step));
        assert_eq!(extras(&refusal)["attempt"], "1");
        assert_eq!((shop.order("a").status(), shop.rules.timers()), (Status::Open, 0));
    }
}

#[test]
fn an_answer_after_the_deadline_changes_nothing_and_neither_does_one_of_an_attempt_before() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.rules.wait(TIMEOUT);
    assert_eq!(kinds(&shop.payment(HoldStatus::Held)), ["AnswerNoted"]);
    assert!(shop.payment(HoldStatus::Held).events().is_empty());
    assert_eq!(refused(&shop.payment(HoldStatus::Voided), ticket).name(), "checkout-timeout");
    assert!(shop.payment(HoldStatus::Held).events().is_empty(), "it is over");
    let old = {
        let order = shop.order("a");
        let hold = Some(payment::HoldId { order: order.id, incarnation: order.incarnation, attempt: 1 });
        payment::event::Event::Held(payment::PaymentHeld { hold, ..payment::PaymentHeld::default() })
    };
    shop.ask("a", checkout());
    assert!(shop.tell("payment", 0, &payment::Event { event: Some(old) }).events().is_empty());
    assert_eq!(shop.order("a").holds[0].status(), HoldStatus::Asked);
}

#[test]
fn a_timer_of_another_attempt_changes_nothing() {
    let (mut shop, _) = Shop::new(Settings::default()).checking_out();
    let order = shop.order("a");
    let other = [(order.incarnation, 2), (order.incarnation + 1, 1)];
    for timer in other.map(|(incarnation, attempt)| pb::AttemptTimer { incarnation, attempt }) {
        assert!(shop.ask("a", Command::Deadline(timer)).events().is_empty());
    }
    shop.payment(HoldStatus::Held);
    shop.stock(0, HoldStatus::Held);
    shop.stock(1, HoldStatus::Refused);
    for timer in other.map(|(incarnation, attempt)| pb::AttemptTimer { incarnation, attempt }) {
        assert!(shop.ask("a", Command::ReleaseWait(timer)).events().is_empty());
    }
    assert!(shop.ask("b", Command::Deadline(pb::AttemptTimer::default())).events().is_empty(), "there is none");
}

#[test]
fn a_running_attempt_is_cancelled_with_its_order() {
    for (answers, _, first) in STEPS {
        let (mut shop, ticket) = until(answers);
        let then = shop.ask("a", cancel());
        assert_eq!(kinds(&then), ["Joined", "AttemptFailed", first]);
        let cancelled = then.deferred().expect("it waits");
        let again = shop.ask("a", cancel()).deferred().expect("it waits, too");
        let then = give_back(&mut shop, answers);
        assert_eq!(kinds(&then)[1..], ["PaymentReleased", "CheckoutRejected", "Cancelled"]);
        let refusal = refused(&then, ticket);
        assert_eq!((refusal.name(), extras(&refusal)["attempt"].as_str()), ("checkout-cancelled", "1"));
        for cancel in [cancelled, again] {
            let reply = then.answer_to(cancel).expect("it is answered").expect("it is done");
            assert_eq!(reply.order.map(|order| status_s3(&order)), Some("CANCELLED"));
        }
        assert_eq!((shop.order("a").status(), shop.rules.timers()), (Status::Cancelled, 0));
    }
}

#[test]
fn who_cancels_waits_for_that_and_not_for_the_refusal() {
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.payment(HoldStatus::Held);
    shop.stock(0, HoldStatus::Held);
    shop.stock(1, HoldStatus::Refused);
    let cancelled = shop.ask("a", cancel()).deferred().expect("it waits");
    let thens = shop.rules.wait(PATIENCE);
    assert_eq!(refused(&thens[0], ticket).name(), "out-of-stock");
    assert_eq!(thens[0].answer_to(cancelled), None);
    shop.stock(0, HoldStatus::Voided);
    let then = shop.payment(HoldStatus::Voided);
    assert!(then.answer_to(cancelled).expect("it is answered").is_ok());
    assert_eq!(shop.order("a").status(), Status::Cancelled);
}

#[test]
fn what_is_open_is_cancelled_at_once_and_what_is_paid_is_not() {
    let mut shop = Shop::new(Settings::default()).split();
    assert_eq!(name(&shop.ask("b", cancel())), "unknown-order");
    let then = shop.ask("a", cancel());
    assert_eq!((kinds(&then), then.reply().is_some()), (vec!["Cancelled".to_owned()], true));
    let again = shop.ask("a", cancel());
    assert!(again.events().is_empty() && again.reply().is_some());
    assert_eq!(name(&shop.ask("a", checkout())), "order-closed");
    assert_eq!(name(&shop.ask("a", Command::MarkDelivered(pb::MarkDelivered {}))), "not-deliverable");
    shop.ask("v", Command::Place(value(100)));
    let due = due_key(shop.order("v").order_date, "v");
    assert_eq!(kinds(&shop.ask("v", cancel())), ["Cancelled"]);
    assert_eq!((shop.alias(&due), status_s1(&shop.order("v"))), (None, (false, "completed")));
    let (mut shop, _) = Shop::new(Settings::default()).checking_out();
    shop.held();
    assert_eq!(name(&shop.ask("a", cancel())), "order-closed");
}
