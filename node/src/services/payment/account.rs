//! The fold over what happened to accounts.
//!
//! **Invariant**: available + held + spent = deposited, each at least 0, and `held` is the sum of the holds that are not
//! voided.
use crate::runtime::At;
use corduroy_proto::payment::{self as pb, event::Event};

/// How long it is remembered that a hold was voided or refused, in microseconds.
const TOMBSTONE: u64 = 24 * 60 * 60 * 1_000_000;

/// What a hold holds.
pub(super) fn held(account: &pb::Account, id: &pb::HoldId) -> Option<i64> {
    let hold = account.holds.iter().find(|hold| !hold.voided && hold.id.as_ref() == Some(id))?;
    Some(hold.amount)
}

/// Whether a hold must not be taken any more.
pub(super) fn is_voided(account: &pb::Account, id: &pb::HoldId) -> bool {
    account.holds.iter().any(|hold| hold.voided && hold.id.as_ref() == Some(id))
}

pub(super) fn evolve(state: &mut Option<pb::Account>, event: &Event, at: At) {
    if let Event::Opened(_) = event {
        state.get_or_insert_default();
    }
    // Nothing is left behind where there is no account: a hold that comes late finds none either.
    let Some(account) = state else { return };
    account.holds.retain(|hold| !hold.voided || at.time.0.saturating_sub(hold.at) <= TOMBSTONE);
    match event {
        Event::Opened(_) | Event::Seeded(_) => {}
        Event::FundsAdded(funds) => {
            add(&mut account.available, funds.amount);
            add(&mut account.deposited, funds.amount);
        }
        Event::PaidDirect(funds) => {
            subtract(&mut account.available, funds.amount);
            add(&mut account.spent, funds.amount);
        }
        Event::Held(held) => {
            if account.holds.iter().all(|hold| hold.id != held.hold) {
                subtract(&mut account.available, held.amount);
                add(&mut account.held, held.amount);
                let (id, amount) = (held.hold.clone(), held.amount);
                account.holds.push(pb::Hold { id, amount, voided: false, at: 0 });
            }
        }
        Event::Refused(refused) => bury(account, refused.hold.as_ref(), at),
        Event::Posted(posted) => {
            if let Some(amount) = take_out(account, posted.hold.as_ref()) {
                add(&mut account.spent, amount);
            }
        }
        Event::Voided(voided) => {
            if let Some(amount) = take_out(account, voided.hold.as_ref()) {
                add(&mut account.available, amount);
            }
            bury(account, voided.hold.as_ref(), at);
        }
    }
}

/// Ends a hold; what it held is nowhere.
fn take_out(account: &mut pb::Account, id: Option<&pb::HoldId>) -> Option<i64> {
    let place = account.holds.iter().position(|hold| !hold.voided && hold.id.as_ref() == id)?;
    let amount = account.holds.remove(place).amount;
    subtract(&mut account.held, amount);
    Some(amount)
}

fn bury(account: &mut pb::Account, id: Option<&pb::HoldId>, at: At) {
    if account.holds.iter().all(|hold| hold.id.as_ref() != id) {
        account.holds.push(pb::Hold { id: id.cloned(), amount: 0, voided: true, at: at.time.0 });
    }
}

fn add(to: &mut i64, amount: i64) {
    *to = to.saturating_add(amount);
}

fn subtract(from: &mut i64, amount: i64) {
    *from = from.saturating_sub(amount);
}

/// Seeds that a later one covers completely count nowhere any more: so the ranges get shorter from one to the next.
pub(super) fn add_seed(partition: &mut pb::Partition, seeded: &pb::AccountsSeeded, at: At) {
    partition.seeds.retain(|range| range.users > seeded.users);
    if seeded.users > 0 {
        partition.seeds.push(pb::Range { offset: at.offset, users: seeded.users, money: seeded.money });
    }
}

/// What the newest seed of a user gives, unless something has happened to it since.
pub(super) fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::Account>) -> Option<pb::Account> {
    let user = number_of(key)?;
    let range = partition.seeds.iter().rev().find(|range| user < range.users)?;
    // From 1: an account that was opened has 0.
    let seed = range.offset.saturating_add(1);
    if stored.is_some_and(|account| account.seed >= seed) {
        return None;
    }
    Some(pb::Account { available: range.money, deposited: range.money, seed, ..pb::Account::default() })
}

/// Of a key that is one, as a seed writes it.
fn number_of(key: &str) -> Option<u64> {
    let plain = key == "0" || !key.starts_with(['0', '+']);
    plain.then(|| key.parse().ok())?
}
