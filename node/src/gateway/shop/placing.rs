//! Placing an order as a whole: for items to be priced later, for items with prices, or for an amount.
use super::{
    dates, ids, lookup, money, orders,
    views::{Ledger, Summary, Valued},
};
use crate::{
    gateway::{answer::Answer, ask::Ask, idempotency, problem::Problem},
    services::order::order_ref,
};
use corduroy_proto::order as pb;
use pb::{Kind, Line, command::Command};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::sync::Arc;

/// Net of an order for an amount that says none, in cents.
const USUAL: i64 = 15_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Items {
    customer_ref: String,
    order_items: Vec<Item>,
    delivery: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    product_id: String,
    quantity: i64,
}

pub(super) async fn items(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let asked: Items = ask.json()?;
    let customer = ids::id("customerRef", &asked.customer_ref)?.to_owned();
    if asked.order_items.is_empty() {
        return Err(Problem::rule("orderItems", "there has to be one"));
    }
    let mut lines = Vec::new();
    for (at, item) in asked.order_items.into_iter().enumerate() {
        ids::id(&format!("orderItems[{at}].productId"), &item.product_id)?;
        lines.push(Line { item: item.product_id, quantity: item.quantity, ..Line::default() });
    }
    let needs_delivery = is_delivered(asked.delivery.as_deref());
    let place = pb::Place { customer, lines, needs_delivery, ..pb::Place::default() };
    let id = idempotency::text_of(ask.key().id("order"));
    let told = orders::tell(&ask, &id, Command::Place(place)).await;
    let (order, _) = told.map_err(|problem| problem.in_words_of("lines", "orderItems"))?;
    let location = format!("/Orders/{}", order_ref(order.number));
    Ok(Answer::json(&Summary::of(&order)).created(&location))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    net_total: Option<Box<RawValue>>,
    customer_id: Option<String>,
    order_date: Option<String>,
}

pub(super) async fn value(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let asked: Value = ask.json_or_default()?;
    let net = asked.net_total.map_or(Ok(USUAL), |raw| money::of_json("netTotal", &raw))?;
    let net = ids::not_negative("netTotal", net)?;
    let customer = asked.customer_id.unwrap_or_default();
    if !customer.is_empty() {
        ids::id("customerId", &customer)?;
    }
    let order_date = asked.order_date.map(|text| dates::parse("orderDate", &text)).transpose()?;
    let place = pb::Place { customer, kind: Kind::Value.into(), net, order_date, ..pb::Place::default() };
    let id = idempotency::text_of(ask.key().id("order"));
    let told = orders::tell(&ask, &id, Command::Place(place)).await;
    let (order, _) = told.map_err(|problem| problem.in_words_of("net", "netTotal"))?;
    let location = format!("/orders/detail/{}", order.id);
    Ok(Answer::json(&Valued::of(&order)).created(&location))
}

/// An order in its envelope, with or without another one around it.
#[derive(Deserialize)]
struct Posted {
    data: Option<Envelope>,
    id: Option<String>,
    order: Option<Ledger>,
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    order: Ledger,
}

/// Answers once it is placed and its checkout has begun. Its id in the envelope is the idempotency key where no header
/// says one.
pub(super) async fn ledger(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let Envelope { id, order } = match ask.json()? {
        Posted { data: Some(data), .. } => data,
        Posted { id: Some(id), order: Some(order), .. } => Envelope { id, order },
        Posted { id: None, .. } => return Err(Problem::malformed("", "missing field `id`")),
        Posted { .. } => return Err(Problem::malformed("", "missing field `order`")),
    };
    ask.key_or(&id).map_err(|_| Problem::malformed("id", "it has 1 to 255 visible ASCII characters"))?;
    ids::id("order.orderId", &order.order_id)?;
    ids::id("order.customerId", &order.customer_id)?;
    check_totals(&order)?;
    let mut lines = Vec::new();
    for (at, item) in order.items.iter().enumerate() {
        ids::id(&format!("order.items[{at}].productId"), &item.product_id)?;
        let (item, quantity, price) = (item.product_id.clone(), item.quantity, item.price);
        lines.push(Line { item, quantity, price, quoted: true });
    }
    let needs_delivery = !lines.is_empty() && is_delivered(order.delivery.as_deref());
    let customer = order.customer_id.clone();
    let place = pb::Place { customer, lines, needs_delivery, checkout: true, ..pb::Place::default() };
    let told = orders::tell(&ask, &order.order_id, Command::Place(place)).await;
    let (placed, _) = told.map_err(|problem| problem.in_words_of("lines", "order.items"))?;
    Ok(Answer::json(&json!({ "id": id, "order": Ledger::of(&placed) })))
}

pub(super) async fn ledger_of(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let order = lookup::order(&ask, "id").await?;
    Ok(Answer::json(&json!({ "order": { "order": Ledger::of(&order) } })))
}

fn is_delivered(delivery: Option<&str>) -> bool {
    delivery != Some("none")
}

/// The totals are those of the items.
fn check_totals(order: &Ledger) -> Result<(), Problem> {
    let (mut price, mut quantity) = (Some(0_i64), Some(0_i64));
    for item in &order.items {
        let cost = item.quantity.checked_mul(item.price.unwrap_or_default());
        price = price.zip(cost).and_then(|(sum, cost)| sum.checked_add(cost));
        quantity = quantity.and_then(|sum| sum.checked_add(item.quantity));
    }
    for (path, said, is) in
        [("order.totalPrice", order.total_price, price), ("order.totalQuantity", order.total_quantity, quantity)]
    {
        match is {
            None => return Err(Problem::rule(path, "it is more than can be counted")),
            Some(is) if is != said => return Err(Problem::rule(path, format!("the items come to {is}"))),
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::views::LedgerItem, *};

    #[test]
    fn totals_are_those_of_the_items() {
        let item = |price, quantity| LedgerItem { product_id: "p".into(), price: Some(price), quantity };
        let order = |total_price, total_quantity, items| Ledger {
            order_id: "1".into(),
            customer_id: "c".into(),
            total_price,
            total_quantity,
            items,
            status: "",
            delivery: None,
        };
        let name = |order| check_totals(&order).map_err(|problem| problem.to_string());
        assert_eq!(name(order(40, 5, vec![item(10, 3), item(5, 2)])), Ok(()));
        assert_eq!(name(order(0, 0, vec![])), Ok(()));
        let wrong = name(order(41, 5, vec![item(10, 3), item(5, 2)]));
        assert_eq!(wrong, Err("rule-violated: order.totalPrice: the items come to 40".into()));
        assert!(name(order(40, 4, vec![item(10, 3), item(5, 2)])).is_err());
        assert!(name(order(0, 3, vec![item(i64::MAX, 3)])).is_err());
    }

    #[test]
    fn an_envelope_may_be_in_another_one() {
        let order = r#"{"orderId":"1","customerId":"c","totalPrice":6,"totalQuantity":2,"extra":1,
            "items":[{"productId":"p","price":3,"quantity":2}]}"#;
        let inner: Posted = serde_json::from_str(&format!(r#"{{"id":"k","order":{order}}}"#)).expect("it is one");
        let outer: Posted =
            serde_json::from_str(&format!(r#"{{"data":{{"id":"k","order":{order}}}}}"#)).expect("it is one");
        assert_eq!(inner.order, outer.data.map(|data| data.order));
        let float = order.replace("\"price\":3", "\"price\":3.0");
        assert!(serde_json::from_str::<Ledger>(&float).is_err(), "amounts are whole");
        assert!(serde_json::from_str::<Ledger>(&order.replace("\"price\":3,", "")).is_err(), "and there");
    }
}
