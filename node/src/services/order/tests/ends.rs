//! Checkouts that come to their good end, and who waits for them.
use super::*;

#[test]
fn an_attempt_takes_the_money_then_the_stock_and_then_the_order_is_confirmed() {
    let mut shop = Shop::new(Settings::default()).split();
    let then = shop.ask("a", checkout());
    let ticket = then.deferred().expect("it waits");
    let Some(Event::CheckoutStarted(started)) = then.events().remove(0).event else { panic!("{then:?}") };
    assert_eq!((started.total, started.lines.len()), (70, 2));
    assert_eq!(started.deadline, shop.rules.now().0 + 10_000_000);
    assert_eq!((shop.rules.timers(), status_s3(&shop.order("a"))), (1, "PENDING"));
    let then = shop.payment(HoldStatus::Held);
    assert_eq!(kinds(&then), ["PaymentSecured", "StockRequested"]);
    let Some(Event::StockRequested(requested)) = then.events().remove(1).event else { panic!("{then:?}") };
    let parts: Vec<_> = requested.parts.iter().map(|part| (part.partition, part.lines.clone())).collect();
    assert_eq!(parts, [(0, vec![line(item_in(0), 3, 20)]), (1, vec![line(item_in(1), 1, 10)])]);
    assert_eq!(kinds(&shop.stock(1, HoldStatus::Held)), ["StockSecured"]);
    let then = shop.stock(0, HoldStatus::Held);
    assert_eq!(kinds(&then), ["StockSecured", "Confirmed"]);
    let Some(Event::Confirmed(confirmed)) = then.events().remove(1).event else { panic!("{then:?}") };
    assert_eq!((confirmed.total, confirmed.payment, confirmed.delivery), (70, true, true));
    assert_eq!(confirmed.stock_partitions, [0, 1]);
    let reply = then.answer_to(ticket).expect("it is answered").expect("it is paid");
    assert!(!reply.already_paid);
    let order = reply.order.expect("it is there");
    assert_eq!(
        (status_s1(&order), status_name(&order), status_s3(&order)),
        ((true, "completed"), "Placed", "COMPLETE")
    );
    assert_eq!(shop.rules.timers(), 0);
    assert!(shop.payment(HoldStatus::Held).events().is_empty(), "it is known");
    let again = shop.ask("a", checkout());
    assert!(again.events().is_empty() && again.reply().is_some_and(|reply| reply.already_paid));
}

#[test]
fn where_slots_are_scarce_one_is_taken_last() {
    let (mut shop, ticket) = Shop::with_capacity().checking_out();
    assert_eq!(kinds(&shop.held()), ["StockSecured", "DeliveryRequested"]);
    assert_eq!(status_s3(&shop.order("a")), "RESERVED");
    let then = shop.delivery(HoldStatus::Held);
    assert_eq!(kinds(&then), ["DeliverySecured", "Confirmed"]);
    assert!(then.answer_to(ticket).expect("it is answered").is_ok());
}

#[test]
fn what_is_brought_to_nobody_is_completed_with_the_payment() {
    let mut shop = Shop::with_capacity();
    let lines = [line(item_in(0), 1, 5), line(item_in(1), 1, 5)];
    shop.ask("a", Command::Place(pb::Place { needs_delivery: false, ..items(&lines) }));
    shop.ask("a", checkout());
    let then = shop.held();
    assert_eq!(kinds(&then), ["StockSecured", "Confirmed", "Completed"]);
    let then = shop.ask("a", Command::MarkDelivered(pb::MarkDelivered {}));
    assert_eq!(kinds(&then), ["Delivered"], "it was completed");
}

#[test]
fn an_order_without_lines_asks_nobody() {
    let mut shop = Shop::with_capacity();
    shop.ask("a", Command::Place(items(&[])));
    let then = shop.ask("a", checkout());
    assert_eq!(kinds(&then), ["CheckoutStarted", "Confirmed", "Completed"]);
    let order = then.reply().and_then(|reply| reply.order).expect("it is paid");
    assert_eq!((order.status(), order.attempt, order.holds.len()), (Status::Confirmed, 1, 0));
    let Some(Event::Confirmed(confirmed)) = then.events().remove(1).event else { panic!("{then:?}") };
    assert!(!confirmed.payment && !confirmed.delivery && confirmed.stock_partitions.is_empty());
    assert_eq!(shop.rules.timers(), 0);
}

#[test]
fn an_attempt_can_begin_with_the_order_and_nobody_waits() {
    let mut shop = Shop::new(Settings::default());
    let lines = [Line { price: None, ..line("i", 1, 0) }];
    let placed = pb::Place { checkout: true, ..items(&lines) };
    let then = shop.ask("a", Command::Place(placed.clone()));
    assert_eq!(name(&then), "item-missing");
    assert_eq!(extras(&then.refusal().expect("it is"))["itemId"], "i");
    let placed = pb::Place { prices: vec![line("i", 0, 9)], ..placed };
    // So that offsets are not all 0.
    shop.ask("b", Command::Place(value(1)));
    let then = shop.ask("a", Command::Place(placed.clone()));
    assert_eq!(kinds(&then), ["Placed", "CheckoutStarted"]);
    let order = then.reply().and_then(|reply| reply.order).expect("it is there");
    assert_eq!((order.status(), order.gross, order.incarnation), (Status::Reserving, 9, 1));
    let Some(Event::CheckoutStarted(started)) = then.events().remove(1).event else { panic!("{then:?}") };
    assert_eq!(started.attempt.map(|attempt| (attempt.incarnation, attempt.attempt)), Some((1, 1)));
    assert_eq!(started.deadline, shop.rules.now().0 + 900_000_000);
    let again = shop.ask("a", Command::Place(placed));
    assert!(again.events().is_empty() && again.reply().is_some());
}

