//! The payment service: users, what they have, and what is set aside for orders.
//!
//! ```text
//!   none ──hold──▶ held ──post──▶ gone: spent
//!    │ └──refused─┐  └──void──▶ voided: given back
//!    └──void──────┴─────────────▶ (kept for a day: a hold that comes late is refused)
//! ```
//!
//! An order asks for a hold, and later either posts it or voids it. A void is always answered, whatever there was: the
//! order waits for it. What is repeated has no second effect.
//!
//! - `account`: the fold.
mod account;

#[cfg(all(test, feature = "testing"))]
mod tests;

use crate::runtime::{At, Decide, Head, Input, PeerEvent, Refusal, Routes, Service, Unreadable};
use corduroy_proto::{
    order::{self, event::Event as OrderEvent},
    payment::{self as pb, command::Command, event::Event},
};

/// What an event is emitted for that concerns many users.
const SEED: &str = "seed";

/// The rules of the service; its keys are user ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payment;

impl Service for Payment {
    const NAME: &'static str = "payment";
    const LISTENS: &'static [&'static str] = &["order"];
    const PARTITIONS: u32 = 4;

    type State = pb::Account;
    type Partition = pb::Partition;
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let (user, account) = (input.key, head.get(input.key));
        match &input.command.command {
            Some(Command::Open(_)) => {
                if account.is_none() {
                    emit(cx, user, Event::Opened(pb::AccountOpened { user: user.into() }));
                }
                reply(cx, user);
            }
            Some(Command::Seed(seed)) => {
                not_negative("money", seed.money)?;
                emit(cx, SEED, Event::Seeded(pb::AccountsSeeded { users: seed.users, money: seed.money }));
                cx.reply(pb::Reply::default());
            }
            Some(Command::AddFunds(pb::Amount { amount })) => {
                let account = known(user, account)?;
                add_funds(user, &account, *amount, cx)?;
                reply(cx, user);
            }
            Some(Command::Pay(pb::Amount { amount })) => {
                let account = known(user, account)?;
                pay(user, &account, *amount, cx)?;
                reply(cx, user);
            }
            Some(Command::Hold(request)) => hold(user, account.as_ref(), request, cx),
            Some(Command::Post(id)) => {
                if let Some(amount) = account.as_ref().and_then(|account| account::held(account, id)) {
                    emit(cx, user, Event::Posted(settled(user, id, amount)));
                }
            }
            Some(Command::Void(id)) => {
                let amount = account.as_ref().and_then(|account| account::held(account, id)).unwrap_or(0);
                emit(cx, user, Event::Voided(settled(user, id, amount)));
            }
            None => cx.fault("a command of no known kind"),
        }
        Ok(())
    }

    fn knows(event: &pb::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<pb::Account>, _key: &str, event: &pb::Event, at: At) {
        if let Some(event) = &event.event {
            account::evolve(state, event, at);
        }
    }

    fn evolve_partition(partition: &mut pb::Partition, _key: &str, event: &pb::Event, at: At) {
        if let Some(Event::Seeded(seeded)) = &event.event {
            account::add_seed(partition, seeded, at);
        }
    }

    fn concerns<'e>(key: &'e str, event: &'e pb::Event) -> Vec<&'e str> {
        match &event.event {
            Some(Event::Seeded(_)) => Vec::new(),
            _ => vec![key],
        }
    }

    fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::Account>) -> Option<pb::Account> {
        account::seeded(partition, key, stored)
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let mut tell = |customer: String, command| to.to(customer, pb::Command { command: Some(command) });
        match event.decode::<order::Event>()?.event {
            // An order without lines needs nobody.
            Some(OrderEvent::CheckoutStarted(started)) if !started.lines.is_empty() => {
                let (customer, id) = hold_of(started.attempt)?;
                tell(customer, Command::Hold(pb::HoldRequest { id: Some(id), amount: started.total }));
            }
            Some(OrderEvent::Confirmed(confirmed)) if confirmed.payment => {
                let (customer, id) = hold_of(confirmed.attempt)?;
                tell(customer, Command::Post(id));
            }
            Some(OrderEvent::PaymentReleaseRequested(release)) => {
                let (customer, id) = hold_of(release.attempt)?;
                tell(customer, Command::Void(id));
            }
            Some(OrderEvent::Seeded(seeded)) => {
                for ended in seeded.ended {
                    let (customer, id) = hold_of(ended.attempt)?;
                    tell(customer, Command::Void(id));
                }
            }
            Some(_) => {}
            None => return Err(Unreadable("an event of order of no known kind".into())),
        }
        Ok(())
    }
}

