//! Marking orders as delivered: one that is named, or the next one.
//!
//! Which one is next is chosen before anything is done, and the choice is kept where a repetition finds it. For that
//! there is no command; but every answer of a service is kept under the id of its command, a refusal too, and with what
//! it names. So the choice is asked for under a key that no order can have: the refusal names it, for this request and
//! for each time it is sent again.
//!
//! ```text
//!   due: X, Y ──▶ "chosen/X" to the home of the request ──▶ refused: no "chosen/X"    (kept: X, whatever is due later)
//!                       └──▶ X is marked ──▶ done ──▶ answered
//!                                  └─ refused, or somebody else had been faster ──▶ choose again
//! ```
use super::{lookup, orders, views::Valued};
use crate::{
    gateway::{
        answer::Answer,
        ask::{Ask, shown},
        idempotency,
        problem::Problem,
    },
    runtime::{CommandError, Service, Ticket, partition_of},
    services::order::{DUE, Order},
};
use corduroy_proto::{
    order::{self as pb, command::Command, state::State},
    runtime::extra,
};
use futures::future;
use std::sync::Arc;

/// No order's id has a slash.
const CHOSEN: &str = "chosen/";
/// How often somebody else may be faster.
const TRIES: usize = 100;

pub(super) async fn deliver(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let id = lookup::order_id(&ask, "order").await?;
    let (order, _) = orders::tell(&ask, &id, Command::MarkDelivered(pb::MarkDelivered {})).await?;
    Ok(Answer::json(&Valued::of(&order)))
}

/// The earliest undelivered confirmed order, by order date and id.
pub(super) async fn next(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let own = ask.key().id(Order::NAME);
    for turn in 0..TRIES {
        let due = first_due(&ask).await?;
        let chosen = choose(&ask, idempotency::derived(own, &format!("turn {turn}")), &due).await?;
        if chosen.is_empty() {
            let problem = Problem::new("no-undelivered-order", "every confirmed order is delivered");
            return Err(problem.with("hint", "create one: POST /orders/value, or corduroy order create"));
        }
        if let Some(order) = mark(&ask, idempotency::derived(own, &chosen), &chosen).await? {
            return Ok(Answer::json(&Valued::of(&order)));
        }
    }
    Err(Problem::new("overloaded", format!("{TRIES} times somebody else was faster")).with("partition", Order::NAME))
}

/// The order that is due first; empty: none is.
async fn first_due(ask: &Ask) -> Result<String, Problem> {
    let scans = (0..ask.partitions::<Order>()?).map(|partition| ask.scan::<Order>(partition, DUE, "", 1));
    let found = future::try_join_all(scans).await?;
    // The keys are sorted by date, and then by id.
    let first = found.into_iter().flat_map(|(found, _)| found).min_by(|(key, _), (other, _)| key.cmp(other));
    Ok(match first.and_then(|(_, state)| state.state) {
        Some(State::Alias(order)) => order,
        Some(State::Order(_)) | None => String::new(),
    })
}

/// What was chosen in this turn: by an earlier sending of the request, or now.
async fn choose(ask: &Ask, id: Ticket, due: &str) -> Result<String, Problem> {
    let home = partition_of(ask.key().text(), ask.partitions::<Order>()?);
    let key = format!("{CHOSEN}{due}");
    let refusal = match ask.command_as::<Order>(id, home, &key, &mark_delivered()).await {
        Err(CommandError::Refused(refusal)) => refusal.value,
        Err(error) => return Err(Problem::of_command(&error, &shown::<Order>(home))),
        Ok(_) => return Err(Problem::defect("choice")),
    };
    let named = refusal.extras().find_map(|(_, value)| match value {
        extra::Value::Text(text) => text.strip_prefix(CHOSEN),
        extra::Value::Number(_) | extra::Value::Flag(_) => None,
    });
    named.map(str::to_owned).ok_or_else(|| Problem::defect("choice"))
}

/// `None`: it was delivered before, or cannot be.
async fn mark(ask: &Ask, id: Ticket, order: &str) -> Result<Option<pb::Order>, Problem> {
    let partition = partition_of(order, ask.partitions::<Order>()?);
    match ask.command_as::<Order>(id, partition, order, &mark_delivered()).await {
        Ok(marked) if marked.value.already_paid => Ok(None),
        Ok(marked) => marked.value.order.map(Some).ok_or_else(|| Problem::defect("order")),
        Err(CommandError::Refused(refusal)) if refusal.value.name() != "fault" => Ok(None),
        Err(error) => Err(Problem::of_command(&error, &shown::<Order>(partition))),
    }
}

fn mark_delivered() -> pb::Command {
    pb::Command { command: Some(Command::MarkDelivered(pb::MarkDelivered {})) }
}
