//! Vouchers.
use super::{
    dates, ids, money,
    pages::{self, Chunk, Page},
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::IndexKey,
    services::voucher::{Voucher, alias, of_customer, of_order, of_use, partition_of_code},
};
use corduroy_proto::voucher as pb;
use pb::{Kind, command::Command, state::State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Behind all aliases, before all orders.
const FIRST: &str = "$";

/// A voucher as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    code: String,
    order_id: String,
    strategy: String,
    kind: &'static str,
    /// An amount, or percent.
    value: String,
    customer_id: String,
    created_at: String,
    expires_at: Option<String>,
    redeemed: bool,
    redeemed_at: Option<String>,
}

impl Shown {
    fn of(voucher: pb::Voucher) -> Self {
        let at = |micros: u64| (micros != 0).then(|| dates::show(micros));
        Shown {
            kind: if voucher.kind() == Kind::Relative { "relative" } else { "absolute" },
            value: money::show(voucher.value),
            created_at: dates::show(voucher.created_at),
            expires_at: at(voucher.expires_at),
            redeemed: voucher.redeemed_at != 0,
            redeemed_at: at(voucher.redeemed_at),
            code: voucher.code,
            order_id: voucher.order,
            strategy: voucher.strategy,
            customer_id: voucher.customer,
        }
    }
}

/// Who redeems a voucher, and for what.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Redeem {
    customer_id: Option<String>,
    order_id: Option<String>,
}

/// The partition of the code in the path, among those there are.
fn place(ask: &Ask) -> Result<(u32, String), Problem> {
    let code = ids::param(ask, "code")?;
    let partitions = ask.partitions::<Voucher>()?;
    let partition = partition_of_code(code).filter(|partition| *partition < partitions);
    Ok((partition.ok_or_else(|| Problem::unknown("voucher", code))?, alias(code)))
}

pub(super) async fn one(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let unknown = || Problem::unknown("voucher", ask.param("code"));
    let (partition, alias) = place(&ask)?;
    let key = match ask.get_in::<Voucher>(partition, &alias).await?.and_then(|state| state.state) {
        Some(State::Alias(key)) => key,
        Some(State::Voucher(_)) | None => return Err(unknown()),
    };
    match ask.get_in::<Voucher>(partition, &key).await?.and_then(|state| state.state) {
        Some(State::Voucher(voucher)) => Ok(Answer::json(&Shown::of(voucher))),
        Some(State::Alias(_)) | None => Err(unknown()),
    }
}

pub(super) async fn redeem(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (partition, alias) = place(&ask)?;
    let Redeem { customer_id, order_id } = ask.json_or_default()?;
    let named = |path, id: Option<String>| match id {
        Some(id) => ids::id(path, &id).map(str::to_owned),
        None => Ok(String::new()),
    };
    let request = pb::Redeem { customer: named("customerId", customer_id)?, order: named("orderId", order_id)? };
    let command = pb::Command { command: Some(Command::Redeem(request)) };
    let reply = ask.command_in::<Voucher>(partition, &alias, &command).await?;
    Ok(Answer::json(&Shown::of(reply.voucher.ok_or_else(|| Problem::defect("voucher"))?)))
}

pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let page = Page::of(&ask)?;
    let (customer, order) = (ask.query("customer"), ask.query("order"));
    let redeemed = match ask.query("redeemed") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Problem::malformed("redeemed", "it is true or false")),
    };
    let keep = |shown: &Shown| {
        customer.is_none_or(|customer| shown.customer_id == customer)
            && order.is_none_or(|order| shown.order_id == order)
            && redeemed.is_none_or(|redeemed| shown.redeemed == redeemed)
    };
    // An order has the fewest.
    let by = order.map(of_order).or_else(|| customer.map(of_customer)).or_else(|| redeemed.map(of_use));
    let fetch = |partition, after, size| chunk(&ask, by.as_ref(), partition, after, size);
    Ok(pages::answer(&ask, &page.collect(ask.partitions::<Voucher>()?, fetch, keep).await?))
}

async fn chunk(
    ask: &Ask,
    by: Option<&IndexKey>,
    partition: u32,
    after: String,
    size: usize,
) -> Result<Chunk<Shown>, Problem> {
    let after = if after.as_str() < FIRST { FIRST } else { &after };
    let (stored, horizon) = pages::stored::<Voucher>(ask, by, partition, after, size).await?;
    let row = |(key, state): (String, pb::State)| match state.state {
        Some(State::Voucher(voucher)) => Some((key, Shown::of(voucher))),
        Some(State::Alias(_)) | None => None,
    };
    Ok(Chunk { rows: stored.into_iter().filter_map(row).collect(), horizon })
}