fn hold_of(attempt: Option<order::Attempt>) -> Result<(String, pb::HoldId), Unreadable> {
    let attempt = attempt.ok_or_else(|| Unreadable("an event of order that names no attempt".into()))?;
    let id = pb::HoldId { order: attempt.order, incarnation: attempt.incarnation, attempt: attempt.attempt };
    Ok((attempt.customer, id))
}

fn add_funds(user: &str, account: &pb::Account, amount: i64, cx: &mut Decide<'_, Payment>) -> Result<(), Refusal> {
    not_negative("amount", amount)?;
    // What is available is never more than what was deposited: that is the sum that can overflow.
    if account.deposited.checked_add(amount).is_none() {
        return Err(rule_violated("amount", "it is more than can be counted"));
    }
    if amount > 0 {
        let available = account.available.saturating_add(amount);
        emit(cx, user, Event::FundsAdded(pb::Funds { user: user.into(), amount, available }));
    }
    Ok(())
}

fn pay(user: &str, account: &pb::Account, amount: i64, cx: &mut Decide<'_, Payment>) -> Result<(), Refusal> {
    not_negative("amount", amount)?;
    if amount > account.available {
        let refusal = Refusal::new("out-of-credit", "the user has less than that");
        return Err(refusal.text("userId", user).number("requested", amount).number("available", account.available));
    }
    if amount > 0 {
        let available = account.available.saturating_sub(amount);
        emit(cx, user, Event::PaidDirect(pb::Funds { user: user.into(), amount, available }));
    }
    Ok(())
}

/// A refusal is an event: the order reads it.
fn hold(user: &str, account: Option<&pb::Account>, request: &pb::HoldRequest, cx: &mut Decide<'_, Payment>) {
    let amount = request.amount;
    let Some(id) = &request.id else { return cx.fault("a hold without an id") };
    if amount < 0 {
        return cx.fault("a hold of less than nothing");
    }
    let refused = |available, reason: &str| {
        let (user, hold, reason) = (user.into(), Some(id.clone()), reason.into());
        Event::Refused(pb::PaymentHoldRefused { user, hold, amount, available, reason })
    };
    let event = match account {
        None => refused(0, "account-missing"),
        Some(account) if account::is_voided(account, id) => refused(account.available, "voided"),
        Some(account) if account::held(account, id).is_some() => return,
        Some(account) if amount > account.available => refused(account.available, "out-of-credit"),
        Some(account) => {
            let available = account.available.saturating_sub(amount);
            Event::Held(pb::PaymentHeld { user: user.into(), hold: Some(id.clone()), amount, available })
        }
    };
    emit(cx, user, event);
}

fn settled(user: &str, id: &pb::HoldId, amount: i64) -> pb::PaymentSettled {
    pb::PaymentSettled { user: user.into(), hold: Some(id.clone()), amount }
}

fn emit(cx: &mut Decide<'_, Payment>, key: &str, event: Event) {
    cx.emit(key, pb::Event { event: Some(event) });
}

/// What the user has once it has happened.
fn reply(cx: &mut Decide<'_, Payment>, user: &str) {
    let user = user.to_owned();
    cx.reply_with(move |head| pb::Reply { available: head.get(&user).map_or(0, |account| account.available), user });
}

fn known(user: &str, account: Option<pb::Account>) -> Result<pb::Account, Refusal> {
    account.ok_or_else(|| Refusal::new("unknown-user", "there is no such user").text("id", user))
}

fn not_negative(path: &str, amount: i64) -> Result<(), Refusal> {
    if amount < 0 { Err(rule_violated(path, "it is negative")) } else { Ok(()) }
}

/// `path` is the field, the detail says what is wrong with it.
fn rule_violated(path: &str, reason: &str) -> Refusal {
    Refusal::new("rule-violated", reason).text("path", path)
}
