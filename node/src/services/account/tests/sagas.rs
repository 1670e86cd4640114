//! What a customer is told of a checkout: forward, and back in the reverse order.
use super::{world::World, *};
use std::time::Duration;

const BEGUN: [&str; 3] = ["ORDER_CREATE", "ORDER_PLACED_SUCCESS", "ORDER_CONFIRMATION_SUCCESS"];

/// What is told when this is bought.
fn told(capacity: Option<i64>, customer: &str, item: &str, quantity: i64) -> (World, Vec<String>) {
    let mut world = World::open(capacity);
    world.place("o", customer, item, quantity);
    world.checkout("o");
    world.rest();
    let subjects = world.subjects(customer);
    assert_eq!(subjects[..BEGUN.len()], BEGUN);
    (world, subjects[BEGUN.len()..].to_vec())
}

#[test]
fn a_checkout_is_told_step_by_step() {
    let forward =
        ["PAYMENT_CHARGE_SUCCESS", "INVENTORY_UPDATE_SUCCESS", "DELIVERY_SCHEDULED_SUCCESS", "ORDER_FINALISED_SUCCESS"];
    for capacity in [None, Some(1)] {
        let (mut world, told) = told(capacity, "ann", "apple", 2);
        assert_eq!(told, forward, "{capacity:?}");
        assert_eq!(orders(&world.account.rules, "ann"), [("o".into(), 1, Status::Confirmed, 10)]);
        assert_eq!(balance(&world.account.rules, "ann"), Some(30));
        world.order("o", order::command::Command::MarkDelivered(order::MarkDelivered {}));
        world.rest();
        assert_eq!(orders(&world.account.rules, "ann")[0].2, Status::Delivered);
        let names: Vec<_> = world.events("ann").into_iter().rev().map(|event| event.name).take(2).collect();
        assert_eq!(names, ["OrderCompleted", "OrderDelivered"]);
    }
}

/// A40.
#[test]
fn too_little_credit_rolls_nothing_back_but_the_order() {
    let (world, told) = told(None, "bob", "apple", 4);
    assert_eq!(told, ["PAYMENT_PROCESSED_ERROR", "ORDER_PLACED_ROLLBACK"]);
    assert_eq!(balance(&world.account.rules, "bob"), Some(15));
    assert_eq!(orders(&world.account.rules, "bob"), [("o".into(), 1, Status::Open, 20)]);
}

/// A41.
#[test]
fn too_little_stock_gives_the_money_back() {
    let (world, told) = told(None, "ann", "pear", 4);
    let back = ["INVENTORY_UPDATE_ERROR", "PAYMENT_CHARGE_ROLLBACK", "ORDER_CONFIRMATION_ROLLBACK"];
    assert_eq!(told[..1], ["PAYMENT_CHARGE_SUCCESS"]);
    assert_eq!(told[1..], back);
    assert_eq!(balance(&world.account.rules, "ann"), Some(40));
}

/// A40.
#[test]
fn without_a_slot_everything_goes_back_in_reverse() {
    let (world, told) = told(Some(0), "ann", "apple", 2);
    assert_eq!(
        told,
        [
            "PAYMENT_CHARGE_SUCCESS",
            "INVENTORY_UPDATE_SUCCESS",
            "DELIVERY_SCHEDULED_ERROR",
            "INVENTORY_UPDATE_ROLLBACK",
            "PAYMENT_CHARGE_ROLLBACK",
            "ORDER_CONFIRMATION_ROLLBACK",
        ]
    );
    assert_eq!(balance(&world.account.rules, "ann"), Some(40));
}

#[test]
fn a_silent_participant_is_rolled_back_too() {
    let mut world = World::open(None);
    world.place("o", "ann", "apple", 2);
    world.checkout("o");
    // Payment answers, and stock is silent until the deadline.
    for way in [0, 3] {
        while world.read(way) {}
    }
    world.wait(Duration::from_secs(11));
    world.rest();
    let told = world.subjects("ann");
    let back = [
        "PAYMENT_CHARGE_SUCCESS",
        "INVENTORY_UPDATE_ROLLBACK",
        "PAYMENT_CHARGE_ROLLBACK",
        "ORDER_CONFIRMATION_ROLLBACK",
    ];
    assert_eq!(told[BEGUN.len()..], back);
    assert_eq!(
        (balance(&world.account.rules, "ann"), orders(&world.account.rules, "ann")[0].2),
        (Some(40), Status::Open)
    );
}

#[test]
fn an_order_that_is_changed_and_cancelled_is_told_with_what_it_costs() {
    let mut world = World::open(None);
    world.place("o", "ann", "apple", 2);
    let line = order::Line { item: "pear".into(), quantity: 1, price: Some(5), quoted: false };
    let totals = [
        (order::command::Command::AddLine(line), 15, Status::Open),
        (order::command::Command::RemoveLine("apple".into()), 5, Status::Open),
        (order::command::Command::Cancel(order::Cancel {}), 5, Status::Cancelled),
    ];
    for (command, total, status) in totals {
        world.order("o", command);
        world.rest();
        assert_eq!(orders(&world.account.rules, "ann"), [("o".into(), 1, status, total)]);
    }
}
