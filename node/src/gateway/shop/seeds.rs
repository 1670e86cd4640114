//! Making many at once: one command for each partition, by ids of their own. What was done of it is not done again when
//! it is repeated under the same key.
use super::ids;
use crate::{
    gateway::{
        answer::Answer,
        ask::{Ask, shown},
        idempotency,
        problem::Problem,
    },
    runtime::{CommandError, Service},
    services::{order::Order, payment::Payment, stock::Stock},
};
use corduroy_proto::{order, payment, stock};
use futures::future;
use serde_json::json;
use std::sync::Arc;

/// What the commands are for: no aggregate.
const KEY: &str = "seed";

pub(super) async fn orders(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (orders, items, users) = (ids::count(&ask, "n")?, ids::count(&ask, "n_items")?, ids::count(&ask, "n_users")?);
    let price = ids::amount(&ask, "item_price")?;
    for (name, count) in [("n_items", items), ("n_users", users)] {
        if count == 0 {
            return Err(Problem::rule(name, "there has to be one"));
        }
    }
    let seed = idempotency::seed_of(ask.key().id(Order::NAME));
    let seed = order::Seed { orders, items, users, price, seed };
    everywhere::<Order>(&ask, order::Command { command: Some(order::command::Command::Seed(seed)) }).await?;
    Ok(Answer::json(&json!({ "msg": "Batch init for orders successful" })))
}

pub(super) async fn users(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (users, money) = (ids::count(&ask, "n")?, ids::amount(&ask, "starting_money")?);
    let seed = payment::command::Command::Seed(payment::Seed { users, money });
    everywhere::<Payment>(&ask, payment::Command { command: Some(seed) }).await?;
    Ok(Answer::json(&json!({ "msg": "Batch init for users successful" })))
}

pub(super) async fn items(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let (items, stock) = (ids::count(&ask, "n")?, ids::amount(&ask, "starting_stock")?);
    let price = ids::amount(&ask, "item_price")?;
    let seed = stock::command::Command::Seed(stock::Seed { items, stock, price });
    everywhere::<Stock>(&ask, stock::Command { command: Some(seed) }).await?;
    Ok(Answer::json(&json!({ "msg": "Batch init for stock successful" })))
}

/// Answers when every partition has.
async fn everywhere<S: Service>(ask: &Ask, command: S::Command) -> Result<(), Problem> {
    let (own, command) = (ask.key().id(S::NAME), &command);
    let tell = |partition: u32| async move {
        let id = idempotency::derived(own, &partition.to_string());
        let answered = ask.command_as::<S>(id, partition, KEY, command).await;
        answered.map(drop).map_err(|error| (partition, error))
    };
    let outcomes: Vec<_> = future::join_all((0..ask.partitions::<S>()?).map(tell)).await;
    verdict::<S>(&outcomes)
}

/// Nothing is done, or all, or nobody knows: what is done in part is not over.
fn verdict<S: Service>(outcomes: &[Result<(), (u32, CommandError)>]) -> Result<(), Problem> {
    let failed = || outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let problem = |(partition, error): &(u32, CommandError)| Problem::of_command(error, &shown::<S>(*partition));
    let is_final = |error: &CommandError| matches!(error, CommandError::Refused(_) | CommandError::Mismatch);
    let Some(first) = failed().next() else { return Ok(()) };
    if let Some(no) = failed().find(|(_, error)| is_final(error)) {
        return Err(problem(no));
    }
    let nothing = |error: &CommandError| !is_final(error) && !matches!(error, CommandError::Unknown(_));
    if failed().count() == outcomes.len() && failed().all(|(_, error)| nothing(error)) {
        return Err(problem(first));
    }
    let done = outcomes.len() - failed().count();
    let detail = format!("{done} of {} partitions have done it: {}", outcomes.len(), first.1);
    Err(Problem::new("outcome-unknown", detail).with("partition", shown::<S>(first.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_in_part_is_unknown_and_never_nothing() {
        let of = |outcomes: &[Option<CommandError>]| {
            let outcome = |(at, error): (usize, &Option<CommandError>)| match error {
                None => Ok(()),
                Some(error) => Err((u32::try_from(at).expect("a few"), error.clone())),
            };
            let outcomes: Vec<_> = outcomes.iter().enumerate().map(outcome).collect();
            verdict::<Payment>(&outcomes).map_err(|problem| problem.name())
        };
        let (none, busy) = (CommandError::NoQuorum("x".into()), CommandError::Busy("x".into()));
        let unknown = CommandError::Unknown("x".into());
        assert_eq!(of(&[None, None]), Ok(()));
        assert_eq!(of(&[Some(none.clone()), Some(busy)]), Err("no-quorum"));
        assert_eq!(of(&[Some(none.clone()), None]), Err("outcome-unknown"));
        assert_eq!(of(&[Some(none), Some(unknown.clone())]), Err("outcome-unknown"));
        assert_eq!(of(&[Some(unknown), Some(CommandError::Mismatch)]), Err("idempotency-mismatch"));
    }
}
