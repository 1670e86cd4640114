//! The voucher service: what a delivered order earns its customer.
//!
//! ```text
//!   order delivered ──▶ each strategy that is enabled: none, or ──▶ issued ──redeem──▶ redeemed
//!                            └──not yet: again after 5 s and 25 s, then a dead letter
//! ```
//!
//! The key is an order and a strategy: so an order has at most one voucher of each, whatever is said twice, redriven or
//! enabled anew. The code leads to it from its own partition, which it names.
//!
//! - `strategy`: what earns a voucher. `code`: what vouchers are called. `redeem`: using one.
//! - `index`: what vouchers are found by.
//!
//! Redeeming changes no price: the discount is its caller's business.
mod code;
mod index;
mod redeem;
mod strategy;

#[cfg(all(test, feature = "testing"))]
mod tests;

pub use code::{alias, partition_of_code};
pub use index::{of_customer, of_order, of_use};
pub use redeem::is_expired;
pub use strategy::{LARGE_DELIVERED, STRATEGIES, Strategy, Verdict};

use super::Settings;
use crate::runtime::{At, Decide, Head, IndexKey, Input, PeerEvent, Refusal, Routes, Service, Unreadable};
use corduroy_proto::{
    order::{self, event::Event as OrderEvent},
    voucher as pb,
};
use pb::{command::Command, event::Event, state::State};

/// The rules of the service.
#[derive(Clone, Debug)]
pub struct Voucher {
    settings: Settings,
    strategies: Vec<Strategy>,
}

impl Voucher {
    /// With the strategies these settings enable.
    pub fn new(settings: Settings) -> Self {
        let is_enabled = |strategy: &&Strategy| settings.voucher_strategies.iter().any(|name| name == strategy.name);
        let strategies = STRATEGIES.iter().filter(is_enabled).copied().collect();
        Voucher { settings, strategies }
    }

    /// With strategies of one's own.
    pub fn with(settings: Settings, strategies: Vec<Strategy>) -> Self {
        Voucher { settings, strategies }
    }
}

/// The key of an order's voucher by a strategy. No order's id has a slash.
pub fn key(order: &str, strategy: &str) -> String {
    format!("{order}/{strategy}")
}

impl Service for Voucher {
    const NAME: &'static str = "voucher";
    const LISTENS: &'static [&'static str] = &["order"];
    const PARTITIONS: u32 = 4;
    const INDEX: u32 = index::VERSION;

    type State = pb::State;
    type Partition = ();
    type Event = pb::Event;
    type Command = pb::Command;
    type Reply = pb::Reply;

    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        match &input.command.command {
            Some(Command::Consider(pb::Consider { facts: Some(facts), strategy })) => {
                self.consider(head, &input, facts, strategy, cx);
                Ok(())
            }
            Some(Command::Redeem(request)) => redeem::redeem(head, input.key, request, cx),
            Some(Command::Consider(_)) | None => {
                cx.fault("a command of no kind that is known");
                Ok(())
            }
        }
    }

    fn knows(event: &pb::Event) -> bool {
        event.event.is_some()
    }

    fn evolve(state: &mut Option<pb::State>, key: &str, event: &pb::Event, at: At) {
        match &event.event {
            Some(Event::Issued(issued)) => {
                let issued = if code::is_alias(key) {
                    State::Alias(self::key(&issued.order, &issued.strategy))
                } else {
                    State::Voucher(new(issued, at))
                };
                *state = Some(pb::State { state: Some(issued) });
            }
            Some(Event::Redeemed(redeemed)) => {
                if let Some(pb::State { state: Some(State::Voucher(voucher)) }) = state {
                    voucher.redeemed_at = at.time.0;
                    voucher.redeemed_by.clone_from(&redeemed.by);
                    voucher.redeemed_for.clone_from(&redeemed.order);
                }
            }
            None => {}
        }
    }

    fn concerns<'e>(key: &'e str, event: &'e pb::Event) -> Vec<&'e str> {
        match &event.event {
            Some(Event::Issued(issued)) => vec![key, &issued.code_key],
            Some(Event::Redeemed(_)) | None => vec![key],
        }
    }

    fn index(_key: &str, state: &pb::State) -> Vec<IndexKey> {
        index::of(state)
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let delivered = match event.decode::<order::Event>()?.event {
            Some(OrderEvent::Delivered(delivered)) => delivered,
            Some(_) => return Ok(()),
            None => return Err(Unreadable("an event of order of no known kind".into())),
        };
        let facts = strategy::facts(&delivered)?;
        for strategy in &self.strategies {
            let consider = pb::Consider { facts: Some(facts.clone()), strategy: strategy.name.into() };
            to.to(key(&facts.order, strategy.name), pb::Command { command: Some(Command::Consider(consider)) });
        }
        Ok(())
    }
}

impl Voucher {
    /// What one strategy makes of an order.
    fn consider(
        &self,
        head: &Head<'_, Self>,
        input: &Input<'_, Self>,
        facts: &pb::Facts,
        name: &str,
        cx: &mut Decide<'_, Self>,
    ) {
        let Some(strategy) = self.strategies.iter().find(|strategy| strategy.name == name) else {
            return cx.fault(format!("the strategy {name} is not enabled (voucher.strategies)"));
        };
        if head.get(input.key).is_some() {
            return;
        }
        match (strategy.decide)(facts) {
            Verdict::None => {}
            Verdict::Voucher(kind, value) => {
                let code = code::draw(cx, |code| head.get(&alias(code)).is_none());
                let valid_for = self.settings.voucher_valid_for.map(|span| u64::try_from(span.as_micros()));
                let expires_at = valid_for.map_or(0, |span| cx.now().0.saturating_add(span.unwrap_or(u64::MAX)));
                let issued = pb::VoucherIssued {
                    order: facts.order.clone(),
                    incarnation: facts.incarnation,
                    strategy: name.to_owned(),
                    code_key: alias(&code),
                    code,
                    kind: kind.into(),
                    value,
                    customer: facts.customer.clone(),
                    expires_at,
                };
                cx.emit(input.key, pb::Event { event: Some(Event::Issued(issued)) });
            }
            Verdict::Later => {
                let pauses = &self.settings.voucher_retry;
                let pause = usize::try_from(input.tries).ok().and_then(|tries| pauses.get(tries));
                match pause {
                    Some(pause) => cx.retry(*pause),
                    None => cx.exhaust(format!("{name} wanted to wait {} times", pauses.len() + 1)),
                }
            }
        }
    }
}

fn new(issued: &pb::VoucherIssued, at: At) -> pb::Voucher {
    pb::Voucher {
        order: issued.order.clone(),
        strategy: issued.strategy.clone(),
        code: issued.code.clone(),
        kind: issued.kind,
        value: issued.value,
        customer: issued.customer.clone(),
        created_at: at.time.0,
        expires_at: issued.expires_at,
        ..pb::Voucher::default()
    }
}
