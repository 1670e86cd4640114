//! The rules of the account service.
mod properties;
mod sagas;
mod seeded;
mod world;

use super::*;
use crate::runtime::rules::{Rules, Then};
use corduroy_proto::{
    order::{self, Kind, Status},
    payment, voucher,
};
use order::event::Event as OrderEvent;
use payment::event::Event as PaymentEvent;

fn attempt(customer: &str) -> Option<order::Attempt> {
    Some(order::Attempt { order: "o".into(), incarnation: 7, attempt: 1, customer: customer.into() })
}

fn placed(customer: &str, id: &str) -> OrderEvent {
    let line = order::Line { item: "i".into(), quantity: 2, price: Some(5), quoted: false };
    let (order, customer, lines) = (id.into(), customer.into(), vec![line]);
    OrderEvent::Placed(order::OrderPlaced { order, number: 3, customer, lines, ..Default::default() })
}

fn told(thens: &[Then<Account>]) -> Vec<pb::CustomerEvent> {
    assert!(thens.iter().all(|then| then.fault().is_none()), "{thens:?}");
    let customer = |event: pb::Event| match event.event {
        Some(Event::Customer(event)) => Some(event),
        Some(Event::Seeded(_)) | None => None,
    };
    thens.iter().flat_map(|then| then.events()).filter_map(customer).collect()
}

fn order(rules: &mut Rules<Account>, event: OrderEvent) -> Vec<pb::CustomerEvent> {
    told(&rules.tell("order", 2, 17, "o", &order::Event { event: Some(event) }).expect("an event of order"))
}

fn pay(rules: &mut Rules<Account>, event: PaymentEvent) -> Vec<pb::CustomerEvent> {
    told(&rules.tell("payment", 1, 5, "ann", &payment::Event { event: Some(event) }).expect("an event of payment"))
}

fn orders(rules: &Rules<Account>, customer: &str) -> Vec<(String, u64, Status, i64)> {
    let status = |order: &pb::Order| Status::try_from(order.status).expect("a status");
    let orders = rules.state(customer).unwrap_or_default().orders;
    orders.iter().map(|order| (order.id.clone(), order.number, status(order), order.total)).collect()
}

fn balance(rules: &Rules<Account>, customer: &str) -> Option<i64> {
    Some(rules.state(customer)?.balance)
}

#[test]
fn an_event_says_where_it_is_from_and_what_it_is_called() {
    let mut rules = Rules::new(Account);
    let events = order(&mut rules, placed("ann", "o"));
    let source = pb::Source { topic: "order".into(), partition: 2, offset: 17, time: rules.now().0 };
    let change = pb::OrderChange { id: "o".into(), number: 3, status: Some(Status::Open.into()), total: Some(10) };
    let expected = pb::CustomerEvent {
        customer: "ann".into(),
        seq: 1,
        source: Some(source),
        name: "OrderPlaced".into(),
        subjects: vec!["ORDER_CREATE".into(), "ORDER_PLACED_SUCCESS".into()],
        order: Some(change),
        ..pb::CustomerEvent::default()
    };
    assert_eq!(events, [expected]);
    let account = rules.state("ann").expect("an account");
    assert_eq!((account.seq, account.offsets), (1, vec![0]));
    assert_eq!(orders(&rules, "ann"), [("o".into(), 3, Status::Open, 10)]);
}

#[test]
fn every_event_of_an_order_that_concerns_its_customer_is_told() {
    use OrderEvent as E;
    let attempt = || attempt("ann");
    let released = || order::Released { attempt: attempt() };
    let line = || order::LineChanged { order: "o".into(), customer: "ann".into(), number: 3, total: 15, line: None };
    let (o, ann) = (|| "o".to_owned(), || "ann".to_owned());
    let all = [
        (placed("ann", "o"), "OrderPlaced"),
        (E::LineAdded(line()), "LineAdded"),
        (E::LineRemoved(line()), "LineRemoved"),
        (E::CheckoutStarted(order::CheckoutStarted { attempt: attempt(), ..Default::default() }), "CheckoutStarted"),
        (E::PaymentSecured(order::PaymentSecured { attempt: attempt(), ..Default::default() }), "PaymentSecured"),
        (E::PaymentDeclined(order::PaymentDeclined { attempt: attempt(), ..Default::default() }), "PaymentDeclined"),
        (E::StockSecured(order::StockSecured { attempt: attempt(), ..Default::default() }), "StockSecured"),
        (E::StockDeclined(order::StockDeclined { attempt: attempt(), ..Default::default() }), "StockDeclined"),
        (E::DeliverySecured(order::DeliverySecured { attempt: attempt(), ..Default::default() }), "DeliverySecured"),
        (E::DeliveryDeclined(order::DeliveryDeclined { attempt: attempt(), ..Default::default() }), "DeliveryDeclined"),
        (E::Confirmed(order::OrderConfirmed { attempt: attempt(), ..Default::default() }), "OrderConfirmed"),
        (E::AttemptFailed(order::AttemptFailed { attempt: attempt(), ..Default::default() }), "AttemptFailed"),
        (E::DeliveryReleased(released()), "DeliveryReleased"),
        (E::StockReleased(released()), "StockReleased"),
        (E::PaymentReleased(released()), "PaymentReleased"),
        (E::CheckoutRejected(order::CheckoutRejected { attempt: attempt(), ..Default::default() }), "CheckoutRejected"),
        (E::Delivered(order::OrderDelivered { order: o(), customer: ann(), ..Default::default() }), "OrderDelivered"),
        (E::Completed(order::OrderCompleted { order: o(), customer: ann() }), "OrderCompleted"),
        (E::Cancelled(order::OrderCancelled { order: o(), customer: ann(), ..Default::default() }), "OrderCancelled"),
    ];
    let mut rules = Rules::new(Account);
    for (seq, (event, name)) in (1..).zip(all) {
        let events = order(&mut rules, event);
        let about: Vec<_> = events.iter().map(|event| (event.seq, event.name.as_str())).collect();
        assert_eq!(about, [(seq, name)]);
    }
    let before = rules.hash();
    for event in [
        E::Joined(order::CallerJoined::default()),
        E::StockRequested(order::StockRequested { attempt: attempt(), ..Default::default() }),
        E::DeliveryRequested(order::DeliveryRequested { attempt: attempt() }),
        E::PaymentReleaseRequested(order::ReleaseRequested { attempt: attempt(), ..Default::default() }),
        E::AnswerNoted(order::AnswerNoted { attempt: attempt(), ..Default::default() }),
        E::CallersTold(order::CallersTold { order: o() }),
    ] {
        assert_eq!(order(&mut rules, event), [], "it is the order's own business");
    }
    assert_eq!(rules.hash(), before);
}

