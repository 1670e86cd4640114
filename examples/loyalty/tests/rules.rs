//! The rules by themselves: given, when, then.
use corduroy_node::testing::Rules;
use corduroy_proto::order::{Event, OrderDelivered, event};
use loyalty::{Change, Loyalty, Points};

const fn earned(points: u64) -> Change {
    Change { earn: true, points }
}

const fn spent(points: u64) -> Change {
    Change { earn: false, points }
}

#[test]
fn points_that_are_there_can_be_spent() {
    let mut rules = Rules::new(Loyalty).given("ada", &[earned(30), spent(10)]);
    let then = rules.when("ada", &spent(15));
    assert_eq!(then.events(), [spent(15)]);
    assert_eq!(then.reply(), Some(Points { balance: 5, orders: 1 }));
}

#[test]
fn points_that_are_not_there_cannot() {
    let then = Rules::new(Loyalty).given("ada", &[earned(30)]).when("ada", &spent(31));
    assert!(then.events().is_empty());
    assert_eq!(then.refusal().map(|refusal| refusal.name().to_owned()).as_deref(), Some("too-few-points"));
}

#[test]
fn a_delivered_order_earns_a_point_for_each_whole_unit() {
    let mut rules = Rules::new(Loyalty);
    let delivered = OrderDelivered { customer: "ada".into(), gross: 17_850, ..OrderDelivered::default() };
    let delivered = Event { event: Some(event::Event::Delivered(delivered)) };
    rules.tell("order", 0, 0, "order-1", &delivered).expect("an event of an order");
    assert_eq!(rules.state("ada"), Some(Points { balance: 178, orders: 1 }));
}
