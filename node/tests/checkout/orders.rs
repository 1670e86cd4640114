//! What a checkout takes, and what it gives back.
use super::all;
use crate::harness::Callers;
use corduroy_node::runtime::partition_of;
use serde_json::{Value, json};

/// Partitions of a service unless the configuration says another number.
const PARTITIONS: u32 = 4;

/// A18: three of an item, and all the money there is.
pub async fn a_checkout_takes_money_and_stock(callers: &Callers) {
    for node in 0..callers.nodes() {
        let (item, user) = (callers.item(5, 50).await, callers.user(15).await);
        let order = callers.order(&user, &[(&item, 1), (&item, 1), (&item, 1)]).await;
        let paid = callers.post(node, &format!("/orders/checkout/{order}")).await;
        assert_eq!(paid.status, 200, "{paid:?}");
        for reader in 0..callers.nodes() {
            assert_eq!((callers.stock(reader, &item).await, callers.credit(reader, &user).await), (47, 0));
            let found = callers.get(reader, &format!("/orders/find/{order}")).await;
            assert_eq!((&found.body["paid"], &found.body["status"]), (&json!(true), &json!("completed")), "{found:?}");
            assert_eq!(found.body["total_cost"], 15, "{found:?}");
        }
        let again = callers.post(node + 1, &format!("/orders/checkout/{order}")).await;
        assert_eq!((again.status, &again.body["alreadyPaid"]), (200, &json!(true)), "{again:?}");
        assert_eq!((callers.stock(node, &item).await, callers.credit(node, &user).await), (47, 0));
    }
}

/// A19: first the money is missing, then an item, then nothing. What a refusal gives back is there with its reply.
pub async fn an_order_that_is_refused_can_be_tried_again(callers: &Callers) {
    for node in 0..callers.nodes() {
        let (here, none, user) = (callers.item(5, 15).await, callers.item(5, 0).await, callers.user(0).await);
        let order = callers.order(&user, &[(&here, 1), (&none, 1)]).await;
        let checkout = format!("/orders/checkout/{order}");

        let refused = callers.post(node, &checkout).await;
        assert_eq!((refused.status, refused.problem()), (409, "out-of-credit"), "{refused:?}");
        assert_eq!(refused.body["userId"], json!(user), "{refused:?}");
        assert_eq!((&refused.body["requested"], &refused.body["available"]), (&json!(10), &json!(0)), "{refused:?}");
        assert_eq!(callers.stock(node + 1, &here).await, 15);

        callers.post(node, &format!("/payment/add_funds/{user}/15")).await;
        let refused = callers.post(node + 1, &checkout).await;
        assert_eq!((refused.status, refused.problem()), (409, "out-of-stock"), "{refused:?}");
        assert_eq!(refused.body["itemId"], json!(none), "{refused:?}");
        assert_eq!((&refused.body["requested"], &refused.body["available"]), (&json!(1), &json!(0)), "{refused:?}");
        assert_eq!((callers.stock(node, &here).await, callers.credit(node + 2, &user).await), (15, 15));

        callers.post(node, &format!("/stock/add/{none}/15")).await;
        let paid = callers.post(node + 2, &checkout).await;
        let expected = json!({
            "order_id": order, "paid": true, "status": "completed", "total_cost": 10, "attempt": 3, "alreadyPaid": false
        });
        assert_eq!((paid.status, &paid.body), (200, &expected), "{paid:?}");
        assert_eq!((callers.stock(node, &here).await, callers.stock(node + 1, &none).await), (14, 14));
        assert_eq!(callers.credit(node, &user).await, 5);
    }
}

/// A20: of five, three and three are six; and whatever was held for the rest of the order is given back.
pub async fn lines_of_one_item_count_as_their_sum(callers: &Callers) {
    let user = callers.user(1000).await;
    let scarce = callers.item(1, 5).await;
    let other = loop {
        let item = callers.item(1, 5).await;
        if partition_of(&item, PARTITIONS) != partition_of(&scarce, PARTITIONS) {
            break item;
        }
    };
    for lines in [vec![(&*scarce, 3), (&*scarce, 3)], vec![(&*scarce, 3), (&*other, 2), (&*scarce, 3)]] {
        let order = callers.order(&user, &lines).await;
        let refused = callers.post(1, &format!("/orders/checkout/{order}")).await;
        assert_eq!((refused.status, refused.problem()), (409, "out-of-stock"), "{refused:?}");
        assert_eq!((&refused.body["requested"], &refused.body["available"]), (&json!(6), &json!(5)), "{refused:?}");
        for node in 0..callers.nodes() {
            assert_eq!((callers.stock(node, &scarce).await, callers.stock(node, &other).await), (5, 5));
            assert_eq!(callers.credit(node, &user).await, 1000);
        }
    }
    let refused = callers.post(2, &format!("/stock/subtract/{scarce}/6")).await;
    assert_eq!((refused.status, refused.problem()), (409, "out-of-stock"), "{refused:?}");
    let taken = callers.post(2, &format!("/stock/subtract/{scarce}/5")).await;
    assert_eq!(taken.body, json!({ "item_id": scarce, "stock": 0 }), "{taken:?}");
    assert_eq!(callers.stock(0, &scarce).await, 0);
}

/// A22: fifty checkouts and fifty changes of one order at once.
pub async fn checkouts_and_changes_at_once_are_one_charge(callers: &Callers) {
    let (item, user) = (callers.item(1, 1000).await, callers.user(1000).await);
    let order = callers.order(&user, &[(&item, 1)]).await;
    let asked = (0..100).map(|turn| {
        let path = match turn % 2 {
            0 => format!("/orders/addItem/{order}/{item}/1"),
            _ => format!("/orders/checkout/{order}"),
        };
        async move { callers.post(turn, &path).await }
    });
    let answers = all(100, asked).await;
    let (added, paid): (Vec<_>, Vec<_>) = answers.iter().enumerate().partition(|(turn, _)| turn % 2 == 0);

    let mut lines = 1;
    for (_, answer) in added {
        match (answer.status, answer.problem()) {
            (200, _) => lines += 1,
            (409, "order-busy" | "order-closed") => {}
            _ => panic!("{answer:?}"),
        }
    }
    let outcome = json!({
        "order_id": order, "paid": true, "status": "completed", "total_cost": lines, "attempt": 1
    });
    for (_, answer) in paid {
        let mut said = answer.body.clone();
        // Whoever comes late is told so.
        said.as_object_mut().and_then(|said| said.remove("alreadyPaid")).expect("it says whether it was paid before");
        assert_eq!((answer.status, &said), (200, &outcome), "{answer:?}");
    }
    let found = callers.get(0, &format!("/orders/find/{order}")).await;
    assert_eq!(found.body["items"].as_array().map(Vec::len), usize::try_from(lines).ok(), "{found:?}");
    assert_eq!(found.body["total_cost"], Value::from(lines), "{found:?}");
    assert_eq!((callers.credit(1, &user).await, callers.stock(2, &item).await), (1000 - lines, 1000 - lines));
    let late = callers.post(1, &format!("/orders/addItem/{order}/{item}/1")).await;
    assert_eq!((late.status, late.problem()), (409, "order-closed"), "{late:?}");
}