#[test]
fn a_balance_follows_payment() {
    use PaymentEvent as E;
    let mut rules = Rules::new(Account);
    let user = || "ann".to_owned();
    let funds = |amount, available| payment::Funds { user: user(), amount, available };
    let settled = |amount| payment::PaymentSettled { user: user(), hold: None, amount };
    let refused = payment::PaymentHoldRefused { user: user(), available: 7, ..Default::default() };
    for (seq, (event, name, changed, balance)) in (1..).zip([
        (E::Opened(payment::AccountOpened { user: user() }), "AccountOpened", Some(0), 0),
        (E::FundsAdded(funds(20, 20)), "FundsAdded", Some(20), 20),
        (E::PaidDirect(funds(3, 17)), "PaidDirect", Some(17), 17),
        (
            E::Held(payment::PaymentHeld { user: user(), hold: None, amount: 10, available: 7 }),
            "PaymentHeld",
            Some(7),
            7,
        ),
        (E::Refused(refused), "PaymentHoldRefused", Some(7), 7),
        (E::Posted(settled(10)), "PaymentPosted", None, 7),
        (E::Voided(settled(0)), "PaymentVoided", None, 7),
        (E::Voided(settled(10)), "PaymentVoided", Some(17), 17),
        (E::Voided(settled(i64::MAX)), "PaymentVoided", Some(i64::MAX), i64::MAX),
    ]) {
        let events = pay(&mut rules, event);
        let about: Vec<_> = events.iter().map(|event| (event.seq, event.name.as_str(), event.balance)).collect();
        assert_eq!(about, [(seq, name, changed)]);
        assert_eq!(self::balance(&rules, "ann"), Some(balance), "{name}");
        assert!(events.iter().all(|event| event.subjects.is_empty() && event.order.is_none()));
    }
}

#[test]
fn a_value_order_is_confirmed_and_costs_what_it_comes_to_with_its_tax() {
    let mut rules = Rules::new(Account);
    let value = order::OrderPlaced {
        order: "v".into(),
        number: 1,
        customer: "ann".into(),
        kind: Kind::Value.into(),
        net: 100,
        gross: 119,
        ..Default::default()
    };
    order(&mut rules, OrderEvent::Placed(value));
    assert_eq!(orders(&rules, "ann"), [("v".into(), 1, Status::Confirmed, 119)]);
}

#[test]
fn what_concerns_nobody_is_nobodys_event() {
    let mut rules = Rules::new(Account);
    for customer in ["", "a/b", "/seed"] {
        assert_eq!(order(&mut rules, placed(customer, "o")), []);
    }
    assert_eq!(rules.states(), []);
}

#[test]
fn customers_have_sequences_of_their_own() {
    let mut rules = Rules::new(Account);
    for (customer, seq) in [("ann", 1), ("bob", 1), ("ann", 2), ("ann", 3), ("bob", 2)] {
        let events = order(&mut rules, placed(customer, &format!("{customer}-{seq}")));
        assert_eq!(
            events.iter().map(|event| (event.customer.as_str(), event.seq)).collect::<Vec<_>>(),
            [(customer, seq)]
        );
    }
    assert_eq!(rules.state("ann").map(|account| account.offsets), Some(vec![0, 2, 3]));
}

fn profile(name: Option<&str>, contact: Option<&str>) -> pb::Profile {
    pb::Profile { display_name: name.map(Into::into), contact: contact.map(Into::into) }
}

