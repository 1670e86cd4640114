//! Finding what a request names: an order by its id or its ref, in whatever case; an item; a user.
use super::ids;
use crate::{
    gateway::{ask::Ask, problem::Problem},
    services::{
        order::{Order, parse_ref, partition_of_ref, ref_key},
        stock::Stock,
    },
};
use corduroy_proto::{
    order::{self as pb, state::State},
    stock,
};

/// The id of the order that a part of the path names. There may be no such order.
pub(super) async fn order_id(ask: &Ask, name: &str) -> Result<String, Problem> {
    let text = ids::param(ask, name)?;
    if let Some(number) = parse_ref(text) {
        let partition = partition_of_ref(number, ask.partitions::<Order>()?);
        let found = ask.get_in::<Order>(partition, &ref_key(number)).await?;
        if let Some(State::Alias(id)) = found.and_then(|state| state.state) {
            return Ok(id);
        }
    }
    // Some orders have ids that look like refs.
    Ok(text.to_owned())
}

/// The order with an id.
pub(super) async fn order_of(ask: &Ask, id: &str) -> Result<Option<pb::Order>, Problem> {
    Ok(match ask.get::<Order>(id).await?.and_then(|state| state.state) {
        Some(State::Order(order)) => Some(order),
        Some(State::Alias(_)) | None => None,
    })
}

/// The order that a part of the path names.
pub(super) async fn order(ask: &Ask, name: &str) -> Result<pb::Order, Problem> {
    let id = order_id(ask, name).await?;
    order_of(ask, &id).await?.ok_or_else(|| Problem::unknown("order", ask.param(name)))
}

/// The item with an id.
pub(super) async fn item(ask: &Ask, id: &str) -> Result<Option<stock::Item>, Problem> {
    Ok(match ask.get::<Stock>(id).await?.and_then(|state| state.state) {
        Some(stock::state::State::Item(item)) => Some(item),
        Some(stock::state::State::Hold(_)) | None => None,
    })
}
