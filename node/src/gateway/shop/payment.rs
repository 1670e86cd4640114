//! Users, what they have, and what became of the payment of an order.
use super::{ids, lookup};
use crate::{
    gateway::{answer::Answer, ask::Ask, idempotency, problem::Problem},
    services::payment::Payment,
};
use corduroy_proto::{
    order::{self, HoldStatus, Participant},
    payment::{self as pb, command::Command},
};
use serde_json::json;
use std::sync::Arc;

async fn tell(ask: &Ask, user: &str, command: Command) -> Result<pb::Reply, Problem> {
    ask.command::<Payment>(user, &pb::Command { command: Some(command) }).await
}

pub(super) async fn create(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let user = idempotency::text_of(ask.key().id("payment"));
    let reply = tell(&ask, &user, Command::Open(pb::Open {})).await?;
    Ok(Answer::json(&json!({ "user_id": reply.user })))
}

pub(super) async fn find(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let user = ids::param(&ask, "user_id")?;
    let account = ask.get::<Payment>(user).await?.ok_or_else(|| Problem::unknown("user", user))?;
    Ok(Answer::json(&json!({ "user_id": user, "credit": account.available })))
}

pub(super) async fn add_funds(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let amount = ids::amount(&ask, "amount")?;
    change(&ask, Command::AddFunds(pb::Amount { amount })).await
}

pub(super) async fn pay(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let amount = ids::amount(&ask, "amount")?;
    change(&ask, Command::Pay(pb::Amount { amount })).await
}

async fn change(ask: &Ask, command: Command) -> Result<Answer, Problem> {
    let reply = tell(ask, ids::param(ask, "user_id")?, command).await?;
    Ok(Answer::json(&json!({ "user_id": reply.user, "credit": reply.available })))
}

pub(super) async fn check(ask: Arc<Ask>) -> Result<Answer, Problem> {
    check_of(&ask, Participant::Payment).await
}

/// What became of what an order asked of a participant in its last attempt: the order knows.
pub(super) async fn check_of(ask: &Ask, participant: Participant) -> Result<Answer, Problem> {
    let id = lookup::order_id(ask, "order_id").await?;
    let order = lookup::order_of(ask, &id).await?;
    Ok(Answer::json(&order.map_or(MISSING, |order| outcome(&order, participant))))
}

const MISSING: &str = "MISSING";

fn outcome(order: &order::Order, participant: Participant) -> &'static str {
    let holds = order.holds.iter().filter(|hold| hold.participant() == participant);
    let holds: Vec<HoldStatus> = holds.map(order::Hold::status).collect();
    let any = |status| holds.contains(&status);
    if any(HoldStatus::Refused) {
        "REJECTED"
    } else if any(HoldStatus::Voided) {
        "ROLLEDBACK"
    } else if any(HoldStatus::Held) && !any(HoldStatus::Asked) {
        "PAID"
    } else {
        MISSING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_that_refuses_is_a_refusal() {
        use HoldStatus::{Asked, Held, Refused, Voided};
        let of = |statuses: &[HoldStatus]| {
            let hold = |status: &HoldStatus| order::Hold {
                participant: Participant::Stock.into(),
                status: (*status).into(),
                ..order::Hold::default()
            };
            let order = order::Order { holds: statuses.iter().map(hold).collect(), ..order::Order::default() };
            assert_eq!(outcome(&order, Participant::Payment), MISSING);
            outcome(&order, Participant::Stock)
        };
        assert_eq!(of(&[]), "MISSING");
        assert_eq!(of(&[Asked, Held]), "MISSING");
        assert_eq!(of(&[Held, Held]), "PAID");
        assert_eq!(of(&[Voided, Voided]), "ROLLEDBACK");
        assert_eq!(of(&[Voided, Refused]), "REJECTED");
    }
}