fn set(profile: &pb::Profile) -> pb::Command {
    pb::Command { command: Some(Command::SetProfile(profile.clone())) }
}

#[test]
fn a_profile_is_set_as_a_whole_and_is_an_event_where_it_changes() {
    let mut rules = Rules::new(Account);
    let (ann, other) = (profile(Some("Ann"), Some("ann@example.com")), profile(None, Some("+49")));
    assert_eq!(
        rules.when("ann", &set(&ann)).refusal().map(|refusal| refusal.name().to_owned()).as_deref(),
        Some("unknown-user")
    );
    order(&mut rules, placed("ann", "o"));
    for (profile, seq) in [(&ann, 2), (&ann, 2), (&other, 3)] {
        let then = rules.when("ann", &set(profile));
        assert_eq!(then.reply().and_then(|reply| reply.profile).as_ref(), Some(profile));
        let account = rules.state("ann").expect("an account");
        assert_eq!((account.seq, account.profile.as_ref()), (seq, Some(profile)));
    }
    let long = profile(Some(&"\u{e4}".repeat(501)), None);
    assert_eq!(
        rules.when("ann", &set(&long)).refusal().map(|refusal| refusal.name().to_owned()).as_deref(),
        Some("rule-violated")
    );
    assert!(rules.when("ann", &set(&profile(Some(&"\u{e4}".repeat(500)), None))).reply().is_some());
}

#[test]
fn of_many_orders_and_events_the_latest_are_kept() {
    let mut rules = Rules::new(Account);
    for number in 0..=ORDERS {
        order(&mut rules, placed("ann", &number.to_string()));
    }
    let kept = orders(&rules, "ann");
    assert_eq!((kept.len(), kept[0].0.as_str(), kept[ORDERS - 1].0.as_str()), (ORDERS, "1", &*ORDERS.to_string()));
    let mut state = rules.state("ann");
    let event = pb::CustomerEvent { seq: 5000, ..pb::CustomerEvent::default() };
    for offset in 0..=EVENTS as u64 {
        fold::evolve(&mut state, &event, At { offset: 10_000 + offset, time: rules.now() });
    }
    let account = state.expect("an account");
    assert_eq!((account.offsets.len(), account.offsets.first(), account.seq), (EVENTS, Some(&10_001), 5000));
    // One that is not kept any more is heard of again.
    order(&mut rules, OrderEvent::Confirmed(order::OrderConfirmed { attempt: attempt("ann"), ..Default::default() }));
    assert_eq!(orders(&rules, "ann").last(), Some(&("o".into(), 0, Status::Confirmed, 0)));
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_no_panic() {
    let mut rules = Rules::new(Account);
    let seed = Command::Seed(pb::Seed::default());
    let lost = Command::Seed(pb::Seed { what: Some(What::Users(pb::Users::default())), ..pb::Seed::default() });
    for command in [None, Some(seed), Some(lost)] {
        assert!(rules.when("ann", &pb::Command { command }).fault().is_some());
    }
    let nameless = OrderEvent::PaymentSecured(order::PaymentSecured::default());
    assert!(rules.tell("order", 0, 0, "o", &order::Event { event: Some(nameless) }).is_err());
    assert!(rules.tell("order", 0, 0, "o", &order::Event::default()).is_err());
    assert!(rules.tell("payment", 0, 0, "o", &payment::Event::default()).is_err());
    assert!(rules.tell("stock", 0, 0, "o", &payment::Event::default()).is_err());
    let mut state = None;
    Account::evolve(&mut state, "ann", &pb::Event::default(), At { offset: 0, time: rules.now() });
    assert_eq!((state, rules.states()), (None, vec![]));
    assert!(!Account::knows(&pb::Event { event: Some(Event::Seeded(pb::Seed::default())) }));
}

#[test]
fn a_voucher_is_listed_until_it_is_used_and_then_as_used() {
    use voucher::event::Event as VoucherEvent;
    let mut rules = Rules::new(Account);
    let mut tell = |event: VoucherEvent| {
        let event = voucher::Event { event: Some(event) };
        told(&rules.tell("voucher", 0, 0, "o/large", &event).expect("an event of voucher"))
    };
    let (code, customer) = (|| "CODE".to_owned(), || "ann".to_owned());
    let issued = voucher::VoucherIssued { code: code(), customer: customer(), value: 500, ..Default::default() };
    assert_eq!(tell(VoucherEvent::Issued(issued)).iter().map(|event| event.seq).collect::<Vec<_>>(), [1]);
    let redeemed = voucher::VoucherRedeemed { code: code(), customer: customer(), value: 500, ..Default::default() };
    assert_eq!(tell(VoucherEvent::Redeemed(redeemed)).iter().map(|event| event.seq).collect::<Vec<_>>(), [2]);
    let nobodys = voucher::VoucherIssued { code: "OTHER".into(), ..Default::default() };
    assert!(tell(VoucherEvent::Issued(nobodys)).is_empty(), "it is nobody's");
    let vouchers = rules.state("ann").expect("an account").vouchers;
    assert_eq!(vouchers, [pb::Voucher { code: code(), value: 500, redeemed: true }]);
}