#[test]
fn lines_are_priced_and_merged_and_quotes_stay_apart() {
    let mut shop = Shop::new(Settings::default());
    let quoted = |quantity, price| Line { quoted: true, ..line("q", quantity, price) };
    let unpriced = |item: &str| Line { price: None, ..line(item, 2, 0) };
    let lines = [quoted(1, 5), unpriced("u"), quoted(1, 6), quoted(4, 5), unpriced("u"), line("u", 1, 3)];
    shop.ask("a", Command::Place(items(&lines)));
    assert_eq!(shop.order("a").gross, 34, "what has no price costs nothing yet");
    assert_eq!(name(&shop.ask("a", checkout())), "item-missing");
    let with = |price| Command::Checkout(pb::Checkout { prices: vec![line("u", 0, price)], ..pb::Checkout::default() });
    assert_eq!(name(&shop.ask("a", with(-1))), "rule-violated");
    assert_eq!(name(&shop.ask("a", with(i64::MAX))), "rule-violated");
    let then = shop.ask("a", with(10));
    let Some(Event::CheckoutStarted(started)) = then.events().remove(0).event else { panic!("{then:?}") };
    assert_eq!(started.lines, [quoted(5, 5), line("u", 4, 10), quoted(1, 6), line("u", 1, 3)]);
    let order = shop.order("a");
    assert_eq!((started.total, order.gross, order.lines.len()), (74, 74, 6));
    assert_eq!(order.lines[1].price, Some(10));
}

#[test]
fn whoever_comes_later_joins_the_attempt() {
    let (mut shop, first) = Shop::new(Settings::default()).checking_out();
    let then = shop.ask("a", checkout());
    assert_eq!(kinds(&then), ["Joined"]);
    let second = then.deferred().expect("it waits");
    let then = shop.ask("a", checkout_async());
    assert!(then.events().is_empty() && then.reply().is_some(), "it has begun");
    let then = shop.held();
    for ticket in [first, second] {
        assert!(then.answer_to(ticket).expect("it is answered").is_ok());
    }
}

#[test]
fn whoever_does_not_wait_is_answered_at_once() {
    let mut shop = Shop::new(Settings::default()).split();
    let then = shop.ask("a", checkout_async());
    let order = then.reply().and_then(|reply| reply.order).expect("it has begun");
    assert_eq!((order.status(), order.checkouts.len()), (Status::Reserving, 0));
    assert!(shop.rules.wait(std::time::Duration::from_secs(899)).is_empty());
    assert_eq!(kinds(&shop.rules.wait(std::time::Duration::from_secs(1))[0])[0], "AttemptFailed");
}

/// What decides is which services the cluster has, not which of them its leader has seen so far.
#[test]
fn whether_an_order_is_brought_to_somebody_is_said_by_the_configuration() {
    for delivers in [true, false] {
        let settings = Settings { delivers, ..Settings::default() };
        let unseen = Place { peers: [("payment".to_owned(), 1), ("stock".to_owned(), 2)].into(), ..place() };
        let shop = Shop { rules: Rules::new(Order::new(settings)).at(unseen), offset: 0 };
        let (mut shop, _) = shop.checking_out();
        shop.payment(HoldStatus::Held);
        shop.stock(0, HoldStatus::Held);
        let confirmed = shop.stock(1, HoldStatus::Held).events();
        let told = confirmed.into_iter().find_map(|event| match event.event {
            Some(Event::Confirmed(confirmed)) => Some(confirmed.delivery),
            _ => None,
        });
        assert_eq!(told, Some(delivers));
    }
}

#[test]
fn without_a_stock_service_the_answer_of_payment_comes_again() {
    let (mut shop, _) = Shop::new(Settings::default()).checking_out();
    shop.rules = shop.rules.at(Place { partitions: 1, ..Place::default() });
    let then = shop.payment(HoldStatus::Held);
    assert!(then.retry().is_some() && then.fault().is_none() && then.events().is_empty(), "{then:?}");
}

#[test]
fn what_nobody_asked_back_and_is_given_back_is_shown_and_changes_nothing_else() {
    let (mut shop, _) = Shop::new(Settings::default()).checking_out();
    shop.held();
    assert_eq!(kinds(&shop.payment(HoldStatus::Voided)), ["AnswerNoted"]);
    let order = shop.order("a");
    assert_eq!((order.status(), order.holds[0].status()), (Status::Confirmed, HoldStatus::Voided));
    let (mut shop, ticket) = Shop::new(Settings::default()).checking_out();
    shop.payment(HoldStatus::Held);
    assert_eq!(kinds(&shop.payment(HoldStatus::Voided)), ["AnswerNoted"]);
    shop.stock(0, HoldStatus::Held);
    assert_eq!(kinds(&shop.stock(1, HoldStatus::Held)), ["StockSecured"], "the money is missing");
    let thens = shop.rules.wait(std::time::Duration::from_secs(10));
    assert_eq!(kinds(&thens[0]), ["AttemptFailed", "StockReleaseRequested"]);
    shop.stock(0, HoldStatus::Voided);
    let then = shop.stock(1, HoldStatus::Voided);
    assert_eq!(kinds(&then), ["AnswerNoted", "StockReleased", "CheckoutRejected"]);
    assert_eq!(refused(&then, ticket).name(), "checkout-timeout");
}
